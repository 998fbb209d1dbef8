"""What Keras made of the built-in pictures when an export was written: with it any machine can tell whether a file still does the same."""

import io
import pathlib
import zipfile
import zlib
from typing import Any, Mapping

import numpy as np

from mppar_tf.on_camera import judge, manifest
from mppar_tf.on_camera.errors import ModelRefused

NAME, FIELD = "reference.npz", "outputs"
LEVELS = 65535  # rounding to them is 106 dB away from the float values, finer than any file is compared


def write(folder: pathlib.Path, outputs: np.ndarray) -> None:
  """`outputs` [N, H, W, 3] in [0, 1]."""
  np.savez_compressed(folder / NAME, **{FIELD: np.rint(np.clip(outputs, 0, 1) * LEVELS).astype(np.uint16)})


def read(folder: pathlib.Path, described: Mapping[str, Any]) -> np.ndarray | None:
  """[N, H, W, 3] float32, of an export's manifest; None where it has none. Raises ModelRefused where it is not what was exported."""
  if "reference" not in described:
    return None
  content = manifest.verified(folder, described, NAME)
  try:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
      outputs = stored[FIELD]
  # A file of another kind, a damaged or an empty one, or one that claims more than memory holds.
  except (ValueError, KeyError, TypeError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
    raise ModelRefused(f"model {folder / NAME}: no reference can be read ({type(error).__name__})") from None
  if outputs.dtype != np.uint16 or list(outputs.shape) != [judge.PICTURES, *described["input"]["shape"][1:]]:
    raise ModelRefused(f"model {folder / NAME}: {outputs.dtype} {list(outputs.shape)} is no reference for {described['input']['shape']}")
  return outputs.astype(np.float32) / LEVELS
