"""Losses against NumPy, and the traps that give a plausible number: a mask that broadcasts, a gamma that changes its meaning."""

import fixtures_core as core
import keras
import numpy as np
import pytest
import tensorflow as tf

from mppar_tf import objectives
from mppar_tf.methods import steps

RNG = np.random.default_rng(5)
LOGITS = RNG.normal(0.0, 3.0, [6, 4])
LABELS = np.array([[1, 0, -1, 1], [-1, -1, -1, -1], [0, 0, 0, 0], [1, 1, 1, 1], [0, -1, 1, 0], [-1, 1, 0, -1]], np.int32)


def bce(logits, labels):
  """-log of the probability given to the label; nan where there is none."""
  probability = 1.0 / (1.0 + np.exp(-logits))
  return np.where(labels == 1, -np.log(probability), np.where(labels == 0, -np.log(1.0 - probability), np.nan))


def cross_entropy(logits, classes):
  probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  return -np.log(probability[np.arange(len(classes)), classes])


def test_action_terms_are_cross_entropy_of_each_clip():
  action = np.array([0, 3, 1, 2, 2, 0], np.int32)
  np.testing.assert_allclose(objectives.action_terms(LOGITS, action), cross_entropy(LOGITS, action), rtol=1e-12)


def test_masked_bce_is_bce_where_labelled_and_zero_where_not():
  terms, mask = objectives.masked_bce(tf.constant(LOGITS), tf.constant(LABELS))
  np.testing.assert_allclose(terms, np.nan_to_num(bce(LOGITS, LABELS)), rtol=1e-10)
  np.testing.assert_array_equal(mask, LABELS != -1)


def test_masked_bce_stays_finite_far_from_zero():
  terms, _ = objectives.masked_bce(tf.constant([[1e4, -1e4, 1e4]]), tf.constant([[0, 1, 1]]))
  np.testing.assert_allclose(terms, [[1e4, 1e4, 0.0]])


def test_what_an_attacker_says_where_there_is_no_label_changes_nothing():
  other = np.where(LABELS == -1, LOGITS + 7.0, LOGITS)
  for function in (objectives.privacy_sum, lambda *args: tf.stack(objectives.privacy_hits(*args))):
    said, instead = (function("attributes", tf.constant(logits), tf.constant(LABELS)) for logits in (LOGITS, other))
    np.testing.assert_array_equal(said, instead)


@pytest.mark.parametrize("labels", [LABELS[0], LABELS[:1], LABELS[:, :1]], ids=["P", "1P", "B1"])
def test_labels_that_would_broadcast_are_refused(labels):
  """A mask [P] under terms [B, P] divides by P instead of B * P: gamma silently grows B-fold."""
  with pytest.raises(ValueError):
    objectives.masked_bce(tf.constant(LOGITS), tf.constant(labels))


@pytest.mark.parametrize("reduction, count", [("mean", 16), ("sum", 6)])
def test_attributes_are_averaged_over_entries_or_summed_over_a_sample(reduction, count):
  loss = (objectives.privacy_sum("attributes", tf.constant(LOGITS), tf.constant(LABELS))
          / objectives.privacy_count("attributes", tf.constant(LABELS), reduction, tf.float64))
  assert (LABELS != -1).sum() == 16
  np.testing.assert_allclose(loss, np.nansum(bce(LOGITS, LABELS)) / count, rtol=1e-10)


@pytest.mark.parametrize("reduction", objectives.REDUCTIONS)
def test_identity_is_categorical_cross_entropy_whatever_the_reduction(reduction):
  subjects = np.array([[0], [3], [1], [2], [2], [0]], np.int32)
  loss = (objectives.privacy_sum("identity", tf.constant(LOGITS), tf.constant(subjects))
          / objectives.privacy_count("identity", tf.constant(subjects), reduction, tf.float64))
  np.testing.assert_allclose(loss, cross_entropy(LOGITS, subjects[:, 0]).mean(), rtol=1e-12)


def test_logits_are_averaged_over_the_frames_of_one_clip():
  logits = RNG.normal(size=[2, 3, 4])  # [B, T, P]
  np.testing.assert_allclose(objectives.over_time(tf.constant(logits.reshape(6, 4)), 3), logits.mean(axis=1), rtol=1e-12)
  np.testing.assert_array_equal(objectives.over_time(tf.constant(logits[:, 0]), 1), logits[:, 0])


def test_hits_count_labelled_entries_on_the_right_side_of_a_half():
  right, answers = objectives.privacy_hits("attributes", tf.constant(LOGITS), tf.constant(LABELS))
  labelled = LABELS != -1
  assert answers == labelled.sum()
  assert right == ((LOGITS > 0) == (LABELS == 1))[labelled].sum()


def test_hits_of_identities_and_actions_count_the_largest_logit():
  truth = np.argmax(LOGITS, axis=1).astype(np.int32)
  truth[:2] = (truth[:2] + 1) % 4
  right, answers = objectives.privacy_hits("identity", tf.constant(LOGITS), tf.constant(truth[:, None]))
  assert (right, answers) == (4, 6)
  assert objectives.action_hits(tf.constant(LOGITS), tf.constant(truth)) == 4


def eq1(gamma, reduction, batch, task="attributes"):
  networks = core.networks(task=task)
  attackers = list(networks.attackers.values())
  loss = steps.eq1_loss(networks.anonymizer, networks.recognizer, attackers, task=task, gamma=gamma, reduction=reduction)
  phi = [tf.convert_to_tensor(v.value) for v in networks.anonymizer.trainable_variables]
  value, log = loss(batch, tf.constant(1))(phi)
  return networks, float(value), {key: float(v) for key, v in log.items()}


@pytest.mark.parametrize("reduction", objectives.REDUCTIONS)
@pytest.mark.parametrize("task, frames", [("attributes", 1), ("attributes", 3), ("identity", 2)])
def test_eq_1_is_action_loss_minus_gamma_times_privacy_loss(reduction, task, frames):
  """Oracle: the networks called one by one, the losses in NumPy."""
  keras.config.set_floatx("float64")
  batch = core.episode(frames=frames, task=task).support
  networks, value, log = eq1(2.5, reduction, batch, task)
  anonymized = steps.anonymize(networks.anonymizer, batch.clips.frames)
  action = cross_entropy(networks.recognizer(anonymized).numpy(), batch.clips.action.numpy()).mean()
  attacker, labels = list(networks.attackers.values())[1], batch.private.labels.numpy()
  exposed = [attacker(networks.anonymizer(batch.private.frames[:, t])).numpy() for t in range(frames)]
  logits = np.mean(exposed, axis=0)
  if task == "identity":
    privacy = cross_entropy(logits, labels[:, 0]).mean()
  else:
    privacy = np.nansum(bce(logits, labels)) / ((labels != -1).sum() if reduction == "mean" else len(labels))
  np.testing.assert_allclose([log["action_loss"], log["privacy_loss"], value], [action, privacy, action - 2.5 * privacy], rtol=1e-10)


def test_gamma_weighs_as_many_times_more_under_sum_as_there_are_attributes():
  keras.config.set_floatx("float64")
  batch = core.episode(missing=0.0).support
  privacy = {reduction: eq1(0.4, reduction, batch)[2]["privacy_loss"] for reduction in objectives.REDUCTIONS}
  assert privacy["sum"] == pytest.approx(core.ATTRIBUTES * privacy["mean"], rel=1e-12)


def test_a_batch_twice_as_large_leaves_gamma_its_meaning():
  keras.config.set_floatx("float64")
  batch = core.episode().support
  twice = tf.nest.map_structure(lambda x: tf.concat([x, x], axis=0), batch)
  for reduction in objectives.REDUCTIONS:
    assert eq1(0.4, reduction, twice)[1] == pytest.approx(eq1(0.4, reduction, batch)[1], rel=1e-12)


def test_a_batch_without_any_label_has_no_privacy_loss():
  batch = core.episode().support
  batch = batch._replace(private=batch.private._replace(labels=-tf.ones_like(batch.private.labels)))
  _, value, log = eq1(0.4, "mean", batch)
  assert log["privacy_loss"] == log["privacy_accuracy"] == 0.0
  assert value == log["action_loss"] > 0.0


def test_binary_entropy_is_that_of_every_sigmoid_and_so_is_its_gradient():
  logits = np.array([[0.0, 2.0, -3.0], [60.0, -800.0, 0.5]])
  p = 1 / (1 + np.exp(-logits[0]))
  with tf.GradientTape() as entropy_tape:
    entropy_tape.watch(x := tf.constant(logits))
    entropy = objectives.binary_entropy(x)
  np.testing.assert_allclose(entropy[0], -p * np.log(p) - (1 - p) * np.log(1 - p), rtol=1e-12, atol=1e-15)
  assert float(entropy[0, 0]) == pytest.approx(np.log(2))
  slope = entropy_tape.gradient(entropy, x)
  np.testing.assert_allclose(slope[0], -logits[0] * p * (1 - p), rtol=1e-12, atol=1e-15)
  assert np.all(np.isfinite(slope)) and abs(entropy[1, 1]) < 1e-12, "far from zero it is sure, not undefined"


def test_categorical_entropy_is_that_of_every_softmax():
  p = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
  np.testing.assert_allclose(objectives.categorical_entropy(tf.constant(LOGITS)), -(p * np.log(p)).sum(axis=1), rtol=1e-10)
  np.testing.assert_allclose(objectives.categorical_entropy(tf.zeros([1, 5])), [np.log(5)], rtol=1e-6)


def nt_xent(first, second, temperature):
  """SimCLR's algorithm 1, view by view."""
  views, count = np.concatenate([first, second]), len(first)
  terms = []
  for i, view in enumerate(views):
    likeness = {j: np.exp(view @ other / temperature) for j, other in enumerate(views) if j != i}
    terms.append(-np.log(likeness[(i + count) % (2 * count)] / sum(likeness.values())))
  return np.array(terms)


def test_nt_xent_is_simclrs():
  first, second = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in RNG.normal(size=[2, 5, 3]))
  terms, hits = objectives.nt_xent_terms(tf.constant(first), tf.constant(second), 0.1)
  np.testing.assert_allclose(terms, nt_xent(first, second, 0.1), rtol=1e-10)
  assert terms.shape == hits.shape == (10,)
  _, found = objectives.nt_xent_terms(tf.constant(first), tf.constant(first), 0.1)
  np.testing.assert_array_equal(found, np.ones(10))
  _, found = objectives.nt_xent_terms(tf.constant(first), tf.constant(-first), 0.1)
  np.testing.assert_array_equal(found, np.zeros(10))
