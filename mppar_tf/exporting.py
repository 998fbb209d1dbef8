"""An anonymizer as files that a camera and a server can run, each one run and compared with Keras before it is kept.

Layout of an export: saved_model/, anonymizer_float32.tflite, anonymizer_float16.tflite, manifest.json (see on_camera/manifest.py).
"""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
from typing import Any, Iterator, Mapping, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from mppar_tf import conversion
from mppar_tf.on_camera import judge, manifest
from mppar_tf.on_camera.engine import Engine
from mppar_tf.on_camera.errors import ModelRefused

SAVED_MODEL = "saved_model"
PACKAGES = ("keras", "numpy", "ai-edge-litert", "mppar-tf")


class ExportRefused(ValueError):
  """The anonymizer is not fit to be exported, or a file of it does not do what Keras does; one line."""


class Tolerance(NamedTuple):
  """How far a file's output may be from Keras's, on frames in [0, 1]."""
  psnr_db: float  # at least
  max_abs_error: float  # at most


# Float32 files differ by the order of sums. Instance norm divides by a standard deviation, which magnifies that, and the rounding of
# 16-bit weights, where a feature map is nearly flat.
PARITY: Mapping[str, Tolerance] = {
    SAVED_MODEL: Tolerance(90.0, 1e-3),
    "float32": Tolerance(80.0, 5e-3),
    "float16": Tolerance(45.0, 1e-1),
}


def export(anonymizer: keras.Model, folder: pathlib.Path, frames: np.ndarray, facts: Mapping[str, Any], *,
           overwrite: bool = False) -> dict[str, Any]:
  """Writes an export; `folder` appears whole or not at all.

  Args:
    anonymizer: f^D, [B, H, W, 3] in [0, 1] -> same.
    folder: where to; its parents are made.
    frames: real frames [N, H, W, 3] float32 in [0, 1], best from the training set. Height and width become the files' fixed ones.
    facts: what else the manifest says (protocol, method, flags, ...); must go into JSON.
    overwrite: replace an export that stands there already. Anything else is never replaced.
  Returns:
    The manifest.
  Raises:
    ExportRefused: bad frames; an identity-like, constant, NaN or out-of-range anonymizer; a file that differs from Keras by more than
      PARITY; `folder` is taken; the conversion failed.
  """
  frames = _checked_frames(frames)
  _check_place(folder, overwrite)
  try:
    json.dumps(facts, allow_nan=False)
  except (TypeError, ValueError) as error:
    raise ExportRefused(f"the manifest cannot be written: {error}") from None
  height, width = frames.shape[1:3]
  pictures = judge.built_in_pictures(height, width)
  expected, expected_pictures = (_keras_outputs(anonymizer, some) for some in (frames, pictures))
  for what, inputs, outputs in (("training frames", frames, expected), ("built-in pictures", pictures, expected_pictures)):
    fault = judge.fault(inputs, outputs)
    if fault:
      raise ExportRefused(f"the anonymizer is not exported: on {len(inputs)} {what}: {fault}")
  with _staged(folder) as staging:
    try:
      _write_saved_model(anonymizer, staging / SAVED_MODEL, height, width)
      files = conversion.convert_apart(conversion.freeze(anonymizer, height, width), height, width, staging)
      models = {}
      for variant, file in zip(conversion.VARIANTS, files):
        parity = _parity(variant, expected, Engine(file.read_bytes()).run_all(frames))
        models[variant] = {"file": file.name, "parity": parity}
    except (conversion.ConversionError, ModelRefused) as error:
      raise ExportRefused(f"the anonymizer is not exported: {error}") from None
    side = {"shape": [1, int(height), int(width), 3], "layout": "NHWC", "dtype": "float32", "range": [0.0, 1.0], "colour": "RGB"}
    written = {
        **facts,
        "format_version": manifest.FORMAT_VERSION,
        "input": {"name": conversion.INPUT} | side,
        "output": {"name": conversion.OUTPUT} | side,
        "models": models,
        SAVED_MODEL: {"folder": SAVED_MODEL, "batch": "free",
                      "parity": _parity(SAVED_MODEL, expected, _run_saved_model(staging / SAVED_MODEL, frames))},
        "identity": judge.distance_from_identity(frames, expected) | {"frames": len(frames)},
        "parameters": int(anonymizer.count_params()),
        "versions": versions(),
        "files": manifest.list_files(staging),
    }
    manifest.write(staging, written)
  return written


def _checked_frames(frames: np.ndarray) -> np.ndarray:
  frames = np.asarray(frames)
  if frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames) or frames.dtype != np.float32:
    raise ExportRefused(f"frames to compare on are float32 [N, H, W, 3], not {frames.dtype} {list(frames.shape)}")
  if not np.all(np.isfinite(frames)) or frames.min() < 0 or frames.max() > 1:
    raise ExportRefused("frames to compare on leave [0, 1]")
  return frames


def _check_place(folder: pathlib.Path, overwrite: bool) -> None:
  if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
    return
  if not overwrite:
    raise ExportRefused(f"{folder} exists already; --overwrite replaces an export")
  if not (folder / manifest.NAME).is_file():
    raise ExportRefused(f"{folder} has no {manifest.NAME}: it is no export and is not replaced")


def _keras_outputs(anonymizer: keras.Model, frames: np.ndarray) -> np.ndarray:
  try:
    outputs = [np.asarray(anonymizer(picture[None], training=False), np.float32)[0] for picture in frames]  # N x [H, W, 3]
  except (ValueError, tf.errors.InvalidArgumentError) as error:
    size = f"{frames.shape[1]}x{frames.shape[2]}"
    raise ExportRefused(f"the anonymizer does not take frames of {size}: {str(error).splitlines()[0]}") from None
  return np.stack(outputs)


def _write_saved_model(anonymizer: keras.Model, folder: pathlib.Path, height: int, width: int) -> None:
  archive = keras.export.ExportArchive()
  archive.track(anonymizer)
  signature = [tf.TensorSpec([None, height, width, 3], tf.float32, name=conversion.INPUT)]
  archive.add_endpoint("serve", conversion.serving_function(anonymizer), input_signature=signature)
  archive.write_out(str(folder), verbose=False)


def _run_saved_model(folder: pathlib.Path, frames: np.ndarray) -> np.ndarray:
  """All frames as one batch, which shows that the batch is free. [N, H, W, 3] -> same."""
  serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
  return serve(**{conversion.INPUT: tf.constant(frames)})[conversion.OUTPUT].numpy()


def _parity(kind: str, expected: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
  """{"psnr_db", "max_abs_error", "frames"} of a file's outputs against Keras's; raises ExportRefused beyond PARITY[kind]."""
  if outputs.shape != expected.shape or not np.all(np.isfinite(outputs)):
    wrong = int(np.sum(~np.isfinite(outputs)))
    raise ExportRefused(f"the {kind} file answers {list(outputs.shape)} with {wrong} values that are not finite")
  psnr, error = judge.psnr_db(expected, outputs), float(np.abs(expected - outputs).max())
  if psnr < PARITY[kind].psnr_db or error > PARITY[kind].max_abs_error:
    raise ExportRefused(f"the {kind} file differs from Keras: PSNR {psnr:.1f} dB (at least {PARITY[kind].psnr_db:g}), "
                        f"largest error {error:.2g} (at most {PARITY[kind].max_abs_error:g})")
  return {"psnr_db": round(psnr, 2), "max_abs_error": float(f"{error:.3g}"), "frames": len(expected)}


@contextlib.contextmanager
def _staged(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """A temporary folder beside `folder` that takes its name at the end; removed where something raises."""
  folder.parent.mkdir(parents=True, exist_ok=True)
  staging, old = (folder.with_name(f".{folder.name}.{suffix}") for suffix in ("part", "old"))
  for left_over in (staging, old):
    shutil.rmtree(left_over, ignore_errors=True)
  staging.mkdir()
  try:
    yield staging
    if folder.exists():
      os.replace(folder, old)
    os.replace(staging, folder)
  finally:
    shutil.rmtree(staging, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def versions() -> dict[str, str]:
  """Versions of what made the export; a package that is not installed (this one, in a source checkout) is left out."""
  found = {"python": platform.python_version(), "tensorflow": tf.__version__}
  for package in PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      found[package] = importlib.metadata.version(package)
  return found


def check_saved_model(folder: pathlib.Path, described: Mapping[str, Any]) -> list[str]:
  """Runs the SavedModel of an export on the built-in pictures; problems, one line each."""
  height, width = described["input"]["shape"][1:3]
  pictures = judge.built_in_pictures(height, width)
  try:
    outputs = _run_saved_model(folder / SAVED_MODEL, pictures)
  except Exception as error:  # whatever a damaged SavedModel raises
    return [f"{folder / SAVED_MODEL}: cannot be run: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"]
  fault = judge.fault(pictures, outputs)
  return [f"{folder / SAVED_MODEL}: on the built-in pictures: {fault}"] if fault else []
