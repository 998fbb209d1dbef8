"""A benchmark whose test set is a dataset of its own: both test splits come from it, and every labelled frame of it is judged."""

import dataclasses
import types

import fixtures
import numpy as np
import pytest

from mppar_tf import evaluate, experiment, options
from mppar_tf.data import clips, records, schema
from mppar_tf.protocols import benchmarks

CLASSES, ATTRIBUTES = tuple(f"action{number}" for number in range(3)), ("a", "c")
FRAMES = (5, 3)  # of the two test videos
BENCHMARK = benchmarks.Benchmark(clips="tiny_clips", private="tiny_images", known=("a",), novel=("c",), build={}, note="", test="judged")


def write_test_set(folder, classes=CLASSES, attributes=ATTRIBUTES):
  """Two videos whose frames are annotated one by one: frame t of `a` is present from t = 2 on, `c` is not annotated at t = 0."""
  writer = records.DatasetWriter(folder, schema.Header("judged", "video", classes, attributes), shuffle_seed=None)
  made = [schema.Video(f"v{number}", list(np.full((count, 16, 16, 3), 40 * (number + 1), np.uint8)), 25.0, number, {},
                       frame_labels={name: [9 * (t > 1) if name == "a" else min(t, 2) - 1 for t in range(count)] for name in attributes})
          for number, count in enumerate(FRAMES)]
  writer.write_split("test", made, lambda video: video, shards=1, progress=False)
  writer.finish()


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("records")
  fixtures.write_tiny_datasets(folder)
  write_test_set(folder / "judged")
  return folder


def built(data_dir, benchmark=BENCHMARK):
  """As much of an Experiment as tasks are made of."""
  clip_splits, private_splits = experiment.open_records(benchmark, str(data_dir), "fail")
  spec = clips.ClipSpec(frames=4, skip=1, crop=16)
  return types.SimpleNamespace(benchmark=benchmark, clips=clip_splits, private=private_splits, spec=spec,
                               protocol=types.SimpleNamespace(task="attributes"), test_attackers=())


def test_both_test_splits_are_the_test_set_s(data_dir):
  found = built(data_dir)
  assert {split: opened.manifest.dataset for split, opened in found.clips.items()} == {
      "train": "tiny_clips", "validation": "tiny_clips", "test": "judged"}
  assert {split: opened.manifest.dataset for split, opened in found.private.items()} == {
      "train": "tiny_images", "validation": "tiny_images", "test": "judged"}
  assert found.clips["test"].total == 2
  own = built(data_dir, dataclasses.replace(BENCHMARK, test=""))
  assert own.clips["test"].manifest.dataset == "tiny_clips" and own.private["test"].manifest.dataset == "tiny_images"


def test_every_frame_is_judged_by_its_own_label_and_validation_stays_with_images(data_dir):
  given = (built(data_dir), options.EvaluationOptions(evaluation_batch=3), options.RunOptions(), options.ClipOptions(crop=16),
           options.ModelOptions())
  task = evaluate.privacy_task(*given)
  batches = list(task.test().as_numpy_iterator())
  labels, video = np.concatenate([private.labels for private, _ in batches]), np.concatenate([index for _, index in batches])
  assert labels[:, 0].tolist() == [0, 0, 1, 1, 1, 0, 0, 1] and labels[:, 1].tolist() == [-1, 0, 1, 1, 1, -1, 0, 1]
  assert video.tolist() == [0] * 5 + [1] * 3
  frames = np.concatenate([private.frames for private, _ in batches])  # [8, 1, 16, 16, 3]
  assert frames.shape == (8, 1, 16, 16, 3) and np.abs(frames[:, 0, 0, 0, 0] * 255 - 40 * (video + 1)).max() < 4
  [(private, index), *_] = task.validation().as_numpy_iterator()
  assert private.frames.shape == (3, 1, 16, 16, 3) and index.tolist() == [0, 1, 2]
  assert task.test().element_spec[0] == task.validation().element_spec[0]


def test_another_test_set_is_another_raw_level(tmp_path, data_dir):
  chosen = options.EvaluationOptions(), options.RunOptions(), options.ClipOptions(), options.ModelOptions()
  found = built(data_dir)
  facts = evaluate.raw_facts(found, *chosen)
  write_test_set(tmp_path / "judged", attributes=("a", "c", "d"))
  found.clips["test"] = records.open_split(str(tmp_path / "judged"), "test")
  assert evaluate.raw_facts(found, *chosen) != facts
  assert "test" not in evaluate.raw_facts(built(data_dir, dataclasses.replace(BENCHMARK, test="")), *chosen)


def test_starting_weights_are_part_of_a_raw_level_and_none_leaves_its_facts_as_they_were(data_dir):
  """Levels of small networks that were computed before there was a choice stay valid; the file's own name does not matter."""
  def facts(*begun, **model):
    return evaluate.raw_facts(built(data_dir), options.EvaluationOptions(), options.RunOptions(), options.ClipOptions(),
                              options.ModelOptions(attacker_size="small", **model), *begun)
  scratch = facts()
  assert not {"imagenet", "recognizer_sha256", "paper_attackers"} & scratch.keys()
  assert scratch["recognizer"].keys() == {"recognizer", "recognizer_size", "recognizer_width", "recognizer_dropout"}
  assert facts({}, "1", recognizer_weights="a.keras") == facts({}, "1", recognizer_weights="b.keras") != facts({}, "2") != scratch
  assert facts({"resnet_v1_50": {"sha256": "1"}}) != facts({"resnet_v1_50": {"sha256": "2"}}) != scratch


@pytest.mark.parametrize("changed, reason", [
    ({"classes": CLASSES[::-1]}, "judged and .*tiny_clips have different actions, or in another order"),
    ({"attributes": ("a", "b")}, "judged has no attribute c; it has a, b"),
])
def test_a_test_set_that_does_not_go_with_the_training_set_is_refused(tmp_path, monkeypatch, changed, reason):
  fixtures.write_tiny_datasets(tmp_path)
  write_test_set(tmp_path / "judged", **changed)
  monkeypatch.setitem(benchmarks.BENCHMARKS, "apart", BENCHMARK)
  run = options.RunOptions(benchmark="apart", data_dir=str(tmp_path))
  with pytest.raises(experiment.ExperimentError, match=reason):
    experiment.build(run, options.ClipOptions(crop=16), options.ModelOptions(), options.TrainOptions(), None)


def test_records_of_one_s_own_bring_their_own_test_split():
  assert benchmarks.chosen("hmdb51_vispr").test == "pa_hmdb51"
  assert benchmarks.chosen("hmdb51_vispr", clips="mine", private="mine").test == ""
