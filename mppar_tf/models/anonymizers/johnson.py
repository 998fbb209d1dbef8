"""Johnson's image transformation network (Johnson et al., ECCV 2016, with instance norm): f^D of VITA and of MPPAR's protocols A and C.

No skip leads from input to output: what leaves the camera has passed the bottleneck.
"""

from typing import NamedTuple

import keras

from mppar_tf.models import layers


class Size(NamedTuple):
  edge: int  # side of the first and the last kernel
  channels: tuple[int, ...]  # full resolution, then one stride-2 convolution each
  blocks: int  # residual blocks at the lowest resolution
  activation: str
  start: str  # initializer of every kernel under a norm; one without has Glorot's
  norm_last: bool  # normalize the last convolution too, as VITA does


SIZES = {
    "paper": Size(edge=9, channels=(32, 64, 128), blocks=5, activation="relu", start="truncated_0.1", norm_last=True),
    # A norm at the end would fix each frame's brightness and contrast: 300 steps of reconstruction end 5 % worse with it. From short
    # kernels they end at an L1 of .076, from Glorot's at .086.
    "small": Size(edge=3, channels=(8, 16), blocks=1, activation="relu", start="short", norm_last=False),
    "tiny": Size(edge=3, channels=(3, 4), blocks=1, activation="softplus", start="glorot", norm_last=True),
}


@layers.in_floatx
def build(*, size: str = "paper", width: float = 1.0, seed: int = 0) -> keras.Model:
  """Frames [B, H, W, 3] in [0, 1] -> same; H and W are free, multiples of 4 ("paper") or 2.

  1,677,638 parameters at paper size. ValueError: an unknown size, or a frame whose side is no such multiple.
  """
  preset = layers.choose(SIZES, size, "anonymizer size")
  init = layers.initializers(layers.seed_stream(seed), preset.start)
  full, *lower = [layers.scaled(c, width) for c in preset.channels]

  def conv(x, channels, kernel, name, stride=1, transposed=False, normalized=True):
    kind = keras.layers.Conv2DTranspose if transposed else keras.layers.Conv2D
    # The norm that follows would remove a bias, and has a shift of its own.
    start = init(preset.start if normalized else "glorot")
    x = kind(channels, kernel, stride, padding="same", use_bias=not normalized, kernel_initializer=start, name=name)(x)
    return layers.InstanceNorm(name=f"{name}_norm")(x) if normalized else x

  def act(x, name):
    return keras.layers.Activation(preset.activation, name=f"{name}_act")(x)

  frames = keras.Input((None, None, 3), name="frames")  # [B, H, W, 3]
  x = layers.Multiple(2 ** len(lower), name="multiple")(frames)
  x = act(conv(x, full, preset.edge, "edge_in"), "edge_in")  # [B, H, W, C0]
  for i, channels in enumerate(lower, 1):
    x = act(conv(x, channels, 3, f"down{i}", stride=2), f"down{i}")  # [B, H/2^i, W/2^i, Ci]
  for i in range(1, preset.blocks + 1):
    h = act(conv(x, lower[-1], 3, f"block{i}_a"), f"block{i}_a")
    h = conv(h, lower[-1], 3, f"block{i}_b")
    x = keras.layers.Add(name=f"block{i}")([x, h])
  for i, channels in enumerate([*lower[-2::-1], full], 1):
    x = act(conv(x, channels, 3, f"up{i}", stride=2, transposed=True), f"up{i}")  # ... -> [B, H, W, C0]
  x = conv(x, 3, preset.edge, "edge_out", normalized=preset.norm_last)
  out = layers.pixels("anonymized")(x)  # [B, H, W, 3]
  return keras.Model(frames, out, name="johnson")
