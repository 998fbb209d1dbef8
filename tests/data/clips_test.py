"""Clips against an oracle that decodes whole videos and searches the clip in them."""

import itertools
import shutil

import numpy as np
import pytest
import tensorflow as tf

import fixtures
from mppar_tf.data import clips, integrity, order, records, schema
from mppar_tf.data.clips import ClipSpec
from mppar_tf.data.records import RecordsError
from mppar_tf.types import Clips

HEIGHT, WIDTH, FRAMES = 14, 18, 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Ten videos of noise: no two frames or windows are alike. The last one has 3 frames only."""
  random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("noise")
  lengths = [FRAMES] * 9 + [3]
  made = [schema.Video(f"v{number}", random.integers(0, 255, (length, HEIGHT, WIDTH, 3), dtype=np.uint8), 25.0, number % 4)
          for number, length in enumerate(lengths)]
  writer = records.DatasetWriter(folder, schema.Header("noise", "video", ("w", "x", "y", "z")))
  writer.write_split("train", made, lambda video: video, shards=3, progress=False)
  writer.finish()
  return folder


@pytest.fixture(scope="module")
def split(folder):
  return records.open_split(folder, "train")


@pytest.fixture(scope="module")
def videos(split):
  """Decoded whole, in storage order."""
  return [schema.decode_video(record.serialized, split.manifest.header) for file in split.files for record in integrity.scan(file)]


def found(clip, videos, spec):
  """(video, start, top, left, mirrored) of a clip [T, crop, crop, 3] in [0, 1]; asserts that there is exactly one place for it."""
  pixels, places = np.round(clip * 255).astype(np.uint8), []
  assert np.array_equal(clip, pixels.astype(np.float32) / np.float32(255)), "resized or filtered"
  for number, video in enumerate(videos):
    total = len(video.frames)
    for start in range(max(total - (spec.frames - 1) * spec.skip, 1)):
      whole = np.stack([video.frames[(start + step * spec.skip) % total] for step in range(spec.frames)])
      for top, left in itertools.product(range(HEIGHT - spec.crop + 1), range(WIDTH - spec.crop + 1)):
        window = whole[:, top:top + spec.crop, left:left + spec.crop]
        places += [(number, start, top, left, mirrored) for mirrored in (False, True)
                   if np.array_equal(pixels, window[:, :, ::-1] if mirrored else window)]
  assert len(places) == 1, f"{len(places)} places: frames of one clip are cut or mirrored differently"
  return places[0]


def taken(dataset, count):
  return [tf.nest.map_structure(lambda tensor: tensor.numpy(), element) for element in itertools.islice(dataset, count)]


def test_training_clips_are_windows_of_one_video_each_the_same_for_all_its_frames(split, videos):
  spec = ClipSpec(4, 2, 12, True)
  batches = taken(clips.training_clips(split, spec, batch_size=4, seed=1), 15)
  assert all(isinstance(batch, Clips) and batch.frames.shape == (4, 4, 12, 12, 3) and batch.frames.dtype == np.float32 for batch in batches)
  places = [found(clip, videos, spec) for batch in batches for clip in batch.frames]
  assert np.concatenate([batch.action for batch in batches]).tolist() == [videos[place[0]].action for place in places]
  numbers, starts, tops, lefts, mirrored = zip(*places)
  assert all(sorted(numbers[10 * epoch:10 * (epoch + 1)]) == list(range(10)) for epoch in range(6)), "an epoch of six misses a video"
  assert set(starts) == {0, 1, 2} and set(tops) == {0, 1, 2} and set(lefts) == set(range(7)) and 15 < sum(mirrored) < 45
  assert all(len({place for place in places if place[0] == number}) > 1 for number in range(10)), "every epoch cuts a video alike"
  short = next(number for number, video in enumerate(videos) if len(video.frames) == 3)
  assert short in numbers, "the premise: a clip of 7 frames' span was cut from a video of 3"


def test_without_flip_nothing_is_mirrored_and_a_crop_of_the_whole_height_fits(split, videos):
  spec = ClipSpec(2, 1, HEIGHT, False)
  batches = taken(clips.training_clips(split, spec, batch_size=5, seed=1), 4)
  places = [found(clip, videos, spec) for batch in batches for clip in batch.frames]
  assert not any(place[4] for place in places) and {place[2] for place in places} == {0}


def test_resumed_clips_are_bit_identical_across_epochs(split):
  settings = dict(batch_size=4, seed=5)  # ten videos: the epoch ends inside of a batch
  whole = taken(clips.training_clips(split, ClipSpec(3, 2, 12, True), **settings), 11)
  for start in (1, 2, 7):
    tf.random.set_seed(start)
    resumed = taken(clips.training_clips(split, ClipSpec(3, 2, 12, True), start_batch=start, **settings), 11 - start)
    for one, other in zip(whole[start:], resumed, strict=True):
      assert one.frames.tobytes() == other.frames.tobytes() and one.action.tolist() == other.action.tolist()


def test_another_seed_is_another_stream(split):
  one, other = (taken(clips.training_clips(split, ClipSpec(3, 2, 12, True), batch_size=10, seed=seed), 1)[0] for seed in (0, 1))
  assert not np.array_equal(one.frames, other.frames)


def test_what_is_skipped_is_not_decoded(tmp_path):
  jpeg = tf.io.encode_jpeg(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)).numpy()
  writer = records.DatasetWriter(tmp_path, schema.Header("broken", "video", ("w",)))
  made = [schema.Video("cut", [jpeg[:-60]], 25.0, 0), schema.Video("good", [jpeg], 25.0, 0)]
  writer.write_split("train", made, lambda video: video, shards=1, progress=False)
  writer.finish()
  split, spec = records.open_split(tmp_path, "train"), ClipSpec(1, 1, HEIGHT, False)
  bad = records.ids(split).index("cut")
  seed = next(seed for seed in range(50) if [one.index for one in taken(order.shuffled(split, seed=seed), 2)] == [bad, 1 - bad])
  with pytest.raises(tf.errors.InvalidArgumentError):
    taken(clips.training_clips(split, spec, batch_size=1, seed=seed), 1)
  assert taken(clips.training_clips(split, spec, batch_size=1, seed=seed, start_batch=1), 1)[0].frames.shape == (1, 1, HEIGHT, HEIGHT, 3)


@pytest.mark.parametrize("per_video", [1, 3])
def test_evaluation_clips_are_even_central_complete_and_in_storage_order(split, videos, per_video):
  spec = ClipSpec(3, 2, 12, True)
  batches = taken(clips.evaluation_clips(split, spec, batch_size=4, clips_per_video=per_video), 99)
  assert [len(batch.frames) for batch, _ in batches] == [4] * (10 * per_video // 4) + [10 * per_video % 4]
  assert np.concatenate([index for _, index in batches]).tolist() == np.repeat(np.arange(10), per_video).tolist()
  actions = np.repeat([video.action for video in videos], per_video).tolist()
  assert np.concatenate([batch.action for batch, _ in batches]).tolist() == actions
  got = iter(np.concatenate([batch.frames for batch, _ in batches]))
  for video in videos:
    total, last = len(video.frames), max(len(video.frames) - 5, 0)
    for number in range(per_video):
      start = int((number + 0.5) * (last + 1) / per_video)
      wanted = np.stack([video.frames[(start + step * 2) % total][1:13, 3:15] for step in range(3)])
      assert np.array_equal(next(got), wanted.astype(np.float32) / np.float32(255))


def test_mistakes_are_told_at_the_start(split, tmp_path):
  with pytest.raises(RecordsError, match="crop 15 does not fit into .* 14 x 18"):
    clips.training_clips(split, ClipSpec(2, 1, 15, False), batch_size=1, seed=0)
  with pytest.raises(RecordsError, match="crop 15"):
    clips.evaluation_clips(split, ClipSpec(2, 1, 15, False), batch_size=1, clips_per_video=1)
  stills = records.open_split(fixtures.write_tiny_datasets(str(tmp_path))[1], "train")
  with pytest.raises(RecordsError, match="holds no videos with action labels .kind 'image', 0 classes"):
    clips.training_clips(stills, ClipSpec(1, 1, 8, False), batch_size=1, seed=0)


def test_a_video_without_action_label_is_an_error_that_names_it(tmp_path):
  writer = records.DatasetWriter(tmp_path, schema.Header("some", "video", ("w",)))
  writer.write_split("train", [schema.Video("nameless", [np.zeros((8, 8, 3), np.uint8)], 25.0, -1)], lambda video: video, progress=False)
  writer.finish()
  stream = clips.evaluation_clips(records.open_split(tmp_path, "train"), ClipSpec(1, 1, 8, False), batch_size=1, clips_per_video=1)
  with pytest.raises(tf.errors.InvalidArgumentError, match="nameless") as caught:
    taken(stream, 1)
  assert records.explain(caught.value) == "video nameless has no action label"


def test_damage_stops_training_by_name_or_is_skipped_by_count(folder, tmp_path):
  spec = ClipSpec(2, 1, 12, False)
  shutil.copytree(folder, tmp_path / "copy")
  opened = records.open_split(tmp_path / "copy", "train")  # sound at the start, cut during training
  shard = tmp_path / "copy" / records.shard_name("train", 1, 3)
  shard.write_bytes(shard.read_bytes()[:-20])
  for stream in (clips.training_clips(opened, spec, batch_size=2, seed=0),
                 clips.evaluation_clips(opened, spec, batch_size=2, clips_per_video=1)):
    with pytest.raises(tf.errors.InvalidArgumentError, match=shard.name):
      taken(stream, 99)
  kept = records.open_split(tmp_path / "copy", "train", on_corrupt="skip_shard_remainder")
  assert kept.lost == {shard.name: 1}
  batches = taken(clips.evaluation_clips(kept, spec, batch_size=4, clips_per_video=1, on_corrupt="skip_shard_remainder"), 99)
  assert np.concatenate([index for _, index in batches]).tolist() == np.flatnonzero(kept.present).tolist() and kept.present.sum() == 9
  settings = dict(batch_size=4, seed=0, on_corrupt="skip_shard_remainder")
  whole, resumed = (taken(clips.training_clips(kept, spec, start_batch=start, **settings), 9 - start) for start in (0, 4))
  assert all(one.frames.tobytes() == other.frames.tobytes() for one, other in zip(whole[4:], resumed, strict=True))
  with pytest.raises(RecordsError, match=f"{shard.name} lost 1 records"):
    clips.training_clips(kept, spec, batch_size=2, seed=0)


def test_shares_of_several_processes_are_the_whole_batch(split):
  settings = dict(batch_size=6, seed=5)
  whole = taken(clips.training_clips(split, ClipSpec(3, 2, 12, True), **settings), 5)
  parts = [taken(clips.training_clips(split, ClipSpec(3, 2, 12, True), start_batch=2, share=order.Share(i, 3), **settings), 3)
           for i in range(3)]
  for number, batch in enumerate(whole[2:]):
    np.testing.assert_array_equal(np.concatenate([part[number].frames for part in parts]), batch.frames)
    np.testing.assert_array_equal(np.concatenate([part[number].action for part in parts]), batch.action)


def test_a_batch_that_cannot_be_shared_is_refused(split):
  with pytest.raises(RecordsError, match="batches of 5 cannot be divided among 2"):
    clips.training_clips(split, ClipSpec(3, 2, 12, True), batch_size=5, seed=0, share=order.Share(1, 2))
