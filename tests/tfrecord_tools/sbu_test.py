"""SBU: the lists are believed only where they agree with the folders' names; pairs on both sides, or sets divided by the official folds."""

import collections
import json

import pytest
import tiny_sets

from mppar_tf.data import records
from tfrecord_tools import options, split_check, verify
from tfrecord_tools.plan import PlanError
from tfrecord_tools.readers import sbu

REAL = tiny_sets.ANNOTATIONS / "sbu"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the clip lists of SBU are not on this machine")

# Two pairs, two actions, three clips of each to train on; s02s01 shows the pair of s01s02.
TRAIN = [f"{name}/{action}/{clip}" for name in ("s01s02", "s04s02") for action in ("01", "07") for clip in ("001", "002", "003")]
TEST = ["s02s01/03/001", "s04s02/07/004", "s02s01/01/001", "s02s01/07/001"]


def line(place, frames=3):
  name, action, _ = place.split("/")
  return f"SBU/{name}/{place},1,{frames},{sbu.PAIRS.index(sbu.pair_of(name))},{int(action) - 1}"


def lists(root, train=TRAIN, test=TEST, changed=None):
  """Writes both lists; changed: index of a line of train.txt -> another text."""
  (root / "train.txt").write_text("".join(f"{(changed or {}).get(n, line(place))}\n" for n, place in enumerate(train)))
  (root / "val.txt").write_text("".join(f"{line(place)}\n" for place in test))


@pytest.fixture
def source(tmp_path):
  for number, place in enumerate(TRAIN + TEST):
    name = place.split("/")[0]
    # As an archive leaves it that is unpacked into a folder of its name, and as one that is not.
    folder = tmp_path / "sbu" / name / place if name == "s01s02" else tmp_path / "sbu" / place
    tiny_sets.pictures(folder, "rgb_{:06d}.png", 3, shade=10 * number)
    (folder / "skeleton_pos.txt").write_text("1,0.5\n")
  lists(tmp_path / "sbu")
  return tmp_path / "sbu"


def test_clips_become_records_of_their_pair(tmp_path, source):
  assert tiny_sets.built_twice("sbu", source, tmp_path / "data", "--validation_share=0.4") == 0
  folder = tmp_path / "data" / "sbu"
  assert verify.verify([str(folder)]) == split_check.split_check([str(folder)]) == 0
  manifest = records.read_manifest(str(folder))
  assert manifest.closed_set_identity and manifest.classes == sbu.ACTIONS and manifest.subjects == ("s01s02", "s02s04")
  stored = tiny_sets.stored(folder)
  assert {split: len(found) for split, found in stored.items()} == {"train": 8, "validation": 4, "test": 4}
  video = stored["test"]["s02s01_07_001"]
  assert (video.subject, video.group, sbu.ACTIONS[video.action], video.fps) == ("s01s02", "s02s01_07_001", "shaking_hands", 15)
  assert tiny_sets.shades(video) == [155, 160, 165]
  # Who is asked for at test time can be learnt in training, in every action that validation took from.
  cells = {split: {(one.subject, one.action) for one in found.values()} for split, found in stored.items()}
  assert cells["validation"] <= cells["train"] and {who for who, _ in cells["test"]} <= {who for who, _ in cells["train"]}


@pytest.mark.parametrize("text, reason", [
    ("SBU/s01s02/s01s02/01/001,1,3,0", "4 cells, not PATH,FIRST,LAST,PAIR,ACTION"),
    ("SBU/s01s04/s01s04/01/001,1,3,0,0", "its path does not end in SET/ACTION/CLIP, e.g. s01s02/03/001"),
    ("SBU/s01s02/s01s02/09/001,1,3,0,8", "its path does not end in SET/ACTION/CLIP, e.g. s01s02/03/001"),
    ("s01s02/01/001,1,x,0,0", "1,x,0,0 are not four numbers"),
    ("s01s02/01/001,3,1,0,0", "frames 3 to 1"),
    ("s01s02/01/001,0,1,0,0", "frames 0 to 1"),
    ("s02s01/01/001,1,3,3,0", "pair 3, but set s02s01 shows pair 0"),
    ("s01s02/01/001,1,3,0,1", "action 1, but folder 01 holds action 0"),
    ("s01s02/01/009,1,3,0,0", "no such folder"),
    ("s01s02/01/002,1,3,0,0", "a second line for this clip (first: train.txt line 1)"),
])
def test_a_line_that_contradicts_itself_is_told(source, text, reason):
  lists(source, TRAIN[1:], changed={3: text})
  [plan] = sbu.plan(options.SbuOptions(source=str(source)))
  [problem] = plan.problems
  assert str(problem) == f"train.txt line 4 ({text.partition(',')[0]}): {reason}"


def test_a_clip_of_both_lists_is_told(source):
  lists(source, test=[TRAIN[0], *TEST])
  [plan] = sbu.plan(options.SbuOptions(source=str(source)))
  assert [problem.reason for problem in plan.problems] == ["a second line for this clip (first: train.txt line 1)"]


def test_missing_and_damaged_pictures_are_told(tmp_path, source, capsys):
  (source / TEST[0] / "rgb_000002.png").unlink()
  (source / TEST[1] / "rgb_000003.png").write_bytes(b"no picture")
  tiny_sets.tiny_files.image(source / TEST[2] / "rgb_000002.png", tiny_sets.np.zeros((9, 12, 3), "uint8"))
  assert tiny_sets.built("sbu", source, tmp_path / "data") == 1
  error = capsys.readouterr().err
  for told in ("s02s01_03_001: rgb_000002.png: no such file", "s04s02_07_004: rgb_000003.png: not an image that Pillow can open",
               "s02s01_01_001: rgb_000002.png: 12x9, those before are 12x8"):
    assert f"left out: {told}\n" in error
  assert not (tmp_path / "data" / "sbu" / "manifest.json").exists()


def test_a_pair_without_training_clip_is_refused(source):
  lists(source, [place for place in TRAIN if place.startswith("s01")])
  with pytest.raises(PlanError, match="sbu: identity needs everybody in train, but s02s04 is only in test"):
    sbu.plan(options.SbuOptions(source=str(source)))


def test_a_folder_that_is_not_sbu_is_told(tmp_path, source):
  with pytest.raises(PlanError, match="sbu: --source is missing"):
    sbu.plan(options.SbuOptions())
  with pytest.raises(PlanError, match=r"sbu: none of the sets s01s02 ... s07s03 in --source="):
    sbu.plan(options.SbuOptions(source=str(tmp_path)))
  (source / "val.txt").unlink()
  with pytest.raises(PlanError, match=r"sbu: no val.txt or bdq_val.txt in .*: the clip lists of BDQ's code, which --sbu_split=fold1 does"):
    sbu.plan(options.SbuOptions(source=str(source)))


# ---- the official folds ----


@pytest.fixture
def every_set(tmp_path):
  for name in sbu.SETS:
    tiny_sets.pictures(tmp_path / "sbu" / name / "02" / "001", "rgb_{:06d}.png", 2)
  return tmp_path / "sbu"


def test_a_fold_divides_sets_and_records_nobody(tmp_path, every_set):
  assert tiny_sets.built("sbu", every_set, tmp_path / "data", "--sbu_split=fold2") == 0
  folder = tmp_path / "data" / "sbu_fold2"
  manifest, stored = records.read_manifest(str(folder)), tiny_sets.stored(folder)
  assert not manifest.closed_set_identity and manifest.subjects == ()
  assert "no subjects recorded, so none compared" in split_check._compared("sbu", split_check.sides(str(folder)))
  groups = {split: {one.group for one in found.values()} for split, found in stored.items()}
  assert groups["test"] == {"s02s03", "s02s07", "s03s05", "s05s03"}
  assert sorted(name for found in groups.values() for name in found) == sorted(sbu.SETS)  # each in one split only
  assert len(groups["validation"]) == 3  # a fifth of seventeen


def test_a_fold_tells_what_is_missing(every_set):
  tiny_sets.pictures(every_set / "s01s02" / "04" / "001", "rgb_{:06d}.png", 3)
  (every_set / "s01s02" / "04" / "001" / "rgb_000002.png").unlink()
  (every_set / "s01s03" / "05" / "001").mkdir(parents=True)
  (every_set / "s07s03").rename(every_set / "elsewhere")
  [plan] = sbu.plan(options.SbuOptions(source=str(every_set), sbu_split="fold1"))
  assert [str(problem) for problem in plan.problems] == ["s01s03/05/001: no picture rgb_000001.png in it", "s07s03: no such folder"]
  [item] = [item for item in plan.items["test"] if item.id == "s01s02_04_001"]
  with pytest.raises(ValueError, match="rgb_000002.png: no such file"):
    sbu.make(item.work)


def test_every_set_is_tested_in_one_fold():
  assert sorted(number for numbers in sbu.FOLDS.values() for number in numbers) == list(range(1, 22))


# ---- the real lists ----


@real
def test_the_tables_are_the_official_ones():
  official = json.loads((REAL / "sets_folds.json").read_text())
  assert list(sbu.SETS) == official["sets"] and [list(fold) for fold in sbu.FOLDS.values()] == official["five_fold_test_sets_1based"]
  assert [name.replace("_", "") for name in sbu.ACTIONS] == [official["actions"][f"{n:02d}"].lower() for n in range(1, 9)]
  assert {name: sbu.PAIRS.index(sbu.pair_of(name)) for name in sbu.SETS} == official["actor_pair_label"] and len(sbu.PAIRS) == 13


@real
def test_the_real_lists_are_read_without_a_problem(tmp_path):
  for file in ("bdq_train.txt", "bdq_val.txt"):
    (tmp_path / file).write_bytes((REAL / file).read_bytes())
    for text in (REAL / file).read_text().splitlines():
      (tmp_path / text.partition(",")[0].removeprefix("SBU/")).mkdir(parents=True)
  [plan] = sbu.plan(options.SbuOptions(source=str(tmp_path)))
  assert plan.problems == () and plan.closed_set_identity
  clips = {split: [item.work[1] for item in items] for split, items in plan.items.items()}
  assert (len(clips["train"]) + len(clips["validation"]), len(clips["test"])) == (188, 94)
  assert len({clip.name for found in clips.values() for clip in found}) == 282
  assert {clip.set for found in clips.values() for clip in found} == set(sbu.SETS)
  cells = {split: collections.Counter((sbu.pair_of(clip.set), clip.action) for clip in found) for split, found in clips.items()}
  assert all({pair for pair, _ in cells[split]} == set(sbu.PAIRS) for split in ("train", "test"))
  assert set(cells["validation"]) <= set(cells["train"]) and len(clips["validation"]) == 36
