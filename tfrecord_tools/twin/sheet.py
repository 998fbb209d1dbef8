"""Draws the embedded benchmark on one picture: every action, and every attribute absent and present in one and the same scene.

  python -m tfrecord_tools.twin.sheet --sheet=twin.png
"""

import numpy as np

from tfrecord_tools import sheet
from tfrecord_tools.twin import dataset
from tfrecord_tools.twin.labels import ATTRIBUTES
from tfrecord_tools.twin.render import Take, render

CLIPS_OF_ACTION = 2
PAIRS_OF_ATTRIBUTE = 7
_FACES = ("complete_face", "partial_face")


def with_label(scene: Take, attribute: str, present: bool) -> Take:
  """The same scene with one attribute present or absent; as in the labels themselves, one face excludes the other."""
  labels = {**scene.labels, attribute: int(present)}
  if present and attribute in _FACES:
    labels[_FACES[attribute == _FACES[0]]] = 0
  return scene._replace(labels=labels)


def draw(seed: int = 0, size: int = 32, frames: int = 8) -> np.ndarray:
  """The contact sheet of the training split, uint8 RGB [H, W, 3]."""
  clips, images = dataset.Twin("video", seed, size, frames), dataset.Twin("image", seed, size)
  return sheet.draw([*_actions(clips), *_attributes(images)])


def _actions(twin):
  for action in dataset.CLASSES:
    scenes = (dataset.take(twin, "train", index) for index in range(dataset.count(twin, "train")))
    found = [scene for scene, _ in zip((s for s in scenes if s.action == action), range(CLIPS_OF_ACTION))]
    yield action, [sheet.Entry(render(scene, twin.size, twin.frames).frames, ()) for scene in found]


def _attributes(twin):
  for number, attribute in enumerate(ATTRIBUTES):
    entries = []
    for index in range(number * PAIRS_OF_ATTRIBUTE, (number + 1) * PAIRS_OF_ATTRIBUTE):
      scene = dataset.take(twin, "train", index)
      pair = [render(with_label(scene, attribute, present), twin.size, 1).frames[0] for present in (False, True)]
      entries.append(sheet.Entry(pair, ()))
    yield f"{attribute}: absent, present", entries
