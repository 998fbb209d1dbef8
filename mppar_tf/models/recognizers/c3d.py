"""C3D (Tran et al., ICCV 2015): f^A of VITA and of MPPAR's protocols A and C. 3x3x3 convolutions, pools, two hidden dense layers."""

from typing import NamedTuple

import keras

from mppar_tf.models import layers


class Stage(NamedTuple):
  channels: tuple[int, ...]  # one convolution each
  stride: tuple[int, int, int]  # of the first convolution (T, H, W)
  pool: tuple[int, int, int]  # max pool after the last; (1, 1, 1): none


class Size(NamedTuple):
  stages: tuple[Stage, ...]
  hidden: tuple[int, ...]  # dense layers before the logits
  batch_norm: bool
  activation: str
  start: str  # initializer of the kernels


SIZES = {
    # As published: no normalization.
    "paper": Size(
        stages=(Stage((64,), (1, 1, 1), (1, 2, 2)), Stage((128,), (1, 1, 1), (2, 2, 2)), Stage((256, 256), (1, 1, 1), (2, 2, 2)),
                Stage((512, 512), (1, 1, 1), (2, 2, 2)), Stage((512, 512), (1, 1, 1), (2, 2, 2))),
        hidden=(4096, 4096), batch_norm=False, activation="relu", start="he"),
    "small": Size(
        stages=(Stage((10,), (1, 2, 2), (1, 1, 1)), Stage((20,), (1, 1, 1), (2, 2, 2)), Stage((40,), (1, 1, 1), (2, 2, 2))),
        hidden=(), batch_norm=True, activation="relu", start="short"),
    # Strides stand in for pools: on CPUs TensorFlow has no 3-D pool in float64.
    "tiny": Size(
        stages=(Stage((3,), (1, 2, 2), (1, 1, 1)), Stage((4,), (2, 2, 2), (1, 1, 1))),
        hidden=(5,), batch_norm=True, activation="softplus", start="he"),
}


@layers.in_floatx
def build(*, classes: int, frames: int, crop: int, size: str = "paper", width: float = 1.0, dropout: float = 0.0,
          seed: int = 0) -> keras.Model:
  """Clips [B, T, H, W, 3] in [0, 1], T = `frames`, H = W = `crop` -> logits [B, classes].

  About 78.2 million parameters at paper size with 16x112x112 clips and 51 classes. `dropout` acts after each hidden layer (before
  the logits where there is none); the paper trains with 0.5. ValueError: an unknown size.
  """
  preset = layers.choose(SIZES, size, "recognizer size")
  seeds = layers.seed_stream(seed)
  init = layers.initializers(seeds, preset.start)

  def act(x, name):
    return keras.layers.Activation(preset.activation, name=f"{name}_act")(x)

  def drop(x, name):
    return layers.Dropout(dropout, seed=next(seeds), name=name)(x) if dropout else x

  clips = keras.Input((frames, crop, crop, 3), name="clips")  # [B, T, H, W, 3]
  x = keras.layers.Rescaling(2.0, offset=-1.0, name="centred")(clips)
  for i, stage in enumerate(preset.stages, 1):
    for j, channels in enumerate(stage.channels):
      name = f"conv{i}{'abcd'[j]}"
      x = keras.layers.Conv3D(layers.scaled(channels, width), 3, stage.stride if j == 0 else 1, padding="same",
                              use_bias=not preset.batch_norm, kernel_initializer=init(), name=name)(x)
      if preset.batch_norm:
        x = layers.batch_norm(f"{name}_norm")(x)
      x = act(x, name)
    if stage.pool != (1, 1, 1):
      x = keras.layers.MaxPool3D(stage.pool, padding="same", name=f"pool{i}")(x)  # [B, T', H', W', C]
  x = keras.layers.Flatten(name="flat")(x)  # [B, T' H' W' C]
  for i, units in enumerate(preset.hidden, 1):
    x = act(keras.layers.Dense(layers.scaled(units, width), kernel_initializer=init(), name=f"dense{i}")(x), f"dense{i}")
    x = drop(x, f"dropout{i}")
  if not preset.hidden:
    x = drop(x, "dropout")
  logits = layers.logits(classes, init("glorot"))(x)  # [B, classes]
  return keras.Model(clips, logits, name="c3d")
