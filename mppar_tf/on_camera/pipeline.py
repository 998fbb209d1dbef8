"""Decode -> anonymize -> encode, each in its own thread, with bounded queues between them.

Any error in any thread stops all three; what was decoded and not yet anonymized is dropped, never passed on.
"""

import contextlib
import queue
import threading
import time
from typing import Callable, Collection, Iterator, NamedTuple, Sequence

import numpy as np

from mppar_tf.on_camera.errors import AnonymizationFailed, CameraError, Interrupted, SinkFailed, unexpected
from mppar_tf.on_camera.sinks import Sink
from mppar_tf.on_camera.sources import Frame, Source, Stream

_POLL_SECONDS = 0.1
_END = None


class Summary(NamedTuple):
  """What a finished run did."""
  frames: int
  seconds: float                 # wall clock, from open to commit
  anonymize_milliseconds: float  # mean per frame, inference and scaling


class SafeFrame(NamedTuple):
  """An anonymized frame on its way to the sink."""
  index: int
  ticks: int
  pixels: np.ndarray  # uint8 RGB [H, W, 3]


class _Stopped(Exception):
  """Another thread failed; this one ends silently."""


class _Belt:
  """A bounded queue whose two ends give up when the run stops."""

  def __init__(self, size: int, stop: threading.Event):
    self._items: queue.Queue = queue.Queue(maxsize=size)
    self._stop = stop

  def put(self, item) -> None:
    while not self._stop.is_set():
      try:
        return self._items.put(item, timeout=_POLL_SECONDS)
      except queue.Full:
        continue
    raise _Stopped

  def __iter__(self) -> Iterator:
    while not self._stop.is_set():
      try:
        item = self._items.get(timeout=_POLL_SECONDS)
      except queue.Empty:
        continue
      if item is _END:
        return
      yield item
    raise _Stopped


def run(source: Source, anonymize: Callable[[np.ndarray], np.ndarray], sink: Sink, *, queue_frames: int = 4, keep_partial: bool = False,
        started: Callable[[Stream], None] = lambda stream: None, progress: Callable[[], None] = lambda: None,
        taps: Sequence[Callable[[SafeFrame], None]] = ()) -> Summary:
  """Moves every frame of `source` through `anonymize` into `sink`, in order.

  Args:
    source, sink: see their rooms. Both are opened here and are closed, committed or abandoned here.
    anonymize: uint8 RGB [H, W, 3] -> a new array of the same shape and type; raises where it cannot.
    queue_frames: how many frames wait at most between two threads.
    keep_partial: after a failure keep the anonymized frames that were written so far, under another name.
    started: called with what is known of the source.
    progress: called once for each frame written.
    taps: further consumers of anonymized frames, each called with every frame after the sink has it, in the encoder's thread: they must
      be quick, keep the pixels as they are, and catch what must not stop the camera, since one that raises stops the run like a sink.
  Raises:
    CameraError: the first thing that went wrong. The sink's own name then shows nothing new.
  """
  begin, busy, count = time.monotonic(), [0.0], {"decoded": 0, "anonymized": 0, "written": 0}
  stop = threading.Event()
  raw, safe = _Belt(queue_frames, stop), _Belt(queue_frames, stop)
  failures: list[CameraError] = []
  live: set[str] = set()
  ended = threading.Semaphore(0)

  def decode() -> None:
    for frame in source.frames():
      raw.put(frame)
      count["decoded"] += 1
    raw.put(_END)

  def anonymize_all() -> None:
    for frame in raw:
      start = time.perf_counter()
      safe.put(_anonymized(frame, anonymize, busy, start))
      count["anonymized"] += 1
    safe.put(_END)

  def encode() -> None:
    for frame in safe:
      if frame.index != count["written"]:
        raise SinkFailed(f"frame {frame.index} came where frame {count['written']} was due")
      sink.write(frame.ticks, frame.pixels)
      count["written"] += 1
      for tap in taps:
        tap(frame)
      progress()

  def guarded(work: Callable[[], None], doing: str) -> None:
    live.add(doing)
    try:
      if not stop.is_set():
        work()
    except _Stopped:
      return
    except CameraError as error:
      failures.append(error)
      stop.set()
    except BaseException as error:  # a thread that dies unseen would leave the others waiting, or the output short
      failures.append(unexpected(error, doing))
      stop.set()
    finally:
      live.discard(doing)
      ended.release()

  jobs = ((decode, "decode"), (anonymize_all, "anonymize"), (encode, "encode"))
  try:
    stream = source.open()
    started(stream)
    sink.open(stream)
    for job in jobs:
      threading.Thread(target=guarded, args=job, daemon=True, name=job[1]).start()
    for _ in jobs:
      while not ended.acquire(timeout=_POLL_SECONDS):
        continue
    if failures:
      raise failures[0]
    if len(set(count.values())) != 1:
      raise CameraError(f"frames were lost on the way: {count}")
    sink.commit(count["written"])
  except BaseException as error:
    stop.set()
    _settle(live)
    if isinstance(error, KeyboardInterrupt):
      error = Interrupted(f"interrupted after {count['written']} frames")
    known = error if isinstance(error, CameraError) else unexpected(error, "camera")
    kept = sink.abandon(keep_partial)
    if kept:
      known = type(known)(f"{known}; {count['written']} anonymized frames are kept in {kept}")
    raise known from None
  finally:
    source.close()
  frames = count["written"]
  return Summary(frames, time.monotonic() - begin, 1000 * busy[0] / max(1, frames))


def _settle(live: Collection[str]) -> None:
  """Waits until no thread touches source or sink any more, however often Ctrl-C is pressed.

  Not by Thread.join: where a signal interrupts that, Python 3.11 takes a running thread for an ended one. A thread that is not live yet
  will find the run stopped.
  """
  while live:
    with contextlib.suppress(KeyboardInterrupt):
      time.sleep(_POLL_SECONDS)


def _anonymized(frame: Frame, anonymize: Callable[[np.ndarray], np.ndarray], busy: list[float], start: float) -> SafeFrame:
  try:
    pixels = anonymize(frame.pixels)
  except AnonymizationFailed as error:
    raise AnonymizationFailed(f"frame {frame.index}: {error}") from None
  except Exception as error:  # an unknown engine's error text may quote the frame
    raise AnonymizationFailed(f"frame {frame.index}: inference failed: {type(error).__name__}") from None
  finally:
    busy[0] += time.perf_counter() - start
  if not isinstance(pixels, np.ndarray) or pixels.shape != frame.pixels.shape or pixels.dtype != np.uint8:
    raise AnonymizationFailed(f"frame {frame.index}: the result is no uint8 picture of {frame.pixels.shape}")
  if np.may_share_memory(pixels, frame.pixels):
    raise AnonymizationFailed(f"frame {frame.index}: the result is the raw frame itself")
  return SafeFrame(frame.index, frame.ticks, pixels)
