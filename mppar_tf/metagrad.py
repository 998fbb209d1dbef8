"""Virtual training, virtual testing, meta optimization: the gradient of MPPAR (Peng et al., NeurIPS 2023), Eq. 4-8.

  virtual training  (Eq. 4-5)  phi' = phi - alpha * grad L_vtr(phi; D_s)
  virtual testing   (Eq. 6)    L_vte(phi'; D_q)
  meta optimization (Eq. 7-8)  phi <- phi - beta * grad_phi [ L_vtr(phi; D_s) + L_vte(phi'; D_q) ]

The second-order term is written out as a Hessian-vector product, H_s * g_q, instead of differentiating through the whole virtual step: it
needs no collective inside a differentiated region (so it is exact under data parallelism) and the support and query sides meet only in
vectors.
Nothing is assigned on the way: phi' is a list of tensors, and a model is evaluated at it by `stateless_call`.

Losses are sums over samples, so gradients and Hessian-vector products may be summed over equal pieces of a batch, one after the other: the
same numbers in a fraction of the memory. The price is the support gradient, which is computed once more for the product: with one piece
its tape is kept, with several that would keep what pieces are there to free.
"""

from typing import Callable, NamedTuple, Sequence

import tensorflow as tf

from mppar_tf import replica

MODES = ("exact", "first_order", "joint")

# A loss at given parameters: -> (this replica's share of the loss [], a dict of this replica's shares of things to log, each []).
# loss(phi) is that of a whole batch, loss(phi, piece) that of one of its pieces, which add up to the whole.
Loss = Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]


class MetaGradient(NamedTuple):
  """A meta-gradient, summed over replicas, and what it was made of."""
  gradients: list[tf.Tensor]  # d [L_vtr + L_vte] / d phi, summed over replicas
  support_gradients: list[tf.Tensor]  # grad L_vtr(phi), summed over replicas: the direction of the virtual step
  query_gradients: list[tf.Tensor]  # grad L_vte at phi', summed over replicas
  support_loss: tf.Tensor  # [] this replica's share
  query_loss: tf.Tensor  # [] this replica's share
  support_log: dict[str, tf.Tensor]
  query_log: dict[str, tf.Tensor]


def gradient(loss: Loss, phi: Sequence[tf.Tensor], pieces: int = 1) -> tuple[list[tf.Tensor], tf.Tensor, dict[str, tf.Tensor]]:
  """This replica's share of grad loss(phi), the loss and its log. Raises ValueError where no gradient reaches a parameter."""
  if pieces == 1:
    return _gradient(loss, phi)
  names = []

  def of_piece(piece):
    gradients, value, log = _gradient(lambda at: loss(at, piece), phi)
    names[:] = log
    return [*gradients, value, tf.stack(list(log.values()))]
  zero = tf.zeros([], phi[0].dtype)
  *gradients, value, logged = _summed(of_piece, [*map(tf.zeros_like, phi), zero, zero[None]], pieces)
  return gradients, value, dict(zip(names, tf.unstack(tf.ensure_shape(logged, [len(names)]))))


def _gradient(loss: Loss, phi: Sequence[tf.Tensor]) -> tuple[list[tf.Tensor], tf.Tensor, dict[str, tf.Tensor]]:
  with tf.GradientTape(watch_accessed_variables=False) as tape:
    tape.watch(phi)
    value, log = loss(phi)
  gradients = tape.gradient(value, phi)
  missing = [f"{i} {tuple(p.shape)}" for i, (p, g) in enumerate(zip(phi, gradients)) if g is None]
  if missing:
    raise ValueError(f"no gradient reaches parameter {', '.join(missing)} of {len(phi)}")
  return gradients, value, log


def _summed(of_piece: Callable[[tf.Tensor], list[tf.Tensor]], zeros: list[tf.Tensor], pieces: int) -> list[tf.Tensor]:
  """The sum of `of_piece` over pieces, in a loop of the graph: traced once, and what a piece holds is free before the next begins.

  A zero of shape [1] stands for a vector of any length.
  """
  def body(piece, sums):
    return piece + 1, [total + one for total, one in zip(sums, of_piece(piece))]
  shapes = [tf.TensorShape([None]) if zero.shape == [1] else zero.shape for zero in zeros]
  _, sums = tf.while_loop(lambda piece, _: piece < pieces, body, (tf.constant(0), zeros), parallel_iterations=1,
                          shape_invariants=(tf.TensorShape([]), shapes))
  return sums


def hessian_vector_product(loss: Loss, phi: Sequence[tf.Tensor], vector: Sequence[tf.Tensor], pieces: int) -> list[tf.Tensor]:
  """This replica's share of H * vector, H the Hessian of the loss at phi, piece by piece."""
  def of_piece(piece):
    with tf.GradientTape(watch_accessed_variables=False) as meta_tape:
      meta_tape.watch(phi)
      gradients, _, _ = _gradient(lambda at: loss(at, piece), phi)
    return meta_tape.gradient(gradients, phi, output_gradients=vector, unconnected_gradients="zero")
  return _summed(of_piece, [*map(tf.zeros_like, phi)], pieces)


def meta_gradient(support: Loss, query: Loss, phi: Sequence[tf.Tensor], *, alpha: float, mode: str = "exact",
                  pieces: int = 1) -> MetaGradient:
  """The gradient of Eq. 7's objective with respect to phi, as Eq. 8 uses it.

  Args:
    support: L_vtr, this replica's share of the loss on the support set.
    query: L_vte, the same on the query set.
    phi: parameters of f^D as tensors (not variables), equal on all replicas.
    alpha: learning rate of the virtual step (plain gradient descent).
    mode: "exact" with the second-order term; "first_order" takes d phi' / d phi as the identity; "joint" evaluates both losses at phi,
      without a virtual step (the supplementary's "Joint Training").
    pieces: how many pieces both losses are computed in.
  Returns:
    A MetaGradient; its gradients are summed over replicas.
  Raises:
    ValueError: an unknown mode.
  """
  if mode not in MODES:
    raise ValueError(f"meta gradient {mode!r} is not one of {', '.join(MODES)}")
  phi = [tf.convert_to_tensor(p) for p in phi]
  if mode == "exact" and pieces == 1:
    with tf.GradientTape(watch_accessed_variables=False) as meta_tape:  # differentiates the support gradient
      meta_tape.watch(phi)
      g_support, support_loss, support_log = gradient(support, phi)
  else:
    g_support, support_loss, support_log = gradient(support, phi, pieces)
  step = replica.total(g_support)

  virtual_phi = phi if mode == "joint" else [p - alpha * g for p, g in zip(phi, step)]
  g_query, query_loss, query_log = gradient(query, virtual_phi, pieces)
  g_query = replica.total(g_query)

  combined = [s + q for s, q in zip(step, g_query)]
  if mode == "exact":
    if pieces == 1:
      hvp = meta_tape.gradient(g_support, phi, output_gradients=g_query, unconnected_gradients="zero")  # H_s * g_q, a local share
    else:
      hvp = hessian_vector_product(support, phi, g_query, pieces)
    combined = [c - alpha * h for c, h in zip(combined, replica.total(hvp))]
  return MetaGradient(combined, step, g_query, support_loss, query_loss, support_log, query_log)
