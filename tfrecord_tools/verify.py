"""Checks folders of records against their manifests, byte for byte and record by record.

  python -m tfrecord_tools.verify FOLDER...

Every problem gets a line: a flipped byte (with shard and record number), a truncated, missing, empty or additional shard, another schema
version, a record that does not parse.
Exit code: 0 all is well, 1 problems were found, 2 no folder was given, 130 interrupted by Ctrl-C.
"""

import os
import sys
from typing import Sequence

from mppar_tf import flagfiles
from tfrecord_tools import words
from tfrecord_tools.plan import SPLITS


def verify(folders: Sequence[str]) -> int:
  """Prints every problem of every folder to standard error, a line on each sound folder to standard output; 1 if there was a problem."""
  from mppar_tf.data import records
  found = 0
  for folder in folders:
    problems = records.verify(folder, progress=True)
    for problem in problems:
      print(problem if problem.startswith(folder) else f"{folder}: {problem}", file=sys.stderr)
    if not problems:
      splits = records.read_manifest(folder).splits
      counts = ", ".join(f"{split} {sum(shard.records for shard in splits[split])}" for split in SPLITS if split in splits)
      print(f"{folder}: sound ({counts} records)")
    found += len(problems)
  if found:
    print(f"verify: {found} problem{'s' if found > 1 else ''}", file=sys.stderr)
  return 1 if found else 0


def main(arguments: Sequence[str] | None = None) -> int:
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow greets with lines of errors that are none
  folders, flags = words.split(sys.argv[1:] if arguments is None else arguments)

  def run() -> int:
    if not folders:
      raise flagfiles.OptionError("no folder given: python -m tfrecord_tools.verify FOLDER...")
    return verify(folders)
  return flagfiles.main(run, (), __doc__, arguments=flags)


if __name__ == "__main__":
  sys.exit(main())
