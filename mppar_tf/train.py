"""Trains an anonymizer under a protocol.

  python -m mppar_tf.train --flagfile=protocol_a.flags
  python -m mppar_tf.train --flagfile=protocol_a.flags --method=basic --seed=1 --run_dir=runs/basic_1

Stages: (1) f^D learns to reproduce its input, (2) f^A learns actions on f^D's output, (3) the attackers learn private labels on it, (4) Algorithm 1 decides which of the three is updated next. The same
command resumes a stopped run from its last checkpoint, bit-identically on the same machine. TensorBoard: `tensorboard --logdir RUN_DIR`.

Exit codes: 0 trained; 2 bad input; 70 a loss became NaN or infinite (the message says where); 75 stopped by SIGTERM or SIGINT with everything saved: run the same command again.
"""

import os
import pathlib
import shlex
import sys

from mppar_tf import flagfiles, options

FINISHED, NOT_FINITE, PREEMPTED = 0, 70, 75
# What stages 1 to 3 depend on: a run may start from another's initialisation only where these are the same.
INITIALISATION_FLAGS = tuple(f"--{name}" for name in (
    "benchmark", "clips_records", "private_records", "known_attributes", "seed", "clip_frames", "frame_skip", "crop", "flip", "anonymizer", "recognizer", "training_attackers", "attacker_size",
    "reconstruction_", "action_steps", "action_lr", "action_anonymizer_lr", "action_batch", "privacy_batch", "recognizer_batch", "attacker_batch", "attacker_init", "privacy_reduction", "clip_norm"))
PROGRAM_OPTIONS = (options.RunOptions, options.ClipOptions, options.ModelOptions, options.TrainOptions, options.LoopOptions)


def main() -> int:
  """Reads the flags, then hands everything to `run`."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  return flagfiles.main(lambda: run(*(flagfiles.read(cls) for cls in PROGRAM_OPTIONS)), PROGRAM_OPTIONS, __doc__)


def run(run_options, clip_options, model_options, train_options, loop_options) -> int:
  """Trains; returns an exit code."""
  from mppar_tf import checkpoints, experiment, journal, loop, validation
  from mppar_tf.data import records

  run_dir = pathlib.Path(run_options.run_dir or pathlib.Path("runs") / f"{run_options.benchmark}_{run_options.protocol}_{run_options.method}_seed{run_options.seed}")
  chosen = (run_options, clip_options, model_options, train_options, loop_options)
  try:
    ensure_records(run_options)
    strategy = experiment.configure(virtual_devices=run_options.virtual_devices, deterministic=run_options.deterministic, threads=run_options.threads, seed=run_options.seed)
    built = experiment.build(run_options, clip_options, model_options, train_options, strategy)
    method = experiment.make_method(built, run_options.method)
    feeder = experiment.make_feeder(built, method, seed=run_options.seed, on_corrupt=run_options.on_corrupt)
    claim(run_dir, chosen)
    saved = checkpoints.Checkpoints(run_dir / "checkpoints", loop.variables_of(method), loop_options.keep_checkpoints)
    start = resume(saved, chosen)
  except (experiment.ExperimentError, records.RecordsError, checkpoints.CheckpointError) as error:
    raise options.OptionError(str(error)) from error

  log = journal.Journal(run_dir, loop_options.log_every)
  log.text("flags", "    " + "\n    ".join((run_dir / "flags.txt").read_text(encoding="utf-8").splitlines()))
  log.text("command", "    " + shlex.join(sys.argv))
  print(f"{run_options.method} on {run_options.benchmark}, protocol {run_options.protocol}, seed {run_options.seed}, {strategy.num_replicas_in_sync} replica(s): {run_dir}"
        + (f" (resumed at step {start['step']})" if start else ""))
  rhythm = loop.Rhythm(loop_options.checkpoint_every, loop_options.checkpoint_steps, loop_options.validate_every, loop_options.log_every)
  looks = loop.Looks(validate=lambda: validation.look(built, method), frames=lambda: validation.frames(built, method)) if method.plan else loop.Looks()
  try:
    loop.run(method, feeder, strategy, run_dir=run_dir, checkpoints=saved, journal=log, rhythm=rhythm, looks=looks, start=start)
  except loop.Preempted as stop:
    print(f"train: stopped by {stop}; the same command resumes it", file=sys.stderr)
    return PREEMPTED
  except journal.NotFinite as error:
    print(f"train: {error}", file=sys.stderr)
    return NOT_FINITE
  finally:
    log.close()
  report(run_dir, method)
  return FINISHED


def ensure_records(run_options) -> None:
  """Builds the embedded benchmark's records on first use; others are the user's to build."""
  if run_options.benchmark == "twin" and "://" not in run_options.data_dir:
    from tfrecord_tools import build
    build.ensure("twin", run_options.data_dir)


def claim(run_dir: pathlib.Path, chosen) -> None:
  """Writes flags.txt, or holds this command against the one that the run was begun with.

  Raises:
    OptionError: the folder belongs to a run with other flags; names the first that differs.
  """
  run_dir.mkdir(parents=True, exist_ok=True)
  path, fresh = run_dir / "flags.txt", run_dir / ".flags.new"
  flagfiles.write(fresh, *chosen)
  if path.exists():
    free = ("--run_dir=", "--data_dir=", "--threads=", "--log_every=", "--keep_checkpoints=")  # do not change what is computed
    before, now = (sorted(line for line in p.read_text(encoding="utf-8").splitlines() if not line.startswith(free)) for p in (path, fresh))
    if before != now:
      fresh.unlink()
      old, new = sorted(set(before) - set(now)), sorted(set(now) - set(before))
      raise options.OptionError(f"{run_dir} was begun with other flags ({' '.join(old) or 'fewer'} then, {' '.join(new) or 'fewer'} now); choose another --run_dir or the same flags")
  os.replace(fresh, path)


def resume(saved, chosen):
  """The state to start from: this run's last checkpoint, another run's initialisation, or None."""
  from mppar_tf import checkpoints
  init_from = chosen[-1].init_from
  if saved.steps():
    return saved.restore(saved.find("last"))
  if not init_from:
    return None
  source = pathlib.Path(init_from) / "checkpoints" / checkpoints.INITIALISED
  if not (source / "state.json").exists():
    raise checkpoints.CheckpointError(f"--init_from={init_from}: no finished initialisation there ({source})")
  theirs = set((pathlib.Path(init_from) / "flags.txt").read_text(encoding="utf-8").splitlines())
  wrong = [line for line in flagfiles.lines(*chosen) if line.startswith(INITIALISATION_FLAGS) and line not in theirs]
  if wrong:
    raise checkpoints.CheckpointError(f"--init_from={init_from}: that run was initialised with other flags than {' '.join(wrong)}")
  return saved.restore(source)


def report(run_dir: pathlib.Path, method) -> None:
  """What was done, and what to do next."""
  reasons = ", ".join(f"{name} {count}" for name, count in sorted(method.schedule.reasons.items()))
  print(f"trained: {reasons}\nTensorBoard: tensorboard --logdir {run_dir}\nnext: python -m mppar_tf.evaluate --run_dir={run_dir} ; python -m mppar_tf.export --run_dir={run_dir}")


if __name__ == "__main__":
  sys.exit(main())
