"""Weights from elsewhere, taken over layer by layer: all that is asked for fits, or nothing is changed."""

from typing import Callable, NamedTuple, Sequence

import keras
import numpy as np

from mppar_tf.messages import one_line


class WeightsError(ValueError):
  """Weights that are missing, damaged or do not fit, told in one line."""


class Stored(NamedTuple):
  """One array of a file, not read yet."""
  name: str  # as the file calls it
  shape: tuple[int, ...]
  read: Callable[[], np.ndarray]


def weights_of(layer: keras.layers.Layer) -> list:
  """A layer's weights without counters, such as dropout's step, which are no weights to start from."""
  return [weight for weight in layer.weights if weight.dtype.startswith(("float", "bfloat"))]


def weighted(model: keras.Model) -> list[keras.layers.Layer]:
  """Layers that have weights, in the model's order."""
  return [layer for layer in model.layers if weights_of(layer)]


def misfit(layer: keras.layers.Layer, stored: Sequence[Stored]) -> str:
  """Why arrays are not those of a layer, "" where they are."""
  wanted, given = [tuple(weight.shape) for weight in weights_of(layer)], [tuple(array.shape) for array in stored]
  if wanted == given:
    return ""
  told = f"{', '.join(map(str, given)) or 'nothing'}{f' ({stored[0].name})' if stored else ''}"
  return f"layer {layer.name} wants shapes {', '.join(map(str, wanted))}, the file has {told}"


def assign(layers: Sequence[keras.layers.Layer], stored: Sequence[Sequence[Stored]], source: str) -> None:
  """Gives each layer its arrays, in order, once all of them fit.

  Raises:
    WeightsError: names the first layer that does not fit; an array that is not finite; no layer is changed.
  """
  for layer, arrays in zip(layers, stored):
    if why := misfit(layer, arrays):
      raise WeightsError(f"{source} does not fit this network: {why}")
  if len(layers) != len(stored):
    first = f"none for layer {layers[len(stored)].name}" if len(stored) < len(layers) else f"also {stored[len(layers)][0].name}"
    raise WeightsError(f"{source} does not fit this network: it has {len(stored)} layers with weights for {len(layers)}, {first}")
  values = [[_finite(array, layer, source) for array in arrays] for layer, arrays in zip(layers, stored)]
  for layer, arrays in zip(layers, values):
    for weight, value in zip(weights_of(layer), arrays):
      weight.assign(value)


def _finite(array: Stored, layer: keras.layers.Layer, source: str) -> np.ndarray:
  try:
    value = np.asarray(array.read(), np.float32)
  except (OSError, ValueError, TypeError, RuntimeError) as error:
    raise WeightsError(f"{source} is damaged at {array.name}: {one_line(error, 200)}") from error
  if not np.isfinite(value).all():
    raise WeightsError(f"{source} has NaN or infinity in {array.name}, meant for layer {layer.name}")
  return value
