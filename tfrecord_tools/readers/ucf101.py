"""UCF101: 13,320 clips of 101 actions from web videos, three official splits by groups.

Source: the folder or archive with the class folders (`UCF-101/Archery/v_Archery_g01_c01.avi`), and the official lists, below it or as
--annotations: `classInd.txt`, `trainlist0N.txt` (`Class/file.avi LABEL`, labels from 1), `testlist0N.txt` (no labels). The 25 groups of a
class are recordings or people; an official split never divides one, and neither does the validation cut.
"""

import pathlib
import re
from typing import Any, Iterator

from tfrecord_tools.plan import Plan, PlanError, Problem
from tfrecord_tools.readers import official, recordings
from tfrecord_tools.readers.recordings import Clip
from tfrecord_tools.source import Tree, read_lines

CLASSES = "classInd.txt"
LISTS = {"train": "trainlist{:02}.txt", "test": "testlist{:02}.txt"}
FILE = re.compile(r"v_(?P<action>\w+)_(?P<group>g\d+)_c\d+\.avi")
LICENCE = "UCF101 (University of Central Florida): from public web videos, no licence stated; research use only."


def settings(options: Any) -> dict[str, dict[str, Any]]:
  """Everything that decides the records but the source itself, for each dataset folder."""
  return {"ucf101": recordings.settings("ucf101", options)}


def plan(options: Any) -> list[Plan]:
  """Reads the official lists and cuts validation; opens no video. Raises PlanError where the source is not UCF101."""
  files, annotations = official.trees("ucf101", options)
  tables = [found(annotations, name) for name in (CLASSES, *(name.format(options.official_split) for name in LISTS.values()))]
  classes, clips, problems = read_split(annotations, options.official_split)
  return [recordings.plan("ucf101", clips, problems, files, classes, options, chosen=settings(options)["ucf101"], licence=LICENCE,
                          tables=[table.read_bytes() for table in tables])]


def read_split(annotations: Tree, number: int) -> tuple[tuple[str, ...], list[Clip], list[Problem]]:
  """(classes in official order, clips of official split `number`, bad lines). Raises PlanError where a list is missing or unusable."""
  classes = read_classes(found(annotations, CLASSES))
  problems: list[Problem] = []
  lines = (one for split, name in LISTS.items() for one in _clips(found(annotations, name.format(number)), split, classes, problems))
  clips, refused = recordings.check_lists(lines)
  return classes, clips, problems + refused


def found(annotations: Tree, name: str) -> pathlib.Path:
  """The official file `name`; raises PlanError where it is missing."""
  path = annotations.find(name)
  if path is None:
    raise PlanError(f"ucf101: no {name} below {annotations.root}; the official lists come apart from the videos: give --annotations")
  return path


def read_classes(path: pathlib.Path) -> tuple[str, ...]:
  """The class names of `classInd.txt`, whose lines are `NUMBER NAME` with numbers from 1 on; raises PlanError."""
  classes = []
  for number, line in read_lines(path):
    words = line.split()
    if len(words) != 2 or words[0] != str(len(classes) + 1) or words[1] in classes:
      raise PlanError(f"ucf101: {path.name} line {number}: {line!r} where '{len(classes) + 1} NAME' is expected")
    classes.append(words[1])
  return tuple(classes)


def _clips(path: pathlib.Path, split: str, classes: tuple[str, ...], problems: list[Problem]) -> Iterator[tuple[str, Clip]]:
  for number, line in read_lines(path):
    try:
      yield f"{path.name} line {number}", read_clip(line, split, classes)
    except ValueError as error:
      problems.append(Problem(f"{path.name} line {number}", str(error)))


def read_clip(line: str, split: str, classes: tuple[str, ...]) -> Clip:
  """`Class/v_Class_g08_c01.avi 1` -> Clip; raises ValueError with what is wrong. Lists of test clips carry no label."""
  name, *labels = line.split()
  action, _, file = name.partition("/")
  match = FILE.fullmatch(file)
  # Case is no difference: the folder HandstandPushups holds v_HandStandPushups_g01_c01.avi.
  if not match or match["action"].casefold() != action.casefold():
    raise ValueError(f"{name!r} is not CLASS/v_CLASS_gNN_cNN.avi")
  if action not in classes:
    raise ValueError(f"class {action!r} is not in {CLASSES}")
  expected = str(classes.index(action) + 1)
  if labels != [expected] and (labels or split == "train"):
    raise ValueError(f"label {' '.join(labels) or 'missing'!r}, {action} is {expected} in {CLASSES}")
  return Clip(name, action, f"{action}_{match['group']}", split)
