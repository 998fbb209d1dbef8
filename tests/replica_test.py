"""What replicas say to one another: sums, and one step on the summed gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mppar_tf import replica


def stepped(strategy, local_gradients, **options):
  """Where one variable at 0 goes by gradient descent at rate 1 (on every replica), and the returned norm."""
  with strategy.scope():
    variable = keras.Variable(np.zeros(2), name="weight")
    optimizer = keras.optimizers.SGD(1.0)
    optimizer.build([variable])

  @tf.function
  def step():
    def update():
      context = tf.distribute.get_replica_context()
      gradient = tf.gather(tf.constant(local_gradients, tf.float32), context.replica_id_in_sync_group)
      return replica.apply(optimizer, [gradient], [variable], **options)
    return strategy.run(update)
  norms = [float(n) for n in strategy.experimental_local_results(step())]
  return [local.numpy() for local in strategy.experimental_local_results(variable.value)], norms


def test_gradients_are_summed_over_replicas(two_replicas):
  places, norms = stepped(two_replicas, [[3.0, 0.0], [0.0, 4.0]])
  assert norms == [5.0, 5.0]
  for place in places:
    np.testing.assert_allclose(place, [-3.0, -4.0], rtol=1e-6)


def test_clip_norm_acts_on_the_sum(two_replicas):
  """Clipped one by one, [1, 0] and [0, 1] would be summed: another direction, and a norm above the bound."""
  places, norms = stepped(two_replicas, [[3.0, 0.0], [0.0, 4.0]], clip_norm=1.0)
  assert norms == [5.0, 5.0]
  for place in places:
    np.testing.assert_allclose(place, [-0.6, -0.8], rtol=1e-6)


def test_gradients_that_cancel_are_not_clipped(two_replicas):
  places, norms = stepped(two_replicas, [[30.0, 0.5], [-30.0, 0.0]], clip_norm=1.0)
  assert norms == [0.5, 0.5]
  np.testing.assert_allclose(places, [[0.0, -0.5]] * 2, rtol=1e-6)


def test_gradients_that_are_summed_already_are_not_summed_again(two_replicas):
  places, norms = stepped(two_replicas, [[0.3, 0.4]] * 2, summed=True)
  assert norms == pytest.approx([0.5, 0.5])
  np.testing.assert_allclose(places, [[-0.3, -0.4]] * 2, rtol=1e-6)


def test_one_replica_alone(two_replicas):
  places, norms = stepped(tf.distribute.get_strategy(), [[3.0, 4.0]], clip_norm=1.0)
  assert norms == [5.0]
  np.testing.assert_allclose(places[0], [-0.6, -0.8], rtol=1e-6)


def test_totals_of_structures(two_replicas):
  @tf.function
  def run():
    def update():
      mine = tf.cast(1 + tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32)
      return replica.total({"a": mine, "b": [10 * mine]})
    return two_replicas.run(update)
  found = run()
  assert [float(v) for v in two_replicas.experimental_local_results(found["a"])] == [3.0, 3.0]
  assert [float(v) for v in two_replicas.experimental_local_results(found["b"][0])] == [30.0, 30.0]


def test_a_missing_gradient_names_its_variable():
  variables = [keras.Variable([1.0], name="reached"), keras.Variable([1.0], name="forgotten")]
  with pytest.raises(ValueError, match="no gradient reaches forgotten"):
    replica.apply(keras.optimizers.SGD(1.0), [tf.ones(1), None], variables)
