"""A bounded queue between two threads of the camera."""

import collections
import threading
from typing import Any, Callable, Iterator

from mppar_tf.on_camera.links import POLL_SECONDS

END = None


class Stopped(Exception):
  """Another thread failed; this one ends silently."""


class Belt:
  """A bounded queue whose two ends give up when the run stops.

  Args:
    size: how many items wait at most.
    stop: set when the run stops.
    dropped: where given, a full belt lets its oldest item fall and calls this, so that `put` never waits; else `put` waits.
  """

  def __init__(self, size: int, stop: threading.Event, dropped: Callable[[], None] | None = None):
    self._size, self._stop, self._dropped = size, stop, dropped
    self._items: collections.deque = collections.deque()
    self._moved = threading.Condition()

  def __len__(self) -> int:
    return len(self._items)

  def put(self, item: Any) -> None:
    """Raises Stopped when the run stops first."""
    with self._moved:
      while len(self._items) >= self._size and item is not END and not self._stop.is_set():
        if self._dropped:
          self._items.popleft()
          self._dropped()
        else:
          self._moved.wait(POLL_SECONDS)
      if self._stop.is_set():
        raise Stopped
      self._items.append(item)
      self._moved.notify_all()

  def __iter__(self) -> Iterator:
    while True:
      with self._moved:
        while not self._items and not self._stop.is_set():
          self._moved.wait(POLL_SECONDS)
        if self._stop.is_set():
          raise Stopped
        item = self._items.popleft()
        self._moved.notify_all()
      if item is END:
        return
      yield item
