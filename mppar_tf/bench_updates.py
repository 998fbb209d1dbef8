"""One anonymizer update, as training runs it, on random data: what a process of the benchmark prepares and repeats."""

import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mppar_tf import bench_profile, experiment, feeding, journal, loop, methods, side_by_side
from mppar_tf.methods.contract import Networks
from mppar_tf.models.anonymizers import ANONYMIZERS
from mppar_tf.models.attackers import ATTACKERS
from mppar_tf.models.recognizers import RECOGNIZERS
from mppar_tf.types import Batch, Clips, Episode, Private


def prepare(*, method: str, clip: Any, model: Any, train: Any, classes: int, attributes: int, threads: int, deterministic: bool,
            seed: int, precision: str, profiled: bool) -> tuple[side_by_side.Turn, dict[str, Any]]:
  """The networks, their optimizers and one support and one query batch; a turn is one update.

  Turn n has the attackers n and n + 1 of the list (one after the other, from the start again) for support and query, whatever the method
  would draw: variants of one round then differ in their mathematics alone.

  Args:
    method: of the table METHODS; one that updates f^D.
    clip, model, train: ClipOptions, ModelOptions with training attackers, TrainOptions with the meta gradient that is measured.
    classes, attributes: number of actions and of privacy attributes.
    threads, deterministic, seed, precision: as in training.
    profiled: after the first, turns also tell the seconds of each kind of op (the profiler makes them a little longer).
  """
  # Several of these processes stand on one GPU; TensorFlow would give all its memory to the first.
  os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
  strategy = experiment.configure(deterministic=deterministic, threads=threads, seed=seed, precision=precision)
  with strategy.scope():
    networks = networks_of(clip, model, classes, attributes, seed)
    built = methods.METHODS[method](networks, train)
  step = loop.distributed(strategy, built.update["anonymizer"])
  random = np.random.default_rng(seed)
  support, query = (_batch(strategy, random, clip, train, classes, attributes) for _ in range(2))
  attackers = len(networks.attackers)

  def turn(number: int) -> side_by_side.Figures:
    episode = Episode(support, query, *(tf.constant((number + i) % attackers, tf.int32) for i in range(2)))
    scalars, ops = {}, {}

    def work():
      scalars.update({name: float(value) for name, value in step(episode).items()})
    figures = side_by_side.timed((lambda: ops.update(bench_profile.profiled(work))) if profiled and number else work)
    journal.check_finite("anonymizer", number, scalars)
    return figures | ops

  parameters = {"anonymizer": networks.anonymizer, "recognizer": networks.recognizer} | dict(networks.attackers)
  return turn, {"replicas": strategy.num_replicas_in_sync, "devices": list(strategy.extended.worker_devices),
                "parameters": {name: one.count_params() for name, one in parameters.items()}}


def networks_of(clip: Any, model: Any, classes: int, attributes: int, seed: int) -> Networks:
  """The networks that ModelOptions name, for so many actions and privacy attributes; arguments as `prepare` has them."""
  return Networks(
      ANONYMIZERS[model.anonymizer](size=model.anonymizer_size, width=model.anonymizer_width, seed=seed),
      RECOGNIZERS[model.recognizer](classes=classes, frames=clip.clip_frames, crop=clip.crop, size=model.recognizer_size,
                                    width=model.recognizer_width, dropout=model.recognizer_dropout, seed=seed + 1),
      {name: ATTACKERS[name](outputs=attributes, crop=clip.crop, size=model.attacker_size, seed=seed + 2 + i)
       for i, name in enumerate(model.training_attackers)}, "attributes")


def _batch(strategy: tf.distribute.Strategy, random: np.random.Generator, clip: Any, train: Any, classes: int, attributes: int) -> Batch:
  """One random global batch, split over replicas as in training; about one label in ten is NA."""
  dtype, window = keras.config.floatx(), (clip.crop, clip.crop, 3)
  clips = Clips(random.random((train.action_batch, clip.clip_frames, *window)).astype(dtype),
                random.integers(0, classes, train.action_batch).astype(np.int32))
  labels = random.choice([1, 0, -1], (train.privacy_batch, attributes), p=[0.4, 0.5, 0.1]).astype(np.int32)
  labels[0] = 1  # a batch of NA alone would leave no privacy loss
  private = Private(random.random((train.privacy_batch, 1, *window)).astype(dtype), labels)

  def placed(samples, size):
    return feeding.Stream(strategy, lambda _: tf.data.Dataset.from_tensor_slices(samples).batch(size, drop_remainder=True)).next()
  return Batch(placed(clips, train.action_batch), placed(private, train.privacy_batch))
