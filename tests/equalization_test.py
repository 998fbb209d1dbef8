"""Equalized networks are the networks that they were, and 8 bits hold them better."""

import keras
import numpy as np
import pytest
import tiny_exports

from mppar_tf import conversion, equalization
from mppar_tf.models import layers
from mppar_tf.models.anonymizers import ANONYMIZERS
from mppar_tf.on_camera import judge
from mppar_tf.on_camera.engine import Engine


def uneven(name, size="small", spread=3.0):
  """A network whose convolutions before a norm have channels of very different sizes, as those of a training; norms off their start."""
  model, random = ANONYMIZERS[name](size=size, seed=3), np.random.default_rng(5)
  for convolution, norm in equalization.normed(model):
    kernel = convolution.kernel.numpy()
    axis = 2 if isinstance(convolution, keras.layers.Conv2DTranspose) else 3
    factors = np.exp(random.uniform(-spread / 2, spread / 2, kernel.shape[axis]))
    convolution.kernel.assign(kernel * factors.reshape([-1 if i == axis else 1 for i in range(4)]))
    norm.scale.assign(random.uniform(0.5, 1.5, norm.scale.shape))
    norm.shift.assign(random.uniform(-0.3, 0.3, norm.shift.shape))
  return model


def pictures(count, side):
  return tiny_exports.pictures(count, side, side).astype(np.float32) / 255


def outputs(model, frames):
  return np.concatenate([np.asarray(model(frame[None], training=False)) for frame in frames])  # [N, H, W, 3]


@pytest.mark.parametrize("name, norms", [("johnson", 5), ("unet_instance_norm", 14)])
def test_it_is_the_same_function_and_its_channels_have_one_size(name, norms):
  model, frames = uneven(name), pictures(4, 32)
  weights = model.get_weights()
  copy = equalization.equalized(model, frames)
  assert np.abs(outputs(copy, frames) - outputs(model, frames)).max() < 2e-5
  assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), weights, strict=True))  # the model itself is left alone
  pairs = list(equalization.normed(copy))
  assert len(pairs) == norms
  for (_, norm), found in zip(pairs, equalization.channel_variances(copy, [convolution for convolution, _ in pairs], frames)):
    assert np.allclose(found + np.asarray(norm.epsilon), 1, rtol=1e-3)  # of the mean over frames, what the norm takes the root of


def test_8_bits_lose_less_of_it():
  model, frames = uneven("johnson"), pictures(12, 32)
  calibration, judged = frames[:8], frames[8:]
  expected = outputs(model, judged)
  psnr = [judge.psnr_db(expected, Engine(conversion.convert(conversion.freeze(one, 32, 32), 32, 32, "int8", calibration)).run_all(judged))
          for one in (model, equalization.equalized(model, calibration))]
  assert psnr[1] > psnr[0] + 3


def test_a_convolution_that_others_read_too_is_left_alone():
  frames = keras.Input((None, None, 3), name="frames")
  shared = keras.layers.Conv2D(4, 3, padding="same", name="shared")(frames)
  biased = keras.layers.Conv2D(4, 3, padding="same", bias_initializer="ones", name="biased")(layers.InstanceNorm(name="first")(shared))
  bent = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="bent")(layers.InstanceNorm(name="second")(biased))
  out = keras.layers.Conv2D(3, 1, name="last")(keras.layers.Add()([layers.InstanceNorm(name="third")(bent), shared]))
  model, seen = keras.Model(frames, out), pictures(2, 16)
  assert [(convolution.name, norm.name) for convolution, norm in equalization.normed(model)] == [("biased", "second")]
  assert np.abs(outputs(equalization.equalized(model, seen), seen) - outputs(model, seen)).max() < 1e-5


def test_a_network_without_instance_norm_is_returned_as_it_is():
  model = ANONYMIZERS["compact"](size="tiny", seed=0)
  assert equalization.equalized(model, pictures(1, 16)) is model
