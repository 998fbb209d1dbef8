"""Samples are pure functions of (seed, split, index): order, repetition and processes change no byte; splits share nobody."""

import concurrent.futures
import hashlib
import multiprocessing

import numpy as np
import pytest

from tfrecord_tools.twin import dataset
from tfrecord_tools.twin.labels import ATTRIBUTES, OF_THE_ACTOR
from tfrecord_tools.twin.seeds import SPLITS, stream

CLIPS, IMAGES = dataset.Twin("video"), dataset.Twin("image")


def _digest(work):
  twin, split, index = work
  sample = dataset.fields(twin, split, index)
  total = hashlib.sha256(repr((sample["id"], sample["subject"], sorted(sample["labels"].items()), sample.get("action"))).encode())
  for name in ("frames", "pixels", "body_masks", "face_masks"):
    total.update(np.asarray(sample.get(name, 0)).tobytes())
  for name in ("body_boxes", "face_boxes"):
    total.update(b"".join(np.asarray(boxes).tobytes() for boxes in sample[name]))
  return total.hexdigest()


def test_the_same_seed_gives_the_same_bytes_in_any_order_and_any_process():
  works = [(twin, split, index) for twin in (CLIPS, IMAGES) for split in SPLITS for index in (0, 1, 57)]
  here = [_digest(work) for work in works]
  assert [_digest(work) for work in reversed(works)] == here[::-1]
  with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
    assert list(pool.map(_digest, works)) == here
  assert len(set(here)) == len(here)


@pytest.mark.parametrize("other", (dataset.Twin("video", seed=1), dataset.Twin("image")))
def test_another_seed_or_kind_is_another_sample(other):
  assert not np.array_equal(np.asarray(dataset.fields(CLIPS, "train", 0)["frames"])[0],
                            np.asarray(dataset.fields(other, "train", 0).get("frames", [dataset.fields(IMAGES, "train", 0)["pixels"]]))[0])


def test_the_counts_of_the_benchmark():
  assert [dataset.count(CLIPS, split) for split in SPLITS] == [1600, 300, 600]
  assert [dataset.count(IMAGES, split) for split in SPLITS] == [4000, 600, 1200]


@pytest.mark.parametrize("twin", (CLIPS, IMAGES), ids=lambda twin: twin.kind)
def test_splits_share_no_actor_and_every_actor_appears_equally_often(twin):
  everybody = [dataset.actors(twin, split) for split in SPLITS]
  assert len(set().union(*everybody)) == sum(map(len, everybody))
  casts = [dataset.take(twin, "validation", index).actor for index in range(dataset.count(twin, "validation"))]
  assert set(np.bincount(casts)) == {dataset.SAMPLES_PER_ACTOR[twin.kind]}
  assert len(np.bincount(casts)) == len(dataset.actors(twin, "validation"))


def test_an_actor_keeps_body_and_marks_but_not_the_rest():
  scenes = [dataset.take(CLIPS, "train", index) for index in range(dataset.count(CLIPS, "train"))]
  varying = set()
  for actor in range(10):
    of_actor = [scene.labels for scene in scenes if scene.actor == actor]
    varying |= {name for name in ATTRIBUTES if len({labels[name] for labels in of_actor}) > 1}
  assert varying.isdisjoint(OF_THE_ACTOR) and len(varying) == len(ATTRIBUTES) - len(OF_THE_ACTOR)


def test_the_realized_labels_are_near_the_stated_ones_and_tell_nothing_of_the_action():
  scenes = [dataset.take(CLIPS, "train", index) for index in range(dataset.count(CLIPS, "train"))]
  labels = np.array([list(scene.labels.values()) for scene in scenes])  # [N, P]
  stated = np.array([attribute.prevalence for attribute in ATTRIBUTES.values()])
  np.testing.assert_allclose(labels.mean(axis=0), stated, atol=.09)  # 400 actors: standard deviation .025
  actions = np.array([dataset.CLASSES.index(scene.action) for scene in scenes])
  assert set(np.bincount(actions)) == {160}
  of_action = np.array([labels[actions == action].mean(axis=0) for action in range(10)])  # [10, P]
  assert np.abs(of_action - labels.mean(axis=0)).max() < .16  # standard deviation .04


@pytest.mark.parametrize("arguments,message", (
    (dict(kind="sound"), "kind 'sound' is not one of video, image"),
    (dict(kind="video", size=8), "size 8 of the twin is less than 16"),
    (dict(kind="video", frames=0), "frames 0 of the twin is less than 1"),
    (dict(kind="video", seed=-1), "seed -1 of the twin is less than 0"),
    (dict(kind="image", grouping="ucf"), "grouping 'ucf' is not one of vispr, hmdb51")))
def test_what_the_twin_cannot_render_is_told_with_value_and_choices(arguments, message):
  with pytest.raises(ValueError, match=message):
    dataset.Twin(**arguments)


@pytest.mark.parametrize("split,index,message", (("val", 0, "split 'val' is not one of train, validation, test"),
                                                 ("test", 600, "index 600 is not within 0 to 599"), ("test", -1, "index -1 is not within")))
def test_a_sample_outside_of_the_benchmark_is_an_error(split, index, message):
  with pytest.raises(ValueError, match=message):
    dataset.take(CLIPS, split, index)


@pytest.mark.parametrize("arguments,message", (
    ((-1, "video", "train", "actor", 0), "seed -1"),
    ((0, "sound", "train", "actor", 0), "'sound' is not one of video, image"),
    ((0, "video", "dev", "actor", 0), "'dev' is not one of train, validation, test"),
    ((0, "video", "train", "weather", 0), "'weather' is not one of actor, ")))
def test_a_stream_of_something_unknown_is_an_error(arguments, message):
  with pytest.raises(ValueError, match=message):
    stream(*arguments)


def test_samples_are_records_and_go_on_from_any_place():
  schema = pytest.importorskip("mppar_tf.data.schema")
  header = schema.Header("twin_clips", "video", dataset.CLASSES, CLIPS.attributes)
  clips = dataset.samples(CLIPS, "validation", start=298)
  for index, clip in zip((298, 299), clips):
    back = schema.decode_video(schema.encode_video(clip, header), header)
    drawn = dataset.fields(CLIPS, "validation", index)
    assert (back.id, back.action, back.subject, dict(back.labels)) == (drawn["id"], drawn["action"], drawn["subject"], drawn["labels"])
    np.testing.assert_array_equal(back.body_masks, drawn["body_masks"])
    for got, wanted in zip(back.face_boxes, drawn["face_boxes"]):
      np.testing.assert_array_equal(got, wanted)
  assert next(clips, None) is None
  image = next(dataset.samples(dataset.Twin("image", grouping="hmdb51"), "test"))
  assert isinstance(image, schema.Image) and tuple(image.labels) == ("skin_color", "nudity", "relationship", "gender", "face")
  assert image.pixels.shape == (32, 32, 3)
