"""Oracles: scikit-learn where it has the figure, hand-worked numbers and plain loops elsewhere."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from mppar_tf.evaluation import metrics


def _problem(seed=0, examples=200, attributes=4, missing=0.3):
  rng = np.random.default_rng(seed)
  labels = (rng.random((examples, attributes)) < 0.4).astype(np.int32)
  scores = labels + rng.normal(size=labels.shape)
  labels[rng.random(labels.shape) < missing] = -1
  return labels, scores, tuple(f"attribute_{i}" for i in range(attributes))


def test_average_precision_is_scikit_learns_on_labelled_entries():
  labels, scores, names = _problem()
  result = metrics.average_precisions(labels, scores, names)
  assert tuple(result) == names
  for column, name in enumerate(names):
    known = labels[:, column] >= 0
    assert result[name] == pytest.approx(sklearn_metrics.average_precision_score(labels[known, column], scores[known, column]), abs=1e-12)
  full = np.abs(labels)
  macro = metrics.macro_mean(metrics.average_precisions(full, scores, names), names)
  assert macro == pytest.approx(sklearn_metrics.average_precision_score(full, scores, average="macro"), abs=1e-12)


def test_average_precision_by_hand():
  # Ranking + - + -: precision 1 at recall 1/2, 2/3 at recall 1.
  labels, scores = np.array([[1], [0], [1], [0], [-1]]), np.array([[4.], [3.], [2.], [1.], [9.]])
  assert metrics.average_precisions(labels, scores, ("a",))["a"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_scores_of_entries_without_label_change_nothing():
  labels, scores, names = _problem(1)
  shaken = np.where(labels < 0, 1e6, scores)
  assert metrics.average_precisions(labels, shaken, names) == metrics.average_precisions(labels, scores, names)


def test_constant_scores_reach_exactly_the_prevalence():
  labels, scores, names = _problem(2)
  result, chance = metrics.average_precisions(labels, np.zeros_like(scores), names), metrics.prevalences(labels, names)
  for column, name in enumerate(names):
    positives, negatives = np.sum(labels[:, column] == 1), np.sum(labels[:, column] == 0)
    assert chance[name] == pytest.approx(positives / (positives + negatives))
    assert result[name] == pytest.approx(chance[name])


def test_an_attribute_without_positive_is_named():
  labels, scores, names = _problem(3)
  labels[:, 2] = np.minimum(labels[:, 2], 0)
  for call in (lambda: metrics.average_precisions(labels, scores, names), lambda: metrics.prevalences(labels, names)):
    with pytest.raises(metrics.MetricError, match="'attribute_2' has no positive"):
      call()


def test_scores_that_are_not_finite_are_named():
  labels, scores, names = _problem(4)
  scores[5, 1] = np.nan
  with pytest.raises(metrics.MetricError, match="attribute_1"):
    metrics.average_precisions(labels, scores, names)


def test_shapes_that_disagree_are_refused():
  labels, scores, names = _problem(5)
  with pytest.raises(metrics.MetricError, match="must both be"):
    metrics.average_precisions(labels[:, :3], scores, names)
  with pytest.raises(metrics.MetricError, match="must both be"):
    metrics.average_precisions(labels, scores, names[:3])


def test_macro_mean_never_averages_over_fewer_than_promised():
  assert metrics.macro_mean({"a": 0.2, "b": 0.6, "c": 1.0}, ("a", "b")) == pytest.approx(0.4)
  with pytest.raises(metrics.MetricError, match="no figure for d"):
    metrics.macro_mean({"a": 0.2}, ("a", "d"))
  with pytest.raises(metrics.MetricError):
    metrics.macro_mean({}, ())


def test_binary_accuracy_is_scikit_learns_on_labelled_entries():
  labels, scores, _ = _problem(6)
  known = labels >= 0
  assert metrics.binary_accuracy(labels, scores) == pytest.approx(sklearn_metrics.accuracy_score(labels[known], scores[known] > 0))
  with pytest.raises(metrics.MetricError):
    metrics.binary_accuracy(np.full((3, 2), -1), np.zeros((3, 2)))


def test_top1_is_scikit_learns():
  rng = np.random.default_rng(7)
  scores, classes = rng.normal(size=(300, 7)), rng.integers(0, 7, 300)
  assert metrics.top1(scores, classes) == pytest.approx(sklearn_metrics.top_k_accuracy_score(classes, scores, k=1, labels=range(7)))
  assert metrics.top1(scores, classes[:, None]) == metrics.top1(scores, classes)
  for broken in (np.array([0, 7]), np.array([-1, 0])):
    with pytest.raises(metrics.MetricError, match="do not fit"):
      metrics.top1(scores[:2], broken)


def test_majority_share():
  assert metrics.majority_share(np.array([3, 3, 1, 0])) == 0.5
  assert metrics.majority_share(np.arange(5)) == pytest.approx(0.2)


def test_mean_by_group_against_a_loop_and_refuses_a_lost_clip():
  rng = np.random.default_rng(8)
  group = rng.permutation(np.repeat([2, 5, 9], 4))
  values = rng.normal(size=(12, 3))
  names, means = metrics.mean_by_group(values, group, expected=4)
  assert list(names) == [2, 5, 9]
  for name, mean in zip(names, means):
    np.testing.assert_allclose(mean, values[group == name].mean(0))
  with pytest.raises(metrics.MetricError, match="video 5 has 3 clips, not 4"):
    lost = int(np.flatnonzero(group == 5)[0])
    metrics.mean_by_group(np.delete(values, lost, 0), np.delete(group, lost), expected=4)


def test_video_labels_are_present_in_any_frame():
  labels = np.array([[1, 0, -1], [0, 0, -1], [0, -1, 1]])
  assert metrics.present_in_any(labels, np.array([4, 4, 6])).tolist() == [[1, 0, -1], [0, -1, 1]]
