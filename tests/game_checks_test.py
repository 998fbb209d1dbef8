"""What a game will need of the labels is told at its start: a failure after days could not be mended by the same command."""

import math
import types

import numpy as np
import pytest

from mppar_tf import experiment
from mppar_tf.data import records, schema, sets
from mppar_tf.methods.contract import EpisodePlan

LABELS = np.zeros((32, 3), np.int8)  # [N, P]
LABELS[:31, 0] = 1  # sides are inhabited in the epochs in which attribute 0 belongs to the query's, and in no other
RATIO, EVERY = 0.6, 4


def first_bad_epoch(seed):
  for epoch in range(100):
    try:
      sets.attribute_sets(LABELS, ratio=RATIO, seed=seed, epoch=epoch)
    except ValueError:
      return epoch
  raise AssertionError("every epoch is good")


SEED = next(seed for seed in range(100) if first_bad_epoch(seed) > 1)


def check(monkeypatch, max_steps, seed=SEED):
  monkeypatch.setattr(records, "labels", lambda split, attributes: LABELS)
  settings = types.SimpleNamespace(max_steps=max_steps, sets_every=EVERY, seed=seed, split_ratio=RATIO, sets="different",
                                   shift="attributes")
  split = types.SimpleNamespace(folder="records/mine")
  benchmark = types.SimpleNamespace(identity=False, known=(), novel=())
  given = types.SimpleNamespace(settings=settings, benchmark=benchmark, private={"train": split, "validation": split},
                                training_attackers=("p", "q"))
  method = types.SimpleNamespace(plan=lambda update: EpisodePlan("attributes", 0, "first", "second", 0, 0))
  experiment.check_game(given, method)


def test_the_sets_of_every_epoch_are_tried_before_the_first_step(monkeypatch):
  bad = first_bad_epoch(SEED)
  check(monkeypatch, max_steps=bad * EVERY)
  with pytest.raises(experiment.ExperimentError, match=f"sets of records/mine: epoch {bad}: a side of the support/query split is empty"):
    check(monkeypatch, max_steps=bad * EVERY + 1)
  assert math.ceil((bad * EVERY + 1) / EVERY) == bad + 1


def people(folder, subjects):
  writer = records.DatasetWriter(str(folder), schema.Header("people", "video", ("walk",), ()), closed_set_identity=True)
  for split in ("train", "validation", "test"):
    made = [schema.Video(f"{split}{number}", [np.zeros((16, 16, 3), np.uint8)] * 2, 25.0, 0, {}, subject)
            for number, subject in enumerate(subjects)]
    writer.write_split(split, made, lambda video: video, shards=1, progress=False)
  writer.finish()
  return records.open_split(str(folder), "train")


def test_a_record_that_names_nobody_is_no_person(tmp_path):
  experiment.check_closed_set(people(tmp_path / "all", ["ann", "bob", "ann"]))
  with pytest.raises(experiment.ExperimentError, match="but 1 of 3 records name no subject, train1 among them"):
    experiment.check_closed_set(people(tmp_path / "some", ["ann", "", "bob"]))


@pytest.mark.parametrize("kind", sets.KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_a_lost_record_stands_on_no_side_of_identity_sets(kind, seed):
  subjects = np.array([0, 0, 1, 1, 2, 2, -1, -1])
  chosen = sets.identity_sets(subjects, ratio=RATIO, seed=seed, epoch=0, kind=kind)
  assert (chosen.members[0] | chosen.members[1]).tolist() == (subjects >= 0).tolist()
  assert not (chosen.members[0] & chosen.members[1]).any()
  whole = sets.identity_sets(subjects[:6], ratio=RATIO, seed=seed, epoch=0, kind=kind)
  assert [members[:6].tolist() for members in chosen.members] == [members.tolist() for members in whole.members]


def test_what_is_left_of_two_people_when_one_is_lost_cannot_be_split():
  with pytest.raises(ValueError, match="1 cannot be split"):
    sets.identity_sets(np.array([0, 0, -1]), ratio=RATIO, seed=0, epoch=0)
