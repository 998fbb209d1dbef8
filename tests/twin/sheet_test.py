"""The contact sheet shows every action and attribute."""

import numpy as np
from PIL import Image

from mppar_tf import flagfiles, options
from tfrecord_tools.twin import dataset, sheet
from tfrecord_tools.twin.labels import GROUPINGS


def test_a_scene_gains_one_face_and_loses_the_other():
  scene = sheet.with_label(dataset.take(dataset.Twin("image"), "train", 0), "complete_face", True)
  assert sheet.with_label(scene, "partial_face", True).labels == {**scene.labels, "complete_face": 0, "partial_face": 1}


def test_every_action_and_every_attribute_has_its_row(monkeypatch):
  headings = []
  original = sheet.sheet.draw
  monkeypatch.setattr(sheet.sheet, "draw", lambda sections: (headings.extend((name, len(entries)) for name, entries in sections), original(sections))[1])
  for name, grouping in GROUPINGS.items():
    headings.clear()
    picture = sheet.draw(annotated=name, pairs=2, frames=2)
    assert headings == [(action, 2) for action in dataset.CLASSES] + [(f"{attribute}: absent, present", 2) for attribute in grouping.attributes]
    assert picture.ndim == 3 and picture.std() > 20
