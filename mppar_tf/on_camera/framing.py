"""How a frame of any size goes through a network of one size, and comes back in the frame's own size.

scale  the whole frame is scaled to the network's input and back: what `evaluate` judged, and the least detail
tile   the frame is cut into overlapping tiles; each is anonymized by itself and blended with its neighbours

Both see the network as a function, uint8 RGB [h, w, 3] -> anonymized uint8 RGB [h, w, 3], which raises where it cannot. No pixel of a
frame goes into a result except through it.
"""

from typing import Callable

import av
import numpy as np

from mppar_tf.on_camera.errors import AnonymizationFailed

Network = Callable[[np.ndarray], np.ndarray]
OVERLAP = 0.25  # of a tile's side, at least, shared with the neighbour: seams are blended over it


def resize(frame: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
  """uint8 [H, W, 3] -> uint8 [height, width, 3] by FFmpeg's scaler; the frame itself where the size is right already."""
  if frame.shape[:2] == (height, width):
    return frame
  picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
  return picture.reformat(width=width, height=height, format="rgb24", interpolation=interpolation).to_ndarray()


def scale(frame: np.ndarray, network: Network, size: tuple[int, int], tile_scale: float) -> np.ndarray:
  """The frame [H, W, 3] scaled as a whole to `size` (height, width), through the network, and back. `tile_scale` is not used."""
  return _through(frame, network, size)


def tile(frame: np.ndarray, network: Network, size: tuple[int, int], tile_scale: float) -> np.ndarray:
  """The frame [H, W, 3] in overlapping tiles, each of `tile_scale` times the network's `size` (height, width), at most the frame's own.

  Every pixel is the mean of the anonymized tiles that hold it, weighed by its distance from their edges.
  Raises AnonymizationFailed where a tile does, naming it: no frame is made of the others.
  """
  height, width = (min(length, max(1, round(tile_scale * side))) for length, side in zip(frame.shape, size))
  ramp = _ramp(height)[:, None, None] * _ramp(width)[None, :, None]  # [h, w, 1]
  total = np.zeros(frame.shape, np.float32)  # [H, W, 3]
  weight = np.zeros((*frame.shape[:2], 1), np.float32)  # [H, W, 1]
  corners = [(top, left) for top in starts(frame.shape[0], height) for left in starts(frame.shape[1], width)]
  for number, (top, left) in enumerate(corners):
    place = np.s_[top:top + height, left:left + width]
    try:
      safe = _through(frame[place], network, size)  # [h, w, 3]
    except AnonymizationFailed as error:
      raise AnonymizationFailed(f"tile {number} of {len(corners)}: {error}") from None
    total[place] += ramp * safe
    weight[place] += ramp
  return np.rint(total / weight).astype(np.uint8)


def _through(picture: np.ndarray, network: Network, size: tuple[int, int]) -> np.ndarray:
  return resize(network(resize(picture, *size, "AREA")), *picture.shape[:2], "BICUBIC")


def starts(length: int, side: int) -> list[int]:
  """Where tiles of `side` start that cover `length` evenly, each sharing at least OVERLAP of its side with the next."""
  count = 1 + int(np.ceil((length - side) / max(1, int(side * (1 - OVERLAP)))))
  return [round(start) for start in np.linspace(0, length - side, count)]


def _ramp(side: int) -> np.ndarray:
  """Weights [side] that rise from an edge to the middle, nowhere 0."""
  at = np.arange(side, dtype=np.float32) + 0.5
  return np.minimum(at, side - at)


FRAMINGS = {"scale": scale, "tile": tile}
