"""A world small enough to solve in seconds: each attribute paints one corner pixel, the action paints one bright row.

Frames are [T, 8, 8, 3] noise. Attribute i of P sets pixel (0, i) to .9 where present and .1 where absent; action a of 3 sets row 3 + a.
"""

import keras
import numpy as np
import tensorflow as tf

from mppar_tf.types import Clips, Private

SIDE, TIME, ACTIONS = 8, 2, 3


def frames(seed, count, labels=None, action=None, time=TIME):
  pixels = np.random.default_rng(seed).uniform(0.4, 0.6, (count, time, SIDE, SIDE, 3)).astype(np.float32)
  if labels is not None:
    for column in range(labels.shape[1]):
      pixels[:, :, 0, column] = np.where(labels[:, column] == 1, 0.9, 0.1)[:, None, None]
  if action is not None:
    for row in range(count):
      pixels[row, :, 3 + action[row]] = 0.9
  return pixels


def private(seed, count, attributes, missing=0.0):
  rng = np.random.default_rng(seed)
  truth = (rng.random((count, attributes)) < 0.4).astype(np.int32)
  labels = np.where(rng.random(truth.shape) < missing, -1, truth).astype(np.int32)
  return Private(frames(seed, count, truth), labels)


def identities(seed, count, subjects):
  labels = np.random.default_rng(seed).integers(0, subjects, (count, 1)).astype(np.int32)
  return Private(frames(seed, count, np.eye(subjects, dtype=np.int32)[labels[:, 0]]), labels)


def clips(seed, count):
  action = np.random.default_rng(seed).integers(0, ACTIONS, count).astype(np.int32)
  return Clips(frames(seed, count, action=action), action)


def endless(items, batch, seed=0):
  """start batch -> endless dataset whose k-th batch is a function of (seed, k) alone."""
  def make(start=0):
    size = len(items[0])
    tensors = type(items)(*(tf.constant(value) for value in items))

    def pick(k):
      rows = tf.random.stateless_uniform([batch], tf.stack([tf.cast(seed, tf.int64), k]), 0, size, tf.int32)
      return type(items)(*(tf.ensure_shape(tf.gather(value, rows), [batch, *value.shape[1:]]) for value in tensors))
    return tf.data.Dataset.counter(start).map(pick)
  return make


def finite(items, batch, index=None):
  """() -> (items, index) in batches, the last one partial."""
  index = np.arange(len(items[0])) if index is None else index
  return lambda: tf.data.Dataset.from_tensor_slices((items, index.astype(np.int64))).batch(batch)


def attacker(outputs, hidden=16):
  def build(*, seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((SIDE, SIDE, 3)), keras.layers.Flatten(), keras.layers.Dense(hidden, "tanh"),
                             keras.layers.Dense(outputs)])
  return build


def recognizer(*, seed):
  keras.utils.set_random_seed(seed)
  return keras.Sequential([keras.Input((TIME, SIDE, SIDE, 3)), keras.layers.Flatten(), keras.layers.Dense(16, "tanh"),
                           keras.layers.BatchNormalization(), keras.layers.Dense(ACTIONS)])


def without_pixels(clips_):
  """An anonymizer that lets nothing through."""
  return tf.fill(tf.shape(clips_), 0.5)


def without_corner(clips_):
  """An anonymizer that blackens the row of the attributes and leaves the action."""
  return clips_ * tf.constant([0.0] + [1.0] * (SIDE - 1))[None, None, :, None, None]
