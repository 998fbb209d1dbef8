"""Frames on their way, and what is known of a stream before its first one."""

from fractions import Fraction
from typing import NamedTuple

import numpy as np


class Frame(NamedTuple):
  """One raw frame. Only the pipeline's decode and anonymize threads ever hold one."""
  index: int            # 0, 1, 2, ...
  ticks: int            # presentation time, in the source's time base
  pixels: np.ndarray    # uint8 RGB [H, W, 3]
  captured: float = 0.0  # time.monotonic() when its bytes had come; 0: the pipeline stamps it


class SafeFrame(NamedTuple):
  """An anonymized frame on its way to the sink and the taps."""
  index: int
  ticks: int
  pixels: np.ndarray    # uint8 RGB [H, W, 3]
  captured: float = 0.0


class Stream(NamedTuple):
  """What is known of a source before its first frame."""
  time_base: Fraction       # seconds per tick
  rate: Fraction            # frames per second, on average
  frames: int | None        # how many will come, where that is known
  pixel_aspect: Fraction    # width / height of one pixel
