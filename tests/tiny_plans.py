"""Plans whose items are made by arithmetic, for tests of the assembler: importable by worker processes, killable on command.

As a program it builds one: `python tiny_plans.py DATA_DIR WORKERS FUSE` on processes, `python tiny_plans.py DATA_DIR RUNNER FUSE` on Beam.
"""

import hashlib
import os
import pathlib
import signal
import sys

import numpy as np

from tfrecord_tools import assemble
from tfrecord_tools.plan import Item, Plan, Problem
from tfrecord_tools.readers.video import Undecodable

COUNTS = {"train": 12, "test": 2}
SHARD_RECORDS = 3
DEADLY = 7  # of train: its shard is the third
BAD = 100  # and above
LAST_CALL = 8  # of make_until: whatever the order of shards, two of them are whole by then
_calls = []


def make(work: tuple[str, int, str]) -> dict:
  """Image `number` of a split, 16 x 16 pixels, of a brightness of its own."""
  split, number, fuse = work
  if (split, number) == ("train", DEADLY) and os.path.exists(fuse):
    # The process that writes the records dies here as kill -9 has it, once: the fuse burns down first.
    victim = int(pathlib.Path(fuse).read_text(encoding="utf-8"))
    os.remove(fuse)
    os.kill(victim, signal.SIGKILL)
  if number >= BAD:
    raise Undecodable(f"number {number} is a bad one")
  pixels = np.full((16, 16, 3), 15 * number + (split == "test"), np.uint8)
  return {"id": f"{split} {number}", "pixels": pixels, "labels": {"odd": number % 2}}


def make_until(work: tuple[str, int, str]) -> dict:
  """As `make`, but the process dies when it is called for the LAST_CALL-th time."""
  _calls.append(work)
  if len(_calls) == LAST_CALL:
    os.kill(os.getpid(), signal.SIGKILL)
  return make(work)


def plan(fuse: str = "", bad: int = 0, problems: tuple[Problem, ...] = (), shard_records: int = SHARD_RECORDS, seed: int = 0,
         make=make) -> Plan:
  """COUNTS images, and `bad` more of the training split that nobody can make."""
  numbers = {split: list(range(count)) for split, count in COUNTS.items()}
  numbers["train"] += range(BAD, BAD + bad)
  items = {split: [Item(f"{split} {number}", (split, number, fuse)) for number in of_split] for split, of_split in numbers.items()}
  return Plan("tiny", "image", items, make, (), ("odd",), (), False, "made up", hashlib.sha256(bytes([bad])).hexdigest(),
              {"reader": "tiny", "seed": seed}, shard_records, problems)


if __name__ == "__main__":
  folder, how, fuse_path = sys.argv[1:]
  pathlib.Path(fuse_path).write_text(str(os.getpid()), encoding="utf-8")
  import tiny_plans  # by its own name: workers cannot import what belongs to __main__
  if how.isdecimal():
    assemble.assemble(tiny_plans.plan(fuse_path), folder, workers=int(how), progress=False)
  else:
    assemble.assemble(tiny_plans.plan(make=tiny_plans.make_until), folder, runner=how, progress=False)
