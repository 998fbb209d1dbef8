"""The adversarial baseline ("basic"): f^D descends Eq. 1 against one attacker drawn at random, no virtual training.

`basic_equal_data` is the same with two batches per anonymizer update, as many samples as mppar's support and query of an attribute-wise
update hold together: without it, a gain of the meta step cannot be told from a gain of more data. mppar's model-wise updates show one batch
to two attackers, so that under alternation it reads three quarters of what this baseline reads, by models alone half, as `basic` does: what
mppar gains over both is not the data's. `clip_norm` clips the mean of the two gradients here, mppar's their sum.
"""

from typing import Any, Callable

import tensorflow as tf

from mppar_tf import metagrad, replica
from mppar_tf.data import sets
from mppar_tf.methods import game, steps
from mppar_tf.methods.contract import EpisodePlan, Method, Networks
from mppar_tf.types import Episode


def build(networks: Networks, settings: Any) -> Method:
  """One batch per update."""
  return _build(networks, settings, query="same")


def build_equal_data(networks: Networks, settings: Any) -> Method:
  """Two batches per update, both against the same attacker: the mean of Eq. 1's gradients on them (each divided by its labels' count)."""
  return _build(networks, settings, query="all")


def _build(networks: Networks, settings: Any, query: str) -> Method:
  attackers = list(networks.attackers.values())

  def anonymizer_update(optimizer):
    loss = steps.eq1_loss(networks.anonymizer, networks.recognizer, attackers, task=networks.task, gamma=settings.gamma,
                          reduction=settings.privacy_reduction, pieces=settings.accumulation, l1_weight=settings.l1_weight)

    def update(episode: Episode):
      phi = [tf.convert_to_tensor(v.value) for v in networks.anonymizer.trainable_variables]
      gradients, value, log = metagrad.gradient(loss(episode.support, episode.support_attacker), phi, settings.accumulation)
      if query == "all":
        more, other_value, other_log = metagrad.gradient(loss(episode.query, episode.query_attacker), phi, settings.accumulation)
        gradients, value = [(a + b) / 2 for a, b in zip(gradients, more)], (value + other_value) / 2
        log = {key: (log[key] + other_log[key]) / 2 for key in log}
      norm = replica.apply(optimizer, gradients, networks.anonymizer.trainable_variables, clip_norm=settings.clip_norm)
      return {"loss": replica.total(value), "gradient_norm": norm, **replica.total(log)}
    return update

  return game.assemble(networks, settings, single_plan(settings, len(attackers), query), anonymizer_update)


def single_plan(settings: Any, attackers: int, query: str = "same") -> Callable[[int], EpisodePlan]:
  """Any record, and one of so many attackers drawn at random for each anonymizer update."""
  def plan(update: int) -> EpisodePlan:
    chosen, _ = sets.draw_attackers(update, 0, attackers=attackers, different=False, ratio=settings.split_ratio, seed=settings.seed)
    return EpisodePlan("single", 0, "all", query, chosen, chosen)
  return plan
