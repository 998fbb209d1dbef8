"""Training of evaluation's own networks on anonymized batches: fresh attackers side by side, or one recognizer.

The frozen f^D, the costly part, runs once a batch for all of them; each network compiles its own step, so that the peak memory is that of
the largest one and not of their sum. An interrupted fit goes on from its last look.
"""

import json
import math
import os
import pathlib
import shutil
from typing import Callable, Mapping, NamedTuple, Sequence

import keras
import numpy as np
import tensorflow as tf

from mppar_tf import learning_rates, replica
from mppar_tf.progress import progress_bar

Anonymize = Callable[[tf.Tensor], tf.Tensor]  # [B, T, H, W, 3] in [0, 1] -> same
CHECK_EVERY = 20  # steps between two readings of the losses: reading waits for the device, not reading lets NaN train on


class FittingError(ValueError):
  """Training that cannot be trusted: a loss that is not finite, data that ended early, an output of another shape; names the network."""


class Point(NamedTuple):
  """One look at a network while it trained."""
  step: int
  loss: float               # mean training loss since the previous look
  training_accuracy: float  # of the same steps, in training mode, before each update
  validation: float | None  # score on validation data; None where none chooses


class Trainee:
  """A network with its Adam, its one-cycle rate and its compiled step.

  Args:
    name: told in errors.
    model: trained in place.
    terms: (model, frames, labels, training) -> (loss [], right answers [], answers []).
    specs: TensorSpecs of frames [B, T, H, W, 3] and labels [B, ...].
    steps: length of the one-cycle rate.
    learning_rate: its peak.
  """

  def __init__(self, name: str, model: keras.Model, terms: Callable, specs: Sequence[tf.TensorSpec], *, steps: int, learning_rate: float):
    self.name, self.model = name, model
    self.optimizer = learning_rates.adam(learning_rates.one_cycle(learning_rate, steps), model.trainable_variables)
    self._terms, self._pending = terms, []
    self._step = tf.function(self._update, input_signature=[any_batch(spec) for spec in specs])

  def _update(self, frames, labels):
    with tf.GradientTape() as own_tape:
      loss, right, answers = self._terms(self.model, frames, labels, True)
    variables = self.model.trainable_variables
    self.optimizer.apply_gradients(zip(replica.require(own_tape.gradient(loss, variables), variables), variables))
    return tf.stack([loss, right, answers])

  def step(self, frames: tf.Tensor, labels: tf.Tensor) -> None:
    self._pending.append(self._step(frames, labels))
    if len(self._pending) % CHECK_EVERY == 0:
      self._finite(self._pending[-CHECK_EVERY:])

  def _finite(self, rows) -> np.ndarray:
    rows = np.stack([row.numpy() for row in rows]).astype(np.float64)  # [steps, 3]
    for loss in rows[:, 0]:
      if not math.isfinite(loss):
        raise FittingError(f"{self.name}: its training loss is {loss}; a lower learning rate may help")
    return rows

  def drain(self) -> tuple[float, float]:
    """Mean loss and accuracy of the steps since the last call. Raises FittingError on a loss that is not finite."""
    rows, self._pending = self._finite(self._pending), []
    return float(rows[:, 0].mean()), float(rows[:, 1].sum() / max(rows[:, 2].sum(), 1.0))

  def state(self) -> dict[str, np.ndarray]:
    """All that going on needs, counters of dropout included."""
    return ({f"model_{i}": v.numpy() for i, v in enumerate(self.model.variables)}
            | {f"optimizer_{i}": v.numpy() for i, v in enumerate(self.optimizer.variables)})

  def restore(self, state: Mapping[str, np.ndarray]) -> None:
    for prefix, variables in (("model", self.model.variables), ("optimizer", self.optimizer.variables)):
      for i, variable in enumerate(variables):
        variable.assign(state[f"{prefix}_{i}"])


def fit(trainees: Mapping[str, Trainee], anonymize: Anonymize, train: Callable[[int], tf.data.Dataset], *, steps: int, look_every: int,
        look: Callable[[], Mapping[str, float]] | None = None, checkpoint_dir: str | os.PathLike | None = None,
        progress: str = "") -> dict[str, tuple[Point, ...]]:
  """Trains all trainees on the same anonymized batches, and leaves each with its best weights by `look`, or with its last.

  Args:
    anonymize: the frozen f^D.
    train: start batch -> dataset of (frames, labels) from that batch on, endless.
    steps: updates of each trainee; 0 leaves all as they are.
    look_every: steps between two looks (and saves); the last step is always looked at.
    look: () -> validation score by name, higher is better; the earliest best step is kept. None: the last step is kept.
    checkpoint_dir: an interrupted fit leaves its state here at every look and finds it again. One folder for one setting: what decides
      the result (anonymizer, data, budget) must decide the folder's name. None keeps nothing.
    progress: text of the progress bar; "" shows none.
  Raises:
    FittingError: a loss is not finite, the data ends early, the anonymizer changes the shape, or the folder holds other trainees.
  """
  store = None if checkpoint_dir is None else pathlib.Path(checkpoint_dir)
  step, histories, best = _load(store, trainees)
  if step < steps:
    data = train(step)
    f_d, batches = frozen(anonymize, data.element_spec[0]), iter(data)
    with progress_bar(total=steps, initial=step, desc=progress, disable=not progress, unit="step") as bar:
      while step < steps:
        batch = next(batches, None)
        if batch is None:
          raise FittingError(f"{', '.join(trainees)}: the training data ended after {step} of {steps} steps")
        frames = f_d(batch[0])  # [B, T, H, W, 3]
        for trainee in trainees.values():
          trainee.step(frames, batch[1])
        step += 1
        bar.update()
        if step % look_every and step != steps:
          continue
        scores = look() if look else {}
        for name, trainee in trainees.items():
          histories[name].append(Point(step, *trainee.drain(), scores[name] if look else None))
          if look and best_point(histories[name]).step == step:
            best[name] = [v.numpy() for v in trainee.model.variables]
        bar.set_postfix({"validation": f"{max(scores.values()):.3f}"} if look else
                        {"accuracy": f"{max(h[-1].training_accuracy for h in histories.values()):.3f}"})
        _save(store, step, trainees, histories, best)
  for name, values in best.items():
    for variable, value in zip(trainees[name].model.variables, values):
      variable.assign(value)
  return {name: tuple(history) for name, history in histories.items()}


def best_point(history: Sequence[Point]) -> Point:
  """The earliest look with the best validation score."""
  return max(history, key=lambda point: point.validation)


def frozen(anonymize: Anonymize, frames: tf.TensorSpec) -> Anonymize:
  """`anonymize` compiled for any number of clips like `frames` [B, T, H, W, 3], without gradient; another output shape is refused."""
  @tf.function(input_signature=[any_batch(frames)])
  def run(clips):
    anonymized = tf.stop_gradient(anonymize(clips))
    return tf.ensure_shape(anonymized, clips.shape) if anonymized.shape.is_compatible_with(clips.shape) else anonymized

  # An error raised while tracing would reach the caller wrapped in TensorFlow's own: the shape is looked at from outside.
  seen = run.get_concrete_function().structured_outputs
  if not any_batch(frames).shape.is_compatible_with(seen.shape):
    raise FittingError(f"the anonymizer turns frames {frames.shape} into {seen.shape}")
  return run


def any_batch(spec: tf.TensorSpec) -> tf.TensorSpec:
  """The same with a free batch size: the last batch of a finite set is partial."""
  return tf.TensorSpec([None, *spec.shape[1:]], spec.dtype)


def _save(store, step, trainees, histories, best) -> None:
  if store is None:
    return
  partial, whole = store / f"step-{step:08d}.part", store / f"step-{step:08d}"
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True)
  for name, trainee in trainees.items():
    np.savez(partial / f"{name}.npz", **trainee.state(), **{f"best_{i}": value for i, value in enumerate(best.get(name, ()))})
  (partial / "histories.json").write_text(json.dumps(histories), encoding="utf-8")
  os.replace(partial, whole)  # one rename: a killed save is never taken for a whole one
  for old in store.glob("step-*"):
    if old != whole:
      shutil.rmtree(old)


def _load(store, trainees) -> tuple[int, dict[str, list[Point]], dict[str, list[np.ndarray]]]:
  """Step, histories and best weights of the newest whole state, which the trainees take on; a fresh start where there is none."""
  whole = [] if store is None else sorted(p for p in store.glob("step-*") if p.suffix != ".part")
  if not whole:
    return 0, {name: [] for name in trainees}, {}
  histories = json.loads((whole[-1] / "histories.json").read_text(encoding="utf-8"))
  if set(histories) != set(trainees):
    raise FittingError(f"{whole[-1]} holds {', '.join(histories)}, not {', '.join(trainees)}")
  best = {}
  for name, trainee in trainees.items():
    with np.load(whole[-1] / f"{name}.npz") as stored:
      trainee.restore(stored)
      kept = sum(key.startswith("best_") for key in stored)
      if kept:
        best[name] = [stored[f"best_{i}"] for i in range(kept)]
  return int(whole[-1].name.removeprefix("step-")), {n: [Point(*p) for p in histories[n]] for n in trainees}, best
