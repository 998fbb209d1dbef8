"""The chosen attacker behaves as it does alone, at first and second order, and a trace grows with the number of attackers."""

import fixtures_core as core
import keras
import numpy as np
import pytest
import tensorflow as tf

from mppar_tf.methods import steps, switch


def attackers_in_float64():
  keras.config.set_floatx("float64")
  keras.config.set_dtype_policy("float64")
  made = list(core.networks().attackers.values())
  core.shake(made)
  return made


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("number", [0, 1])
def test_it_is_the_attacker_alone_at_every_order(number, traced):
  attackers = attackers_in_float64()
  random = np.random.default_rng(number)
  frames, direction = (tf.constant(random.normal(size=[2, 3, core.CROP, core.CROP, 3])) for _ in range(2))

  def orders(answers):
    with tf.GradientTape(watch_accessed_variables=False) as meta_tape:
      meta_tape.watch(frames)
      with tf.GradientTape(watch_accessed_variables=False) as virtual_tape:
        virtual_tape.watch(frames)
        logits = answers(frames)
        loss = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.ones_like(logits), logits=logits) ** 2)
      gradient = virtual_tape.gradient(loss, frames)
    return logits, gradient, meta_tape.gradient(gradient, frames, output_gradients=direction)

  def run(answers):
    return (tf.function(lambda: orders(answers)) if traced else lambda: orders(answers))()
  found = run(lambda seen: switch.switch(attackers)(tf.constant(number), seen))
  wanted = run(lambda seen: steps.attack(attackers[number], seen, training=False))
  for one, other in zip(found, wanted):
    assert np.abs(other).max() > 1e-6
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12 * np.abs(other).max())


def plain_attacker():
  """Small, for what is counted hangs on how many there are."""
  return keras.Sequential([keras.Input([core.CROP, core.CROP, 3]), keras.layers.Flatten(), keras.layers.Dense(4, activation="softplus"),
                           keras.layers.Dense(core.ATTRIBUTES)])


def nodes(count, switched=switch.switch):
  """Nodes of the graph of a second derivative, functions included, with `count` attackers to choose from."""
  attack = switched([plain_attacker() for _ in range(count)])

  @tf.function
  def second(index):
    frames = tf.ones([1, 1, core.CROP, core.CROP, 3])
    with tf.GradientTape() as meta_tape:
      meta_tape.watch(frames)
      with tf.GradientTape() as virtual_tape:
        virtual_tape.watch(frames)
        loss = tf.reduce_sum(attack(index, frames) ** 2)
      gradient = virtual_tape.gradient(loss, frames)
    return meta_tape.gradient(gradient, frames)
  graph = second.get_concrete_function(tf.TensorSpec([], tf.int32)).graph.as_graph_def()
  return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)


def differentiated(attackers):
  """TensorFlow's own switch, every branch of which returns what any branch needs for its gradient."""
  return lambda index, frames: tf.switch_case(index, [lambda one=one: steps.attack(one, frames, training=False) for one in attackers])


@pytest.mark.parametrize("switched, grows", [(switch.switch, False), (differentiated, True)], ids=["ours", "tensorflows"])
def test_a_trace_grows_with_attackers_and_not_with_pairs_of_them(switched, grows):
  one, two, three, four = (nodes(count, switched) for count in (1, 2, 3, 4))
  assert two > 1.2 * one, "what is counted does not hang on the attackers"
  assert (four - three > three - two) == grows, "whether the fourth attacker adds more than the third did"
