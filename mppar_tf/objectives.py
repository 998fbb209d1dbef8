"""Pure losses. Each returns per-example terms or a local sum and a local count; the updates of `methods/steps.py` divide, by global counts.

`gamma` of Eq. 1 has a meaning only together with the reduction of the privacy loss: "mean" averages masked binary cross-entropy over all
labelled (not NA) entries, "sum" adds it over a sample's attributes and averages over samples, so that the same gamma weighs P times more.
The same holds of the entropy of an attacker's answers, with one difference: it needs no labels, so that NA entries count in it too. What an
attacker is sure of, it may be right about, whether anybody has annotated it or not.
"""

import tensorflow as tf

from mppar_tf.types import NOT_ANNOTATED

REDUCTIONS = ("mean", "sum")
TASKS = ("attributes", "identity")


def action_terms(logits: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
  """L_action of Eq. 1: cross-entropy. logits [B, classes], action [B] int -> [B]."""
  return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=action, logits=logits)


def masked_bce(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Binary cross-entropy of each entry, 0 where the label is NA, and the mask.

  Args:
    logits: [B, P].
    labels: [B, P] int, 1 present, 0 absent, -1 NA.
  Returns:
    terms [B, P] and mask [B, P], both of the logits' dtype.
  """
  # A mask of shape [P] would weigh the mean by B without any error: both are [B, P] or this fails.
  labels.shape.assert_is_compatible_with(logits.shape)
  mask = tf.cast(tf.not_equal(labels, NOT_ANNOTATED), logits.dtype)
  targets = tf.cast(tf.equal(labels, 1), logits.dtype)
  return mask * tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits), mask


def over_time(logits: tf.Tensor, frames: int) -> tf.Tensor:
  """f^P sees single frames: mean of their logits. [B * T, P] -> [B, P]."""
  if frames == 1:
    return logits
  return tf.reduce_mean(tf.reshape(logits, [-1, frames, logits.shape[-1]]), axis=1)  # [B, P]


def privacy_sum(task: str, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
  """Local sum of L_privacy: masked BCE over attributes, or categorical cross-entropy over identities. -> []."""
  if task == "identity":
    return tf.reduce_sum(action_terms(logits, labels[:, 0]))
  return tf.reduce_sum(masked_bce(logits, labels)[0])


def privacy_count(task: str, labels: tf.Tensor, reduction: str, dtype: tf.DType) -> tf.Tensor:
  """Local count, `privacy_sum`'s divisor once summed over replicas: labelled entries ("mean") or samples ("sum", identity). -> []."""
  if task == "identity" or reduction == "sum":
    return tf.cast(tf.shape(labels)[0], dtype)
  return tf.reduce_sum(tf.cast(tf.not_equal(labels, NOT_ANNOTATED), dtype))


def entropy_sum(task: str, logits: tf.Tensor) -> tf.Tensor:
  """Local sum of H_B in nats: binary entropies, at most log 2 (logit 0), or a categorical one, at most log P (equal logits). -> []."""
  if task == "identity":
    return -tf.reduce_sum(tf.nn.softmax(logits) * tf.nn.log_softmax(logits))
  return tf.reduce_sum(tf.sigmoid(logits) * tf.nn.softplus(-logits) + tf.sigmoid(-logits) * tf.nn.softplus(logits))


def entropy_count(task: str, labels: tf.Tensor, reduction: str, dtype: tf.DType) -> tf.Tensor:
  """Local count, `entropy_sum`'s divisor once summed over replicas: all entries, NA ones too ("mean"), or samples. -> []."""
  return tf.cast(tf.shape(labels)[0] if task == "identity" or reduction == "sum" else tf.size(labels), dtype)


def privacy_hits(task: str, logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Right answers and answers: labelled entries on the right side of 0.5, or identities named. -> [], []."""
  if task == "identity":
    right = tf.equal(tf.argmax(logits, axis=-1, output_type=labels.dtype), labels[:, 0])
    return tf.reduce_sum(tf.cast(right, logits.dtype)), tf.cast(tf.shape(labels)[0], logits.dtype)
  mask = tf.not_equal(labels, NOT_ANNOTATED)
  right = tf.logical_and(mask, tf.equal(logits > 0, tf.equal(labels, 1)))
  return tf.reduce_sum(tf.cast(right, logits.dtype)), tf.reduce_sum(tf.cast(mask, logits.dtype))


def action_hits(logits: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
  """Number of clips whose action is named. -> []."""
  return tf.reduce_sum(tf.cast(tf.equal(tf.argmax(logits, axis=-1, output_type=action.dtype), action), logits.dtype))
