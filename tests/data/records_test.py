"""Splits as training sees them: labels in storage order, and a policy on damage that loses nothing in silence."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

import fixtures
from mppar_tf.data import integrity, records, schema
from mppar_tf.data.records import RecordsError

ATTRIBUTES = ("a", "b", "c", "d")
SHARD = "train-00000-of-00002.tfrecord"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
  return fixtures.write_tiny_datasets(str(tmp_path_factory.mktemp("tiny")))


@pytest.fixture
def stills(tiny, tmp_path):
  shutil.copytree(tiny[1], tmp_path / "tiny_images")
  return tmp_path / "tiny_images"


def harm(folder, number=5, shard=SHARD):
  """Flips a byte in record `number`."""
  sizes = [len(record.serialized) + 16 for record in integrity.scan(str(folder / shard))]
  content = bytearray((folder / shard).read_bytes())
  content[sum(sizes[:number]) + 30] ^= 1
  (folder / shard).write_bytes(content)


def cut(folder, number=5, shard=SHARD):
  """Cuts the shard at the border before record `number`."""
  sizes = [len(record.serialized) + 16 for record in integrity.scan(str(folder / shard))]
  (folder / shard).write_bytes((folder / shard).read_bytes()[:sum(sizes[:number])])


def grow(folder, shard=SHARD):
  """Appends the other shard."""
  (folder / shard).write_bytes((folder / shard).read_bytes() + (folder / "train-00001-of-00002.tfrecord").read_bytes())


@pytest.mark.parametrize("kind", [0, 1])
def test_tables_of_a_split_agree_with_its_decoded_records_in_storage_order(tiny, kind):
  split = records.open_split(tiny[kind], "train")
  decoded = [schema.decode(record.serialized, split.manifest.header) for file in split.files for record in integrity.scan(file)]
  assert records.ids(split) == [one.id for one in decoded]
  wanted = ("c", "a")
  assert records.labels(split, wanted).tolist() == [[one.labels.get(name, -1) for name in wanted] for one in decoded]
  assert records.labels(split, wanted).dtype == np.int8 and -1 in records.labels(split, ATTRIBUTES)
  assert records.actions(split).tolist() == [one.action for one in decoded]
  assert records.subjects(split).tolist() == [split.manifest.subjects.index(one.subject) if one.subject else -1 for one in decoded]
  indices = [(int(index), serialized) for index, serialized in records.read(split).as_numpy_iterator()]
  assert [index for index, _ in indices] == list(range(split.total))
  assert [schema.decode(serialized, split.manifest.header).id for _, serialized in indices] == records.ids(split)


def test_any_stored_value_above_zero_is_present(tmp_path):
  header = schema.Header("stills", "image", (), ("gender",))
  writer = records.DatasetWriter(tmp_path, header, shuffle_seed=None)
  made = [schema.Image(str(value), np.zeros((8, 8, 3), np.uint8), labels={"gender": value}) for value in (-1, 0, 1, 2, 127)]
  writer.write_split("train", made, lambda image: image, progress=False)
  writer.finish()
  split = records.open_split(tmp_path, "train")
  assert records.labels(split, ("gender",)).ravel().tolist() == [-1, 0, 1, 1, 1]
  assert schema.decode_image(next(iter(records.read(split)))[1].numpy(), header).labels == {}


def test_mistakes_are_told_with_the_choices(tiny, tmp_path):
  split = records.open_split(tiny[1], "train")
  with pytest.raises(RecordsError, match="'hair' is not one of a, b, c, d"):
    records.labels(split, ("a", "hair"))
  with pytest.raises(RecordsError, match="'training' is not one of train, validation, test"):
    records.open_split(tiny[1], "training")
  with pytest.raises(RecordsError, match="'ignore' is not one of fail, skip_shard_remainder"):
    records.open_split(tiny[1], "train", on_corrupt="ignore")
  with pytest.raises(RecordsError, match="'md5' is not one of size, sha256"):
    records.open_split(tiny[1], "train", check="md5")
  with pytest.raises(RecordsError, match=f"{tmp_path}: no manifest.json; build the records first"):
    records.open_split(tmp_path, "train")
  assert not records.manifest_exists(tmp_path) and records.manifest_exists(tiny[0])


@pytest.mark.parametrize("damage, record", [(harm, 5), (cut, 5), (grow, 12)])
def test_fail_names_the_shard_and_the_record_when_it_is_reached(stills, damage, record):
  opened = records.open_split(stills, "train")  # sound when the training started
  damage(stills)
  seen = []
  with pytest.raises(tf.errors.InvalidArgumentError, match=SHARD) as caught:
    for index, _ in records.read(opened):
      seen.append(int(index))
  assert seen == list(range(record))
  told = records.explain(caught.value)
  assert f"{SHARD} is damaged: the manifest says 12 readable records, but record {record} " in told and "\n" not in told
  with pytest.raises(RecordsError, match=SHARD):
    records.actions(opened)


@pytest.mark.parametrize("damage", [harm, cut])
@pytest.mark.parametrize("check", ["size", "sha256"])
def test_skip_shard_remainder_counts_exactly_what_is_lost(stills, damage, check, caplog):
  whole = records.labels(records.open_split(stills, "train"), ATTRIBUTES)
  damage(stills)
  split = records.open_split(stills, "train", on_corrupt="skip_shard_remainder", check=check)
  assert split.lost == {SHARD: 7} and split.total == 24 and split.present.sum() == 17
  assert "the last 7 records are lost" in caplog.text
  kept = [0, 1, 2, 3, 4] + list(range(12, 24))
  assert [int(index) for index, _ in records.read(split, "skip_shard_remainder")] == kept == np.flatnonzero(split.present).tolist()
  labels = records.labels(split, ATTRIBUTES)
  assert (labels[kept] == whole[kept]).all() and (labels[5:12] == -1).all() and (records.actions(split)[5:12] == -1).all()
  assert records.ids(split)[4:13].count("") == 7
  with pytest.raises(RecordsError, match=f"{SHARD} lost 7 records"):
    records.read(split, "fail")


def test_skip_shard_remainder_ignores_records_too_many_and_not_a_missing_shard(stills):
  grow(stills)
  split = records.open_split(stills, "train", on_corrupt="skip_shard_remainder")
  assert split.lost == {} and [int(index) for index, _ in records.read(split, "skip_shard_remainder")] == list(range(24))
  (stills / SHARD).unlink()
  with pytest.raises(RecordsError, match=f"{SHARD} is missing .1 of 2"):
    records.open_split(stills, "train", on_corrupt="skip_shard_remainder")


def test_a_pipelines_own_policy_counts_once_more(stills):
  opened = records.open_split(stills, "train")
  harm(stills)
  assert sum(1 for _ in records.read(opened, "skip_shard_remainder")) == 17


def test_nothing_readable_is_an_error(stills):
  for shard in (SHARD, "train-00001-of-00002.tfrecord"):
    harm(stills, 0, shard)
  with pytest.raises(RecordsError, match="no record of split 'train' is readable"):
    records.open_split(stills, "train", on_corrupt="skip_shard_remainder")


def test_tables_cannot_be_changed_by_one_of_their_readers(tiny):
  with pytest.raises(ValueError, match="read-only"):
    records.labels(records.open_split(tiny[1], "train"), ("a",))[0] = 1


def test_smallest_frame_is_that_of_the_split(tmp_path):
  writer = records.DatasetWriter(tmp_path, schema.Header("stills", "image"))
  sizes = {"train": [(20, 30), (12, 40), (30, 16)], "test": [(9, 9)]}
  for split, shapes in sizes.items():
    made = [schema.Image(f"{split}{shape}", np.zeros((*shape, 3), np.uint8)) for shape in shapes]
    writer.write_split(split, made, lambda image: image, shards=2, progress=False)
  writer.finish()
  assert records.open_split(tmp_path, "train").smallest_frame == (12, 16)
