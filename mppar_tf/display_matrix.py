"""How a video's frames are to be shown: FFmpeg's decoder leaves turning and mirroring to the player, and so to whoever keeps pixels alone.

The record tools and the camera use it; it needs no TensorFlow.
"""

import struct

import av
import numpy as np


def upright(pixels: np.ndarray, frame: av.VideoFrame) -> np.ndarray | None:
  """`pixels` [H, W, 3] of `frame`, turned and mirrored as its display matrix says ([H, W, 3] or [W, H, 3]).

  None where the matrix turns by anything but quarters: `frame.rotation` tells by how many degrees.
  """
  stored = frame.side_data.get("DISPLAYMATRIX")
  if stored is None:
    return pixels
  # x' = a x + c y, y' = b x + d y, in 16.16 fixed point; the other entries move the picture as a whole.
  a, b, _, c, d, *_ = (round(entry / 65536, 2) for entry in struct.unpack("=9i", bytes(stored)))
  if sorted(map(abs, (a, b, c, d))) != [0, 0, 1, 1] or abs(a) != abs(d):
    return None
  if not a:
    pixels = pixels.transpose(1, 0, 2)  # [W, H, 3]
  return np.ascontiguousarray(pixels[::-1 if b + d < 0 else 1, ::-1 if a + c < 0 else 1])
