"""Sources whose frames come by themselves: cameras on the network and on this machine."""

import contextlib
import gc
import time
from fractions import Fraction
from typing import Any, Iterator, Mapping

import av

from mppar_tf.on_camera.errors import SourceFailed
from mppar_tf.on_camera.ffmpeg_errors import kind_of, told
from mppar_tf.on_camera.frames import Frame, Stream
from mppar_tf.on_camera.links import Patience
from mppar_tf.on_camera.source_files import rate_of, upright

JUMP_SECONDS = 5.0          # times that jump by more than this against the wall clock are those of another recording
NO_FRAME_SECONDS = 15.0     # packets without a whole frame for so long: the connection is of no use; key frames come more often
SLOWEST, FASTEST = Fraction(1, 60), Fraction(1000)  # frames per second; FFmpeg may take a clock's rate for one
OPTIONS = {"analyzeduration": "1000000"}  # microseconds: a stream is known after one second, not five


class _Lost(Exception):
  """The connection is of no use any more; the text tells why."""


class LiveSource:
  """A stream by its address, or a V4L2 device, reopened where it is lost. Its frames cannot be waited for: who is slow misses some.

  Args:
    address: what FFmpeg opens.
    name: what errors and notes call it.
    container: FFmpeg's name of the format, or None: found out.
    options: FFmpeg's, for opening.
    patience: time limits, and whom to tell.
    refuse_files: an address that turns out to have an end is an error: read as a stream it would begin anew for ever.
  """
  endless, paced, path = True, True, None

  def __init__(self, address: str, name: str, *, container: str | None = None, options: Mapping[str, str], patience: Patience,
               refuse_files: bool = False):
    self.name, self._refuse_files = name, refuse_files
    self._address, self._format, self._options, self._patience = address, container, OPTIONS | dict(options), patience
    self._container: Any = None

  def open(self) -> Stream:
    """The first connection. Raises SourceFailed where it cannot be made: it is not tried again, the address may be wrong."""
    with told(SourceFailed, f"source {self.name}"):
      self._connect()
    if self._refuse_files and (self._container.duration or 0) > 0:
      seconds = self._container.duration / av.time_base
      self.close()
      raise SourceFailed(f"source {self.name}: a file of {seconds:.1f} s, not a stream; --live=off reads it once, --live=on ever again")
    rate = rate_of(self._stream)
    rate = rate if SLOWEST <= rate <= FASTEST else Fraction(25)
    self._known = Stream(self._stream.time_base or 1 / rate, rate, None, self._stream.sample_aspect_ratio or Fraction(1))
    return self._known

  def _connect(self) -> None:
    timeout = self._patience.timeout_seconds
    self._container = av.open(self._address, format=self._format, options=self._options, timeout=timeout, metadata_errors="ignore")
    if not self._container.streams.video:
      self.close()
      raise SourceFailed(f"source {self.name}: has no video stream")
    self._stream = self._container.streams.video[0]
    self._stream.thread_type = "SLICE"  # threads that take a frame each hold back as many frames as there are threads

  def frames(self) -> Iterator[Frame]:
    """Whole frames as they come, with increasing times that begin at 0 and count outages in; damaged ones are left out and counted.

    Raises SourceFailed where the connection is lost for longer than the patience, or a frame has another size than the first: what is
    made of the frames has one size.
    """
    clock, size, index, attempts = LiveClock(self._known), None, 0, None
    while not self._patience.stop.is_set():
      try:
        for frame, captured in self._received():
          pixels = upright(frame, f"source {self.name}: frame {index}")
          if size not in (None, pixels.shape):
            raise SourceFailed(f"source {self.name}: frame {index} has the shape {pixels.shape}, those before {size}")
          size, attempts = pixels.shape, None
          yield Frame(index, clock.ticks(frame.pts, frame.time_base, captured), pixels, captured)
          index += 1
      except _Lost as lost:
        if self._patience.stop.is_set():
          return
        # One wait from the last whole frame on: a server that accepts and fails again is not waited for without end.
        attempts = attempts or self._patience.attempts()
        self._reconnect(attempts, str(lost), index)
        clock.jump()

  def _received(self) -> Iterator[tuple[av.VideoFrame, float]]:
    # All streams: asked for one alone, PyAV comes back with a packet of that one or not at all, for as long as others send.
    packets, whole = self._container.demux(), time.monotonic()
    while not self._patience.stop.is_set():
      try:
        packet = next(packets, None)
      except (av.FFmpegError, OSError, ValueError) as error:
        raise _Lost(kind_of(error)) from None
      captured = time.monotonic()
      if packet is None:
        raise _Lost("the stream ended")
      try:
        frames = packet.decode() if packet.stream.index == self._stream.index else []
      except (av.FFmpegError, ValueError):  # whoever joins between two key frames has no picture at first
        frames = []
        self._patience.count("corrupt")
      for frame in frames:
        if frame.is_corrupt:
          self._patience.count("corrupt")
          continue
        whole = captured
        yield frame, captured
      if captured - whole > NO_FRAME_SECONDS:
        raise _Lost(f"no whole frame for {NO_FRAME_SECONDS:g} s")

  def _reconnect(self, attempts: Iterator[None], why: str, index: int) -> None:
    self.close()
    self._stream = None
    gc.collect()  # decoder and connection refer to each other; left to themselves some forty of them, 80 MiB, wait to be freed
    limit = self._patience.reconnect_seconds
    if limit:
      self._patience.tell(f"source {self.name}: lost after frame {index - 1} ({why}); trying again for {limit:g} s")
    for _ in attempts:
      with contextlib.suppress(av.FFmpegError, OSError, ValueError):
        self._connect()
        self._patience.count("source_reconnects")
        self._patience.tell(f"source {self.name}: connected again")
        return
    if not self._patience.stop.is_set():  # else the run ends for another reason
      raise SourceFailed(f"source {self.name}: lost after {index} frames ({why})" + (f", not back within {limit:g} s" if limit else ""))

  def close(self) -> None:
    container, self._container = self._container, None
    if container is not None:
      with contextlib.suppress(av.FFmpegError, OSError):
        container.close()


class LiveClock:
  """Increasing times that begin at 0. Steps are the stream's own, and the wall clock's where a stream begins anew or has no times."""

  def __init__(self, known: Stream):
    self._base, self._step = known.time_base, max(1, round(1 / (known.rate * known.time_base)))
    self._last: int | None = None
    self._shift: int | None = None
    self._arrived = 0.0

  def jump(self) -> None:
    """The next frame is of another connection, whose times have another origin."""
    self._shift = None

  def ticks(self, pts: int | None, time_base: Fraction | None, arrived: float) -> int:
    given = None if pts is None else round(pts * Fraction(time_base or self._base) / self._base)
    due = 0 if self._last is None else self._last + max(1, round((arrived - self._arrived) / self._base))
    if given is None:
      now = due
    else:
      if self._shift is None or abs(given + self._shift - due) * self._base > JUMP_SECONDS:
        self._shift = due - given
      now = given + self._shift
    self._last = now if self._last is None else max(now, self._last + 1)
    self._arrived = arrived
    return self._last
