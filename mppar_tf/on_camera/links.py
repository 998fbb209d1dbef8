"""What live sources and sinks share: which addresses there are, what of one may be said, and how long a lost connection is waited for."""

import dataclasses
import os
import re
import select
import threading
import time
from typing import Callable, Iterator, Mapping, Sequence

SOURCE_SCHEMES = ("http", "https", "rtmp", "rtmps", "rtsp", "rtsps", "tcp", "udp")
SINK_CONTAINERS: Mapping[str, str] = {  # scheme -> what FFmpeg puts the video into; the keys are the schemes
    "http": "mpegts", "https": "mpegts", "rtmp": "flv", "rtmps": "flv", "rtsp": "rtsp", "rtsps": "rtsp", "tcp": "mpegts", "udp": "mpegts"}
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 4.0
POLL_SECONDS = 0.1
PIPE_BUFFER = select.PIPE_BUF  # so many bytes a pipe that select calls writable takes without blocking
NO_ADDRESS = "no address, since it has no ://, and there is no file of that name"
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")


def is_address(text: str) -> bool:
  return "://" in text


def may_be_address(text: str) -> bool:
  """Whether a name that nothing has may be an address mistyped, with a password in it, so that nothing of it may be told."""
  return "@" in text or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) is not None


def scheme(address: str) -> str:
  return address.partition("://")[0].lower()


def public(address: str) -> str:
  """What may be said of an address: scheme and host. Where a password begins or ends is not always plain: then not even the host."""
  kind, _, rest = address.partition("://")
  kind = kind.lower() if re.fullmatch(r"[A-Za-z0-9+.-]{1,16}", kind) else "..."
  place, *further = re.split(r"[/?#]", rest, maxsplit=1)
  if any("@" in part for part in further):  # a password with an unescaped slash looks like a host and a path
    return f"{kind}://..."
  host = _HOST.match(place.rpartition("@")[2])
  return f"{kind}://{host[0]}" if host else f"{kind}://..."


def options(pairs: Sequence[str]) -> dict[str, str]:
  """("rtsp_transport=udp", ...) -> FFmpeg's options."""
  return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


@dataclasses.dataclass(frozen=True)
class Patience:
  """How a connection is held.

  Attributes:
    timeout_seconds: how long opening, reading or writing may show no life.
    reconnect_seconds: how long a lost connection is tried again; 0: not at all.
    stop: set when the run ends; whoever waits looks at it.
    tell: takes one line for the operator. It must hold no address, only `public`'s.
    count: takes the name of a counter of `stats.COUNTERS`.
  """
  timeout_seconds: float = 5.0
  reconnect_seconds: float = 30.0
  stop: threading.Event = dataclasses.field(default_factory=threading.Event)
  tell: Callable[[str], None] = lambda line: None
  count: Callable[[str], None] = lambda name: None

  def attempts(self) -> Iterator[None]:
    """Yields when it is time for another try, after growing pauses; ends when `reconnect_seconds` since the call are over."""
    return self._attempts(time.monotonic() + self.reconnect_seconds)

  def _attempts(self, deadline: float) -> Iterator[None]:
    pause = FIRST_PAUSE_SECONDS
    while time.monotonic() + pause <= deadline and not self.stop.wait(pause):
      yield
      pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def write_all(descriptor: int, content: bytes | memoryview, stop: threading.Event, timeout_seconds: float | None = None) -> bool:
  """Writes to a pipe, never blocking for long: False where the run stops, or the reader takes nothing for `timeout_seconds`.

  Raises OSError where the pipe is closed.
  """
  left, moved = memoryview(content).cast("B"), time.monotonic()
  while left:
    if stop.is_set() or (timeout_seconds is not None and time.monotonic() - moved > timeout_seconds):
      return False
    if select.select([], [descriptor], [], POLL_SECONDS)[1]:
      left, moved = left[os.write(descriptor, left[:PIPE_BUFFER]):], time.monotonic()
  return True
