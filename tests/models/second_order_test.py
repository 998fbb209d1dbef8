"""The meta-gradient differentiates twice through f^D, and through f^A and f^P after it: are the second derivatives right?

Oracle: central differences of the gradient, in float64, on the tiny networks (smooth activations: a finite difference across the kink
of a ReLU is wrong where the network is right).
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mppar_tf.models.anonymizers import ANONYMIZERS
from mppar_tf.models.attackers import ATTACKERS
from mppar_tf.models.contrastive import CONTRASTIVE
from mppar_tf.models.recognizers import RECOGNIZERS

CROP, FRAMES, CLASSES = 8, 4, 3


@pytest.fixture(autouse=True)
def float64():
  keras.config.set_floatx("float64")
  keras.config.set_dtype_policy("float64")  # for the layers that this file builds itself


def hvp_error(loss, phi):
  """Relative error of TF's Hessian-vector product of `loss` at `phi` (a list of tensors) along a random direction of norm one."""
  rng = np.random.default_rng(7)
  direction = [rng.normal(size=p.shape) for p in phi]
  length = np.sqrt(sum((d * d).sum() for d in direction))
  direction = [d / length for d in direction]

  def gradient(phi):
    with tf.GradientTape() as tape:
      tape.watch(phi)
      value = loss(phi)
    return tape.gradient(value, phi, unconnected_gradients="zero")

  @tf.function(autograph=False)  # in a graph, as training runs it
  def product(phi):
    with tf.GradientTape() as outer:
      outer.watch(phi)
      with tf.GradientTape() as inner:
        inner.watch(phi)
        value = loss(phi)
      g = inner.gradient(value, phi, unconnected_gradients="zero")
    return outer.gradient(g, phi, output_gradients=[tf.constant(d) for d in direction], unconnected_gradients="zero")

  def flat(tensors):
    return np.concatenate([t.numpy().ravel() for t in tensors])

  ours, errors = flat(product(phi)), []
  for epsilon in (1e-3, 1e-4, 1e-5):  # the best of a sweep: too large truncates, too small cancels
    after = flat(gradient([p + epsilon * d for p, d in zip(phi, direction)]))
    before = flat(gradient([p - epsilon * d for p, d in zip(phi, direction)]))
    theirs = (after - before) / (2 * epsilon)
    errors.append(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
  assert np.linalg.norm(ours) > 1e-8
  return min(errors)


def shaken(model, seed=0):
  """Moves statistics, scales and shifts off 0 and 1, where some wrong derivatives vanish."""
  rng = np.random.default_rng(seed)
  for v in model.weights:
    if len(v.shape) == 1:
      v.assign(v + rng.uniform(0.05, 0.3, v.shape))
  return model


def functional(model):
  """phi, x -> model's output at the parameters phi, in inference mode, as an anonymizer update evaluates it."""
  non_trainable = [tf.constant(v.numpy()) for v in model.non_trainable_variables]
  return lambda phi, x: model.stateless_call(phi, non_trainable, x, training=False)[0]


def parameters(model):
  return [tf.constant(v.numpy()) for v in model.trainable_variables]


def pixels(*shape):
  return tf.constant(np.random.default_rng(3).random(shape))


@pytest.mark.parametrize("name", ANONYMIZERS)
def test_anonymizers(name):
  model = shaken(ANONYMIZERS[name](size="tiny"))
  assert all(v.dtype == "float64" for v in model.weights)
  anonymize, x, target = functional(model), pixels(2, CROP, CROP, 3), pixels(2, CROP, CROP, 3)
  assert hvp_error(lambda phi: tf.reduce_mean((anonymize(phi, x) - target) ** 2), parameters(model)) < 1e-7


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_recognizers_behind_an_anonymizer(name):
  anonymizer = shaken(ANONYMIZERS["johnson"](size="tiny"))
  recognizer = shaken(RECOGNIZERS[name](classes=CLASSES, frames=FRAMES, crop=CROP, size="tiny"))
  anonymize, recognize = functional(anonymizer), functional(recognizer)
  weights, clips = parameters(recognizer), pixels(2, FRAMES, CROP, CROP, 3)

  def loss(phi):
    frames = anonymize(phi, tf.reshape(clips, (-1, CROP, CROP, 3)))  # [B T, H, W, 3]
    logits = recognize(weights, tf.reshape(frames, clips.shape))  # [B, classes]
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits([0, 2], logits))

  assert hvp_error(loss, parameters(anonymizer)) < 1e-7


@pytest.mark.parametrize("name", ["mobilenet_v2_1.0", "mobilenet_v1_1.0", "resnet_v1_101", "resnet_v2_101", "inception_v1", "inception_v2"])
def test_attackers_behind_an_anonymizer(name):
  anonymizer = shaken(ANONYMIZERS["johnson"](size="tiny"))
  attacker = shaken(ATTACKERS[name](outputs=2, crop=CROP, size="tiny"))
  anonymize, attack = functional(anonymizer), functional(attacker)
  weights, frames = parameters(attacker), pixels(2, CROP, CROP, 3)
  labels = tf.constant([[0.0, 1.0], [1.0, 1.0]], tf.float64)

  def loss(phi):
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, attack(weights, anonymize(phi, frames))))

  assert hvp_error(loss, parameters(anonymizer)) < 1e-7


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_contrastive_networks_behind_an_anonymizer(name):
  """Two views of two images; NT-Xent as SPAct has it, temperature 0.1."""
  anonymizer = shaken(ANONYMIZERS["johnson"](size="tiny"))
  network = shaken(CONTRASTIVE[name](crop=CROP, size="tiny"))
  anonymize, embed = functional(anonymizer), functional(network)
  weights, frames = parameters(network), pixels(4, CROP, CROP, 3)

  def loss(phi):
    embeddings = embed(weights, anonymize(phi, frames))  # [4, D]
    alike = tf.matmul(embeddings, embeddings, transpose_b=True) / 0.1 - 1e3 * tf.eye(4, dtype=tf.float64)  # [4, 4]
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits([2, 3, 0, 1], alike))

  assert hvp_error(loss, parameters(anonymizer)) < 1e-7


class MomentsNorm(keras.layers.Layer):
  """Instance norm as everyone writes it."""

  def call(self, x):
    mean, variance = tf.nn.moments(x, [1, 2], keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + 1e-3)


@pytest.mark.parametrize("wrong", [MomentsNorm, lambda: keras.layers.GroupNormalization(-1)])
def test_the_check_catches_a_norm_built_on_moments(wrong):
  x, target = pixels(2, 4, 4, 3), pixels(2, 4, 4, 4)
  model = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(4, 3, padding="same"), wrong()])
  network = functional(model)
  assert hvp_error(lambda phi: tf.reduce_mean((tf.tanh(network(phi, x)) - target) ** 2), parameters(model)) > 1e-5


def test_max_pool_3d_is_exact_too():
  """It has no float64 kernel on CPUs, so that the oracle is the same pool by reshapes, whose parts are known to be right."""
  x = tf.cast(pixels(2, 4, 4, 4, 3), tf.float32)
  direction = tf.constant(np.random.default_rng(1).normal(size=x.shape), tf.float32)

  def by_reshapes(x):  # [2, 4, 4, 4, 3] -> [2, 2, 2, 2, 3]
    x = tf.reduce_max(tf.reshape(x, (4, 2, 4 * 4 * 3)), axis=1)  # time
    x = tf.reduce_max(tf.reshape(x, (8, 2, 4 * 3)), axis=1)  # height
    return tf.reshape(tf.reduce_max(tf.reshape(x, (16, 2, 3)), axis=1), (2, 2, 2, 2, 3))  # width

  def product(pool):
    with tf.GradientTape() as outer:
      outer.watch(x)
      with tf.GradientTape() as inner:
        inner.watch(x)
        value = tf.reduce_sum(tf.sin(3.0 * pool(tf.sin(x))))
      g = inner.gradient(value, x)
    return outer.gradient(g, x, output_gradients=direction).numpy()

  expected = product(by_reshapes)
  assert np.abs(expected).max() > 1.0
  np.testing.assert_allclose(product(keras.layers.MaxPool3D(2, dtype="float32")), expected, atol=1e-5)
