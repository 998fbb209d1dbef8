"""Building a dataset: bytes that depend on the source alone, resuming after kill -9, and failures that leave nothing to be read."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import time

import pytest
import tiny_plans

from mppar_tf.data import records, schema
from tfrecord_tools import assemble
from tfrecord_tools.plan import Plan, PlanError, Problem

ROOT = pathlib.Path(__file__).resolve().parents[2]


def build(folder, workers=1, allow_errors=0, **chosen):
  return assemble.assemble(tiny_plans.plan(**chosen), str(folder), workers=workers, allow_errors=allow_errors, progress=False)


def content(folder):
  return {path.name: path.read_bytes() for path in sorted((folder / "tiny").iterdir())}


def ids(folder, split):
  return records.ids(records.open_split(str(folder / "tiny"), split))


def test_every_item_becomes_its_record(tmp_path):
  report = build(tmp_path)
  assert ids(tmp_path, "train") == [f"train {n}" for n in range(12)]
  opened = records.open_split(str(tmp_path / "tiny"), "test")
  stored = [schema.decode(data, report.manifest.header) for _, data in records.read(opened).as_numpy_iterator()]
  assert [(image.pixels.mean(), image.labels["odd"]) for image in stored] == [(1, 0), (16, 1)]
  assert (report.made, report.problems) == (14, ())
  assert records.verify(str(tmp_path / "tiny")) == []


def test_workers_change_no_byte(tmp_path):
  build(tmp_path / "one")
  build(tmp_path / "two", workers=2)
  assert content(tmp_path / "one") == content(tmp_path / "two")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_build_that_is_killed_resumes_to_the_same_bytes(tmp_path, workers):
  fuse, broken, marker = tmp_path / "fuse", tmp_path / "broken", f"marker_{os.getpid()}_{time.monotonic_ns()}"
  child = subprocess.run(
      [sys.executable, tiny_plans.__file__, str(broken), str(workers), str(fuse)], check=False, capture_output=True,
      env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "TF_CPP_MIN_LOG_LEVEL": "3", "MARKER": marker})
  assert child.returncode == -9, child.stderr
  deadline = time.monotonic() + 20
  while alive := [path for path in pathlib.Path("/proc").glob("[0-9]*/environ") if marker.encode() in _read(path)]:
    assert time.monotonic() < deadline, f"workers outlive their parent: {alive}"
    time.sleep(0.1)
  left = {path.name for path in (broken / "tiny").iterdir()}
  assert "manifest.json" not in left
  assert {"train-00000-of-00004.tfrecord", "train-00001-of-00004.tfrecord"} <= left and "train-00003-of-00004.tfrecord" not in left
  with pytest.raises(records.RecordsError, match="no manifest.json"):
    records.open_split(str(broken / "tiny"), "train")
  report = build(broken)
  assert report.made == 8  # two shards of three were kept
  build(tmp_path / "whole")
  assert content(broken) == content(tmp_path / "whole")


def _read(path):
  try:
    return path.read_bytes()
  except OSError:
    return b""


def test_too_many_bad_items_leave_no_manifest_and_are_all_told(tmp_path):
  with pytest.raises(assemble.TooManyErrors, match=r"tiny: 3 of 17 items cannot become records, --allow_errors=2; no manifest") as caught:
    build(tmp_path, bad=3, allow_errors=2)
  assert caught.value.problems == tuple(f"train {n}: number {n} is a bad one" for n in (100, 101, 102))
  assert not (tmp_path / "tiny" / "manifest.json").exists()


def test_what_failed_is_completed_with_more_errors_allowed(tmp_path):
  with pytest.raises(assemble.TooManyErrors):
    build(tmp_path / "twice", bad=2)
  report = build(tmp_path / "twice", bad=2, allow_errors=2)
  # The shards were kept, and their reasons found again.
  assert report.made == 0
  assert report.problems == ("train 100: number 100 is a bad one", "train 101: number 101 is a bad one")
  assert build(tmp_path / "once", bad=2, allow_errors=2).problems == report.problems
  assert content(tmp_path / "twice") == content(tmp_path / "once")
  skipped = [text for shard in report.manifest.splits["train"] for text in shard.skipped]
  assert skipped == list(report.problems)
  assert records.verify(str(tmp_path / "twice" / "tiny")) == []


def test_problems_of_the_table_are_told_before_anything_is_decoded(tmp_path):
  bad_rows = (Problem("a.csv line 3", "split 'x' is not one of them"),)
  with pytest.raises(assemble.TooManyErrors, match="tiny: 1 of 15 items .* nothing was decoded yet") as caught:
    build(tmp_path, problems=bad_rows)
  assert caught.value.problems == ("a.csv line 3: split 'x' is not one of them",)
  assert not (tmp_path / "tiny").exists()
  report = build(tmp_path, problems=bad_rows, allow_errors=1)
  assert report.manifest.settings["left_out"] == ["a.csv line 3: split 'x' is not one of them"]


def test_a_finished_folder_is_left_alone_and_a_lost_shard_is_made_again(tmp_path):
  build(tmp_path)
  before = content(tmp_path)
  assert build(tmp_path).made == 0
  (tmp_path / "tiny" / "train-00002-of-00004.tfrecord").unlink()
  assert build(tmp_path).made == 3
  assert content(tmp_path) == before


def test_records_of_other_settings_are_not_overwritten(tmp_path):
  build(tmp_path)
  before = content(tmp_path)
  with pytest.raises(records.RecordsError, match=r"tiny: holds finished records built with seed=0; wanted is seed=1; remove the folder or"):
    build(tmp_path, seed=1)
  assert content(tmp_path) == before


@pytest.mark.parametrize("change, told", [
    ({"licence": "CC0"}, "built with licence=made up; wanted is licence=CC0;"),
    ({"settings": {"reader": "tiny"}}, "built with seed=0; wanted is seed=None;"),
    ({"settings": {"reader": "tiny", "seed": 0, "detector": ({"name": "selfie"},)}},
     "built with detector=None; wanted is detector=[{'name': 'selfie'}];"),
    ({"absent": (Problem("tiny.csv", "no such file"),)}, "built with left_out=[]; wanted is left_out=['tiny.csv: no such file'];"),
    ({"attributes": ("odd", "even" * 50)}, "built with attributes=('odd',); wanted is attributes=('odd', 'eveneven"),
    ({"source_sha256": "f" * 64, "settings": {"reader": "tiny", "seed": 3}}, "built with seed=0, source_sha256=" + "6e340b9cffb3"),
])
def test_what_differs_is_named_with_both_values(tmp_path, change, told):
  build(tmp_path)
  with pytest.raises(records.RecordsError) as caught:
    assemble.assemble(dataclasses.replace(tiny_plans.plan(), **change), str(tmp_path), workers=1, progress=False)
  assert f"tiny: holds finished records {told}" in str(caught.value) and len(str(caught.value)) < len(str(tmp_path)) + 400


def test_shards_of_an_abandoned_build_do_not_stay(tmp_path):
  with pytest.raises(assemble.TooManyErrors):
    build(tmp_path, bad=1, shard_records=5)
  (tmp_path / "tiny" / "notes.txt").write_text("mine", encoding="utf-8")
  build(tmp_path)
  assert records.verify(str(tmp_path / "tiny")) == []
  assert "notes.txt" in content(tmp_path) and "train-00000-of-00003.tfrecord" not in content(tmp_path)


def test_the_report_counts(tmp_path):
  text = assemble.describe(build(tmp_path, bad=1, allow_errors=1), str(tmp_path / "tiny"))
  assert text.splitlines()[0].startswith(f"{tmp_path / 'tiny'}: 14 image records, 0.0 MB, ") and text.splitlines()[0].endswith("1 left out")
  assert "  train: 12 in 5 shards\n    attributes (present/labelled): odd 6/12\n  test: 2 in 1 shard" in text


def test_the_lock_makes_the_second_wait(tmp_path, capsys):
  held = ("from tfrecord_tools import assemble; import sys, time\n"
          "with assemble.lock(sys.argv[1], 'tiny'):\n  print('held', flush=True)\n  time.sleep(1)")
  child = subprocess.Popen([sys.executable, "-c", held, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT)
  assert child.stdout.readline() == b"held\n"
  started = time.monotonic()
  with assemble.lock(str(tmp_path), "tiny"):
    waited = time.monotonic() - started
  assert child.wait() == 0 and waited > 0.5
  assert "tiny is being built by another process; waiting for it" in capsys.readouterr().err


def test_a_plan_without_items_says_why():
  with pytest.raises(PlanError, match="mine: nothing to build .a.csv line 2: no such file"):
    Plan("mine", "image", {"train": []}, tiny_plans.make, (), (), (), False, "", "", {}, 1, (Problem("a.csv line 2", "no such file"),))
  with pytest.raises(PlanError, match="mine: split 'val' is not one of train, validation, test"):
    Plan("mine", "image", {"val": [1]}, tiny_plans.make, (), (), (), False, "", "", {}, 1)
