"""How a video's frames are to be shown: FFmpeg's decoder leaves turning and mirroring to the player, and so to whoever keeps pixels alone.

The orientation in a picture's EXIF is a display matrix too: FFmpeg makes one of a JPEG's, and from 8.1 on (PyAV 18) of a PNG's and a
WebP's. The record tools and the camera use it; it needs no TensorFlow.
"""

import contextlib
import struct
import threading
from fractions import Fraction

import av
import av.filter
import numpy as np
from av.sidedata.sidedata import Type

# Kinds of side data, as FFmpeg numbers them (it has some 32), that PyAV has no name for: EXIF among them.
NAMELESS = sorted(set(range(64)) - {kind.value for kind in Type})
CORNER = 8  # pixels a side, which every layout of colour planes divides
_LAST = threading.local()  # the thread's last graph, by format and size of its frames: to make one takes a millisecond, to use it nothing


def upright(pixels: np.ndarray, frame: av.VideoFrame) -> np.ndarray | None:
  """`pixels` [H, W, 3] of `frame`, turned and mirrored as its display matrix says ([H, W, 3] or [W, H, 3]).

  None where the matrix turns by anything but quarters: `frame.rotation` tells by how many degrees. Raises av.FFmpegError or ValueError
  where PyAV cannot tell whether the frame has a matrix.
  """
  stored = _stored(frame)
  if stored is None:
    return pixels
  # x' = a x + c y, y' = b x + d y, in 16.16 fixed point; the other entries move the picture as a whole.
  a, b, _, c, d, *_ = (round(entry / 65536, 2) for entry in struct.unpack("=9i", stored))
  if sorted(map(abs, (a, b, c, d))) != [0, 0, 1, 1] or abs(a) != abs(d):
    return None
  if not a:
    pixels = pixels.transpose(1, 0, 2)  # [W, H, 3]
  return np.ascontiguousarray(pixels[::-1 if b + d < 0 else 1, ::-1 if a + c < 0 else 1])


def _stored(frame: av.VideoFrame) -> bytes | None:
  """The display matrix, or None where the frame has none. `frame.rotation` alone would not tell a mirror from a turn."""
  matrix = _corner(frame).side_data.get("DISPLAYMATRIX")
  return None if matrix is None else bytes(matrix)


def _corner(frame: av.VideoFrame) -> av.VideoFrame:
  """A few pixels of a frame with its side data, without that which PyAV has no name for.

  Where a frame has such a kind PyAV tells of none at all. And whoever asks a frame for side data makes a circle of references that keeps
  its pixels until Python looks for circles, some hundred frames later: here only the corner's.
  """
  kind = (frame.format.name, frame.width, frame.height)
  graph = vars(_LAST).pop(kind, None) or _graph(*kind)
  graph.push(frame)
  corner = graph.pull()
  vars(_LAST).clear()
  vars(_LAST)[kind] = graph  # not one that failed: it may hold this frame still, and would hand it out for the next one
  return corner


def _graph(pixel_format: str, width: int, height: int) -> av.filter.Graph:
  graph = av.filter.Graph()
  with contextlib.suppress(AttributeError):  # of a PyAV below 18, which starts a thread for each core here
    graph.threads = 1
  filters = [graph.add_buffer(width=width, height=height, format=pixel_format, time_base=Fraction(1)),
             graph.add("crop", w=str(min(width, CORNER)), h=str(min(height, CORNER))), graph.add("copy"),
             *(graph.add("sidedata", mode="delete", type=str(number)) for number in NAMELESS), graph.add("buffersink")]
  graph.link_nodes(*filters).configure()
  return graph
