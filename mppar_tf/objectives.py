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
  return tf.reduce_sum(categorical_entropy(logits) if task == "identity" else binary_entropy(logits))


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


def binary_entropy(logits: tf.Tensor) -> tf.Tensor:
  """Entropy of every sigmoid in nats, largest (log 2) where it says 0.5. [B, P] -> [B, P]."""
  return tf.sigmoid(logits) * tf.nn.softplus(-logits) + tf.sigmoid(-logits) * tf.nn.softplus(logits)


def categorical_entropy(logits: tf.Tensor) -> tf.Tensor:
  """Entropy of every softmax in nats, at most log(classes). [B, classes] -> [B]."""
  log_probabilities = tf.nn.log_softmax(logits)
  return -tf.reduce_sum(tf.exp(log_probabilities) * log_probabilities, axis=-1)


def nt_xent_terms(first: tf.Tensor, second: tf.Tensor, temperature: float) -> tuple[tf.Tensor, tf.Tensor]:
  """NT-Xent of SimCLR, SPAct's privacy budget: each of 2B views must name its sample's other view among the 2B - 1 others.

  Needs the whole batch at once: a view is compared with those of all other samples.

  Args:
    first, second: [B, D] embeddings of length one, row i of both from sample i.
    temperature: above 0.
  Returns:
    terms [2B], and [2B] 1 where a view's nearest other is its sample's.
  """
  both, count = tf.concat([first, second], axis=0), tf.shape(first)[0]  # [2B, D]
  likeness = tf.matmul(both, both, transpose_b=True) / temperature  # [2B, 2B], at most 1 / temperature in size
  likeness = tf.linalg.set_diag(likeness, tf.fill([2 * count], tf.cast(-1e9, likeness.dtype)))  # nobody is compared with itself
  partner = tf.roll(tf.range(2 * count), count, axis=0)
  hits = tf.cast(tf.equal(tf.argmax(likeness, axis=-1, output_type=tf.int32), partner), likeness.dtype)
  return action_terms(likeness, partner), hits
