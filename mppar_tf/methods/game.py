"""What basic and mppar have in common: the same stages, competitors, gate and budget. They differ in f^D's update and in what it reads."""

from typing import Any, Callable

import keras

from mppar_tf import learning_rates
from mppar_tf.methods import steps
from mppar_tf.methods.contract import EpisodePlan, Method, Networks
from mppar_tf.schedule import GateLimits, Schedule, Stage


def stages(networks: Networks, settings: Any) -> list[Stage]:
  """Stages 1 to 3, by which every game begins."""
  roles = tuple(f"attacker/{name}" for name in networks.attackers)
  return [Stage("reconstruction", ("reconstruction",), settings.reconstruction_steps),
          Stage("action", ("action",), settings.action_steps),
          Stage("attackers", roles, settings.attacker_init_steps)]


def assemble(networks: Networks, settings: Any, plan: Callable[[int], EpisodePlan],
             anonymizer_update: Callable[[keras.optimizers.Optimizer], Callable]) -> Method:
  """A method of the adversarial game: stages 1 to 3 (initialisation), then Algorithm 1.

  Args:
    networks: f^D, f^A, the training f^P and the task.
    settings: the training options (`mppar_tf.options.TrainOptions`).
    plan: what each anonymizer update reads.
    anonymizer_update: given f^D's optimizer, one replica's update on an Episode.
  """
  f_d, f_a = networks.anonymizer, networks.recognizer
  clip = settings.clip_norm
  optimizers = {
      "reconstruction": learning_rates.adam(
          learning_rates.one_cycle(settings.reconstruction_lr, settings.reconstruction_steps), f_d.trainable_variables),
      "recognizer": learning_rates.adam(learning_rates.Consecutive(
          learning_rates.one_cycle(settings.action_lr, settings.action_steps), settings.action_steps,
          learning_rates.shaped(settings.recognizer_lr, 0, "constant")), f_a.trainable_variables),
      "anonymizer": learning_rates.adam(
          learning_rates.shaped(settings.beta, settings.max_steps, settings.beta_shape), f_d.trainable_variables),
  }
  if settings.action_anonymizer_lr:
    optimizers["action"] = learning_rates.adam(
        learning_rates.one_cycle(settings.action_anonymizer_lr, settings.action_steps), f_d.trainable_variables)
  for name, model in networks.attackers.items():
    optimizers[f"attacker/{name}"] = learning_rates.adam(learning_rates.Consecutive(
        learning_rates.one_cycle(settings.attacker_init_lr, settings.attacker_init_steps), settings.attacker_init_steps,
        learning_rates.shaped(settings.attacker_lr, 0, "constant")), model.trainable_variables)

  def transform(frames):
    return steps.anonymize(f_d, frames)

  update = {
      "reconstruction": steps.reconstruction(f_d, optimizers["reconstruction"], clip),
      "action": steps.action(f_d, f_a, optimizers.get("action"), optimizers["recognizer"], clip),
      "recognizer": steps.recognizer(transform, f_a, optimizers["recognizer"], clip),
      "validation": steps.validation(transform, f_a),
      "anonymizer": anonymizer_update(optimizers["anonymizer"]),
  }
  for name, model in networks.attackers.items():
    update[f"attacker/{name}"] = steps.attacker(
        transform, model, optimizers[f"attacker/{name}"], networks.task, settings.privacy_reduction, clip)

  gate = GateLimits(settings.action_threshold, settings.attacker_threshold, settings.min_recognizer_steps, settings.max_recognizer_steps,
                    settings.max_attacker_rounds, settings.gate_smoothing, settings.max_steps)
  models = {"anonymizer": f_d, "recognizer": f_a} | {f"attacker/{n}": m for n, m in networks.attackers.items()}
  schedule = Schedule(stages(networks, settings), tuple(networks.attackers), gate)
  return Method(models, optimizers, update, schedule, plan, transform, exportable=None)
