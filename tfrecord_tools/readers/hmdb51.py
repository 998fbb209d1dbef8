"""HMDB51: 6,766 clips of 51 actions from films and web videos, three official splits of 70 training and 30 test clips a class.

Source: the folder or archive with the class folders (`brush_hair/*.avi`; the authors' archive holds an archive for each class), and the
official lists, below it or as --annotations: `brush_hair_test_split1.txt` and so on, lines `FILE FLAG`, flag 1 train, 2 test, 0 not used.

A clip's name begins with the video it was cut from: `Two_Towers_3_ride_horse_f_cm_np3_fr_med_2.avi` is from `Two_Towers_3`, one of seven
parts of a film. The official splits keep the clips of one video together within a class only: in split 1, 133 videos give training clips to
one class and test clips to another. The validation cut keeps together all clips of a video, in whatever class, and all its numbered parts.

With --without_pa_hmdb51 the test set is PA-HMDB51: a folder `hmdb51_without_pa_hmdb51` of training and validation alone holds all clips
but those 515, unused ones too, as the papers train. Other clips of the same films stay in it.
"""

import pathlib
import re
from typing import Any, Collection, Iterator

from tfrecord_tools.plan import Plan, PlanError, Problem
from tfrecord_tools.readers import official, pa_annotations, recordings
from tfrecord_tools.readers.recordings import Clip
from tfrecord_tools.source import Tree, read_lines

LIST = re.compile(r"(?P<action>\w+)_test_split(?P<number>[123])\.txt")
SPLITS = {"0": None, "1": "train", "2": "test"}
# Visible body parts, camera motion, number of people, viewpoint, quality, number of the clip.
TAGS = r"_[uhfl]_(nm|cm)_np\d+_(fr|ba|le|ri)_(bad|med|goo)_\d+\.avi"
PART = re.compile(r"(?<=\D)[_ #(-]*\d+\)?$")
LICENCE = "HMDB51 (Serre Lab, Brown University): CC BY 4.0; the films and web videos belong to their owners."


def settings(options: Any) -> dict[str, dict[str, Any]]:
  """Everything that decides the records but the source itself, for each dataset folder."""
  name = "hmdb51_without_pa_hmdb51" if options.without_pa_hmdb51 else "hmdb51"
  return {name: recordings.settings("hmdb51", options)}


def plan(options: Any) -> list[Plan]:
  """Reads the official lists and cuts validation; opens no video. Raises PlanError where the source is not HMDB51."""
  files, annotations = official.trees("hmdb51", options)
  lists = read_lists(annotations, options.official_split)
  [(name, chosen)] = settings(options).items()
  excluded, tables = None, [path.read_bytes() for path in lists.values()]
  if options.without_pa_hmdb51:
    labels = pa_annotations.read_files("hmdb51", Tree(options.without_pa_hmdb51))
    excluded = pa_annotations.names(labels)
    tables += [path.read_bytes() for path in labels]
  clips, problems = read_split(lists, excluded)
  return [recordings.plan(name, clips, problems, files, tuple(lists), options, chosen=chosen, licence=LICENCE, tables=tables)]


def read_lists(annotations: Tree, number: int) -> dict[str, pathlib.Path]:
  """Class -> its list of official split `number`, sorted; raises PlanError where there is none."""
  names = sorted({path.name for path in annotations.paths() if (match := LIST.fullmatch(path.name)) and match["number"] == str(number)})
  if not names:
    raise PlanError(f"hmdb51: no CLASS_test_split{number}.txt below {annotations.root}; the official lists come apart from the videos: "
                    "give --annotations")
  return {LIST.fullmatch(name)["action"]: annotations.find(name) for name in names}


def read_split(lists: dict[str, pathlib.Path], excluded: Collection[str] | None = None) -> tuple[list[Clip], list[Problem]]:
  """(clips that are used, bad lines).

  Args:
    lists: from `read_lists`.
    excluded: names CLASS/FILE to leave out, while all others train; None: train and test as the lists say.
  Raises:
    PlanError: an excluded clip is in no list, so the lists are not those that it comes from.
  """
  problems: list[Problem] = []
  listed = [one for action, path in lists.items() for one in _clips(path, action, problems)]
  if excluded is not None:
    strange = sorted(set(excluded) - {clip.name for _, clip in listed})
    if strange:
      raise PlanError(f"hmdb51: PA-HMDB51's {strange[0]} is in no list of HMDB51 ({len(strange)} of {len(excluded)} are not)")
    listed = [(place, clip._replace(split="train")) for place, clip in listed if clip.name not in excluded]
  used = ((place, clip) for place, clip in listed if clip.split)
  clips, refused = recordings.check_lists(used, apart=False)
  return clips, problems + refused


def _clips(path: pathlib.Path, action: str, problems: list[Problem]) -> Iterator[tuple[str, Clip]]:
  for number, line in read_lines(path):
    try:
      yield f"{path.name} line {number}", read_clip(line, action)
    except ValueError as error:
      problems.append(Problem(f"{path.name} line {number}", str(error)))


def read_clip(line: str, action: str) -> Clip:
  """`FILE FLAG` -> Clip, its split empty for a clip that is not used; raises ValueError with what is wrong."""
  file, _, flag = line.rpartition(" ")
  if flag not in SPLITS:
    raise ValueError(f"{line!r} is not FILE FLAG with a flag of {', '.join(SPLITS)}")
  return Clip(f"{action}/{file}", action, recording(file, action), SPLITS[flag] or "")


def recording(file: str, action: str) -> str:
  """The video that a clip of `action` was cut from, without the number of its part; raises ValueError where the name does not tell."""
  match = re.fullmatch(rf"(?P<video>.+)_{re.escape(action)}{TAGS}", file)
  if not match:
    raise ValueError(f"{file!r} is not VIDEO_{action}_TAGS.avi")
  return PART.sub("", match["video"])
