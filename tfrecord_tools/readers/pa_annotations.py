"""PA-HMDB51's labels: for each of 51 actions a JSON file `{video: {attribute: [[start, end, value], ...], "review": bool, "note": text}}`.

Frames count from 0 and `end` is the segment's last frame. A value is a number, or a list of them where people differ. As the authors'
viewer has it, the first segment that holds a frame speaks for it, and a frame in none is not annotated.

A stored value keeps all that a segment says: its values as the digits of a number to the base 4, largest first. A single value is itself,
[1, 2] is 9 (4 * 2 + 1), and 0 is left exactly to "absent", as the papers count.
"""

import json
import pathlib
from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np

from mppar_tf.data.vocabularies import PA_HMDB51
from mppar_tf.messages import one_line
from tfrecord_tools.plan import PlanError, Problem
from tfrecord_tools.source import Tree

FOLDER = "PrivacyAttributes"  # in the authors' repository, which holds older labels of the same file names elsewhere
BESIDE = ("review", "note")  # keys of a video that are no attributes
RADIX, MOST_VALUES = 4, 3  # so that three coexisting values stay below schema.LARGEST_LABEL
NOT_ANNOTATED = -1

Segments = Sequence[tuple[int, int, int]]  # first frame, last frame, stored value


class Video(NamedTuple):
  """A labelled video."""
  name: str  # CLASS/FILE
  action: str
  segments: Mapping[str, Segments]  # by attribute


def read_files(dataset: str, tree: Tree) -> dict[pathlib.Path, dict[str, Any]]:
  """The label files, sorted, each with what it holds; raises PlanError where there is none or one is no JSON object."""
  every = [path for path in tree.paths() if path.suffix == ".json"]
  inner = [path for path in every if path.parent.name == FOLDER] or [path for path in every if len(path.parts) == 1]
  if not inner:
    raise PlanError(f"{dataset}: no {FOLDER}/*.json of PA-HMDB51 in {tree.root}")
  if len({path.parent for path in inner}) > 1:
    raise PlanError(f"{dataset}: {inner[0].parent} and {inner[-1].parent} in {tree.root} both hold labels; give one of them")
  return {tree.root / path: _read_json(dataset, tree.root / path) for path in inner}


def _read_json(dataset: str, path: pathlib.Path) -> dict[str, Any]:
  try:
    content = json.loads(path.read_bytes(), object_pairs_hook=_each_once)
  except (ValueError, RecursionError) as error:
    raise PlanError(f"{dataset}: {path.name} is no JSON ({one_line(error)})") from error
  if not isinstance(content, dict):
    raise PlanError(f"{dataset}: {path.name} holds no object of videos")
  return content


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
  """A JSON object; of a video that is there twice the parser would keep the last and drop the others."""
  fields: dict[str, Any] = {}
  for name, value in pairs:
    if name in fields:
      raise ValueError(f"{name!r} is there twice")
    fields[name] = value
  return fields


def names(files: Mapping[pathlib.Path, Mapping[str, Any]]) -> set[str]:
  """CLASS/FILE of every labelled video."""
  return {f"{path.stem}/{file}" for path, content in files.items() for file in content}


def read_videos(files: Mapping[pathlib.Path, Mapping[str, Any]]) -> tuple[list[Video], list[Problem]]:
  """The videos whose labels can be used, and those whose cannot."""
  videos, problems = [], []
  for path, content in files.items():
    for file, entry in content.items():
      try:
        videos.append(Video(f"{path.stem}/{file}", path.stem, read_entry(entry)))
      except ValueError as error:
        problems.append(Problem(f"{path.name} ({file})", str(error)))
  return videos, problems


def read_entry(entry: Any) -> dict[str, Segments]:
  """Attribute -> segments of one video; raises ValueError with what is wrong. Entries without a note are sound: ten have none."""
  if not isinstance(entry, dict):
    raise ValueError("its entry is no object")
  unknown = sorted(set(entry) - set(PA_HMDB51) - set(BESIDE))
  if unknown:
    raise ValueError(f"attribute {unknown[0]!r} is not one of {', '.join(PA_HMDB51)}")
  missing = [attribute for attribute in PA_HMDB51 if not isinstance(entry.get(attribute), list)]
  if missing:
    raise ValueError(f"no list of segments for {missing[0]}")
  return {attribute: tuple(_segment(attribute, one) for one in entry[attribute]) for attribute in PA_HMDB51}


def _segment(attribute: str, segment: Any) -> tuple[int, int, int]:
  if not isinstance(segment, list) or len(segment) != 3 or not all(type(frame) is int for frame in segment[:2]):
    raise ValueError(f"{attribute} {segment!r} is not [start, end, value]")
  start, end, value = segment
  if not 0 <= start <= end:
    raise ValueError(f"{attribute} {segment!r} ends before it starts or starts before 0")
  values, known = value if isinstance(value, list) else [value], range(len(PA_HMDB51[attribute]))
  if not values or not all(type(one) is int and one in known for one in values):
    raise ValueError(f"{attribute} {segment!r}: values are {known.start} to {known.stop - 1}")
  return start, end, stored(values)


def stored(values: Sequence[int]) -> int:
  """[2, 1] or [1, 2] -> 9; [v] -> v. Raises ValueError for more than MOST_VALUES different values."""
  distinct = sorted(set(values), reverse=True)
  if len(distinct) > MOST_VALUES:
    raise ValueError(f"{len(distinct)} coexisting values cannot be stored, at most {MOST_VALUES}")
  code = 0
  for value in distinct:
    code = RADIX * code + value
  return code


def values(code: int) -> tuple[int, ...]:
  """The values that a stored value stands for, largest first: 9 -> (2, 1)."""
  return (*values(code // RADIX), code % RADIX) if code >= RADIX else (code,)


def per_frame(segments: Segments, frames: int) -> np.ndarray:
  """int64 [frames]: the stored value of each frame, -1 where no segment holds it. Segments may reach beyond the last frame."""
  labels = np.full(frames, NOT_ANNOTATED, np.int64)
  for start, end, code in reversed(segments):
    labels[start:end + 1] = code
  return labels


def of_video(labels: np.ndarray) -> int:
  """One label of a whole video: the largest single value of any annotated frame, -1 where none is annotated."""
  return max((max(values(int(code))) for code in np.unique(labels) if code != NOT_ANNOTATED), default=NOT_ANNOTATED)
