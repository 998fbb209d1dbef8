"""The training loop: asks the schedule what is next, runs it under the strategy, logs, saves, and can be stopped at any moment.

It imports no method: it is handed one. `run` returns when the schedule is done; a signal ends it after the present step, with everything
saved.
"""

import dataclasses
import pathlib
import signal
import time
from typing import Any, Callable, Mapping

import tensorflow as tf

from mppar_tf import checkpoints as checkpoints_room
from mppar_tf import journal as journal_room
from mppar_tf import learning_rates
from mppar_tf import team as team_room
from mppar_tf.messages import one_line
from mppar_tf.progress import progress_bar


FIGURES = ("l1", "action_accuracy", "privacy_accuracy", "action_loss", "privacy_loss")  # beside a progress bar


class Preempted(Exception):
  """SIGTERM or SIGINT came; the step was finished and everything is saved."""


@dataclasses.dataclass(frozen=True)
class Rhythm:
  """How often things are written, in steps."""
  checkpoint_every: int  # anonymizer updates
  checkpoint_steps: int  # steps of whatever roles, in every stage
  validate_every: int  # anonymizer updates
  log_every: int  # steps of a role


@dataclasses.dataclass(frozen=True)
class Looks:
  """What the loop may look at beside the updates; both see training and validation data only."""
  validate: Callable[[], Mapping[str, float]] | None = None  # "score", higher is better, chooses the best checkpoint
  frames: Callable[[], Mapping[str, tf.Tensor]] | None = None  # name -> [N, H, W, 3] in [0, 1]


def distributed(strategy: tf.distribute.Strategy, update: Callable) -> Callable[..., dict[str, tf.Tensor]]:
  """One traced step of all replicas. Its scalars are equal on all replicas; the first one's are returned."""
  @tf.function(reduce_retracing=True)
  def step(batch):
    return strategy.run(update, args=(batch,))

  def run(batch):
    return {name: strategy.experimental_local_results(value)[0] for name, value in step(batch).items()}
  return run


def variables_of(method: Any) -> dict[str, list]:
  """Everything that a checkpoint holds, by owner."""
  return ({f"model/{name}": model.variables for name, model in method.models.items()}
          | {f"optimizer/{name}": optimizer.variables for name, optimizer in method.optimizers.items()})


class _Signals:
  """Notes SIGTERM and SIGINT while it is open (0: none came); a second SIGINT falls through to Python."""

  def __enter__(self):
    self.caught = 0
    self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
    return self

  def _note(self, number, _):
    self.caught = number
    signal.signal(number, self._before[number])

  def __exit__(self, *_):
    for number, handler in self._before.items():
      signal.signal(number, handler)


def run(method: Any, feeder: Any, strategy: tf.distribute.Strategy, *, run_dir: pathlib.Path, checkpoints: checkpoints_room.Checkpoints,
        journal: journal_room.Journal, rhythm: Rhythm, looks: Looks = Looks(), start: Mapping[str, Any] | None = None,
        quiet: bool = False, team: team_room.Team = team_room.Team()) -> None:
  """Trains until the schedule is done.

  Args:
    method: a `Method`.
    feeder: gives each role its batch and knows its positions.
    strategy: under whose scope the method was built.
    run_dir: the run's folder.
    checkpoints, journal: where state and logs go.
    rhythm: how often.
    looks: full validation and before/after frames.
    start: the state that `checkpoints.restore` returned, None for a fresh run.
    quiet: no progress bars.
    team: of several processes each runs this loop; one writes and looks at validation, and all end at the same step.
  Raises:
    Preempted: a signal came to one of the processes; the state is saved.
    journal.NotFinite: a term or a variable is NaN or infinite; nothing of that step is saved.
    checkpoints.CheckpointError: the state cannot be written; the last checkpoint stands.
    data.records.RecordsError: records cannot be read; the last checkpoint stands.
  """
  schedule = method.schedule
  if start:
    schedule.load(start["schedule"])
    feeder.seek(start["positions"])
  compiled: dict[str, Callable] = {}
  state = lambda: {"schedule": schedule.state(), "positions": feeder.positions()}
  steps = lambda: sum(schedule.counts.values())
  saved_at = steps()

  def ensure_finite() -> None:
    # A step whose terms are finite can still leave weights that are not: the next one would show it, after they were saved.
    if broken := checkpoints.not_finite():
      raise journal_room.NotFinite(
          f"after step {steps()}: NaN or infinity in {', '.join(broken)}; {journal_room.REMEDY}")

  def save(name: str | None = None) -> None:
    nonlocal saved_at
    ensure_finite()
    saved_at = steps()
    if not team.chief:
      return  # every variable is mirrored, so that the chief's are everybody's and none is asked for
    try:
      journal.flush()  # what is logged of saved steps is on disk; what is logged of later ones is logged again after a kill
      checkpoints.save(steps(), state(), name)
    except (OSError, tf.errors.OpError) as error:
      raise checkpoints_room.CheckpointError(f"{run_dir} cannot be written: {one_line(error, 200)}") from error

  bars = _Bars(schedule, quiet or not team.chief)

  with _Signals() as signals, bars:
    while (decision := schedule.next()) is not None:
      role, count = decision.role, schedule.counts[decision.role]
      if role not in compiled:
        compiled[role] = distributed(strategy, method.update[role])
      began = time.perf_counter()
      batch = feeder.batch(role, count)
      scalars = {name: float(value) for name, value in compiled[role](batch).items()}
      seconds = time.perf_counter() - began
      journal_room.check_finite(role, count, scalars)
      stage = schedule.stage
      schedule.record(decision, scalars)
      journal.scalars(role, count, scalars)
      journal.scalars("throughput", steps(), {f"{role}_steps_per_second": 1.0 / max(seconds, 1e-9)})
      bars.show(decision, scalars)

      updates = schedule.counts["anonymizer"]
      # Of all roles together: attackers that take turns come to a number of steps of their own one right after the other. In the game, too,
      # for there may be thousands of steps between two updates of f^D.
      due = steps() - saved_at >= rhythm.checkpoint_steps
      if role == "anonymizer":
        journal.scalars("gate", updates, schedule.gate_scalars)
        journal.scalars("learning_rate", updates, learning_rates.values(method.optimizers))
        if updates % rhythm.validate_every == 0 or schedule.next() is None:
          ensure_finite()
          if team.chief:
            _look(looks, journal, checkpoints, schedule.counts)
          save()
        elif due or updates % rhythm.checkpoint_every == 0:
          save()
      elif due or schedule.stage != stage:
        if schedule.stage == "game" and stage != "game":
          save(checkpoints_room.INITIALISED)  # first: a kill in between repeats the step, the other way round it would never be written
        save()
      stopped = [signal.Signals(number).name + (f" to {name}" if name else "")
                 for name, number in zip(team.names, team.gather(signals.caught)) if number]
      if stopped:
        save()
        team.gather(0)  # nobody calls it saved before it is
        raise Preempted(f"{' and '.join(stopped)} after {steps()} steps ({updates} anonymizer updates); "
                        f"saved in {run_dir}")
  save()
  journal.flush()
  team.gather(0)  # who left now would be missed by the others


def _look(looks: Looks, journal: journal_room.Journal, checkpoints: checkpoints_room.Checkpoints, counts: Mapping[str, int]) -> None:
  """Full validation, frames, and whether the checkpoint to be saved next becomes the best."""
  updates = counts["anonymizer"]
  if looks.frames:
    for name, frames in looks.frames().items():
      journal.images(name, updates, frames)
  seen = looks.validate() if looks.validate else {}
  journal_room.check_finite("full validation", updates, seen)
  journal.scalars("validation_full", updates, seen, always=True)
  if "score" in seen and seen["score"] > checkpoints.best_score():
    checkpoints.mark_best(sum(counts.values()), seen["score"])


class _Bars:
  """One progress bar per stage; competitor steps of the game show as the bar's figures."""

  def __init__(self, schedule: Any, quiet: bool):
    self._schedule, self._quiet, self._bar, self._stage = schedule, quiet, None, None

  def __enter__(self):
    return self

  def show(self, decision: Any, scalars: Mapping[str, float]) -> None:
    if decision.stage != self._stage:
      self.__exit__()
      self._stage = decision.stage
      before = max(0, self._schedule.done_in_stage - 1) if self._schedule.stage == decision.stage else 0
      self._bar = progress_bar(total=self._schedule.total.get(decision.stage), desc=decision.stage, disable=self._quiet, initial=before,
                               unit="step")
    if decision.stage != "game" or decision.role == "anonymizer":
      self._bar.update()
      figures = {name.split("/")[-1]: f"{value:.3g}" for name, value in scalars.items() if name.split("/")[-1] in FIGURES}
      self._bar.set_postfix(figures, refresh=False)

  def __exit__(self, *_):
    if self._bar is not None:
      self._bar.close()
      self._bar = None
