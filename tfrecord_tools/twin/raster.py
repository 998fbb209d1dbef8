"""Paints shapes with OpenCV on four-channel canvases: red, green, blue, and whose pixel it is. Finds masks and boxes on them."""

from typing import Sequence

import cv2
import numpy as np

from tfrecord_tools.twin.figure import BODY, FACE, Shape

SUPERSAMPLING = 3
_FRACTION_BITS = 4  # OpenCV's fixed-point coordinates
_STROKE, _DISC = 2, 1  # points of a shape


def paint(canvases: Sequence[np.ndarray], shapes: Sequence[Shape], scale: float, origins: np.ndarray, facing: int) -> None:
  """Paints a figure of T poses on T canvases, in place.

  Args:
    canvases: T arrays uint8 [h, w, 4].
    shapes: back to front, each of their points [T, 2] in body heights.
    scale: pixels of a body height.
    origins: [T, 2] pixels (x, y) of the figure's origin on each canvas.
    facing: 1 towards larger x, -1 mirrored.
  """
  unit = 1 << _FRACTION_BITS
  scale = float(scale)
  # Not np.stack: it handles each array in Python, and a hundred points of one frame would cost more than their pixels.
  points = np.concatenate([point for shape in shapes for point in shape.points], axis=1).reshape(len(origins), -1, 2)  # [T, all points, 2]
  fixed = np.rint((points * (facing * scale, scale) + origins[:, None]) * unit).astype(np.int32)
  jobs, start = [], 0
  for shape in shapes:
    count = len(shape.points)
    thickness = max(1, round(shape.width * scale * (unit if count == _DISC else 1)))
    jobs.append((start, count, thickness, (*shape.colour, shape.owner)))
    start += count
  for canvas, polygon, pairs in zip(canvases, fixed, fixed.tolist()):
    for start, count, thickness, value in jobs:
      if count == _STROKE:
        cv2.line(canvas, pairs[start], pairs[start + 1], value, thickness, cv2.LINE_AA, _FRACTION_BITS)
      elif count == _DISC:
        cv2.circle(canvas, pairs[start], thickness, value, -1, cv2.LINE_AA, _FRACTION_BITS)
      else:
        cv2.fillConvexPoly(canvas, polygon[start:start + count], value, cv2.LINE_AA, _FRACTION_BITS)


def shrink(picture: np.ndarray, size: int) -> np.ndarray:
  """Area averages of [h, w, c] as [size, size, c]."""
  return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA).reshape(size, size, -1)


def bodies(owner: np.ndarray) -> np.ndarray:
  """Where at least half a pixel is somebody's, from a canvas's fourth channel, averaged or not."""
  return owner >= BODY // 2


def faces(owner: np.ndarray) -> np.ndarray:
  """Where a pixel is rather a face's than a body's."""
  return owner >= (BODY + FACE) // 2


def bounding_boxes(masks: np.ndarray) -> np.ndarray:
  """[..., 4] float32, y0, x0, y1, x1 in [0, 1] around the true pixels of masks [..., h, w]; NaN where there is none."""
  rows, columns = masks.any(axis=-1), masks.any(axis=-2)  # [..., h], [..., w]
  (height, width), edges = masks.shape[-2:], np.empty((*masks.shape[:-2], 4), np.float32)
  for place, along, length in ((0, rows, height), (1, columns, width)):
    edges[..., place] = along.argmax(axis=-1) / length
    edges[..., place + 2] = 1 - along[..., ::-1].argmax(axis=-1) / length
  edges[~rows.any(axis=-1)] = np.nan
  return edges
