"""ResNet-50 with a projection head (SPAct, CVPR 2022): embeddings on which the contrastive privacy budget, NT-Xent, is measured.

As in the authors' code the head is dense, ReLU, dense, both with biases and without batch norm, then divided by its length.
"""

from typing import NamedTuple

import keras

from mppar_tf.models import layers
from mppar_tf.models.attackers import resnet


class Head(NamedTuple):
  hidden: int
  embedding: int


HEADS = {"paper": Head(2048, 128), "small": Head(40, 16), "tiny": Head(5, 4)}


@layers.in_floatx
def build(*, crop: int, size: str = "paper", seed: int = 0) -> keras.Model:
  """Frames [B, H, W, 3] in [0, 1], H = W = `crop` -> embeddings [B, D] of length one; D is 128 at size paper.

  27,993,216 trainable parameters there: 23,534,592 of ResNet-V1-50 and 4,458,624 of the head. ValueError: an unknown size.
  """
  head, preset = layers.choose(HEADS, size, "contrastive network's size"), resnet.SIZES[size]
  init = layers.initializers(layers.seed_stream(seed), preset.start)
  frames = keras.Input((crop, crop, 3), name="frames")  # [B, H, W, 3]
  x = resnet.features(frames, preset, init, version=1, depth=50)  # [B, C]
  x = keras.layers.Dense(head.hidden, kernel_initializer=init(), name="hidden")(x)
  x = keras.layers.Activation(preset.activation, name="hidden_act")(x)  # [B, hidden]
  x = keras.layers.Dense(head.embedding, kernel_initializer=init("glorot"), name="projection")(x)
  embedding = keras.layers.UnitNormalization(dtype=keras.config.floatx(), name="embedding")(x)  # [B, D]
  return keras.Model(frames, embedding, name="resnet50_projection")
