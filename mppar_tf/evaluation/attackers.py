"""Fresh attackers f^P, trained on what an anonymizer lets through and judged on what it lets through of unseen people.

An attacker is kept as it was at its best VALIDATION look; test data never chooses. Its training accuracy is told beside its score, so
that a weak attacker, which flatters every anonymizer, is seen. An attacker of frames sees clips as frames: its logits are averaged over
time before the loss.
"""

import dataclasses
from typing import Callable, Mapping, NamedTuple, Sequence

import keras
import numpy as np
import tensorflow as tf

from mppar_tf import objectives
from mppar_tf.evaluation import fitting, metrics
from mppar_tf.evaluation.fitting import Anonymize, FittingError, Point
from mppar_tf.progress import progress_bar


@dataclasses.dataclass(frozen=True)
class TrainedAttacker:
  """An attacker that holds the weights of its best validation look, and how it came there."""
  model: keras.Model
  history: tuple[Point, ...]

  @property
  def best(self) -> Point:
    return fitting.best_point(self.history)


class Predictions(NamedTuple):
  """What attackers say of a finite set, in its order; an item is an image, a clip or one labelled frame."""
  labels: np.ndarray                 # [N, P] int
  record: np.ndarray                 # [N] record index; equal for the frames of one video
  logits: Mapping[str, np.ndarray]   # attacker -> [N, outputs] float32


def item_logits(model: keras.Model, frames: tf.Tensor, training: bool) -> tf.Tensor:
  """Clips through a network of frames: [B, T, H, W, 3] -> logits [B, outputs] float32, averaged over T."""
  flat = tf.reshape(frames, [-1, *frames.shape[2:]])  # [B * T, H, W, 3]
  return tf.cast(objectives.over_time(model(flat, training=training), frames.shape[1]), tf.float32)  # [B, outputs]


def terms(task: str) -> Callable:
  """The attackers' own loss (Eq. 3) and right answers: masked BCE averaged over labelled entries, or categorical CE of identities."""
  def call(model, frames, labels, training):
    logits = item_logits(model, frames, training)
    count = objectives.privacy_count(task, labels, "mean", logits.dtype)
    # A batch without any label has the loss 0, not 0 / 0.
    loss = objectives.privacy_sum(task, logits, labels) / tf.maximum(count, 1.0)
    return loss, *objectives.privacy_hits(task, logits, labels)
  return call


def train_attackers(
    builders: Mapping[str, Callable[..., keras.Model]], anonymize: Anonymize, train: Callable[[int], tf.data.Dataset],
    validation: Callable[[], tf.data.Dataset], *, attributes: Sequence[str], task: str = "attributes", steps: int, learning_rate: float,
    evaluate_every: int, seed: int, checkpoint_dir: str | None = None, progress: str = "") -> dict[str, TrainedAttacker]:
  """Trains every attacker on the same anonymized batches with Adam and a one-cycle rate.

  Args:
    builders: name -> builder, called with `seed=`; returns a network [B, H, W, 3] in [0, 1] -> logits [B, outputs].
    anonymize: the frozen f^D; `tf.identity` gives the raw level.
    train: start batch -> endless dataset of `Private` from that batch on.
    validation: () -> finite dataset of (`Private`, record index), read anew at every look.
    attributes: names of the labels' columns.
    task: "attributes" (labels [B, P], 1, 0, -1 NA; the score is cMAP) or "identity" (labels [B, 1], class index; accuracy).
    steps: updates of each attacker, at least 1.
    learning_rate: peak of the one-cycle rate.
    evaluate_every: steps between looks at validation data; the last step is always looked at.
    seed: each attacker derives its own from it.
    checkpoint_dir: see `fitting.fit`.
    progress: text of the progress bar; "" shows none.
  Returns:
    name -> TrainedAttacker, in the order of `builders`.
  Raises:
    FittingError: a loss is not finite (names the attacker), or the training data ends.
    MetricError: an attribute has no positive in validation data.
  """
  if task not in objectives.TASKS:
    raise ValueError(f"task {task!r} is not one of {', '.join(objectives.TASKS)}")
  if not builders:
    raise ValueError("there is no attacker to train")
  specs = train(0).element_spec
  trainees = {name: fitting.Trainee(name, build(seed=own_seed(seed, name)), terms(task), specs, steps=steps, learning_rate=learning_rate)
              for name, build in builders.items()}
  models = {name: trainee.model for name, trainee in trainees.items()}
  looker = judge(models, anonymize, validation().element_spec[0].frames)

  def look() -> dict[str, float]:
    found = looker(validation())
    return {name: _score(name, logits, found.labels, attributes, task) for name, logits in found.logits.items()}

  histories = fitting.fit(trainees, anonymize, train, steps=steps, look_every=evaluate_every, look=look, checkpoint_dir=checkpoint_dir,
                          progress=progress)
  return {name: TrainedAttacker(models[name], histories[name]) for name in builders}


def judge(models: Mapping[str, keras.Model], anonymize: Anonymize, frames: tf.TensorSpec) -> Callable[..., Predictions]:
  """Compiles the attackers' inference once, for as many finite sets of such `frames` [B, T, H, W, 3] as come; f^D runs once a batch.

  Returns:
    (dataset of (`Private`, record index), progress text or "") -> Predictions. Raises FittingError on an empty set.
  """
  f_d = fitting.frozen(anonymize, frames)
  heads = {name: tf.function(lambda anonymized, model=model: item_logits(model, anonymized, False),
                             input_signature=[fitting.any_batch(frames)]) for name, model in models.items()}

  def call(data: tf.data.Dataset, progress: str = "") -> Predictions:
    labels, records, logits = [], [], {name: [] for name in models}
    for private, record in progress_bar(data, desc=progress, disable=not progress, unit="batch"):
      anonymized = f_d(private.frames)  # [B, T, H, W, 3]
      labels.append(private.labels.numpy())
      records.append(record.numpy())
      for name, head in heads.items():
        logits[name].append(head(anonymized).numpy())
    if not labels:
      raise FittingError("a set to judge attackers on is empty")
    return Predictions(np.concatenate(labels), np.concatenate(records), {name: np.concatenate(rows) for name, rows in logits.items()})
  return call


def own_seed(seed: int, name: str) -> int:
  """A seed for each name: two widths of one architecture must not share the draws of their first layers."""
  return int(np.random.SeedSequence([seed, *name.encode()]).generate_state(1)[0] >> 1)


def _score(name, logits, labels, attributes, task) -> float:
  try:
    if task == "identity":
      return metrics.top1(logits, labels[:, 0])
    return metrics.macro_mean(metrics.average_precisions(labels, logits, attributes), attributes)
  except metrics.MetricError as error:
    raise metrics.MetricError(f"validation of {name}: {error}") from None
