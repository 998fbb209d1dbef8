"""What a running camera tells of itself: counts, rates, delays, memory. Numbers alone, never an address or a pixel."""

import collections
import os
import pathlib
import resource
import sys
import threading
import time
from typing import Any, Callable

import numpy as np

from mppar_tf import whole_files

COUNTERS = (
    "decoded",            # whole frames that the source gave
    "corrupt",            # frames or packets of a live source that could not be decoded whole
    "over_max_fps",       # decoded, not taken: over --max_fps
    "dropped_raw",        # taken, dropped before the model: the oldest that waited
    "anonymized",
    "dropped_anonymized",  # dropped before the sink: the oldest that waited, or lost with a connection
    "written",            # taken by the sink
    "source_reconnects",
    "sink_reconnects")
LEAVE_SECONDS = 1.0  # the last wait for a report under way
LATENCIES = 10_000  # so many of the last frames' delays make the percentiles


class Stats:
  """Counters of one run. Each is raised by one thread only; any thread may read."""

  def __init__(self):
    self.count = dict.fromkeys(COUNTERS, 0)
    self.model_seconds = 0.0
    self.waiting: Callable[[], dict[str, int]] = dict  # frames in the queues
    self._latencies_ms: collections.deque[float] = collections.deque(maxlen=LATENCIES)
    self._begin = self._before = time.monotonic()
    self._counts_before = (0, 0)

  def add(self, name: str) -> None:
    self.count[name] += 1

  def written(self, captured: float) -> None:
    """One frame more is in the sink, which had come at `captured` of time.monotonic()."""
    self._latencies_ms.append(1000 * (time.monotonic() - captured))
    self.count["written"] += 1

  def lost(self) -> dict[str, int] | None:
    """The counts, where a frame is not accounted for; None where every one is."""
    taken = self.count["decoded"] - self.count["over_max_fps"] - self.count["dropped_raw"]
    given = self.count["anonymized"] - self.count["dropped_anonymized"]
    return None if taken == self.count["anonymized"] and given == self.count["written"] else dict(self.count)

  def snapshot(self, whole: bool = False) -> dict[str, Any]:
    """All figures, as JSON takes them. Rates are those since the last snapshot, or of the whole run."""
    if whole:
      self._before, self._counts_before = self._begin, (0, 0)
    now, counts = time.monotonic(), dict(self.count)
    rates = [(after - before) / max(1e-9, now - self._before)
             for after, before in zip((counts["decoded"], counts["written"]), self._counts_before)]
    self._before, self._counts_before = now, (counts["decoded"], counts["written"])
    delays = list(self._latencies_ms)
    middle, high = np.percentile(delays, [50, 99]) if delays else (None, None)
    return {
        "seconds": round(now - self._begin, 3), "frames": counts,
        "fps_in": round(rates[0], 2), "fps_out": round(rates[1], 2),
        "latency_ms": {"p50": _rounded(middle), "p99": _rounded(high)},
        "model_ms_mean": _rounded(1000 * self.model_seconds / counts["anonymized"] if counts["anonymized"] else None),
        "waiting": self.waiting(), "rss_mib": round(rss_bytes() / 2 ** 20, 1)}


def _rounded(value: float | None) -> float | None:
  return None if value is None else round(float(value), 2)


def rss_bytes() -> int:
  """Memory of this process: now, or at its highest where the system does not tell."""
  try:
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
  except (OSError, ValueError, IndexError):
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def line(figures: dict[str, Any]) -> str:
  """A snapshot as one line."""
  frames, delay, queues = figures["frames"], figures["latency_ms"], figures["waiting"]
  dropped = frames["over_max_fps"] + frames["dropped_raw"] + frames["dropped_anonymized"]
  return (f"{figures['seconds']:.0f} s: {frames['decoded']} decoded, {dropped} dropped, {frames['corrupt']} corrupt, {frames['written']} "
          f"written; {figures['fps_in']:.1f} fps in, {figures['fps_out']:.1f} out; latency {delay['p50'] or 0:.0f} ms, p99 "
          f"{delay['p99'] or 0:.0f} ms; model {figures['model_ms_mean'] or 0:.1f} ms; waiting {'+'.join(map(str, queues.values())) or 0}; "
          f"reconnects {frames['source_reconnects']}+{frames['sink_reconnects']}; {figures['rss_mib']:.0f} MiB")


class Reporter:
  """While it is open, tells a line every so often and keeps a JSON file of the latest figures; a last one when it closes.

  Args:
    stats: what is reported.
    seconds: between two reports; 0: no lines, and the file at the end alone.
    path: of the JSON file, replaced as a whole each time, or None.
    tell: takes a line.
  """

  def __init__(self, stats: Stats, *, seconds: float, path: str | None, tell: Callable[[str], None]):
    self._stats, self._seconds, self._path, self._tell = stats, seconds, pathlib.Path(path) if path else None, tell
    self._ended = threading.Event()
    self._thread = threading.Thread(target=self._report, daemon=True, name="stats")
    self._told_fault = False
    self._file = threading.Lock()

  def __enter__(self) -> "Reporter":
    if self._seconds:
      self._thread.start()
    return self

  def __exit__(self, *_: Any) -> None:
    self._ended.set()
    if self._seconds:
      self._thread.join(LEAVE_SECONDS)  # it may be stuck for ever in a pipe of standard error that nobody reads
    self._keep(self._stats.snapshot(whole=True), "ended")

  def _report(self) -> None:
    while not self._ended.wait(self._seconds):
      figures = self._stats.snapshot()
      self._tell(line(figures))
      self._keep(figures, "running")

  def _keep(self, figures: dict[str, Any], state: str) -> None:
    """A camera does not stop for want of statistics: a file that cannot be written is told once."""
    if self._path is None:
      return
    try:
      with self._file:
        if state == "running" and self._ended.is_set():
          return  # a report that was stuck until after the last one would say of an ended run that it goes on
        whole_files.write_json(self._path, {"state": state, "pid": os.getpid(), **figures})
    except OSError as error:
      if not self._told_fault:
        self._tell(f"statistics {self._path}: {error.strerror}; the run goes on without")
      self._told_fault = True
