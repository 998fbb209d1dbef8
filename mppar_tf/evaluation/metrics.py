"""What an evaluation counts, in NumPy and scikit-learn: average precision, its chance level, accuracies.

Names follow the paper: cMAP is the class-based mean average precision, the macro mean over attributes of each attribute's AP (lower is
more private). Labels are 1 present, 0 absent, -1 not annotated (NA); NA entries are masked per attribute. Nothing is dropped in silence:
an attribute whose AP is undefined is an error that names it, a video with too few clips likewise.
"""

from typing import Mapping, Sequence

import numpy as np
from sklearn import metrics as sklearn_metrics

from mppar_tf.types import NOT_ANNOTATED


class MetricError(ValueError):
  """A figure that cannot be computed honestly; the message names the attribute, video or model."""


def average_precisions(labels: np.ndarray, scores: np.ndarray, attributes: Sequence[str]) -> dict[str, float]:
  """AP of each attribute over its labelled entries (scikit-learn's step-wise sum, no interpolation).

  Args:
    labels: int [N, P], 1 present, 0 absent, -1 NA.
    scores: float [N, P], higher means present; logits or probabilities.
    attributes: the P names.
  Raises:
    MetricError: shapes disagree, a score is not finite, or an attribute has no positive.
  """
  labels, scores = _checked(labels, scores, attributes)
  result = {}
  for column, attribute in enumerate(attributes):
    known = _labelled(labels[:, column], attribute)
    result[attribute] = float(sklearn_metrics.average_precision_score(labels[known, column], scores[known, column]))
  return result


def prevalences(labels: np.ndarray, attributes: Sequence[str]) -> dict[str, float]:
  """Share of positives among labelled entries [N, P] of each attribute: the AP that scores without information get."""
  labels = np.asarray(labels)
  if labels.ndim != 2 or labels.shape[1] != len(attributes):
    raise MetricError(f"labels have shape {labels.shape}, not [N, {len(attributes)}] for {', '.join(attributes)}")
  return {attribute: float(np.mean(labels[_labelled(labels[:, column], attribute), column] == 1))
          for column, attribute in enumerate(attributes)}


def macro_mean(by_attribute: Mapping[str, float], attributes: Sequence[str]) -> float:
  """The mean over `attributes`, each of which must be there (cMAP when the values are APs)."""
  missing = [a for a in attributes if a not in by_attribute]
  if missing or not attributes:
    raise MetricError(f"no figure for {', '.join(missing) or 'any attribute'}; there are {', '.join(by_attribute) or 'none'}")
  return float(np.mean([by_attribute[a] for a in attributes]))


def binary_accuracy(labels: np.ndarray, logits: np.ndarray) -> float:
  """Share of labelled entries [N, P] whose logit is on the right side of 0 (probability 0.5): "privacy accuracy" of Algorithm 1."""
  labels, logits = np.asarray(labels), np.asarray(logits)
  known = labels != NOT_ANNOTATED
  if not known.any():
    raise MetricError("binary accuracy of labels that are all NA")
  return float(np.mean((logits > 0)[known] == (labels == 1)[known]))


def top1(scores: np.ndarray, classes: np.ndarray) -> float:
  """Share of rows [N, C] whose largest score stands at the true class [N]; also identity accuracy."""
  scores, classes = np.asarray(scores), np.asarray(classes).reshape(-1)
  if scores.ndim != 2 or len(scores) != len(classes) or not len(classes):
    raise MetricError(f"top-1 needs scores [N, C] for classes [N], got {scores.shape} for {classes.shape}")
  if not np.isfinite(scores).all():
    raise MetricError("top-1 of scores that are not finite")
  if classes.min() < 0 or classes.max() >= scores.shape[1]:
    raise MetricError(f"classes {classes.min()}..{classes.max()} do not fit {scores.shape[1]} scores")
  return float(np.mean(np.argmax(scores, axis=1) == classes))


def majority_share(classes: np.ndarray) -> float:
  """What the best constant guess reaches on these classes [N]; at least 1 / number of classes."""
  classes = np.asarray(classes).reshape(-1)
  if not len(classes):
    raise MetricError("majority share of no labels")
  return float(np.unique(classes, return_counts=True)[1].max() / len(classes))


def mean_by_group(values: np.ndarray, group: np.ndarray, *, expected: int | None = None) -> tuple[np.ndarray, np.ndarray]:
  """Means of `values` [M, ...] over equal `group` indices [M], in ascending order of the index.

  Args:
    expected: members that each group must have (clips of a video); None: any number.
  Returns:
    The distinct groups [N] and their means [N, ...].
  Raises:
    MetricError: a group has another number of members, named by its index.
  """
  values, group = np.asarray(values, np.float64), np.asarray(group).reshape(-1)
  names, inverse, counts = np.unique(group, return_inverse=True, return_counts=True)
  if expected is not None and (counts != expected).any():
    wrong = int(np.argmax(counts != expected))
    raise MetricError(f"video {names[wrong]} has {counts[wrong]} clips, not {expected}: its mean would hide a loss")
  sums = np.zeros((len(names),) + values.shape[1:])
  np.add.at(sums, inverse, values)
  return names, sums / counts.reshape((-1,) + (1,) * (values.ndim - 1))


def present_in_any(labels: np.ndarray, group: np.ndarray) -> np.ndarray:
  """Labels [M, P] of frames to labels [N, P] of their groups: present in any frame; absent if none says so; NA if all are NA."""
  labels, group = np.asarray(labels), np.asarray(group).reshape(-1)
  names, inverse = np.unique(group, return_inverse=True)
  result = np.full((len(names), labels.shape[1]), NOT_ANNOTATED, labels.dtype)
  np.maximum.at(result, inverse, labels)
  return result


def _checked(labels, scores, attributes):
  labels, scores = np.asarray(labels), np.asarray(scores)
  if labels.shape != scores.shape or labels.ndim != 2 or labels.shape[1] != len(attributes):
    raise MetricError(f"labels {labels.shape} and scores {scores.shape} must both be [N, {len(attributes)}] for {', '.join(attributes)}")
  bad = [a for column, a in enumerate(attributes) if not np.isfinite(scores[:, column]).all()]
  if bad:
    raise MetricError(f"scores of {', '.join(bad)} are not finite")
  return labels, scores


def _labelled(column: np.ndarray, attribute: str) -> np.ndarray:
  known = column != NOT_ANNOTATED
  if not (column == 1).any():
    raise MetricError(f"attribute {attribute!r} has no positive among {int(known.sum())} labelled examples: its AP is undefined")
  return known
