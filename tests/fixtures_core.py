"""Tiny games for the tests of the core: options, networks, random batches, and what is compared between variables."""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

from mppar_tf import options
from mppar_tf.methods.contract import Networks
from mppar_tf.models import layers
from mppar_tf.models.anonymizers import ANONYMIZERS
from mppar_tf.models.attackers import ATTACKERS
from mppar_tf.models.contrastive import CONTRASTIVE
from mppar_tf.models.recognizers import RECOGNIZERS
from mppar_tf.types import Batch, Clips, Episode, Private

CLASSES, ATTRIBUTES, FRAMES, CROP = 3, 4, 4, 8
TRAINING_ATTACKERS = ("mobilenet_v2_0.35", "mobilenet_v2_0.5")
ATTACKER_ROLES = tuple(f"attacker/{name}" for name in TRAINING_ATTACKERS)


def settings(**changes) -> options.TrainOptions:
  """A game of a few steps, with rates at which one step shows. The gate's thresholds cannot be reached: its bounds rule."""
  tiny = options.TrainOptions(
      max_steps=4, reconstruction_steps=2, reconstruction_lr=2e-3, action_steps=2, action_lr=3e-3, action_anonymizer_lr=5e-4,
      attacker_init_steps=2, attacker_init_lr=4e-3, gamma=0.7, alpha=0.05, beta=1e-3, shift="alternate", sets_every=2,
      recognizer_lr=6e-4, attacker_lr=7e-4, budget_lr=8e-4,
      action_threshold=1.0, attacker_threshold=1.0, min_recognizer_steps=1, max_recognizer_steps=2, max_attacker_rounds=1,
      beam_steps=2, restart_every=2, gate_smoothing=0.5, action_batch=2, privacy_batch=4, recognizer_batch=4, attacker_batch=4)
  return dataclasses.replace(tiny, **changes)


def networks(anonymizer="johnson", recognizer="c3d", attackers=TRAINING_ATTACKERS, task="attributes") -> Networks:
  """The networks of the tables at size tiny; equal for equal arguments."""
  return Networks(
      ANONYMIZERS[anonymizer](size="tiny", seed=1),
      RECOGNIZERS[recognizer](classes=CLASSES, frames=FRAMES, crop=CROP, size="tiny", seed=2),
      {name: ATTACKERS[name](outputs=ATTRIBUTES, crop=CROP, size="tiny", seed=3 + i) for i, name in enumerate(attackers)}, task,
      functools.partial(CONTRASTIVE["resnet50_projection"], crop=CROP, size="tiny", seed=9))


def micro_networks(task="attributes") -> Networks:
  """One convolution and one batch norm each (f^D: an instance norm too): all that training does to a network, in a tenth of the time."""
  def conv(rank, x, channels, seed):
    kind = {2: keras.layers.Conv2D, 3: keras.layers.Conv3D}[rank]
    x = kind(channels, 3, padding="same", kernel_initializer=keras.initializers.GlorotUniform(seed=seed))(x)
    return keras.layers.Activation("softplus")(layers.batch_norm("norm")(x))

  def head(x, outputs, seed):
    return keras.layers.Dense(outputs, kernel_initializer=keras.initializers.GlorotUniform(seed=seed))(keras.layers.Flatten()(x))

  frames, clips_in = keras.Input([CROP, CROP, 3]), keras.Input([FRAMES, CROP, CROP, 3])
  def contrastive():
    return keras.Model(frames, keras.layers.UnitNormalization()(head(conv(2, frames, 2, 9), 4, 10)))

  x = layers.InstanceNorm()(conv(2, frames, 3, 1))
  x = keras.layers.Conv2D(3, 1, activation="sigmoid", kernel_initializer=keras.initializers.GlorotUniform(seed=2))(x)
  return Networks(
      keras.Model(frames, x), keras.Model(clips_in, head(conv(3, clips_in, 2, 3), CLASSES, 4)),
      {name: keras.Model(frames, head(conv(2, frames, 2, 5 + i), ATTRIBUTES, 7 + i)) for i, name in enumerate(TRAINING_ATTACKERS)}, task,
      contrastive)


def shake(models, seed=0) -> None:
  """Moves norms' statistics, scales and shifts off 0 and 1, where a mistake could hide."""
  rng = np.random.default_rng(seed)
  for model in models:
    for variable in model.weights:
      if len(variable.shape) == 1:
        variable.assign(variable + rng.uniform(0.05, 0.3, variable.shape))


def clips(rng: np.random.Generator, batch=2) -> Clips:
  return Clips(_frames(rng, batch, FRAMES), tf.constant(rng.integers(0, CLASSES, batch), tf.int32))


def private(rng: np.random.Generator, batch=4, frames=1, missing=0.3, task="attributes") -> Private:
  """Frames and labels; a share `missing` of the attributes' labels is NA, never all of them."""
  if task == "identity":
    return Private(_frames(rng, batch, frames), tf.constant(rng.integers(0, ATTRIBUTES, [batch, 1]), tf.int32))
  labels = np.where(rng.random([batch, ATTRIBUTES]) < missing, -1, rng.integers(0, 2, [batch, ATTRIBUTES]))
  labels[0, 0] = 1
  return Private(_frames(rng, batch, frames), tf.constant(labels, tf.int32))


def episode(seed=0, support_attacker=0, query_attacker=1, **of_private) -> Episode:
  rng = np.random.default_rng(seed)
  support, query = (Batch(clips(rng), private(rng, **of_private)) for _ in range(2))
  return Episode(support, query, tf.constant(support_attacker, tf.int32), tf.constant(query_attacker, tf.int32))


def batch_of(role: str, seed=0, **of_private):
  """What the update of a role reads."""
  rng = np.random.default_rng(seed)
  if role == "restart":
    return tf.constant(seed, tf.int32)
  if role == "anonymizer":
    return episode(seed, **of_private)
  if role == "reconstruction":
    return Batch(clips(rng), private(rng, **of_private))
  return private(rng, **of_private) if role == "pick" or role.startswith("attacker/") else clips(rng, 4)


def _frames(rng, batch, frames):
  return tf.constant(rng.random([batch, frames, CROP, CROP, 3]), keras.config.floatx())


def values(variables) -> list[np.ndarray]:
  return [keras.ops.convert_to_numpy(v.value) for v in variables]


def flat(tensors) -> np.ndarray:
  return np.concatenate([np.ravel(t) for t in tensors])


def descent(_, variables):
  """In place of `learning_rates.adam`: plain gradient descent at rate 1, whose stride is the gradient."""
  optimizer = keras.optimizers.SGD(1.0)
  optimizer.build(list(variables))
  return optimizer
