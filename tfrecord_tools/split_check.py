"""Looks for what stands in two splits: an anonymizer judged on people or recordings that it was trained on is flattered.

  python -m tfrecord_tools.split_check RECORDS                  train, validation and test of one dataset against one another
  python -m tfrecord_tools.split_check RECORDS RECORDS...       also those of all given ones: train of the first against test of the second

Every record of every split is compared with those of every other split, also across the folders given, e.g. HMDB51, on which networks are
trained, and PA-HMDB51, on which they are tested. Compared are
  ids       the file's path, or the name that the dataset gives the video or image,
  pictures  the stored frames, byte by byte: one video under two names, if both were stored in the same size and quality,
  groups    recordings, or whatever else must not cross,
  subjects  people. Where the manifests of both sides declare closed-set identity (IXMAS, SBU, KTH by recordings, your own table with
            --closed_set_identity) the same people stand everywhere by definition, and only the other three are compared.
Names are compared as they are written, so give together what was named together: two datasets may both call somebody 1. What a dataset
does not record (e.g. subjects) is told, for it cannot be compared.

An official division may fail here, and is then what its authors made it: IXMAS's own has one performance, seen by several cameras, on both
sides. Say so beside results, or cut your own table by `group`.

Exit code: 0 nothing stands in two splits, 1 something does (a line for each kind and pair of splits), 2 a bad command line or records that
cannot be read, 130 interrupted by Ctrl-C.
"""

import hashlib
import itertools
import os
import sys
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

from mppar_tf import flagfiles
from tfrecord_tools import words

KINDS = {"id": "videos or images", "pictures": "videos or images under two names", "group": "groups", "subject": "subjects"}
SHOWN = 5  # names of an overlap that are told


class Side(NamedTuple):
  """One split of one folder."""
  folder: str
  split: str
  closed_set_identity: bool
  names: Mapping[str, Mapping[str, str]]  # kind -> what is compared -> how it is told

  def __str__(self) -> str:
    return f"{self.folder} {self.split}"


def sides(folder: str) -> list[Side]:
  """Everything of a folder of records that is compared. Raises RecordsError, or TensorFlow's OpError at damage."""
  from mppar_tf.data import records
  manifest = records.read_manifest(folder)
  return [Side(folder, split, manifest.closed_set_identity, _names(records.open_split(folder, split, check="size")))
          for split in records.SPLITS if split in manifest.splits]


def _names(opened: Any) -> dict[str, dict[str, str]]:
  from mppar_tf.data import parsing, records
  parse = parsing.parse_video if opened.manifest.kind == "video" else parsing.parse_image
  names: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
  for one in records.read(opened).map(lambda _, serialized: parse(serialized)).as_numpy_iterator():
    name, group, subject = (one[key].decode() for key in ("id", "group", "subject"))
    pictures = hashlib.sha256()
    for frame in one["frames"]:
      pictures.update(hashlib.sha256(frame).digest())
    for kind, key in (("id", name), ("pictures", pictures.hexdigest()), ("group", group), ("subject", subject)):
      if key:
        names[kind][key] = name if kind == "pictures" else key
  return names


def overlaps(every: Sequence[Side]) -> Iterator[str]:
  """A line for each kind of thing that two different splits share."""
  for one, other in itertools.combinations(every, 2):
    for kind, title in KINDS.items() if one.split != other.split else ():
      if kind == "subject" and one.closed_set_identity and other.closed_set_identity:
        continue
      pairs = [(one.names[kind][key], other.names[kind][key]) for key in one.names[kind].keys() & other.names[kind].keys()]
      # The same pictures under the same name are told as an id already.
      shared = sorted(f"{here} = {there}" if here != there else here for here, there in pairs if here != there or kind != "pictures")
      if shared:
        more = f" and {len(shared) - SHOWN} more" if len(shared) > SHOWN else ""
        yield f"{one} and {other} share {len(shared)} {title}: {', '.join(shared[:SHOWN])}{more}"


def split_check(folders: Sequence[str]) -> int:
  """Prints what was compared to standard output and every overlap to standard error; returns the exit code."""
  import tensorflow as tf
  from mppar_tf.data import records
  every: list[Side] = []
  try:
    for folder in folders:
      found = sides(folder)
      every += found
      print(_compared(folder, found), flush=True)
  except (records.RecordsError, tf.errors.OpError) as error:
    print(f"split_check: {records.explain(error) if isinstance(error, tf.errors.OpError) else error}", file=sys.stderr)
    return 2
  told = list(overlaps(every))
  for line in told:
    print(line, file=sys.stderr)
  print(f"{len(told)} overlaps between splits" if told else "nothing stands in two splits")
  return 1 if told else 0


def _compared(folder: str, found: Sequence[Side]) -> str:
  counts = ", ".join(f"{side.split} {len(side.names['id'])}" for side in found)
  distinct = {kind: len(set().union(*(side.names[kind] for side in found))) for kind in ("group", "subject")}
  recorded = ", ".join(f"{count} {KINDS[kind]}" if count else f"no {KINDS[kind]} recorded, so none compared"
                       for kind, count in distinct.items())
  closed = "; closed-set identity: the same subjects by definition" if found and found[0].closed_set_identity else ""
  return f"{folder}: {counts}; {recorded}{closed}"


def main(arguments: Sequence[str] | None = None) -> int:
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow greets with lines of errors that are none
  folders, flags = words.split(sys.argv[1:] if arguments is None else arguments)

  def run() -> int:
    if not folders:
      raise flagfiles.OptionError("no folder given: python -m tfrecord_tools.split_check RECORDS [RECORDS...]")
    twice = [folder for folder in folders if folders.count(folder) > 1]
    if twice:
      raise flagfiles.OptionError(f"{twice[0]} is given twice")
    return split_check([folder.rstrip("/") for folder in folders])
  return flagfiles.main(run, (), __doc__, arguments=flags)


if __name__ == "__main__":
  sys.exit(main())
