"""Draws the embedded benchmark on one picture: every action, and every attribute absent and present in one and the same scene.

  python -m tfrecord_tools.twin.sheet --sheet=twin.png

Renders what it shows and needs no records; `python -m tfrecord_tools.inspect FOLDER --sheet=...` draws records.
"""

import sys
from typing import Iterator, Sequence

import numpy as np

from mppar_tf import flagfiles
from tfrecord_tools import options, sheet
from tfrecord_tools.twin import dataset
from tfrecord_tools.twin.labels import grouping
from tfrecord_tools.twin.render import Take, render

CLIPS_OF_ACTION = 2  # as many as fit into a row of the sheet
_EXCLUDED_BY = {"complete_face": "partial_face", "partial_face": "complete_face"}


def with_label(scene: Take, attribute: str, present: bool) -> Take:
  """The same scene with one rendered attribute present or absent; a face that appears replaces the other kind of face."""
  labels = {**scene.labels, attribute: int(present)}
  if present and attribute in _EXCLUDED_BY:
    labels[_EXCLUDED_BY[attribute]] = 0
  return scene._replace(labels=labels)


def draw(seed: int = 0, size: int = 32, frames: int = 8, annotated: str = "vispr", pairs: int = 8) -> np.ndarray:
  """The contact sheet of the training split, uint8 RGB [H, W, 3], with `pairs` scenes for each attribute of a grouping."""
  clips, images = dataset.Twin("video", seed, size, frames, annotated), dataset.Twin("image", seed, size, grouping=annotated)
  return sheet.draw([*_actions(clips), *_attributes(images, pairs)])


def _actions(twin: dataset.Twin) -> Iterator[tuple[str, Sequence[sheet.Entry]]]:
  scenes = [dataset.take(twin, "train", index) for index in range(CLIPS_OF_ACTION * len(dataset.CLASSES))]
  for action in dataset.CLASSES:
    yield action, [sheet.Entry(render(scene, twin.size, twin.frames).frames, ()) for scene in scenes if scene.action == action]


def _attributes(twin: dataset.Twin, pairs: int) -> Iterator[tuple[str, Sequence[sheet.Entry]]]:
  groups = grouping(twin.grouping)
  for number, (name, parts) in enumerate({**groups.known, **groups.novel}.items()):
    entries = []
    for index in range(number * pairs, (number + 1) * pairs):
      scene = dataset.take(twin, "train", index % dataset.count(twin, "train"))
      for part in parts:
        scene = with_label(scene, part, False)
      shown = with_label(scene, parts[index % len(parts)], True)
      entries.append(sheet.Entry([render(one, twin.size, 1).frames[0] for one in (scene, shown)], ()))
    yield f"{name}: absent, present", entries


def run() -> None:
  target, twin = flagfiles.read(options.SheetOptions), flagfiles.read(options.TwinOptions)
  if not target.sheet:
    raise flagfiles.OptionError("--sheet is missing: the path of the PNG to draw")
  sheet.save(target.sheet, draw(twin.twin_seed, twin.twin_size, twin.twin_frames, twin.twin_grouping, target.sheet_records))
  print(f"contact sheet: {target.sheet}")


if __name__ == "__main__":
  sys.exit(flagfiles.main(run, (options.SheetOptions, options.TwinOptions), __doc__))
