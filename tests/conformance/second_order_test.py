"""Eq. 8 as the methods compute it, against finite differences of Eq. 7's objective, for every anonymizer with every recognizer.

The objective recomputes the support gradient at every point, so that nothing of the second order enters the oracle. float64 and smooth
activations: in ReLU networks a finite difference crosses kinks and is wrong where the gradient is right.
"""

import functools

import fixtures_core as core
import keras
import numpy as np
import pytest
import tensorflow as tf

from mppar_tf import metagrad
from mppar_tf.methods import steps
from mppar_tf.methods.contract import Networks
from mppar_tf.models import layers
from mppar_tf.models.anonymizers import ANONYMIZERS
from mppar_tf.models.recognizers import RECOGNIZERS

ALPHA, GAMMA = 0.5, 0.7  # a virtual step so large that the second-order term is a part of the whole that cannot be overlooked
EPSILONS = (1e-3, 1e-4, 1e-5)  # too large truncates, too small cancels: the best counts
DIRECTIONS = 2
TOLERANCE = 1e-6


@pytest.fixture(autouse=True)
def float64():
  keras.config.set_floatx("float64")
  keras.config.set_dtype_policy("float64")  # for the layers that this file builds itself


def eq1_loss(networks, task="attributes"):
  attackers = list(networks.attackers.values())
  return steps.eq1_loss(networks.anonymizer, networks.recognizer, attackers, task=task, gamma=GAMMA, reduction="mean")


class Game:
  """Support and query losses of one episode as functions of f^D's parameters."""

  def __init__(self, networks, task="attributes", **of_private):
    core.shake([networks.anonymizer, networks.recognizer, *networks.attackers.values()])
    episode = core.episode(task=task, **of_private)
    loss = eq1_loss(networks, task)
    self.phi = [tf.convert_to_tensor(v.value) for v in networks.anonymizer.trainable_variables]
    self.support, self.query = loss(episode.support, episode.support_attacker), loss(episode.query, episode.query_attacker)

  def meta(self, mode, alpha=ALPHA):
    return metagrad.meta_gradient(self.support, self.query, self.phi, alpha=alpha, mode=mode).gradients

  def objective(self, phi):
    """Eq. 7: L_vtr(phi; D_s) + L_vte(phi - alpha * grad L_vtr(phi; D_s); D_q)."""
    gradients, value, _ = metagrad.gradient(self.support, phi)
    return float(value + self.query([p - ALPHA * g for p, g in zip(phi, gradients)])[0])

  @functools.cached_property
  def slopes(self):
    """Random directions of norm one, each with the objective's central differences along it, one for each epsilon."""
    rng, found = np.random.default_rng(11), []
    for _ in range(DIRECTIONS):
      direction = [rng.normal(size=p.shape) for p in self.phi]
      direction = [d / np.linalg.norm(core.flat(direction)) for d in direction]
      moved = lambda by: self.objective([p + by * d for p, d in zip(self.phi, direction)])
      found.append((core.flat(direction), [(moved(e) - moved(-e)) / (2 * e) for e in EPSILONS]))
    return found

  def disagreement(self, gradients):
    """Largest relative error of the slopes that `gradients` predict."""
    errors = []
    for direction, slopes in self.slopes:
      predicted = core.flat(gradients) @ direction
      errors.append(min(abs(slope - predicted) / max(abs(slope), abs(predicted)) for slope in slopes))
    return max(errors)


@pytest.mark.parametrize("recognizer", RECOGNIZERS)
@pytest.mark.parametrize("anonymizer", ANONYMIZERS)
def test_the_meta_gradient_equals_finite_differences(anonymizer, recognizer):
  game = Game(core.networks(anonymizer, recognizer))
  exact, first_order, joint = (game.meta(mode) for mode in metagrad.MODES)
  assert game.disagreement(exact) < TOLERANCE
  # The oracle sees the second order at all: what leaves it out is far off.
  assert game.disagreement(first_order) > 1e3 * TOLERANCE
  norm = np.linalg.norm(core.flat(exact))
  assert norm > 1e-3
  for one, other in ((exact, first_order), (first_order, joint)):
    assert np.linalg.norm(core.flat(one) - core.flat(other)) > 1e-3 * norm


@pytest.mark.parametrize("task, frames", [("identity", 2), ("attributes", 3)])
def test_clips_with_private_labels_and_identities_too(task, frames):
  game = Game(core.networks(task=task), task, batch=2, frames=frames)
  assert game.disagreement(game.meta("exact")) < TOLERANCE


def test_a_traced_update_takes_the_same_meta_gradient():
  """In a graph the attacker's branch is a Case op, whose gradient is a function of a function: its second order is another code path."""
  networks = core.networks(recognizer="c3d")
  game = Game(networks)
  loss = eq1_loss(networks)

  @tf.function
  def traced(episode):
    support, query = loss(episode.support, episode.support_attacker), loss(episode.query, episode.query_attacker)
    return metagrad.meta_gradient(support, query, game.phi, alpha=ALPHA).gradients
  exact = core.flat(game.meta("exact"))
  np.testing.assert_allclose(core.flat(traced(core.episode())), exact, rtol=1e-9, atol=1e-12 * np.abs(exact).max())


class MomentsNorm(layers.InstanceNorm):
  """The same function with the same first derivatives, by the op that stops the gradient of the mean."""

  def call(self, x):
    mean, variance = tf.nn.moments(x, axes=[1, 2], keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + self.epsilon) * self.scale + self.shift


def narrow_anonymizer(norm):
  """8 x 8 frames, normalized where they are 2 x 2."""
  frames = keras.Input([core.CROP, core.CROP, 3])
  x = frames
  for i in range(2):
    start = keras.initializers.GlorotUniform(seed=i)
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="softplus", kernel_initializer=start)(x)
  x = norm()(x)  # [B, 2, 2, 4]
  x = layers.NearestUp()(layers.NearestUp()(x))
  x = keras.layers.Conv2D(3, 3, padding="same", activation="sigmoid", kernel_initializer=keras.initializers.GlorotUniform(seed=9))(x)
  return keras.Model(frames, x)


def narrow_game(norm):
  others = core.networks()
  return Game(Networks(narrow_anonymizer(norm), others.recognizer, others.attackers, "attributes"))


def test_an_op_with_a_silently_wrong_second_derivative_is_caught():
  """If this fails, the check above proves nothing: with the op that TensorFlow gets wrong it must reject."""
  wrong, right = narrow_game(MomentsNorm), narrow_game(layers.InstanceNorm)
  np.testing.assert_allclose(core.flat(wrong.meta("first_order")), core.flat(right.meta("first_order")), rtol=1e-9, atol=1e-12)
  assert wrong.objective(wrong.phi) == pytest.approx(right.objective(right.phi), rel=1e-12)
  assert right.disagreement(right.meta("exact")) < TOLERANCE
  assert wrong.disagreement(wrong.meta("exact")) > 100 * TOLERANCE
