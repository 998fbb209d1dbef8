"""split_check: every kind of overlap is found and named, within a dataset and across datasets; closed-set identity excuses people alone."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from mppar_tf.data import records, schema
from tfrecord_tools import split_check

ROOT = pathlib.Path(__file__).resolve().parents[2]


def write(folder, rows, closed=False, kind="video"):
  """Records of (split, id, shade, group, subject)."""
  writer = records.DatasetWriter(str(folder), schema.Header(folder.name, kind), closed_set_identity=closed)
  for split in dict.fromkeys(row[0] for row in rows):
    writer.write_split(split, [row for row in rows if row[0] == split], made if kind == "video" else still, progress=False)
  writer.finish()
  return str(folder)


def made(row):
  _, name, shade, group, subject = row
  return schema.Video(name, [np.full((16, 16, 3), shade + step, np.uint8) for step in (0, 40)], 5.0, subject=subject, group=group)


def still(row):
  _, name, shade, group, subject = row
  return schema.Image(name, np.full((16, 16, 3), shade, np.uint8), subject=subject, group=group)


CLEAN = [("train", "a", 0, "g1", "ann"), ("train", "b", 5, "g1", "bob"), ("validation", "c", 10, "g2", "cat"), ("test", "d", 15, "", "dan")]


def test_nothing_is_shared(tmp_path, capsys):
  folder = write(tmp_path / "mine", CLEAN)
  assert split_check.main([folder]) == 0
  captured = capsys.readouterr()
  assert captured.out == f"{folder}: train 2, validation 1, test 1; 2 groups, 4 subjects\nnothing stands in two splits\n"
  assert captured.err == ""


@pytest.mark.parametrize("kind, row, told", [
    ("video", ("test", "a", 20, "", ""), "mine train and mine test share 1 videos or images: a"),
    ("video", ("test", "e", 5, "", ""), "mine train and mine test share 1 videos or images under two names: b = e"),
    ("video", ("validation", "e", 20, "g1", ""), "mine train and mine validation share 1 groups: g1"),
    ("video", ("test", "e", 20, "g2", ""), "mine validation and mine test share 1 groups: g2"),
    ("video", ("test", "e", 20, "", "cat"), "mine validation and mine test share 1 subjects: cat"),
    ("image", ("test", "e", 5, "", ""), "mine train and mine test share 1 videos or images under two names: b = e"),
])
def test_every_kind_of_overlap_is_named(tmp_path, capsys, monkeypatch, kind, row, told):
  write(tmp_path / "mine", [*CLEAN, row], kind=kind)
  monkeypatch.chdir(tmp_path)
  assert split_check.main(["mine/"]) == 1
  assert capsys.readouterr().err == told + "\n"


def test_what_repeats_within_one_split_is_no_overlap(tmp_path):
  assert split_check.main([write(tmp_path / "mine", [*CLEAN, ("train", "a2", 0, "g1", "ann")])]) == 0


def test_closed_set_identity_excuses_people_and_nothing_else(tmp_path, capsys):
  rows = [*CLEAN, ("test", "e", 20, "g2", "ann")]
  folder = write(tmp_path / "closed", rows, closed=True)
  assert split_check.main([folder]) == 1
  captured = capsys.readouterr()
  assert captured.err == f"{folder} validation and {folder} test share 1 groups: g2\n"
  assert "closed-set identity: the same subjects by definition" in captured.out
  assert split_check.main([write(tmp_path / "groupless", [row[:3] + ("",) + row[4:] for row in rows], closed=True)]) == 0


def test_datasets_are_compared_with_one_another(tmp_path, capsys, monkeypatch):
  write(tmp_path / "hmdb51", [("train", "wave/a.avi", 0, "film", ""), ("validation", "wave/b.avi", 5, "", ""),
                              ("test", "wave/c.avi", 9, "", "")])
  write(tmp_path / "pa_hmdb51", [("test", "wave/c.avi", 9, "", ""), ("test", "wave/b.avi", 90, "", ""), ("test", "x", 30, "film", "")])
  monkeypatch.chdir(tmp_path)
  assert split_check.main(["pa_hmdb51"]) == split_check.main(["hmdb51"]) == 0
  capsys.readouterr()
  assert split_check.main(["hmdb51", "pa_hmdb51"]) == 1
  captured = capsys.readouterr()
  # Test against test is no leak: c.avi is judged in both.
  assert captured.err == ("hmdb51 train and pa_hmdb51 test share 1 groups: film\n"
                          "hmdb51 validation and pa_hmdb51 test share 1 videos or images: wave/b.avi\n")
  assert "pa_hmdb51: test 3; 1 groups, no subjects recorded, so none compared\n2 overlaps between splits\n" in captured.out


def test_people_of_an_open_set_are_compared_with_those_of_a_closed_one(tmp_path, capsys):
  closed = write(tmp_path / "closed", [("train", "a", 0, "", "ann"), ("test", "b", 5, "", "ann")], closed=True)
  one_sided = write(tmp_path / "open", [("test", "c", 10, "", "ann")])
  assert split_check.main([closed, one_sided]) == 1
  assert capsys.readouterr().err == f"{closed} train and {one_sided} test share 1 subjects: ann\n"


def test_a_long_overlap_is_shortened(tmp_path, capsys):
  rows = [(split, f"{split} {n}", shade + n, f"g{n}", "") for split, shade in (("train", 0), ("test", 20)) for n in range(7)]
  assert split_check.main([write(tmp_path / "mine", rows)]) == 1
  assert "share 7 groups: g0, g1, g2, g3, g4 and 2 more\n" in capsys.readouterr().err


def test_what_cannot_be_checked_is_exit_code_2(tmp_path, capsys):
  folder = write(tmp_path / "mine", CLEAN)
  for arguments, reason in (([], "no folder given"), ([folder, folder], f"{folder} is given twice"),
                            ([str(tmp_path)], f"{tmp_path}: no manifest.json")):
    assert split_check.main(arguments) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1
  shard = tmp_path / "mine" / "test-00000-of-00001.tfrecord"
  data = bytearray(shard.read_bytes())
  data[100] ^= 1
  shard.write_bytes(data)
  assert split_check.main([folder]) == 2
  error = capsys.readouterr().err
  assert "test-00000-of-00001.tfrecord" in error and "is damaged" in error and error.count("\n") == 1


def test_help_teaches():
  command = [sys.executable, "-m", "tfrecord_tools.split_check", "--help"]
  shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}).stdout
  assert "closed-set identity" in shown and "PA-HMDB51" in shown and "Exit code: 0" in shown
