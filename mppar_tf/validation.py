"""Full looks at the validation split: they choose the best checkpoint and draw the before/after frames. Test data is never opened here."""

from typing import Any

import numpy as np
import tensorflow as tf

from mppar_tf.data import clips, images
from mppar_tf.evaluation import metrics
from mppar_tf.methods import steps

BATCH = 32


def look(experiment: Any, method: Any) -> dict[str, float]:
  """Action top-1 of f^A and the leak to the training attackers on the validation split.

  The leak is the largest cMAP (or identity accuracy) of any training attacker on known labels; `score` is top-1 minus leak, the trade-off that the best checkpoint has. Training attackers are what f^D
  was trained to fool: their leak chooses between checkpoints of one run and is no privacy figure.

  Returns:
    {"action_top1", "leak", "score"} and "leak/NAME" of each attacker.
  """
  top1 = action_top1(experiment, method)
  leaks = attacker_leaks(experiment, method)
  leak = max(leaks.values())
  return {"action_top1": top1, "leak": leak, "score": top1 - leak} | {f"leak/{name}": value for name, value in leaks.items()}


def action_top1(experiment: Any, method: Any) -> float:
  """Top-1 of f^A on one centre clip of each validation video."""
  recognize = tf.function(lambda frames: method.models["recognizer"](method.anonymize(frames), training=False), reduce_retracing=True)
  right = count = 0
  for batch, _ in clips.evaluation_clips(experiment.clips["validation"], experiment.spec, batch_size=BATCH, clips_per_video=1):
    guessed = np.argmax(recognize(batch.frames).numpy(), axis=-1)
    right, count = right + int((guessed == batch.action.numpy()).sum()), count + len(guessed)
  return right / count


def attacker_leaks(experiment: Any, method: Any) -> dict[str, float]:
  """cMAP (attributes) or accuracy (identity) of each training attacker on validation samples."""
  benchmark = experiment.benchmark
  attackers = experiment.networks.attackers
  expose = tf.function(lambda frames: [steps.attack(a, anonymized, training=False) for anonymized in [method.anonymize(frames)] for a in attackers.values()], reduce_retracing=True)
  labels, logits = [], []
  for batch, _ in images.evaluation_private(experiment.private["validation"], experiment.spec, benchmark.known, batch_size=BATCH, frames=benchmark.private_frames):
    labels.append(batch.labels.numpy())
    logits.append(np.stack([z.numpy() for z in expose(batch.frames)]))  # [attackers, B, P]
  truth, scores = np.concatenate(labels), np.concatenate(logits, axis=1)
  if benchmark.identity:
    return {name: metrics.top1(z, truth) for name, z in zip(attackers, scores)}
  return {name: float(np.mean(list(metrics.average_precisions(truth, z, benchmark.known).values()))) for name, z in zip(attackers, scores)}


def frames(experiment: Any, method: Any, count: int = 8) -> dict[str, tf.Tensor]:
  """Middle frames of the first validation clips, before and after f^D, side by side: one picture [1, 2 * H, count * W, 3] for each of clips and private samples."""
  batches = {
      "clips": next(iter(clips.evaluation_clips(experiment.clips["validation"], experiment.spec, batch_size=count, clips_per_video=1)))[0].frames,
      "private": next(iter(images.evaluation_private(experiment.private["validation"], experiment.spec, experiment.benchmark.known, batch_size=count,
                                                     frames=experiment.benchmark.private_frames)))[0].frames}
  pictures = {}
  for name, raw in batches.items():
    middle = raw[:, raw.shape[1] // 2:raw.shape[1] // 2 + 1]  # [count, 1, H, W, 3]
    rows = [tf.concat(tf.unstack(tf.squeeze(x, 1)), axis=1) for x in (middle, method.anonymize(middle))]  # two of [H, count * W, 3]
    pictures[f"before_after/{name}"] = tf.concat(rows, axis=0)[tf.newaxis]  # [1, 2 * H, count * W, 3]
  return pictures
