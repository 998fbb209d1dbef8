"""Makes the channels under an instance norm alike, so that 8-bit integers can hold them; the network stays the same function.

TFLite gives all channels of a map one range. Instance norm brings every channel to one size, whatever it was before, so that training
leaves kernels with channels of very different sizes, whose variances and roots then share a range: the smallest have few of its 256 steps.
But a norm divides its input's scale out. Each output channel of the convolution before it is divided here by the root of its mean
variance over calibration frames (plus the norm's epsilon), and the epsilon becomes one for each channel, divided by the square of that:
what leaves the norm is what left it before, and variances and roots lie around 1. (Nagel et al., ICCV 2019, do the like across relus,
with what two kernels can hand one another.)
"""

from typing import Iterator

import keras
import numpy as np

from mppar_tf.models import layers

OUTPUT_AXIS = {keras.layers.Conv2D: 3, keras.layers.Conv2DTranspose: 2}  # of their kernels


def equalized(model: keras.Model, frames: np.ndarray) -> keras.Model:
  """A copy of an anonymizer with equal channels before its instance norms; the model itself where it has none that can be.

  Args:
    model: a functional network, [B, H, W, 3] -> same.
    frames: what the channels' sizes are measured on, [N, H, W, 3] float32.
  """
  found = list(normed(model))
  if not found:
    return model
  variances = channel_variances(model, [convolution for convolution, _ in found], frames)
  scales, epsilons = {}, {}
  for (convolution, norm), variance in zip(found, variances):
    scales[convolution.name] = 1 / np.sqrt(variance + norm.epsilon)  # [C]
    epsilons[norm.name] = (norm.epsilon * scales[convolution.name] ** 2).tolist()

  def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
    config = layer.get_config() | ({"epsilon": epsilons[layer.name]} if layer.name in epsilons else {})
    return type(layer).from_config(config)

  copy = keras.models.clone_model(model, clone_function=copied)
  copy.set_weights(model.get_weights())
  for name, scale in scales.items():
    convolution = copy.get_layer(name)
    shape = [1] * 4
    shape[OUTPUT_AXIS[type(convolution)]] = -1
    convolution.kernel.assign(convolution.kernel.numpy() * scale.reshape(shape))
    if convolution.use_bias:
      convolution.bias.assign(convolution.bias.numpy() * scale)
  return copy


def normed(model: keras.Model) -> Iterator[tuple[keras.layers.Layer, layers.InstanceNorm]]:
  """Each convolution whose output goes to an instance norm, as it is, and to nothing else; with that norm."""
  for norm in model.layers:
    if type(norm) is layers.InstanceNorm and len(norm._inbound_nodes) == 1:
      before = norm._inbound_nodes[0].parent_nodes[0].operation
      if type(before) in OUTPUT_AXIS and before.activation is keras.activations.linear and len(before._outbound_nodes) == 1:
        yield before, norm


def channel_variances(model: keras.Model, of: list[keras.layers.Layer], frames: np.ndarray) -> list[np.ndarray]:
  """Each layer's output channels' variances over a picture, their mean over frames. [[C]]"""
  maps = keras.Model(model.input, [layer.output for layer in of])
  seen = [[np.var(one, axis=(1, 2))[0] for one in maps(frame[None], training=False)] for frame in frames]  # N x [C] a layer
  return [np.mean(one, axis=0) for one in zip(*seen)]
