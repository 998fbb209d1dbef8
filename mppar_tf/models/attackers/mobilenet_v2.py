"""MobileNetV2 (Sandler et al., CVPR 2018) at eight widths: the attackers that train f^D in MPPAR's protocols A and C.

At paper size the variables stand in the order and in the shapes of `keras.applications.MobileNetV2`. That one is not used itself:
its initializers take no seed, its batch norms are not synchronized, and it has no smaller twin.
"""

from typing import NamedTuple

import keras

from mppar_tf.models import layers


class Stage(NamedTuple):
  expansion: int  # of the channels inside each inverted residual block
  channels: int
  blocks: int
  stride: int  # of the first block


class Size(NamedTuple):
  stem: int
  stages: tuple[Stage, ...]
  head: int
  divisor: int  # channels are multiples of it
  activation: str
  start: str  # initializer of the kernels


SIZES = {
    "paper": Size(
        stem=32, head=1280, divisor=8, activation="relu6", start="he",
        stages=(Stage(1, 16, 1, 1), Stage(6, 24, 2, 2), Stage(6, 32, 3, 2), Stage(6, 64, 4, 2), Stage(6, 96, 3, 1),
                Stage(6, 160, 3, 2), Stage(6, 320, 1, 1))),
    "small": Size(
        stem=12, head=64, divisor=2, activation="relu6", start="short",
        stages=(Stage(3, 16, 1, 1), Stage(3, 24, 2, 2), Stage(3, 32, 1, 2))),
    "tiny": Size(stem=3, head=5, divisor=1, activation="softplus", start="he", stages=(Stage(1, 3, 1, 1), Stage(2, 4, 2, 2))),
}


def divisible(channels: float, divisor: int) -> int:
  """The nearest multiple of `divisor`, at least one of it, and never below 90 % of `channels` (the authors' rule)."""
  nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
  return nearest + divisor if nearest < 0.9 * channels else nearest


@layers.in_floatx
def build(*, outputs: int, crop: int, width: float = 1.0, size: str = "paper", seed: int = 0) -> keras.Model:
  """Frames [B, H, W, 3] in [0, 1], H = W = `crop` -> logits [B, outputs]. `width` multiplies channels. ValueError: unknown size."""
  preset = layers.choose(SIZES, size, "attacker size")
  init = layers.initializers(layers.seed_stream(seed), preset.start)

  def norm(x, name, activate=True):
    x = layers.batch_norm(f"{name}_norm")(x)
    return keras.layers.Activation(preset.activation, name=f"{name}_act")(x) if activate else x

  def conv(x, channels, kernel, name, stride=1, activate=True):
    x = keras.layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, kernel_initializer=init(), name=name)(x)
    return norm(x, name, activate)

  def inverted_residual(x, expansion, channels, stride, name):
    inside = expansion * x.shape[-1]
    h = conv(x, inside, 1, f"{name}_expand") if expansion > 1 else x
    depthwise = keras.layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False,
                                             depthwise_initializer=init(f"{preset.start}_depthwise_3x3"), name=f"{name}_depth")
    h = conv(norm(depthwise(h), f"{name}_depth"), channels, 1, f"{name}_project", activate=False)
    return keras.layers.Add(name=name)([x, h]) if stride == 1 and x.shape[-1] == channels else h

  frames = keras.Input((crop, crop, 3), name="frames")  # [B, H, W, 3]
  x = keras.layers.Rescaling(2.0, offset=-1.0, name="centred")(frames)
  x = conv(x, divisible(preset.stem * width, preset.divisor), 3, "stem", stride=2)  # [B, H/2, W/2, C]
  for i, stage in enumerate(preset.stages, 1):
    channels = divisible(int(stage.channels * width), preset.divisor)
    for j in range(stage.blocks):
      x = inverted_residual(x, stage.expansion, channels, stage.stride if j == 0 else 1, f"stage{i}_block{j + 1}")
  # A width below one leaves the head as wide as it is, as in the paper.
  x = conv(x, divisible(preset.head * max(1.0, width), preset.divisor), 1, "head")
  x = keras.layers.GlobalAveragePooling2D(name="pooled")(x)  # [B, C]
  logits = layers.logits(outputs, init("glorot"))(x)  # [B, outputs]
  return keras.Model(frames, logits, name=f"mobilenet_v2_{width}")
