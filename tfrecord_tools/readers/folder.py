"""Your own videos or images: a CSV table over files under a root folder.

Columns: `file` (path under the root) and `split` (train, validation, test); and any of `action` (a class name), `subject` (who it is),
`group` (what must not cross splits, e.g. the recording). Every other column is a privacy attribute: 1 present, 0 absent, empty not
annotated. Files are all videos or all images, told apart by extension.
"""

import pathlib
import re
from typing import Any, Mapping, NamedTuple

from tfrecord_tools.plan import SPLITS, Item, Plan, PlanError, Problem
from tfrecord_tools.readers import still, video
from tfrecord_tools.source import digest, inside, mixed, read_csv

RESERVED = ("file", "split", "action", "subject", "group")
KINDS = {"video": (".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v", ".wmv", ".flv", ".ts", ".3gp"),
         "image": (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")}
SHARD_RECORDS = {"video": 64, "image": 500}
LABELS = {"1": 1, "0": 0}


class Row(NamedTuple):
  """A usable line of the table."""
  line: int
  file: str
  split: str
  action: str
  subject: str
  group: str
  labels: Mapping[str, int]  # without those not annotated


class Table(NamedTuple):
  """A table without its unusable lines."""
  kind: str
  attributes: tuple[str, ...]
  rows: list[Row]
  problems: list[Problem]


def settings(options: Any) -> dict[str, dict[str, Any]]:
  """Everything that decides the records but the source itself, for each dataset folder."""
  return {options.name: {
      "reader": "folder", "jpeg_quality": options.jpeg_quality, "frame_height": options.frame_height, "frame_width": options.frame_width,
      "resize": options.resize, "closed_set_identity": options.closed_set_identity, "undeclared_length": options.undeclared_length,
      "shard_records": options.shard_records}}


def plan(options: Any) -> list[Plan]:
  """Checks every line of the table; opens no file. Raises PlanError where the table as a whole is unusable."""
  for flag in ("csv", "root"):
    if not getattr(options, flag):
      raise PlanError(f"folder: --{flag} is missing")
  if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", options.name or ""):
    raise PlanError(f"folder: --name={options.name or ''} is not a folder's name (letters, digits, '_', '-', '.')")
  path, root = pathlib.Path(options.csv), pathlib.Path(options.root)
  if not path.is_file():
    raise PlanError(f"folder: no file --csv={options.csv}")
  if not root.is_dir():
    raise PlanError(f"folder: no folder --root={options.root}")
  raw = path.read_bytes()
  table = read_table(path.name, raw, root)
  if options.closed_set_identity:
    _check_closed_set(path.name, table.rows)
  classes = tuple(sorted({row.action for row in table.rows if row.action}))
  subjects = tuple(sorted({row.subject for row in table.rows if row.subject}))
  storage = still.Storage.of(options)
  items: dict[str, list[Item]] = {split: [] for split in SPLITS}
  for row in table.rows:
    action = classes.index(row.action) if row.action else -1
    items[row.split].append(Item(row.file, (str(root / row.file), row, action, storage, options.undeclared_length)))
  chosen = settings(options)[options.name]
  return [Plan(options.name, table.kind, {split: mixed(listed) for split, listed in items.items()},
               make_video if table.kind == "video" else make_image, classes, table.attributes, subjects, options.closed_set_identity,
               options.licence, digest(root, [row.file for row in table.rows], [raw]), chosen,
               options.shard_records or SHARD_RECORDS[table.kind], tuple(table.problems))]


def make_video(work: tuple) -> dict[str, Any]:
  """One video's record; runs in a worker."""
  path, row, action, storage, undeclared_length = work
  footage = video.decode(path, storage.jpeg, undeclared_length=undeclared_length)
  return {"id": row.file, "frames": footage.frames, "fps": footage.frames_per_second, "action": action, "labels": dict(row.labels),
          "subject": row.subject, "group": row.group}


def make_image(work: tuple) -> dict[str, Any]:
  """One image's record; runs in a worker."""
  path, row, action, storage, _ = work
  pixels = storage.jpeg(still.decode(path))
  return {"id": row.file, "pixels": pixels, "action": action, "labels": dict(row.labels), "subject": row.subject, "group": row.group}


def read_table(name: str, raw: bytes, root: pathlib.Path) -> Table:
  """Sorts the table's lines into rows and problems. Raises PlanError for a wrong header, encoding, or a mix of videos and images."""
  (_, header), *lines = read_csv(name, raw)
  header = [column.strip() for column in header]
  _check_header(name, header)
  attributes = tuple(column for column in header if column not in RESERVED)
  rows: list[Row] = []
  problems, kinds, seen, splits_of_group = [], {}, {}, {}
  for line, cells in lines:
    place = f"{name} line {line}"
    try:
      row = _row(line, header, attributes, cells)
      path = inside(root, row.file)
      kinds.setdefault(_kind(row.file), row.file)
      video.check_file(path)
      same = seen.setdefault(pathlib.PurePosixPath(row.file), line)
      if same != line:
        raise ValueError(f"a second line for this file (first: line {same})")
      if row.group and splits_of_group.setdefault(row.group, row.split) != row.split:
        raise ValueError(f"group {row.group!r} is in {splits_of_group[row.group]} already and must not cross splits")
      rows.append(row)
    except ValueError as error:
      file = cells[header.index("file")].strip() if header.index("file") < len(cells) else ""
      problems.append(Problem(f"{place} ({file})" if file else place, str(error)))
  if len(kinds) > 1:
    raise PlanError(f"{name}: mixes videos ({kinds['video']}) and images ({kinds['image']}); build two datasets")
  if not rows and not problems:
    raise PlanError(f"{name}: no line after its header")
  return Table(next(iter(kinds), "video"), attributes, rows, problems)


def _check_header(name: str, header: list[str]) -> None:
  for column in ("file", "split"):
    if column not in header:
      raise PlanError(f"{name}: column {column!r} is missing; its header: {', '.join(header) or 'empty'}")
  twice = [column for column in header if header.count(column) > 1]
  if twice:
    raise PlanError(f"{name}: column {twice[0]!r} is there twice")
  if "" in header:
    raise PlanError(f"{name}: column {header.index('') + 1} has no name")
  if set(header) <= {"file", "split", "group"}:
    raise PlanError(f"{name}: no label: give a column action, subject, or one for each attribute")


def _row(line: int, header: list[str], attributes: tuple[str, ...], cells: list[str]) -> Row:
  if len(cells) != len(header):
    raise ValueError(f"{len(cells)} cells in {len(header)} columns")
  values = dict(zip(header, (cell.strip() for cell in cells)))
  if not values["file"]:
    raise ValueError("file is empty")
  if values["split"] not in SPLITS:
    raise ValueError(f"split {values['split']!r} is not one of {', '.join(SPLITS)}")
  if values.get("action") == "":
    raise ValueError("action is empty")
  for attribute in attributes:
    if values[attribute] and values[attribute] not in LABELS:
      raise ValueError(f"{attribute} is {values[attribute]!r}, not 1, 0 or empty (not annotated)")
  labels = {attribute: LABELS[values[attribute]] for attribute in attributes if values[attribute]}
  return Row(line, values["file"], values["split"], values.get("action", ""), values.get("subject", ""), values.get("group", ""), labels)


def _kind(file: str) -> str:
  suffix = pathlib.PurePosixPath(file).suffix.lower()
  for kind, suffixes in KINDS.items():
    if suffix in suffixes:
      return kind
  raise ValueError(f"extension {suffix!r} is not one of {' '.join(s for listed in KINDS.values() for s in listed)}")


def _check_closed_set(name: str, rows: list[Row]) -> None:
  """A subject that is absent from training cannot be recognised by anyone: its clips would flatter the anonymizer."""
  trained = {row.subject for row in rows if row.split == "train"}
  for row in rows:
    if not row.subject or row.subject not in trained:
      raise PlanError(f"{name} line {row.line}: --closed_set_identity, but subject {row.subject!r} has no train line")
