"""Every kind of damage is found, and named by shard and record."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from mppar_tf.data import integrity, records
from mppar_tf.data.records import DatasetWriter, RecordsError
from mppar_tf.data.schema import Encoded, Header, Image, encode_image

HEADER = Header("stills", "image", (), ("face",))
SHARD = "train-00001-of-00003.tfrecord"


def image(number):
  return Image(f"i{number}", np.full((8, 8, 3), number, np.uint8), labels={"face": number % 2})


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
  folder = tmp_path_factory.mktemp("records") / "sound"
  writer = DatasetWriter(folder, HEADER)
  writer.write_split("train", range(30), image, shards=3, progress=False)
  writer.write_split("test", range(30, 34), image, progress=False)
  writer.finish()
  return folder


@pytest.fixture
def folder(sound, tmp_path):
  shutil.copytree(sound, tmp_path / "copy")
  return tmp_path / "copy"


def borders(path):
  """Byte offset at which each record starts, and the end."""
  sizes = [len(record.serialized) + 16 for record in integrity.scan(str(path))]
  return np.cumsum([0] + sizes).tolist()


def flip(path, offset):
  content = bytearray(path.read_bytes())
  content[offset] ^= 0x10
  path.write_bytes(content)


def test_checksum_agrees_with_tensorflow(tmp_path):
  crc = 0xE3069283  # of these nine bytes, the published check value of CRC32C
  assert integrity.masked_crc32c(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
  bodies = [np.random.default_rng(size).bytes(size) for size in (1, 7, 1000)]
  path = str(tmp_path / "some.tfrecord")
  with tf.io.TFRecordWriter(path) as writer:
    for body in bodies:
      writer.write(body)
  assert [(found.serialized, found.problem) for found in integrity.scan(path)] == [(body, None) for body in bodies]


def test_a_sound_folder_has_no_problems(sound):
  assert records.verify(sound) == []
  assert records.verify(str(sound), progress=True) == []


@pytest.mark.parametrize("number", [0, 3, 9])
def test_flipped_byte_names_shard_and_record_and_nothing_else(folder, number):
  path = folder / SHARD
  flip(path, borders(path)[number] + 12 + 5)
  assert records.verify(folder) == [f"{SHARD}: record {number}: damaged bytes (checksum)"]


def test_two_flipped_bytes_are_two_problems(folder):
  path = folder / SHARD
  flip(path, borders(path)[2] + 40)
  flip(path, borders(path)[7] + 40)
  assert records.verify(folder) == [f"{SHARD}: record {number}: damaged bytes (checksum)" for number in (2, 7)]


def test_damaged_length_tells_that_the_rest_is_lost(folder):
  path = folder / SHARD
  flip(path, borders(path)[3] + 1)
  assert records.verify(folder) == [f"{SHARD}: record 3: damaged length; nothing after it can be found",
                                    f"{SHARD}: 3 records of 10, 7 lost"]


@pytest.mark.parametrize("beyond, told", [(5, "ends inside its length"), (40, "ends after 28 of its")])
def test_truncation_inside_a_record(folder, beyond, told):
  path = folder / SHARD
  path.write_bytes(path.read_bytes()[:borders(path)[6] + beyond])
  problems = records.verify(folder)
  assert problems[0].startswith(f"{SHARD}: record 6: the file {told}")
  assert problems[1] == f"{SHARD}: 6 records of 10, 4 lost" and "bytes where the manifest says" in problems[2] and len(problems) == 3


def test_truncation_at_a_border_which_tensorflow_does_not_see(folder):
  path = folder / SHARD
  path.write_bytes(path.read_bytes()[:borders(path)[6]])
  assert sum(1 for _ in tf.data.TFRecordDataset(str(path))) == 6, "the premise: no error"
  problems = records.verify(folder)
  assert problems[0] == f"{SHARD}: 6 records of 10, 4 lost" and len(problems) == 2


def test_empty_missing_and_extra_shards(folder):
  (folder / SHARD).write_bytes(b"")
  (folder / "train-00002-of-00003.tfrecord").unlink()
  shutil.copy(folder / "train-00000-of-00003.tfrecord", folder / "train-00003-of-00004.tfrecord")
  assert records.verify(folder) == [
      f"{SHARD}: empty where the manifest says 10 records", "train-00002-of-00003.tfrecord: missing",
      "train-00003-of-00004.tfrecord: a shard that the manifest does not name"]


def test_extra_record(folder):
  path = folder / SHARD
  path.write_bytes(path.read_bytes() + (folder / "test-00000-of-00001.tfrecord").read_bytes())
  problems = records.verify(folder)
  assert problems[0] == f"{SHARD}: 14 records where the manifest says 10, 4 too many"
  assert sum("occurs 2 times" in problem for problem in problems) == 4, "the four ids stand in train and test now"


def test_an_exchanged_record_with_a_valid_checksum(folder):
  path, other = folder / SHARD, folder / "exchanged"
  bodies = [record.serialized for record in integrity.scan(str(path))]
  with tf.io.TFRecordWriter(str(other)) as writer:
    for body in bodies[:-1] + [bodies[-1].replace(b"face", b"fake")]:
      writer.write(body)
  other.rename(path)
  assert records.verify(folder) == [f"{SHARD}: record 9: stills: a record without label/face"]
  with tf.io.TFRecordWriter(str(path)) as writer:
    for body in bodies[1:] + bodies[:1]:
      writer.write(body)
  assert records.verify(folder) == [f"{SHARD}: its SHA-256 is not the manifest's, although every record's own checksum holds"]


def test_a_record_that_cannot_be_parsed_although_the_manifest_vouches_for_it(tmp_path):
  bad = encode_image(image(1), HEADER).replace(b"\xff\xd8\xff", b"\x00\x00\x00")
  writer = DatasetWriter(tmp_path, HEADER, shuffle_seed=None)
  bodies = [b"\xff\xff no message", bad, encode_image(image(2), HEADER)]
  writer.write_split("train", bodies, lambda body: Encoded(body, 8, 8, ""), progress=False)
  writer.finish()
  problems = records.verify(tmp_path)
  assert len(problems) == 2 and "record 0: stills: a record that is no Example" in problems[0]
  assert problems[1].endswith("record 1: stills: record 'i1' lacks JPEG frames")


def test_leftovers_and_schema_version(folder):
  (folder / "train-00000-of-00009.tfrecord.writing").write_bytes(b"abc")
  (folder / "journal.json").write_text("{}")
  assert records.verify(folder) == [f"{name}: left over from a build that was interrupted"
                                    for name in ("journal.json", "train-00000-of-00009.tfrecord.writing")]
  fields = json.loads((folder / "manifest.json").read_text())
  (folder / "manifest.json").write_text(json.dumps(fields | {"schema_version": 99}))
  problem, = records.verify(folder)
  assert "schema version 99, this program reads 1" in problem
  (folder / "manifest.json").write_text("{")
  assert "no manifest of records" in records.verify(folder)[0]
  (folder / "manifest.json").unlink()
  assert "no manifest.json" in records.verify(folder)[0]


@pytest.mark.parametrize("harm, told", [
    (lambda path: path.unlink(), f"{SHARD} is missing"),
    (lambda path: path.write_bytes(b""), f"{SHARD}: empty where"),
    (lambda path: path.write_bytes(path.read_bytes()[:borders(path)[4]]), f"{SHARD}: .* bytes where the manifest says"),
    (lambda path: flip(path, borders(path)[4] + 30), f"{SHARD}: its SHA-256 is not the manifest's"),
])
def test_the_cheap_check_at_a_trainings_start_names_the_shard(folder, harm, told):
  harm(folder / SHARD)
  with pytest.raises(RecordsError, match=told):
    records.open_split(folder, "train")
  assert records.open_split(folder, "test").total == 4, "the other split is sound"
