"""The layers against Keras's own where those are right, and their promises where Keras has none."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mppar_tf.models import layers


def noise(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(2, 5, 4, 3), (2, 3, 4, 5, 6)])
def test_instance_norm_equals_group_norm_of_one_channel(shape):
  x = noise(*shape) * 3.0 + 2.0
  ours, oracle = layers.InstanceNorm(epsilon=1e-3), keras.layers.GroupNormalization(groups=-1, epsilon=1e-3)
  ours.build(shape), oracle.build(shape)
  for layer in (ours, oracle):
    layer.set_weights([noise(shape[-1], seed=1), noise(shape[-1], seed=2)])
  np.testing.assert_allclose(ours(x).numpy(), oracle(x).numpy(), atol=2e-5)


def test_nearest_up_equals_keras_with_free_sides():
  x = noise(2, 3, 5, 4)
  inputs = keras.Input((None, None, 4))
  model = keras.Model(inputs, layers.NearestUp()(inputs))
  assert model.output_shape == (None, None, None, 4)
  np.testing.assert_array_equal(model(x).numpy(), keras.layers.UpSampling2D(2, interpolation="nearest")(x).numpy())


def test_a_frame_of_the_wrong_size_is_named():
  with pytest.raises(ValueError, match="width is 30 pixels; this anonymizer needs a multiple of 4"):
    layers.Multiple(4)(noise(1, 32, 30, 3))


@pytest.mark.parametrize("filters", [5, None])
@pytest.mark.parametrize("stride", [1, 2])
def test_weight_norm_conv_is_a_convolution_whose_kernels_have_the_length_of_their_gain(filters, stride):
  layer = layers.WeightNormConv(filters, 3, stride, gain=1.0, seed=0)
  layer.build((None, 6, 8, 4))
  kernel, gain, bias = 2.0 * noise(3, 3, 4, filters or 1), noise(filters or 4, seed=1), noise(filters or 4, seed=2)
  layer.set_weights([kernel, gain, bias])
  lengths = np.sqrt((kernel ** 2).sum((0, 1, 2) if filters else (0, 1)))  # [filters], or [C, 1]
  kernel = kernel / lengths * (gain if filters else gain[:, None])
  oracle = keras.layers.Conv2D(filters, 3, stride, "same") if filters else keras.layers.DepthwiseConv2D(3, stride, "same")
  oracle.build((None, 6, 8, 4))
  oracle.set_weights([kernel, bias])
  x = noise(2, 6, 8, 4, seed=3)
  np.testing.assert_allclose(layer(x).numpy(), oracle(x).numpy(), atol=1e-5)


@pytest.mark.parametrize("filters, side", [(5, 3), (5, 1), (None, 3)])
def test_a_centred_convolution_has_its_bias_for_its_mean_over_each_picture(filters, side):
  plain, centred = (layers.WeightNormConv(filters, side, gain=1.0, seed=0, centred=centred) for centred in (False, True))
  x = noise(2, 6, 8, 4)
  bias = noise(filters or 4, seed=2)
  for layer in (plain, centred):
    layer.build(x.shape)
    layer.set_weights([noise(side, side, 4, filters or 1, seed=3), noise(filters or 4, seed=4), bias])
  found, uncentred = centred(x).numpy(), plain(x).numpy()
  np.testing.assert_allclose(found.mean((1, 2)), np.tile(bias, (2, 1)), atol=1e-5)
  np.testing.assert_allclose(found - bias, uncentred - uncentred.mean((1, 2), keepdims=True), atol=1e-5)


@pytest.mark.parametrize("filters", [400, None])
def test_a_new_convolution_keeps_the_size_of_noise_times_its_gain(filters):
  x = noise(1, 40, 40, 400)
  out = layers.WeightNormConv(filters, 3, gain=0.7, seed=5)(x).numpy()[:, 1:-1, 1:-1]
  assert out.std() == pytest.approx(0.7, rel=0.05)


def test_depth_to_space_deals_a_pixels_channels_out_row_by_row():
  x = noise(2, 3, 5, 2 * 2 * 3)
  inputs = keras.Input((None, None, 12))
  model = keras.Model(inputs, layers.DepthToSpace(2)(inputs))
  assert model.output_shape == (None, None, None, 3)
  out = model(x).numpy()
  assert out.shape == (2, 6, 10, 3)
  for row in range(2):
    for column in range(2):
      first = 3 * (2 * row + column)
      np.testing.assert_array_equal(out[:, row::2, column::2], x[..., first:first + 3])


@pytest.mark.parametrize("layer", [layers.InstanceNorm(epsilon=0.5), layers.NearestUp(), layers.Multiple(2), layers.Dropout(0.5, seed=3),
                                   layers.WeightNormConv(3, 3, 2, gain=0.5, seed=4), layers.DepthToSpace(2),
                                   layers.WeightNormConv(None, 3, gain=2.0, seed=4, centred=True)])
def test_layers_are_saved_with_their_settings(layer, tmp_path):
  inputs = keras.Input((4, 4, 4))
  model = keras.Model(inputs, layer(inputs))
  model.save(tmp_path / "model.keras")
  again = keras.models.load_model(tmp_path / "model.keras")
  x = noise(1, 4, 4, 4)
  np.testing.assert_array_equal(again(x).numpy(), model(x).numpy())
  assert again.layers[1].get_config() == layer.get_config()


def mask(layer, x):
  return layer(x, training=True).numpy() == 0


def test_dropout_keeps_the_mean_and_is_the_identity_outside_training():
  layer, x = layers.Dropout(0.3, seed=1), tf.ones((200, 200))
  np.testing.assert_array_equal(layer(x).numpy(), x.numpy())
  dropped = layer(x, training=True).numpy()
  assert np.mean(dropped == 0) == pytest.approx(0.3, abs=0.01)
  assert dropped.mean() == pytest.approx(1.0, abs=0.02)
  assert layer.step.numpy() == 1


def test_dropout_masks_depend_on_seed_and_step_and_resume_where_they_stopped(tmp_path):
  x = tf.ones((8, 64))
  unbroken, other = layers.Dropout(0.5, seed=1), layers.Dropout(0.5, seed=2)
  masks = [mask(unbroken, x) for _ in range(4)]
  assert all((masks[i] != masks[j]).any() for i in range(4) for j in range(i))
  assert (mask(other, x) != masks[0]).any()

  first = layers.Dropout(0.5, seed=1)
  mask(first, x), mask(first, x)
  path = tf.train.Checkpoint(layer=first).save(str(tmp_path / "checkpoint"))
  resumed = layers.Dropout(0.5, seed=1)
  resumed.build(x.shape)
  tf.train.Checkpoint(layer=resumed).restore(path).assert_consumed()
  np.testing.assert_array_equal(mask(resumed, x), masks[2])
  np.testing.assert_array_equal(mask(resumed, x), masks[3])


def test_dropout_returns_its_step_from_a_stateless_call():
  inputs = keras.Input((64,))
  model = keras.Model(inputs, layers.Dropout(0.5, seed=1)(inputs))
  x, state = tf.ones((8, 64)), [tf.constant(0, tf.int64)]
  first, state = model.stateless_call([], state, x, training=True)
  second, state = model.stateless_call([], state, x, training=True)
  assert int(state[0]) == 2 and int(model.layers[1].step.numpy()) == 0
  assert (first.numpy() != second.numpy()).any()


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_dropout_refuses_a_rate_outside_its_range(rate):
  with pytest.raises(ValueError, match=f"dropout rate is {rate}"):
    layers.Dropout(rate, seed=0)


def test_dropout_masks_differ_between_replicas_and_steps_stay_equal(two_replicas):
  with two_replicas.scope():
    inputs = keras.Input((64,))
    model = keras.Model(inputs, layers.Dropout(0.5, seed=1)(inputs))

  @tf.function
  def run():
    return two_replicas.run(lambda: model(tf.ones((8, 64)), training=True))

  first, second = ([r.numpy() for r in two_replicas.experimental_local_results(run())] for _ in range(2))
  outputs = [*first, *second]
  assert all((outputs[i] != outputs[j]).any() for i in range(4) for j in range(i))
  steps = two_replicas.experimental_local_results(model.layers[1].step.value)
  assert [int(s) for s in steps] == [2, 2]


def test_seeds_of_a_stream_are_distinct_and_reproducible():
  draw = lambda seed: [s for s, _ in zip(layers.seed_stream(seed), range(500))]
  assert len(set(draw(0))) == 500
  assert draw(0) == draw(0) != draw(1)
  assert all(0 <= s < 2**31 for s in draw(0))


def test_a_model_built_after_floatx_changes_follows_it():
  build = layers.in_floatx(lambda: keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
  keras.config.set_dtype_policy("float32")
  keras.config.set_floatx("float64")
  assert build().weights[0].dtype == "float64"
  assert keras.config.dtype_policy().name == "float32"


def test_a_mixed_policy_is_left_alone():
  build = layers.in_floatx(lambda: keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
  keras.config.set_dtype_policy("mixed_bfloat16")
  assert build().layers[0].compute_dtype == "bfloat16"


def test_in_bfloat16_instance_norm_keeps_its_statistics():
  """Around 100, bfloat16 has steps of a half: a variance of rounded squares would be anything."""
  x = tf.cast(noise(2, 32, 32, 3) * 3.0 + 100.0, tf.bfloat16)
  keras.config.set_dtype_policy("mixed_bfloat16")
  found = layers.InstanceNorm()(x)
  assert found.dtype == tf.bfloat16
  exact = np.asarray(tf.cast(x, tf.float32))
  expected = (exact - exact.mean((1, 2), keepdims=True)) / np.sqrt(exact.var((1, 2), keepdims=True) + 1e-3)
  np.testing.assert_allclose(tf.cast(found, tf.float32), expected, atol=0.02)
