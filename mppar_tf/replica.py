"""The few things that one replica of a distributed step says to the others.

All functions are called in replica context (inside `strategy.run`); outside of any strategy they see one replica. Keras optimizers SUM
gradients over replicas, so every loss of this project is a local sum divided by a GLOBAL count, and gradients are summed here before they
are measured.
"""

import tensorflow as tf


def count() -> int:
  return tf.distribute.get_replica_context().num_replicas_in_sync


def total(value):
  """Sum over replicas of a tensor or a structure of tensors; not differentiable by intent (it stands outside every tape)."""
  if count() == 1:
    return value
  return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def number() -> tf.Tensor:
  """This replica's number, from 0. -> [] int32."""
  return tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)


def gathered(value: tf.Tensor) -> tf.Tensor:
  """[B, ...] of every replica, in the order of their numbers: [replicas * B, ...]. Not differentiable by intent, as `total`."""
  if count() == 1:
    return value
  return tf.distribute.get_replica_context().all_gather(value, axis=0)


def assign(variables, values) -> None:
  """Gives every replica's copy of each variable its value; values must be equal on all replicas."""
  def together(strategy, *of_replicas):
    for variable, value in zip(variables, of_replicas):
      strategy.extended.update(variable.value, lambda local, new: local.assign(new), args=(value,), group=False)
  tf.distribute.get_replica_context().merge_call(together, args=tuple(values))


def require(gradients, variables) -> list[tf.Tensor]:
  """The gradients as dense tensors; a missing one is an error that names its variable, never a silent zero."""
  missing = [v.path for g, v in zip(gradients, variables) if g is None]
  if missing:
    raise ValueError(f"no gradient reaches {', '.join(missing)}")
  return [tf.convert_to_tensor(g) for g in gradients]


def apply(optimizer, gradients, variables, *, clip_norm: float = 0.0, summed: bool = False) -> tf.Tensor:
  """One optimizer step on gradients that are local shares of a global sum.

  Args:
    optimizer: a built Keras optimizer, whose `apply_gradients` sums over replicas.
    gradients: one tensor per variable, in this replica's share.
    variables: what the optimizer updates.
    clip_norm: largest global norm, measured on the SUM over replicas (a clipnorm inside the optimizer would act before it); 0: none.
    summed: the gradients are already summed over replicas.
  Returns:
    [] the norm of the summed gradient before clipping.
  """
  gradients = require(gradients, variables)
  gradients = gradients if summed else total(gradients)
  norm = tf.linalg.global_norm(gradients)
  if clip_norm:
    gradients, _ = tf.clip_by_global_norm(gradients, tf.constant(clip_norm, norm.dtype), use_norm=norm)
  replicas = tf.cast(count(), norm.dtype)
  optimizer.apply_gradients([(g / replicas, v) for g, v in zip(gradients, variables)])
  return norm
