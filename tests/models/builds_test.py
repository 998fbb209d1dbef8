"""What holds for every entry of the four tables, at tiny size: seeds, replicas, saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mppar_tf.models.anonymizers import ANONYMIZERS
from mppar_tf.models.attackers import ATTACKERS
from mppar_tf.models.contrastive import CONTRASTIVE
from mppar_tf.models.recognizers import RECOGNIZERS

CROP, FRAMES = 8, 4
BUILDS = {
    **{name: lambda build=build, **given: build(size="tiny", **given) for name, build in ANONYMIZERS.items()},
    **{name: lambda build=build, **given: build(classes=3, frames=FRAMES, crop=CROP, size="tiny", **given)
       for name, build in RECOGNIZERS.items()},
    **{name: lambda build=build, **given: build(outputs=2, crop=CROP, size="tiny", **given) for name, build in ATTACKERS.items()},
    **{name: lambda build=build, **given: build(crop=CROP, size="tiny", **given) for name, build in CONTRASTIVE.items()},
}
FAMILIES = ["johnson", "unet", "compact", "c3d", "r3d18", "mobilenet_v2_1.0", "mobilenet_v1_1.0", "resnet_v1_50", "resnet_v2_50",
            "inception_v1", "inception_v2", *CONTRASTIVE]


def pixels(model, batch, seed=0):
  sides = (FRAMES, CROP, CROP, 3) if len(model.input_shape) == 5 else (CROP, CROP, 3)
  return np.random.default_rng(seed).random((batch, *sides), np.float32)


@pytest.mark.parametrize("name", BUILDS)
def test_a_seed_fixes_every_weight(name):
  first, again, other = BUILDS[name](seed=1), BUILDS[name](seed=1), BUILDS[name](seed=2)
  kernels = [v.numpy() for v in first.trainable_variables if len(v.shape) > 1]
  for a, b in zip(first.weights, again.weights, strict=True):
    np.testing.assert_array_equal(a.numpy(), b.numpy())
  for a, b in zip(kernels, [v.numpy() for v in other.trainable_variables if len(v.shape) > 1], strict=True):
    assert (a != b).any()
  for i, a in enumerate(kernels):  # parts of one shape start differently
    assert all(a.shape != b.shape or (a != b).any() for b in kernels[:i])


@pytest.mark.parametrize("name", FAMILIES)
def test_statistics_over_two_replicas_are_those_of_the_whole_batch(name, two_replicas):
  alone = BUILDS[name]()
  x = pixels(alone, 6)
  expected = alone(x, training=True).numpy()

  with two_replicas.scope():
    model = BUILDS[name]()
  halves = two_replicas.experimental_distribute_values_from_function(lambda context: tf.constant(
      np.split(x, 2)[context.replica_id_in_sync_group]))

  @tf.function
  def run(halves):
    return two_replicas.run(lambda x: model(x, training=True), (halves,))

  out = np.concatenate([r.numpy() for r in two_replicas.experimental_local_results(run(halves))])
  np.testing.assert_allclose(out, expected, atol=1e-4)
  for whole, split in zip(alone.non_trainable_variables, model.non_trainable_variables, strict=True):
    first, second = (v.numpy() for v in two_replicas.experimental_local_results(split.value))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, whole.numpy(), atol=1e-5)
    assert not np.allclose(first, np.round(first)), f"{split.path} did not move"


@pytest.mark.parametrize("name", FAMILIES)
def test_every_trainable_variable_gets_a_gradient(name):
  model = BUILDS[name]()
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(tf.sin(3.0 * model(pixels(model, 4), training=False)))
  for v, g in zip(model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True):
    assert g is not None, v.path
    assert np.isfinite(g.numpy()).all(), v.path
    assert np.abs(g.numpy()).max() > 0, v.path


@pytest.mark.parametrize("name", FAMILIES)
def test_a_saved_model_is_the_same_function(name, tmp_path):
  model = BUILDS[name](seed=5)
  model.save(tmp_path / "model.keras")
  x = pixels(model, 2)
  np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(x).numpy(), model(x).numpy())


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_dropout_of_recognizers_acts_in_training_alone(name):
  model = BUILDS[name](dropout=0.5)
  x = pixels(model, 2)
  np.testing.assert_array_equal(model(x, training=False).numpy(), model(x, training=False).numpy())
  plain = BUILDS[name]()
  assert len(model.weights) > len(plain.weights)
  np.testing.assert_allclose(model(x, training=False).numpy(), plain(x, training=False).numpy(), atol=3.0)


@pytest.mark.parametrize("name", [*ANONYMIZERS, *RECOGNIZERS])
def test_width_multiplies_channels(name):
  assert BUILDS[name](width=2.0).count_params() > 2 * BUILDS[name]().count_params()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_mixed_policy_computes_in_bfloat16_and_answers_in_float32(name):
  exact = BUILDS[name](seed=1)
  x = pixels(exact, 2)
  keras.config.set_dtype_policy("mixed_bfloat16")
  model = BUILDS[name](seed=1)
  model.set_weights(exact.get_weights())
  assert {v.dtype for v in model.trainable_variables} == {"float32"}
  assert {layer.compute_dtype for layer in model.layers if "conv" in type(layer).__name__.lower()} == {"bfloat16"}
  found, wanted = model(x), exact(x).numpy()
  assert found.dtype == tf.float32
  np.testing.assert_allclose(found, wanted, atol=0.05 * np.abs(wanted).max())
  assert np.abs(found - wanted).max() > 0, "nothing was rounded"
