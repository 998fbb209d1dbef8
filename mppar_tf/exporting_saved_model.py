"""The SavedModel of an export: frames of a free batch, and clips of a free batch and length.

A SavedModel is a program, which may write files: one of an export is loaded only from the bytes that were hashed.
"""

import pathlib
import tempfile
from typing import Any, Mapping

import keras
import numpy as np
import tensorflow as tf

from mppar_tf import conversion
from mppar_tf.exporting_variants import PARITY, SAVED_MODEL, distance
from mppar_tf.on_camera import judge, manifest
from mppar_tf.on_camera.errors import ModelRefused

FRAMES, CLIPS = "serving_default", "clips"  # signatures
SIGNATURES = {FRAMES: f"{conversion.INPUT} [B, H, W, 3] -> {conversion.OUTPUT}", CLIPS: f"clips [B, T, H, W, 3] -> {conversion.OUTPUT}"}


def write(anonymizer: keras.Model, folder: pathlib.Path, height: int, width: int) -> None:
  """Both signatures at one fixed height and width."""
  serve = conversion.serving_function(anonymizer)

  def serve_clips(clips):
    flat = serve(tf.reshape(clips, [-1, height, width, 3]))[conversion.OUTPUT]  # [B * T, H, W, 3]
    return {conversion.OUTPUT: tf.reshape(flat, tf.shape(clips))}  # [B, T, H, W, 3]

  archive = keras.export.ExportArchive()
  archive.track(anonymizer)
  archive.add_endpoint("serve", serve, input_signature=[tf.TensorSpec([None, height, width, 3], tf.float32, name=conversion.INPUT)])
  archive.add_endpoint(CLIPS, serve_clips, input_signature=[tf.TensorSpec([None, None, height, width, 3], tf.float32, name="clips")])
  archive.write_out(str(folder), verbose=False)


def run(folder: pathlib.Path, frames: np.ndarray) -> np.ndarray:
  """[N, H, W, 3] -> [3, N, H, W, 3]: as one batch of frames, one clip of N frames, and N clips of one frame."""
  signatures = tf.saved_model.load(str(folder)).signatures
  clips = [signatures[CLIPS](clips=tf.constant(shaped))[conversion.OUTPUT].numpy().reshape(frames.shape)
           for shaped in (frames[None], frames[:, None])]
  return np.stack([signatures[FRAMES](**{conversion.INPUT: tf.constant(frames)})[conversion.OUTPUT].numpy(), *clips])


def problems(folder: pathlib.Path, described: Mapping[str, Any], reference: np.ndarray | None) -> list[str]:
  """Runs a copy of an export's SavedModel on the built-in pictures; problems, one line each. One of wrong hashes is not run.

  `reference`: what Keras made of them, or None where the export does not tell.
  """
  place = folder / SAVED_MODEL
  try:
    pictures = judge.built_in_pictures(*described["input"]["shape"][1:3])
    with tempfile.TemporaryDirectory(prefix="mppar_check_") as temporary:
      copy_verified(folder, described, pathlib.Path(temporary))
      outputs = _outputs(pathlib.Path(temporary) / SAVED_MODEL, described, pictures)
  except ModelRefused as error:
    return [str(error), f"{place}: not run"]
  except Exception as error:  # whatever a damaged SavedModel raises
    return [f"{place}: cannot be run: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"]
  faults = [judge.fault(pictures, given) for given in outputs]
  found = [f"{place}: on the built-in pictures: {fault}" for fault in dict.fromkeys(faults) if fault]
  if reference is not None and not found:
    worst = min((distance(reference, given) for given in outputs), key=lambda one: one["psnr_db"])
    if worst["psnr_db"] < PARITY["float32"].psnr_db:  # the reference is rounded to 16 bits, and another machine sums in another order
      found.append(f"{place}: differs from Keras on the built-in pictures: PSNR {worst['psnr_db']:.1f} dB")
  return found


def copy_verified(folder: pathlib.Path, described: Mapping[str, Any], to: pathlib.Path) -> None:
  """Writes the SavedModel of the export `folder` into `to`, of the very bytes that were hashed: the folder may change meanwhile.

  Raises:
    ModelRefused: a file of it is missing, is not what was exported, or is not listed.
  """
  inside = f"{SAVED_MODEL}/"
  present = {path.relative_to(folder).as_posix() for path in (folder / SAVED_MODEL).rglob("*") if path.is_file()}
  for stray in sorted(present - set(described["files"])):
    raise ModelRefused(f"model {folder / stray}: not listed in {manifest.NAME}")
  for name in sorted(name for name in described["files"] if name.startswith(inside)):
    content = manifest.verified(folder, described, name)
    (to / name).parent.mkdir(parents=True, exist_ok=True)
    (to / name).write_bytes(content)


def _outputs(place: pathlib.Path, described: Mapping[str, Any], pictures: np.ndarray) -> np.ndarray:
  """[N, H, W, 3] -> [signatures and shapes, N, H, W, 3]"""
  if "signatures" in described[SAVED_MODEL]:
    return run(place, pictures)
  serve = tf.saved_model.load(str(place)).signatures[FRAMES]  # of a time when there was one
  return serve(**{conversion.INPUT: tf.constant(pictures)})[conversion.OUTPUT].numpy()[None]
