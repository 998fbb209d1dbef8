"""A built-in moving picture, for trying a model, a sink or a machine without a camera."""

import re
from fractions import Fraction
from typing import Iterator

import numpy as np

from mppar_tf.on_camera.errors import SourceFailed
from mppar_tf.on_camera.frames import Frame, Stream

FORM = "test[:WIDTHxHEIGHT][@RATE][:frames=COUNT]"
_FORM = re.compile(r"test(?::(?P<width>\d{1,5})x(?P<height>\d{1,5}))?(?:@(?P<rate>\d{1,4}(?:\.\d{1,3})?))?(?::frames=(?P<frames>\d{1,9}))?")
LARGEST = 8192  # pixels of a side


def is_pattern(text: str) -> bool:
  return re.match(r"test(?![^:@])", text) is not None


class Pattern:
  """A disc that moves over moving ramps and stripes: 640x480 at 25 frames per second, without end, where the text tells nothing else."""
  paced, path = False, None

  def __init__(self, text: str):
    found = _FORM.fullmatch(text)
    if not found:
      raise SourceFailed(f"source test: a test pattern is {FORM}")
    self._width, self._height, self._rate = int(found["width"] or 640), int(found["height"] or 480), Fraction(found["rate"] or 25)
    self._frames = int(found["frames"]) if found["frames"] else None
    if not (2 <= self._width <= LARGEST and 2 <= self._height <= LARGEST and self._rate > 0 and self._frames != 0):
      raise SourceFailed(f"source {text}: a side is 2 to {LARGEST} pixels, the rate and the number of frames above 0")
    self.endless = self._frames is None

  def open(self) -> Stream:
    return Stream(1 / self._rate, self._rate, self._frames, Fraction(1))

  def frames(self) -> Iterator[Frame]:
    index = 0
    while self._frames is None or index < self._frames:
      yield Frame(index, index, picture(index, self._height, self._width))
      index += 1

  def close(self) -> None:
    """Holds nothing."""


def picture(index: int, height: int, width: int) -> np.ndarray:
  """Frame `index`: uint8 [height, width, 3]."""
  rows = np.arange(height, dtype=np.int32)[:, None]  # [H, 1]
  columns = np.arange(width, dtype=np.int32)[None]  # [1, W]
  ramp = (255 * columns // width + 3 * index) % 256 + 0 * rows  # [H, W]
  stripes = 64 + 128 * ((columns * 16 // width + rows * 12 // height + index // 8) % 2)  # [H, W]
  fall = 255 * rows // height + 0 * columns  # [H, W]
  pixels = np.stack([ramp, stripes, fall], axis=-1).astype(np.uint8)  # [H, W, 3]
  side = min(height, width)
  x, y = width / 2 + 0.3 * width * np.sin(index / 19), height / 2 + 0.3 * height * np.cos(index / 13)
  pixels[(rows - y) ** 2 + (columns - x) ** 2 < (side / 6) ** 2] = (230, 200, 170)
  return pixels
