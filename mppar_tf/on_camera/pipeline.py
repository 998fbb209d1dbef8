"""Decode -> anonymize -> encode, each in its own thread, with bounded queues between them.

Any error in any thread stops all three; what was decoded and not yet anonymized is dropped, never passed on. Files lose no frame: who is
fast waits for who is slow. A live source cannot wait: there, whichever thread is slow, the oldest frame that waits for it falls.
"""

import contextlib
import queue
import threading
import time
from fractions import Fraction
from typing import Callable, Iterator, NamedTuple, Sequence

import numpy as np

from mppar_tf.on_camera import pacing
from mppar_tf.on_camera.belts import END, Belt, Stopped
from mppar_tf.on_camera.errors import AnonymizationFailed, CameraError, FrameLost, Interrupted, SinkFailed, unexpected
from mppar_tf.on_camera.frames import Frame, SafeFrame, Stream
from mppar_tf.on_camera.links import POLL_SECONDS
from mppar_tf.on_camera.sinks import Sink
from mppar_tf.on_camera.sources import Source
from mppar_tf.on_camera.stats import Stats

DECODE, ANONYMIZE, ENCODE = "decode", "anonymize", "encode"  # names of the threads


class Summary(NamedTuple):
  """What a finished run did."""
  frames: int
  seconds: float                 # wall clock, from open to commit
  anonymize_milliseconds: float  # mean per frame, inference and scaling
  dropped: int = 0               # frames that did not go on, by the rules


class Rules(NamedTuple):
  """Which frames of a source go on, and when."""
  live: bool = False        # drop the oldest frame that waits where a thread is slow, in place of waiting for it
  paced: bool = False       # hand out a frame when its time has come, not before
  max_fps: float = 0.0      # more frames per second are left out; 0: none
  max_seconds: float = 0.0  # the run ends well after so much of the stream; 0: at its end

  def apply(self, frames: Iterator[Frame], stream: Stream, stop: threading.Event, stats: Stats) -> Iterator[Frame]:
    """The frames that go on, counted."""
    if self.paced:
      frames = pacing.paced(frames, stream, stop)
    if self.max_seconds:
      frames = pacing.up_to(frames, stream, self.max_seconds)
    frames = _counted(frames, stats)
    return pacing.thinned(frames, stream, self.max_fps, lambda: stats.add("over_max_fps")) if self.max_fps else frames

  def expected(self, stream: Stream) -> Stream:
    """What the sink may know of the frames that go on."""
    rate, frames = stream.rate, stream.frames
    if self.max_fps and self.max_fps < rate:
      rate = Fraction(self.max_fps).limit_denominator(1000)
    if self.max_fps or self.max_seconds:
      frames = None
    return stream._replace(rate=rate, frames=frames)


def run(source: Source, anonymize: Callable[[np.ndarray], np.ndarray], sink: Sink, *, queue_frames: int = 4, keep_partial: bool = False,
        started: Callable[[Stream], None] = lambda stream: None, progress: Callable[[], None] = lambda: None,
        taps: Sequence[Callable[[SafeFrame], None]] = (), rules: Rules = Rules(), stats: Stats | None = None,
        stop: threading.Event | None = None, source_seconds: float = 6.0) -> Summary:
  """Moves the frames of `source` through `anonymize` into `sink`, in order: every one, where `rules` do not say otherwise.

  Args:
    source, sink: see their rooms. Both are opened here and are closed, committed or abandoned here.
    anonymize: uint8 RGB [H, W, 3] -> a new array of the same shape and type; raises where it cannot.
    queue_frames: how many frames wait at most between two threads.
    keep_partial: after a failure keep the anonymized frames that were written so far, under another name.
    started: called with what is known of the source.
    progress: called once for each frame written.
    taps: further consumers of anonymized frames, each called with every frame after the sink has it, in the encoder's thread: they must
      be quick, keep the pixels as they are, and catch what must not stop the camera, since one that raises stops the run like a sink.
    rules: which frames go on, and when.
    stats: counts what happens.
    stop: set here when the run stops; what source and sink wait by.
    source_seconds: how long a run that stops waits for a source that is within a library's call. One that takes longer is left to its
      thread and not closed (see `is_reading`).
  Raises:
    CameraError: the first thing that went wrong. A file sink's own name then shows nothing new.
  """
  begin, stats, stop = time.monotonic(), stats or Stats(), stop or threading.Event()
  raw = Belt(queue_frames, stop, (lambda: stats.add("dropped_raw")) if rules.live else None)
  safe = Belt(queue_frames, stop, (lambda: stats.add("dropped_anonymized")) if rules.live else None)
  stats.waiting = lambda: {"raw": len(raw), "anonymized": len(safe)}
  failures: list[CameraError] = []
  live: set[str] = set()
  source_is_free = True
  # Not a semaphore: Ctrl-C in the midst of its acquire leaves its lock held, and a thread that ends then waits for ever.
  ended: queue.SimpleQueue = queue.SimpleQueue()

  def decode() -> None:
    for frame in rules.apply(source.frames(), stream, stop, stats):
      raw.put(frame)
    raw.put(END)

  def anonymize_all() -> None:
    for frame in raw:
      safe.put(_anonymized(frame, anonymize, stats))
      stats.add("anonymized")
    safe.put(END)

  def encode() -> None:
    due = 0
    for frame in safe:
      if frame.index < due or (frame.index > due and not rules.live):
        raise SinkFailed(f"frame {frame.index} came where frame {due} was due")
      due = frame.index + 1
      try:
        sink.write(frame.ticks, frame.pixels)
      except FrameLost:
        stats.add("dropped_anonymized")
        continue
      stats.written(frame.captured)
      for tap in taps:
        tap(frame)
      progress()

  def guarded(work: Callable[[], None], doing: str) -> None:
    live.add(doing)
    try:
      if not stop.is_set():
        work()
    except Stopped:
      return
    except CameraError as error:
      failures.append(error)
      stop.set()
    except BaseException as error:  # a thread that dies unseen would leave the others waiting, or the output short
      failures.append(unexpected(error, doing))
      stop.set()
    finally:
      live.discard(doing)
      ended.put(doing)

  jobs = ((decode, DECODE), (anonymize_all, ANONYMIZE), (encode, ENCODE))
  try:
    stream = source.open()
    started(rules.expected(stream))
    sink.open(rules.expected(stream))
    for job in jobs:
      threading.Thread(target=guarded, args=job, daemon=True, name=job[1]).start()
    _wait(ended, len(jobs), failures)
    if failures:
      raise failures[0]
    if stats.lost():
      raise CameraError(f"frames were lost on the way: {stats.lost()}")
    sink.commit(stats.count["written"])
  except BaseException as error:
    stop.set()
    source_is_free = _settle(live, source_seconds)
    if isinstance(error, KeyboardInterrupt):
      error = Interrupted(f"interrupted after {stats.count['written']} frames")
    known = error if isinstance(error, CameraError) else unexpected(error, "camera")
    kept = sink.abandon(keep_partial)
    if kept:
      known = type(known)(f"{known}; {stats.count['written']} anonymized frames are kept in {kept}")
    raise known from None
  finally:
    if source_is_free:
      source.close()
  count = stats.count
  dropped = count["over_max_fps"] + count["dropped_raw"] + count["dropped_anonymized"]
  return Summary(count["written"], time.monotonic() - begin, 1000 * stats.model_seconds / max(1, count["anonymized"]), dropped)


def _wait(ended: queue.SimpleQueue, count: int, failures: list[CameraError]) -> None:
  """Until all threads have ended, or one has failed; in short waits, so that a signal is heard on every system."""
  while count and not failures:
    with contextlib.suppress(queue.Empty):
      ended.get(timeout=POLL_SECONDS)
      count -= 1


def _settle(live: set[str], source_seconds: float) -> bool:
  """Waits until no thread touches the sink any more, however often Ctrl-C is pressed; for the source no longer than `source_seconds`.

  Anonymizer and sink give up by themselves. A source may be in a call of FFmpeg's or a driver's that nothing ends. Not by Thread.join:
  where a signal interrupts that, Python 3.11 takes a running thread for an ended one. A thread that is not live yet will find the run
  stopped.
  Returns: whether the source is free, too.
  """
  deadline = time.monotonic() + source_seconds
  while live - {DECODE} or (live and time.monotonic() < deadline):
    with contextlib.suppress(KeyboardInterrupt):
      time.sleep(POLL_SECONDS)
  return not live


def is_reading() -> bool:
  """Whether a source that a run has left behind is still being read: Python would end under a library that is at work."""
  return any(thread.name == DECODE for thread in threading.enumerate())


def _counted(frames: Iterator[Frame], stats: Stats) -> Iterator[Frame]:
  for frame in frames:
    stats.add("decoded")
    yield frame if frame.captured else frame._replace(captured=time.monotonic())


def _anonymized(frame: Frame, anonymize: Callable[[np.ndarray], np.ndarray], stats: Stats) -> SafeFrame:
  start = time.perf_counter()
  try:
    pixels = anonymize(frame.pixels)
  except AnonymizationFailed as error:
    raise AnonymizationFailed(f"frame {frame.index}: {error}") from None
  except Exception as error:  # an unknown engine's error text may quote the frame
    raise AnonymizationFailed(f"frame {frame.index}: inference failed: {type(error).__name__}") from None
  finally:
    stats.model_seconds += time.perf_counter() - start
  if not isinstance(pixels, np.ndarray) or pixels.shape != frame.pixels.shape or pixels.dtype != np.uint8:
    raise AnonymizationFailed(f"frame {frame.index}: the result is no uint8 picture of {frame.pixels.shape}")
  if np.may_share_memory(pixels, frame.pixels):
    raise AnonymizationFailed(f"frame {frame.index}: the result is the raw frame itself")
  return SafeFrame(frame.index, frame.ticks, pixels, frame.captured)
