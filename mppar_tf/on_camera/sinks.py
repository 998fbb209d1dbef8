"""Where anonymized frames go. A sink is opened once, takes frames in order, and is committed when all went well, else abandoned.

What it has once handed on to another program or machine cannot be taken back; it never sees anything but anonymized frames.
"""

import os
import pathlib
import sys
from typing import Protocol, Sequence

import numpy as np

from mppar_tf.on_camera import links
from mppar_tf.on_camera.errors import SinkFailed
from mppar_tf.on_camera.ffmpeg_errors import told
from mppar_tf.on_camera.frames import Stream
from mppar_tf.on_camera.sink_files import CONTAINERS, FolderSink, VideoSink
from mppar_tf.on_camera.sink_push import PushSink

STDOUT = "-"


class Sink(Protocol):
  """Attributes: name (what may be said of it), paced (it wants frames when their time has come, not as fast as they can be had)."""
  name: str
  paced: bool
  def open(self, stream: Stream) -> None: ...
  def write(self, ticks: int, pixels: np.ndarray) -> None: ...
  def commit(self, frames: int) -> None: ...
  def abandon(self, keep: bool) -> pathlib.Path | None: ...


def find(text: str, *, quality: int = 20, overwrite: bool = False, source: pathlib.Path | None = None, lossless: bool = True,
         rtsp_transport: str = "tcp", options: Sequence[str] = (), patience: links.Patience = links.Patience()) -> Sink:
  """The sink that --sink names.

  Args:
    text: "null", "-", FILE.mp4, FILE.mov, a folder or an address.
    quality: H.264's constant rate factor.
    overwrite: replace what the name holds already.
    source: the source's file or folder, which no sink may be.
    lossless: a pushed stream waits for a lost connection with the frame in hand, and does not drop it.
    rtsp_transport: "tcp" or "udp".
    options: FFmpeg's, for pushing, as NAME=VALUE; they win over ours.
    patience: of a pushed stream.
  Raises:
    SinkFailed: it exists already (and `overwrite` is off), is the source, or is no known kind. Of a name that may be a mistyped address
      nothing is told.
  """
  if text == "null":
    return NullSink()
  if text == STDOUT:
    if os.isatty(1):
      raise SinkFailed("sink -: standard output is a terminal; raw frames go into a pipe or a file")
    return RawSink(patience)
  if links.is_address(text):
    kind, name = links.scheme(text), links.public(text)
    if kind not in links.SINK_CONTAINERS:
      raise SinkFailed(f"sink {name}: its scheme is not one of {', '.join(links.SINK_CONTAINERS)}")
    ours = {"rtsp_transport": rtsp_transport} if kind.startswith("rtsp") else {}
    return PushSink(text, name, container=links.SINK_CONTAINERS[kind], options=ours | links.options(options), quality=quality,
                    lossless=lossless, patience=patience)
  path = pathlib.Path(os.path.abspath(os.path.expanduser(text)))
  secret = links.may_be_address(text)
  with told(SinkFailed, "sink ..." if secret else f"sink {path}"):
    if secret and not path.exists() and not _is_plain(path):
      raise SinkFailed(f"sink: {links.NO_ADDRESS}; a folder of such a name is made beforehand")
    return _local(path, quality, overwrite, source)


def _is_plain(path: pathlib.Path) -> bool:
  """Whether a new name is one of a file all the same: the folder is there, and its end is that of no address."""
  return path.parent.is_dir() and (path.suffix.lower() in CONTAINERS or not links.may_be_address(path.name))


def _local(path: pathlib.Path, quality: int, overwrite: bool, source: pathlib.Path | None) -> Sink:
  if _is_source(path, source):
    raise SinkFailed(f"sink {path}: is the source")
  if path.suffix and path.suffix.lower() not in CONTAINERS:
    raise SinkFailed(f"sink {path}: {path.suffix!r} is not one of {', '.join(CONTAINERS)}, a folder (no suffix), an address, - or null")
  if not path.parent.is_dir():
    raise SinkFailed(f"sink {path}: the folder {path.parent} does not exist")
  if path.exists() and not overwrite and not (path.is_dir() and not any(path.iterdir())):
    raise SinkFailed(f"sink {path}: exists already; --overwrite replaces it")
  if path.suffix:
    if path.is_dir():
      raise SinkFailed(f"sink {path}: is a folder")
    if path.exists() and not VideoSink.made(path):
      raise SinkFailed(f"sink {path}: is no video in MP4 or MOV; it is not replaced")
    sink = VideoSink(path, quality=quality)
  else:
    sink = _folder(pathlib.Path(os.path.realpath(path)), source)  # a folder is renamed at the end, which a link to it does not survive
  if _is_source(sink.part, source):
    raise SinkFailed(f"sink {path}: what is written lies in {sink.part} until it is complete, which is the source")
  return sink


def _folder(path: pathlib.Path, source: pathlib.Path | None) -> FolderSink:
  if os.path.ismount(path):
    raise SinkFailed(f"sink {path}: is a mount point, which cannot be replaced by another folder; name a folder below it")
  if source is not None and _is_source(path, source.resolve().parent):
    raise SinkFailed(f"sink {path}: holds the source")
  if path.exists() and not FolderSink.made(path):
    raise SinkFailed(f"sink {path}: holds other things than anonymized frames; it is not replaced")
  return FolderSink(path)


def _is_source(path: pathlib.Path, source: pathlib.Path | None) -> bool:
  return source is not None and path.exists() and os.path.samefile(path, source)


class NullSink:
  """Counts frames and drops them: for measuring, and for trying a model."""
  name, paced = "null", False

  def __init__(self):
    self._count = 0

  def open(self, stream: Stream) -> None:
    self._count = 0

  def write(self, ticks: int, pixels: np.ndarray) -> None:
    self._count += 1

  def commit(self, frames: int) -> None:
    if self._count != frames:
      raise SinkFailed(f"sink null: {self._count} of {frames} frames came")

  def abandon(self, keep: bool) -> pathlib.Path | None:
    return None


class RawSink:
  """Frames on standard output, one after the other: rgb24, rows from the top, height * width * 3 bytes each, and nothing between them.

  While it is open whatever else this process writes to standard output goes to standard error.
  """
  name, paced = "standard output", False

  def __init__(self, patience: links.Patience):
    self._patience, self._pipe = patience, -1
    self._shape: tuple[int, ...] | None = None

  def open(self, stream: Stream) -> None:
    sys.stdout.flush()
    self._rate = stream.rate
    self._pipe = os.dup(1)
    os.dup2(2, 1)

  def write(self, ticks: int, pixels: np.ndarray) -> None:
    """Raises SinkFailed where the reader has gone, or frames change size, which it could not know."""
    if self._shape is None:
      self._shape = pixels.shape
      self._patience.tell(f"standard output: rgb24, {pixels.shape[1]}x{pixels.shape[0]}, {float(self._rate):g} frames per second")
    if pixels.shape != self._shape:
      raise SinkFailed(f"sink {self.name}: a frame of {pixels.shape} after frames of {self._shape}; raw video has one size")
    try:
      whole = links.write_all(self._pipe, np.ascontiguousarray(pixels), self._patience.stop)
    except OSError as error:
      raise SinkFailed(f"sink {self.name}: {error.strerror}") from None
    if not whole:
      raise SinkFailed(f"sink {self.name}: the run stopped within a frame")

  def commit(self, frames: int) -> None:
    self._close()

  def abandon(self, keep: bool) -> pathlib.Path | None:
    self._close()
    return None

  def _close(self) -> None:
    pipe, self._pipe = self._pipe, -1
    if pipe >= 0:
      sys.stdout.flush()
      os.dup2(pipe, 1)
      os.close(pipe)
