"""One attacker of several, chosen by a tensor, in one trace that grows with their number.

TensorFlow differentiates a switch by having every branch return whatever any branch needs for its gradient, and does so again at second
order: with the eight attackers of protocol A that took 18 GB and ten minutes of tracing without an end. Here no switch is differentiated.
The value, its gradient and the gradient's gradient are switches of their own, in which the one attacker computes anew what it needs;
attackers are the cheapest networks of an update.
"""

import functools
from typing import Any, Callable, Sequence

import keras
import tensorflow as tf

from mppar_tf import objectives


def attack(attackers: Sequence[keras.Model], index: tf.Tensor, frames: tf.Tensor) -> tf.Tensor:
  """Logits of f^P number `index` on single frames, averaged over time, in inference mode. [B, T, H, W, 3] -> [B, P].

  Exact at first and second order with respect to `frames`; the attackers' own variables get no gradient.
  """
  weights = [[[tf.convert_to_tensor(v.value) for v in variables]
              for variables in (model.trainable_variables, model.non_trainable_variables)] for model in attackers]

  def of_chosen(function: Callable[..., Any], *arguments: tf.Tensor) -> Any:
    return tf.switch_case(index, [functools.partial(function, number, *arguments) for number in range(len(attackers))])

  def logits_of(number, seen):
    flat = tf.reshape(seen, [-1, *seen.shape[2:]])  # [B * T, H, W, 3]
    logits, _ = attackers[number].stateless_call(*weights[number], flat, training=False)
    return objectives.over_time(logits, seen.shape[1])  # [B, P]

  def product_of(number, seen, cotangent):
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch(seen)
      logits = logits_of(number, seen)
    return tape.gradient(logits, seen, output_gradients=cotangent)  # [B, T, H, W, 3]

  def gradient_of_product(number, seen, cotangent, vector):
    with tf.GradientTape(watch_accessed_variables=False) as tape:
      tape.watch([seen, cotangent])
      product = product_of(number, seen, cotangent)
    return tape.gradient(product, [seen, cotangent], output_gradients=vector, unconnected_gradients="zero")

  @tf.custom_gradient
  def product(seen, cotangent):
    return of_chosen(product_of, seen, cotangent), lambda vector: of_chosen(gradient_of_product, seen, cotangent, vector)

  @tf.custom_gradient
  def logits(seen):
    return of_chosen(logits_of, seen), lambda cotangent: product(seen, cotangent)

  return logits(frames)
