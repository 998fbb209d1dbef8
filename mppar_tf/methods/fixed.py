"""Transforms without learning, and f^A trained on what they leave: raw frames and whole-frame blur, weak and strong.

The recognizer gets `--fixed_recognizer_steps`: what a blur leaves of a motion takes longer to learn than what a trained f^D leaves, and a
baseline must not fall behind for want of steps.
"""

from typing import Any

import keras
import numpy as np

from mppar_tf import learning_rates
from mppar_tf.data.obfuscation import gaussian
from mppar_tf.methods import steps
from mppar_tf.methods.contract import Method, Networks
from mppar_tf.schedule import Schedule, Stage


def build_raw(networks: Networks, settings: Any) -> Method:
  """No anonymization: the level that every privacy figure is held against."""
  return assemble(networks, settings, None,
                  "it leaves frames as they are: there is nothing to export, and a camera must never run it")


def build_strong_blur(networks: Networks, settings: Any) -> Method:
  """Gaussian blur of whole frames, sigma 8 % of their height by default: SPAct's strong blur without a detector that could miss anybody."""
  return assemble(networks, settings, gaussian_blur(sigma=settings.strong_blur_sigma * networks.recognizer.input_shape[2]))


def build_weak_blur(networks: Networks, settings: Any) -> Method:
  """The same with sigma 2 % of the frame's height by default, SPAct's weak blur."""
  return assemble(networks, settings, gaussian_blur(sigma=settings.weak_blur_sigma * networks.recognizer.input_shape[2]))


def gaussian_blur(sigma: float) -> keras.Model:
  """Separable Gaussian blur with mirrored borders, as a Keras model without trainable weights. [B, H, W, 3] in [0, 1] -> same.

  Args:
    sigma: standard deviation in pixels, above 0.
  """
  weights = np.tile(gaussian(sigma)[:, None, None, None], [1, 1, 3, 1])  # [2 * radius + 1, 1, 3, 1]
  radius = len(weights) // 2
  frames = keras.Input([None, None, 3], name="frames")
  x = frames
  for axis, name in ((0, "vertical"), (1, "horizontal")):
    pad = [[0, 0], [radius, radius], [0, 0]] if axis == 0 else [[0, 0], [0, 0], [radius, radius]]
    x = keras.ops.pad(x, [*pad, [0, 0]], mode="symmetric")  # [B, H + 2 * radius, W, 3] or [B, H, W + 2 * radius, 3]
    kernel = weights.shape[:2] if axis == 0 else weights.shape[1::-1]
    layer = keras.layers.DepthwiseConv2D(kernel, use_bias=False, name=name, trainable=False)
    x = layer(x)  # [B, H, W, 3]
    layer.set_weights([weights if axis == 0 else weights.transpose(1, 0, 2, 3)])
  return keras.Model(frames, x, name="gaussian_blur")


def assemble(networks: Networks, settings: Any, model: keras.Model | None, exportable: str | None = None) -> Method:
  """A method whose `model` (frames -> frames; None: the identity) is never updated: f^A alone learns."""
  def transform(frames):
    return frames if model is None else steps.anonymize(model, frames)
  rounds = settings.fixed_recognizer_steps or settings.action_steps + settings.max_steps * settings.min_recognizer_steps
  optimizer = learning_rates.adam(learning_rates.one_cycle(settings.action_lr, rounds), networks.recognizer.trainable_variables)
  update = {"recognizer": steps.recognizer(transform, networks.recognizer, optimizer, settings.clip_norm),
            "validation": steps.validation(transform, networks.recognizer)}
  models = ({} if model is None else {"anonymizer": model}) | {"recognizer": networks.recognizer}
  return Method(models, {"recognizer": optimizer}, update, Schedule([Stage("recognizer", ("recognizer",), rounds)]), None, transform,
                exportable, learned=False, private_labels=False)
