"""UTKFace: file names tell the labels, and a hash of the name tells the split."""

import collections
import os
import pathlib

import numpy as np
import pytest
import tiny_files

from mppar_tf.data import records, schema
from tfrecord_tools import assemble, options
from tfrecord_tools.plan import PlanError
from tfrecord_tools.readers import utkface

DATA = pathlib.Path(os.environ.get("MPPAR_SHARED_DATA", pathlib.Path(__file__).resolve().parents[3] / "shared" / "data")) / "utkface"


@pytest.mark.parametrize("name, present", [
    ("12_0_0_20170109.jpg", {"race_white", "age_child"}),
    ("13_1_1_20170109.jpg.chip.jpg", {"gender_female", "race_black", "age_young"}),
    ("29_0_2_20170109.jpg", {"race_asian", "age_young"}),
    ("30_1_3_20170109.jpg", {"gender_female", "race_indian", "age_adult"}),
    ("59_0_4_20170109.jpg", {"age_adult"}),
    ("60_0_4_20170109.jpg", {"age_senior"}),
    ("116_1_0_20170109.jpg", {"gender_female", "race_white", "age_senior"}),
])
def test_a_name_tells_its_labels(name, present):
  labels = utkface.labels(utkface.read_name(name))
  assert tuple(labels) == utkface.ATTRIBUTES
  assert {attribute for attribute, value in labels.items() if value} == present


@pytest.mark.parametrize("name, reason", [
    ("61_1_20170109142408075.jpg.chip.jpg", "name is not age_gender_race_date"),
    ("face.jpg", "name is not age_gender_race_date"),
    ("117_0_0_2017.jpg", "age 117 in the name is not within 0 to 116"),
    ("20_2_0_2017.jpg", "gender 2 in the name is not 0 or 1"),
    ("20_1_5_2017.jpg", "race 5 in the name is not within 0 to 4"),
])
def test_a_bad_name_says_why(tmp_path, name, reason):
  for file in (name, "20_1_0_2017.jpg"):
    tiny_files.image(tmp_path / file, tiny_files.gradient())
  [plan] = utkface.plan(options.UtkfaceOptions(source=str(tmp_path)))
  assert [str(problem) for problem in plan.problems] == [f"{name}: {reason}"]


def test_splits_follow_the_name_alone_in_their_shares():
  names = [f"{n % 90}_{n % 2}_{n % 5}_{20170000 + n}.jpg" for n in range(6000)]
  shares = collections.Counter(utkface.split_of(name, 0) for name in names)
  # Three standard deviations of a share of 6000 draws are below .02.
  assert {split: count / 6000 for split, count in shares.items()} == pytest.approx(utkface.SHARES, abs=.02)
  assert any(utkface.split_of(name, 0) != utkface.split_of(name, 1) for name in names)


def test_faces_become_records_of_the_size_asked_for(tmp_path):
  for number in range(30):
    tiny_files.image(tmp_path / "source" / "images" / f"{number}_1_2_{number}.jpg", tiny_files.gradient(40, 40), quality=95)
  [plan] = utkface.plan(options.UtkfaceOptions(source=str(tmp_path / "source"), size=20))
  report = assemble.assemble(plan, str(tmp_path / "data"), workers=1, progress=False)
  opened = records.open_split(str(tmp_path / "data" / "utkface"), "train")
  images = [schema.decode(data, report.manifest.header) for _, data in records.read(opened).as_numpy_iterator()]
  assert {image.id for image in images} == {item.id for item in plan.items["train"]}
  assert np.abs(np.float32(images[0].pixels) - tiny_files.gradient(20, 20)).mean() < 6
  assert images[0].labels["gender_female"] == images[0].labels["race_asian"] == 1 and images[0].labels["race_white"] == 0
  assert "non-commercial" in report.manifest.licence


def test_a_folder_without_faces_is_told(tmp_path):
  cases = ((None, "--source is missing"), (str(tmp_path / "none"), "no folder"), (str(tmp_path), "no .jpg, .jpeg, .png file"))
  for source, reason in cases:
    with pytest.raises(PlanError, match=reason):
      utkface.plan(options.UtkfaceOptions(source=source))


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared UTKFace images are not on this machine")
def test_real_faces():
  [plan] = utkface.plan(options.UtkfaceOptions(source=str(DATA)))
  assert sum(map(len, plan.items.values())) == 2000 and not plan.problems
  made = utkface.make(plan.items["test"][0].work)
  assert made["pixels"].startswith(b"\xff\xd8") and sum(value for name, value in made["labels"].items() if name.startswith("age_")) == 1
