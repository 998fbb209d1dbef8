"""Inception-V1 (Szegedy et al., CVPR 2015) and V2 (Ioffe and Szegedy, ICML 2015, "BN-Inception"): attackers that judge f^D in
protocols A and C. keras.applications has neither.

V1 has the channels and the 5x5 kernels of its paper; as in TF-slim, which VITA used, batch norm stands in for the local response
norms, biases, auxiliary heads and careful schedules without which the 2014 network does not train.
"""

from typing import NamedTuple

import keras

from mppar_tf.models import layers


class Conv(NamedTuple):
  kernel: int
  channels: int
  stride: int = 1


class Separable(NamedTuple):
  kernel: int
  channels: int
  stride: int = 1


class Max(NamedTuple):
  side: int
  stride: int = 1


class Average(NamedTuple):
  side: int
  stride: int = 1


class Module(NamedTuple):
  branches: tuple[tuple, ...]  # each a chain of the four above; their outputs are concatenated


def v1(one, three, five, pool):
  """A row of table 1 of the V1 paper: 1x1; (reduction, 3x3); (reduction, 5x5); pool projection."""
  return Module(((Conv(1, one),), (Conv(1, three[0]), Conv(3, three[1])), (Conv(1, five[0]), Conv(5, five[1])),
                 (Max(3), Conv(1, pool))))


def v2(one, three, double, pool, kind=Average):
  """A row of figure 5 of the V2 paper: 1x1; (reduction, 3x3); (reduction, 3x3 twice); pool projection."""
  return Module(((Conv(1, one),), (Conv(1, three[0]), Conv(3, three[1])),
                 (Conv(1, double[0]), Conv(3, double[1]), Conv(3, double[1])), (kind(3), Conv(1, pool))))


def v2_halved(three, double):
  """The rows of stride 2: no 1x1, and the pool passes through."""
  return Module(((Conv(1, three[0]), Conv(3, three[1], 2)), (Conv(1, double[0]), Conv(3, double[1]), Conv(3, double[1], 2)),
                 (Max(3, 2),)))


class Size(NamedTuple):
  stages: dict[int, dict[str, NamedTuple]]  # version -> named stages
  activation: str
  start: str  # initializer of the kernels


SIZES = {
    "paper": Size(activation="relu", start="he", stages={
        1: {"1": Conv(7, 64, 2), "1_pool": Max(3, 2), "2_reduce": Conv(1, 64), "2": Conv(3, 192), "2_pool": Max(3, 2),
            "3a": v1(64, (96, 128), (16, 32), 32), "3b": v1(128, (128, 192), (32, 96), 64), "3_pool": Max(3, 2),
            "4a": v1(192, (96, 208), (16, 48), 64), "4b": v1(160, (112, 224), (24, 64), 64), "4c": v1(128, (128, 256), (24, 64), 64),
            "4d": v1(112, (144, 288), (32, 64), 64), "4e": v1(256, (160, 320), (32, 128), 128), "4_pool": Max(3, 2),
            "5a": v1(256, (160, 320), (32, 128), 128), "5b": v1(384, (192, 384), (48, 128), 128)},
        2: {"1": Separable(7, 64, 2), "1_pool": Max(3, 2), "2_reduce": Conv(1, 64), "2": Conv(3, 192), "2_pool": Max(3, 2),
            "3a": v2(64, (64, 64), (64, 96), 32), "3b": v2(64, (64, 96), (64, 96), 64), "3c": v2_halved((128, 160), (64, 96)),
            "4a": v2(224, (64, 96), (96, 128), 128), "4b": v2(192, (96, 128), (96, 128), 128),
            "4c": v2(160, (128, 160), (128, 160), 96), "4d": v2(96, (128, 192), (160, 192), 96),
            "4e": v2_halved((128, 192), (192, 256)),
            "5a": v2(352, (192, 320), (160, 224), 128), "5b": v2(352, (192, 320), (192, 224), 128, Max)}}),
    "small": Size(activation="relu", start="short", stages={
        1: {"1": Conv(3, 16), "1_pool": Max(3, 2), "2a": v1(8, (6, 12), (3, 6), 6), "2_pool": Max(3, 2),
            "3a": v1(12, (10, 20), (5, 10), 8), "3b": v1(16, (14, 28), (6, 12), 8)},
        2: {"1": Conv(3, 16), "1_pool": Max(3, 2), "2a": v2(8, (6, 12), (4, 6), 6), "2b": v2_halved((8, 16), (6, 10)),
            "3a": v2(16, (12, 24), (8, 14), 8, Max)}}),
    "tiny": Size(activation="softplus", start="he", stages={
        1: {"1": Conv(3, 3, 2), "2a": v1(2, (2, 2), (2, 2), 1)},
        2: {"1": Separable(3, 3, 2), "2a": v2(2, (1, 2), (1, 2), 1), "3a": v2_halved((1, 2), (1, 2))}}),
}


@layers.in_floatx
def build(*, outputs: int, crop: int, version: int = 1, size: str = "paper", seed: int = 0) -> keras.Model:
  """Frames [B, H, W, 3] in [0, 1], H = W = `crop` -> logits [B, outputs]. ValueError: an unknown size or version."""
  preset = layers.choose(SIZES, size, "attacker size")
  stages = layers.choose(preset.stages, version, "Inception version")
  init = layers.initializers(layers.seed_stream(seed), preset.start)

  def norm_act(x, name):
    x = layers.batch_norm(f"{name}_norm")(x)
    return keras.layers.Activation(preset.activation, name=f"{name}_act")(x)

  def apply(x, step, name):
    match step:
      case Conv(kernel, channels, stride):
        x = keras.layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, kernel_initializer=init(), name=name)(x)
        return norm_act(x, name)
      case Separable(kernel, channels, stride):  # a depth multiplier of 8, as the V2 paper has it
        x = keras.layers.SeparableConv2D(channels, kernel, stride, padding="same", depth_multiplier=8, use_bias=False, name=name,
                                         depthwise_initializer=init("glorot"), pointwise_initializer=init())(x)
        return norm_act(x, name)
      case Max(side, stride):
        return keras.layers.MaxPool2D(side, stride, padding="same", name=name)(x)
      case Average(side, stride):
        return keras.layers.AveragePooling2D(side, stride, padding="same", name=name)(x)
      case Module(branches):
        return keras.layers.Concatenate(name=name)([chain(x, branch, f"{name}_{'abcd'[i]}") for i, branch in enumerate(branches)])

  def chain(x, steps, name):
    for i, step in enumerate(steps):
      x = apply(x, step, f"{name}{i}")
    return x

  frames = keras.Input((crop, crop, 3), name="frames")  # [B, H, W, 3]
  x = keras.layers.Rescaling(2.0, offset=-1.0, name="centred")(frames)
  for name, step in stages.items():
    x = apply(x, step, f"stage{name}")
  x = keras.layers.GlobalAveragePooling2D(name="pooled")(x)  # [B, C]
  logits = layers.logits(outputs, init("glorot"))(x)  # [B, outputs]
  return keras.Model(frames, logits, name=f"inception_v{version}")
