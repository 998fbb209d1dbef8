"""The meta-gradient against closed forms, against nested tapes, and over replicas."""

import numpy as np
import pytest
import tensorflow as tf

from mppar_tf import metagrad, replica

RNG = np.random.default_rng(3)
ALPHA = 0.3


def symmetric(size):
  matrix = RNG.normal(size=[size, size])
  return matrix + matrix.T


# L(phi) = phi' A phi / 2 - b' phi
A_S, B_S, A_Q, B_Q, PHI = symmetric(5), RNG.normal(size=5), symmetric(5), RNG.normal(size=5), RNG.normal(size=5)


def quadratic(matrix, vector):
  def loss(phi):
    whole = tf.concat([tf.reshape(p, [-1]) for p in phi], axis=0)
    value = tf.tensordot(whole, tf.linalg.matvec(matrix, whole), 1) / 2 - tf.tensordot(vector, whole, 1)
    return value, {"value": value}
  return loss


def closed_form(mode):
  support = A_S @ PHI - B_S
  virtual = PHI if mode == "joint" else PHI - ALPHA * support
  query = A_Q @ virtual - B_Q
  through = np.eye(5) - ALPHA * A_S if mode == "exact" else np.eye(5)  # d phi' / d phi
  return support, virtual, query, support + through @ query


def value(matrix, vector, phi):
  return phi @ matrix @ phi / 2 - vector @ phi


@pytest.mark.parametrize("mode", metagrad.MODES)
def test_a_quadratic_has_its_closed_form(mode):
  phi = [tf.constant(PHI[:3]), tf.constant(PHI[3:, None])]
  meta = metagrad.meta_gradient(quadratic(A_S, B_S), quadratic(A_Q, B_Q), phi, alpha=ALPHA, mode=mode)
  support, virtual, query, combined = closed_form(mode)
  for found, expected in ((meta.gradients, combined), (meta.support_gradients, support), (meta.query_gradients, query)):
    assert [g.shape for g in found] == [p.shape for p in phi]
    np.testing.assert_allclose(np.concatenate([np.ravel(g) for g in found]), expected, rtol=1e-12, atol=1e-12)
  assert float(meta.support_loss) == pytest.approx(value(A_S, B_S, PHI), rel=1e-12)
  assert float(meta.query_log["value"]) == float(meta.query_loss) == pytest.approx(value(A_Q, B_Q, virtual), rel=1e-12)


def test_the_modes_differ_and_agree_where_there_is_no_virtual_step():
  def gradients(alpha):
    support, query = quadratic(A_S, B_S), quadratic(A_Q, B_Q)
    phi = [tf.constant(PHI)]
    return [metagrad.meta_gradient(support, query, phi, alpha=alpha, mode=mode).gradients[0].numpy() for mode in metagrad.MODES]
  exact, first_order, joint = gradients(ALPHA)
  for one, other in ((exact, first_order), (exact, joint), (first_order, joint)):
    assert np.linalg.norm(one - other) > 0.1 * np.linalg.norm(other)
  still = gradients(0.0)
  np.testing.assert_allclose(still[0], still[2], rtol=1e-12)
  np.testing.assert_allclose(still[1], still[2], rtol=1e-12)


def test_parameters_are_not_touched():
  variable = tf.Variable(PHI)
  metagrad.meta_gradient(quadratic(A_S, B_S), quadratic(A_Q, B_Q), [variable], alpha=ALPHA)
  np.testing.assert_array_equal(variable, PHI)


def test_an_unknown_mode_is_told_with_the_known_ones():
  with pytest.raises(ValueError, match="'second' is not one of exact, first_order, joint"):
    metagrad.meta_gradient(quadratic(A_S, B_S), quadratic(A_Q, B_Q), [tf.constant(PHI)], alpha=ALPHA, mode="second")


def test_a_parameter_without_gradient_is_an_error_and_no_silent_zero():
  phi = [tf.constant(PHI), tf.constant([[1.0, 2.0]])]
  with pytest.raises(ValueError, match=r"no gradient reaches parameter 1 \(1, 2\) of 2"):
    metagrad.gradient(lambda p: (tf.reduce_sum(p[0] ** 2), {}), phi)


def data(seed, samples=8):
  rng = np.random.default_rng(seed)
  return rng.normal(size=[samples, 3]), rng.normal(size=[samples, 2])


WEIGHTS = [RNG.normal(size=[3, 4]), RNG.normal(size=[4, 2])]


def network_loss(inputs, targets, count):
  def loss(phi):
    error = tf.reduce_sum((tf.tanh(inputs @ phi[0]) @ phi[1] - targets) ** 2 * tf.cast(tf.range(1, 3), inputs.dtype), axis=1)  # [B]
    value = tf.reduce_sum(error) / count
    return value, {"loss": value}
  return loss


def nested_tapes(support, query, mode):
  """Eq. 7's objective written down and differentiated by TensorFlow, without any Hessian-vector product of ours."""
  phi = [tf.constant(w) for w in WEIGHTS]
  with tf.GradientTape() as outer:
    outer.watch(phi)
    with tf.GradientTape() as inner:
      inner.watch(phi)
      support_loss, _ = network_loss(*support, len(support[0]))(phi)
    step = inner.gradient(support_loss, phi)
    step = {"exact": step, "first_order": [tf.stop_gradient(g) for g in step], "joint": [tf.zeros_like(g) for g in step]}[mode]
    virtual = [p - ALPHA * g for p, g in zip(phi, step)]
    objective = support_loss + network_loss(*query, len(query[0]))(virtual)[0]
  return outer.gradient(objective, phi), objective


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("cut", [4, 3], ids=["even", "uneven"])
@pytest.mark.parametrize("mode", metagrad.MODES)
def test_two_replicas_equal_nested_tapes_on_one(two_replicas, mode, cut, traced):
  """Local sums over global counts: also where the replicas hold different numbers of samples."""
  support, query = data(1), data(2)
  expected, objective = nested_tapes(support, query, mode)

  def part(context):
    side = slice(0, cut) if context.replica_id_in_sync_group == 0 else slice(cut, None)
    return tuple(tuple(tf.constant(x[side]) for x in pair) for pair in (support, query))

  def update(parts):
    count = replica.total(tf.cast(tf.shape(parts[0][0])[0], tf.float64))
    losses = [network_loss(*pair, count) for pair in parts]
    meta = metagrad.meta_gradient(*losses, [tf.constant(w) for w in WEIGHTS], alpha=ALPHA, mode=mode)
    return meta.gradients, replica.total(meta.support_loss + meta.query_loss)

  def step(parts):
    return two_replicas.run(update, args=(parts,))
  gradients, total = (tf.function(step) if traced else step)(two_replicas.experimental_distribute_values_from_function(part))
  for found, wanted in zip(gradients, expected):
    for local in two_replicas.experimental_local_results(found):
      np.testing.assert_allclose(local, wanted, rtol=1e-12, atol=1e-12)
  for local in two_replicas.experimental_local_results(total):
    np.testing.assert_allclose(local, objective, rtol=1e-12)


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("mode", metagrad.MODES)
def test_pieces_add_up_to_the_whole(mode, traced):
  support, query = data(4), data(5)

  def in_pieces(inputs, targets):
    def loss(phi, piece):
      rows = slice(2 * piece, 2 * piece + 2)
      return network_loss(tf.constant(inputs)[rows], tf.constant(targets)[rows], len(inputs))(phi)
    return loss

  def step():
    phi = [tf.constant(w) for w in WEIGHTS]
    return metagrad.meta_gradient(in_pieces(*support), in_pieces(*query), phi, alpha=ALPHA, mode=mode, pieces=4)
  meta = (tf.function(step) if traced else step)()
  expected, objective = nested_tapes(support, query, mode)
  for found, wanted in zip(meta.gradients, expected):
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
  assert float(meta.support_log["loss"] + meta.query_log["loss"]) == pytest.approx(float(objective), rel=1e-12)
  assert float(meta.support_loss) == pytest.approx(float(meta.support_log["loss"]), rel=1e-12)
