"""IPN Hand: 50 people doing hand gestures before their own computers; the private label is whether a woman is seen.

Source: a folder with `annotations/` (the official Annot_TrainList.txt, Annot_TestList.txt and metadata.csv; they may also lie in the folder
itself) and `frames/VIDEO/VIDEO_000001.jpg` ..., the official pictures. The videos of the download are not read: their frames do not
agree with the annotated numbers. A line `VIDEO,LABEL,ID,FIRST,LAST,COUNT` (frames from 1, both ends included) becomes a record.

The official lists divide people, 37 train and 13 test, four videos each; validation is whole people of train. A person is the first two
parts of the video's name: `1CM1_1_R_#217` shows 1CM1_1. The time between gestures (D0X) is left out unless --non_gestures.
"""

import pathlib
from typing import Any, NamedTuple

from tfrecord_tools import splits
from tfrecord_tools.plan import Item, Plan, PlanError, Problem
from tfrecord_tools.readers import numbered, official, still
from tfrecord_tools.source import digest, inside, mixed, read_csv

LISTS = {"train": "Annot_TrainList.txt", "test": "Annot_TestList.txt"}
METADATA = "metadata.csv"
NON_GESTURE = "D0X"
GESTURES = {  # label -> what it is; the official id is the place, from 2
    "B0A": "pointing_with_one_finger", "B0B": "pointing_with_two_fingers", "G01": "click_with_one_finger", "G02": "click_with_two_fingers",
    "G03": "throw_up", "G04": "throw_down", "G05": "throw_left", "G06": "throw_right", "G07": "open_twice",
    "G08": "double_click_with_one_finger", "G09": "double_click_with_two_fingers", "G10": "zoom_in", "G11": "zoom_out"}
LABELS = (NON_GESTURE, *GESTURES)
ATTRIBUTE = "gender_female"
SEX = {"W": 1, "M": 0}
FRAMES_PER_SECOND = 30.0
LICENCE = "IPN Hand (CC BY 4.0 by its project page)."
SHARD_RECORDS = 32


class Segment(NamedTuple):
  """A usable line of a list."""
  place: str  # list and line
  video: str
  label: str
  first: int
  last: int

  @property
  def name(self) -> str:
    return f"{self.video}_{self.first:06d}"

  @property
  def subject(self) -> str:
    return "_".join(self.video.split("_")[:2])


def settings(options: Any) -> dict[str, dict[str, Any]]:
  """Everything that decides the records but the source itself, for each dataset folder."""
  return {"ipn": official.settings("ipn", options, SHARD_RECORDS) | {
      "non_gestures": options.non_gestures, "split_seed": options.split_seed, "validation_share": options.validation_share}}


def plan(options: Any) -> list[Plan]:
  """Reads the lists and cuts validation; opens no picture. Raises PlanError where the folder is not IPN Hand."""
  if not options.source:
    raise PlanError("ipn: --source is missing: the folder that holds annotations/ and frames/")
  root = pathlib.Path(options.source)
  tables = _tables(root, options.source)
  sexes, problems = read_sexes(tables[METADATA])
  chosen = settings(options)["ipn"]
  listed: dict[str, list[Segment]] = {}
  for split, file in LISTS.items():
    listed[split] = []
    for place, result in read_list(file, tables[file]):
      reason = result if isinstance(result, str) else _fault(root, result, sexes, options.non_gestures)
      if reason:
        problems.append(Problem(place, reason))
      elif options.non_gestures or result.label != NON_GESTURE:
        listed[split].append(result)
  shared = {one.subject for one in listed["train"]} & {one.subject for one in listed["test"]}
  if shared:
    raise PlanError(f"ipn: {sorted(shared)[0]} is in {LISTS['train']} and in {LISTS['test']}; the official lists divide people")
  validation = splits.held_out((one.subject for one in listed["train"]), chosen["validation_share"], chosen["split_seed"])
  classes = ((NON_GESTURE.lower(),) if options.non_gestures else ()) + tuple(GESTURES.values())
  items: dict[str, list[Item]] = {"train": [], "validation": [], "test": []}
  storage = still.Storage.of(options)
  for split, segments in listed.items():
    for one in segments:
      action = LABELS.index(one.label) - (not options.non_gestures)
      work = (str(root / "frames" / one.video), one, action, sexes[one.video], storage)
      items["validation" if split == "train" and one.subject in validation else split].append(Item(one.name, work))
  every = [one for segments in listed.values() for one in segments]
  files = [f"frames/{one.video}/{file}" for one in every for file in _pictures(one)]
  return [Plan("ipn", "video", {split: mixed(found) for split, found in items.items()}, make, classes, (ATTRIBUTE,),
               tuple(sorted({one.subject for one in every})), False, LICENCE, digest(root, files, list(tables.values())), chosen,
               chosen["shard_records"], tuple(problems))]


def make(work: tuple) -> dict[str, Any]:
  """One gesture's record; runs in a worker."""
  folder, segment, action, female, storage = work
  frames = numbered.decode(folder, _pictures(segment), storage.jpeg)
  return {"id": segment.name, "frames": frames, "fps": FRAMES_PER_SECOND, "action": action, "labels": {ATTRIBUTE: female},
          "subject": segment.subject, "group": segment.video}


def read_list(file: str, raw: bytes) -> list[tuple[str, Segment | str]]:
  """The lines of a list: where each stands, and what it says or why it says nothing."""
  found: list[tuple[str, Segment | str]] = []
  seen: dict[str, str] = {}
  for line, text in enumerate(raw.decode("utf-8-sig", "replace").splitlines(), 1):
    if not text.strip():
      continue
    place = f"{file} line {line} ({text.partition(',')[0]})"
    try:
      segment = _read_line(place, [cell.strip() for cell in text.split(",")])
      if seen.setdefault(segment.name, place) != place:
        raise ValueError(f"begins where {seen[segment.name]} does")
      found.append((place, segment))
    except ValueError as error:
      found.append((place, str(error)))
  return found


def _read_line(place: str, cells: list[str]) -> Segment:
  """`1CM1_1_R_#217,B0B,3,510,756,247` -> Segment; raises ValueError with what is wrong."""
  if len(cells) != 6:
    raise ValueError(f"{len(cells)} cells, not VIDEO,LABEL,ID,FIRST,LAST,COUNT")
  name, label, *rest = cells
  if name.count("_") < 2:
    raise ValueError(f"video {name!r} does not begin with a person's two parts, as 1CM1_1_R_#217 does")
  if label not in LABELS:
    raise ValueError(f"label {label!r} is not one of {', '.join(LABELS)}")
  if not all(cell.isascii() and cell.isdigit() for cell in rest):
    raise ValueError(f"{','.join(rest)} are not four numbers")
  number, first, last, count = map(int, rest)
  if number != LABELS.index(label) + 1:
    raise ValueError(f"id {number}, but {label} has {LABELS.index(label) + 1}")
  if not 1 <= first <= last or count != last - first + 1 or count > numbered.LONGEST:
    raise ValueError(f"frames {first} to {last}, told to be {count}")
  return Segment(place, name, label, first, last)


def read_sexes(raw: bytes) -> tuple[dict[str, int], list[Problem]]:
  """metadata.csv: video -> 1 for a woman, 0 for a man."""
  (_, header), *lines = read_csv(METADATA, raw, "replace")
  missing = [column for column in ("Video Name", "Sex") if column not in header]
  if missing:
    raise PlanError(f"ipn: {METADATA}: column {missing[0]!r} is missing; its header: {', '.join(header) or 'empty'}")
  sexes, problems = {}, []
  for line, cells in lines:
    row = dict(zip(header, [*cells, *[""] * len(header)]))
    if row["Sex"] in SEX:
      sexes[row["Video Name"]] = SEX[row["Sex"]]
    elif row["Video Name"]:
      place = f"{METADATA} line {line} ({row['Video Name']})"
      problems.append(Problem(place, f"sex {row['Sex']!r} is not one of {', '.join(SEX)}"))
  return sexes, problems


def _tables(root: pathlib.Path, source: str) -> dict[str, bytes]:
  folder = root / "annotations" if (root / "annotations").is_dir() else root
  for name in (*LISTS.values(), METADATA):
    if not (folder / name).is_file():
      raise PlanError(f"ipn: no {name} in --source={source}, nor in its folder annotations")
  return {name: (folder / name).read_bytes() for name in (*LISTS.values(), METADATA)}


def _fault(root: pathlib.Path, segment: Segment, sexes: dict[str, int], non_gestures: bool) -> str | None:
  if segment.label == NON_GESTURE and not non_gestures:
    return None
  if segment.video not in sexes:
    return f"no usable line in {METADATA}"
  try:
    return None if inside(root, f"frames/{segment.video}").is_dir() else f"no folder frames/{segment.video}"
  except ValueError as error:
    return str(error)


def _pictures(segment: Segment) -> list[str]:
  return [f"{segment.video}_{number:06d}.jpg" for number in range(segment.first, segment.last + 1)]
