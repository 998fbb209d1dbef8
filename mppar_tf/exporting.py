"""An anonymizer as files that a camera and a server can run, each one run and compared with Keras before it is kept.

Layout of an export: saved_model/, anonymizer_VARIANT.tflite, reference.npz (see on_camera/reference.py), model_card.md, manifest.json
(see on_camera/manifest.py).
"""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
from typing import Any, Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from mppar_tf import conversion, equalization, exporting_card, exporting_saved_model, exporting_variants
from mppar_tf.exporting_variants import ESSENTIAL, PARITY, SAVED_MODEL, Compared, ExportRefused
from mppar_tf.messages import reason
from mppar_tf.on_camera import judge, manifest, reference
from mppar_tf.on_camera.errors import ModelRefused

__all__ = ["PARITY", "ExportRefused", "export", "versions"]
PACKAGES = ("keras", "numpy", "ai-edge-litert", "mppar-tf")
UNFINISHED = ("{}.part", ".{}.part")  # what a killed writing of a file leaves in an export


def export(anonymizer: keras.Model, folder: pathlib.Path, frames: np.ndarray, facts: Mapping[str, Any], *,
           calibration: np.ndarray | None = None, variants: Sequence[str] = manifest.VARIANTS, force: Sequence[str] = (),
           overwrite: bool = False, begins: Callable[[str], None] = lambda step: None) -> dict[str, Any]:
  """Writes an export; `folder` appears whole or not at all.

  Args:
    anonymizer: f^D, [B, H, W, 3] in [0, 1] -> same.
    folder: where to; its parents are made.
    frames: real frames [N, H, W, 3] float32 in [0, 1], best from the training set. Height and width become the files' fixed ones.
    facts: what else the manifest says (protocol, method, flags, ...); must go into JSON.
    calibration: frames like `frames` that fix the ranges of "int8", best others; None: `frames` themselves.
    variants: TFLite files to write, "float32" among them. One that cannot be converted, differs from Keras by more than PARITY, or does
      not anonymize is left out, and the manifest's left_out says why.
    force: variants that are written although they differ by more; the manifest says so.
    overwrite: replace an export that stands there already, and holds nothing that is not the export's. Anything else is never replaced.
    begins: called with each of `steps(variants)` as it begins: seconds each, minutes of a large network.
  Returns:
    The manifest.
  Raises:
    ExportRefused: bad frames; an identity-like, constant, NaN or out-of-range anonymizer; a SavedModel or float32 file that differs from
      Keras by more than PARITY; `folder` is taken; the conversion failed.
  """
  frames = _checked_frames(frames)
  calibration = frames if calibration is None else _checked_frames(calibration)
  if calibration.shape[1:] != frames.shape[1:]:
    raise ExportRefused(f"frames to calibrate on are {list(calibration.shape[1:3])} pixels, those to compare on {list(frames.shape[1:3])}")
  if ESSENTIAL not in variants:
    raise ExportRefused(f"variants {', '.join(variants) or 'none'}: {ESSENTIAL} is always written, the others are measured by it")
  folder = folder.resolve()  # a link's name cannot be given to a folder
  _settle(folder)
  _check_place(folder, overwrite)
  try:
    json.dumps(facts, allow_nan=False)
  except (TypeError, ValueError) as error:
    raise ExportRefused(f"the manifest cannot be written: {error}") from None
  todo = iter(steps(variants))
  height, width = frames.shape[1:3]
  begins(next(todo))
  built_in = judge.built_in_pictures(height, width)
  on_frames, on_pictures = (Compared(some, _keras_outputs(anonymizer, some)) for some in (frames, built_in))
  for what, (inputs, outputs) in (("training frames", on_frames), ("built-in pictures", on_pictures)):
    fault = judge.fault(inputs, outputs)
    if fault:
      raise ExportRefused(f"the anonymizer is not exported: on {len(inputs)} {what}: {fault}")
  with _staged(folder, overwrite) as staging:
    try:
      begins(next(todo))
      exporting_saved_model.write(anonymizer, staging / SAVED_MODEL, height, width)
      begins(next(todo))
      graph = conversion.freeze(equalization.equalized(anonymizer, calibration), height, width)
      converted = conversion.convert_apart(graph, height, width, staging, variants, calibration)
    except conversion.ConversionError as error:
      raise ExportRefused(f"the anonymizer is not exported: {error}") from None
    begins(next(todo))
    models, left_out = exporting_variants.keep(converted, on_frames, on_pictures, force)
    begins(next(todo))
    reference.write(staging, on_pictures.expected)
    side = {"shape": [1, int(height), int(width), 3], "layout": "NHWC", "dtype": "float32", "range": [0.0, 1.0], "colour": "RGB"}
    return exporting_card.write(staging, {
        **facts,
        "format_version": manifest.FORMAT_VERSION,
        "input": {"name": conversion.INPUT} | side,
        "output": {"name": conversion.OUTPUT} | side,
        "models": models,
        "left_out": left_out,
        "calibration": {"frames": len(calibration), "apart": calibration is not frames},
        SAVED_MODEL: {"folder": SAVED_MODEL, "batch": "free", "time": "free", "signatures": exporting_saved_model.SIGNATURES,
                      "parity": _saved_model_parity(staging / SAVED_MODEL, on_frames)},
        "reference": {"file": reference.NAME, "levels": reference.LEVELS, "pictures": len(built_in)},
        "identity": judge.distance_from_identity(*on_frames) | {"frames": len(frames)},
        "parameters": int(anonymizer.count_params()),
        "machine": exporting_variants.machine(),
        "versions": versions(),
        "files": manifest.list_files(staging),
    })


def steps(variants: Sequence[str]) -> list[str]:
  """What `export` does, in order, for whoever waits."""
  return ["running Keras", "writing the SavedModel", f"converting to {', '.join(variants)}", "comparing and timing the files",
          "comparing the SavedModel"]


def _saved_model_parity(folder: pathlib.Path, frames: Compared) -> dict[str, float]:
  """Of the signature and shape that differ most from Keras."""
  found = [exporting_variants.parity(SAVED_MODEL, frames, outputs) for outputs in exporting_saved_model.run(folder, frames.inputs)]
  worst, beyond = min(found, key=lambda one: one[0]["psnr_db"])
  if beyond:
    raise ExportRefused(beyond)
  return worst


def _checked_frames(frames: np.ndarray) -> np.ndarray:
  frames = np.asarray(frames)
  if frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames) or frames.dtype != np.float32:
    raise ExportRefused(f"frames to compare on are float32 [N, H, W, 3], not {frames.dtype} {list(frames.shape)}")
  if not np.all(np.isfinite(frames)) or frames.min() < 0 or frames.max() > 1:
    raise ExportRefused("frames to compare on leave [0, 1]")
  return frames


def _free(folder: pathlib.Path) -> bool:
  return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def _check_place(folder: pathlib.Path, overwrite: bool) -> None:
  """Raises ExportRefused where `folder` is taken: by an export without `overwrite`, or by anything else, which nobody can make again."""
  if _free(folder):
    return
  if not overwrite:
    raise ExportRefused(f"{folder} exists already; --overwrite replaces an export")
  try:
    described = manifest.read(folder)  # records have a manifest.json too
  except ModelRefused as error:
    raise ExportRefused(f"{folder} is no export and is not replaced: {error}") from None
  own = {*described["files"], *(mask.format(name) for name in (manifest.NAME, exporting_card.NAME) for mask in ("{}", *UNFINISHED))}
  others = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
  others = [name for name in others if name not in own]
  if others:
    raise ExportRefused(f"{folder} is not replaced: {others[0]}{f' and {len(others) - 1} more' if others[1:] else ''} in it would be lost, "
                        "which its manifest does not list")


def _keras_outputs(anonymizer: keras.Model, frames: np.ndarray) -> np.ndarray:
  try:
    outputs = [np.asarray(anonymizer(picture[None], training=False), np.float32)[0] for picture in frames]  # N x [H, W, 3]
  except (ValueError, tf.errors.InvalidArgumentError) as error:
    size = f"{frames.shape[1]}x{frames.shape[2]}"
    raise ExportRefused(f"the anonymizer does not take frames of {size}: {reason(error)}") from None
  return np.stack(outputs)


@contextlib.contextmanager
def _staged(folder: pathlib.Path, overwrite: bool) -> Iterator[pathlib.Path]:
  """A temporary folder beside `folder` that takes its name at the end; removed where something raises.

  An export that it replaces is gone only once the new one stands.
  """
  folder.parent.mkdir(parents=True, exist_ok=True)
  staging = folder.with_name(f".{folder.name}.part")
  shutil.rmtree(staging, ignore_errors=True)
  staging.mkdir()
  try:
    yield staging
    _check_place(folder, overwrite)  # conversion takes minutes, in which others write
    if folder.exists():
      os.replace(folder, _set_aside(folder))
    os.replace(staging, folder)
  finally:
    _settle(folder)
    shutil.rmtree(staging, ignore_errors=True)


def _set_aside(folder: pathlib.Path) -> pathlib.Path:
  """Where an export waits until another one has its name."""
  return folder.with_name(f".{folder.name}.old")


def _settle(folder: pathlib.Path) -> None:
  """Ends a replacement, also one that failed or was killed half-way: the export that was set aside comes back, or goes for a newer one."""
  old = _set_aside(folder)
  try:
    manifest.read(old)
  except ModelRefused:  # nothing was set aside; what is no export is somebody else's and stays where it is
    return
  if _free(folder):
    os.replace(old, folder)
  else:
    shutil.rmtree(old, ignore_errors=True)


def versions() -> dict[str, str]:
  """Versions of what made the export; a package that is not installed (this one, in a source checkout) is left out."""
  found = {"python": platform.python_version(), "tensorflow": tf.__version__}
  for package in PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      found[package] = importlib.metadata.version(package)
  return found
