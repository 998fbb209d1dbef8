"""IXMAS: the official validation clips become test, and validation is cut out of train without emptying any subject x action."""

import collections
import os
import pathlib

import pytest
import tiny_files

from mppar_tf.data import records, schema
from tfrecord_tools import assemble, options
from tfrecord_tools.plan import PlanError
from tfrecord_tools.readers import ixmas

DATA = pathlib.Path(os.environ.get("MPPAR_SHARED_DATA", pathlib.Path(__file__).resolve().parents[3] / "shared" / "data")) / "ixmas"
ACTIONS, SUBJECTS = ("kick", "walk"), ("0", "1", "2", "10")


def rows(copies=3):
  """A table of its shape: `copies` train clips and one val clip of each subject and action."""
  return [{"file": f"s{subject}_01_{action}_cam{copy}_frames_0_9.avi", "action": action, "subject": subject,
           "split": "val" if copy == copies else "train"} for subject in SUBJECTS for action in ACTIONS for copy in range(copies + 1)]


@pytest.fixture
def source(tmp_path):
  for row in rows():
    tiny_files.video(tmp_path / "ixmas" / "clips" / row["file"], tiny_files.colours(3))
  tiny_files.table(tmp_path / "ixmas" / "clips.csv", rows())
  return tmp_path / "ixmas"


@pytest.mark.parametrize("share, wanted", [(0.0, 0), (0.2, 2), (0.25, 3), (0.5, 4)])
def test_validation_is_a_share_of_each_action_and_empties_no_cell(share, wanted):
  table = rows()
  splits = ixmas.cut_validation(table, share, seed=3)
  cells = collections.defaultdict(collections.Counter)
  for row, split in zip(table, splits):
    cells[row["subject"], row["action"]][split] += 1
  assert all(cell["train"] >= 2 and cell["validation"] <= 1 and cell["test"] == 1 for cell in cells.values())
  for action in ACTIONS:
    # 12 train clips of each action; never more than one from each of the four subjects.
    assert sum(cell["validation"] for (_, other), cell in cells.items() if other == action) == wanted


def test_a_single_train_clip_is_never_taken():
  assert "validation" not in ixmas.cut_validation(rows(copies=1), 0.5, seed=0)


def test_the_cut_depends_on_the_seed_and_on_no_order():
  table = rows()
  first = dict(zip((row["file"] for row in table), ixmas.cut_validation(table, 0.2, seed=0)))
  back = table[::-1]
  assert dict(zip((row["file"] for row in back), ixmas.cut_validation(back, 0.2, seed=0))) == first
  assert any(dict(zip((row["file"] for row in table), ixmas.cut_validation(table, 0.2, seed=seed))) != first for seed in range(1, 4))


def test_clips_become_records_with_their_subject(tmp_path, source):
  [plan] = ixmas.plan(options.IxmasOptions(source=str(source)))
  assert (plan.closed_set_identity, plan.classes, plan.subjects) == (True, ACTIONS, SUBJECTS)
  assert {split: len(items) for split, items in plan.items.items()} == {"train": 20, "validation": 4, "test": 8}
  report = assemble.assemble(plan, str(tmp_path / "data"), workers=1, progress=False)
  assert report.manifest.closed_set_identity and "research" in report.manifest.licence
  opened = records.open_split(str(tmp_path / "data" / "ixmas"), "test")
  stored = [schema.decode(data, report.manifest.header) for _, data in records.read(opened).as_numpy_iterator()]
  [video] = [one for one in stored if one.id == "s10_01_walk_cam3_frames_0_9"]
  assert (video.action, video.subject, video.group, len(video.frames)) == (1, "10", "s10_01_walk_frames_0_9", 3)


@pytest.mark.parametrize("change, reason", [
    ({"split": "test"}, "split 'test' is not one of train, val"),
    ({"action": ""}, "action is empty"),
    ({"file": "none.avi"}, "no such file"),
    ({"file": "../clips.csv"}, "'..' leads out of the root"),
    ({"file": "s1_01_kick_cam0_frames_0_9.avi"}, "a second clip of this name"),
])
def test_a_bad_line_is_told(source, change, reason):
  table = rows()
  table[-1] |= change
  tiny_files.table(source / "clips.csv", table)
  [plan] = ixmas.plan(options.IxmasOptions(source=str(source)))
  [problem] = plan.problems
  assert problem.where.startswith("clips.csv line 33 (") and problem.reason == reason


def test_a_folder_that_is_not_ixmas_is_told(tmp_path):
  with pytest.raises(PlanError, match="--source is missing"):
    ixmas.plan(options.IxmasOptions())
  with pytest.raises(PlanError, match="no clips.csv in --source="):
    ixmas.plan(options.IxmasOptions(source=str(tmp_path)))
  (tmp_path / "clips.csv").write_text("file,action,split\n")
  with pytest.raises(PlanError, match="column 'subject' is missing; needed: file, action, subject, split"):
    ixmas.plan(options.IxmasOptions(source=str(tmp_path)))


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared IXMAS clips are not on this machine")
def test_real_clips():
  [plan] = ixmas.plan(options.IxmasOptions(source=str(DATA)))
  assert {split: len(items) for split, items in plan.items.items()} == {"train": 144, "validation": 36, "test": 60}
  assert (len(plan.classes), len(plan.subjects), plan.problems) == (6, 10, ())
  made = ixmas.make(plan.items["validation"][0].work)
  assert (len(made["frames"]), made["fps"]) == (32, 25)
