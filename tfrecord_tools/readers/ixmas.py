"""IXMAS: people of ten subjects doing six everyday actions, seen by several cameras; the subject is the privacy label.

Source: a folder with `clips.csv` (columns file, action, subject, split) and `clips/`. The official `val` clips become the test split;
validation is cut out of `train`. Every subject does every action in train, validation draws from the same people, and the manifest says
so (`closed_set_identity`): the attacker's question is who of the ten it is.
"""

import collections
import pathlib
import re
from typing import Any, Mapping

from tfrecord_tools.plan import Item, Plan, PlanError, Problem
from tfrecord_tools.readers import still, video
from tfrecord_tools.source import digest, draw, inside, mixed, read_csv

TABLE = "clips.csv"
COLUMNS = ("file", "action", "subject", "split")
SPLITS = {"train": "train", "val": "test"}
LICENCE = "IXMAS (INRIA, EPFL): published for research, no licence stated; research use only."
SHARD_RECORDS = 32


def settings(options: Any) -> dict[str, dict[str, Any]]:
  """Everything that decides the records but the source itself, for each dataset folder."""
  return {"ixmas": {"reader": "ixmas", "jpeg_quality": options.jpeg_quality, "split_seed": options.split_seed,
                    "validation_share": options.validation_share, "shard_records": options.shard_records or SHARD_RECORDS}}


def plan(options: Any) -> list[Plan]:
  """Reads the table and cuts the splits; opens no video. Raises PlanError where the folder is not IXMAS."""
  if not options.source:
    raise PlanError(f"ixmas: --source is missing: the folder that holds {TABLE} and clips/")
  root = pathlib.Path(options.source)
  table = root / TABLE
  if not table.is_file():
    raise PlanError(f"ixmas: no {TABLE} in --source={options.source}")
  raw = table.read_bytes()
  rows, problems = _rows(table, raw)
  chosen = settings(options)["ixmas"]
  splits = cut_validation(rows, chosen["validation_share"], chosen["split_seed"])
  classes = tuple(sorted({row["action"] for row in rows}))
  subjects = tuple(sorted({row["subject"] for row in rows}, key=_by_number))
  items: dict[str, list[Item]] = {"train": [], "validation": [], "test": []}
  storage = still.Storage.sized(options, 0, 0)
  for row, split in zip(rows, splits):
    path, name = inside(root / "clips", row["file"]), pathlib.PurePosixPath(row["file"]).stem
    # Cameras that saw one performance make one group, so that who wants a stricter split can cut by it.
    group = re.sub(r"_cam\d+", "", name)
    items[split].append(Item(name, (str(path), name, classes.index(row["action"]), row["subject"], group, storage)))
  return [Plan("ixmas", "video", {split: mixed(listed) for split, listed in items.items()}, make, classes, (), subjects, True, LICENCE,
               digest(root / "clips", [row["file"] for row in rows], [raw]), chosen, chosen["shard_records"], tuple(problems))]


def make(work: tuple) -> dict[str, Any]:
  """One clip's record; runs in a worker."""
  path, name, action, subject, group, storage = work
  footage = video.decode(path, storage.jpeg)
  return {"id": name, "frames": footage.frames, "fps": footage.frames_per_second, "action": action, "labels": {}, "subject": subject,
          "group": group}


def cut_validation(rows: list[Mapping[str, str]], share: float, seed: int) -> list[str]:
  """The split of each row: `share` of each action's train clips go to validation, by a seeded draw, at most one of a subject's clips of an
  action and never its last: each subject x action stays in train."""
  splits = [SPLITS[row["split"]] for row in rows]
  cell = collections.Counter((row["subject"], row["action"]) for row, split in zip(rows, splits) if split == "train")
  quota = {action: round(share * sum(count for (_, other), count in cell.items() if other == action))
           for action in {row["action"] for row in rows}}
  touched = set()
  for index in sorted(range(len(rows)), key=lambda i: draw(seed, rows[i]["file"])):
    who = (rows[index]["subject"], rows[index]["action"])
    if splits[index] == "train" and quota[who[1]] and who not in touched and cell[who] > 1:
      splits[index] = "validation"
      quota[who[1]] -= 1
      touched.add(who)
  return splits


def _rows(table: pathlib.Path, raw: bytes) -> tuple[list[dict[str, str]], list[Problem]]:
  (_, header), *lines = read_csv(table.name, raw)
  missing = [column for column in COLUMNS if column not in header]
  if missing:
    raise PlanError(f"{table}: column {missing[0]!r} is missing; needed: {', '.join(COLUMNS)}")
  rows, problems, seen = [], [], set()
  for line, cells in lines:
    row = dict(zip(header, [*cells, *[""] * len(header)]))
    reason = _fault(table.parent / "clips", row, seen)
    if reason:
      problems.append(Problem(f"{table.name} line {line} ({row['file']})", reason))
    else:
      rows.append(row)
      seen.add(pathlib.PurePosixPath(row["file"]).stem)
  return rows, problems


def _fault(folder: pathlib.Path, row: Mapping[str, str | None], seen: set[str]) -> str | None:
  empty = [column for column in COLUMNS if not row[column]]
  if empty:
    return f"{empty[0]} is empty"
  if row["split"] not in SPLITS:
    return f"split {row['split']!r} is not one of {', '.join(SPLITS)}"
  if pathlib.PurePosixPath(row["file"]).stem in seen:
    return "a second clip of this name"
  try:
    video.check_file(inside(folder, row["file"]))
  except ValueError as error:
    return str(error)
  return None


def _by_number(subject: str) -> tuple[int, str]:
  return (int(subject), subject) if re.fullmatch(r"\d{1,18}", subject) else (1 << 62, subject)
