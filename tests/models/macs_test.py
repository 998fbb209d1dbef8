"""Multiply-adds against counts by hand, and against the shapes of the traced graph."""

import math

import keras
import pytest
import tensorflow as tf

from mppar_tf.models import macs
from mppar_tf.models.anonymizers import ANONYMIZERS

FULL, HALF, QUARTER = 112 ** 2, 56 ** 2, 28 ** 2  # pixels


def unet(sides=FULL):
  """Double convolutions of 3x3 on the way down, on the way up, and three of 1x1."""
  places = [sides // 4 ** level for level in range(5)]
  down = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512), (512, 512), (512, 512)]
  up = [(1024, 512), (512, 256), (512, 256), (256, 128), (256, 128), (128, 64), (128, 64), (64, 64)]
  counted = sum(9 * a * b * places[i // 2] for i, (a, b) in enumerate(down))
  return counted + sum(9 * a * b * places[3 - i // 2] for i, (a, b) in enumerate(up)) + 3 * 64 * sides


# In a transposed convolution every input pixel meets the kernel.
JOHNSON = (FULL * 81 * 3 * 32 + HALF * 9 * 32 * 64 + QUARTER * 9 * 64 * 128 + 10 * QUARTER * 9 * 128 * 128
           + QUARTER * 9 * 128 * 64 + HALF * 9 * 64 * 32 + FULL * 81 * 32 * 3)
SEPARABLE = QUARTER * (9 * 64 + 64 * 64)
COMPACT = HALF * 27 * 16 + QUARTER * (9 * 16 + 16 * 64) + 8 * SEPARABLE + QUARTER * 9 * 64 * 48


@pytest.mark.parametrize("name, count, millions", [
    ("johnson", JOHNSON, 1582), ("unet", unet(), 7654), ("compact", COMPACT, 53)])
def test_counts_by_hand_at_paper_size(name, count, millions):
  assert macs.count(ANONYMIZERS[name](), 112, 112) == count
  assert round(count / 1e6) == millions


def of_graph(model, height, width):
  """From the convolutions that TensorFlow runs."""
  concrete = tf.function(lambda x: model(x, training=False)).get_concrete_function(tf.TensorSpec([1, height, width, 3]))
  total = 0
  for op in concrete.graph.get_operations():
    if op.type in ("Conv2D", "DepthwiseConv2dNative"):
      total += math.prod(op.outputs[0].shape[1:3]) * math.prod(op.inputs[1].shape)
    if op.type == "Conv2DBackpropInput":  # a transposed convolution is the gradient of one
      total += math.prod(op.inputs[2].shape[1:3]) * math.prod(op.inputs[1].shape)
  return total


@pytest.mark.parametrize("size", ["tiny", "small"])
@pytest.mark.parametrize("name", ANONYMIZERS)
def test_counts_are_those_of_the_graph_that_runs(name, size):
  model = ANONYMIZERS[name](size=size, width=1.5)
  counted = macs.by_layer(model, 32, 48)
  assert sum(counted.values()) == of_graph(model, 32, 48) > 0
  assert all(value > 0 for value in counted.values()) and set(counted) <= {layer.name for layer in model.layers}


def test_four_times_the_pixels_are_four_times_the_work():
  model = ANONYMIZERS["compact"](size="small")
  assert macs.count(model, 64, 64) == 4 * macs.count(model, 32, 32)


def test_layers_that_nobody_can_count_are_named():
  frames = keras.Input((8, 8, 3))
  model = keras.Model(frames, keras.layers.SeparableConv2D(4, 3, name="odd")(frames))
  with pytest.raises(ValueError, match=r"not known of odd \(SeparableConv2D\)"):
    macs.count(model, 8, 8)


def test_a_size_that_the_network_does_not_take_is_told():
  with pytest.raises(ValueError, match="^height is 30 pixels; this anonymizer needs a multiple of 4"):
    macs.count(ANONYMIZERS["compact"](), 30, 32)
