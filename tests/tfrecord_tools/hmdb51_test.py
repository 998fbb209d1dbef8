"""HMDB51: flags 0, 1, 2 of its lists, the videos that its clips were cut from, and training without the videos of PA-HMDB51."""

import collections
import json
import shutil

import pytest
import tiny_official

from mppar_tf.data import records
from tfrecord_tools import assemble, options
from tfrecord_tools.plan import PlanError
from tfrecord_tools.readers import hmdb51, pa_annotations, recordings
from tfrecord_tools.source import Tree

REAL, REAL_PA = tiny_official.ANNOTATIONS / "hmdb51", tiny_official.ANNOTATIONS / "pa_hmdb51"
real = pytest.mark.skipif(not (REAL.is_dir() and REAL_PA.is_dir()), reason="the official lists of HMDB51 are not on this machine")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  return tiny_official.hmdb51(tmp_path_factory.mktemp("hmdb51"))


@pytest.fixture(scope="module")
def pa(tmp_path_factory):
  return tiny_official.pa_hmdb51(tmp_path_factory.mktemp("pa_hmdb51"))


@pytest.fixture
def source(tmp_path, made):
  return shutil.copytree(made, tmp_path / "source")


def planned(folder, **chosen):
  [plan] = hmdb51.plan(options.Hmdb51Options(source=str(folder), **chosen))
  return plan


def names(plan, *splits):
  return {item.id for split in splits for item in plan.items[split]}


def flagged(flag):
  return {f"{action}/{file}" for action, clips in tiny_official.hmdb51_names().items() for file, own in clips if own == flag}


def test_flags_tell_the_splits_and_flag_0_is_used_in_none(made):
  plan = planned(made, validation_groups=0.3)
  assert (plan.dataset, plan.classes, plan.problems) == ("hmdb51", ("brush_hair", "ride_bike", "wave"), ())
  assert names(plan, "train", "validation") == flagged(1) and names(plan, "test") == flagged(2) and plan.items["validation"]
  other = planned(made, official_split=2)
  assert names(other, "train", "validation") == flagged(0) | flagged(1) and not other.items["test"]


@pytest.mark.parametrize("file, action, video", [
    ("April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "brush_hair", "April"),
    ("Two_Towers_3_ride_horse_f_cm_np3_fr_med_2.avi", "ride_horse", "Two_Towers"),
    ("Two_Towers_7_ride_horse_f_cm_np3_fr_med_2.avi", "ride_horse", "Two_Towers"),
    ("Oceans12_sit_u_cm_np1_fr_med_0.avi", "sit", "Oceans"),
    ("21_sit_u_cm_np1_fr_med_0.avi", "sit", "21"),
    ("Geena_und_die_Radschl_ge___;-)_cartwheel_f_cm_np1_ri_med_0.avi", "cartwheel", "Geena_und_die_Radschl_ge___;-)"),
    ("Hamlet_(1996)_Fencing_Scenes_fencing_u_cm_np2_fr_med_2.avi", "fencing", "Hamlet_(1996)_Fencing_Scenes"),
    ("Zwei_beim_Turnen(Part2)_cartwheel_f_cm_np1_le_bad_0.avi", "cartwheel", "Zwei_beim_Turnen(Part"),
    ("Goalkeeper_Training_Day_#_7_catch_f_cm_np1_ba_bad_2.avi", "catch", "Goalkeeper_Training_Day"),
])
def test_a_name_tells_the_video_it_was_cut_from(file, action, video):
  assert hmdb51.recording(file, action) == video


def test_no_video_is_on_both_sides_of_the_validation_cut_whatever_its_classes_and_parts(made):
  moved = 0
  for seed in range(12):
    plan = planned(made, validation_groups=0.5, split_seed=seed)
    group_of = {item.id: item.work[1].group for items in plan.items.values() for item in items}
    sides = [{group_of[name] for name in names(plan, split)} for split in ("train", "validation")]
    assert not sides[0] & sides[1]
    moved += "Film" in sides[1]
  # Parts 1, 2 and 3 of the film, in all three classes, share one group, and it does move under some seeds.
  assert {group for name, group in group_of.items() if "Film" in name} == {"Film"} and moved


@pytest.mark.parametrize("line, reason", [
    ("a_wave_u_cm_np1_fr_med_9.avi 3", "'a_wave_u_cm_np1_fr_med_9.avi 3' is not FILE FLAG with a flag of 0, 1, 2"),
    ("a_wave_u_cm_np1_fr_med_9.avi", "'a_wave_u_cm_np1_fr_med_9.avi' is not FILE FLAG with a flag of 0, 1, 2"),
    ("a_walk_u_cm_np1_fr_med_9.avi 1", "'a_walk_u_cm_np1_fr_med_9.avi' is not VIDEO_wave_TAGS.avi"),
    ("a_wave_u_cm_np1_fr_med_9.avi 1", "no such file"),
    ("../walk/a_wave_u_cm_np1_fr_med_9.avi 1", "no such file"),
    ("Pier_wave_u_cm_np1_fr_med_0.avi 2", "listed already (wave_test_split1.txt line 5)"),
])
def test_a_bad_line_is_told(source, line, reason):
  path = source / "testTrainMulti_7030_splits" / "wave_test_split1.txt"
  path.write_text(path.read_text() + line + " \n")
  [problem] = planned(source).problems
  assert problem.reason == reason
  assert problem.where.startswith("wave_test_split1.txt line 9" if reason != "no such file" else "wave/")


def test_a_list_that_got_lost_is_told(source):
  (source / "testTrainMulti_7030_splits" / "wave_test_split1.txt").unlink()
  assert [str(problem) for problem in planned(source).problems] == ["wave/: 8 videos of a class that is in no list"]
  with pytest.raises(PlanError, match="hmdb51: no CLASS_test_split1.txt below .* give --annotations"):
    planned(source / "hmdb51_org")


# ---- without PA-HMDB51 ----


def test_all_videos_but_pa_hmdb51_s_train(made, pa):
  plan = planned(made, without_pa_hmdb51=str(pa), validation_groups=0.3)
  excluded = pa_annotations.names(pa_annotations.read_files("test", Tree(pa)))
  assert len(excluded) == 5 and plan.dataset == "hmdb51_without_pa_hmdb51" and plan.problems == () and not plan.items["test"]
  assert names(plan, "train", "validation") == (flagged(0) | flagged(1) | flagged(2)) - excluded
  assert plan.items["validation"]


def test_the_excluded_videos_are_in_no_record(tmp_path, made, pa):
  assemble.assemble(planned(made, without_pa_hmdb51=str(pa)), str(tmp_path), workers=1, progress=False)
  folder = tmp_path / "hmdb51_without_pa_hmdb51"
  stored = {name for split in ("train", "validation") for name in records.ids(records.open_split(str(folder), split))}
  assert len(stored) == 26 - 5 and not stored & pa_annotations.names(pa_annotations.read_files("test", Tree(pa)))


def test_labels_of_videos_that_hmdb51_does_not_know_are_told(tmp_path, made, pa):
  own = shutil.copytree(pa, tmp_path / "pa")
  path = own / "PrivacyAttributes" / "wave.json"
  path.write_text(json.dumps({"new_wave_u_cm_np1_fr_med_0.avi": {}}))
  with pytest.raises(PlanError, match="hmdb51: PA-HMDB51's wave/new_wave_u_cm_np1_fr_med_0.avi is in no list of HMDB51 .1 of 4 are not"):
    planned(made, without_pa_hmdb51=str(own))
  with pytest.raises(PlanError, match=r"hmdb51: no PrivacyAttributes/\*.json of PA-HMDB51 in "):
    planned(made, without_pa_hmdb51=str(made))
  with pytest.raises(options.OptionError, match="--official_split=2: with --without_pa_hmdb51 all videos but those train"):
    options.Hmdb51Options(official_split=2, without_pa_hmdb51="x")


# ---- the real lists ----


@real
@pytest.mark.parametrize("number", [1, 2, 3])
def test_real_lists(number):
  lists = hmdb51.read_lists(Tree(REAL), number)
  clips, problems = hmdb51.read_split(lists)
  assert (len(lists), problems) == (51, [])
  assert collections.Counter(clip.split for clip in clips) == {"train": 3570, "test": 1530}
  assert set(collections.Counter((clip.action, clip.split) for clip in clips).values()) == {70, 30}
  lines = [line for path in lists.values() for line in path.read_text().splitlines()]
  assert len(lines) == 6766 and all(line.endswith(" ") for line in lines)
  assert sum(line.split()[1] == "0" for line in lines) == 1666
  _check_cut(recordings.cut_validation(clips, 0.1, 0), 51)


def _check_cut(cut, classes):
  sides = [{clip.group for clip in cut if clip.split == split} for split in ("train", "validation")]
  assert not sides[0] & sides[1]
  shares = collections.Counter(clip.action for clip in cut if clip.split == "validation")
  total = collections.Counter(clip.action for clip in cut if clip.split in ("train", "validation"))
  assert len(shares) == classes and all(shares[action] <= 0.12 * total[action] for action in total)
  assert 0.08 < shares.total() / total.total() <= 0.1


@real
def test_real_videos_of_pa_hmdb51_are_excluded():
  excluded = pa_annotations.names(pa_annotations.read_files("test", Tree(REAL_PA)))
  flags = {}
  for action, path in hmdb51.read_lists(Tree(REAL), 1).items():
    flags |= {f"{action}/{line.split()[0]}": line.split()[1] for line in path.read_text().splitlines()}
  assert collections.Counter(flags[name] for name in excluded) == {"1": 286, "2": 130, "0": 99}
  clips, problems = hmdb51.read_split(hmdb51.read_lists(Tree(REAL), 1), excluded)
  assert problems == [] and {clip.name for clip in clips} == set(flags) - excluded and len(clips) == 6766 - 515
  _check_cut(recordings.cut_validation(clips, 0.1, 0), 51)
