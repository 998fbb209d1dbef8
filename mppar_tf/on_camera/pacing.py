"""Which frames of a source go on, and when: a steady pace for files, a highest rate, an end."""

import threading
import time
from typing import Callable, Iterator

from mppar_tf.on_camera.frames import Frame, Stream

EARLY = 0.05  # a frame may come by this share of a period too early, as times in ticks are rounded


def paced(frames: Iterator[Frame], stream: Stream, stop: threading.Event) -> Iterator[Frame]:
  """Hands out each frame when its time has come, as a camera would; ends when the run stops."""
  start = None
  for frame in frames:
    due = float(frame.ticks * stream.time_base)
    start = time.monotonic() - due if start is None else start
    if stop.wait(max(0.0, start + due - time.monotonic())):
      return
    yield frame._replace(captured=time.monotonic())


def up_to(frames: Iterator[Frame], stream: Stream, max_seconds: float) -> Iterator[Frame]:
  """The frames of the first `max_seconds` of the stream."""
  first = None
  for frame in frames:
    first = frame.ticks if first is None else first
    if (frame.ticks - first) * stream.time_base >= max_seconds:
      return
    yield frame


def thinned(frames: Iterator[Frame], stream: Stream, max_fps: float, skipped: Callable[[], None]) -> Iterator[Frame]:
  """At most `max_fps` frames per second of the stream, spread evenly and numbered anew; `skipped` is called for each of the others."""
  period, due, count = 1 / max_fps, None, 0
  for frame in frames:
    seconds = float(frame.ticks * stream.time_base)
    if due is not None and seconds < due - EARLY * period:
      skipped()
      continue
    due = seconds + period if due is None or seconds - due > period else due + period
    yield frame._replace(index=count)
    count += 1
