"""Other programs, run to their end and measured: for the parts of bench that hold the camera against other tools."""

import contextlib
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Iterator, Sequence

from mppar_tf import bench_blur, flagfiles, side_by_side

DEFACE, BLUR = "deface", "OpenCV blur"


@contextlib.contextmanager
def as_option_errors() -> Iterator[None]:
  """Within it ValueError is OptionError: what is wrong was named by a flag."""
  try:
    yield
  except ValueError as error:
    raise flagfiles.OptionError(str(error)) from error


def installed(*packages: str) -> None:
  """Raises ValueError where one of the packages is not."""
  absent = [name for name in packages if importlib.util.find_spec(name) is None]
  if absent:
    raise ValueError(f"package {', '.join(absent)} is not installed: pip install -c constraints.txt '.[detectors]'")


class Failed(RuntimeError):
  """A program ended with an exit code, or left nothing; in one line."""


def execute(command: Sequence[str], target: str | None = None) -> side_by_side.Figures:
  """Runs a program to its end. Returns seconds, cpu_seconds, largest_process_mib. Raises Failed."""
  with tempfile.TemporaryFile() as errors:
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
    usage = side_by_side.wait(process)
    seconds = time.perf_counter() - started
    errors.seek(0)
    lines = errors.read().decode(errors="replace").replace("\r", "\n").strip().splitlines()
  if process.returncode:
    raise Failed(f"ended with exit code {process.returncode}: {lines[-1][:300] if lines else 'without a word'}")
  if target and not os.path.exists(target):  # deface skips what it cannot open, and ends with 0
    raise Failed(f"left no {os.path.basename(target)}: {lines[-1][:300] if lines else 'without a word'}")
  return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "largest_process_mib": usage.ru_maxrss / 2 ** 10}


def deface_folder(source: pathlib.Path, target: pathlib.Path) -> None:
  """deface over a folder: it writes NAME_anonymized beside each file, so that it gets a copy. Raises Failed."""
  bench_blur.copy_files(source, target)
  names = sorted(path.name for path in target.iterdir())
  execute([sys.executable, "-m", "deface.deface", str(target)])
  for name in names:
    stem, suffix = os.path.splitext(name)
    try:
      os.replace(target / f"{stem}_anonymized{suffix}", target / name)
    except OSError:
      raise Failed(f"left no {stem}_anonymized{suffix}") from None
