"""Planted leaks are found, absent ones are not; validation chooses; a broken attacker is named; an interrupted training goes on."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics as sklearn_metrics

from evaluation import planted_world as world
from mppar_tf.evaluation import attackers, fitting, metrics
from mppar_tf.types import Private

NAMES = ("left", "middle", "right")


def _train(anonymize=tf.identity, **changes):
  settings = dict(attributes=NAMES, steps=120, learning_rate=3e-2, evaluate_every=40, seed=0)
  data = world.private(1, 256, 3, missing=0.2)
  validation = world.finite(world.private(2, 150, 3), 64)
  builders = changes.pop("builders", {"wide": world.attacker(3), "narrow": world.attacker(3, hidden=8)})
  train = changes.pop("train", world.endless(data, 32))
  return attackers.train_attackers(builders, anonymize, train, changes.pop("validation", validation), **settings | changes)


def _test_precision(trained, anonymize, task_data=None):
  data = world.finite(task_data or world.private(3, 200, 3), 64)()
  look = attackers.judge({n: t.model for n, t in trained.items()}, anonymize, data.element_spec[0].frames)
  found = look(data)
  return {n: metrics.average_precisions(found.labels, logits, NAMES) for n, logits in found.logits.items()}, found


def test_a_planted_leak_is_found_by_every_attacker():
  trained = _train()
  assert list(trained) == ["wide", "narrow"]
  precision, _ = _test_precision(trained, tf.identity)
  for name, attacker in trained.items():
    assert min(precision[name].values()) > 0.95
    assert attacker.history[-1].training_accuracy > 0.95
    assert [point.step for point in attacker.history] == [40, 80, 120]


def test_constant_frames_leave_chance():
  trained = _train(world.without_pixels, steps=40)
  precision, found = _test_precision(trained, world.without_pixels)
  chance = metrics.prevalences(found.labels, NAMES)
  for name in trained:
    for attribute in NAMES:
      assert precision[name][attribute] == pytest.approx(chance[attribute], abs=1e-6)


def test_the_weights_of_the_best_validation_look_are_kept():
  # Training labels turn around after 60 steps, so that an attacker that trains on unlearns what validation asks for.
  right = world.private(1, 256, 3)
  wrong = Private(right.frames, 1 - right.labels)
  switching = lambda start=0: world.endless(right, 32)(start).take(60).concatenate(world.endless(wrong, 32)(60))
  validation = world.finite(world.private(2, 150, 3), 64)
  trained = _train(train=switching, evaluate_every=20, steps=160)["wide"]
  scores = [point.validation for point in trained.history]
  assert scores[-1] < 0.85 < 0.95 < max(scores)
  assert trained.best.step == 20 * (1 + int(np.argmax(scores))) <= 60
  data = validation()
  found = attackers.judge({"wide": trained.model}, tf.identity, data.element_spec[0].frames)(data)
  oracle = sklearn_metrics.average_precision_score(found.labels, found.logits["wide"], average="macro")
  assert oracle == pytest.approx(max(scores), abs=1e-6)


def test_identity_is_told_by_accuracy():
  train, test = world.identities(1, 256, 4), world.identities(2, 120, 4)
  trained = _train(builders={"who": world.attacker(4)}, train=world.endless(train, 32), validation=world.finite(test, 64),
                   attributes=("subject",), task="identity")
  assert trained["who"].best.validation > 0.95
  data = world.finite(test, 50)()
  found = attackers.judge({"who": trained["who"].model}, tf.identity, data.element_spec[0].frames)(data)
  assert metrics.top1(found.logits["who"], found.labels) == pytest.approx(trained["who"].best.validation)


def test_logits_are_averaged_over_time_and_the_loss_is_masked():
  model = world.attacker(3)(seed=5)
  data = world.private(4, 10, 3, missing=0.4)
  frames, labels = tf.constant(data.frames), tf.constant(data.labels)
  by_frame = np.stack([model(frames[:, t]).numpy() for t in range(world.TIME)])
  logits = attackers.item_logits(model, frames, False).numpy()
  np.testing.assert_allclose(logits, by_frame.mean(0), atol=1e-6)
  loss, right, answers = attackers.terms("attributes")(model, frames, labels, False)
  known = data.labels >= 0
  expected = sklearn_metrics.log_loss(data.labels[known], 1 / (1 + np.exp(-logits[known].astype(np.float64))))
  assert float(loss) == pytest.approx(expected, rel=1e-5)
  assert float(right) / float(answers) == pytest.approx(metrics.binary_accuracy(data.labels, logits))
  nothing = attackers.terms("attributes")(model, frames, tf.fill(tf.shape(labels), -1), False)
  assert [float(v) for v in nothing] == [0.0, 0.0, 0.0]


def test_f_d_runs_once_a_batch_whatever_the_number_of_attackers():
  calls = tf.Variable(0)

  def counted(frames):
    calls.assign_add(1)
    return frames
  _train(counted, steps=10, evaluate_every=10, builders={str(i): world.attacker(3) for i in range(3)})
  assert int(calls) == 10 + 3  # 150 validation items in batches of 64


def test_an_attacker_whose_loss_is_not_finite_is_named():
  def exploding(*, seed):
    frames = keras.Input((world.SIDE, world.SIDE, 3))
    return keras.Model(frames, keras.ops.log(keras.layers.Dense(3)(keras.layers.Flatten()(frames)) - 1e6))
  with pytest.raises(fitting.FittingError, match="unstable: its training loss is nan"):
    _train(builders={"steady": world.attacker(3), "unstable": exploding}, steps=30)


def test_data_that_end_early_an_attribute_without_positive_and_a_missing_gradient_are_errors():
  with pytest.raises(fitting.FittingError, match="ended after 5 of 120 steps"):
    _train(train=lambda start=0: world.endless(world.private(1, 64, 3), 32)(start).take(5))
  barren = world.private(2, 64, 3)
  barren.labels[:, 1] = 0
  with pytest.raises(metrics.MetricError, match="validation of wide: attribute 'middle' has no positive"):
    _train(validation=world.finite(barren, 64), steps=5)

  def disconnected(*, seed):
    frames = keras.Input((world.SIDE, world.SIDE, 3))
    logits = keras.layers.Dense(3, name="cut_off")(keras.layers.Flatten()(frames))
    return keras.Model(frames, keras.layers.Lambda(tf.stop_gradient, output_shape=(3,))(logits))
  with pytest.raises(ValueError, match="cut_off"):
    _train(builders={"deaf": disconnected}, steps=5)


def test_an_anonymizer_that_changes_the_shape_is_refused():
  with pytest.raises(fitting.FittingError, match="the anonymizer turns frames"):
    _train(lambda frames: frames[:, :, ::2], steps=5)


def test_an_interrupted_training_goes_on_to_the_same_end(tmp_path):
  whole = _train(steps=90, evaluate_every=30)
  data = world.endless(world.private(1, 256, 3, missing=0.2), 32)
  with pytest.raises(fitting.FittingError, match="ended after 70"):
    _train(steps=90, evaluate_every=30, checkpoint_dir=tmp_path, train=lambda start=0: data(start).take(70 - start))
  assert [p.name for p in tmp_path.iterdir()] == ["step-00000060"]
  (tmp_path / "step-00000090.part").mkdir()  # what a kill in the middle of a save leaves
  starts = []
  resumed = _train(steps=90, evaluate_every=30, checkpoint_dir=tmp_path, train=lambda start=0: (starts.append(start), data(start))[1])
  assert starts[-1] == 60
  for name in whole:
    assert resumed[name].history == whole[name].history
    for a, b in zip(resumed[name].model.get_weights(), whole[name].model.get_weights()):
      np.testing.assert_array_equal(a, b)
  again = _train(steps=90, evaluate_every=30, checkpoint_dir=tmp_path)
  assert again["wide"].history == whole["wide"].history
  with pytest.raises(fitting.FittingError, match="holds wide, narrow, not other"):
    _train(steps=90, checkpoint_dir=tmp_path, builders={"other": world.attacker(3)})


def test_seeds_differ_by_name_and_repeat():
  assert attackers.own_seed(0, "a") == attackers.own_seed(0, "a")
  assert len({attackers.own_seed(s, n) for s in range(3) for n in ("a", "b", "mobilenet_v1_0.5")}) == 9
