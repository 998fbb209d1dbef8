"""Parameter counts and output shapes of every architecture at paper size, against the papers, the published code and keras.applications."""

import keras
import pytest
import tensorflow as tf

from mppar_tf.models.anonymizers import ANONYMIZERS
from mppar_tf.models.attackers import ATTACKERS
from mppar_tf.models.recognizers import RECOGNIZERS


def trainable(model):
  return sum(int(tf.size(v.value)) for v in model.trainable_variables)


def test_johnson():
  model = ANONYMIZERS["johnson"]()
  assert trainable(model) == 1_677_638
  assert model.compute_output_shape((2, 112, 112, 3)) == (2, 112, 112, 3)


def test_c3d():
  model = RECOGNIZERS["c3d"](classes=51, frames=16, crop=112, dropout=0.5)
  assert trainable(model) == 78_204_723
  assert model.get_layer("pool5").output.shape == (None, 1, 4, 4, 512)
  assert model.output_shape == (None, 51)


@pytest.mark.parametrize("width", [0.35, 0.5, 0.6, 0.75, 0.9, 1.0, 1.3, 1.4])
def test_mobilenet_v2_has_the_shapes_of_keras_applications(width):
  ours = ATTACKERS[f"mobilenet_v2_{width}"](outputs=5, crop=112)
  oracle = keras.applications.MobileNetV2((112, 112, 3), alpha=width, weights=None, classes=5)
  assert [v.shape for v in ours.weights] == [v.shape for v in oracle.weights]
  assert ours.output_shape == (None, 5)
