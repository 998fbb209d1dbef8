"""The detectors that a build was asked for, on their way through worker processes: each loads them once, at its first picture.

They see a frame as it is stored, but larger: from the source's own size, by the same stretching, cutting or padding. So boxes need no
conversion, and a face of eight stored pixels may still have twenty to be found by.
"""

import functools
import math
from typing import Any, Mapping, NamedTuple, Sequence

import cv2
import numpy as np

from tfrecord_tools.detectors import DETECTORS
from tfrecord_tools.detectors.contract import Find, Regions, digest, version, weights
from tfrecord_tools.plan import PlanError


class Chosen(NamedTuple):
  """One detector; small, so that it travels to workers."""
  name: str
  weights: str  # a file that workers see under the same name
  sha256: str
  numbers: tuple[tuple[str, Any], ...]


class Watched(bytes):
  """A stored JPEG that remembers what its frame showed: `regions`, Regions of this one frame, its masks as PNG."""
  regions: Regions


class Watch(NamedTuple):
  """All detectors of a build. Of two that offer the same field, the one named first gives it."""
  chosen: tuple[Chosen, ...]
  side: int  # pixels, width of the picture that they see where it is 4:3; another shape has as many pixels

  def size(self, height: int, width: int, longest: float = math.inf) -> tuple[int, int]:
    """Height and width of the picture that detectors see of a frame of this shape, no side above `longest`.

    By area, for a fixed width or longer side would give squares so many pixels that a face that fills them is missed.
    """
    scale = min(self.side * math.sqrt(0.75 / (height * width)), longest / max(height, width))
    return max(1, round(scale * height)), max(1, round(scale * width))

  def look(self, picture: np.ndarray, height: int, width: int) -> Regions:
    """Regions of one picture, uint8 RGB [H, W, 3], that is stored as [height, width]: boxes float32 [n, 4], masks uint8 [height, width].

    A picture that is smaller than `size` says is enlarged.
    """
    seen: dict[str, np.ndarray] = {}
    large = self.size(*picture.shape[:2])
    if picture.shape[0] < large[0]:
      picture = cv2.resize(picture, large[::-1], interpolation=cv2.INTER_CUBIC)  # finds more than bilinear
    for one in self.chosen:
      for field, values in find(one)(picture[None])._asdict().items():
        if values is not None and field not in seen:
          seen[field] = values[0] if field.endswith("boxes") else _shrunk(values[0], height, width)
    return Regions(**seen)

  def look_and_pack(self, picture: np.ndarray, height: int, width: int) -> Regions:
    """What `look` gives, masks as PNG: a long video's would weigh more than its frames."""
    seen = self.look(picture, height, width)
    packed = {field: png(mask) for field, mask in seen._asdict().items() if field.endswith("masks") and mask is not None}
    return seen._replace(**packed)

  def settings(self) -> dict[str, Any]:
    """What decides the regions, for the manifest."""
    listed = [{"name": one.name, "packages": {package: version(package) for package in DETECTORS[one.name].packages},
               "weights_sha256": one.sha256, **dict(one.numbers)} for one in self.chosen]
    return {"detector": listed, "detector_side": self.side}


def chosen(options: Any) -> Watch | None:
  """The detectors of --detector, loaded once to see that they do; None without any. Raises PlanError where one cannot be had."""
  if not options.detector:
    return None
  suffixes = tuple(DETECTORS[name].suffix for name in options.detector)
  for file in options.detector_weights:
    if not file.endswith(suffixes):
      raise PlanError(f"--detector_weights={file}: --detector={','.join(options.detector)} reads {', '.join(suffixes)}")
  found: list[Chosen] = []
  offered: set[str] = set()
  for name in options.detector:
    detector = DETECTORS[name]
    if offered >= set(detector.offers):
      raise PlanError(f"--detector={','.join(options.detector)}: {name} adds nothing to those before it")
    offered |= set(detector.offers)
    path = weights(name, detector, options.detector_weights)
    found.append(Chosen(name, path, digest(path), tuple(detector.numbers(options).items())))
    find(found[-1])
  return Watch(tuple(found), options.detector_side)


def find(one: Chosen) -> Find:
  """A detector, loaded once in a process; it runs on one thread of OpenCV, for the pool has given every core a file."""
  find_all = _loaded(one)

  def on_one_thread(frames: np.ndarray) -> Regions:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
      return find_all(frames)
    finally:
      cv2.setNumThreads(threads)
  return on_one_thread


@functools.lru_cache
def _loaded(one: Chosen) -> Find:
  if digest(one.weights) != one.sha256:
    raise PlanError(f"{one.weights}: is another file than the one that the build began with")
  return DETECTORS[one.name].build(one.weights, **dict(one.numbers))


def gathered(stored: Sequence[bytes]) -> Mapping[str, list[Any]]:
  """The fields that were seen in every one of these frames, an entry a frame; none where nobody looked."""
  if not all(isinstance(frame, Watched) for frame in stored):
    return {}
  columns = {field: [getattr(frame.regions, field) for frame in stored] for field in Regions._fields}
  return {field: values for field, values in columns.items() if all(value is not None for value in values)}


def png(mask: np.ndarray) -> bytes:
  return cv2.imencode(".png", mask)[1].tobytes()


def _shrunk(mask: np.ndarray, height: int, width: int) -> np.ndarray:
  """To the stored size: a pixel is inside where more than half of it is."""
  if mask.shape == (height, width):
    return mask
  shrink = height <= mask.shape[0] and width <= mask.shape[1]
  return (cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR) >= 128).astype(np.uint8) * 255
