"""BDQ (Kumawat and Nagahara, ECCV 2022): blur, difference, quantize. f^D is these three in a row, with 16 learned numbers in all.

Blur: a Gaussian of 5 x 5 pixels with a learned sigma, on every frame. Difference: x_t - x_{t-1}. Quantization: a difference, scaled to
[0, 15] by its clip's own smallest and largest (the released code takes those of the batch, so that a clip's output hangs on its
neighbours), goes up a soft staircase of 15 steps with learned thresholds, the sum of sigmoids of slope 5; divided by 15 it is a frame in
[0, 1] again. f^D minimises L_action - weight * H of what an attacker says of its output; f^A and the f^P learn as in every game.

Decided here: frame 0 has no frame before it and shows frame 1's difference, so that a clip keeps its length. A still image has no second
frame at all: its difference is taken to itself moved by STILL_SHIFT, which leaves its slanted edges, not a motion. The attacker of an
update is drawn at random, as in `basic`. Stage 1 is left out: a difference reproduces nothing.
"""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mppar_tf import metagrad, objectives, replica
from mppar_tf.methods import adversarial, game, steps, switch
from mppar_tf.methods.contract import Method, Networks
from mppar_tf.models import layers
from mppar_tf.schedule import Schedule
from mppar_tf.types import Batch, Episode

RADIUS, STEPS, SLOPE = 2, 15, 5.0
STILL_SHIFT = (1, 2)  # pixels down and to the right; at most 2, and neither axis is left out
PAIRS = "it shows the difference between two frames, and an export sees one frame at a time"


def build(networks: Networks, settings: Any) -> Method:
  """The method, with `settings` an `mppar_tf.options.TrainOptions`; `networks.anonymizer` is not used."""
  networks = dataclasses.replace(networks, anonymizer=blur_difference_quantize())

  def anonymizer_update(optimizer):
    loss = entropy_loss(networks, settings)

    def update(episode: Episode):
      variables = networks.anonymizer.trainable_variables
      phi = [tf.convert_to_tensor(v.value) for v in variables]
      gradients, value, log = metagrad.gradient(loss(episode.support, episode.support_attacker), phi, settings.accumulation)
      norm = replica.apply(optimizer, gradients, variables, clip_norm=settings.clip_norm)
      return {"loss": replica.total(value), "gradient_norm": norm, **replica.total(log)}
    return update

  method = game.assemble(networks, settings, adversarial.single_plan(settings, len(networks.attackers)), anonymizer_update)
  _, *stages = game.stages(settings, networks.attackers)
  schedule = Schedule(stages, tuple(networks.attackers), game.gate_limits(settings))
  kept = ({name: one for name, one in part.items() if name != "reconstruction"} for part in (method.update, method.optimizers))
  update, optimizers = kept
  return dataclasses.replace(method, schedule=schedule, exportable=PAIRS, update=update, optimizers=optimizers)


def entropy_loss(networks: Networks, settings: Any):
  """L_action - weight * H of one attacker's output, as a function of f^D's parameters; of private labels the shape alone counts.

  H is the mean over samples of the entropy of a softmax (identity), or of the true binary entropies of the sigmoids, averaged over
  attributes or summed (`--privacy_reduction`).

  Returns:
    loss(batch, attacker_index) -> (phi, piece -> (this replica's share of the loss, shares of what is logged)), as `steps.eq1_loss`.
  """
  attack, pieces = switch.switch(list(networks.attackers.values())), settings.accumulation

  def loss(batch: Batch, attacker_index: tf.Tensor):
    clips, private = batch
    clip_count = steps.global_batch(clips.action)
    entry_count = replica.total(objectives.entropy_count(
        networks.task, private.labels, settings.privacy_reduction, tf.as_dtype(keras.config.floatx())))

    def at(phi, piece=0):
      clip_part, actions, private_part = (steps.part(samples, piece, pieces) for samples in (clips.frames, clips.action, private.frames))
      anonymized, exposed = (networks.anonymizer.stateless_call(phi, [], frames, training=False)[0] for frames in (clip_part, private_part))
      action_logits = networks.recognizer(anonymized, training=False)
      said = attack(attacker_index, exposed)  # [B', P]
      action_loss = tf.reduce_sum(objectives.action_terms(action_logits, actions)) / clip_count
      entropy = objectives.entropy_sum(networks.task, said) / entry_count
      log = {"action_loss": action_loss, "entropy": entropy, "action_accuracy": objectives.action_hits(action_logits, actions) / clip_count}
      return action_loss - settings.entropy_weight * entropy, log
    return at
  return loss


@layers.in_floatx
def blur_difference_quantize() -> keras.Model:
  """f^D: clips [B, T, H, W, 3] in [0, 1] -> same, each clip by itself; 16 parameters. T = 1 is a still image."""
  clips = keras.Input([None, None, None, 3], name="clips")
  # In the variables' precision also under a mixed policy: differences of neighbouring frames are small, and bfloat16 would round them off.
  encoder = BlurDifferenceQuantize(dtype=keras.config.floatx(), name="blur_difference_quantize")
  return keras.Model(clips, encoder(clips), name="bdq")


@keras.saving.register_keras_serializable(package="mppar_tf")
class BlurDifferenceQuantize(keras.layers.Layer):
  """The three modules: [B, T, H, W, 3] in [0, 1] -> same."""

  def build(self, input_shape):
    del input_shape  # the same 16 numbers for every size
    self.sigma = self.add_weight(shape=(), initializer=keras.initializers.Constant(1.0), name="sigma")
    self.thresholds = self.add_weight(shape=(STEPS,), initializer=_halves, name="thresholds")

  def call(self, clips):
    return self.quantized(self.difference(self.blurred(clips)))

  def compute_output_shape(self, input_shape):
    return input_shape

  def blurred(self, clips):
    """The Gaussian's two axes one after the other, borders repeated. [B, T, H, W, 3] -> same."""
    offsets = tf.range(-RADIUS, RADIUS + 1, dtype=clips.dtype)
    variance = tf.square(tf.convert_to_tensor(self.sigma)) + 1e-4  # a sigma that passes 0 blurs nothing, and stays finite
    weights = tf.unstack(tf.nn.softmax(-0.5 * tf.square(offsets) / variance))
    for axis in (2, 3):
      size = tf.shape(clips)[axis]
      places = [tf.clip_by_value(tf.range(size) + offset, 0, size - 1) for offset in range(-RADIUS, RADIUS + 1)]
      clips = tf.add_n([weight * tf.gather(clips, place, axis=axis) for weight, place in zip(weights, places)])
    return clips

  def difference(self, clips):
    """x_t - x_{t-1}; frame 0 shows frame 1's, a still image that to its moved self. [B, T, H, W, 3] -> same, in [-1, 1]."""
    moved = clips[:, :1]
    for axis, pixels in zip((2, 3), STILL_SHIFT):
      moved = tf.gather(moved, tf.maximum(tf.range(tf.shape(clips)[axis]) - pixels, 0), axis=axis)
    steps_ = clips[:, 1:] - clips[:, :-1]  # [B, T - 1, H, W, 3]
    first = tf.concat([steps_, clips[:, :1] - moved], axis=1)[:, :1]  # of a still image, steps_ is empty
    return tf.ensure_shape(tf.concat([first, steps_], axis=1), clips.shape)

  def quantized(self, differences):
    """The soft staircase over the clip's own range; a clip without any difference is all on the lowest step. -> [0, 1]."""
    low, high = (reduce(differences, axis=[1, 2, 3, 4], keepdims=True) for reduce in (tf.reduce_min, tf.reduce_max))
    scaled = STEPS * tf.math.divide_no_nan(differences - low, high - low)  # in [0, 15]
    thresholds = tf.unstack(tf.convert_to_tensor(self.thresholds))
    return tf.add_n([tf.nn.sigmoid(SLOPE * (scaled - threshold)) for threshold in thresholds]) / STEPS


def _halves(shape, dtype=None):
  return tf.constant(np.arange(STEPS) + 0.5, dtype, shape)
