"""R3D-18 (Tran et al., CVPR 2018): an 18-layer residual network of 3-D convolutions; f^A of SPAct and of MPPAR's protocols B and D.

As in SPAct, the last stage keeps its temporal resolution (the original halves it there too); this changes no parameter.
"""

from typing import NamedTuple

import keras

from mppar_tf.models import layers


class Stage(NamedTuple):
  channels: int
  blocks: int
  stride: tuple[int, int, int]  # of the first block (T, H, W)


class Size(NamedTuple):
  stem: int
  stem_kernel: tuple[int, int, int]
  stages: tuple[Stage, ...]
  activation: str
  start: str  # initializer of the kernels


SIZES = {
    "paper": Size(
        stem=64, stem_kernel=(3, 7, 7), activation="relu", start="he",
        stages=(Stage(64, 2, (1, 1, 1)), Stage(128, 2, (2, 2, 2)), Stage(256, 2, (2, 2, 2)), Stage(512, 2, (1, 2, 2)))),
    "small": Size(
        stem=8, stem_kernel=(3, 3, 3), activation="relu", start="short",
        stages=(Stage(8, 1, (1, 1, 1)), Stage(16, 1, (2, 2, 2)), Stage(40, 1, (1, 2, 2)))),
    "tiny": Size(stem=2, stem_kernel=(3, 3, 3), activation="softplus", start="he", stages=(Stage(2, 1, (1, 1, 1)), Stage(3, 1, (1, 2, 2)))),
}


@layers.in_floatx
def build(*, classes: int, frames: int, crop: int, size: str = "paper", width: float = 1.0, dropout: float = 0.0,
          seed: int = 0) -> keras.Model:
  """Clips [B, T, H, W, 3] in [0, 1], T = `frames`, H = W = `crop` -> logits [B, classes].

  33,371,472 trainable parameters at paper size with 400 classes, torchvision's count. `dropout` acts before the logits. ValueError:
  an unknown size.
  """
  preset = layers.choose(SIZES, size, "recognizer size")
  seeds = layers.seed_stream(seed)
  init = layers.initializers(seeds, preset.start)

  def conv(x, channels, kernel, stride, name):
    x = keras.layers.Conv3D(channels, kernel, stride, padding="same", use_bias=False, kernel_initializer=init(), name=name)(x)
    return layers.batch_norm(f"{name}_norm", epsilon=1e-5)(x)

  def act(x, name):
    return keras.layers.Activation(preset.activation, name=f"{name}_act")(x)

  def residual(x, channels, stride, name):
    same = stride == (1, 1, 1) and x.shape[-1] == channels
    shortcut = x if same else conv(x, channels, 1, stride, f"{name}_shortcut")
    h = act(conv(x, channels, 3, stride, f"{name}_a"), f"{name}_a")
    h = conv(h, channels, 3, 1, f"{name}_b")
    return act(keras.layers.Add(name=name)([shortcut, h]), name)

  clips = keras.Input((frames, crop, crop, 3), name="clips")  # [B, T, H, W, 3]
  x = keras.layers.Rescaling(2.0, offset=-1.0, name="centred")(clips)
  x = act(conv(x, layers.scaled(preset.stem, width), preset.stem_kernel, (1, 2, 2), "stem"), "stem")  # [B, T, H/2, W/2, C]
  for i, stage in enumerate(preset.stages, 1):
    for j in range(stage.blocks):
      stride = stage.stride if j == 0 else (1, 1, 1)
      x = residual(x, layers.scaled(stage.channels, width), stride, f"stage{i}_block{j + 1}")
  x = keras.layers.GlobalAveragePooling3D(name="pooled")(x)  # [B, C]
  if dropout:
    x = layers.Dropout(dropout, seed=next(seeds), name="dropout")(x)
  logits = layers.logits(classes, init("glorot"))(x)  # [B, classes]
  return keras.Model(clips, logits, name="r3d18")
