"""Downsampling without learning: every square of so many pixels becomes its mean (area), then bilinear back to the frame's size.

A frame whose height or width is no multiple of the factor is first filled up with its last row or column, and cut again in the end.
"""

import functools
from typing import Any

import keras
from keras import ops

from mppar_tf.methods import fixed
from mppar_tf.methods.contract import Method, Networks
from mppar_tf.models import layers

IDENTITY = "at factor 1 it is the identity: there is nothing to export, and a camera must never run it"


def build(networks: Networks, settings: Any, *, factor: int) -> Method:
  """The method at a factor; at 1 frames stay as they are, the first row of a table of factors."""
  if factor == 1:
    return fixed.assemble(networks, settings, None, IDENTITY)
  return fixed.assemble(networks, settings, down_and_up(factor))


@layers.in_floatx
def down_and_up(factor: int) -> keras.Model:
  """[B, H, W, 3] in [0, 1] -> same, without parameters."""
  frames = keras.Input([None, None, 3], name="frames")
  return keras.Model(frames, DownAndUp(factor, dtype=keras.config.floatx(), name="down_and_up")(frames), name=f"downsample_{factor}")


@keras.saving.register_keras_serializable(package="mppar_tf")
class DownAndUp(keras.layers.Layer):
  """Area down by `factor`, bilinear up: [B, H, W, C] -> same. First order only: nothing is learned through it."""

  def __init__(self, factor: int, **kwargs):
    super().__init__(**kwargs)
    self.factor = factor

  def call(self, x):
    height, width = ops.shape(x)[1:3]
    whole = [-(-size // self.factor) * self.factor for size in (height, width)]
    for axis, size, filled in zip((1, 2), (height, width), whole):
      x = ops.take(x, ops.minimum(ops.arange(filled), size - 1), axis=axis)
    x = ops.average_pool(x, self.factor, self.factor, data_format="channels_last")  # [B, H / factor, W / factor, C], rounded up
    return ops.image.resize(x, whole, interpolation="bilinear", data_format="channels_last")[:, :height, :width]

  def compute_output_shape(self, input_shape):
    return input_shape

  def get_config(self):
    return {**super().get_config(), "factor": self.factor}


FACTORS = (1, 2, 3, 4, 6, 8, 14, 16, 28, 56)  # those of the pilot study's table
BUILDERS = {f"downsample_{factor}": functools.partial(build, factor=factor) for factor in FACTORS}
