"""Measures variants side by side: each lives in a process of its own, and one of them works at a time while the others wait.

Machines are shared and their speed drifts, so two figures taken an hour, or a minute, apart say little about each other. Here every round
measures every variant once, in an order that turns with the round, and what is compared is their ratio within a round. A process of its
own gives each variant its own peak memory, and one that dies is reported while the others go on.
"""

import contextlib
import dataclasses
import importlib
import multiprocessing
import os
import pathlib
import resource
import signal
import statistics
import subprocess
import sys
import time
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence

from mppar_tf.messages import one_line

Figures = dict[str, float]
Turn = Callable[[int], Figures]
_END_SECONDS = 5.0


class Job(NamedTuple):
  """What a variant's process runs: `function` of `module`, looked up there, so that the parent need not import what it measures.

  The function gets `arguments` and returns (turn, facts): `turn(number)` does the work of one turn and returns its figures, turn 0 being
  the one before the first round; `facts` are JSON values that do not change.
  """
  module: str
  function: str
  arguments: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Measured:
  """Everything that was measured, raw."""
  variants: list[str]  # all that were tried
  facts: dict[str, dict[str, Any]]  # variant -> what its process told of itself
  first: dict[str, Figures]  # variant -> turn 0
  rounds: list[dict[str, Figures]]  # round by round: variant -> its figures; a variant that failed is missing from then on
  failures: dict[str, str]  # variant -> why it ended, in one line


class Lost(RuntimeError):
  """A variant's process failed or died; the message is the reason, in one line."""


# ---- programs ----


def wait(process: subprocess.Popen) -> resource.struct_rusage:
  """Waits for the end of a process and sets its return code; what it used. Ends it where the wait is interrupted."""
  try:
    _, status, usage = os.wait4(process.pid, 0)
  except BaseException:
    process.kill()
    raise
  process.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for what is gone
  return usage


# ---- in the variant's process ----


def timed(work: Callable[[], Any]) -> Figures:
  """Wall-clock seconds of `work`, and the CPU seconds that all threads of this process spent meanwhile."""
  cpu, wall = time.process_time(), time.perf_counter()
  work()
  return {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}


def peak_mib() -> float:
  """The most memory that this process has held, MiB.

  Linux starts a spawned process's ru_maxrss at its parent's size, which would give every variant at least that much; VmHWM starts anew.
  """
  with contextlib.suppress(OSError, IndexError):
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("VmHWM:")[2].split()[0]) / 2 ** 10
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2 ** 20 if sys.platform == "darwin" else 2 ** 10)


def cores() -> int:
  """Cores that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _serve(pipe: Any, job: Job) -> None:
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent alone decides what it means
  with contextlib.suppress(OSError):  # where memory runs out, Linux ends this process rather than the parent or somebody's work
    pathlib.Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
  try:
    turn, facts = getattr(importlib.import_module(job.module), job.function)(**job.arguments)
    pipe.send(("ready", {**facts, "ready_mib": peak_mib()}))
    while True:
      figures = turn(pipe.recv())
      pipe.send(("figures", {**figures, "peak_mib": peak_mib()}))
  except (EOFError, BrokenPipeError):
    return  # the parent is gone
  except Exception as error:  # whatever it is, it goes to the parent, which reports it
    pipe.send(("failed", f"{type(error).__name__}: {one_line(error, 300)}"))


# ---- in the parent ----


class Child:
  """One variant's process. It starts at once, and ends with the parent at the latest."""

  def __init__(self, job: Job):
    context = multiprocessing.get_context("spawn")  # TensorFlow's threads do not survive a fork
    self._pipe, theirs = context.Pipe()
    self._process = context.Process(target=_serve, args=(theirs, job), daemon=True)
    self._process.start()
    theirs.close()

  def __enter__(self) -> "Child":
    return self

  def __exit__(self, *_) -> None:
    self._process.kill()  # it holds nothing that must be kept, and TensorFlow takes seconds to leave by itself
    self._process.join()

  def ready(self) -> dict[str, Any]:
    """The facts, as soon as the work is prepared. Raises Lost."""
    return self._answer("preparing")

  def turn(self, number: int) -> Figures:
    """Lets it do its turn, and waits for the figures. Raises Lost."""
    when = f"in round {number}" if number else "in its first turn"
    try:
      self._pipe.send(number)
    except OSError:
      raise Lost(self._death(when)) from None
    return self._answer(when)

  def _answer(self, when: str) -> dict[str, Any]:
    try:
      kind, content = self._pipe.recv()
    except (EOFError, OSError):
      raise Lost(self._death(when)) from None
    if kind == "failed":
      raise Lost(f"failed {when}: {content}")
    return content

  def _death(self, when: str) -> str:
    self._process.join(_END_SECONDS)
    code = self._process.exitcode
    if code is not None and code < 0:
      name = signal.Signals(-code).name
      return f"killed by {name} {when}" + (" (out of memory?)" if name == "SIGKILL" else "")
    return f"ended {when} with exit code {code}"


def measure(jobs: Mapping[str, Job], rounds: int, progress: Callable[[str], None] = lambda _: None) -> Measured:
  """Prepares all jobs at the same time, lets each do its first turn alone, then measures them round by round.

  Args:
    jobs: variant -> what its process runs.
    rounds: how often each is measured.
    progress: called before each turn with the words that say whose it is.
  """
  found = Measured(list(jobs), {}, {}, [], {})

  def attempt(name: str, ask: Callable[[], Any], into: dict) -> None:
    if name not in found.failures:
      try:
        into[name] = ask()
      except Lost as lost:
        found.failures[name] = str(lost)

  with contextlib.ExitStack() as stack:
    children = {name: stack.enter_context(Child(job)) for name, job in jobs.items()}
    for name, child in children.items():
      attempt(name, child.ready, found.facts)
    for name, child in children.items():
      progress(f"{name}, first")
      attempt(name, lambda: child.turn(0), found.first)
    for number in range(1, rounds + 1):
      found.rounds.append({})
      for name in turned(list(children), number):
        progress(f"{name}, round {number}")
        attempt(name, lambda: children[name].turn(number), found.rounds[-1])
  return found


def turned(names: Sequence[str], number: int) -> list[str]:
  """The order of a round: each round begins with another variant, so that no one always follows the same one."""
  start = number % len(names)
  return [*names[start:], *names[:start]]


def summary(rounds: Iterable[Mapping[str, float]], reference: str) -> dict[str, dict[str, float]]:
  """Median, spread and ratio of each variant.

  Args:
    rounds: round by round, variant -> its value; a variant may be missing from some.
    reference: the variant that the others are divided by.
  Returns:
    variant -> median, min, max, count; and ratio, ratio_min, ratio_max: the median and spread of (its value / the reference's value) over
    those rounds that hold both, absent where none does. The ratio of two medians is another number: it compares different moments.
  """
  rounds = list(rounds)
  names = dict.fromkeys(name for values in rounds for name in values)
  found = {}
  for name in names:
    values = [one[name] for one in rounds if name in one]
    found[name] = {"median": statistics.median(values), "min": min(values), "max": max(values), "count": len(values)}
    ratios = [one[name] / one[reference] for one in rounds if name in one and one.get(reference)]
    if ratios:
      found[name] |= {"ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}
  return found
