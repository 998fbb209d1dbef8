"""VITA's K-Beam: of K attackers the one of least loss is picked, and f^D ascends that one's loss alone for `--beam_steps` updates.

Actions have steps of their own (f^A and f^D together), so that neither L_action nor gamma stands in these updates.
"""

import dataclasses
from typing import Any

import tensorflow as tf

from mppar_tf import metagrad, replica
from mppar_tf.methods import steps, vita
from mppar_tf.methods.contract import EpisodePlan, Method, Networks
from mppar_tf.schedule_vita import K_BEAM
from mppar_tf.types import Episode


def build(networks: Networks, settings: Any) -> Method:
  """The method, with `settings` an `mppar_tf.options.TrainOptions`."""
  opponents = vita.ensemble(networks, settings)
  beam = {name: networks.attackers[name] for name in opponents}

  def anonymizer_update(optimizer):
    loss = steps.eq1_loss(networks.anonymizer, None, list(beam.values()), task=networks.task, gamma=1.0,
                          reduction=settings.privacy_reduction, pieces=settings.accumulation, l1_weight=settings.l1_weight)

    def update(episode: Episode):
      variables = networks.anonymizer.trainable_variables
      phi = [tf.convert_to_tensor(v.value) for v in variables]
      gradients, value, log = metagrad.gradient(loss(episode.support, episode.support_attacker), phi, settings.accumulation)
      norm = replica.apply(optimizer, gradients, variables, clip_norm=settings.clip_norm)
      return {"loss": replica.total(value), "gradient_norm": norm, "picked": tf.cast(episode.support_attacker, norm.dtype),
              **replica.total(log)}
    return update

  method = vita.assemble(networks, settings, opponents, anonymizer_update, order=K_BEAM, joint=True, ascents=settings.beam_steps)

  def plan(update: int) -> EpisodePlan:
    """Against the attacker that the schedule has picked: a resumed run reads it from the saved state."""
    return vita.single(update, method.schedule.state()["vita"]["picked"])
  measured = vita.pick(method.anonymize, beam, networks.task, settings.privacy_reduction)
  return dataclasses.replace(method, plan=plan, update={**method.update, "pick": measured})
