"""Exports a trained anonymizer for cameras and servers, and verifies exports.

  python -m mppar_tf.export --run_dir=runs/twin_a_mppar_seed0
  python -m mppar_tf.export --run_dir=... --export_dir=my_export --export_height=96 --export_width=128
  python -m mppar_tf.export --check=saved_models/a/mppar

Written: saved_model/ (free batch), anonymizer_float32.tflite and anonymizer_float16.tflite (batch 1, TFLite builtins), manifest.json
(hashes, input, parity, flags, metrics, versions, licences). Each file is run on training frames and compared with Keras before it is
kept; an anonymizer that gives NaN, a constant, or its input in disguise is refused. The folder appears whole or not at all.

The run's own flags (RUN_DIR/flags.txt) are read first. --check needs neither the run nor, for the TFLite files, TensorFlow: it verifies
hashes, runs every file on built-in pictures and looks at shapes, finite values and the distance from identity.

Exit codes: 0 exported, or the export is whole; 2 bad input; 3 refused, or the checked export has problems (each told in one line).
"""

import dataclasses
import importlib.util
import pathlib
import sys

from mppar_tf import flagfiles, leaving, options
from mppar_tf.on_camera import judge, manifest
from mppar_tf.on_camera.engine import Engine
from mppar_tf.on_camera.errors import ModelRefused

DONE, REFUSED = 0, 3
RUN_OPTIONS = (options.RunOptions, options.ClipOptions, options.ModelOptions, options.TrainOptions, options.LoopOptions)
PROGRAM_OPTIONS = (options.ExportOptions, *RUN_OPTIONS)
HEADLINE = ("action_top1", "action_top1_before_polish", "privacy_cmap_known", "privacy_cmap_novel", "identity_accuracy")
SAME_NETWORK = 1e-4  # largest difference, in [0, 1], between a method's `anonymize` and the network that is exported for it


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
  folder = pathlib.Path(chosen.check)
  try:
    described = manifest.read(folder)
  except ModelRefused as error:
    print(f"export: {error}", file=sys.stderr)
    return REFUSED
  problems, lines = manifest.problems(folder, described), []
  height, width = described["input"]["shape"][1:3]
  pictures = judge.built_in_pictures(height, width)
  for variant in sorted(described["models"]):
    try:
      _, content = manifest.load(folder, variant)
      engine = Engine(content)
      if engine.shape != (height, width, 3):
        raise ModelRefused(f"{variant}: input {list(engine.shape)}, the manifest says {[height, width, 3]}")
      outputs = engine.run_all(pictures)
    except (ModelRefused, RuntimeError, ValueError) as error:
      problems.append(f"{variant}: {' '.join(str(error).split())[:300]}")
      continue
    fault = judge.fault(pictures, outputs)
    distance = judge.distance_from_identity(pictures, outputs)
    lines.append(f"{variant}: {len(content)} bytes; {_told(distance)}")
    problems += [f"{variant}: on the built-in pictures: {fault}"] if fault else []
  if not described["models"]:
    problems.append(f"{folder}: holds no TFLite model")
  if "saved_model" in described and importlib.util.find_spec("tensorflow"):
    from mppar_tf import exporting
    problems += exporting.check_saved_model(folder, described)
    lines.append("saved_model: run")
  elif "saved_model" in described:
    lines.append("saved_model: hashes compared, not run (no TensorFlow here)")
  # A file's problem can be found by its hash and again by running it: it is told once.
  for problem in dict.fromkeys(problems):
    print(f"export: {problem}", file=sys.stderr)
  if problems:
    return REFUSED
  print("\n".join([f"{folder}: whole; {described.get('method', 'unknown method')}, protocol {described.get('protocol', 'unknown')}, "
                   f"input {described['input']['shape']}", *lines, described.get("statement", "training data: not stated")]))
  return DONE


def run(chosen, run_options, clip_options, model_options, train_options, loop_options) -> int:
  """Exports; returns an exit code."""
  import tensorflow as tf

  from mppar_tf import checkpoints, evaluate, experiment, exporting
  from mppar_tf.data import records
  from mppar_tf.evaluation import report
  run_dir = pathlib.Path(run_options.run_dir)
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
  folder = pathlib.Path(chosen.export_dir or pathlib.Path("saved_models") / run_options.protocol / run_options.method)
  try:
    check_same(method, frames)
    sized = resized(frames, chosen.export_height or clip_options.crop, chosen.export_width or clip_options.crop)
    facts = facts_of(built, run_dir, step, chosen, (run_options, clip_options, model_options, train_options))
    written = exporting.export(method.models["anonymizer"], folder, sized, facts, overwrite=chosen.overwrite)
  except report.ReportError as error:
    raise options.OptionError(str(error)) from error
  except exporting.ExportRefused as error:
    print(f"export: {error}", file=sys.stderr)
    return REFUSED
  print(summary(folder, written, step, where_metrics_are(run_dir, step, chosen.checkpoint)))
  return DONE


def training_frames(built, method, chosen, on_corrupt: str):
  """Middle frames of the first training clips and of the first private training records, [N, crop, crop, 3] float32 in [0, 1]."""
  import numpy as np

  from mppar_tf.data import clips, images
  half = -(-chosen.export_frames // 2)
  batches = (clips.evaluation_clips(built.clips["train"], built.spec, batch_size=half, clips_per_video=1, on_corrupt=on_corrupt),
             images.evaluation_private(built.private["train"], built.spec, built.benchmark.known, batch_size=half,
                                       frames=built.benchmark.private_frames, on_corrupt=on_corrupt))
  found = [next(iter(data))[0].frames for data in batches]  # [half, T, crop, crop, 3] each
  return np.concatenate([frames[:, frames.shape[1] // 2].numpy() for frames in found])[:chosen.export_frames]


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


def facts_of(built, run_dir: pathlib.Path, step: int, chosen, run_flags) -> dict:
  """What the manifest says about where the anonymizer comes from."""
  from mppar_tf.evaluation import report
  run_options, _, model_options, _ = run_flags
  private = ("run_dir", "data_dir", "init_from", "recognizer_weights")  # paths of this machine
  flags = {name: value for group in run_flags for name, value in dataclasses.asdict(group).items() if name not in private}
  sources = {split["train"].manifest.dataset: split["train"].manifest for split in (built.clips, built.private)}
  licences: dict[str, list[str]] = {}
  for name, found in sources.items():
    licences.setdefault(found.licence.rstrip(".") or "licence not stated", []).append(name)
  return {
      "protocol": run_options.protocol, "method": run_options.method, "benchmark": run_options.benchmark,
      "anonymizer": {"name": model_options.anonymizer, "size": model_options.anonymizer_size, "width": model_options.anonymizer_width},
      "checkpoint": {"which": chosen.checkpoint, "step": step}, "flags": flags, "seeds": [run_options.seed],
      "metrics": metrics(run_dir, step), "git_commit": report.code_commit(),
      "known_attributes": list(built.benchmark.known), "novel_attributes": list(built.benchmark.novel),
      "training_data": [{"dataset": name, "licence": found.licence or "not stated", "source_sha256": found.source_sha256}
                        for name, found in sources.items()],
      "statement": " ".join(f"Trained on {' and '.join(names)}: {licence}." for licence, names in licences.items())}


def metrics(run_dir: pathlib.Path, step: int) -> dict | None:
  """The evaluation's headline figures beside raw frames and chance; None where this checkpoint was not evaluated."""
  from mppar_tf.evaluation import report
  path = run_dir / "results.json"
  if not path.exists():
    return None
  results = report.read(path)
  if results.get("checkpoint_step") != step:
    return None
  sides = {"anonymized": results, "raw": results["raw"], "chance": results["chance"]}
  figures = {side: {key: found[key] for key in HEADLINE if found.get(key) is not None} for side, found in sides.items()}
  return figures | {"budget": results["budget"]}


def where_metrics_are(run_dir: pathlib.Path, step: int, which: str) -> str:
  """In the manifest, or why not: the figures of another checkpoint would be a false promise."""
  from mppar_tf.evaluation import report
  path = run_dir / "results.json"
  if not path.exists():
    return "none, mppar_tf.evaluate has not judged this run"
  judged = report.read(path)
  if judged.get("checkpoint_step") == step:
    return "in the manifest"
  return (f"left out, mppar_tf.evaluate judged step {judged.get('checkpoint_step')} (--checkpoint={judged.get('checkpoint')}) "
          f"and this is step {step} (--checkpoint={which})")


def _told(distance: dict) -> str:
  return f"from identity: {distance['psnr_db']:.1f} dB PSNR, {distance['colour_recovery']:.2f} colour recovery"


def summary(folder: pathlib.Path, written: dict, step: int, metrics_told: str) -> str:
  lines = [f"exported the checkpoint of step {step} to {folder}, input {written['input']['shape']}"]
  for name, found in [("saved_model", written["saved_model"]), *written["models"].items()]:
    parity = found["parity"]
    lines.append(f"  {name}: {parity['psnr_db']:.1f} dB to Keras, largest error {parity['max_abs_error']:.2g}, "
                 f"on {parity['frames']} training frames")
  lines += [f"  {_told(written['identity'])}", f"  metrics: {metrics_told}", f"  {written['statement']}"]
  return "\n".join(lines + [f"next: python -m mppar_tf.camera --model={folder} --source=VIDEO --sink=safe.mp4"])


if __name__ == "__main__":
  leaving.leave(main())
