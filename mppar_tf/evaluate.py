"""Judges a trained anonymizer: what stays recognisable, and what fresh attackers still read.

  python -m mppar_tf.evaluate --run_dir=runs/twin_a_mppar_seed0
  python -m mppar_tf.evaluate --run_dir=runs/mppar_0 --attack_steps=300 --polish_steps=200 --compare=runs/basic_0,runs/raw_0

f^D is frozen. f^A is judged on anonymized test videos as training left it, and after a polish of fixed length. The protocol's test
attackers are trained afresh on anonymized training data, chosen on validation data, and judged on anonymized test data; the best of
them is the leak. The same networks on raw frames, and chance, stand beside every figure. Levels on raw frames are kept in --raw_levels_dir
and computed once per seed and budget for all methods. Give every method of a comparison the same budget: --compare refuses runs that were
judged with another one, by other attackers, on another split or on other records, before anything is computed.

A recipe is tuned with --judged_split=validation, never on test figures: validation videos and images are judged, by fresh attackers of
the training architectures and on the known attributes alone; the files below are then called results_validation.json and so on.

--judged_export=DIR --judged_variant=int8 judges a TFLite file of an export in place of f^D, frame by frame through LiteRT as a camera runs
it: the same attackers trained afresh on its frames, and f^A as training left it, polished on its frames with the same budget. Raw levels
are the run's own. The files are then called results_int8.json and so on; mppar_tf.export --add_metrics brings them to the export.

--protocol=c judges a run under another protocol than its own, whatever it was trained under, so long as the attackers of its training and
those of the test stand to each other as that protocol wants; the files are then called results_protocol_c.json and so on.

The run's own flags (RUN_DIR/flags.txt) are read first; only where data lies, how the run is judged, and the machine may be set anew.
Written to RUN_DIR: results.json, results.md, trade_off.png, before_after.png (raw test frames beside anonymized ones: for local eyes only).
An interrupted evaluation goes on where it last looked, and a finished one is not computed again: the same command redraws its table and
plots. One device is used: the first GPU, or the CPU.

Exit codes: 0 judged; 2 bad input, an unfinished run among it; 70 a figure cannot be computed honestly (a loss that is NaN, an attribute
without positives, a lost video; the message names it); 75 stopped by Ctrl-C: the same command goes on.
"""

import dataclasses
import functools
import hashlib
import json
import math
import os
import pathlib
import shutil
import sys

from mppar_tf import flagfiles, leaving, options, train_records

FINISHED, NOT_COMPUTABLE, STOPPED = 0, 70, 75
RUN_OPTIONS = (options.RunOptions, options.ClipOptions, options.ModelOptions, options.TrainOptions, options.LoopOptions)
PROGRAM_OPTIONS = (options.EvaluationOptions, *RUN_OPTIONS)
# What decides neither what was trained nor what it is trained for: all else belongs to the run (evaluate also leaves the protocol free).
# The file of --recognizer_weights may have moved; it is held against the run's record.
FREE = ("run_dir", "data_dir", "test_attackers", "test_attacker_weights", "recognizer_weights", "novel_attributes", "on_corrupt",
        "deterministic", "threads")


def main(arguments=None) -> int:
  """Reads the run's flags, then its own, and hands everything to `run`."""
  return flagfiles.main(lambda: run(*(flagfiles.read(cls) for cls in PROGRAM_OPTIONS)), PROGRAM_OPTIONS, __doc__,
                        arguments=arguments, before=functools.partial(with_flags_of_run, free=(*FREE, "protocol")),
                        stopped=(STOPPED, "evaluate: stopped; the same command goes on from what is saved"))


def with_flags_of_run(arguments: list[str], free: tuple[str, ...] = FREE) -> list[str]:
  """The arguments behind those of RUN_DIR/flags.txt.

  Args:
    free: flags that belong to the run and may be set anew all the same.
  Raises:
    OptionError: no --run_dir, no flags there, or an argument that only training may set.
  """
  from mppar_tf.protocols import PROTOCOLS
  folder = value_of(arguments, "run_dir")
  if folder is None:
    raise options.OptionError("--run_dir is required: the folder of a run of mppar_tf.train")
  path = pathlib.Path(folder) / "flags.txt"
  if not os.path.isfile(path):  # False, too, where one may not look; Path.is_file raises there
    raise options.OptionError(f"--run_dir={folder}: no flags.txt there; it must be the folder of a run of mppar_tf.train")
  owned = {field.name for cls in RUN_OPTIONS for field in dataclasses.fields(cls)} - set(free)
  for name in (argument.lstrip("-").partition("=")[0] for argument in arguments):
    if name in owned or name.removeprefix("no") in owned:
      raise options.OptionError(f"--{name} belongs to the run and was fixed by its training; see {path}")
  lines, judged = flagfiles.expand([f"--flagfile={path}"]), PROTOCOLS.get(value_of(arguments, "protocol"))
  if judged and not judged.novel_attributes:  # those of the protocol that it was trained under have no place in this one
    lines = [line for line in lines if not line.startswith("--novel_attributes=")]
  return lines + arguments


def value_of(arguments: list[str], flag: str) -> str | None:
  """The last value that a flag is given, None where there is none."""
  given = [(*argument.lstrip("-").partition("="), following) for argument, following in zip(arguments, [*arguments[1:], ""])]
  values = [value or following for name, _, value, following in given if name == flag]
  return values[-1] if values else None


def protocol_of(run_dir: pathlib.Path) -> str | None:
  """The protocol that a run was trained under; None where the folder is of no run."""
  path = run_dir / "flags.txt"
  return value_of(flagfiles.expand([f"--flagfile={path}"]), "protocol") if path.is_file() else None


def run(chosen, run_options, clip_options, model_options, train_options, loop_options) -> int:
  """Judges; returns an exit code."""
  import tensorflow as tf
  from mppar_tf import checkpoints, evaluate_exported, experiment, initial_weights
  from mppar_tf.data import records
  from mppar_tf.evaluation import fitting, metrics, report, two_fold

  run_dir, judged = pathlib.Path(run_options.run_dir), run_options.protocol
  run_options = dataclasses.replace(run_options, protocol=protocol_of(run_dir) or judged)
  try:
    others = [report.read(results_path(name, chosen.judged_split, judged)) for name in chosen.compare]
    strategy = experiment.configure(deterministic=run_options.deterministic, threads=run_options.threads, seed=run_options.seed)
    built = experiment.build(run_options, clip_options, model_options, train_options, strategy, judged)
    if apart := train_records.others(run_dir, train_records.seen_by(built)):
      print(f"evaluate: warning: {run_dir} was trained on other records ({apart}); what is test here may have been training there",
            file=sys.stderr)
    method = experiment.make_method(built, run_options.method)
    if chosen.judged_split == "validation":
      built = for_tuning(built)
    starts = initial_weights.starts(built.test_attackers, model_options.test_attacker_weights, "test_attacker_weights")
    begun = initial_weights.fetched(starts), initial_weights.recognizer_of(run_dir, model_options.recognizer_weights)
    step = restore(run_dir, method, chosen, loop_options.keep_checkpoints)
    anonymize, judged_file = evaluate_exported.find(
        chosen, method, run_options.method, clip_options.crop, run_options.threads) or (method.anonymize, None)
  except (experiment.ExperimentError, records.RecordsError, checkpoints.CheckpointError, report.ReportError,
          initial_weights.WeightsError, evaluate_exported.NotThisRuns) as error:
    raise options.OptionError(str(error)) from error

  budget = budget_of(chosen, train_options)
  facts = raw_facts(built, chosen, run_options, clip_options, model_options, *begun)
  key = digest({"raw": facts, "budget": dataclasses.asdict(budget), "seed": run_options.seed, "attackers": built.test_attackers,
                "novel": built.benchmark.novel, "weights": weights_digest(method), "version": two_fold.RAW_LEVEL_VERSION}
               | ({"file": judged_file["sha256"]} if judged_file else {}))
  suffix = suffix_of(chosen.judged_split, judged, run_options.protocol, chosen.judged_variant if judged_file else None)
  results_file = run_dir / f"results{suffix}.json"
  print(f"{run_options.method} on {run_options.benchmark}, {report.protocols(judged, run_options.protocol)}, seed {run_options.seed}: "
        f"checkpoint of step {step}{' as ' + judged_file['file'] if judged_file else ''}, {chosen.judged_split} split, "
        f"attackers {', '.join(built.test_attackers)}")
  given_now = flagfiles.lines(chosen, run_options, clip_options, model_options, train_options)
  described = {"method": run_options.method, "protocol": judged, "benchmark": run_options.benchmark, "seed": run_options.seed,
               "known": list(built.benchmark.known), "novel": list(built.benchmark.novel), "judged_split": chosen.judged_split,
               "facts": facts, "attacker_weights": starts, **({"judged_file": judged_file} if judged_file else {}), "flags": given_now}
  try:
    asked = {"budget": dataclasses.asdict(budget), "privacy": {"attackers": built.test_attackers}}
    report.comparable([described | asked, *others])  # before hours go into figures that cannot stand in one plot
    results = report.read(results_file) if results_file.exists() else None
    if results is None or results.get("key") != key:
      work = run_dir / f"evaluation{suffix}" / key
      given = chosen, run_options, clip_options, model_options
      tasks, raw_tasks = ((action_task(seen, *given), privacy_task(seen, *given)) for seen in (built, as_stored(built)))
      scores = two_fold.evaluate(anonymize, method.models["recognizer"], *tasks, budget, seed=run_options.seed, work_dir=work,
                                 raw_cache=raw_levels_dir(chosen, run_options), raw_facts=facts, raw_tasks=raw_tasks)
      results = report.compose(
          scores, budget, **described, trained_protocol=run_options.protocol, checkpoint=chosen.checkpoint, checkpoint_step=step, key=key,
          initial_weights=initial_weights.read(run_dir), **missed(built, chosen.judged_split),
          promised={"judged_videos": built.clips[chosen.judged_split].total,
                    "judged_private_records": built.private[chosen.judged_split].total},
          anonymizer_sha256=evaluate_exported.network_digest(method))
      report.write(results_file, results)
      shutil.rmtree(work.parent, ignore_errors=True)
    elif results["flags"] != given_now:  # the same weights under the same budget, asked for in other words: best for last, say
      results |= {"flags": given_now, "checkpoint": chosen.checkpoint, "checkpoint_step": step}
      report.write(results_file, results)
    report.write_table(run_dir / f"results{suffix}.md", results)
    report.trade_off(run_dir / f"trade_off{suffix}.png", [results, *others])
    if chosen.sheet_frames:
      title = f"{report.name_of(results)}, {run_options.benchmark}, {chosen.judged_split} split"
      report.sheet(run_dir / f"before_after{suffix}.png", before_after(built, anonymize, chosen), title)
  except report.ReportError as error:
    raise options.OptionError(str(error)) from error
  except (tf.errors.InvalidArgumentError, tf.errors.DataLossError) as error:
    raise options.OptionError(records.explain(error)) from error
  except (fitting.FittingError, metrics.MetricError) as error:
    print(f"evaluate: {error}", file=sys.stderr)
    return NOT_COMPUTABLE
  print(report.table(results))
  written = ["results.json", "results.md", "trade_off.png"] + ["before_after.png"] * bool(chosen.sheet_frames)
  print(f"written: {run_dir}/{', '.join(name.replace('.', f'{suffix}.') for name in written)}")
  return FINISHED


def for_tuning(built):
  """The same run as a recipe may be tuned on: the attackers and attributes of training in place of those of test time."""
  return dataclasses.replace(built, test_attackers=built.training_attackers, benchmark=dataclasses.replace(built.benchmark, novel=()))


def as_stored(built):
  """The same run on frames as the records hold them, nobody obfuscated."""
  return dataclasses.replace(built, spec=dataclasses.replace(built.spec, hidden=None))


def missed(built, judged_split: str) -> dict:
  """Under an obfuscation, in how many training and judged frames the records show nobody who could be hidden; else nothing."""
  from mppar_tf.data import obfuscation
  if not built.spec.hidden:
    return {}
  counted = {f"{name}, {split}": obfuscation.missed(side[split], built.spec.hidden, on_corrupt=built.on_corrupt,
                                                    progress=f"regions of {name}, {split}")._asdict()
             for name, side in (("clips", built.clips), ("private", built.private)) for split in dict.fromkeys(("train", judged_split))}
  return {"obfuscation": dataclasses.asdict(built.spec.hidden) | {"missed": counted}}


def suffix_of(split: str, judged: str, trained: str, variant: str | None) -> str:
  """Keeps a run's results apart from figures for tuning, from those under another protocol than it was trained under, and of its files."""
  parts = (judged != trained, f"_protocol_{judged}"), (split != "test", f"_{split}"), (variant, f"_{variant}")
  return "".join(text for there, text in parts if there)


def restore(run_dir: pathlib.Path, method, chosen, keep: int) -> int:
  """Reads the chosen checkpoint's networks into `method`; returns its step.

  Raises:
    CheckpointError: there is none, or training has not reached its end.
  """
  from mppar_tf import checkpoints, loop
  variables = loop.variables_of(method)
  saved = checkpoints.Checkpoints(run_dir / "checkpoints", variables, keep)
  networks = [group for group in variables if group.startswith("model/")]
  state = saved.restore(saved.find("last"), networks)
  method.schedule.load(state["schedule"])
  if method.schedule.stage != "done" and not chosen.allow_unfinished:
    raise checkpoints.CheckpointError(f"--run_dir={run_dir} stands at step {state['step']} in stage {method.schedule.stage!r}: "
                                      "let mppar_tf.train finish it, or give --allow_unfinished")
  if chosen.checkpoint == "best" and saved.best() is not None:
    return saved.restore(saved.find("best"), networks)["step"]
  return state["step"]


def budget_of(chosen, train_options):
  """The budget that every method of a comparison gets."""
  from mppar_tf.evaluation import two_fold
  own = train_options.action_steps + train_options.max_steps * train_options.min_recognizer_steps  # what every method's f^A had, at least
  raw_steps = chosen.raw_action_steps or max(1, own + chosen.polish_steps)
  return two_fold.Budget(
      attack_steps=chosen.attack_steps, attack_learning_rate=chosen.attack_lr,
      attack_evaluate_every=math.ceil(chosen.attack_steps / chosen.attack_looks),
      polish_steps=chosen.polish_steps, polish_learning_rate=chosen.polish_lr,
      raw_action_steps=raw_steps, raw_action_learning_rate=train_options.action_lr,
      clips_per_video=chosen.clips_per_video, save_every=math.ceil(max(chosen.polish_steps, raw_steps) / 10))


def action_task(built, chosen, run_options, clip_options, model_options):
  """Action clips of the run's records, and its recognizer's builder."""
  from mppar_tf import experiment, initial_weights
  from mppar_tf.data import clips
  from mppar_tf.evaluation import attackers, two_fold
  seed = attackers.own_seed(run_options.seed, "clips of the evaluation")

  def build(seed):
    model = experiment.new_recognizer(model_options, built.clips["train"], clip_options, seed)
    if model_options.recognizer_weights is not None:
      initial_weights.give_recognizer(model, model_options.recognizer_weights)
    return model
  return two_fold.ActionTask(
      train=lambda start: clips.training_clips(built.clips["train"], built.spec, batch_size=chosen.polish_batch, seed=seed,
                                               start_batch=start, on_corrupt=run_options.on_corrupt),
      test=lambda: clips.evaluation_clips(built.clips[chosen.judged_split], built.spec, batch_size=chosen.evaluation_batch,
                                          clips_per_video=chosen.clips_per_video, on_corrupt=run_options.on_corrupt),
      build=build)


def privacy_task(built, chosen, run_options, clip_options, model_options):
  """Private records, with known and novel labels together, and the protocol's test attackers."""
  from mppar_tf import experiment, initial_weights
  from mppar_tf.data import images
  from mppar_tf.evaluation import attackers, two_fold
  benchmark, task = built.benchmark, built.protocol.task
  attributes = benchmark.known + benchmark.novel
  seed = attackers.own_seed(run_options.seed, "private data of the evaluation")
  outputs = experiment.private_outputs(attributes, built.private["train"])
  starts = initial_weights.starts(built.test_attackers, model_options.test_attacker_weights, "test_attacker_weights")

  def whole(split):
    settings = {"batch_size": chosen.evaluation_batch, "on_corrupt": run_options.on_corrupt}
    if split == "test" and benchmark.test:
      frames = images.evaluation_frames(built.private[split], built.spec, attributes, **settings)
      return frames.map(lambda private, record, number: (private, record))
    return images.evaluation_private(built.private[split], built.spec, attributes, frames=benchmark.private_frames, **settings)
  return two_fold.PrivacyTask(
      train=lambda start: images.training_private(built.private["train"], built.spec, attributes, batch_size=chosen.attack_batch, seed=seed,
                                                  start_batch=start, frames=benchmark.private_frames, on_corrupt=run_options.on_corrupt),
      validation=lambda: whole("validation"), test=lambda: whole(chosen.judged_split),
      builders={name: functools.partial(initial_weights.attacker, name, start=start, outputs=outputs, crop=clip_options.crop,
                                        size=model_options.attacker_size) for name, start in starts.items()},
      attributes=attributes, known=benchmark.known if task == "attributes" else (), novel=benchmark.novel, task=task)


def raw_facts(built, chosen, run_options, clip_options, model_options, imagenet=None, recognizer_sha256=None) -> dict:
  """Everything beside budget, seed and attackers that decides a level on raw frames; no method is in it.

  `imagenet`: files and SHA-256 of attackers that start from ImageNet weights; `recognizer_sha256`: of what f^A starts from.
  """
  from mppar_tf.evaluation import report
  recognizer = {name: value for name, value in dataclasses.asdict(model_options).items()
                if name.startswith("recognizer") and name != "recognizer_weights"}
  begun = {name: value for name, value in (("imagenet", imagenet), ("recognizer_sha256", recognizer_sha256)) if value}
  if model_options.attacker_size == "paper":
    begun["paper_attackers"] = 2  # to be raised when their networks change: ResNet-V1's centre and MobileNet's padding once did
  # Manifests speak of all splits; a test set of its own has its own.
  tested = {"test": built.clips["test"].manifest.digest} if built.benchmark.test else {}
  return {**tested, **begun, "judged_split": chosen.judged_split, **train_records.seen_by(built),
          "known": built.benchmark.known, "novel": built.benchmark.novel, "private_frames": built.benchmark.private_frames,
          "clip": dataclasses.asdict(clip_options), "recognizer": recognizer, "attacker_size": model_options.attacker_size,
          "attack_batch": chosen.attack_batch, "polish_batch": chosen.polish_batch, "on_corrupt": run_options.on_corrupt,
          "versions": {name: version for name, version in report.versions().items() if name != "scikit-learn"}}


def weights_digest(method) -> str:
  """SHA-256 of what is judged: the anonymizer's and the recognizer's weights, and the method's other networks that f^D may lean on."""
  total = hashlib.sha256()
  for name in sorted(method.models):
    for weight in method.models[name].get_weights():
      total.update(name.encode() + weight.tobytes())
  return total.hexdigest()[:24]


def digest(value) -> str:
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:24]


def raw_levels_dir(chosen, run_options) -> pathlib.Path:
  """Beside the records; beside the default place of records where these are remote and may not be written."""
  if chosen.raw_levels_dir:
    return pathlib.Path(chosen.raw_levels_dir)
  records = options.default_data_dir() if "://" in run_options.data_dir else run_options.data_dir
  return pathlib.Path(records).resolve().parent / "raw_levels"


def results_path(name: str, split: str, judged: str, variant: str | None = None) -> pathlib.Path:
  """A results file by its own name or its run folder's; `variant`: of a file of an export that was judged in place of f^D."""
  path = pathlib.Path(name)
  return path / f"results{suffix_of(split, judged, protocol_of(path) or judged, variant)}.json" if path.is_dir() else path


def before_after(built, anonymize, chosen):
  """Middle frames of the first judged clips and private records, raw and anonymized."""
  from mppar_tf.data import clips, images
  known, time, split, count = built.benchmark.known, built.benchmark.private_frames, chosen.judged_split, chosen.sheet_frames
  firsts = {
      "clips": lambda seen: clips.evaluation_clips(seen.clips[split], seen.spec, batch_size=count, clips_per_video=1),
      "private": lambda seen: images.evaluation_private(seen.private[split], seen.spec, known, batch_size=count, frames=time)}
  for name, data in firsts.items():
    raw, frames = (next(iter(data(seen)))[0].frames for seen in (as_stored(built), built))  # two of [count, T, H, W, 3]
    middle = frames.shape[1] // 2
    # Whole clips go in: a method may look at more than one frame.
    yield name, raw[:, middle].numpy(), anonymize(frames)[:, middle].numpy()


if __name__ == "__main__":
  leaving.leave(main())
