"""How well actions survive: the recognizer f^A on anonymized test videos, as it was trained and after its polish.

During the game f^A lags behind the moving f^D, which underestimates what a cloud service would reach once f^D stands still. So f^A is
trained on for a fixed number of steps with f^D frozen ("polish"), the same number for every method, and both figures are reported.
"""

from typing import Callable, Mapping, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from mppar_tf import objectives
from mppar_tf.evaluation import fitting, metrics
from mppar_tf.evaluation.fitting import Anonymize, FittingError
from mppar_tf.progress import progress_bar


class ActionScores(NamedTuple):
  """Top-1 over test videos."""
  top1: dict[str, float]  # by recognizer
  chance: float           # what the best constant guess reaches
  videos: int


def terms(model, frames, labels, training):
  """f^A's own loss (Eq. 2), right answers and answers of one batch of clips."""
  logits = tf.cast(model(frames, training=training), tf.float32)  # [B, classes]
  return (tf.reduce_mean(objectives.action_terms(logits, labels)), objectives.action_hits(logits, labels),
          tf.cast(tf.shape(labels)[0], tf.float32))


def train_recognizer(model: keras.Model, anonymize: Anonymize, train: Callable[[int], tf.data.Dataset], *, steps: int, learning_rate: float,
                     save_every: int, checkpoint_dir: str | None = None, progress: str = "") -> float | None:
  """Trains `model` in place on anonymized clips for exactly `steps` steps (Adam, one-cycle rate); nothing is selected.

  Args:
    train: start batch -> endless dataset of `Clips`.
    steps: 0 leaves the model as it is.
  Returns:
    Training accuracy over the last steps (at most `save_every`), or None for 0 steps.
  """
  if not steps:
    return None
  trainee = fitting.Trainee("recognizer", model, terms, train(0).element_spec, steps=steps, learning_rate=learning_rate)
  history = fitting.fit({"recognizer": trainee}, anonymize, train, steps=steps, look_every=save_every, checkpoint_dir=checkpoint_dir,
                        progress=progress)
  return history["recognizer"][-1].training_accuracy


def polished_copy(recognizer: keras.Model, build: Callable[..., keras.Model], anonymize: Anonymize, train: Callable[[int], tf.data.Dataset],
                  **settings) -> tuple[keras.Model, float | None]:
  """A copy of `recognizer`, trained on as `train_recognizer` does, and its training accuracy; the original stays as it is."""
  copy = build(seed=0)
  copy.set_weights(recognizer.get_weights())
  return copy, train_recognizer(copy, anonymize, train, **settings)


def judge(models: Mapping[str, keras.Model], anonymize: Anonymize, test: tf.data.Dataset, *, clips_per_video: int,
          progress: str = "") -> ActionScores:
  """Top-1 of each recognizer: the mean of its softmax over the evenly spaced clips of each video.

  Args:
    test: finite dataset of (`Clips`, video index [B]).
  Raises:
    MetricError: a video has another number of clips than promised.
    FittingError: there is no test video.
  """
  spec = test.element_spec[0].frames
  f_d = fitting.frozen(anonymize, spec)
  heads = {name: tf.function(lambda frames, model=model: tf.nn.softmax(tf.cast(model(frames, training=False), tf.float32)),
                             input_signature=[fitting.any_batch(spec)]) for name, model in models.items()}
  actions, videos, shares = [], [], {name: [] for name in models}
  for clips, video in progress_bar(test, desc=progress, disable=not progress, unit="batch"):
    anonymized = f_d(clips.frames)  # [B, T, H, W, 3]
    actions.append(clips.action.numpy())
    videos.append(video.numpy())
    for name, head in heads.items():
      shares[name].append(head(anonymized).numpy())  # [B, classes]
  if not videos:
    raise FittingError("there is no test video to recognize actions in")
  video = np.concatenate(videos)
  means = {name: metrics.mean_by_group(np.concatenate(rows), video, expected=clips_per_video)[1] for name, rows in shares.items()}
  _, first = np.unique(video, return_index=True)
  action = np.concatenate(actions)[first]  # [videos]
  return ActionScores({name: metrics.top1(mean, action) for name, mean in means.items()}, metrics.majority_share(action), len(first))
