"""One training at a time in a run folder: an exclusive `flock` on a file there, which ends with the process that has it."""

import contextlib
import errno
import fcntl
import os
import pathlib
import time
from typing import Iterator

from mppar_tf.flagfiles import OptionError
from mppar_tf.messages import one_line

LOCK = "training.lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # what a file system says that knows none


@contextlib.contextmanager
def alone_in(run_dir: pathlib.Path, patience: float = 0.0) -> Iterator[None]:
  """Keeps other trainings out of a run folder, which is made where there is none, and gone again where nothing was written into it.

  Raises:
    OptionError: another process trains there, `patience` seconds long; or it cannot be written.
  """
  deadline = time.monotonic() + patience
  try:
    made = [folder for folder in (run_dir, *run_dir.parents) if not folder.exists()]
    while (lock := _locked(run_dir)) is None:
      if time.monotonic() >= deadline:
        raise OptionError(f"another training is at work in {run_dir}: wait for its end, stop it, or choose another --run_dir")
      time.sleep(0.5)
  except OSError as error:
    raise OptionError(f"{run_dir} cannot be written: {one_line(error, 200)}") from error
  try:
    yield
  finally:
    with contextlib.suppress(OSError):
      (run_dir / LOCK).unlink()  # while it is held: whoever opened it before sees that it is gone
    os.close(lock)
    with contextlib.suppress(OSError):
      for folder in made:
        folder.rmdir()


def _locked(run_dir: pathlib.Path) -> int | None:
  """The open lock of a run folder, the process's own as long as it is open; None where another one has it. Raises OSError."""
  path = run_dir / LOCK
  while True:
    run_dir.mkdir(parents=True, exist_ok=True)
    try:
      lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:  # who worked here took the empty folder away just now
      continue
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      os.close(lock)
      return None
    except OSError as error:
      if error.errno not in NO_LOCKS:
        os.close(lock)
        raise
    with contextlib.suppress(FileNotFoundError):
      if os.path.samestat(os.fstat(lock), path.stat()):
        return lock
    os.close(lock)  # the file of one who has ended since
