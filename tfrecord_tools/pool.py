"""An ordered map over worker processes, with bounded memory, that ends with its parent however the parent ends.

Workers are spawned, not forked: TensorFlow's threads in the parent do not survive a fork. They import the module of the function that
they run, and nothing there may import TensorFlow: sixteen workers would load it sixteen times.
"""

import collections
import concurrent.futures
import concurrent.futures.process
import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import threading
from typing import Any, Callable, Iterable, Iterator, Mapping, NamedTuple

import cv2

from tfrecord_tools.detectors import watch
from tfrecord_tools.readers import still
from tfrecord_tools.readers.video import Undecodable

AHEAD = 4  # results that may wait, for each worker


class WorkerLost(RuntimeError):
  """A worker process that was killed from outside."""


class LeftOut(NamedTuple):
  """What a worker answers for an item that gives no record."""
  reason: str


def cores() -> int:
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def ordered_map(workers: int) -> Iterator[Callable[[Callable, Iterable], Iterator]]:
  """Gives a `map` over `workers` processes (0: one for each core; 1: this process) that answers in order.

  At most AHEAD items for each worker are in work or waiting, so that memory does not grow when the reader of the results is slow.

  Raises:
    WorkerLost: from the map, when a worker was killed.
  """
  workers = workers or cores()
  if workers == 1:
    yield map
    return
  executor = concurrent.futures.ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
  try:
    yield functools.partial(_map, executor, workers * AHEAD)
  finally:
    executor.shutdown(wait=True, cancel_futures=True)


def _map(executor: concurrent.futures.Executor, window: int, function: Callable, items: Iterable) -> Iterator:
  waiting: collections.deque = collections.deque()
  try:
    for item in items:
      with deaf():  # the executor starts its processes here
        waiting.append(executor.submit(function, item))
      if len(waiting) >= window:
        yield waiting.popleft().result()
    while waiting:
      yield waiting.popleft().result()
  except concurrent.futures.process.BrokenProcessPool as error:
    raise WorkerLost("a worker process was killed, perhaps for want of memory; the same command resumes with what is finished, "
                     "--workers sets how many run") from error


@contextlib.contextmanager
def deaf() -> Iterator[None]:
  """Processes that are started within never hear Ctrl-C, which reaches the whole group: the parent alone decides what it means.

  Ignoring it in the process itself would come too late: until then, a second of imports, it would be a traceback of each. The parent hears
  it at the end: a process whose start breaks off has a traceback too.
  """
  multiprocessing.resource_tracker.ensure_running()  # the first spawned process would start it, and that unblocks the signal
  heard: list[int] = []
  main = threading.current_thread() is threading.main_thread()  # no other thread is interrupted, nor may it set a handler
  # Threads of libraries take the signal where this one is deaf, and then the handler is called all the same.
  handler = signal.signal(signal.SIGINT, lambda number, _: heard.append(number)) if main else None
  mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if main:
      signal.signal(signal.SIGINT, handler)
    if heard:
      signal.raise_signal(signal.SIGINT)


def _start_worker() -> None:
  cv2.setNumThreads(1)
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
  """A parent that is killed -9 closes no queue: its workers would wait for ever."""
  multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
  os._exit(1)


def make_one(make: Callable[[Any], Mapping[str, Any]], quality: int, work: Any) -> Mapping[str, Any] | LeftOut:
  """What a worker runs on one item: its fields with every picture as JPEG, and what detectors saw; or the reason why there are none."""
  try:
    fields = dict(make(work))
  except Undecodable as error:
    return LeftOut(str(error))
  if "frames" in fields:
    seen = watch.gathered(fields["frames"])
    fields["frames"] = [bytes(frame) if isinstance(frame, bytes) else still.jpeg(frame, quality) for frame in fields["frames"]]
  else:
    seen = {field: values[0] for field, values in watch.gathered([fields["pixels"]]).items()}
    fields["pixels"] = bytes(fields["pixels"]) if isinstance(fields["pixels"], bytes) else still.jpeg(fields["pixels"], quality)
  return fields | seen
