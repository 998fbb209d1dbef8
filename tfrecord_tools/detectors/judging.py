"""How well boxes and masks that were found agree with the true ones."""

from typing import NamedTuple

import numpy as np

OVERLAP = 0.5  # intersection over union from which a box counts as found


class Tally(NamedTuple):
  """Of one kind of boxes; sums over frames."""
  frames: int = 0
  hit: int = 0  # frames with a box
  found: int = 0  # boxes found
  true: int = 0  # true boxes
  matched: int = 0  # pairs of one found and one true box

  def __add__(self, other: "Tally") -> "Tally":
    return Tally(*(mine + theirs for mine, theirs in zip(self, other)))


def overlaps(found: np.ndarray, true: np.ndarray) -> np.ndarray:
  """Intersection over union of [n, 4] and [m, 4] boxes y0, x0, y1, x1: float [n, m]."""
  top_left = np.maximum(found[:, None, :2], true[None, :, :2])
  bottom_right = np.minimum(found[:, None, 2:], true[None, :, 2:])
  shared = np.clip(bottom_right - top_left, 0, None).prod(-1)  # [n, m]
  areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (found, true)]
  return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-12)


def matches(found: np.ndarray, true: np.ndarray) -> int:
  """How many true boxes have a found one of their own at OVERLAP, the closest pairs first."""
  table, count = overlaps(found, true), 0
  while table.size and table.max() >= OVERLAP:
    row, column = np.unravel_index(table.argmax(), table.shape)
    table[row], table[:, column], count = 0, 0, count + 1
  return count


def tally(found: np.ndarray, true: np.ndarray | None) -> Tally:
  """One frame's; `true` None where it is unknown."""
  known = np.zeros((0, 4)) if true is None else true
  return Tally(1, int(len(found) > 0), len(found), len(known), matches(found, known))


def mask_overlap(found: np.ndarray, true: np.ndarray) -> float:
  """Intersection over union of two masks; 1 where both are empty."""
  union = np.count_nonzero(found | true)
  return np.count_nonzero(found & true) / union if union else 1.0
