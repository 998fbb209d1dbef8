"""Exports a trained anonymizer for cameras and servers, and verifies exports.

  python -m mppar_tf.export --run_dir=runs/twin_a_mppar_seed0 --export_dir=my_export
  python -m mppar_tf.export --run_dir=... --export_dir=my_export --export_height=96 --export_width=128
  python -m mppar_tf.export --check=saved_models/a/mppar
  python -m mppar_tf.export --run_dir=... --export_dir=my_export --add_metrics

Written: saved_model/ (frames of a free batch; clips of a free batch and length), anonymizer_VARIANT.tflite (batch 1, TFLite builtins):
  float32       as trained
  float16       weights in 16 bits
  dynamic_int8  weights in 8 bits, float between layers
  int8          everything in 8 bits, ranges measured on --calibration_frames training frames; uint8 pixels in and out
manifest.json (hashes, input, parity, latency, flags, metrics, versions, licences), model_card.md (what it protects against and what not)
and reference.npz (what Keras makes of built-in pictures). Each file is run on training frames and compared with Keras before it is kept;
a variant that differs by more than its parity, or cannot be converted, is left out and told in one line, float32 stops the export. An
anonymizer that gives NaN, a constant, or its input in disguise is refused. The folder appears whole or not at all.

A quantized file is another anonymizer: mppar_tf.evaluate --judged_export judges it, --add_metrics brings its figures into the manifest.

The run's own flags (RUN_DIR/flags.txt) are read first. --check needs neither the run nor, for the TFLite files, TensorFlow: it verifies
hashes, runs every file on built-in pictures and looks at shapes, finite values, the distance from what Keras gave and from identity. A
SavedModel, which may write files, is run from a copy of the bytes that were hashed, and not at all where a hash of it is wrong.

Exit codes: 0 exported, or the export is whole; 2 bad input; 3 refused, or the checked export has problems (each told in one line);
130 stopped by Ctrl-C: nothing is left behind.
"""

import dataclasses
import itertools
import pathlib
import sys

from mppar_tf import export_check, flagfiles, leaving, options

DONE, REFUSED = export_check.DONE, export_check.REFUSED
RUN_OPTIONS = (options.RunOptions, options.ClipOptions, options.ModelOptions, options.TrainOptions, options.LoopOptions)
PROGRAM_OPTIONS = (options.ExportOptions, *RUN_OPTIONS)
SAME_NETWORK = 1e-4  # largest difference, in [0, 1], between a method's `anonymize` and the network that is exported for it
READ_AT_ONCE = 16  # clips in memory


def main(arguments=None) -> int:
  """Reads flags, those of the run first, and exports or checks."""
  arguments = sys.argv[1:] if arguments is None else arguments
  if any(argument.lstrip("-").partition("=")[0] == "check" for argument in arguments):
    # The choices of a run's flags lie in rooms that import TensorFlow, which a device has not.
    return flagfiles.main(lambda: check(flagfiles.read(options.ExportOptions)), (options.ExportOptions,), __doc__, arguments=arguments)
  from mppar_tf import evaluate
  return flagfiles.main(lambda: run(*(flagfiles.read(cls) for cls in PROGRAM_OPTIONS)), PROGRAM_OPTIONS, __doc__,
                        arguments=arguments, before=evaluate.with_flags_of_run)


def check(chosen) -> int:
  """Verifies an export folder; prints what it is, or its problems. Returns an exit code."""
  if not chosen.check:
    raise options.OptionError("--check needs the folder of an export")
  return export_check.check(pathlib.Path(chosen.check))


def run(chosen, run_options, clip_options, model_options, train_options, loop_options) -> int:
  """Exports; returns an exit code."""
  run_dir = pathlib.Path(run_options.run_dir)
  folder = pathlib.Path(chosen.export_dir or pathlib.Path("saved_models") / run_options.protocol / run_options.method)
  if chosen.add_metrics:
    return add_metrics(folder, run_dir)
  import tensorflow as tf

  from mppar_tf import checkpoints, evaluate, experiment, export_metrics, exporting, initial_weights
  from mppar_tf.data import records
  from mppar_tf.evaluation import report
  from mppar_tf.progress import progress_bar
  try:
    # Without replicas: variables mirrored over devices cannot be frozen into a graph.
    experiment.configure(deterministic=run_options.deterministic, threads=run_options.threads, seed=run_options.seed)
    built = experiment.build(run_options, clip_options, model_options, train_options, tf.distribute.get_strategy())
    method = experiment.make_method(built, run_options.method)
    if method.exportable:
      raise options.OptionError(f"--run_dir={run_dir}: method {run_options.method} is not exported: {method.exportable}")
    step = evaluate.restore(run_dir, method, chosen, loop_options.keep_checkpoints)
    frames = training_frames(built, method, chosen, run_options.on_corrupt)
  except (experiment.ExperimentError, records.RecordsError, checkpoints.CheckpointError) as error:
    raise options.OptionError(str(error)) from error
  try:
    check_same(method, frames)
    sized = resized(frames, chosen.export_height or clip_options.crop, chosen.export_width or clip_options.crop)
    facts = facts_of(built, method, run_dir, step, chosen, (run_options, clip_options, model_options, train_options))
    with progress_bar(total=len(exporting.steps(chosen.export_variants)), desc="export", unit="step", leave=False) as bar:
      def begins(step: str) -> None:
        bar.update(bool(bar.postfix))
        bar.set_postfix_str(step)
      written = exporting.export(
          method.models["anonymizer"], folder, sized[:chosen.export_frames], facts, calibration=sized[chosen.export_frames:],
          variants=chosen.export_variants, force=chosen.force_variants, overwrite=chosen.overwrite, begins=begins)
    if any((run_dir / f"results_{variant}.json").exists() for variant in written["models"]):
      written, _ = export_metrics.add(folder, written, run_dir)
  except (report.ReportError, initial_weights.WeightsError) as error:
    raise options.OptionError(str(error)) from error
  except exporting.ExportRefused as error:
    print(f"export: {error}", file=sys.stderr)
    return REFUSED
  except OSError as error:
    print(f"export: {error.filename or folder}: {error.strerror or error}", file=sys.stderr)
    return REFUSED
  for variant, reason in written["left_out"].items():
    print(f"export: {variant} is left out: {reason}", file=sys.stderr)
  print(summary(folder, written, step, export_metrics.where_they_are(run_dir, written)))
  return DONE


def add_metrics(folder: pathlib.Path, run_dir: pathlib.Path) -> int:
  """Renews manifest and model card by what the run's results files say of this export; returns an exit code."""
  from mppar_tf import export_metrics
  from mppar_tf.evaluation import report
  from mppar_tf.on_camera import manifest
  from mppar_tf.on_camera.errors import ModelRefused
  try:
    written, told = export_metrics.add(folder, manifest.read(folder), run_dir)
  except report.ReportError as error:
    raise options.OptionError(str(error)) from error
  except ModelRefused as error:
    print(f"export: {error}", file=sys.stderr)
    return REFUSED
  print("\n".join([f"metrics of {folder}:",
                   f"  the network: {export_metrics.where_they_are(run_dir, written)}",
                   *(f"  {variant}: {words}" for variant, words in told.items())]))
  return DONE


def training_frames(built, method, chosen, on_corrupt: str):
  """Middle frames of the first training clips and of the first private training records, in turn: [N, crop, crop, 3] float32 in [0, 1].

  The first --export_frames are to compare on, the others, up to --calibration_frames, to calibrate on.
  """
  import numpy as np

  from mppar_tf.data import clips, images
  count = chosen.export_frames + chosen.calibration_frames
  half = -(-count // 2)
  size = min(half, READ_AT_ONCE)
  data = (clips.evaluation_clips(built.clips["train"], built.spec, batch_size=size, clips_per_video=1, on_corrupt=on_corrupt),
          images.evaluation_private(built.private["train"], built.spec, built.benchmark.known, batch_size=size,
                                    frames=built.benchmark.private_frames, on_corrupt=on_corrupt))
  sides = []  # two lists of [crop, crop, 3]
  for batches in data:
    clips_read = [batch[0].frames.numpy() for batch in itertools.islice(batches, -(-half // size))]  # [size, T, crop, crop, 3] each
    sides.append([frames[frames.shape[0] // 2] for read in clips_read for frames in read])
  frames = [frame for pair in itertools.zip_longest(*sides) for frame in pair if frame is not None][:count]
  if len(frames) <= chosen.export_frames:
    raise options.OptionError(f"--export_frames={chosen.export_frames} leaves none of {len(frames)} training frames to calibrate on")
  return np.stack(frames)  # [N, crop, crop, 3]


def check_same(method, frames) -> None:
  """Raises ExportRefused where what the method was judged by is not what the exported network does."""
  import numpy as np
  import tensorflow as tf

  from mppar_tf import exporting
  judged = method.anonymize(tf.constant(frames[:, None]))[:, 0].numpy()  # [N, H, W, 3]
  difference = float(np.abs(judged - method.models["anonymizer"](frames, training=False).numpy()).max())
  if not difference <= SAME_NETWORK:
    raise exporting.ExportRefused(f"the method's frames differ from its anonymizer network's by {difference:.3g}: it is another thing")


def resized(frames, height: int, width: int):
  """[N, H, W, 3] -> [N, height, width, 3]"""
  import numpy as np

  from mppar_tf.on_camera import framing
  if frames.shape[1:3] == (height, width):
    return frames
  stored = np.rint(frames * 255).astype(np.uint8)
  return np.stack([framing.resize(frame, height, width, "AREA") for frame in stored]).astype(np.float32) / 255


def facts_of(built, method, run_dir: pathlib.Path, step: int, chosen, run_flags) -> dict:
  """What the manifest says about where the anonymizer comes from."""
  from mppar_tf import evaluate_exported, export_metrics
  from mppar_tf.evaluation import report
  run_options, _, model_options, _ = run_flags
  private = ("run_dir", "data_dir", "init_from", "recognizer_weights")  # paths of this machine
  flags = {name: value for group in run_flags for name, value in dataclasses.asdict(group).items() if name not in private}
  sources = {split["train"].manifest.dataset: split["train"].manifest for split in (built.clips, built.private)}
  made = {"name": model_options.anonymizer, "size": model_options.anonymizer_size, "width": model_options.anonymizer_width}
  licences: dict[str, list[str]] = {}
  for name, found in sources.items():
    licences.setdefault(found.licence.rstrip(".") or "licence not stated", []).append(name)
  facts = {
      "protocol": run_options.protocol, "method": run_options.method, "benchmark": run_options.benchmark,
      "anonymizer": (made if method.learned else {"name": run_options.method}) | {"sha256": evaluate_exported.network_digest(method)},
      "trained": {"anonymizer": method.learned, "private_labels": method.private_labels, "attackers": list(method.met)},
      "checkpoint": {"which": chosen.checkpoint, "step": step}, "flags": flags, "seeds": [run_options.seed],
      "git_commit": report.code_commit(), "initial_weights": started_from(run_dir),
      "known_attributes": list(built.benchmark.known), "novel_attributes": list(built.benchmark.novel),
      "training_data": [{"dataset": name, "licence": found.licence or "not stated", "source_sha256": found.source_sha256}
                        for name, found in sources.items()],
      "statement": " ".join(f"{'Trained' if method.learned else 'Learned nothing, compared'} on {' and '.join(names)}: {licence}."
                            for licence, names in licences.items())}
  return facts | {"metrics": export_metrics.of_checkpoint(run_dir, facts)}


def started_from(run_dir: pathlib.Path) -> dict:
  """Pretrained weights that the run began with, which bring a licence and leaks of their own: what for, and of which SHA-256 or set."""
  from mppar_tf import initial_weights
  taken = initial_weights.read(run_dir)
  return ({"training_attackers": taken["training_attackers"]} if "training_attackers" in taken else {}) | (
      {"recognizer": {"sha256": taken["recognizer"]["sha256"]}} if "recognizer" in taken else {})


def summary(folder: pathlib.Path, written: dict, step: int, metrics_told: str) -> str:
  lines = [f"exported the checkpoint of step {step} to {folder}, input {written['input']['shape']}"]
  for name, found in [("saved_model", written["saved_model"]), *written["models"].items()]:
    parity = found["parity"]
    told = (f"  {name}: {parity['psnr_db']:.1f} dB to Keras, largest error {parity['max_abs_error']:.2g}, "
            f"on {parity['frames']} training frames")
    if "latency_ms" in found:
      told += f"; {found['bytes']} bytes; " + ", ".join(f"{ms:g} ms on {count} thread(s)" for count, ms in found["latency_ms"].items())
    lines.append(told + "; forced" * bool(found.get("forced")))
  lines += [f"  {export_check.told_distance(written['identity'])}", f"  metrics: {metrics_told}", f"  {written['statement']}"]
  return "\n".join(lines + [f"next: python -m mppar_tf.camera --model={folder} --source=VIDEO --sink=safe.mp4"])


if __name__ == "__main__":
  leaving.leave(main())
