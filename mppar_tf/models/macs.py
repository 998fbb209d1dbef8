"""Multiply-adds of a network for one picture, layer by layer: what a camera's processor has to do, whatever it is."""

import math
from typing import Callable, Mapping

import keras

from mppar_tf.models import layers


def _from_outputs(layer: keras.layers.Layer) -> int:
  """Every place of the output meets the whole kernel, [k, k, C, filters] or, depthwise, [k, k, C, 1]; padding is met like a pixel."""
  return math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)


def _from_inputs(layer: keras.layers.Layer) -> int:
  """Every place of the input is spread by the whole kernel."""
  return math.prod(layer.input.shape[1:-1]) * math.prod(layer.kernel.shape)


# Norms, activations and sums take some operations for each value, and no product with a kernel: they are not counted.
COUNTED: Mapping[type[keras.layers.Layer], Callable[[keras.layers.Layer], int]] = {
    keras.layers.Conv2D: _from_outputs,
    keras.layers.DepthwiseConv2D: _from_outputs,
    keras.layers.Conv2DTranspose: _from_inputs,
    keras.layers.Dense: _from_outputs,
    layers.WeightNormConv: _from_outputs,
}
NOT_COUNTED = (keras.layers.BatchNormalization, layers.InstanceNorm)


def by_layer(model: keras.Model, height: int, width: int) -> dict[str, int]:
  """Layer -> multiply-adds for one picture [height, width, C], of those that have a kernel.

  Raises ValueError: a layer with weights of a kind that nobody has said how to count, or a size that the network does not take.
  """
  for layer in model.layers:
    if isinstance(layer, layers.Multiple):
      layer.check(height, width)  # in Keras's own words the error would fill a page
  picture = keras.Input((height, width, model.input_shape[-1]))
  sized = keras.models.clone_model(model, input_tensors=picture)  # sides that are free have no count
  unknown = [f"{layer.name} ({type(layer).__name__})" for layer in sized.layers
             if layer.weights and type(layer) not in COUNTED and not isinstance(layer, NOT_COUNTED)]
  if unknown:
    raise ValueError(f"multiply-adds are not known of {', '.join(unknown)}")
  return {layer.name: COUNTED[type(layer)](layer) for layer in sized.layers if type(layer) in COUNTED}


def count(model: keras.Model, height: int, width: int) -> int:
  """Multiply-adds for one picture [height, width, C]; raises as `by_layer`."""
  return sum(by_layer(model, height, width).values())
