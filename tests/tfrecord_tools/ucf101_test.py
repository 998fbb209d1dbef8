"""UCF101: official splits with their labels and groups, validation cut by whole groups, and every trap of the lists."""

import collections
import shutil

import pytest
import tiny_official

from mppar_tf.data import records, schema
from tfrecord_tools import assemble, options
from tfrecord_tools.plan import PlanError
from tfrecord_tools.readers import recordings, ucf101
from tfrecord_tools.source import Tree

REAL = tiny_official.ANNOTATIONS / "ucf101"
CLIP = tiny_official.SHARED / "clips" / "ApplyEyeMakeup" / "v_ApplyEyeMakeup_g01_c01.avi"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the official lists of UCF101 are not on this machine")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  return tiny_official.ucf101(tmp_path_factory.mktemp("ucf101"))


@pytest.fixture
def source(tmp_path, made):
  """A copy that a test may damage."""
  return shutil.copytree(made, tmp_path / "source")


def planned(folder, **chosen):
  [plan] = ucf101.plan(options.Ucf101Options(source=str(folder), **chosen))
  return plan


def groups(plan):
  return {split: {item.work[1].group for item in items} for split, items in plan.items.items()}


@pytest.mark.parametrize("split, test", [(1, {1, 2}), (2, {3, 4}), (3, {5, 6})])
def test_each_official_split_has_its_groups(made, split, test):
  plan = planned(made, official_split=split, validation_groups=0.2)
  assert (plan.classes, plan.problems) == (tiny_official.UCF101_CLASSES, ())
  found = groups(plan)
  assert found["test"] == {f"{action}_g{group:02}" for action in plan.classes for group in test}
  assert {split: len(items) for split, items in plan.items.items()} == {"train": 30, "validation": 6, "test": 12}
  assert not found["train"] & found["validation"]


def test_labels_are_those_of_the_class_list(made):
  items = [item for listed in planned(made).items.values() for item in listed]
  assert {item.work[2] for item in items} == {0, 1, 2}
  assert all(item.work[2] == tiny_official.UCF101_CLASSES.index(item.id.partition("/")[0]) for item in items)


def test_records_hold_the_clip_its_group_and_the_stored_size(tmp_path, made):
  plan = planned(made, frame_height=12, frame_width=20)
  report = assemble.assemble(plan, str(tmp_path), workers=1, progress=False)
  opened = records.open_split(str(tmp_path / "ucf101"), "test")
  stored = {video.id: video for video in (
      schema.decode(data, report.manifest.header) for _, data in records.read(opened).as_numpy_iterator())}
  video = stored["HandstandPushups/v_HandStandPushups_g02_c01.avi"]
  assert (video.action, video.group, video.frames[0].shape, video.fps) == (1, "HandstandPushups_g02", (12, 20, 3), 25)
  assert "research" in report.manifest.licence and report.manifest.settings["official_split"] == 1


@pytest.mark.parametrize("change", [str.lower, lambda name: name.replace("HandStand", "Handstand")])
def test_a_copy_whose_names_differ_in_case_is_read_all_the_same(source, change):
  for path in list((source / "UCF-101").rglob("*.avi")):
    path.rename(path.with_name(change(path.name)))
  assert planned(source).problems == ()


@pytest.mark.parametrize("list_, line, reason", [
    ("trainlist01.txt", "Typing/v_Typing_g08_c09.avi", "label 'missing', Typing is 3 in classInd.txt"),
    ("trainlist01.txt", "Typing/v_Typing_g08_c09.avi 2", "label '2', Typing is 3 in classInd.txt"),
    ("trainlist01.txt", "Diving/v_Diving_g08_c09.avi 4", "class 'Diving' is not in classInd.txt"),
    ("trainlist01.txt", "Typing/v_Archery_g08_c09.avi 3", "'Typing/v_Archery_g08_c09.avi' is not CLASS/v_CLASS_gNN_cNN.avi"),
    ("trainlist01.txt", "../Typing/v_Typing_g08_c09.avi 3", "'../Typing/v_Typing_g08_c09.avi' is not CLASS/v_CLASS_gNN_cNN.avi"),
    ("trainlist01.txt", "Typing/v_Typing_g08_c01.avi 3", "listed already (trainlist01.txt line 35)"),
    ("testlist01.txt", "Typing/v_Typing_g08_c01.avi", "listed already (trainlist01.txt line 35)"),
    ("testlist01.txt", "Typing/v_Typing_g08_c09.avi", "recording 'Typing_g08' is in train already"),
])
def test_a_bad_line_is_told_with_its_list_and_number(source, list_, line, reason):
  path = source / "ucfTrainTestlist" / list_
  number = path.read_bytes().count(b"\r\n") + 1
  path.write_bytes(path.read_bytes() + f"{line}\r\n".encode())
  [problem] = planned(source).problems
  assert problem.where.startswith(f"{list_} line {number}") and problem.reason == reason


def test_a_missing_and_an_empty_video_are_told(source):
  (source / "UCF-101" / "Typing" / "v_Typing_g01_c01.avi").unlink()
  (source / "UCF-101" / "Typing" / "v_Typing_g01_c02.avi").write_bytes(b"")
  assert [str(problem) for problem in planned(source).problems] == [
      "Typing/v_Typing_g01_c01.avi: no such file", "Typing/v_Typing_g01_c02.avi: empty file"]


def test_a_class_folder_that_no_list_knows_is_told(source):
  (source / "UCF-101" / "Diving").mkdir()
  shutil.copy(source / "UCF-101" / "Typing" / "v_Typing_g01_c01.avi", source / "UCF-101" / "Diving" / "v_Diving_g01_c01.avi")
  assert [str(problem) for problem in planned(source).problems] == ["Diving/: 1 videos of a class that is in no list"]


def test_a_link_out_of_the_source_is_not_followed(tmp_path, source):
  path = source / "UCF-101" / "Typing" / "v_Typing_g01_c01.avi"
  shutil.move(path, tmp_path / "elsewhere.avi")
  path.symlink_to(tmp_path / "elsewhere.avi")
  assert [str(problem) for problem in planned(source).problems] == ["Typing/v_Typing_g01_c01.avi: a link leads out of the root"]


def test_a_source_that_is_not_ucf101_is_told(tmp_path, source):
  with pytest.raises(PlanError, match="ucf101: --source is missing"):
    planned("")
  with pytest.raises(PlanError, match="none is not there .--source."):
    planned(tmp_path / "none")
  with pytest.raises(PlanError, match="ucf101: no classInd.txt below .*; the official lists come apart .*: give --annotations"):
    planned(source / "UCF-101")
  assert planned(source / "UCF-101", annotations=str(source / "ucfTrainTestlist")).problems == ()
  shutil.copytree(source / "UCF-101", source / "copy")
  with pytest.raises(PlanError, match="could both be Archery/v_Archery_g.._c...avi; give the folder of one of them"):
    planned(source)
  (source / "ucfTrainTestlist" / "classInd.txt").write_text("1 Archery\n3 Typing\n")
  with pytest.raises(PlanError, match="classInd.txt line 2: '3 Typing' where '2 NAME' is expected"):
    planned(source)


def test_another_split_or_content_is_another_source_and_another_place_is_not(tmp_path, source):
  first = planned(source)
  moved = source.rename(tmp_path / "moved")
  assert planned(moved).source_sha256 == first.source_sha256
  assert planned(moved, official_split=2).source_sha256 != first.source_sha256
  video = moved / "UCF-101" / "Archery" / "v_Archery_g01_c01.avi"
  video.write_bytes(video.read_bytes() + b"\0")
  assert planned(moved).source_sha256 != first.source_sha256


# ---- the validation cut ----


def clips(sizes):
  """Training clips: (class, recording) -> how many."""
  return [recordings.Clip(f"{action}/{group}_{number}", action, group, "train") for (action, group), count in sizes.items()
          for number in range(count)]


def test_a_recording_of_several_classes_moves_as_a_whole_or_not_at_all():
  table = clips({(action, f"r{number}"): 1 + (number + index) % 3 for index, action in enumerate("abc") for number in range(12)})
  for seed in range(20):
    cut = recordings.cut_validation(table, 0.25, seed)
    splits = collections.defaultdict(set)
    for clip in cut:
      splits[clip.group].add(clip.split)
    assert all(len(of_group) == 1 for of_group in splits.values())
    for action in "abc":
      counts = collections.Counter(clip.split for clip in cut if clip.action == action)
      assert 0 < counts["validation"] <= 0.25 * counts.total()


def test_a_class_of_large_recordings_gives_its_smallest_and_none_gives_its_last():
  cut = recordings.cut_validation(clips({("a", "large"): 9, ("a", "small"): 4, ("b", "only"): 5}), 0.1, 0)
  assert {clip.group for clip in cut if clip.split == "validation"} == {"small"}


def test_the_cut_follows_seed_and_names_alone():
  table = clips({("a", f"r{number}"): 2 for number in range(30)})
  of = lambda table, seed: {clip.name for clip in recordings.cut_validation(table, 0.2, seed) if clip.split == "validation"}
  assert of(table, 1) == of(table[::-1], 1) and len({frozenset(of(table, seed)) for seed in range(5)}) > 1
  assert of(table, 0) and not {clip for clip in recordings.cut_validation(table, 0.0, 0) if clip.split == "validation"}


# ---- the real lists ----


@real
@pytest.mark.parametrize("split, train, test", [(1, 9537, 3783), (2, 9586, 3734), (3, 9624, 3696)])
def test_real_lists(split, train, test):
  classes, listed, problems = ucf101.read_split(Tree(REAL), split)
  assert (len(classes), problems) == (101, []) and (classes[0], classes[-1]) == ("ApplyEyeMakeup", "YoYo")
  assert collections.Counter(clip.split for clip in listed) == {"train": train, "test": test}
  assert len({clip.name for clip in listed}) == 13320 and {clip.action for clip in listed} == set(classes)
  assert len({clip.group for clip in listed}) == 101 * 25
  cut = recordings.cut_validation(listed, 0.1, 0)
  by_split = {name: {clip.group for clip in cut if clip.split == name} for name in ("train", "validation", "test")}
  assert not by_split["train"] & by_split["validation"] and not (by_split["train"] | by_split["validation"]) & by_split["test"]
  shares = collections.Counter(clip.action for clip in cut if clip.split == "validation")
  trained = collections.Counter(clip.action for clip in listed if clip.split == "train")
  assert all(0.04 < shares[action] / trained[action] <= 0.1 for action in classes)


@real
@pytest.mark.skipif(not CLIP.is_file(), reason="the real clip of UCF101 is not on this machine")
def test_a_real_clip_under_the_real_lists():
  [plan] = ucf101.plan(options.Ucf101Options(source=str(CLIP.parents[1]), annotations=str(REAL)))
  assert {split: len(items) for split, items in plan.items.items()} == {"train": 0, "validation": 0, "test": 1}
  assert len(plan.problems) == 13319 and all(problem.reason == "no such file" for problem in plan.problems)
  made = ucf101.recordings.make(plan.items["test"][0].work)
  assert (made["action"], made["group"], len(made["frames"]), made["fps"]) == (0, "ApplyEyeMakeup_g01", 164, 25)
