"""Trains an anonymizer under a protocol.

  python -m mppar_tf.train --flagfile=protocol_a.flags
  python -m mppar_tf.train --flagfile=protocol_a.flags --method=basic --seed=1 --run_dir=runs/basic_1

Stages: (1) f^D learns to reproduce its input, (2) f^A learns actions on f^D's output, (3) the attackers learn private labels on it,
(4) Algorithm 1 decides which of the three is updated next. The same command resumes a stopped run from its last checkpoint, bit-identically
on the same machine; a second one beside it, in the same run folder, is refused. TensorBoard: `tensorboard --logdir RUN_DIR`.

On several machines give each the same command with --strategy=multi_worker, and its place in the environment variable TF_CONFIG.

Exit codes: 0 trained; 2 bad input, records that turn out damaged while training among it; 70 a loss, a norm or a weight became NaN or
infinite (the message says where); 74 a checkpoint or a log cannot be written; 75 stopped by SIGTERM or SIGINT with every finished step
saved: run the same command again (a second signal stops at once; it then goes on from the last checkpoint); 76 another worker did not come
or is gone: run the same commands again, they go on from the last checkpoint.
"""

import contextlib
import dataclasses
import functools
import pathlib
import shlex
import signal
import sys
from typing import Callable

from absl import flags

import mppar_tf
from mppar_tf import flagfiles, leaving, options, train_lock, train_records, workers

FINISHED, BAD_INPUT, NOT_FINITE, NOT_WRITTEN, PREEMPTED, LOST = 0, 2, 70, 74, 75, 76
# What stages 1 to 3 depend on: a run may start from another's initialisation only where these are the same.
INITIALISATION_FLAGS = tuple(f"--{name}=" for name in (
    "benchmark", "clips_records", "private_records", "known_attributes", "seed", "precision", "on_corrupt", "clip_frames", "frame_skip",
    "crop", "flip", "anonymizer", "anonymizer_size", "anonymizer_width", "recognizer", "recognizer_size", "recognizer_width",
    "recognizer_dropout", "recognizer_weights", "training_attackers", "attacker_size", "training_attacker_weights", "reconstruction_steps",
    "reconstruction_lr", "action_steps", "action_lr", "action_anonymizer_lr", "attacker_init_steps", "attacker_init_lr", "action_batch",
    "privacy_batch", "recognizer_batch", "attacker_batch", "privacy_reduction", "clip_norm", "gate_smoothing"))
# With others of these the same is computed, but for rounding.
FREE = ("--run_dir=", "--data_dir=", "--threads=", "--log_every=", "--keep_checkpoints=")
PROGRAM_OPTIONS = (options.RunOptions, options.ClipOptions, options.ModelOptions, options.TrainOptions, options.LoopOptions)


def main(end: Callable[[int], int] = int) -> int:
  """Reads the flags, then hands everything to `run`."""
  # Before and after the loop, which finishes its step first, SIGTERM stops as Ctrl-C does.
  signal.signal(signal.SIGTERM, signal.default_int_handler)
  return flagfiles.main(lambda: run(*(flagfiles.read(cls) for cls in PROGRAM_OPTIONS), end=end), PROGRAM_OPTIONS, __doc__,
                        stopped=(PREEMPTED, "train: stopped at once; the same command goes on from the last checkpoint, if there is one"))


def run(*chosen, end: Callable[[int], int] = int) -> int:
  """Trains; takes one of each of PROGRAM_OPTIONS, returns an exit code.

  `end` gets the exit code while all that was built is still held; it returns that or ends the process, as for several workers always.
  """
  try:
    task = workers.task() if chosen[0].strategy == "multi_worker" else workers.alone()
  except workers.ConfigError as error:
    raise options.OptionError(str(error)) from error
  if task is workers.ALONE:
    return train(task, *chosen, end=end)
  from mppar_tf import team
  try:
    with team.losses_told():
      return train(task, *chosen, end=leaving.leave)
  except (options.OptionError, workers.ConfigError) as error:
    leaving.leave(BAD_INPUT, f"train: {task.name}: {error}")
  except workers.PeerLost as error:
    leaving.leave(LOST, f"train: {task.name}: {error}; the same commands go on from the last checkpoint")


def train(task: workers.Task, run_options, *others, end: Callable[[int], int]) -> int:
  """Trains as the worker that `task` names, alone in the run folder; returns an exit code."""
  default = pathlib.Path("runs") / f"{run_options.benchmark}_{run_options.protocol}_{run_options.method}_seed{run_options.seed}"
  run_dir = pathlib.Path(run_options.run_dir or default)
  with contextlib.ExitStack() as held:
    if task.chief:  # it alone writes
      # Several workers are started again at once where one was lost, and the others need as long to miss it as its port may need.
      held.enter_context(train_lock.alone_in(run_dir, patience=workers.PORT_PATIENCE if task.name else 0.0))

    def release_and_end(code: int) -> int:
      held.close()  # `end` may end the process
      return end(code)
    return train_in(run_dir, task, run_options, *others, end=release_and_end)


def train_in(run_dir: pathlib.Path, task: workers.Task, run_options, clip_options, model_options, train_options, loop_options, *,
             end: Callable[[int], int]) -> int:
  """Trains in a folder that is this process's own, or its chief's; returns an exit code."""
  from mppar_tf import checkpoints, experiment, initial_weights, journal, loop, validation
  from mppar_tf import team as team_room
  from mppar_tf.data import order, records
  from mppar_tf.evaluation import metrics

  name = f"{run_options.method} on {run_options.benchmark}, protocol {run_options.protocol}, seed {run_options.seed}"
  train_options = settled(run_options, train_options)
  chosen = (run_options, clip_options, model_options, train_options, loop_options)
  who = f"train: {task.name}:" if task.name else "train:"
  check_flags(run_dir, chosen)
  try:
    if task.chief:
      ensure_records(run_options)
    last = meet(task, run_dir, chosen)
    strategy = experiment.configure(
        virtual_devices=run_options.virtual_devices, deterministic=run_options.deterministic, threads=run_options.threads,
        seed=run_options.seed, precision=run_options.precision, strategy=functools.partial(team_room.strategy, task))
    team = team_room.Team(task, strategy)
    if not task.chief:
      ensure_records(run_options)  # not before: where it is one folder, those of the chief are whole by now
    built = experiment.build(run_options, clip_options, model_options, train_options, strategy)
    train_records.check(run_dir, None if last is not None else loop_options.init_from, seen := train_records.seen_by(built))
    method = experiment.make_method(built, run_options.method)
    experiment.check_game(built, method)
    not_judgeable = experiment.not_judgeable(built)
    feeder = experiment.make_feeder(built, method, seed=run_options.seed, on_corrupt=run_options.on_corrupt,
                                    share=order.Share(task.index, len(task.names)))
    saved = checkpoints.Checkpoints(run_dir / "checkpoints", loop.variables_of(method), loop_options.keep_checkpoints)
    resumed = last is not None
    # Told now, not when evaluate comes.
    initial_weights.starts(built.test_attackers, model_options.test_attacker_weights, "test_attacker_weights")
    start = resume(saved, chosen, last)
    if task.chief:
      saved.forget_unsaved()
    with strategy.scope():
      taken = (initial_weights.read(run_dir if resumed else loop_options.init_from) if start else
               initial_weights.give(method.models, model_options))
  except (experiment.ExperimentError, records.RecordsError, checkpoints.CheckpointError, initial_weights.WeightsError) as error:
    raise options.OptionError(str(error)) from error

  if task.chief:
    flagfiles.write(run_dir / "flags.txt", *chosen)  # only now: a command that cannot start claims no folder
    initial_weights.write(run_dir, taken)
    train_records.write(run_dir, seen)
  log = journal.Journal(run_dir if task.chief else None, loop_options.log_every)
  log.text("flags", "    " + "\n    ".join(flagfiles.lines(*chosen)))
  log.text("command", "    " + shlex.join(sys.argv))
  if task.chief:
    begin = f" (resumed at step {last})" if resumed else f" (initialised by {loop_options.init_from})" if start else ""
    count = f"{strategy.num_replicas_in_sync} replica(s)" + (f" on {len(task.names)} worker(s)" if task.name else "")
    print(f"{name}, {count}: {run_dir}{begin}")
    for line in () if start else initial_weights.told(taken):
      print(f"{who} {line}", file=sys.stderr)
    if not_judgeable:
      print(f"{who} warning: {not_judgeable}; mend the records, or give evaluate another --novel_attributes", file=sys.stderr)
  rhythm = loop.Rhythm(loop_options.checkpoint_every, loop_options.checkpoint_steps, loop_options.validate_every, loop_options.log_every)
  judge = validation.Validation(built, method) if method.plan else None
  looks = loop.Looks(validate=judge.look, frames=judge.frames) if judge else loop.Looks()
  try:
    loop.run(method, feeder, strategy, run_dir=run_dir, checkpoints=saved, journal=log, rhythm=rhythm, looks=looks, start=start,
             team=team)
    code, told = FINISHED, ""
  except loop.Preempted as stop:
    code, told = PREEMPTED, f"stopped by {stop}; the same command resumes it"
  except (journal.NotFinite, metrics.MetricError) as error:
    code, told = NOT_FINITE, str(error)
  except checkpoints.CheckpointError as error:
    code, told = NOT_WRITTEN, str(error)
  except records.RecordsError as error:
    raise options.OptionError(f"{error}; once that is mended the same command goes on from the last checkpoint") from error
  finally:
    log.close()
  if told:
    print(f"{who} {told}", file=sys.stderr)
  elif task.chief:
    report(run_dir, method)
  return end(code)


def meet(task: workers.Task, run_dir: pathlib.Path, chosen) -> int | None:
  """The step from which all workers go on, None from the start; returns when all are there and were started alike."""
  import keras
  import tensorflow as tf

  from mppar_tf import checkpoints
  [*_, last] = [None, *checkpoints.Checkpoints(run_dir / "checkpoints", {}).steps()]
  if task is workers.ALONE:
    return last
  return workers.meet(task, {
      "versions": [f"{room.__name__} {room.__version__}" for room in (mppar_tf, tf, keras)],
      "flags": [line for line in flagfiles.lines(*chosen) if not line.startswith(FREE)]}, last)


def settled(run_options, train_options):
  """The options with the protocol's own shift where it is left to the protocol: flags.txt then says what was trained."""
  from mppar_tf.protocols import PROTOCOLS
  return dataclasses.replace(train_options, shift=PROTOCOLS[run_options.protocol].shift_of(train_options.shift))


def ensure_records(run_options) -> None:
  """Builds the embedded benchmark's records on first use; others are the user's to build."""
  if run_options.benchmark == "twin" and "://" not in run_options.data_dir:
    from tfrecord_tools import build
    # The name stands for one set of records, whose figures can be compared: a twin of other settings goes by another name.
    build.ensure("twin", run_options.data_dir,
                 way_out="or take them as they are: --benchmark=twin_as_built, or twin_hmdb51 for that grouping")


def check_flags(run_dir: pathlib.Path, chosen) -> None:
  """Holds this command against the one that the run was begun with.

  Raises:
    OptionError: the folder belongs to a run with other flags; names those that differ.
  """
  path = run_dir / "flags.txt"
  if not path.exists():
    return
  only_then, only_now = differences(flags_of(path), flagfiles.lines(*chosen), lambda line: not line.startswith(FREE))
  if only_then or only_now:
    raise options.OptionError(f"{run_dir} was begun with other flags ({only_then or 'nothing'} then, {only_now or 'nothing'} now); "
                              "choose another --run_dir or the same flags")


def differences(theirs: list[str], ours: list[str], counts) -> tuple[str, str]:
  """Flags of which `counts` is true that only one side has; both ways, for a flag without a value stands on no side."""
  first, second = ({line for line in lines if counts(line)} for lines in (theirs, ours))
  return " ".join(sorted(first - second)), " ".join(sorted(second - first))


def flags_of(path: pathlib.Path) -> list[str]:
  """The flags in another run's file, with today's defaults for those that it did not know yet."""
  values = flagfiles.define(*PROGRAM_OPTIONS)
  try:
    values(["train", *flagfiles.expand([f"--flagfile={path}"])])
    return flagfiles.lines(*(flagfiles.read(cls, values) for cls in PROGRAM_OPTIONS))
  except (flags.Error, options.OptionError) as error:
    raise options.OptionError(f"{path} is not of this version: {error}") from error


def resume(saved, chosen, last: int | None = None):
  """The state to start from: this run's checkpoint of step `last`, another run's initialisation, or None."""
  from mppar_tf import checkpoints
  init_from = chosen[-1].init_from
  if last is not None:
    if last not in saved.steps():
      raise checkpoints.CheckpointError(f"the chief goes on from step {last}, of which there is no checkpoint here; all workers must see "
                                        "the same --run_dir")
    return saved.restore(saved.find(f"step-{last:09d}"))
  if not init_from:
    return None
  source, told = pathlib.Path(init_from) / "checkpoints" / checkpoints.INITIALISED, pathlib.Path(init_from) / "flags.txt"
  if not (source / "state.json").exists() or not told.exists():
    raise checkpoints.CheckpointError(f"--init_from={init_from}: no finished initialisation there ({source})")
  only_there, only_here = differences(flags_of(told), flagfiles.lines(*chosen), lambda line: line.startswith(INITIALISATION_FLAGS))
  if only_there or only_here:
    raise checkpoints.CheckpointError(f"--init_from={init_from}: that run was initialised with other flags "
                                      f"({only_there or 'nothing'} there, {only_here or 'nothing'} here)")
  return saved.restore(source, saved.held_by(source))


def report(run_dir: pathlib.Path, method) -> None:
  """What was done, and what to do next."""
  reasons = ", ".join(f"{name} {count}" for name, count in sorted(method.schedule.reasons.items()))
  print(f"trained: {reasons}\nTensorBoard: tensorboard --logdir {run_dir}\n"
        f"next: python -m mppar_tf.evaluate --run_dir={run_dir} ; python -m mppar_tf.export --run_dir={run_dir} "
        f"--export_dir={run_dir}/export")


if __name__ == "__main__":
  leaving.leave(main(leaving.leave))
