"""Videos that are kept as folders of numbered pictures."""

import pathlib
from typing import Any, Callable

import numpy as np

from tfrecord_tools.readers import still
from tfrecord_tools.readers.video import Undecodable

LONGEST = 100_000  # pictures of one clip: a list that asks for more is wrong, and naming them all would take the memory


def decode(folder: str, files: list[str], convert: Callable[[np.ndarray], Any]) -> list[Any]:
  """What `convert` makes of each picture, uint8 RGB [H, W, 3].

  Raises:
    Undecodable: a picture is missing, damaged, or of another size than those before; its name is told.
  """
  frames: list[Any] = []
  size: tuple[int, int] | None = None
  for file in files:
    try:
      pixels = still.decode(pathlib.Path(folder, file))
    except Undecodable as error:
      raise Undecodable(f"{file}: {error}") from error
    size = size or pixels.shape[:2]
    if pixels.shape[:2] != size:
      raise Undecodable(f"{file}: {pixels.shape[1]}x{pixels.shape[0]}, those before are {size[1]}x{size[0]}")
    frames.append(convert(pixels))
  return frames
