"""No core dump of this process: its memory holds raw frames."""

import contextlib
import ctypes
import resource

PR_SET_DUMPABLE = 4  # linux/prctl.h


def forbid() -> None:
  """For good: also by a raised limit later, and also for dumps that the kernel pipes to a program, which no limit stops."""
  resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
  with contextlib.suppress(AttributeError, OSError):  # other systems than Linux have the limit alone
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
