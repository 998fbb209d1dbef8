"""MPPAR (Peng et al., NeurIPS 2023): meta-learning against the shifts that the camera will meet.

Each anonymizer update trains virtually on a support set and tests virtually on a query set that differs from it: in the privacy attributes
(odd updates, Attr_1 against Attr_2) or in the attack models (even updates). Its gradient (Eq. 8, `mppar_tf.metagrad`) asks for a step on
the one that also helps on the other. Ablations are options: `--meta_gradient`, `--shift`, `--sets`, `--split_ratio`.
"""

from typing import Any

import tensorflow as tf

from mppar_tf import metagrad, replica
from mppar_tf.data import sets
from mppar_tf.methods import game, steps
from mppar_tf.methods.contract import EpisodePlan, Method, Networks
from mppar_tf.types import Episode

SHIFTS = {"alternate": ("models", "attributes"), "attributes": ("attributes",), "models": ("models",), "both": ("both",)}  # taken in turn


def plan_update(update: int, *, shift: str, kind_of_sets: str, sets_every: int, attackers: int, ratio: float, seed: int) -> EpisodePlan:
  """Algorithm 1's alternation, as a pure function of the update's index (from 0: the first is model-wise, odd ones are attribute-wise).

  Args:
    update: index of the anonymizer update.
    shift: key of SHIFTS: "alternate", "attributes", "models", or "both" shifts in every update.
    kind_of_sets: "different", or "random": the same two-batch step without attribute- or model-difference.
    sets_every: anonymizer updates between set constructions.
  """
  epoch = update // sets_every
  kind = SHIFTS[shift][update % len(SHIFTS[shift])]
  different = kind != "attributes" and kind_of_sets == "different"
  support, query = sets.draw_attackers(update, epoch, attackers=attackers, different=different, ratio=ratio, seed=seed)
  if kind_of_sets == "random" and kind != "attributes":
    query, _ = sets.draw_attackers(update, epoch, attackers=attackers, different=False, ratio=ratio, seed=seed + 1)
  shared = kind == "models" and kind_of_sets == "different"
  return EpisodePlan(kind, epoch, "all" if shared else "first", "same" if shared else "second", support, query)


def build(networks: Networks, settings: Any) -> Method:
  """The method, with `settings` an `mppar_tf.options.TrainOptions`."""
  attackers = list(networks.attackers.values())

  def plan(update: int) -> EpisodePlan:
    return plan_update(update, shift=settings.shift, kind_of_sets=settings.sets, sets_every=settings.sets_every, attackers=len(attackers),
                       ratio=settings.split_ratio, seed=settings.seed)

  def anonymizer_update(optimizer):
    loss = steps.eq1_loss(networks.anonymizer, networks.recognizer, attackers, task=networks.task, gamma=settings.gamma,
                          reduction=settings.privacy_reduction, pieces=settings.accumulation, l1_weight=settings.l1_weight)

    def update(episode: Episode):
      variables = networks.anonymizer.trainable_variables
      meta = metagrad.meta_gradient(
          loss(episode.support, episode.support_attacker), loss(episode.query, episode.query_attacker),
          [tf.convert_to_tensor(v.value) for v in variables], alpha=settings.alpha, mode=settings.meta_gradient,
          pieces=settings.accumulation)
      norm = replica.apply(optimizer, meta.gradients, variables, clip_norm=settings.clip_norm, summed=True)
      support_norm, query_norm = tf.linalg.global_norm(meta.support_gradients), tf.linalg.global_norm(meta.query_gradients)
      inner = tf.add_n([tf.reduce_sum(s * q) for s, q in zip(meta.support_gradients, meta.query_gradients)])
      return {"virtual_training_loss": replica.total(meta.support_loss), "virtual_testing_loss": replica.total(meta.query_loss),
              "meta_gradient_norm": norm, "virtual_gradient_norm": support_norm, "query_gradient_norm": query_norm,
              "support_query_cosine": tf.math.divide_no_nan(inner, support_norm * query_norm),
              **{f"support/{k}": v for k, v in replica.total(meta.support_log).items()},
              **{f"query/{k}": v for k, v in replica.total(meta.query_log).items()}}
    return update

  return game.assemble(networks, settings, plan, anonymizer_update)
