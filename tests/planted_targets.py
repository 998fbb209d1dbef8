"""Targets of the fuzz program that misbehave, importable by its worker processes."""

import os
import signal
import time

from tfrecord_tools.fuzzing import outcomes
from tfrecord_tools.fuzzing.outcomes import Outcome, Target

MEGABYTES = 400  # that the hungry one takes


def _attempt(prepared, rng, folder):
  """Misbehaves as `prepared` says in case 3 and in no other; cases before and after it are sound."""
  number = rng.randrange(1 << 30)
  outcomes.keep(folder, {"changed.txt": str(number).encode()})
  if (folder.parent / "armed").exists() and (folder.parent / "armed").read_text() == str(number):
    prepared()
  return Outcome(outcomes.SAME)


def _take():
  held = bytearray(MEGABYTES << 20)
  held[::4096] = b"x" * len(held[::4096])


def _fail():
  raise KeyError("planted")


def _arm(action, case):
  """Prepares a target whose `action` happens in one case: the one whose generator draws the same number first."""
  def prepare(folder):
    import random
    folder.mkdir(parents=True)
    (folder.parent / "armed").write_text(str(random.Random(f"0:{case}").randrange(1 << 30)))
    return action
  return prepare


CRASH = Target(_arm(lambda: os.kill(os.getpid(), signal.SIGSEGV), 3), _attempt)
HANG = Target(_arm(lambda: time.sleep(3600), 3), _attempt)
MEMORY = Target(_arm(_take, 3), _attempt)
EXCEPTION = Target(_arm(_fail, 3), _attempt)
