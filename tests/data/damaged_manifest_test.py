"""Manifests and records that the fuzz program found to be read short, or to end in an exception that nobody foresaw."""

import copy
import json
import struct

import pytest
import tensorflow as tf

from mppar_tf.data import integrity, records, schema
from tfrecord_tools.fuzzing import stored


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
  return stored.prepare(tmp_path_factory.mktemp("sound"))[0]


def written(sound, tmp_path, text):
  for name, content in sound.files.items():
    (tmp_path / name).write_bytes(content)
  (tmp_path / "manifest.json").write_text(text)
  return str(tmp_path)


def drop_a_shard(fields):
  del fields["splits"]["train"][1]


def exchange_splits(fields):
  fields["splits"]["validation"], fields["splits"]["test"] = fields["splits"]["test"], fields["splits"]["validation"]


def of_shard(key, value):
  return lambda fields: fields["splits"]["train"][0].update({key: value})


@pytest.mark.parametrize("change, word", [
    (drop_a_shard, "where train-00000-of-00001.tfrecord belongs"), (exchange_splits, "where validation-00000-of-00001.tfrecord belongs"),
    (of_shard("file", 1.0), "texts are needed"), (of_shard("file", "../x"), "belongs"),
    (of_shard("subjects", [{"x": 1}]), "texts are needed"),
    (of_shard("subjects", "anna"), "texts are needed"), (of_shard("records", "3"), "records is '3'"),
    (of_shard("records", -1), "records is -1"),
    (of_shard("records", 1 << 40), "records in"), (of_shard("bytes", True), "bytes is True"), (of_shard("height", None), "height is None"),
    (lambda fields: fields.update(classes="walk"), "texts are needed"), (lambda fields: fields.update(attributes=[1]), "texts are needed"),
    (lambda fields: fields.update(dataset=7), "texts are needed"), (lambda fields: fields.update(items=[]), "AttributeError"),
    (lambda fields: fields.update(items={"train": 1.5}), "items of train is 1.5"), (lambda fields: fields.update(settings=[]), "settings"),
    (lambda fields: fields["splits"].update(holiday=[]), "'holiday' is not one of"),
    (lambda fields: fields["classes"].append("\ud800"), "UnicodeEncodeError")])
def test_a_manifest_of_other_values_is_refused(sound, tmp_path, change, word):
  fields = copy.deepcopy(json.loads(sound.files["manifest.json"]))
  change(fields)
  path = written(sound, tmp_path, json.dumps(fields))
  with pytest.raises(records.RecordsError, match=word) as told:
    records.read_manifest(path)
  assert path in str(told.value)


@pytest.mark.parametrize("change", [
    lambda text: text.replace('"validation": [', '"train": ['), lambda text: text.replace('"height": 16', f'"height": {"1" * 5000}'),
    lambda text: "[" * 100_000, lambda text: "[]", lambda text: ""])
def test_a_text_that_is_no_manifest_is_refused(sound, tmp_path, change):
  path = written(sound, tmp_path, change(sound.files["manifest.json"].decode()))
  with pytest.raises(records.RecordsError, match="no manifest of records"):
    records.read_manifest(path)


def test_a_lower_count_of_records_is_no_reason_to_read_less(sound, tmp_path):
  fields = json.loads(sound.files["manifest.json"])
  fields["splits"]["train"][0]["records"] -= 1
  path = written(sound, tmp_path, json.dumps(fields))
  with pytest.raises(records.RecordsError, match="train: 5 sources, but 4 records"):
    records.open_split(path, "train", on_corrupt="skip_shard_remainder")


@pytest.mark.parametrize("length", [1 << 40, (1 << 64) - 1])
def test_a_length_beyond_the_file_is_told_without_asking_for_its_memory(tmp_path, length):
  head = struct.pack("<Q", length)
  (tmp_path / "x.tfrecord").write_bytes(head + struct.pack("<I", integrity.masked_crc32c(head)) + b"body")
  [found] = integrity.scan(str(tmp_path / "x.tfrecord"))
  assert found.problem == f"the file ends after 4 of its {length} bytes"


@pytest.mark.parametrize("length", [1 << 40, (1 << 64) - 1])
def test_a_length_beyond_the_file_ends_its_shard_where_damage_is_tolerated(sound, tmp_path, length):
  path = written(sound, tmp_path, sound.files["manifest.json"].decode())
  head, first = struct.pack("<Q", length), 16 + len(sound.records["test"][0])
  shard = tmp_path / "test-00000-of-00001.tfrecord"
  data = shard.read_bytes()
  shard.write_bytes(data[:first] + head + struct.pack("<I", integrity.masked_crc32c(head)) + data[first + 12:])
  opened = records.open_split(path, "test", on_corrupt="skip_shard_remainder")
  assert opened.lost == {shard.name: 1}
  with pytest.raises(records.RecordsError, match=shard.name + r".*record 1 \(counted from 0\) has a damaged length"):
    records.open_split(path, "test", check="size")
  assert [data for _, data in records.read(opened, "skip_shard_remainder").as_numpy_iterator()] == sound.records["test"][:1]


def test_an_attribute_that_no_record_has_is_told_with_its_folder(sound, tmp_path):
  path = written(sound, tmp_path, sound.files["manifest.json"].decode().replace('"beard"', '"hat"'))
  opened = records.open_split(path, "train")
  with pytest.raises(records.RecordsError, match=str(tmp_path)):
    records.labels(opened, opened.manifest.attributes)


def _without_id(example):
  example.features.feature["id"].bytes_list.Clear()


def _latin_id(example):
  example.features.feature["id"].bytes_list.value[0] = b"\xe9"


def _three_coordinates(example):
  del example.features.feature["face_boxes"].float_list.value[3:]


def _no_png(example):
  example.features.feature["face_masks"].bytes_list.value[0] = b"\x89PNG"


@pytest.mark.parametrize("change", [_without_id, _latin_id, _three_coordinates, _no_png])
def test_damaged_values_of_a_record_are_told_with_its_dataset(sound, change):
  header = records.read_manifest(str(sound.folder)).header
  example = tf.train.Example.FromString(sound.records["train"][0])
  change(example)
  with pytest.raises(records.RecordsError, match="image: "):
    schema.decode(example.SerializeToString(), header)
