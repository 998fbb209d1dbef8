"""The end of a program that has traced large graphs."""

import contextlib
import os
import sys
from typing import NoReturn


def leave(code: int, told: str = "") -> NoReturn:
  """Says `told` on stderr and ends this process at once, with everything that was printed shown.

  Freeing what was traced takes Python up to a minute after the last line of a training, for nothing; a training was seen to wait ten
  minutes there, idle, for the threads of TensorFlow's iterators. And who is busy with that hears of other workers, who have left, as of
  ones that died. So it is best called while everything is held.
  """
  if told:
    print(told, file=sys.stderr)
  _forget_sources()
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(OSError, ValueError):  # closed by whoever read it
      stream.flush()
  os._exit(code)


def _forget_sources() -> None:
  """Removes what AutoGraph has written of traced functions, dozens of files a run: TensorFlow does so at an end that is skipped here."""
  for name, module in list(sys.modules.items()):
    if name.startswith("__autograph_generated_file"):
      for path in filter(None, (module.__file__, module.__spec__ and module.__spec__.cached)):
        with contextlib.suppress(OSError):
          os.unlink(path)
