"""UNet (Ronneberger et al., MICCAI 2015) with batch norm: f^D of SPAct and of MPPAR's protocols B and D.

The published code up-samples bilinearly. TensorFlow's bilinear resizing has no second derivative, or silently drops it, so this one
up-samples by nearest neighbour; the convolutions that follow can learn the interpolation, and no parameter is added or lost.
"""

from typing import NamedTuple

import keras

from mppar_tf.models import layers


class Size(NamedTuple):
  channels: tuple[int, ...]  # of the encoder, one level of halved resolution each
  activation: str
  pool: type[keras.layers.Layer]


SIZES = {
    "paper": Size(channels=(64, 128, 256, 512, 512), activation="relu", pool=keras.layers.MaxPool2D),
    "small": Size(channels=(8, 16, 24, 24), activation="relu", pool=keras.layers.MaxPool2D),
    "tiny": Size(channels=(2, 3, 3), activation="softplus", pool=keras.layers.AveragePooling2D),
}


@layers.in_floatx
def build(*, size: str = "paper", width: float = 1.0, seed: int = 0, norm: str = "batch") -> keras.Model:
  """Frames [B, H, W, 3] in [0, 1] -> same; H and W are free, multiples of 16 ("paper"), 8 ("small") or 4 ("tiny").

  17,267,523 trainable parameters at paper size. `norm`: "batch" as published, or "instance". ValueError: an unknown size or norm,
  or a frame whose side is no such multiple.
  """
  preset = layers.choose(SIZES, size, "anonymizer size")
  init = layers.initializers(layers.seed_stream(seed), "he")
  channels = [layers.scaled(c, width) for c in preset.channels]
  depth = len(channels) - 1

  def double_conv(x, inside, out, name):
    for part, filters in (("a", inside), ("b", out)):
      # The bias is idle before a norm; it stays, since the published count has it.
      x = keras.layers.Conv2D(filters, 3, padding="same", kernel_initializer=init(), name=f"{name}_{part}")(x)
      x = layers.norm(norm, f"{name}_{part}_norm")(x)
      x = keras.layers.Activation(preset.activation, name=f"{name}_{part}_act")(x)
    return x

  frames = keras.Input((None, None, 3), name="frames")  # [B, H, W, 3]
  x = layers.Multiple(2 ** depth, name="multiple")(frames)
  skips = []
  for i, filters in enumerate(channels):
    x = double_conv(x, filters, filters, f"encode{i}")  # [B, H/2^i, W/2^i, Ci]
    if i < depth:
      skips.append(x)
      x = preset.pool(2, name=f"pool{i}")(x)
  for i, skip in reversed(list(enumerate(skips))):
    x = layers.NearestUp(name=f"up{i}")(x)
    x = keras.layers.Concatenate(name=f"joined{i}")([skip, x])
    x = double_conv(x, x.shape[-1] // 2, channels[max(i - 1, 0)], f"decode{i}")  # [B, H/2^i, W/2^i, C(i-1)]
  x = keras.layers.Conv2D(3, 1, kernel_initializer=init("glorot"), name="pixels")(x)
  out = layers.pixels("anonymized")(x)  # [B, H, W, 3]
  return keras.Model(frames, out, name="unet")
