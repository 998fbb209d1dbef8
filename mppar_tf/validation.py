"""Full looks at the validation split: they choose the best checkpoint and draw the before/after frames. Test data is never opened here."""

from typing import Any, Iterator

import numpy as np
import tensorflow as tf

from mppar_tf import feeding
from mppar_tf.data import clips, images
from mppar_tf.evaluation import metrics
from mppar_tf.methods import steps

BATCH = 32


class Validation:
  """Looks at a method while it is trained; what it computes is traced at the first look and serves all.

  Args:
    experiment: an `experiment.Experiment`.
    method: the method, with f^D, f^A and training attackers.
  """

  def __init__(self, experiment: Any, method: Any):
    self._experiment = experiment
    # One that never plays would tell of stage 3; a method that trains none (without privacy labels, say) has no leak to be chosen by.
    playing = method.opponents or tuple(experiment.networks.attackers)
    self._attackers = tuple(name for name in playing if f"attacker/{name}" in method.models)
    recognizer, attackers = method.models["recognizer"], [experiment.networks.attackers[name] for name in self._attackers]
    self._anonymize = tf.function(method.anonymize, reduce_retracing=True)
    self._recognize = tf.function(lambda anonymized: recognizer(anonymized, training=False), reduce_retracing=True)
    self._attack = tf.function(lambda anonymized: [steps.attack(a, anonymized, training=False) for a in attackers], reduce_retracing=True)

  def look(self) -> dict[str, float]:
    """Action top-1 of f^A and the leak to the training attackers on the validation split.

    The leak is the largest cMAP (or identity accuracy) of any training attacker on known labels; `score` is top-1 minus leak, the trade-off
    that the best checkpoint has. Training attackers are what f^D was trained to fool: their leak chooses between checkpoints of one run and
    is no privacy figure.

    Returns:
      {"action_top1", "leak", "score"} and "leak/NAME" of each attacker; of a method that trains none, "action_top1" alone: its last
      checkpoint is then as good as any.
    """
    top1 = self.action_top1()
    if not self._attackers:
      return {"action_top1": top1}
    leaks = self.attacker_leaks()
    leak = max(leaks.values())
    return {"action_top1": top1, "leak": leak, "score": top1 - leak} | {f"leak/{name}": value for name, value in leaks.items()}

  def action_top1(self) -> float:
    """Top-1 of f^A on one centre clip of each validation video."""
    right = count = 0
    for batch, _ in self._clips(BATCH):
      guessed = np.argmax(self._recognize(self._anonymize(batch.frames)).numpy(), axis=-1)
      right, count = right + int((guessed == batch.action.numpy()).sum()), count + len(guessed)
    return right / count

  def attacker_leaks(self) -> dict[str, float]:
    """cMAP (attributes) or accuracy (identity) of each training attacker on validation samples."""
    benchmark, attackers = self._experiment.benchmark, self._attackers
    labels, logits = [], []
    for batch, _ in self._private(BATCH):
      labels.append(batch.labels.numpy())
      logits.append(np.stack([z.numpy() for z in self._attack(self._anonymize(batch.frames))]))  # [attackers, B, P]
    truth, scores = np.concatenate(labels), np.concatenate(logits, axis=1)
    if benchmark.identity:
      return {name: metrics.top1(z, truth) for name, z in zip(attackers, scores)}
    precisions = {name: metrics.average_precisions(truth, z, benchmark.known) for name, z in zip(attackers, scores)}
    return {name: metrics.macro_mean(of_one, benchmark.known) for name, of_one in precisions.items()}

  def frames(self, count: int = 8) -> dict[str, tf.Tensor]:
    """Middle frames of the first clips and private samples, raw ones above anonymized ones: two pictures [1, 2 * H, count * W, 3]."""
    pictures = {}
    for name, batches in (("clips", self._clips(count)), ("private", self._private(count))):
      raw = next(batches)[0].frames  # [count, T, H, W, 3]
      # Whole clips go in: a method may look at more than one frame.
      middles = [x[:, raw.shape[1] // 2] for x in (raw, self._anonymize(raw))]  # two of [count, H, W, 3]
      rows = [tf.concat(tf.unstack(x), axis=1) for x in middles]  # two of [H, count * W, 3]
      pictures[f"before_after/{name}"] = tf.concat(rows, axis=0)[tf.newaxis]  # [1, 2 * H, count * W, 3]
    return pictures

  def _clips(self, batch_size: int) -> Iterator:
    experiment = self._experiment
    return feeding.elements(clips.evaluation_clips(
        experiment.clips["validation"], experiment.spec, batch_size=batch_size, clips_per_video=1, on_corrupt=experiment.on_corrupt))

  def _private(self, batch_size: int) -> Iterator:
    experiment = self._experiment
    return feeding.elements(images.evaluation_private(
        experiment.private["validation"], experiment.spec, experiment.benchmark.known, batch_size=batch_size,
        frames=experiment.benchmark.private_frames, on_corrupt=experiment.on_corrupt))
