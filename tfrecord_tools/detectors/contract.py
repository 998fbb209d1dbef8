"""What a detector answers, and what it must tell of itself."""

import hashlib
import importlib.metadata
import os
import pathlib
from typing import Any, Callable, NamedTuple, Sequence

import numpy as np

from tfrecord_tools.plan import PlanError


class Regions(NamedTuple):
  """Where people are, an entry a frame; None for what a detector does not look for."""
  face_boxes: Sequence[np.ndarray] | None = None  # float32 [n, 4]: y0, x0, y1, x1 in [0, 1]
  body_boxes: Sequence[np.ndarray] | None = None
  face_masks: Sequence[np.ndarray] | None = None  # uint8 [H, W] of 0 and 255
  body_masks: Sequence[np.ndarray] | None = None


Find = Callable[[np.ndarray], Regions]  # uint8 RGB [T, H, W, 3]; an answer depends on its own frame alone


class Shipped(NamedTuple):
  """A file within an installed distribution, which need not be importable."""
  distribution: str
  file: str
  install: str  # what gets it


class Detector(NamedTuple):
  """A row of the table DETECTORS."""
  offers: tuple[str, ...]  # fields of Regions
  packages: tuple[str, ...]  # distributions whose versions shape what it finds
  suffix: str  # of its file of weights: --detector_weights=FILE is for the detector whose suffix it has
  shipped: Shipped | None  # where that file is without the flag
  numbers: Callable[[Any], dict[str, Any]]  # options -> further keywords of `build`
  build: Callable[..., Find]  # file of weights, numbers -> Find; raises PlanError where the file does not fit


def weights(name: str, detector: Detector, files: Sequence[str]) -> str:
  """The path of a detector's weights: the one of `files` with its suffix, else what ships. Raises PlanError, which tells what to do."""
  given = [file for file in files if file.endswith(detector.suffix)]
  if len(given) > 1:
    raise PlanError(f"--detector_weights={','.join(files)}: {len(given)} files {detector.suffix} for --detector={name}")
  if given:
    if not os.path.isfile(given[0]):
      raise PlanError(f"--detector_weights={given[0]}: no such file")
    return given[0]
  if detector.shipped is None:
    raise PlanError(f"--detector={name}: --detector_weights=FILE{detector.suffix} is missing")
  try:
    path = pathlib.Path(importlib.metadata.distribution(detector.shipped.distribution).locate_file(detector.shipped.file))
  except importlib.metadata.PackageNotFoundError:
    path = None
  if path is None or not path.is_file():
    raise PlanError(f"--detector={name}: its weights ({detector.shipped.file}) are not there: {detector.shipped.install}")
  return str(path)


def version(distribution: str) -> str:
  return importlib.metadata.version(distribution)


def digest(path: str | os.PathLike) -> str:
  """SHA-256 of a file; raises PlanError where it cannot be read."""
  try:
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
  except OSError as error:
    raise PlanError(f"{path}: cannot be read ({error.strerror})") from None


def clipped(boxes: np.ndarray, height: float, width: float) -> np.ndarray:
  """Pixel boxes y0, x0, y1, x1 as float32 [n, 4] within [0, 1], without empty ones.

  Rounded to thousandths: a stored frame shows no more, and the last bits differ between CPUs.
  """
  boxes = np.asarray(boxes, np.float64).reshape(-1, 4) / (height, width, height, width)  # [n, 4]
  boxes = np.round(np.clip(boxes, 0, 1), 3).astype(np.float32)
  return boxes[(boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])]
