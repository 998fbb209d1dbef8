"""A camera-sized f^D: depthwise-separable residual blocks at a fraction of the resolution, pixels by one convolution and depth-to-space.

Made for 8-bit integers: weight norm and, in place of instance norm, centring alone (Salimans and Kingma, NeurIPS 2016). Kernel lengths are
constants once training is over and fold into an export; a mean over the picture is linear, where instance norm's variance and root lose
their digits. Without centring f^D shifts whole pictures faster than f^A can follow: on the twin (gamma 36, 50 updates) validation accuracy
of actions falls from .75 to .44 or less, with it it stays at .73.

No skip leads from input to output: what leaves the camera has passed the bottleneck.
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
def build(*, size: str = "paper", width: float = 1.0, seed: int = 0) -> keras.Model:
  """Frames [B, H, W, 3] in [0, 1] -> same; H and W are free, multiples of 4 ("paper") or 2.

  68,960 parameters and 53 million multiply-adds for 112x112 pixels at paper size. ValueError: an unknown size, or a frame whose side is
  no such multiple.
  """
  preset = layers.choose(SIZES, size, "anonymizer size")
  seeds = layers.seed_stream(seed)
  channels = [layers.scaled(c, width) for c in preset.channels]
  stride = 2 ** len(channels)

  def conv(x, filters, kernel, name, stride=1, gain=RELU, centred=True):
    return layers.WeightNormConv(filters, kernel, stride, gain=gain, seed=next(seeds), centred=centred, name=name)(x)

  def act(x, name):
    return keras.layers.Activation(preset.activation, name=f"{name}_act")(x)

  def separable(x, filters, name, stride=1, gain=RELU):
    x = conv(x, None, 3, f"{name}_depthwise", stride, LINEAR, centred=False)  # the next one's mean holds this one's
    return conv(x, filters, 1, name, gain=gain)

  frames = keras.Input((None, None, 3), name="frames")  # [B, H, W, 3]
  x = layers.Multiple(stride, name="multiple")(frames)
  x = act(conv(x, channels[0], 3, "down1", stride=2), "down1")  # [B, H/2, W/2, C1]
  for i, filters in enumerate(channels[1:], 2):
    x = act(separable(x, filters, f"down{i}", stride=2), f"down{i}")  # [B, H/2^i, W/2^i, Ci]
  for i in range(1, preset.blocks + 1):
    h = act(separable(x, channels[-1], f"block{i}_a"), f"block{i}_a")
    h = separable(h, channels[-1], f"block{i}_b", gain=BRANCH)
    x = keras.layers.Add(name=f"block{i}")([x, h])
  x = conv(x, 3 * stride ** 2, 3, "pixels", gain=LINEAR, centred=False)  # [B, H/2^n, W/2^n, 3 * 4^n]
  x = layers.DepthToSpace(stride, name="depth_to_space")(x)  # [B, H, W, 3]
  out = layers.pixels("anonymized")(x)  # [B, H, W, 3]
  return keras.Model(frames, out, name="compact")
