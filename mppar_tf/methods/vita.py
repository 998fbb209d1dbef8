"""What VITA's methods (Wu et al., TPAMI 2020) have in common: stages 1 to 3 as every game, then VITA's own loops and new attackers.

They differ in f^D's privacy term: `grl`, `entropy`, `k_beam`.
"""

import dataclasses
from typing import Any, Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from mppar_tf import learning_rates, objectives, replica
from mppar_tf.methods import game, steps
from mppar_tf.methods.contract import EpisodePlan, Method, Networks
from mppar_tf.schedule import Schedule
from mppar_tf.schedule_vita import Loops
from mppar_tf.types import Private


def assemble(networks: Networks, settings: Any, opponents: Sequence[str],
             anonymizer_update: Callable[[keras.optimizers.Optimizer], Callable], *, order: tuple[str, ...], joint: bool,
             ascents: int = 1) -> Method:
  """A method under VITA's loops.

  Args:
    networks, settings: as of `game.assemble`.
    opponents: names of the attackers that play, the first of `networks.attackers`.
    anonymizer_update: given f^D's optimizer, one replica's update on an Episode.
    order: of a cycle's loops.
    joint: f^D moves with f^A on actions while f^A is at or below T1, at f^A's rate.
    ascents: updates of f^D in a row. Bounds of a cycle are so many times the settings', which are meant for one update of f^D: else its
      competitors would have a fraction of the steps that every other method's have.
  """
  base = game.assemble(networks, settings, single, anonymizer_update)
  update, optimizers = dict(base.update), dict(base.optimizers)
  if joint:
    optimizers["joint"] = learning_rates.adam(
        learning_rates.shaped(settings.recognizer_lr, 0, "constant"), networks.anonymizer.trainable_variables)
    update["joint"] = steps.action(networks.anonymizer, networks.recognizer, optimizers["joint"], optimizers["recognizer"],
                                   settings.clip_norm)
  if settings.restart_every:
    update["restart"] = restart({name: networks.attackers[name] for name in opponents},
                                [optimizers[f"attacker/{name}"] for name in opponents], settings.seed)
  loops = Loops(order, tuple(opponents), "joint" if joint else "recognizer", settings.action_threshold, settings.attacker_threshold,
                ascents * settings.min_recognizer_steps, ascents * settings.max_recognizer_steps, ascents * settings.max_attacker_rounds,
                ascents, settings.restart_every, settings.attacker_init_steps, settings.gate_smoothing, settings.max_steps)
  schedule = Schedule(game.stages(settings, networks.attackers), tuple(networks.attackers), loops)
  return dataclasses.replace(base, update=update, optimizers=optimizers, schedule=schedule, opponents=tuple(opponents))


def single(update: int, attacker: int = 0) -> EpisodePlan:
  """One batch of all records for every update."""
  return EpisodePlan("single", 0, "all", "same", attacker, attacker)


def ensemble(networks: Networks, settings: Any) -> tuple[str, ...]:
  """The first `--ensemble` training attackers; all where it is 0."""
  return tuple(networks.attackers)[:settings.ensemble or None]


def of_each(attackers: Sequence[keras.Model], exposed: tf.Tensor, local_sum: Callable[[tf.Tensor], tf.Tensor],
            local_count: tf.Tensor) -> tf.Tensor:
  """What each f^P makes of anonymized frames, over the global batch. exposed [B', T', H, W, 3] -> [M], equal on all replicas.

  Args:
    local_sum: logits [B', P] -> [].
    local_count: its divisor once both are summed over replicas.
  """
  sums = tf.stack([local_sum(steps.attack(attacker, exposed, training=False)) for attacker in attackers])  # [M]
  return replica.total(sums) / tf.maximum(replica.total(local_count), 1.0)


def pick(transform: Callable[[tf.Tensor], tf.Tensor], attackers: Mapping[str, keras.Model], task: str,
         reduction: str) -> Callable[[Private], dict[str, tf.Tensor]]:
  """L_privacy of each f^P on one batch: K-Beam's f^D then plays the least, the attacker that reads it best. Nothing is changed."""
  def update(private: Private):
    dtype = tf.as_dtype(keras.config.floatx())
    losses = of_each(list(attackers.values()), transform(private.frames), lambda z: objectives.privacy_sum(task, z, private.labels),
                     objectives.privacy_count(task, private.labels, reduction, dtype))
    return {f"privacy_loss/{name}": loss for name, loss in zip(attackers, tf.unstack(losses))}
  return update


def restart(attackers: Mapping[str, keras.Model], optimizers: Sequence[keras.optimizers.Optimizer],
            seed: int) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
  """New f^P: every kernel is drawn anew, all else is as it was when this was called; optimizers forget, their rates begin again.

  A kernel gets normal numbers of the standard deviation that it has now, a function of (seed, attacker, kernel, index of the restart).
  Called before weights of any other kind are given or restored: what is drawn is random under `--training_attacker_weights=imagenet` too.

  Returns:
    update(index of the restart [] int32) -> scalars.
  """
  first, kernels = [], {}
  for number, model in enumerate(attackers.values()):
    trained = {id(v) for v in model.trainable_variables}
    for variable in model.variables:
      value = keras.ops.convert_to_numpy(variable.value)
      if id(variable) in trained and value.ndim > 1:
        own = np.random.SeedSequence([seed, number, len(kernels)]).generate_state(1)[0] >> 1  # int32 has 31 bits for it
        kernels[len(first)] = int(own), float(value.std())
      first.append((variable, value))
  slots = [variable for optimizer in optimizers for variable in optimizer.variables]

  def update(index: tf.Tensor):
    def renewed(place, variable, value):
      if place not in kernels:
        return tf.constant(value)
      own, deviation = kernels[place]
      return tf.random.stateless_normal(variable.shape, tf.stack([own, index]), stddev=deviation, dtype=variable.dtype)
    values = [renewed(place, *one) for place, one in enumerate(first)]
    replica.assign([variable for variable, _ in first] + slots, values + [tf.zeros(v.shape, v.dtype) for v in slots])
    drawn = [tf.cast(values[place], tf.float32) for place in kernels]
    return {"restarts": tf.cast(index + 1, tf.float32), "weight_norm": tf.linalg.global_norm(drawn)}
  return update
