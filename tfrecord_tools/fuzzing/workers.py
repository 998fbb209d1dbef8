"""One process that tries cases under a limit of time and one of memory, and what is said of it when it dies."""

import multiprocessing
import multiprocessing.connection
import os
import pathlib
import random
import resource
import shutil
import sys
import tempfile
import traceback
from importlib import import_module
from typing import Any, NamedTuple

from tfrecord_tools.fuzzing import outcomes
from tfrecord_tools.fuzzing.outcomes import Outcome, Target

START_SECONDS = 120.0  # importing TensorFlow and making the sound inputs, on a busy machine
ADDRESS_SPACE = 4  # memory limits that a worker may map beyond what it has at its start, so that the machine itself stays usable


class Limits(NamedTuple):
  """What one case may take."""
  seconds: float
  megabytes: int  # by which a case may raise its process's peak of resident memory


def find(name: str) -> Target:
  """The target that `module:NAME` names."""
  module, _, attribute = name.partition(":")
  return getattr(import_module(module), attribute)


def attempt(target: Target, prepared: Any, seed: int, case: int, folder: pathlib.Path) -> Outcome:
  """One case in this process, in a `folder` that is emptied first; an exception of any kind is an outcome."""
  shutil.rmtree(folder, ignore_errors=True)
  folder.mkdir(parents=True)
  try:
    return target.attempt(prepared, random.Random(f"{seed}:{case}"), folder)
  except MemoryError:
    return Outcome(outcomes.MEMORY, _last_lines())
  except Exception:  # which is what the program is looking for
    return Outcome(outcomes.EXCEPTION, _last_lines())


def _last_lines() -> str:
  return "".join(traceback.format_exc(limit=-4)).strip()


class Worker:
  """A process that tries the cases of one target, one after the other. It is started anew after a case that it did not survive."""

  def __init__(self, name: str, seed: int, limits: Limits):
    """name: `module:NAME` of a Target."""
    self._name, self._seed, self._limits = name, seed, limits
    self._place = pathlib.Path(tempfile.mkdtemp(prefix="fuzz-"))
    self._process: Any = None

  def __enter__(self) -> "Worker":
    return self

  def __exit__(self, *_) -> None:
    self._stop()
    shutil.rmtree(self._place, ignore_errors=True)

  @property
  def case_folder(self) -> pathlib.Path:
    """Folder of the case that was tried last."""
    return self._place / "case"

  def attempt(self, case: int) -> Outcome:
    """Tries one case; raises RuntimeError where the process cannot be started at all."""
    if self._process is None:
      self._start()
    self._pipe.send(case)
    answer = self._answer(self._limits.seconds)
    if isinstance(answer, Outcome) and answer.kind != outcomes.MEMORY:
      return answer
    self._stop()
    return answer if isinstance(answer, Outcome) else Outcome(*answer)

  def _start(self) -> None:
    context = multiprocessing.get_context("spawn")
    self._pipe, theirs = context.Pipe()
    work = (self._name, self._seed, self._limits.megabytes, str(self._place), theirs)
    self._process = context.Process(target=_serve, args=work, daemon=True)
    self._process.start()
    theirs.close()
    answer = self._answer(START_SECONDS)
    if answer != "ready":
      self._stop()
      raise RuntimeError(f"{self._name}: its worker does not start ({' '.join(map(str, answer))})")

  def _answer(self, seconds: float) -> Any:
    """What the process says; (kind, words) where it says nothing in time or has died."""
    if not self._pipe.poll(seconds):
      return outcomes.HANG, f"no end within {seconds:g} s"
    try:
      return self._pipe.recv()
    except EOFError:
      self._process.join()
      return outcomes.CRASH, f"the process ended with exit code {self._process.exitcode}"

  def _stop(self) -> None:
    if self._process is not None:
      self._process.kill()
      self._process.join()
      self._pipe.close()
      self._process = None


def _serve(name: str, seed: int, megabytes: int, place: str, pipe: multiprocessing.connection.Connection) -> None:
  """What the process does until its parent hangs up."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  # FFmpeg and TensorFlow comment on every damaged byte.
  null = os.open(os.devnull, os.O_WRONLY)
  os.dup2(null, sys.stderr.fileno())
  target, folder = find(name), pathlib.Path(place)
  shutil.rmtree(folder / "sound", ignore_errors=True)
  prepared = target.prepare(folder / "sound")
  attempt(target, prepared, seed, 0, folder / "case")  # so that what is loaded once is not held against the first case
  _limit(ADDRESS_SPACE * megabytes)
  pipe.send("ready")
  while True:
    try:
      case = pipe.recv()
    except EOFError:
      return
    before = _peak()
    outcome = attempt(target, prepared, seed, case, folder / "case")
    grown = _peak() - before
    if grown > megabytes:
      outcome = Outcome(outcomes.MEMORY, f"{grown:.0f} MB more than before, then: {outcome.kind} {outcome.words}")
    pipe.send(outcome)


def _peak() -> float:
  """The largest resident memory of this process so far, in MB."""
  # getrusage tells the parent's peak too, which a process keeps through fork and exec.
  with open("/proc/self/status", encoding="ascii") as facts:
    return next(int(line.split()[1]) for line in facts if line.startswith("VmHWM:")) / 1024


def _limit(megabytes: int) -> None:
  """Allows so much more address space than this process has now."""
  with open("/proc/self/statm", encoding="ascii") as facts:
    mapped = int(facts.read().split()[0]) * resource.getpagesize()
  resource.setrlimit(resource.RLIMIT_AS, (mapped + (megabytes << 20),) * 2)
