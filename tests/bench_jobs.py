"""What processes of the benchmark's tests run: jobs without TensorFlow, some of which fail."""

import os
import signal
import time

from mppar_tf import side_by_side


def logged(path, name):
  """Notes when each turn begins and ends (a clock that all processes share)."""
  def turn(number):
    begin = time.monotonic()
    time.sleep(0.02)
    with open(path, "a", encoding="utf-8") as log:
      log.write(f"{name} {number} {begin} {time.monotonic()}\n")
    return {"seconds": 0.02}
  return turn, {"name": name}


def steady(seconds=1.0, **_):
  return lambda number: {"seconds": seconds * (number + 1), "cpu_seconds": seconds}, {}


def holds(mib):
  """Has `mib` MiB for a moment in its second turn."""
  def turn(number):
    held = bytearray(mib * 2 ** 20) if number == 1 else b""
    return {"seconds": 1.0, "held": len(held)}
  return turn, {}


def killed(at=2, **_):
  def turn(number):
    if number == at:
      os.kill(os.getpid(), signal.SIGKILL)
    return {"seconds": 1.0, "cpu_seconds": 1.0}
  return turn, {}


def raises(at=1, **_):
  def turn(number):
    if number == at:
      raise MemoryError("cannot allocate\n16 GiB")
    return {"seconds": 1.0, "cpu_seconds": 1.0}
  return turn, {}


def leaves(**_):
  os._exit(3)


def works(seconds):
  """CPU work of a known length."""
  def work():
    end = time.process_time() + seconds
    while time.process_time() < end:
      sum(range(1000))
  return lambda _: side_by_side.timed(work), {}
