"""ResNet-V1 and V2 (He et al., CVPR 2016 and ECCV 2016), 50 and 101 layers: attackers that judge f^D in protocols A and C; in B and D
V1-50 attacks in training too.

Why not keras_cv's `ResNetBackbone` and `ResNetV2Backbone`, which build from numbers too: their stem (64 channels, 7x7, stride 4) is
fixed, so that no 32-pixel twin can be made of them; their batch norms are not synchronized and their initializers take no seed, which
a clone of each model would have to mend; and their V1 has no biases, so that its weights are not interchangeable with those of
`keras.applications`. Here the variables of all four, at paper size, stand in the order and the shapes of `keras.applications`, and V1
is centred on the mean of ImageNet's colours as it is there.
"""

from typing import NamedTuple

import keras

from mppar_tf.models import layers

EPSILON = 1.001e-5
CENTRED = -1.0  # added to 2 * frames
# V1's published weights were trained on pixels less the mean of ImageNet's (R, G, B). The first convolution pads with zeros: they must
# stand for that mean, which a shift folded into its bias could not bring about at the border.
IMAGENET_CENTRED = tuple(-mean / 127.5 for mean in (123.68, 116.779, 103.939))


class Size(NamedTuple):
  stem: int
  stem_kernel: int
  stem_stride: int
  stem_pool: int  # side of the max pool of stride 2 that ends the stem; 0: none
  channels: tuple[int, ...]  # of each stage, inside its blocks
  blocks: dict[int, tuple[int, ...]]  # nominal depth -> blocks of each stage
  bottleneck: bool  # 1x1, 3x3, 1x1 with four times the channels at the end; else two 3x3
  activation: str
  start: str  # initializer of the kernels
  v1_centred: float | tuple[float, float, float] = CENTRED  # V2 has CENTRED at every size


SIZES = {
    "paper": Size(stem=64, stem_kernel=7, stem_stride=2, stem_pool=3, channels=(64, 128, 256, 512),
                  blocks={50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}, bottleneck=True, activation="relu", start="he",
                  v1_centred=IMAGENET_CENTRED),
    "small": Size(stem=16, stem_kernel=3, stem_stride=1, stem_pool=2, channels=(16, 24, 40),
                  blocks={50: (1, 1, 1), 101: (1, 2, 2)}, bottleneck=False, activation="relu", start="short"),
    "tiny": Size(stem=3, stem_kernel=3, stem_stride=2, stem_pool=0, channels=(2, 3),
                 blocks={50: (1, 1), 101: (1, 2)}, bottleneck=True, activation="softplus", start="he"),
}


@layers.in_floatx
def build(*, outputs: int, crop: int, version: int = 1, depth: int = 50, size: str = "paper", seed: int = 0) -> keras.Model:
  """Frames [B, H, W, 3] in [0, 1], H = W = `crop` -> logits [B, outputs].

  `version` 1: norm and activation after each convolution; 2: before it. `depth` 50 or 101. ValueError: an unknown size, depth or
  version.
  """
  preset = layers.choose(SIZES, size, "attacker size")
  init = layers.initializers(layers.seed_stream(seed), preset.start)
  frames = keras.Input((crop, crop, 3), name="frames")  # [B, H, W, 3]
  x = features(frames, preset, init, version, depth)  # [B, C]
  logits = layers.logits(outputs, init("glorot"))(x)  # [B, outputs]
  return keras.Model(frames, logits, name=f"resnet_v{version}_{depth}")


def features(frames, preset: Size, init: layers.InitializerSource, version: int, depth: int):
  """Frames [B, H, W, 3] in [0, 1] -> pooled features [B, C]: all but the classifier. ValueError: an unknown depth or version."""
  blocks = layers.choose(preset.blocks, depth, "ResNet depth")
  residual = layers.choose({1: _post_activated, 2: _pre_activated}, version, "ResNet version")
  part = _Parts(preset, init)
  widen = 4 if preset.bottleneck else 1

  x = keras.layers.Rescaling(2.0, offset=preset.v1_centred if version == 1 else CENTRED, name="centred")(frames)
  x = part.conv(x, preset.stem, preset.stem_kernel, preset.stem_stride, "stem")  # [B, H/2, W/2, C]
  if version == 1:
    x = part.norm_act(x, "stem")
  if preset.stem_pool:
    x = keras.layers.ZeroPadding2D((preset.stem_pool - 1) // 2, name="stem_pool_pad")(x)
    x = keras.layers.MaxPool2D(preset.stem_pool, 2, name="stem_pool")(x)  # [B, H/4, W/4, C]
  for i, (channels, count) in enumerate(zip(preset.channels, blocks), 1):
    for j in range(1, count + 1):
      # V1 halves the resolution in the first block of all stages but the first, V2 in the last block of all stages but the last.
      halved = (j == 1 and i > 1) if version == 1 else (j == count and i < len(blocks))
      x = residual(part, x, channels, channels * widen, 2 if halved else 1, j == 1, f"stage{i}_block{j}")
  if version == 2:
    x = part.norm_act(x, "post")
  return keras.layers.GlobalAveragePooling2D(name="pooled")(x)  # [B, C]


class _Parts(NamedTuple):
  preset: Size
  init: layers.InitializerSource

  def conv(self, x, channels, kernel, stride, name, bias=True):
    if kernel > 1:  # Keras's "same" pads one side more where the stride is 2; the published networks pad both alike.
      x = keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    return keras.layers.Conv2D(channels, kernel, stride, use_bias=bias, kernel_initializer=self.init(), name=name)(x)

  def norm(self, x, name):
    return layers.batch_norm(f"{name}_norm", epsilon=EPSILON)(x)

  def act(self, x, name):
    return keras.layers.Activation(self.preset.activation, name=f"{name}_act")(x)

  def norm_act(self, x, name):
    return self.act(self.norm(x, name), name)


def _post_activated(part, x, inside, out, stride, first, name):
  """V1: act(shortcut + f(x)), f ends in a norm."""
  shortcut = part.norm(part.conv(x, out, 1, stride, f"{name}_shortcut"), f"{name}_shortcut") if first else x
  if part.preset.bottleneck:
    h = part.norm_act(part.conv(x, inside, 1, stride, f"{name}_a"), f"{name}_a")
    h = part.norm_act(part.conv(h, inside, 3, 1, f"{name}_b"), f"{name}_b")
    h = part.norm(part.conv(h, out, 1, 1, f"{name}_c"), f"{name}_c")
  else:
    h = part.norm_act(part.conv(x, inside, 3, stride, f"{name}_a"), f"{name}_a")
    h = part.norm(part.conv(h, out, 3, 1, f"{name}_b"), f"{name}_b")
  return part.act(keras.layers.Add(name=name)([shortcut, h]), name)


def _pre_activated(part, x, inside, out, stride, first, name):
  """V2: shortcut + f(act(norm(x))), f ends in a convolution."""
  pre = part.norm_act(x, f"{name}_pre")
  if first:
    shortcut = part.conv(pre, out, 1, stride, f"{name}_shortcut")
  else:
    shortcut = keras.layers.MaxPool2D(1, stride, name=f"{name}_shortcut")(x) if stride > 1 else x
  if part.preset.bottleneck:
    h = part.norm_act(part.conv(pre, inside, 1, 1, f"{name}_a", bias=False), f"{name}_a")
    h = part.norm_act(part.conv(h, inside, 3, stride, f"{name}_b", bias=False), f"{name}_b")
    h = part.conv(h, out, 1, 1, f"{name}_c")
  else:
    h = part.norm_act(part.conv(pre, inside, 3, stride, f"{name}_a", bias=False), f"{name}_a")
    h = part.conv(h, out, 3, 1, f"{name}_b")
  return keras.layers.Add(name=name)([shortcut, h])
