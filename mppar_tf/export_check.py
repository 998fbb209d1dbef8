"""Is an export whole, and does it still do here what it did where it was made? Needs no TensorFlow for all but the SavedModel."""

import importlib.util
import pathlib
import sys
from typing import Any, Mapping

import numpy as np

from mppar_tf import exporting_card
from mppar_tf.messages import one_line
from mppar_tf.on_camera import judge, manifest, reference
from mppar_tf.on_camera.engine import Engine
from mppar_tf.on_camera.errors import ModelRefused

DONE, REFUSED = 0, 3
# Another processor sums in another order, and 8-bit kernels round differently; a file this much further from Keras than at its export is
# another file or is run wrongly. Beyond ENOUGH_DB nothing is worth telling.
SLACK_DB, ENOUGH_DB = 3.0, 80.0


def check(folder: pathlib.Path) -> int:
  """Prints what the export in `folder` is, or its problems, one line each. Returns an exit code."""
  try:
    described = manifest.read(folder)
  except ModelRefused as error:
    print(f"export: {error}", file=sys.stderr)
    return REFUSED
  problems, lines, expected = manifest.problems(folder, described), [], None
  try:
    expected = reference.read(folder, described)
  except ModelRefused as error:
    problems.append(str(error))
  for variant in sorted(described["models"]):
    try:
      lines.append(variant_line(folder, described, variant, expected))
    except (ModelRefused, RuntimeError, ValueError, KeyError, TypeError, MemoryError) as error:
      problems.append(f"{variant}: {str(error)[:300]}")
  if not described["models"]:
    problems.append(f"{folder}: holds no TFLite model")
  if "saved_model" in described and importlib.util.find_spec("tensorflow"):
    from mppar_tf import exporting_saved_model
    problems += exporting_saved_model.problems(folder, described, expected)
    lines.append("saved_model: run")
  elif "saved_model" in described:
    lines.append("saved_model: hashes compared, not run (no TensorFlow here)")
  # A file's problem can be found by its hash and again by running it: it is told once.
  for problem in dict.fromkeys(problems):
    print(f"export: {one_line(problem)}", file=sys.stderr)
  if problems:
    return REFUSED
  lines += [f"{variant}: left out when it was exported: {reason}" for variant, reason in sorted(described.get("left_out", {}).items())]
  judged = exporting_card.judged(described) is not None
  lines = [f"{folder}: whole; {described.get('method', 'unknown method')}, protocol {described.get('protocol', 'unknown')}, "
           f"input {described['input']['shape']}, "
           f"{'judged' if judged else exporting_card.not_judged(described) + ': nobody has measured what it hides'}",
           *lines, described.get("statement", "training data: not stated")]
  print("\n".join(map(one_line, lines)))
  return DONE


def variant_line(folder: pathlib.Path, described: Mapping[str, Any], variant: str, expected: np.ndarray | None) -> str:
  """Runs a TFLite file on the built-in pictures; what was found, in words. Raises ModelRefused where it is not what was exported."""
  height, width = described["input"]["shape"][1:3]
  entry = described["models"][variant]
  _, content = manifest.load(folder, variant)
  engine = Engine(content)
  if engine.shape != (height, width, 3):
    raise ModelRefused(f"input {list(engine.shape)}, the manifest says {[height, width, 3]}")
  if "interface" in entry and entry["interface"] != engine.interface:
    raise ModelRefused(f"takes and gives {engine.interface}, the manifest says {entry['interface']}")
  pictures = judge.built_in_pictures(height, width)
  outputs = engine.run_all(pictures)
  fault = judge.fault(pictures, outputs)
  if fault:
    raise ModelRefused(f"on the built-in pictures: {fault}")
  told = [f"{variant}: {len(content)} bytes", _compared(expected, outputs, entry),
          told_distance(judge.distance_from_identity(pictures, outputs))]
  return "; ".join(told + ([f"forced: {entry['forced']}"] if entry.get("forced") else []))


def _compared(expected: np.ndarray | None, outputs: np.ndarray, entry: Mapping[str, Any]) -> str:
  if expected is None:
    return "not compared with Keras (an export without reference)"
  psnr, then = judge.psnr_db(expected, outputs), entry["built_in"]["psnr_db"]
  if not psnr >= min(then - SLACK_DB, ENOUGH_DB):
    raise ModelRefused(f"differs from Keras on the built-in pictures: PSNR {psnr:.1f} dB, {then:.1f} when it was exported")
  return f"{psnr:.1f} dB to Keras"


def told_distance(distance: Mapping[str, float]) -> str:
  return f"from identity: {distance['psnr_db']:.1f} dB PSNR, {distance['colour_recovery']:.2f} colour recovery"
