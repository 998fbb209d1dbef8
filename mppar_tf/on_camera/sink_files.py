"""Files as sinks: a video, a folder of pictures. One shows its result under its name only when it is complete.

Until then frames lie under a temporary name beside it: `.NAME.part`. A sink never sees anything but anonymized frames, so what a
killed process leaves there is safe, and the next run replaces it. Nothing else that was there before is replaced or removed, but for what
`sinks.find` allows under the sink's own name.
"""

import contextlib
import csv
import os
import pathlib
import re
import shutil
from fractions import Fraction
from typing import Any

import av
import numpy as np

from mppar_tf.on_camera.errors import SinkFailed
from mppar_tf.on_camera.ffmpeg_errors import told
from mppar_tf.on_camera.frames import Stream

CONTAINERS = {".mp4": "mp4", ".mov": "mov"}  # both keep every time exactly; Matroska rounds to milliseconds
KEPT, OLD = ".partial", ".old"


def free(folder: pathlib.Path, name: str, suffix: str = "") -> pathlib.Path:
  """NAME in a folder, or where something has that name NAME2, NAME3, ..., and the suffix."""
  number, found = 1, folder / f"{name}{suffix}"
  while os.path.lexists(found):
    number += 1
    found = folder / f"{name}{number}{suffix}"
  return found


def _kept(part: pathlib.Path, name: str, suffix: str = "") -> pathlib.Path:
  """Where an incomplete output is now: under a free name, or, where it can get none, still under its temporary one."""
  try:
    kept = free(part.parent, name, suffix)
    os.rename(part, kept)
  except OSError:
    return part
  return kept


class VideoSink:
  """H.264 in MP4 or MOV with the source's own time base: every frame's time is kept exactly. No audio, no metadata."""
  paced = False

  def __init__(self, path: pathlib.Path, *, quality: int):
    self.name, self._path, self._quality = str(path), path, quality
    self.part = path.with_name(f".{path.name}.part")
    self._made = False
    self._container: Any = None
    self._shape: tuple[int, ...] | None = None
    self._shift: int | None = None
    self._broken = False

  @staticmethod
  def made(path: pathlib.Path) -> bool:
    """True for an MP4 or MOV with a moving picture, whoever wrote it, and for an empty file; nothing else may be replaced.

    Raises OSError where that cannot be found out.
    """
    if not path.is_file() or not path.stat().st_size:  # a pipe would be waited for
      return path.is_file()
    try:
      # No other format: text may be a playlist, whose addresses FFmpeg would visit.
      with av.open(str(path), format="mp4", metadata_errors="ignore") as there:
        return any(not stream.disposition & av.stream.Disposition.attached_pic for stream in there.streams.video)
    except OSError:
      raise
    except (av.FFmpegError, ValueError):
      return False

  def open(self, stream: Stream) -> None:
    # Edit lists and tracks count in these scales; the muxer's own choice rounds a first time that is not 0.
    scale = str(stream.time_base.denominator)
    options = {"movie_timescale": scale, "video_track_timescale": scale, "fflags": "+bitexact"}
    self._known = stream
    with told(SinkFailed, f"sink {self._path}"):
      self._container = av.open(str(self.part), "w", format=CONTAINERS[self._path.suffix.lower()], options=options)
      self._made = True

  def _start(self, shape: tuple[int, ...]) -> None:
    # Without B-frames nothing is held back or reordered: a frame is in the file when the next one comes.
    options = {"crf": str(self._quality), "preset": "veryfast", "bf": "0"}
    self._stream = self._container.add_stream("libx264", rate=self._known.rate, options=options)
    self._stream.height, self._stream.width = shape[:2]
    # H.264 halves the colour planes only of even sizes.
    self._stream.pix_fmt = "yuv444p" if shape[0] % 2 or shape[1] % 2 else "yuv420p"
    self._stream.time_base = self._stream.codec_context.time_base = self._known.time_base
    self._stream.codec_context.sample_aspect_ratio = self._known.pixel_aspect
    self._shape = shape

  def write(self, ticks: int, pixels: np.ndarray) -> None:
    """Encodes one frame, uint8 RGB [H, W, 3]. Raises SinkFailed where its size is another than the first one's, or the disk is full."""
    with told(SinkFailed, f"sink {self._path}"):
      if self._shape is None:
        self._start(pixels.shape)
      if pixels.shape != self._shape:
        raise SinkFailed(f"sink {self._path}: a frame of {pixels.shape} after frames of {self._shape}; one video has one size")
      if self._shift is None:
        self._shift = max(0, -ticks)  # a player drops what lies before 0
      frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
      frame.pts, frame.time_base = ticks + self._shift, self._known.time_base
      self._mux(frame)

  def commit(self, frames: int) -> None:
    """Ends the file, counts what is in it, and gives it its name."""
    with told(SinkFailed, f"sink {self._path}"):
      self._close()
      with av.open(str(self.part)) as written:
        found = written.streams.video[0].frames
      if found != frames:
        raise SinkFailed(f"sink {self._path}: the file holds {found} of {frames} frames")
      if self._path.exists() and not self.made(self._path):  # hours may lie between the start of a run and its end
        raise SinkFailed(f"sink {self._path}: is another thing than a video by now; it is not replaced")
      os.replace(self.part, self._path)

  def _close(self) -> None:
    container, self._container = self._container, None
    if container is None:
      return
    try:
      if self._shape is not None and not self._broken:
        container.mux(self._stream.encode(None))
    finally:
      container.close()

  def _mux(self, frame: av.VideoFrame) -> None:
    # Whoever muxes again after a header that could not be written writes it a second time, at which FFmpeg crashes.
    self._broken = True
    self._container.mux(self._stream.encode(frame))
    self._broken = False

  def abandon(self, keep: bool) -> pathlib.Path | None:
    """Ends an incomplete file: removes it, or keeps it as NAME.partial.mp4, with a number where that is taken. The kept path, if any."""
    with contextlib.suppress(av.FFmpegError, OSError, ValueError):
      self._close()
    if not self._made:
      return None
    if keep and self._shape is not None and self.part.exists():
      return _kept(self.part, self._path.stem + KEPT, self._path.suffix)
    with contextlib.suppress(OSError):  # what stopped the run is to be told, not this
      self.part.unlink(missing_ok=True)
    return None


class FolderSink:
  """Lossless PNG frames 00000000.png, ... and times.csv (frame, seconds). Names of source images are not kept: they may say who it is."""
  TIMES, paced = "times.csv", False

  def __init__(self, path: pathlib.Path):
    self.name, self._path = str(path), path
    self.part = path.with_name(f".{path.name}.part")
    self._made = False
    self._rows: list[tuple[str, str]] = []

  @classmethod
  def made(cls, path: pathlib.Path) -> bool:
    """True for an empty folder and one that a FolderSink wrote; nothing else may be replaced."""
    return path.is_dir() and all(p.is_file() and (p.name == cls.TIMES or re.fullmatch(r"\d{8,}\.png", p.name)) for p in path.iterdir())

  def open(self, stream: Stream) -> None:
    self._time_base = stream.time_base
    with told(SinkFailed, f"sink {self._path}"):
      if os.path.lexists(self.part):
        if self.part.is_symlink() or not self.made(self.part):
          raise SinkFailed(f"sink {self._path}: {self.part} is in its way, and holds other things than anonymized frames")
        shutil.rmtree(self.part)
      self.part.mkdir()
      self._made = True

  def write(self, ticks: int, pixels: np.ndarray) -> None:
    name = f"{len(self._rows):08d}.png"
    with told(SinkFailed, f"sink {self._path}"):
      av.VideoFrame.from_ndarray(pixels, format="rgb24").save(str(self.part / name))
    self._rows.append((name, format(float(Fraction(ticks) * self._time_base), ".9g")))

  def _write_times(self) -> None:
    with open(self.part / self.TIMES, "w", newline="", encoding="utf-8") as file:
      csv.writer(file).writerows([("frame", "seconds"), *self._rows])

  def commit(self, frames: int) -> None:
    with told(SinkFailed, f"sink {self._path}"):
      found = sum(1 for p in self.part.iterdir() if p.suffix == ".png")
      if found != frames:
        raise SinkFailed(f"sink {self._path}: the folder holds {found} of {frames} frames")
      self._write_times()
      self._exchange()

  def _exchange(self) -> None:
    """Gives the new folder its name; the old one is out of the way before and gone after, and is back where the new one cannot come."""
    if not os.path.lexists(self._path):
      os.rename(self.part, self._path)
      return
    if not self.made(self._path):  # hours may lie between the start of a run and its end
      raise SinkFailed(f"sink {self._path}: holds other things than anonymized frames by now; it is not replaced")
    old = free(self.part.parent, f".{self._path.name}{OLD}")
    os.rename(self._path, old)
    try:
      os.rename(self.part, self._path)
    except OSError:
      os.rename(old, self._path)
      raise
    shutil.rmtree(old, ignore_errors=True)

  def abandon(self, keep: bool) -> pathlib.Path | None:
    """Removes an incomplete folder, or keeps it as NAME.partial, with a number where that is taken. The kept path, if any."""
    if not self._made:
      return None
    if keep and self._rows:
      with contextlib.suppress(OSError):  # on a full disk the frames are there without their times
        self._write_times()
      return _kept(self.part, self._path.name + KEPT)
    shutil.rmtree(self.part, ignore_errors=True)
    return None
