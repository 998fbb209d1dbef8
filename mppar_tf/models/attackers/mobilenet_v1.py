"""MobileNet (Howard et al., 2017) at four widths: attackers that judge f^D in MPPAR's protocols A and C.

At paper size the kernels are those of `keras.applications.MobileNet` (see mobilenet_v2.py for why that one is not used itself); its
last 1x1 convolution on the pooled features is the dense layer here.
"""

from typing import NamedTuple

import keras

from mppar_tf.models import layers


class Size(NamedTuple):
  stem: int
  stages: tuple[tuple[int, int], ...]  # (channels, stride) of each depthwise separable convolution
  activation: str
  start: str  # initializer of the kernels
  pad_below: bool = False  # where the resolution is halved, pad below and right alone; Keras's "same" pads an odd side on both ends


SIZES = {
    "paper": Size(
        stem=32, activation="relu6", start="he", pad_below=True,  # as keras.applications, whose weights saw no other
        stages=((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1),
                (1024, 2), (1024, 1))),
    "small": Size(stem=16, activation="relu6", start="short", stages=((32, 1), (48, 2), (48, 1), (80, 2))),
    "tiny": Size(stem=4, activation="softplus", start="he", stages=((4, 1), (8, 2))),
}


@layers.in_floatx
def build(*, outputs: int, crop: int, width: float = 1.0, size: str = "paper", seed: int = 0) -> keras.Model:
  """Frames [B, H, W, 3] in [0, 1], H = W = `crop` -> logits [B, outputs]. `width` multiplies channels. ValueError: unknown size."""
  preset = layers.choose(SIZES, size, "attacker size")
  init = layers.initializers(layers.seed_stream(seed), preset.start)

  def norm_act(x, name):
    x = layers.batch_norm(f"{name}_norm")(x)
    return keras.layers.Activation(preset.activation, name=f"{name}_act")(x)

  def conv(x, channels, kernel, stride, name):
    x = keras.layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, kernel_initializer=init(), name=name)(x)
    return norm_act(x, name)

  frames = keras.Input((crop, crop, 3), name="frames")  # [B, H, W, 3]
  x = keras.layers.Rescaling(2.0, offset=-1.0, name="centred")(frames)
  x = conv(x, int(preset.stem * width), 3, 2, "stem")  # [B, H/2, W/2, C]
  for i, (channels, stride) in enumerate(preset.stages, 1):
    padding = "same"
    if stride == 2 and preset.pad_below and x.shape[1] > 1:  # one pixel has nothing to halve
      x, padding = keras.layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"stage{i}_pad")(x), "valid"
    depthwise = keras.layers.DepthwiseConv2D(3, stride, padding=padding, use_bias=False,
                                             depthwise_initializer=init(f"{preset.start}_depthwise_3x3"), name=f"stage{i}_depth")
    x = norm_act(depthwise(x), f"stage{i}_depth")
    x = conv(x, int(channels * width), 1, 1, f"stage{i}_point")
  x = keras.layers.GlobalAveragePooling2D(name="pooled")(x)  # [B, C]
  logits = layers.logits(outputs, init("glorot"))(x)  # [B, outputs]
  return keras.Model(frames, logits, name=f"mobilenet_v1_{width}")
