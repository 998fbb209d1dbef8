"""The whole evaluation on a planted world: the scores say what an anonymizer hides and what it leaves."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from evaluation import planted_world as world
from mppar_tf.evaluation import actions, attackers, metrics, two_fold

BUDGET = two_fold.Budget(attack_steps=60, attack_learning_rate=3e-2, attack_evaluate_every=30, polish_steps=80, polish_learning_rate=1e-2,
                         raw_action_steps=80, raw_action_learning_rate=1e-2, clips_per_video=2, save_every=40)
FACTS = {"records": "0123"}


def _action_task(**changes):
  test = world.clips(5, 60)
  # Two clips of one video follow each other, as evenly spaced clips do.
  test = type(test)(np.repeat(test.frames, 2, axis=0), np.repeat(test.action, 2))
  settings = dict(train=world.endless(world.clips(4, 128), 16), test=world.finite(test, 32, np.repeat(np.arange(60), 2)),
                  build=world.recognizer)
  return two_fold.ActionTask(**settings | changes)


def _privacy_task(**changes):
  settings = dict(train=world.endless(world.private(1, 256, 3), 32), validation=world.finite(world.private(2, 120, 3), 64),
                  test=world.finite(world.private(3, 150, 3), 64), builders={"wide": world.attacker(3), "narrow": world.attacker(3, 8)},
                  attributes=("left", "middle", "right"), known=("left", "middle"), novel=("right",))
  return two_fold.PrivacyTask(**settings | changes)


def _evaluate(tmp_path, anonymize, recognizer=None, **changes):
  settings = dict(seed=0, raw_cache=tmp_path / "raw", raw_facts=FACTS, progress=False)
  return two_fold.evaluate(anonymize, recognizer or world.recognizer(seed=7), changes.pop("action", _action_task()),
                           changes.pop("privacy", _privacy_task()), changes.pop("budget", BUDGET), **settings | changes)


def test_an_anonymizer_that_hides_the_attributes_and_leaves_the_action(tmp_path):
  recognizer = world.recognizer(seed=7)
  before = [w.copy() for w in recognizer.get_weights()]
  scores = _evaluate(tmp_path, world.without_corner, recognizer)
  for old, new in zip(before, recognizer.get_weights()):
    np.testing.assert_array_equal(old, new)
  assert scores.action_top1 > 0.95 > 0.7 > scores.action_top1_before_polish
  chance = scores.chance
  assert scores.privacy.cmap_known < chance["cmap_known"] + 0.15 and scores.privacy.cmap_novel < chance["cmap_novel"] + 0.15
  raw = scores.raw
  assert min(raw.action_top1, raw.privacy.cmap_known, raw.privacy.cmap_novel) > 0.95
  assert set(raw.privacy.attackers) == {"wide", "narrow"}
  assert scores.videos == 60 and scores.privacy.items == 150
  assert set(scores.wall_seconds) == {"raw", "polish", "actions", "attackers"}
  labels = world.private(3, 150, 3).labels
  assert chance["cmap_known"] == pytest.approx(np.mean(labels[:, :2] == 1))
  assert chance["action_top1"] == pytest.approx(np.unique(world.clips(5, 60).action, return_counts=True)[1].max() / 60)


def test_one_leaking_attribute_is_seen_in_its_own_figure_alone(tmp_path):
  show_right = lambda f: tf.concat([tf.zeros_like(f[:, :, :, :2]), f[:, :, :, 2:]], axis=3) * tf.reshape(tf.eye(8)[0], [1, 1, 8, 1, 1])
  scores = _evaluate(tmp_path, show_right)
  assert scores.privacy.cmap_novel > 0.95 and scores.privacy.average_precision["right"] == scores.privacy.cmap_novel
  assert scores.privacy.cmap_known < scores.chance["cmap_known"] + 0.15
  assert scores.action_top1 < 0.6


def test_the_leak_is_the_largest_over_attackers_and_frames_become_videos():
  labels = np.array([[1, 0], [0, 0], [0, 1], [0, 1]])
  logits = {"one": np.array([[3., 0.], [1., 1.], [0., -2.], [0., -1.]]), "two": np.array([[-1., 0.], [1., 1.], [0., 5.], [2., 4.]])}
  found = attackers.Predictions(labels, np.array([0, 0, 1, 1]), logits)
  point = two_fold.attackers.Point(10, 0.5, 0.75, 0.8)
  trained = {name: attackers.TrainedAttacker(None, (point,)) for name in logits}
  privacy = _privacy_task(attributes=("a", "b"), known=("a",), novel=("b",))
  scores = two_fold.leaks(found, trained, privacy)
  by_hand = {name: metrics.average_precisions(labels, value, ("a", "b")) for name, value in logits.items()}
  assert by_hand["one"]["a"] == 1.0 and by_hand["two"]["b"] == 1.0 and by_hand["one"]["b"] < 1.0 > by_hand["two"]["a"]
  assert (scores.cmap_known, scores.cmap_novel, scores.identity_accuracy) == (1.0, 1.0, None)
  assert {n: scores.attackers[n]["average_precision"] for n in logits} == by_hand
  assert scores.attackers["one"]["training_accuracy"] == 0.75 and scores.attackers["one"]["best_step"] == 10
  # By video: labels (1, 0) and (0, 1); means of "one": (2, .5), (0, -1.5); of "two": (0, .5), (1, 4.5).
  assert scores.by_video == {"cmap_known": 1.0, "cmap_novel": 1.0}
  alone = two_fold.leaks(found._replace(logits={"two": logits["two"]}), trained, privacy)
  assert alone.by_video == {"cmap_known": 0.5, "cmap_novel": 1.0}


def test_the_chance_of_videos_is_of_their_own_labels():
  """Present in any frame is more frequent than present in a frame; a video of which nobody annotated a frame counts in neither."""
  labels = np.array([[1, 0], [0, 0], [0, -1], [0, 1], [-1, -1], [-1, -1]])
  found = attackers.Predictions(labels, np.array([0, 0, 1, 1, 2, 2]), {"one": np.arange(12.0).reshape(6, 2)})
  privacy = _privacy_task(attributes=("a", "b"), known=("a",), novel=("b",))
  chance = two_fold.chance(found, privacy)
  assert chance["average_precision"] == {"a": 0.25, "b": pytest.approx(1 / 3)}
  assert (chance["cmap_known"], chance["cmap_novel"]) == (0.25, pytest.approx(1 / 3))
  # By video: "a" is 1, 0, NA and "b" is 0, 1, NA. An attacker that knows nothing reaches just that.
  assert chance["by_video"] == {"cmap_known": 0.5, "cmap_novel": 0.5}
  trained = {"blind": attackers.TrainedAttacker(None, (attackers.Point(10, 0.5, 0.75, 0.8),))}
  blind = two_fold.leaks(found._replace(logits={"blind": np.zeros((6, 2))}), trained, privacy)
  assert blind.by_video == chance["by_video"]
  assert "by_video" not in two_fold.chance(found._replace(record=np.arange(6)), privacy)


def test_the_chance_of_videos_is_the_most_frequent_subject_s_share_of_them():
  subjects, video = np.array([[0], [0], [0], [0], [1], [1], [2]]), np.array([0, 0, 0, 0, 1, 2, 3])
  privacy = _privacy_task(attributes=("subject",), known=(), novel=(), task="identity")
  chance = two_fold.chance(attackers.Predictions(subjects, video, {"one": np.zeros((7, 3))}), privacy)
  assert chance == {"identity_accuracy": pytest.approx(4 / 7), "by_video": {"identity_accuracy": 0.5}}


def test_identity_protocol(tmp_path):
  privacy = _privacy_task(train=world.endless(world.identities(1, 256, 4), 32), validation=world.finite(world.identities(2, 80, 4), 64),
                          test=world.finite(world.identities(3, 90, 4), 64), builders={"who": world.attacker(4)}, attributes=("subject",),
                          known=(), novel=(), task="identity")
  scores = _evaluate(tmp_path, world.without_corner, privacy=privacy)
  assert scores.raw.privacy.identity_accuracy > 0.95
  assert scores.privacy.identity_accuracy < 0.5 and scores.privacy.cmap_known is None and scores.privacy.cmap_novel is None
  subjects = world.identities(3, 90, 4).labels[:, 0]
  assert scores.chance["identity_accuracy"] == pytest.approx(np.bincount(subjects).max() / 90)


def test_the_raw_level_is_computed_once_for_what_decides_it(tmp_path, monkeypatch):
  trained, train = [], two_fold._train_raw_level
  monkeypatch.setattr(two_fold, "_train_raw_level", lambda *args: trained.append(args) or (train(*args) if len(trained) == 1 else stored))
  quick = dataclasses.replace(BUDGET, attack_steps=4, raw_action_steps=4)

  def level(seed=0, facts=FACTS, budget=quick, privacy=_privacy_task()):
    return two_fold.raw_level(_action_task(), privacy, budget, seed=seed, cache=tmp_path, facts=facts, progress=False)
  stored = level()
  assert level() == stored and len(trained) == 1
  assert [p.suffix for p in sorted(tmp_path.iterdir())] == [".json", ".lock"]
  assert json.loads(next(tmp_path.glob("*.json")).read_text())["decides"]["attackers"] == ["narrow", "wide"]
  changes = (dict(seed=1), dict(facts={"records": "4567"}), dict(budget=dataclasses.replace(quick, attack_steps=5)),
             dict(privacy=_privacy_task(builders={"wide": world.attacker(3)})),
             dict(privacy=_privacy_task(known=("left",), novel=("middle", "right"))))
  for count, change in enumerate(changes, 2):
    level(**change)
    assert len(trained) == count, change
  assert level() == stored and len(trained) == 6


def test_no_polish_leaves_both_figures_equal_and_a_lost_clip_is_an_error(tmp_path):
  quick = dataclasses.replace(BUDGET, attack_steps=3, raw_action_steps=3, polish_steps=0)
  scores = _evaluate(tmp_path, tf.identity, budget=quick)
  assert scores.action_top1 == scores.action_top1_before_polish and scores.polish_training_accuracy is None
  short = world.clips(5, 7)
  with pytest.raises(metrics.MetricError, match="video 3 has 1 clips, not 2"):
    lost = world.finite(short, 4, np.array([0, 0, 1, 1, 2, 2, 3]))()
    actions.judge({"f^A": world.recognizer(seed=0)}, tf.identity, lost, clips_per_video=2)


def test_softmax_not_logits_is_averaged_over_clips():
  given = keras.Input((world.TIME, world.SIDE, world.SIDE, 3))
  model = keras.Model(given, keras.layers.Lambda(lambda x: x[:, 0, 0, 0, :] * 100, output_shape=(3,))(given))
  frames = np.zeros((3, world.TIME, world.SIDE, world.SIDE, 3), np.float32)
  # One clip is sure of class 0, two lean to class 1: summed logits say 0, summed probabilities say 1.
  frames[0, 0, 0, 0], frames[1, 0, 0, 0], frames[2, 0, 0, 0] = (1, 0, 0), (0, 0.05, 0), (0, 0.05, 0)
  test = world.finite(world.Clips(frames, np.array([1, 1, 1], np.int32)), 2, np.zeros(3))()
  assert actions.judge({"f^A": model}, tf.identity, test, clips_per_video=3).top1["f^A"] == 1.0


def test_known_and_novel_must_divide_the_attributes_up():
  with pytest.raises(ValueError, match="right"):
    _privacy_task(novel=())
