"""From pictures at their own times to pictures at a steady rate.

Records hold one frame rate, and clips count in frames: pictures at uneven times, stored one behind the other, would show another motion
than the camera saw.
"""

from typing import Sequence

import numpy as np

NEAR = 0.02  # relative distance within which a rate of the header and one of the times are the same rate
MOST_SLOTS = 10  # for each picture; times with larger gaps are taken for damage


def steady(times: Sequence[float], rates: Sequence[float]) -> tuple[np.ndarray, float]:
  """Which picture is on the screen at each tick of a steady clock, and the clock's ticks per second.

  Even times, which are the rule, give every picture once. Else the clock ticks once in the usual distance between two pictures: a picture
  that stays longer is there several times, and of several within one tick the last is.

  Args:
    times: when each picture appears, in seconds; what stands still or runs back tells nothing, and every picture counts once.
    rates: pictures per second by the header, the first choice first; they are rounded less than times in milliseconds are.
  Returns:
    (indices into `times`, int [T]; frames per second).
  Raises:
    ValueError: gaps so large that the frames would be more than MOST_SLOTS times as many as the pictures.
  """
  count, gaps = len(times), np.diff(np.asarray(times, np.float64))
  if count < 2 or gaps.min() <= 0:
    return np.arange(count), rates[0]
  since = np.cumsum(np.concatenate([[0], gaps]))
  even = since[-1] / (count - 1)
  if np.abs(since / even - np.arange(count)).max() <= 0.5:
    return np.arange(count), _nearest(1 / even, rates)
  usual = np.median(gaps)
  ticks = np.rint(since[-1] / gaps[np.abs(gaps - usual) < usual / 2].mean())
  rate = _nearest(ticks / since[-1], rates)
  slots = np.rint(since * rate).astype(int)
  if slots[-1] >= MOST_SLOTS * count:
    raise ValueError(f"{count} pictures within {since[-1]:.1f} s, one of them {gaps.max():.1f} s long: no steady frame rate fits")
  return np.searchsorted(slots, np.arange(slots[-1] + 1), side="right") - 1, rate


def _nearest(measured: float, rates: Sequence[float]) -> float:
  return next((rate for rate in rates if abs(rate - measured) <= NEAR * measured), float(measured))
