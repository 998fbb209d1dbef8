"""The order of records: a pure function of (seed, epoch), complete in every epoch, and joined exactly anywhere."""

import collections
import itertools
import shutil

import numpy as np
import pytest
import tensorflow as tf

from mppar_tf.data import order, parsing, records, schema
from mppar_tf.data.records import RecordsError

N = 60


@pytest.fixture(scope="module")
def split(tmp_path_factory):
  folder = tmp_path_factory.mktemp("records")
  writer = records.DatasetWriter(folder, schema.Header("stills", "image", (), ("a", "b")))
  make = lambda number: schema.Image(f"i{number}", np.full((8, 8, 3), number, np.uint8))
  writer.write_split("train", range(N), make, shards=7, progress=False)
  writer.finish()
  return records.open_split(folder, "train")


def drawn(split, count, **settings):
  """(positions, indices, masks) of the first `count` records."""
  taken = list(itertools.islice(order.shuffled(split, **settings).as_numpy_iterator(), count))
  return [one.position for one in taken], [int(one.index) for one in taken], [one.mask.tolist() for one in taken]


def test_every_epoch_is_another_permutation_and_another_seed_another_order(split):
  positions, indices, _ = drawn(split, 4 * N, seed=3)
  assert positions == list(range(4 * N))
  epochs = [indices[N * epoch:N * (epoch + 1)] for epoch in range(4)]
  assert all(sorted(epoch) == list(range(N)) for epoch in epochs)
  assert len({tuple(epoch) for epoch in epochs}) == 4
  assert drawn(split, N, seed=4)[1] != epochs[0]


def test_records_and_indices_belong_together(split):
  for one in itertools.islice(order.shuffled(split, seed=0).as_numpy_iterator(), 20):
    assert parsing.parse_image(one.serialized)["id"].numpy().decode() == records.ids(split)[one.index]


def test_the_same_seed_gives_the_same_order_whatever_tensorflows_own_seed_is(split):
  wanted = drawn(split, 2 * N, seed=3)
  for seed in (None, 1, 2):
    if seed is not None:
      tf.random.set_seed(seed)
    assert drawn(split, 2 * N, seed=3) == wanted


@pytest.mark.parametrize("start", [17, N, N + 1, 1000 * N + 5])
def test_joined_anywhere_it_goes_on_as_if_uninterrupted(split, start):
  epoch = start // N
  from_epoch = drawn(split, 2 * N + 20, seed=3, start=epoch * N)
  joined = drawn(split, N + 20, seed=3, start=start)
  for whole, part in zip(from_epoch, joined):
    assert whole[start - epoch * N:][:N + 20] == part


def test_a_small_buffer_loses_nothing_and_mixes_shards(split, monkeypatch):
  monkeypatch.setattr(order, "SHUFFLE_RECORDS", 4)
  _, indices, _ = drawn(split, N, seed=3)
  assert sorted(indices) == list(range(N))
  shard_of = np.repeat(np.arange(7), split.counts)
  assert len(set(shard_of[indices[:12]].tolist())) >= 3, "the first dozen comes from a shard or two"


def test_the_buffer_fits_into_its_bytes(split, monkeypatch):
  assert order.shuffle_buffer(split) == N
  size = sum(shard.bytes for shard in split.manifest.splits["train"])
  monkeypatch.setattr(order, "SHUFFLE_BYTES", size // 4)
  assert order.shuffle_buffer(split) in (14, 15)
  monkeypatch.setattr(order, "SHUFFLE_BYTES", 1)
  assert order.shuffle_buffer(split) == 1


def thirds(epoch):
  return np.arange(N) % 3 == epoch % 3, np.array([epoch % 2 == 0, True])


def test_only_members_are_drawn_and_masks_go_with_their_epoch(split):
  _, indices, masks = drawn(split, 3 * 15, seed=3, attributes=2, epochs=thirds, epoch_records=15)
  for epoch in range(3):
    part = indices[15 * epoch:15 * (epoch + 1)]
    assert len(set(part)) == 15 and all(index % 3 == epoch for index in part)
    assert masks[15 * epoch:15 * (epoch + 1)] == [[epoch % 2 == 0, True]] * 15


def test_members_that_run_out_are_drawn_again_in_another_order(split):
  _, indices, _ = drawn(split, 50, seed=3, attributes=2, epochs=thirds, epoch_records=50)
  first, second, rest = indices[:20], indices[20:40], indices[40:]
  assert sorted(first) == sorted(second) == list(range(0, N, 3)) and first != second and set(rest) < set(first)


@pytest.mark.parametrize("start", [15, 37, 47, 93])
def test_epochs_with_members_are_joined_exactly_too(split, start):
  settings = dict(seed=3, attributes=2, epochs=thirds, epoch_records=47)
  whole, joined = drawn(split, 220, **settings), drawn(split, 60, start=start, **settings)
  assert all(one[start:start + 60] == other for one, other in zip(whole, joined))


def test_an_epoch_may_be_longer_or_shorter_than_a_pass(split):
  _, indices, _ = drawn(split, 40, seed=3, epoch_records=10)
  assert all(len(set(indices[10 * epoch:10 * (epoch + 1)])) == 10 for epoch in range(4))
  counts = collections.Counter(drawn(split, 150, seed=3, epoch_records=150)[1])
  assert set(counts.values()) == {2, 3} and len(counts) == N


@pytest.mark.parametrize("epochs, told", [
    (lambda epoch: (np.zeros(N, bool), np.ones(2, bool)), "epoch 0 has no members"),
    (lambda epoch: (np.ones(N - 1, bool), np.ones(2, bool)), "members of epoch 0"),
    (lambda epoch: (np.ones(N, bool), np.ones(3, bool)), "mask of epoch 0"),
])
def test_bad_members_are_told(split, epochs, told):
  with pytest.raises((RecordsError, tf.errors.OpError), match=told):
    drawn(split, 1, seed=0, attributes=2, epochs=epochs, epoch_records=10)


def test_lost_records_are_never_drawn_and_epochs_stay_exact(split, tmp_path):
  shutil.copytree(split.folder, tmp_path / "copy")
  shard = tmp_path / "copy" / records.shard_name("train", 2, 7)
  shard.write_bytes(shard.read_bytes()[:-30])
  kept = records.open_split(tmp_path / "copy", "train", on_corrupt="skip_shard_remainder")
  assert sum(kept.lost.values()) == 1
  whole = drawn(kept, 2 * (N - 1), seed=3)
  assert sorted(whole[1][:N - 1]) == sorted(whole[1][N - 1:]) == np.flatnonzero(kept.present).tolist()
  assert drawn(kept, 30, seed=3, start=70)[1] == whole[1][70:100]
