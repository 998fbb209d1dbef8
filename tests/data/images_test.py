"""Frames with privacy labels: which records, which labels, which epoch; every frame is recognised by its pixels."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from mppar_tf.data import images, integrity, order, records, schema
from mppar_tf.data.clips import ClipSpec
from mppar_tf.data.records import RecordsError
from mppar_tf.types import Private

SIZE, ATTRIBUTES = 12, ("a", "b", "c")
WHOLE = ClipSpec(1, 1, SIZE, False)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  random = np.random.default_rng(0)
  stills, films = tmp_path_factory.mktemp("stills"), tmp_path_factory.mktemp("films")

  def labels():
    return {name: int(value) for name, value in zip(ATTRIBUTES, random.integers(-1, 3, 3)) if value >= 0}

  def pixels(*shape):
    return random.integers(0, 255, (*shape, SIZE, SIZE, 3), dtype=np.uint8)

  writer = records.DatasetWriter(stills, schema.Header("stills", "image", (), ATTRIBUTES))
  made = [schema.Image(f"i{number}", pixels(), labels=labels()) for number in range(22)]
  writer.write_split("train", made, lambda image: image, shards=3, progress=False)
  writer.finish()
  writer = records.DatasetWriter(films, schema.Header("films", "video", ("x",), ATTRIBUTES), closed_set_identity=True)
  made = [schema.Video(f"v{number}", pixels(7), 25.0, 0, labels(), ("zoe", "adam", "mia", "")[number % 4],
                       frame_labels={name: random.integers(-1, 3, 7).tolist() for name in ATTRIBUTES}) for number in range(9)]
  writer.write_split("train", made, lambda video: video, shards=2, progress=False)
  writer.finish()
  return stills, films


@pytest.fixture(scope="module")
def stills(folders):
  return records.open_split(folders[0], "train")


@pytest.fixture(scope="module")
def films(folders):
  return records.open_split(folders[1], "train")


def decoded(split):
  return [schema.decode(record.serialized, split.manifest.header) for file in split.files for record in integrity.scan(file)]


def taken(dataset, count):
  return [tf.nest.map_structure(lambda tensor: tensor.numpy(), element) for element in itertools.islice(dataset, count)]


def indices(batches, split):
  """Storage index of every frame of still batches, by its pixels."""
  index = {one.pixels.tobytes(): number for number, one in enumerate(decoded(split))}
  assert len(index) == split.total
  return [index[np.round(frame * 255).astype(np.uint8).tobytes()] for batch in batches for frame in batch.frames[:, 0]]


def test_images_come_with_their_own_labels_and_every_epoch_is_complete(stills):
  batches = taken(images.training_private(stills, WHOLE, ("c", "a"), batch_size=8, seed=0), 11)
  assert all(isinstance(batch, Private) and batch.frames.shape == (8, 1, SIZE, SIZE, 3) for batch in batches)
  assert batches[0].labels.dtype == np.int32 and batches[0].frames.dtype == np.float32
  found = indices(batches, stills)
  assert np.array_equal(np.concatenate([batch.labels for batch in batches]), records.labels(stills, ("c", "a"))[found])
  assert all(sorted(found[22 * epoch:22 * (epoch + 1)]) == list(range(22)) for epoch in range(4))
  seen = set(np.concatenate([batch.labels for batch in batches]).ravel().tolist())
  assert seen == {-1, 0, 1}, "NA, absent, present; the stored 2 is present"


def halves(epoch):
  return np.arange(22) % 2 == epoch % 2, np.array([epoch != 1, True, epoch == 1])


def test_epochs_bring_their_members_and_hide_masked_labels(stills):
  batches = taken(images.training_private(stills, WHOLE, ATTRIBUTES, batch_size=4, seed=0, epochs=halves, batches_per_epoch=3), 9)
  truth = records.labels(stills, ATTRIBUTES)
  for epoch in range(3):
    part = batches[3 * epoch:3 * (epoch + 1)]
    found = indices(part, stills)
    assert all(index % 2 == epoch % 2 for index in found) and set(found) == set(range(epoch % 2, 22, 2)), "12 draws of 11 members"
    wanted = np.where(halves(epoch)[1], truth[found], -1)
    assert np.array_equal(np.concatenate([batch.labels for batch in part]), wanted)


@pytest.mark.parametrize("name, starts", [("members", (2, 4)), ("all", (5,)), ("identity", (3,))])
def test_resumed_streams_are_bit_identical(stills, films, name, starts):
  settings, spec = dict(batch_size=4, seed=2), ClipSpec(9, 2, 8, True)
  make = {"members": lambda start: images.training_private(
              stills, spec, ATTRIBUTES, epochs=halves, batches_per_epoch=3, start_batch=start, **settings),
          "all": lambda start: images.training_private(stills, spec, ("b",), start_batch=start, **settings),
          "identity": lambda start: images.training_private(films, spec, images.IDENTITY, frames=3, start_batch=start, **settings)}[name]
  whole = taken(make(0), 10)
  for start in starts:
    for one, other in zip(whole[start:], taken(make(start), 10 - start), strict=True):
      assert one.frames.tobytes() == other.frames.tobytes() and one.labels.tobytes() == other.labels.tobytes()


def test_videos_give_clips_of_so_many_frames(films):
  batches = taken(images.training_private(films, ClipSpec(99, 2, SIZE, False), ("a",), batch_size=9, seed=0, frames=3), 6)
  videos, starts = decoded(films), set()
  for clip, label in ((clip, label) for batch in batches for clip, label in zip(batch.frames, batch.labels)):
    pixels = np.round(clip * 255).astype(np.uint8)
    (number, start), = [(number, start) for number, video in enumerate(videos) for start in range(3)
                        if np.array_equal(pixels, np.stack([video.frames[start + step] for step in (0, 2, 4)]))]
    starts.add(start)
    assert label.tolist() == records.labels(films, ("a",))[number].tolist()
  assert starts == {0, 1, 2}


def test_identity_labels_are_indices_of_the_subjects(films):
  names = films.manifest.subjects
  assert names == ("adam", "mia", "zoe")
  wanted = [names.index(video.subject) if video.subject else -1 for video in decoded(films)]
  got = taken(images.evaluation_private(films, WHOLE, images.IDENTITY, batch_size=4), 9)
  assert np.concatenate([batch.labels for batch, _ in got]).ravel().tolist() == wanted == records.subjects(films).tolist()
  assert got[0][0].labels.shape == (4, 1)
  trained = taken(images.training_private(films, WHOLE, ["subject"], batch_size=9, seed=0), 1)[0]
  assert sorted(trained.labels.ravel().tolist()) == sorted(wanted)
  hidden = taken(images.training_private(films, WHOLE, images.IDENTITY, batch_size=9, seed=0, batches_per_epoch=1,
                                         epochs=lambda epoch: (np.ones(9, bool), np.zeros(1, bool))), 1)[0]
  assert (hidden.labels == -1).all()


def test_evaluation_is_complete_central_and_in_storage_order(stills, films):
  batches = taken(images.evaluation_private(stills, ClipSpec(1, 1, 8, True), ATTRIBUTES, batch_size=5), 99)
  assert [len(index) for _, index in batches] == [5, 5, 5, 5, 2]
  assert np.concatenate([index for _, index in batches]).tolist() == list(range(22))
  wanted = np.stack([image.pixels[2:10, 2:10] for image in decoded(stills)]).astype(np.float32) / np.float32(255)
  assert np.array_equal(np.concatenate([batch.frames for batch, _ in batches])[:, 0], wanted)
  assert np.array_equal(np.concatenate([batch.labels for batch, _ in batches]), records.labels(stills, ATTRIBUTES))
  batch, _ = taken(images.evaluation_private(films, WHOLE, ("a",), batch_size=9, frames=3), 1)[0]
  wanted = np.stack([video.frames[2:5] for video in decoded(films)]).astype(np.float32) / np.float32(255)
  assert np.array_equal(batch.frames, wanted), "the middle clip"


def test_frames_with_labels_of_their_own(films):
  batches = taken(images.evaluation_frames(films, WHOLE, ("b", "a"), batch_size=10, stride=3), 99)
  videos = decoded(films)
  assert np.concatenate([index for _, index, _ in batches]).tolist() == np.repeat(np.arange(9), 3).tolist()
  assert np.concatenate([number for *_, number in batches]).tolist() == [0, 3, 6] * 9
  labels = [[min(video.frame_labels[name][number], 1) for name in ("b", "a")] for video in videos for number in (0, 3, 6)]
  assert np.concatenate([batch.labels for batch, *_ in batches]).tolist() == labels
  frames = np.stack([video.frames[number] for video in videos for number in (0, 3, 6)])[:, None].astype(np.float32) / np.float32(255)
  assert np.array_equal(np.concatenate([batch.frames for batch, *_ in batches]), frames)


@pytest.mark.parametrize("make, told", [
    (lambda stills, films: images.training_private(stills, WHOLE, ("a", "hair"), batch_size=1, seed=0), "'hair' is not one of a, b, c"),
    (lambda stills, films: images.training_private(stills, WHOLE, (), batch_size=1, seed=0), "no attributes asked for"),
    (lambda stills, films: images.training_private(stills, WHOLE, ("subject",), batch_size=1, seed=0), "names no subjects"),
    (lambda stills, films: images.training_private(stills, WHOLE, ("a",), batch_size=1, seed=0, frames=2), "2 frames of a still image"),
    (lambda stills, films: images.training_private(stills, WHOLE, ("a",), batch_size=1, seed=0, epochs=halves), "need batches_per_epoch"),
    (lambda stills, films: images.evaluation_private(films, ClipSpec(1, 1, 13, False), ("a",), batch_size=1), "crop 13 does not fit"),
    (lambda stills, films: images.evaluation_frames(stills, WHOLE, ("a",), batch_size=1), "kind 'image'"),
    (lambda stills, films: images.evaluation_private(films, WHOLE, ("a",), batch_size=1, on_corrupt="no"), "'no' is not one of fail"),
])
def test_mistakes_are_told_at_the_start(stills, films, make, told):
  with pytest.raises(RecordsError, match=told):
    make(stills, films)


def test_shares_of_several_processes_are_the_whole_batch(stills):
  settings = dict(batch_size=4, seed=2, epochs=halves, batches_per_epoch=3)
  whole = taken(images.training_private(stills, WHOLE, ATTRIBUTES, **settings), 7)
  parts = [taken(images.training_private(stills, WHOLE, ATTRIBUTES, share=order.Share(i, 2), **settings), 7) for i in range(2)]
  for number, batch in enumerate(whole):
    np.testing.assert_array_equal(np.concatenate([part[number].frames for part in parts]), batch.frames)
    np.testing.assert_array_equal(np.concatenate([part[number].labels for part in parts]), batch.labels)
