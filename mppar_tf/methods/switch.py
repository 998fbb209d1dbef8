"""One attacker of several, chosen by a tensor, in one trace that grows with their number.

TensorFlow differentiates a switch by having every branch return whatever any branch needs for its gradient, and does so again at second
order: with the eight attackers of protocol A that took 18 GB and ten minutes of tracing without an end. Here no switch is differentiated.
The value, its gradient and the gradient's gradient are switches of their own, in which the one attacker computes anew what it needs;
attackers are the cheapest networks of an update. Each of the three is a function of the graph, traced once for every attacker and called
for support and query alike.
"""

import functools
from typing import Any, Callable, Sequence

import keras
import tensorflow as tf

from mppar_tf import objectives


def switch(attackers: Sequence[keras.Model]) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
  """An attack by any of these f^P: (index, frames) -> logits.

  Returns:
    attack(index int32 [], frames [B, T, H, W, 3]) -> [B, P]: logits of f^P number `index` on single frames, averaged over time, in
    inference mode. Exact at first and second order with respect to `frames`; the attackers' own variables get no gradient.
  """
  orders = list(zip(*map(_orders, attackers)))  # [3][attackers]

  def attack(index, frames):
    weights = [[[tf.convert_to_tensor(v.value) for v in variables]
                for variables in (model.trainable_variables, model.non_trainable_variables)] for model in attackers]

    def of_chosen(order: int, *arguments: tf.Tensor) -> Any:
      # A function that is called where a tape looks on is traced once more, for that tape; none may look on here.
      arguments = [tf.stop_gradient(argument) for argument in arguments]
      return tf.switch_case(index, [functools.partial(*one, *arguments) for one in zip(orders[order], weights)])

    @tf.custom_gradient
    def product(seen, cotangent):
      return of_chosen(1, seen, cotangent), lambda vector: of_chosen(2, seen, cotangent, vector)

    @tf.custom_gradient
    def logits(seen):
      return of_chosen(0, seen), lambda cotangent: product(seen, cotangent)

    return logits(frames)
  return attack


def _orders(model: keras.Model) -> list[Callable[..., Any]]:
  """f^P, the product of its Jacobian with a vector from the left, and that product's gradient: functions of (weights, frames, ...)."""
  def logits(weights, seen):
    flat = tf.reshape(seen, [-1, *seen.shape[2:]])  # [B * T, H, W, 3]
    found, _ = model.stateless_call(*weights, flat, training=False)
    return objectives.over_time(found, seen.shape[1])  # [B, P]

  def product(weights, seen, cotangent):
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(seen)
      found = logits(weights, seen)
    return tape.gradient(found, seen, output_gradients=cotangent)  # [B, T, H, W, 3]

  def gradient_of_product(weights, seen, cotangent, vector):
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch([seen, cotangent])
      found = product(weights, seen, cotangent)
    return tape.gradient(found, [seen, cotangent], output_gradients=vector, unconnected_gradients="zero")

  return [tf.function(one, autograph=False) for one in (logits, product, gradient_of_product)]
