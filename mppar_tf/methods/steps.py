"""Updates that methods share: initialisation of f^D, and the competitors f^A and f^P on anonymized frames (Eq. 2 and 3).

Every function here builds one replica's update. Losses are local sums over GLOBAL counts; returned scalars are summed over replicas.
"""

from typing import Callable, Sequence

import keras
import tensorflow as tf

from mppar_tf import objectives, replica
from mppar_tf.methods import switch
from mppar_tf.types import Batch, Clips, Private


def anonymize(model: keras.Model, frames: tf.Tensor, training: bool = False) -> tf.Tensor:
  """f^D on every frame by itself, or on whole clips where that is what it takes. [B, T, H, W, 3] -> [B, T, H, W, 3]."""
  if len(model.input_shape) == 5:
    return model(frames, training=training)
  flat = tf.reshape(frames, tf.concat([[-1], tf.shape(frames)[2:]], axis=0))  # [B * T, H, W, 3]
  flat = tf.ensure_shape(flat, [None, *frames.shape[2:]])
  return tf.reshape(model(flat, training=training), tf.shape(frames))  # [B, T, H, W, 3]


def attack(model: keras.Model, frames: tf.Tensor, training: bool) -> tf.Tensor:
  """f^P on single frames, logits averaged over time. [B, T, H, W, 3] -> [B, P]."""
  count = frames.shape[1]
  flat = tf.reshape(frames, [-1, *frames.shape[2:]])  # [B * T, H, W, 3]
  return objectives.over_time(model(flat, training=training), count)  # [B, P]


def global_batch(local: tf.Tensor) -> tf.Tensor:
  """Size of the global batch as a float, from this replica's part of it."""
  return replica.total(tf.cast(tf.shape(local)[0], tf.as_dtype(keras.config.floatx())))


def reconstruction(anonymizer: keras.Model, optimizer: keras.optimizers.Optimizer,
                   clip_norm: float) -> Callable[[Batch], dict[str, tf.Tensor]]:
  """Stage 1: f^D learns to reproduce its input (L1, over pixels), the start of the game: without it f^D's output is noise to f^A."""
  def update(batch: Batch):
    frames = [tf.reshape(f, [-1, *f.shape[2:]]) for f in (batch.clips.frames, batch.private.frames)]  # two of [B * T, H, W, 3]
    frames = tf.concat(frames, axis=0)
    count = global_batch(frames)
    with tf.GradientTape() as reconstruction_tape:
      error = tf.reduce_mean(tf.abs(anonymizer(frames, training=True) - frames), axis=[1, 2, 3])  # [N]
      loss = tf.reduce_sum(error) / count
    variables, rate = anonymizer.trainable_variables, tf.convert_to_tensor(optimizer.learning_rate)
    norm = replica.apply(optimizer, reconstruction_tape.gradient(loss, variables), variables, clip_norm=clip_norm)
    return {"l1": replica.total(loss), "gradient_norm": norm, "learning_rate": rate}
  return update


def action(anonymizer: keras.Model, recognizer: keras.Model, anonymizer_optimizer: keras.optimizers.Optimizer | None,
           recognizer_optimizer: keras.optimizers.Optimizer, clip_norm: float) -> Callable[[Clips], dict[str, tf.Tensor]]:
  """Stage 2: f^A, and f^D with it where it has an optimizer here, on actions alone."""
  def update(clips: Clips):
    count = global_batch(clips.action)
    with tf.GradientTape() as action_tape:
      logits = recognizer(anonymize(anonymizer, clips.frames), training=True)
      loss = tf.reduce_sum(objectives.action_terms(logits, clips.action)) / count
    ours, theirs = recognizer.trainable_variables, anonymizer.trainable_variables if anonymizer_optimizer else []
    gradients = action_tape.gradient(loss, ours + theirs)
    rates = [tf.convert_to_tensor(o.learning_rate) for o in (recognizer_optimizer, anonymizer_optimizer) if o]
    norm = replica.apply(recognizer_optimizer, gradients[:len(ours)], ours, clip_norm=clip_norm)
    log = {"action_loss": replica.total(loss), "action_accuracy": replica.total(objectives.action_hits(logits, clips.action) / count),
           "recognizer_gradient_norm": norm, "recognizer_learning_rate": rates[0]}
    if theirs:
      log["anonymizer_learning_rate"] = rates[1]
      log["anonymizer_gradient_norm"] = replica.apply(anonymizer_optimizer, gradients[len(ours):], theirs, clip_norm=clip_norm)
    return log
  return update


def recognizer(transform: Callable[[tf.Tensor], tf.Tensor], model: keras.Model, optimizer: keras.optimizers.Optimizer,
               clip_norm: float) -> Callable[[Clips], dict[str, tf.Tensor]]:
  """Eq. 2: f^A minimises L_action on anonymized clips; f^D is left alone."""
  def update(clips: Clips):
    count = global_batch(clips.action)
    frames = tf.stop_gradient(transform(clips.frames))  # [B, T, H, W, 3]
    with tf.GradientTape() as recognizer_tape:
      logits = model(frames, training=True)
      loss = tf.reduce_sum(objectives.action_terms(logits, clips.action)) / count
    variables, rate = model.trainable_variables, tf.convert_to_tensor(optimizer.learning_rate)
    norm = replica.apply(optimizer, recognizer_tape.gradient(loss, variables), variables, clip_norm=clip_norm)
    return {"action_loss": replica.total(loss), "action_accuracy": replica.total(objectives.action_hits(logits, clips.action) / count),
            "gradient_norm": norm, "learning_rate": rate}
  return update


def attacker(transform: Callable[[tf.Tensor], tf.Tensor], model: keras.Model, optimizer: keras.optimizers.Optimizer, task: str,
             reduction: str, clip_norm: float) -> Callable[[Private], dict[str, tf.Tensor]]:
  """Eq. 3: one f^P minimises L_privacy on anonymized frames; f^D is left alone."""
  def update(private: Private):
    dtype = tf.as_dtype(keras.config.floatx())
    count = tf.maximum(replica.total(objectives.privacy_count(task, private.labels, reduction, dtype)), 1.0)
    frames = tf.stop_gradient(transform(private.frames))  # [B, T, H, W, 3]
    with tf.GradientTape() as attacker_tape:
      logits = attack(model, frames, training=True)
      loss = objectives.privacy_sum(task, logits, private.labels) / count
    rate = tf.convert_to_tensor(optimizer.learning_rate)
    norm = replica.apply(optimizer, attacker_tape.gradient(loss, model.trainable_variables), model.trainable_variables, clip_norm=clip_norm)
    hits, answers = objectives.privacy_hits(task, logits, private.labels)
    return {"privacy_loss": replica.total(loss), "privacy_accuracy": replica.total(hits) / tf.maximum(replica.total(answers), 1.0),
            "gradient_norm": norm, "learning_rate": rate}
  return update


def validation(transform: Callable[[tf.Tensor], tf.Tensor], model: keras.Model) -> Callable[[Clips], dict[str, tf.Tensor]]:
  """Algorithm 1's gate looks at f^A on validation clips: accuracy of one batch, nothing is changed."""
  def update(clips: Clips):
    count = global_batch(clips.action)
    logits = model(transform(clips.frames), training=False)
    return {"action_loss": replica.total(tf.reduce_sum(objectives.action_terms(logits, clips.action)) / count),
            "action_accuracy": replica.total(objectives.action_hits(logits, clips.action) / count)}
  return update


def part(samples: tf.Tensor, piece: tf.Tensor | int, pieces: int) -> tf.Tensor:
  """One of `pieces` equal parts of a local batch: [B, ...] -> [B / pieces, ...]. Raises ValueError where B cannot be divided."""
  if pieces == 1:
    return samples
  count = samples.shape[0]
  if count is None or count % pieces:
    raise ValueError(f"a batch of {count} on one replica cannot be divided into {pieces} equal pieces")
  size = count // pieces
  return tf.ensure_shape(samples[piece * size:(piece + 1) * size], [size, *samples.shape[1:]])


def eq1_loss(anonymizer: keras.Model, recognizer_model: keras.Model | None, attackers: Sequence[keras.Model], *, task: str, gamma: float,
             reduction: str, pieces: int = 1, entropy: bool = False, l1_weight: float = 0.0):
  """Eq. 1 as a function of f^D's parameters: L(phi) = L_action - gamma * L_privacy + l1_weight * L1(f^D(X), X).

  Competitors stand in inference mode: BatchNorm with moving statistics is exact at second order, with batch statistics TensorFlow is
  silently wrong.

  Args:
    anonymizer, attackers: f^D and every f^P that an index may name.
    recognizer_model: f^A; None leaves L_action and the clips out.
    task, gamma, reduction: of the privacy loss.
    pieces: in how many equal parts a batch is asked for.
    entropy: the entropy of f^P's answers stands in L_privacy's place.
    l1_weight: of the mean difference between f^D's output and its input.
  Returns:
    loss(batch, attacker_index) -> (phi, piece -> (this replica's share of L, shares of what is logged)), `piece` one of `pieces` equal
    parts of the batch, one of several needed only.
  Raises:
    ValueError: from loss, a batch that has no such parts.
  """
  frozen = anonymizer.non_trainable_variables
  chosen_attack = switch.switch(attackers)

  def loss(batch: Batch, attacker_index: tf.Tensor):
    clips, private = batch
    dtype = tf.as_dtype(keras.config.floatx())
    # Counts stand outside every tape: they are the only thing that replicas must agree on before a gradient is taken.
    clip_count = global_batch(clips.action)
    label_count = tf.maximum(replica.total(objectives.privacy_count(task, private.labels, reduction, dtype)), 1.0)
    entry_count = replica.total(objectives.entropy_count(task, private.labels, reduction, dtype)) if entropy else None
    frame_count = global_batch(private.labels) * private.frames.shape[1] + (clip_count * clips.frames.shape[1] if recognizer_model else 0.0)
    no_logits = tf.zeros([tf.shape(private.labels)[0], attackers[0].output_shape[-1]], dtype)  # [B', P]: answers hang on labels alone
    answers = tf.maximum(replica.total(objectives.privacy_hits(task, no_logits, private.labels)[1]), 1.0)
    whole = (clips.frames, clips.action, private.frames, private.labels)

    def at(phi, piece=0):
      clip_part, actions, private_part, labels = (part(samples, piece, pieces) for samples in whole)
      shown = [clip_part, private_part] if recognizer_model else [private_part]
      flat = [tf.reshape(x, [-1, *x.shape[2:]]) for x in shown]  # [B * T, H, W, 3] and [B' * T', H, W, 3]
      frames = tf.concat(flat, axis=0)  # [B * T + B' * T', H, W, 3]
      seen, _ = anonymizer.stateless_call(phi, [v.value for v in frozen], frames, training=False)
      exposed = tf.reshape(seen[-tf.shape(flat[-1])[0]:], tf.shape(private_part))
      exposed = tf.ensure_shape(exposed, private_part.shape)  # [B', T', H, W, 3]
      privacy_logits = chosen_attack(attacker_index, exposed)
      hidden = privacy_loss = objectives.privacy_sum(task, privacy_logits, labels) / label_count
      hits, _ = objectives.privacy_hits(task, privacy_logits, labels)
      log = {"privacy_loss": privacy_loss, "privacy_accuracy": hits / answers}
      if entropy:
        hidden = log["privacy_entropy"] = objectives.entropy_sum(task, privacy_logits) / entry_count
      value = -gamma * hidden
      if recognizer_model:
        anonymized = tf.ensure_shape(tf.reshape(seen[:tf.shape(flat[0])[0]], tf.shape(clip_part)), clip_part.shape)  # [B, T, H, W, 3]
        action_logits = recognizer_model(anonymized, training=False)
        log["action_loss"] = tf.reduce_sum(objectives.action_terms(action_logits, actions)) / clip_count
        log["action_accuracy"] = objectives.action_hits(action_logits, actions) / clip_count
        value += log["action_loss"]
      if l1_weight:
        log["l1"] = tf.reduce_sum(tf.reduce_mean(tf.abs(seen - frames), axis=[1, 2, 3])) / frame_count
        value += l1_weight * log["l1"]
      return value, log
    return at
  return loss
