"""verify, inspect and the contact sheet: what they say of sound and of damaged folders."""

import os

import numpy as np
import pytest
import tiny_files
import tiny_plans
from PIL import Image

from mppar_tf.data import records, schema
from tfrecord_tools import assemble, build, detector_check, inspect, sheet, verify, words


@pytest.fixture
def folder(tmp_path):
  assemble.assemble(tiny_plans.plan(bad=1), str(tmp_path), workers=1, allow_errors=1, progress=False)
  return tmp_path / "tiny"


def flip(path, place):
  data = bytearray(path.read_bytes())
  data[place] ^= 1
  path.write_bytes(data)


def test_verify_tells_a_sound_folder(folder, capsys):
  assert verify.main([str(folder)]) == 0
  assert capsys.readouterr().out == f"{folder}: sound (train 12, test 2 records)\n"


def test_verify_names_every_problem_of_every_folder(folder, tmp_path, capsys):
  flip(folder / "train-00001-of-00005.tfrecord", 200)
  (folder / "train-00002-of-00005.tfrecord").unlink()
  (folder / "test-00007-of-00008.tfrecord").touch()
  assert verify.main([str(tmp_path / "none"), str(folder)]) == 1
  error = capsys.readouterr().err
  assert f"{tmp_path / 'none'}: no manifest.json" in error
  assert f"{folder}: train-00001-of-00005.tfrecord: record 0: damaged bytes" in error
  assert f"{folder}: train-00002-of-00005.tfrecord: missing" in error
  assert f"{folder}: test-00007-of-00008.tfrecord: a shard that the manifest does not name" in error
  assert "problems" in error.splitlines()[-1]


def test_verify_without_a_folder_is_exit_code_2(capsys):
  assert verify.main([]) == 2
  assert "no folder given" in capsys.readouterr().err


@pytest.fixture
def labelled(tmp_path):
  """Videos with actions, gaps in the labels, and subjects that cross splits."""
  header = schema.Header("labelled", "video", ("clap", "wave"), ("nude", "old"))
  writer = records.DatasetWriter(str(tmp_path / "labelled"), header, settings={"left_out": ["a.csv line 2: no such file"]}, licence="CC0")
  frames = [np.full((20, 16, 3), 10 * number, np.uint8) for number in range(12)]
  rows = {"train": [(0, {"nude": 1, "old": 0}, "ann"), (1, {"nude": 1}, "bob"), (1, {"nude": 0}, "ann"), (-1, {}, "")],
          "test": [(1, {"nude": 0}, "bob"), (1, {"nude": 1}, "eve")]}
  for split, of_split in rows.items():
    writer.write_split(split, list(enumerate(of_split)), progress=False, make=lambda item: schema.Video(
        f"video {item[0]} of {split}", frames, 5.0, item[1][0], item[1][1], item[1][2]))
  writer.finish()
  return str(tmp_path / "labelled")


def test_inspect_counts_what_is_there(labelled):
  lines = [" ".join(line.split()) for line in inspect.report(labelled)]
  assert lines[0].startswith("labelled: video records, schema version 1")
  assert "licence: CC0" in lines and "closed-set identity: no" in lines
  assert lines[lines.index("left out when built: 1") + 1] == "a.csv line 2: no such file"
  assert any(line.startswith("train 4 1 ") and line.endswith(" 16x20") for line in lines)
  assert {"action train test", "clap 1 0", "wave 2 2", "(none) 1 0"} <= set(lines)
  # nude: two of the three annotated train records; old: annotated once, absent there, and never in test.
  assert {"attribute train prevalence train NA test prevalence test NA", "nude 0.667 1 0.500 0", "old 0.000 3 - 2"} <= set(lines)
  assert {"subjects train test", "distinct 2 2", "also in train 2 1"} <= set(lines)


def test_inspect_draws_what_is_stored(labelled, tmp_path, capsys):
  path = tmp_path / "new" / "sheet.png"
  assert inspect.main([labelled, f"--sheet={path}", "--sheet_records=2"]) == 0
  assert f"contact sheet: {path}" in capsys.readouterr().out
  drawn = np.asarray(Image.open(path))
  # Each of the eight shown frames is flat: its grey stands side by side with the next, evenly over the twelve, first and last among them.
  row = drawn[sheet.GAP + 15 + sheet.GAP + 50, sheet.GAP:sheet.GAP + 8 * 80:80, 0].astype(int)
  assert np.abs(row - 10 * np.array([0, 2, 3, 5, 6, 8, 9, 11])).max() <= 2


def test_a_sheet_replaces_a_sheet_and_nothing_else(labelled, tmp_path, capsys):
  path = tmp_path / "drawn.png"
  assert inspect.main([labelled, f"--sheet={path}", "--sheet_records=1"]) == 0
  before = path.read_bytes()
  assert inspect.main([labelled, f"--sheet={path}"]) == 0 and path.read_bytes() != before
  capsys.readouterr()
  tiny_files.image(tmp_path / "photo.png", tiny_files.gradient())
  (tmp_path / "notes.png").write_bytes(b"notes")
  (tmp_path / "folder.png").mkdir()
  for name in ("photo.png", "notes.png", "folder.png"):
    other = tmp_path / name
    before = other.read_bytes() if other.is_file() else b""
    for program, arguments in ((inspect.main, [labelled]), (build.main, ["twin", f"--data_dir={tmp_path / 'data'}"]),
                               (detector_check.main, ["--detector=centerface", f"--records={labelled}"])):
      assert program([*arguments, f"--sheet={other}"]) == 2
      told = capsys.readouterr()
      assert told.err.count("\n") == 1 and told.out == ""
      assert f"--sheet={other}: is there, and no contact sheet of these programs; it is not replaced" in told.err
    assert (other.read_bytes() if other.is_file() else b"") == before
  assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("program", ["inspect", "build", "detector_check"])
def test_a_place_where_no_sheet_can_be_is_told_before_the_work(labelled, tmp_path, monkeypatch, capsys, program):
  program, arguments = {"inspect": (inspect.main, [labelled]), "build": (build.main, ["twin", f"--data_dir={tmp_path / 'data'}"]),
                        "detector_check": (detector_check.main, ["--detector=centerface", f"--records={labelled}"])}[program]
  (tmp_path / "file").touch()
  there = sorted(tmp_path.rglob("*"))
  for access, place, reason in ((True, "file/below/x.png", f"{tmp_path / 'file'} is no folder"),
                                (False, "new/x.png", f"no permission to write in {tmp_path}")):
    monkeypatch.setattr(os, "access", lambda *_, access=access: access)
    assert program([*arguments, f"--sheet={tmp_path / place}"]) == 2
    told = capsys.readouterr()
    assert f"--sheet={tmp_path / place}: cannot be written: {reason}" in told.err and told.err.count("\n") == 1 and told.out == ""
  assert sorted(tmp_path.rglob("*")) == there


def test_inspect_refuses_damage_and_a_bad_command_line(folder, capsys):
  flip(folder / "test-00000-of-00001.tfrecord", 100)
  assert inspect.main([str(folder)]) == 1
  assert "test-00000-of-00001.tfrecord" in capsys.readouterr().err
  assert inspect.main([]) == 2
  assert "one folder of records is needed, 0 given" in capsys.readouterr().err


def test_a_sheet_keeps_captions_within_their_records():
  entries = [sheet.Entry([np.zeros((48, 48, 3), np.uint8)], ["x" * 400, "two words"]), sheet.Entry(np.zeros((30, 32, 32, 3), np.uint8), ())]
  drawn = sheet.draw([("a heading", entries), ("nothing here", [])])
  assert drawn.shape[1] <= sheet.WIDTH + 2 * sheet.GAP and drawn.dtype == np.uint8
  assert sheet.shown(3) == [0, 1, 2] and sheet.shown(1) == [0] and len(sheet.shown(100)) == sheet.FRAMES


def test_words_and_flags_are_told_apart():
  assert words.split(["a", "b", "--x=1", "c"]) == (["a", "b", "c"], ["--x=1"])
  assert words.split(["--x", "1", "a"]) == (["a"], ["--x", "1"])
  assert words.split([]) == ([], [])
