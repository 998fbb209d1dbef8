"""KTH actions: 25 people, six actions, four recordings of each (d1 to d4: outdoors, outdoors with zoom, in other clothes, indoors).

Source: a folder with the official `00sequences.txt` and the videos `person01_boxing_d1_uncomp.avi` ..., beside it or in folders named
after the actions. A line of the table lists the times that its person does the action, as frames from 1, both ends included; each becomes
a record. Some of them overlap, one in the reverse order: they are taken as they stand. What the table calls missing is told, and no error.

Two ways to split (--kth_split):
- `subjects`: the official one. Eight people train, eight validate, nine test.
- `recordings`: identity as the private label, so everybody on both sides and closed-set identity in the manifest. Whole recordings are
  divided, as in the code of VITA's authors: d1 and d2 train, d4 tests; d3, which they leave out, validates.
"""

import pathlib
import re
from typing import Any, NamedTuple

from tfrecord_tools import splits
from tfrecord_tools.plan import Item, Plan, PlanError, Problem
from tfrecord_tools.readers import official, still, video
from tfrecord_tools.source import digest, inside, mixed

TABLE = "00sequences.txt"
ACTIONS = ("boxing", "handclapping", "handwaving", "jogging", "running", "walking")
SUBJECTS = {"train": (11, 12, 13, 14, 15, 16, 17, 18), "validation": (19, 20, 21, 23, 24, 25, 1, 4),
            "test": (22, 2, 3, 5, 6, 7, 8, 9, 10)}
RECORDINGS = {"train": (1, 2), "validation": (3,), "test": (4,)}
SPLITS = ("subjects", "recordings")
MISSING = "*missing*"
NAME = re.compile(r"person(\d{2})_([a-z]+)_d(\d)")
SEGMENTS = re.compile(r"\d-\d|" + re.escape(MISSING))
LICENCE = "KTH actions (KTH Royal Institute of Technology): published for research, no licence stated; research use only."
SHARD_RECORDS = 64


class Sequence(NamedTuple):
  """A line of the table."""
  line: int
  name: str  # person01_boxing_d1
  person: int
  action: str
  recording: int
  segments: tuple[tuple[int, int], ...]  # first and last frame, from 1; empty where the table calls the video missing

  @property
  def subject(self) -> str:
    return self.name[:8]


def settings(options: Any) -> dict[str, dict[str, Any]]:
  """Everything that decides the records but the source itself, for each dataset folder."""
  name = "kth" if options.kth_split == "subjects" else "kth_identity"
  return {name: official.settings("kth", options, SHARD_RECORDS) | {"split": options.kth_split}}


def plan(options: Any) -> list[Plan]:
  """Reads the table; opens no video. Raises PlanError where the folder is not KTH."""
  if not options.source:
    raise PlanError(f"kth: --source is missing: the folder that holds {TABLE} and the videos")
  root = pathlib.Path(options.source)
  if not (root / TABLE).is_file():
    raise PlanError(f"kth: no {TABLE} in --source={options.source}")
  [(name, chosen)] = settings(options).items()
  raw = (root / TABLE).read_bytes()
  sequences, problems = read_table(raw)
  kept, closed = [], options.kth_split == "recordings"
  for sequence in (one for one in sequences if one.segments):
    try:
      video.check_file(inside(root, _file(root, sequence)))
      kept.append(sequence)
    except ValueError as error:
      problems.append(Problem(f"{TABLE} line {sequence.line} ({_file(root, sequence)})", str(error)))
  if closed:
    seen = {split: [one.subject for one in kept if split_of(one, closed) == split] for split in RECORDINGS}
    splits.check_closed_set(name, seen, problems)
  storage = still.Storage.of(options)
  items: dict[str, list[Item]] = {split: [] for split in RECORDINGS}
  for sequence in kept:
    path = str(root / _file(root, sequence))
    items[split_of(sequence, closed)] += [Item(f"{sequence.name}_{number}", (path, sequence, number, storage))
                                          for number in range(1, len(sequence.segments) + 1)]
  absent = tuple(Problem(f"{TABLE} line {one.line} ({one.name})", "called missing there") for one in sequences if not one.segments)
  return [Plan(name, "video", {split: mixed(listed) for split, listed in items.items()}, make, ACTIONS, (),
               tuple(sorted({one.subject for one in kept})), closed, LICENCE, digest(root, [_file(root, one) for one in kept], [raw]),
               chosen, chosen["shard_records"], tuple(problems), absent)]


def make(work: tuple) -> dict[str, Any]:
  """One segment's record; runs in a worker."""
  path, sequence, number, storage = work
  first, last = sequence.segments[number - 1]
  footage = video.decode(path, storage.jpeg)
  if last > len(footage.frames):
    raise video.Undecodable(f"frames {first}-{last} of a video of {len(footage.frames)}")
  return {"id": f"{sequence.name}_{number}", "frames": footage.frames[first - 1:last], "fps": footage.frames_per_second,
          "action": ACTIONS.index(sequence.action), "labels": {}, "subject": sequence.subject, "group": sequence.name}


def split_of(sequence: Sequence, closed: bool) -> str:
  """The split of a recording: by who is seen, or, with `closed`, by which of the person's recordings it is."""
  number, table = (sequence.recording, RECORDINGS) if closed else (sequence.person, SUBJECTS)
  return next(split for split, numbers in table.items() if number in numbers)


def read_table(raw: bytes) -> tuple[list[Sequence], list[Problem]]:
  """The lines of 00sequences.txt, those that say nothing usable as problems. The text that may head them tells the split in words."""
  sequences: list[Sequence] = []
  problems, seen = [], {}
  for line, text in enumerate(raw.decode("latin-1").splitlines(), 1):
    words = text.split()
    # A line of the table is no head, however its name is spelt: it would be lost in silence.
    if not words or (not seen and not problems and not NAME.match(words[0]) and not SEGMENTS.search(text)):
      continue
    try:
      sequence = _read_line(line, words)
      if seen.setdefault(sequence.name, line) != line:
        raise ValueError(f"a second line for this sequence (first: line {seen[sequence.name]})")
      sequences.append(sequence)
    except ValueError as error:
      problems.append(Problem(f"{TABLE} line {line} ({words[0]})", str(error)))
  return sequences, problems


def _read_line(line: int, words: list[str]) -> Sequence:
  """`person01_boxing_d1 frames 1-95, 96-185` -> Sequence; raises ValueError with what is wrong."""
  match = NAME.fullmatch(words[0])
  if not match or match[2] not in ACTIONS or not 1 <= int(match[1]) <= 25 or not 1 <= int(match[3]) <= 4:
    raise ValueError(f"not personNN_ACTION_dN with 01 to 25, one of {', '.join(ACTIONS)}, and 1 to 4")
  segments = []
  if words[1:] != [MISSING]:
    listed = "".join(words[2:] if words[1:2] == ["frames"] else words[1:])
    for part in listed.split(","):
      ends = re.fullmatch(r"(\d+)-(\d+)", part)
      if not ends or not 1 <= int(ends[1]) <= int(ends[2]):
        raise ValueError(f"{part or 'nothing'!r} where frames FIRST-LAST are expected")
      segments.append((int(ends[1]), int(ends[2])))
  return Sequence(line, words[0], int(match[1]), match[2], int(match[3]), tuple(segments))


def _file(root: pathlib.Path, sequence: Sequence) -> str:
  """The video below `root`, existing or not: each action is an archive of its own, with or without a folder."""
  name = f"{sequence.name}_uncomp.avi"
  return f"{sequence.action}/{name}" if (root / sequence.action / name).exists() else name
