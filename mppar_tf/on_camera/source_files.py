"""Files as sources: a video, a folder of images. Every frame comes, whole, or the run stops."""

import pathlib
import re
from fractions import Fraction
from typing import Any, Iterator, Mapping

import av
import numpy as np

from mppar_tf import display_matrix
from mppar_tf.on_camera.errors import SourceFailed
from mppar_tf.on_camera.ffmpeg_errors import told
from mppar_tf.on_camera.frames import Frame, Stream

IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
# Containers that store no presentation times: FFmpeg guesses them from decoding order, which is wrong where there are B-frames.
WITHOUT_TIMES = ("avi",)
AS_IT_IS = {"pattern_type": "none"}  # else FFmpeg takes a%d.png for all of a1.png, a2.png, ...
STEP_BACK_SECONDS = 1  # times that step back by more are those of another recording, which was put behind the first
MISSING_FRAMES = 3  # a container's declared length may be off by rounding, not by more frames than these


def upright(frame: av.VideoFrame, what: str) -> np.ndarray:
  """uint8 RGB [H, W, 3], turned and mirrored as the file says: metadata is dropped later, so both must be in the pixels.

  Raises SourceFailed where FFmpeg cannot convert the frame, or nobody can tell how it is turned, or it is not by quarters.
  """
  with told(SourceFailed, f"{what} cannot be converted"):
    pixels = display_matrix.upright(frame.to_ndarray(format="rgb24"), frame)
  if pixels is None:
    raise SourceFailed(f"{what} is turned by {frame.rotation} degrees, not by a multiple of 90")
  return pixels


def url(path: pathlib.Path) -> str:
  """What FFmpeg opens so that a path is a path, and no protocol's name comes before a colon in it."""
  return f"file:{path.absolute()}"


def rate_of(stream: Any) -> Fraction:
  """Frames per second of a video stream, as far as FFmpeg can tell."""
  return Fraction(stream.average_rate or stream.guessed_rate or 25)


class VideoFile:
  """Any file that FFmpeg decodes; its first video stream. Audio, subtitles and metadata are not read.

  Args:
    path: the file, or None where `address` is that of a file on a server.
    address: what FFmpeg opens in place of the path.
    name: what errors call it.
    options: FFmpeg's, for opening.
    timeout_seconds: how long opening or reading may take, or None.
  """
  endless, paced = False, False

  def __init__(self, path: pathlib.Path | None, *, address: str = "", name: str = "", options: Mapping[str, str] | None = None,
               timeout_seconds: float | None = None):
    self.path, self.name = path, name or str(path)
    self._address, self._timeout_seconds = address or url(path), timeout_seconds
    self._options = (AS_IT_IS if path and path.suffix.lower() in IMAGES else {}) | dict(options or {})
    self._container: Any = None

  def open(self) -> Stream:
    with told(SourceFailed, f"source {self.name}"):
      # A title in the encoding of some old system is dropped anyway.
      self._container = av.open(self._address, metadata_errors="ignore", options=self._options, timeout=self._timeout_seconds)
    if not self._container.streams.video:
      self.close()
      raise SourceFailed(f"source {self.name}: has no video stream")
    self._stream = self._container.streams.video[0]
    # With threads that take a frame each FFmpeg loses errors and marks of damage, by chance: frames then are missing without a word.
    self._stream.thread_type = "SLICE"
    rate = rate_of(self._stream)
    self._known = Stream(self._stream.time_base or 1 / rate, rate, self._stream.frames or None,
                         self._stream.sample_aspect_ratio or Fraction(1))
    return self._known

  def frames(self) -> Iterator[Frame]:
    """Frames in presentation order with increasing times.

    Raises SourceFailed at a decoding error, a frame that FFmpeg marks corrupt, a frame of another size, an end before the length that the
    file declares (a truncated file ends without an error of FFmpeg's), fewer frames than an AVI declares, a Matroska that begins late, or
    any file that begins between two key frames. What follows the first key frame and is shown before it (leading pictures of an open
    group, cut there) is left out without an error, as by every player.
    """
    clock, size, index = Clock(self._container.format.name, self._known), None, 0
    decoded = self._decoded()
    while True:
      with told(SourceFailed, f"source {self.name}: frame {index} cannot be decoded"):
        frame = next(decoded, None)
      if frame is None:
        break
      if frame.is_corrupt:
        raise SourceFailed(f"source {self.name}: frame {index} is corrupt")
      pixels = upright(frame, f"source {self.name}: frame {index}")
      if size not in (None, pixels.shape):
        raise SourceFailed(f"source {self.name}: frame {index} has the shape {pixels.shape}, those before {size}")
      size = pixels.shape
      ticks = clock.ticks(frame)
      if not index:
        self._check_start(ticks)
      yield Frame(index, ticks, pixels)
      index += 1
    if not index:
      raise SourceFailed(f"source {self.name}: holds no frame")
    self._check_end(clock.end, index)

  def _decoded(self) -> Iterator[av.VideoFrame]:
    # A decoder that waits for a key frame says nothing of the pictures that it passes over meanwhile.
    before: list[int] = []  # when the pictures before the first key frame are shown
    waits, first = True, True
    for packet in self._container.demux(self._stream):
      waits = waits and not packet.is_keyframe
      if waits and packet.size and not packet.is_discard and packet.pts is not None:  # an edit list hides what it discards
        before.append(packet.pts)
      for frame in packet.decode():
        lost = sum(pts < frame.pts for pts in before) if first and frame.pts is not None else 0
        if lost:
          raise SourceFailed(f"source {self.name}: begins between two key frames: its first {lost} frames cannot be decoded")
        first = False
        yield frame

  def _check_start(self, ticks: int) -> None:
    # FFmpeg goes on behind a damaged cluster without a word. At the beginning that is seen; in the middle it is like a picture that stayed.
    late = ticks * self._known.time_base
    if "matroska" in self._container.format.name and late * self._known.rate > MISSING_FRAMES:
      raise SourceFailed(f"source {self.name}: begins {float(late):.2f} s late: what came before is damaged, or was cut off")

  def _check_end(self, end: int, count: int) -> None:
    # An MP4 counts the frames that an edit list hides, too. A container without times has nothing but its count.
    if self._container.format.name in WITHOUT_TIMES and count < (self._known.frames or 0) - MISSING_FRAMES:
      raise SourceFailed(f"source {self.name}: ends after {count} of {self._known.frames} frames")
    missing = self._declared_end() - end * self._known.time_base
    if missing * self._known.rate > MISSING_FRAMES:
      raise SourceFailed(f"source {self.name}: ends after {count} frames, {float(missing):.2f} s too early (truncated?)")

  def _declared_end(self) -> Fraction:
    """When the last frame ends, in seconds, as far as the file says; 0 where it does not."""
    stream, container = self._stream, self._container
    if stream.duration:
      return ((stream.start_time or 0) + stream.duration) * self._known.time_base
    tag = re.fullmatch(r"(\d+):(\d+):(\d+\.\d+)", stream.metadata.get("DURATION", ""))  # Matroska's
    if tag:
      return 3600 * int(tag[1]) + 60 * int(tag[2]) + Fraction(tag[3])
    # The whole file's may be that of a longer audio track.
    return Fraction(container.duration, av.time_base) if container.duration and len(container.streams) == 1 else Fraction(0)

  def close(self) -> None:
    if self._container is not None:
      self._container.close()
      self._container = None


class Clock:
  """Presentation times that increase. Where a file has none, or they step back a little, the next tick after the last is taken.

  Where they step back by more than STEP_BACK_SECONDS, the frames go on behind the last one, with the steps that they have.
  """

  def __init__(self, container: str, stream: Stream):
    self._without_times = container in WITHOUT_TIMES
    self._step = max(1, round(1 / (stream.rate * stream.time_base)))
    self._back = STEP_BACK_SECONDS / stream.time_base
    self._last: int | None = None
    self._shift = 0
    self.end = 0

  def ticks(self, frame: av.VideoFrame) -> int:
    given = frame.dts if self._without_times or frame.pts is None else frame.pts
    if given is not None:
      given += self._shift
      if self._last is not None and self._last - given > self._back:
        self._shift += self._last + self._step - given
        given = self._last + self._step
    if self._last is not None and (given is None or given <= self._last):
      given = self._last + (self._step if given is None else 1)
    self._last = given or 0
    self.end = self._last + (frame.duration or self._step)
    return self._last


class ImageFolder:
  """The images of a folder, by name, at a steady rate. Sizes may differ; sub-folders are not entered."""
  endless, paced = False, False

  def __init__(self, path: pathlib.Path, *, rate: float):
    self.path = path
    self._rate = Fraction(rate).limit_denominator(100_000)
    self._names: list[pathlib.Path] = []

  def open(self) -> Stream:
    with told(SourceFailed, f"source {self.path}: cannot be listed"):
      self._names = sorted(p for p in self.path.iterdir() if p.suffix.lower() in IMAGES and not p.name.startswith("."))
    if not self._names:
      raise SourceFailed(f"source {self.path}: has no image, looked for {', '.join(IMAGES)}")
    return Stream(1 / self._rate, self._rate, len(self._names), Fraction(1))

  def frames(self) -> Iterator[Frame]:
    """One frame per image. Raises SourceFailed at one that cannot be decoded."""
    for index, name in enumerate(self._names):
      with told(SourceFailed, f"source {name}: cannot be decoded"):
        with av.open(url(name), metadata_errors="ignore", options=AS_IT_IS) as container:
          picture = next(container.decode(video=0), None)
      if picture is None or picture.is_corrupt:
        raise SourceFailed(f"source {name}: holds no whole image")
      yield Frame(index, index, upright(picture, f"source {name}: the image"))

  def close(self) -> None:
    self._names = []
