"""VITA's GRL: f^D descends Eq. 1 against one attacker, the first of training; a gradient reversal layer does the same in one pass."""

from typing import Any

import tensorflow as tf

from mppar_tf import metagrad, replica
from mppar_tf.methods import steps, vita
from mppar_tf.methods.contract import Method, Networks
from mppar_tf.schedule_vita import GRL_AND_ENTROPY
from mppar_tf.types import Episode


def build(networks: Networks, settings: Any) -> Method:
  """The method, with `settings` an `mppar_tf.options.TrainOptions`."""
  [opponent, *_] = networks.attackers

  def anonymizer_update(optimizer):
    loss = steps.eq1_loss(networks.anonymizer, networks.recognizer, [networks.attackers[opponent]], task=networks.task,
                          gamma=settings.gamma, reduction=settings.privacy_reduction, pieces=settings.accumulation,
                          l1_weight=settings.l1_weight)

    def update(episode: Episode):
      variables = networks.anonymizer.trainable_variables
      phi = [tf.convert_to_tensor(v.value) for v in variables]
      gradients, value, log = metagrad.gradient(loss(episode.support, tf.constant(0)), phi, settings.accumulation)
      norm = replica.apply(optimizer, gradients, variables, clip_norm=settings.clip_norm)
      return {"loss": replica.total(value), "gradient_norm": norm, **replica.total(log)}
    return update

  return vita.assemble(networks, settings, [opponent], anonymizer_update, order=GRL_AND_ENTROPY, joint=False)
