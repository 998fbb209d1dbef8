"""A TFLite file of an export in the place of f^D: what a camera really sends is what attackers and f^A are trained and judged on."""

import hashlib
import os
from typing import Any, Callable

import tensorflow as tf

from mppar_tf.on_camera import judge, manifest
from mppar_tf.on_camera.engine import Engine
from mppar_tf.on_camera.errors import ModelRefused


class NotThisRuns(ValueError):
  """The export cannot be judged in place of this run's f^D; one line."""


def find(chosen, method, name: str, crop: int, threads: int) -> tuple[Callable[[tf.Tensor], tf.Tensor], dict[str, Any]] | None:
  """(anonymize, what was judged) of --judged_export; None where there is none.

  Args:
    chosen: EvaluationOptions.
    method: with the weights of the checkpoint that is judged.
    name: of that method.
    crop: side of the frames that are judged.
    threads: of LiteRT; 0: one for each core.
  Raises:
    NotThisRuns: the export is damaged, not of this checkpoint, of another size, or its file does not anonymize.
  """
  if chosen.judged_export is None:
    return None
  try:
    if manifest.locate(chosen.judged_export)[1] is not None:  # its name would not say which variant the figures are of
      raise NotThisRuns(f"--judged_export={chosen.judged_export} is a file: give its folder, and --judged_variant")
    described, content = manifest.load(chosen.judged_export, chosen.judged_variant)
    engine = Engine(content, threads=threads or os.cpu_count() or 1)
  except ModelRefused as error:
    raise NotThisRuns(f"--judged_export={chosen.judged_export}: {error}") from None
  if described.get("method", name) != name:  # those without weights have one digest
    raise NotThisRuns(f"--judged_export={chosen.judged_export} is of method {described['method']}, this run is of {name}")
  where, here = (described.get("anonymizer") or {}).get("sha256"), network_digest(method)
  if where != here:
    raise NotThisRuns(f"--judged_export={chosen.judged_export} was made from weights of SHA-256 {where}, --checkpoint={chosen.checkpoint} "
                      f"of this run has {here}: export that checkpoint, or judge the one that was exported")
  if engine.shape != (crop, crop, 3):
    raise NotThisRuns(f"--judged_export={chosen.judged_export} takes frames of {engine.shape[0]}x{engine.shape[1]} pixels, "
                      f"those that are judged have {crop}x{crop}")
  pictures = judge.built_in_pictures(crop, crop)
  fault = judge.fault(pictures, engine.run_all(pictures))
  if fault:
    raise NotThisRuns(f"--judged_export={chosen.judged_export}: on the built-in pictures: {fault}")
  return through(engine), {"variant": chosen.judged_variant, "file": described["models"][chosen.judged_variant]["file"],
                           "bytes": len(content), "sha256": manifest.sha256(content)}


def through(engine: Engine) -> Callable[[tf.Tensor], tf.Tensor]:
  """[B, T, H, W, 3] in [0, 1] -> same, frame by frame; may stand in a tf.function."""
  def anonymize(clips: tf.Tensor) -> tf.Tensor:
    flat = tf.reshape(clips, [-1, *engine.shape])  # [B * T, H, W, 3]
    anonymized = tf.clip_by_value(tf.numpy_function(engine.run_all, [flat], tf.float32), 0.0, 1.0)  # as the camera cuts them off
    return tf.ensure_shape(tf.reshape(anonymized, tf.shape(clips)), clips.shape)  # [B, T, H, W, 3]
  return anonymize


def network_digest(method) -> str | None:
  """SHA-256 of the weights of f^D's network, in their order; None for a method without one."""
  if "anonymizer" not in method.models:
    return None
  total = hashlib.sha256()
  for weight in method.models["anonymizer"].get_weights():
    total.update(weight.tobytes())
  return total.hexdigest()
