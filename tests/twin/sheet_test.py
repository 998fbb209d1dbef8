"""The contact sheet shows every action and attribute."""

import pathlib
import subprocess
import sys

from PIL import Image

from tfrecord_tools.twin import dataset, sheet
from tfrecord_tools.twin.labels import GROUPINGS

ROOT = pathlib.Path(__file__).parents[2]


def test_a_scene_gains_one_face_and_loses_the_other():
  scene = sheet.with_label(dataset.take(dataset.Twin("image"), "train", 0), "complete_face", True)
  assert sheet.with_label(scene, "partial_face", True).labels == {**scene.labels, "complete_face": 0, "partial_face": 1}


def test_every_action_and_every_attribute_has_its_row(monkeypatch):
  headings, draw = [], sheet.sheet.draw

  def noting(sections):
    headings.extend((name, len(entries)) for name, entries in sections)
    return draw(sections)

  monkeypatch.setattr(sheet.sheet, "draw", noting)
  for name, grouping in GROUPINGS.items():
    headings.clear()
    picture = sheet.draw(annotated=name, pairs=2, frames=2)
    rows = [*dataset.CLASSES, *(f"{attribute}: absent, present" for attribute in grouping.attributes)]
    assert headings == [(row, 2) for row in rows]
    assert picture.ndim == 3 and picture.std() > 20


def test_the_program_draws_a_png_and_names_what_is_missing(tmp_path):
  def program(*flags):
    command = [sys.executable, "-m", "tfrecord_tools.twin.sheet", "--sheet_records=1", "--twin_size=16", "--twin_frames=1", *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)

  assert program(f"--sheet={tmp_path / 'twin.png'}").returncode == 0
  assert Image.open(tmp_path / "twin.png").size[1] > 500
  refused = program()
  assert refused.returncode == 2 and refused.stderr.splitlines() == ["sheet: --sheet is missing: the path of the PNG to draw"]
