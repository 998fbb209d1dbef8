"""VITA's Entropy with an ensemble of M: f^D makes the surest attacker unsure.

f^D descends L_action + gamma * max_i(-H_i), H_i the entropy of attacker i's answers over the batch: only the attacker of least entropy is
seen in an update, all M are trained. True binary entropy for attributes (log 2 at most, where an attacker answers 0.5), categorical entropy
for identity. No label is read, so that NA entries count too.
"""

from typing import Any

import keras
import tensorflow as tf

from mppar_tf import metagrad, objectives, replica
from mppar_tf.methods import steps, vita
from mppar_tf.methods.contract import Method, Networks
from mppar_tf.schedule_vita import GRL_AND_ENTROPY
from mppar_tf.types import Episode


def build(networks: Networks, settings: Any) -> Method:
  """The method, with `settings` an `mppar_tf.options.TrainOptions`."""
  opponents = vita.ensemble(networks, settings)
  attackers = [networks.attackers[name] for name in opponents]

  def anonymizer_update(optimizer):
    loss = steps.eq1_loss(networks.anonymizer, networks.recognizer, attackers, task=networks.task, gamma=settings.gamma,
                          reduction=settings.privacy_reduction, pieces=settings.accumulation, entropy=True, l1_weight=settings.l1_weight)

    def update(episode: Episode):
      private, variables = episode.support.private, networks.anonymizer.trainable_variables
      # Which one the maximum takes is settled first, over the whole global batch: the gradient of a maximum is that of the one taken.
      entropies = vita.of_each(
          attackers, steps.anonymize(networks.anonymizer, private.frames), lambda z: objectives.entropy_sum(networks.task, z),
          objectives.entropy_count(networks.task, private.labels, settings.privacy_reduction, tf.as_dtype(keras.config.floatx())))
      surest = tf.argmin(entropies, output_type=tf.int32)
      phi = [tf.convert_to_tensor(v.value) for v in variables]
      gradients, value, log = metagrad.gradient(loss(episode.support, surest), phi, settings.accumulation)
      norm = replica.apply(optimizer, gradients, variables, clip_norm=settings.clip_norm)
      return {"loss": replica.total(value), "gradient_norm": norm, "surest": tf.cast(surest, norm.dtype), **replica.total(log),
              **{f"entropy/{name}": one for name, one in zip(opponents, tf.unstack(entropies))}}
    return update

  return vita.assemble(networks, settings, opponents, anonymizer_update, order=GRL_AND_ENTROPY, joint=True)
