"""The writer: the same bytes each time, also after a kill; nothing half-written looks whole."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from mppar_tf.data import records
from mppar_tf.data.records import DatasetWriter, RecordsError, Skipped
from mppar_tf.data.schema import Header, Image, encode

HEADER = Header("stills", "image", (), ("face",))
ROOT = pathlib.Path(__file__).resolve().parents[2]


def make(number):
  return Image(f"i{number}", np.full((8, 8, 3), number, np.uint8), labels={"face": number % 2}, subject=f"s{number % 3}")


def write(folder, make=make, items=20, **settings):
  writer = DatasetWriter(folder, HEADER, source_sha256="abc", settings={"size": 8, "list": (1, 2)}, **settings)
  writer.write_split("train", range(items), make, shards=4, progress=False)
  writer.write_split("test", range(100, 105), make, progress=False)
  return writer.finish()


def content(folder):
  return {name: (pathlib.Path(folder) / name).read_bytes() for name in sorted(os.listdir(folder))}


def test_manifest_tells_what_was_written(tmp_path):
  manifest = write(tmp_path, licence="CC0", closed_set_identity=True, tool_version="0.1")
  assert manifest == records.read_manifest(tmp_path)
  assert [shard.file for shard in manifest.splits["train"]] == [f"train-0000{number}-of-00004.tfrecord" for number in range(4)]
  assert [shard.records for shard in manifest.splits["train"]] == [5, 5, 5, 5] and manifest.items == {"train": 20, "test": 5}
  assert (manifest.subjects, manifest.licence, manifest.closed_set_identity) == (("s0", "s1", "s2"), "CC0", True)
  for shard in manifest.splits["train"] + manifest.splits["test"]:
    assert (tmp_path / shard.file).stat().st_size == shard.bytes and (shard.height, shard.width) == (8, 8)
  assert records.verify(tmp_path) == []


def test_same_input_same_bytes(tmp_path):
  write(tmp_path / "one")
  write(tmp_path / "two")
  assert content(tmp_path / "one") == content(tmp_path / "two")


def test_items_are_mixed_over_the_shards_unless_told_otherwise(tmp_path):
  write(tmp_path / "mixed")
  write(tmp_path / "kept", shuffle_seed=None)
  mixed, kept = (records.ids(records.open_split(tmp_path / name, "train")) for name in ("mixed", "kept"))
  assert kept == [f"i{number}" for number in range(20)]
  assert mixed != kept and sorted(mixed) == sorted(kept)


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
import importlib.util
spec = importlib.util.spec_from_file_location("writing_test", sys.argv[2])
room = importlib.util.module_from_spec(spec)
spec.loader.exec_module(room)
made = []
def make(number):
  made.append(number)
  if len(made) == 13:
    os.kill(os.getpid(), signal.SIGKILL)
  return room.make(number)
room.write(sys.argv[3], make)
"""


def test_killed_build_resumes_to_the_same_bytes(tmp_path):
  write(tmp_path / "whole")
  process = subprocess.run([sys.executable, "-c", KILLED, str(ROOT), __file__, str(tmp_path / "killed")], capture_output=True, check=False)
  assert process.returncode == -9, process.stderr.decode()[-500:]
  left = content(tmp_path / "killed")
  assert "manifest.json" not in left and "train-00002-of-00004.tfrecord" not in left
  with pytest.raises(RecordsError, match="no manifest.json"):
    records.open_split(tmp_path / "killed", "train")
  times = [(tmp_path / "killed" / f"train-0000{number}-of-00004.tfrecord").stat().st_mtime_ns for number in range(2)]
  again = []
  write(tmp_path / "killed", lambda number: again.append(number) or make(number))
  assert content(tmp_path / "killed") == content(tmp_path / "whole")
  assert len(again) == 25 - 10, "the two finished shards were made again"
  assert times == [(tmp_path / "killed" / f"train-0000{number}-of-00004.tfrecord").stat().st_mtime_ns for number in range(2)]


def stopping(after):
  made = []

  def failing(number):
    made.append(number)
    if len(made) > after:
      raise KeyboardInterrupt
    return make(number)
  return failing


def test_a_second_kill_loses_nothing_that_the_first_build_finished(tmp_path):
  write(tmp_path / "whole")
  folder = tmp_path / "twice"
  with pytest.raises(KeyboardInterrupt):
    write(folder, stopping(after=17))
  (folder / "train-00000-of-00004.tfrecord").unlink()
  with pytest.raises(KeyboardInterrupt):
    write(folder, stopping(after=2))  # stops inside of shard 0, before it comes to shards 1 and 2
  again = []
  write(folder, lambda number: again.append(number) or make(number))
  assert len(again) == 25 - 10 and content(folder) == content(tmp_path / "whole")


def test_a_finished_shard_that_was_damaged_since_is_written_again(tmp_path):
  write(tmp_path / "whole")
  with pytest.raises(KeyboardInterrupt):
    write(tmp_path / "killed", stopping(after=12))
  shard = tmp_path / "killed" / "train-00001-of-00004.tfrecord"
  damaged = bytearray(shard.read_bytes())
  damaged[20] ^= 1
  shard.write_bytes(damaged)
  write(tmp_path / "killed")
  assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_another_plan_takes_nothing_over(tmp_path):
  with pytest.raises(KeyboardInterrupt):
    write(tmp_path / "killed", stopping(after=12))
  write(tmp_path / "killed", items=24)  # as many shards, other items in them
  write(tmp_path / "whole", items=24)
  assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_a_finished_dataset_is_taken_over_or_defended(tmp_path):
  before = write(tmp_path)
  again = []
  assert write(tmp_path, lambda number: again.append(number) or make(number)) == before and again == []
  with pytest.raises(RecordsError, match="finished records made with another source_sha256"):
    DatasetWriter(tmp_path, HEADER, source_sha256="other", settings={"size": 8, "list": (1, 2)})
  with pytest.raises(RecordsError, match="another settings"):
    DatasetWriter(tmp_path, HEADER, source_sha256="abc", settings={"size": 9, "list": (1, 2)})


def test_skipped_sources_are_listed_and_accounted_for(tmp_path):
  manifest = write(tmp_path, lambda number: Skipped(f"i{number}", "no frames") if number == 7 else make(number))
  assert [text for shard in manifest.splits["train"] for text in shard.skipped] == ["i7: no frames"]
  assert sum(shard.records for shard in manifest.splits["train"]) == 19 and records.verify(tmp_path) == []
  fields = json.loads((tmp_path / "manifest.json").read_text())
  for shard in fields["splits"]["train"]:
    shard["skipped"] = []
  (tmp_path / "manifest.json").write_text(json.dumps(fields))
  assert records.verify(tmp_path) == ["train: 20 sources, but 19 records and skipped ones"]


def test_encoded_items_and_a_mapper_of_ones_own(tmp_path):
  write(tmp_path / "plain")
  writer = DatasetWriter(tmp_path / "mapped", HEADER, source_sha256="abc", settings={"size": 8, "list": (1, 2)})
  mapper = lambda function, items: [function(item) for item in items]
  for split, items, shards in (("train", range(20), 4), ("test", range(100, 105), None)):
    writer.write_split(split, items, lambda number: encode(make(number), HEADER), shards=shards, mapper=mapper, progress=False)
  writer.finish()
  assert content(tmp_path / "mapped") == content(tmp_path / "plain")


def test_mistakes_are_told(tmp_path):
  writer = DatasetWriter(tmp_path, HEADER)
  with pytest.raises(RecordsError, match="no split was written"):
    writer.finish()
  with pytest.raises(RecordsError, match="'training' is not one of train, validation, test"):
    writer.write_split("training", range(3), make, progress=False)
  with pytest.raises(RecordsError, match="'train' has no items"):
    writer.write_split("train", [], make, progress=False)
  with pytest.raises(RecordsError, match="all 3 items were skipped"):
    writer.write_split("test", range(3), lambda number: Skipped(str(number), "broken"), progress=False)
  with pytest.raises(RecordsError, match="kind 'film' is not one of video, image"):
    DatasetWriter(tmp_path, HEADER._replace(kind="film"))
