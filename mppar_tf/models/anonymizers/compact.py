"""A camera-sized f^D: depthwise-separable residual blocks at a fraction of the resolution, pixels by one convolution and depth-to-space.

Made for 8-bit integers. Nothing is computed from the frame but convolutions, sums and relu6: weight norm (Salimans and Kingma, NeurIPS
2016) and bias are constants once training is over, so that an export folds them into the kernels, where instance norm's mean and root
would have to be quantized on every frame. No skip leads from input to output: what leaves the camera has passed the bottleneck.
"""

from typing import NamedTuple

import keras

from mppar_tf.models import layers


class Size(NamedTuple):
  channels: tuple[int, ...]  # one stride-2 convolution each; the last are the blocks'
  blocks: int  # residual blocks at the lowest resolution
  activation: str


SIZES = {
    "paper": Size(channels=(16, 64), blocks=4, activation="relu6"),
    "small": Size(channels=(24,), blocks=2, activation="relu6"),
    "tiny": Size(channels=(4,), blocks=1, activation="softplus"),
}
# Length of an output's kernel at the start. Before a relu 2^0.5 keeps the size of what passes; a block starts as little more than the
# identity; a depthwise kernel is linear, and so is the last one.
RELU, LINEAR, BRANCH = 2 ** 0.5, 1.0, 0.5


@layers.in_floatx
def build(*, size: str = "paper", width: float = 1.0, seed: int = 0, norm: str = "weight") -> keras.Model:
  """Frames [B, H, W, 3] in [0, 1] -> same; H and W are free, multiples of 4 ("paper") or 2.

  68,960 parameters and 53 million multiply-adds for 112x112 pixels at paper size. `norm`: of the table NORMALIZED below. ValueError: an
  unknown size or norm, or a frame whose side is no such multiple.
  """
  preset = layers.choose(SIZES, size, "anonymizer size")
  seeds = layers.seed_stream(seed)
  channels = [layers.scaled(c, width) for c in preset.channels]
  stride = 2 ** len(channels)
  norm_of = norm

  def conv(x, filters, kernel, name, stride=1, gain=RELU):
    return layers.WeightNormConv(filters, kernel, stride, gain=gain, seed=next(seeds), normalized=norm_of == "weight", name=name)(x)

  def act(x, name):
    return keras.layers.Activation(preset.activation, name=f"{name}_act")(x)

  def separable(x, filters, name, stride=1, gain=RELU):
    x = conv(x, None, 3, f"{name}_depthwise", stride, LINEAR)
    x = conv(x, filters, 1, name, gain=gain)
    return layers.batch_norm(f"{name}_norm")(x) if norm_of == "batch" else x

  frames = keras.Input((None, None, 3), name="frames")  # [B, H, W, 3]
  x = layers.Multiple(stride, name="multiple")(frames)
  x = act(conv(x, channels[0], 3, "down1", stride=2), "down1")  # [B, H/2, W/2, C1]
  for i, filters in enumerate(channels[1:], 2):
    x = act(separable(x, filters, f"down{i}", stride=2), f"down{i}")  # [B, H/2^i, W/2^i, Ci]
  for i in range(1, preset.blocks + 1):
    h = act(separable(x, channels[-1], f"block{i}_a"), f"block{i}_a")
    h = separable(h, channels[-1], f"block{i}_b", gain=BRANCH)
    x = keras.layers.Add(name=f"block{i}")([x, h])
  x = conv(x, 3 * stride ** 2, 3, "pixels", gain=LINEAR)  # [B, H/2^n, W/2^n, 3 * 4^n]
  x = layers.DepthToSpace(stride, name="depth_to_space")(x)  # [B, H, W, 3]
  out = layers.pixels("anonymized")(x)  # [B, H, W, 3]
  return keras.Model(frames, out, name="compact")
