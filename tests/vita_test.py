"""What defines each of VITA's methods: whom f^D moves against, that entropy grows, that restarted attackers are new."""

import types

import fixtures_core as core
import keras
import numpy as np
import pytest
import tensorflow as tf

from played_schedules import play

from mppar_tf import experiment, feeding, learning_rates, methods, metagrad, objectives, validation
from mppar_tf.methods import steps
from mppar_tf.types import Batch, Private

TASKS = pytest.mark.parametrize("task", ["attributes", "identity"])
NAMES = core.TRAINING_ATTACKERS


def build(name, task="attributes", **changes):
  networks = core.micro_networks(task)
  core.shake([networks.anonymizer, networks.recognizer, *networks.attackers.values()])
  return networks, methods.METHODS[name](networks, core.settings(**changes))


def played(name, episode, task="attributes", **changes):
  """An update of f^D: the networks, its scalars, and the gradient as Adam's first moment tells it."""
  networks, method = build(name, task, **changes)
  scalars = {key: float(value) for key, value in method.update["anonymizer"](episode).items()}
  moments = method.optimizers["anonymizer"]._momentums
  return scalars, core.flat(core.values(moments)) / (1.0 - method.optimizers["anonymizer"].beta_1)


def expected(task, episode, of):
  """The gradient with respect to f^D of `of`(action loss, [(privacy loss, entropy)] by attacker), written out in probabilities."""
  networks, _ = build("grl", task)
  clips, private = episode.support
  with tf.GradientTape() as tape:
    action_logits = networks.recognizer(steps.anonymize(networks.anonymizer, clips.frames), training=False)
    action = -tf.reduce_mean(tf.math.log(tf.gather(tf.nn.softmax(action_logits), clips.action, batch_dims=1)))
    exposed, reads = steps.anonymize(networks.anonymizer, private.frames), []
    for attacker in networks.attackers.values():
      logits = tf.reduce_mean(tf.stack([attacker(exposed[:, t], training=False) for t in range(exposed.shape[1])]), axis=0)
      if task == "identity":
        p = tf.nn.softmax(logits)
        loss = -tf.reduce_mean(tf.math.log(tf.gather(p, private.labels[:, 0], batch_dims=1)))
        entropy = -tf.reduce_mean(tf.reduce_sum(p * tf.math.log(p), axis=1))
      else:
        p, known = tf.sigmoid(logits), private.labels >= 0
        loss = -tf.reduce_mean(tf.math.log(tf.where(private.labels == 1, p, 1.0 - p)[known]))
        entropy = -tf.reduce_mean(p * tf.math.log(p) + (1.0 - p) * tf.math.log(1.0 - p))
      reads.append((loss, entropy))
    value = of(action, reads)
  return float(value), core.flat(tape.gradient(value, networks.anonymizer.trainable_variables)), reads


def assert_close(found, wanted):
  np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


@TASKS
def test_grl_descends_eq_1_against_its_one_attacker(task):
  episode = core.episode(task=task, frames=2, support_attacker=1)  # an index that GRL has no use for
  scalars, gradient = played("grl", episode, task)
  value, wanted, _ = expected(task, episode, lambda action, reads: action - 0.7 * reads[0][0])
  assert scalars["loss"] == pytest.approx(value, rel=1e-4)
  assert_close(gradient, wanted)


@TASKS
def test_entropy_sees_the_surest_attacker_alone_and_no_label(task):
  episode = core.episode(task=task, frames=2)
  scalars, gradient = played("entropy", episode, task)
  value, wanted, reads = expected(
      task, episode, lambda action, reads: action + 0.7 * tf.reduce_max(tf.stack([-entropy for _, entropy in reads])))
  entropies = [float(entropy) for _, entropy in reads]
  assert scalars["loss"] == pytest.approx(value, rel=1e-4) and scalars["surest"] == np.argmin(entropies)
  assert [scalars[f"entropy/{name}"] for name in NAMES] == pytest.approx(entropies, rel=1e-4)
  assert scalars["privacy_entropy"] == pytest.approx(min(entropies), rel=1e-4) and len(set(entropies)) == 2
  assert_close(gradient, wanted)
  clips, private = episode.support
  relabelled = episode._replace(support=Batch(clips, Private(private.frames, (private.labels + 1) % 2)))
  np.testing.assert_array_equal(played("entropy", relabelled, task)[1], gradient)


@pytest.mark.parametrize("picked", [0, 1])
@TASKS
def test_k_beam_ascends_the_loss_of_the_picked_attacker_alone(task, picked):
  episode = core.episode(task=task, frames=2, support_attacker=picked)
  scalars, gradient = played("k_beam", episode, task, gamma=5.0)
  value, wanted, _ = expected(task, episode, lambda action, reads: -reads[picked][0])
  assert scalars["loss"] == pytest.approx(value, rel=1e-4) and scalars["picked"] == picked
  assert_close(gradient, wanted)


@TASKS
def test_a_pick_measures_every_attacker_and_the_plan_follows_it(task):
  networks, method = build("k_beam", task)
  assert method.plan(0).support_attacker == 0
  private = core.private(np.random.default_rng(4), task=task, frames=2)
  episode = core.episode()
  _, _, reads = expected(task, episode._replace(support=Batch(episode.support.clips, private)), lambda action, reads: action)
  losses = [float(loss) for loss, _ in reads]
  scalars = {key: float(value) for key, value in method.update["pick"](private).items()}
  assert scalars == {f"privacy_loss/{name}": pytest.approx(loss, rel=1e-4) for name, loss in zip(NAMES, losses)}
  for easier in NAMES:  # as the losses would be if this one read it best
    told = scalars | {"action_accuracy": 1.0, "privacy_accuracy": 1.0, f"privacy_loss/{easier}": 0.01}
    while (decision := method.schedule.next()).role != "anonymizer":
      method.schedule.record(decision, told)
    assert method.plan(7).support_attacker == method.plan(7).query_attacker == NAMES.index(easier)
    fresh = build("k_beam", task)[1]
    fresh.schedule.load(method.schedule.state())
    assert fresh.plan(7) == method.plan(7), "a resumed run plays another attacker"
    while method.schedule.next() is not None and method.schedule.next().role != "pick":
      method.schedule.record(method.schedule.next(), told)


@TASKS
def test_entropy_rises_where_the_surest_attacker_looks(task):
  """A few updates on one batch against fixed attackers: towards log 2 (or log of the number of people), which nothing exceeds."""
  _, method = build("entropy", task, gamma=50.0, beta=0.02)
  episode, update = core.episode(task=task), tf.function(method.update["anonymizer"])
  lowest, surest = [], set()
  for _ in range(40):
    scalars = update(episode)
    lowest.append(min(float(scalars[f"entropy/{name}"]) for name in NAMES))
    surest.add(int(scalars["surest"]))
  most = np.log(core.ATTRIBUTES if task == "identity" else 2.0)
  assert max(lowest) <= most + 1e-6
  assert most - np.mean(lowest[-5:]) < 0.7 * (most - lowest[0]), lowest
  assert surest == {0, 1}, "one attacker was the surest all the time: no maximum was tried"


def test_the_l1_term_is_the_difference_between_output_and_input():
  """Over all frames that f^D sees in the update; its weight is the only thing that changes."""
  episode = core.episode()
  for name in ("grl", "entropy", "k_beam", "basic"):
    networks, _ = build(name)
    seen = [episode.support.private.frames] + ([episode.support.clips.frames] if name != "k_beam" else [])
    flat = tf.concat([tf.reshape(x, [-1, *x.shape[2:]]) for x in seen], axis=0)
    l1 = float(tf.reduce_mean(tf.abs(networks.anonymizer(flat, training=False) - flat)))
    without, with_it = (played(name, episode, l1_weight=weight)[0] for weight in (0.0, 3.0))
    assert with_it["l1"] == pytest.approx(l1, rel=1e-4) and "l1" not in without
    assert with_it["loss"] == pytest.approx(without["loss"] + 3.0 * l1, rel=1e-4), name


def attackers_after(method, *indices):
  """Every variable of the attackers after restarts of these indices, each after an update that moved them."""
  for index in indices:
    for role in core.ATTACKER_ROLES:
      method.update[role](core.batch_of(role))
    method.update["restart"](tf.constant(index))
  return {name: core.values(method.models[f"attacker/{name}"].variables) for name in NAMES}


def kernels(of_one):
  return [value for value in of_one if value.ndim > 1]


def test_restarted_attackers_are_new_every_time_and_repeatable():
  networks, method = build("entropy")
  start = {name: core.values(model.variables) for name, model in networks.attackers.items()}
  first, second = attackers_after(method, 0), attackers_after(method, 1)
  again = attackers_after(build("entropy")[1], 0, 1)  # the first restart, and what was learned since, leave no trace
  other = attackers_after(build("entropy", seed=5)[1], 1)
  for name in NAMES:
    for a, b in zip(second[name], again[name], strict=True):
      np.testing.assert_array_equal(a, b)
    for states in ((start, first), (first, second), (second, other)):
      for a, b in zip(*(kernels(state[name]) for state in states), strict=True):
        assert not np.isclose(a, b, rtol=1e-3).mean() > 0.05
    for a, b in zip(start[name], second[name], strict=True):
      if a.ndim > 1:
        assert np.std(b) == pytest.approx(np.std(a), rel=0.5) and np.std(b) > 0
      else:
        np.testing.assert_array_equal(a, b)  # scales, shifts and statistics as at the very start
  for a, b in zip(kernels(second[NAMES[0]]), kernels(second[NAMES[1]])):
    assert not np.allclose(a, b), "two attackers got the same weights"


def test_after_a_restart_optimizers_begin_again():
  _, method = build("k_beam")
  attackers_after(method, 0)
  for role in core.ATTACKER_ROLES:
    assert all(not value.any() for value in core.values(method.optimizers[role].variables))
  assert learning_rates.values(method.optimizers)[core.ATTACKER_ROLES[0]] == pytest.approx(core.settings().attacker_init_lr / 25)


@pytest.mark.parametrize("changes, played_by", [({"ensemble": 1}, NAMES[:1]), ({"ensemble": 2}, NAMES), ({}, NAMES)])
@pytest.mark.parametrize("name", ["entropy", "k_beam"])
def test_an_ensemble_is_the_first_training_attackers(name, changes, played_by):
  networks, method = build(name, **changes)
  assert method.opponents == played_by
  scalars = method.update["anonymizer"](core.episode(support_attacker=0)) | method.update.get("pick", lambda _: {})(core.batch_of("pick"))
  assert sorted(key.partition("/")[2] for key in scalars if "/" in key) == sorted(played_by)
  built = types.SimpleNamespace(networks=networks, benchmark=None)
  assert validation.Validation(built, method)._attackers == played_by


def test_f_d_learns_actions_at_the_rate_of_f_a():
  _, method = build("entropy", recognizer_lr=3e-4)
  assert learning_rates.values(method.optimizers)["joint"] == pytest.approx(3e-4)


@pytest.mark.parametrize("name, ascents", [("grl", 1), ("entropy", 1), ("k_beam", 3)])
def test_competitors_have_as_many_steps_for_an_update_of_f_d_under_every_method(name, ascents):
  """K-Beam's updates of f^D come in a row: bounds that were meant for one would leave its competitors a fraction of everybody's steps."""
  changes = dict(beam_steps=3, max_steps=6, min_recognizer_steps=1, max_recognizer_steps=2, max_attacker_rounds=2, restart_every=0)
  schedule = build(name, **changes)[1].schedule
  names = [f"privacy_loss/{attacker}" for attacker in NAMES]
  decisions = play(schedule, lambda _: {"action_accuracy": 0.0, "privacy_accuracy": 0.0} | dict.fromkeys(names, 1.0))
  game = [d.role for d in decisions if d.stage == "game"]
  cycles = 6 // ascents
  assert game.count("anonymizer") == 6
  of_action = game.count("recognizer") + game.count("joint")
  playing = 1 if name == "grl" else len(NAMES)
  assert of_action == 2 * ascents * (cycles if name == "k_beam" else cycles - 1)  # the run ends with f^D
  assert sum(role.startswith("attacker/") for role in game) == 2 * ascents * (cycles - 1) * playing


def test_a_restart_is_told_its_number():
  assert int(feeding.Feeder({}, None).batch("restart", 3)) == 3


@TASKS
def test_entropy_is_that_of_numpy_and_counts_na(task):
  logits = np.random.default_rng(0).normal(0.0, 3.0, [5, 4])
  p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) if task == "identity" else 1.0 / (1.0 + np.exp(-logits))
  wanted = -(p * np.log(p)).sum() - (0.0 if task == "identity" else ((1.0 - p) * np.log(1.0 - p)).sum())
  assert float(objectives.entropy_sum(task, tf.constant(logits))) == pytest.approx(wanted, rel=1e-9)
  labels = tf.fill([5, 1 if task == "identity" else 4], -1)
  for reduction, count in (("mean", 5 if task == "identity" else 20), ("sum", 5)):
    assert float(objectives.entropy_count(task, labels, reduction, tf.float64)) == count


@TASKS
def test_entropy_has_its_maximum_at_equal_logits_and_is_finite_far_away(task):
  z = tf.constant([[0.0] * 4, [1e4, -1e4, 1e4, 0.0], [-90.0, 30.0, 0.5, 0.0]], tf.float32)
  (gradient,), value, _ = metagrad.gradient(lambda phi: (objectives.entropy_sum(task, phi[0]), {}), [z])
  assert np.isfinite(value) and np.isfinite(gradient).all()
  np.testing.assert_allclose(gradient[0], np.zeros(4), atol=1e-6)
  assert float(objectives.entropy_sum(task, z[:1])) == pytest.approx(np.log(4.0) if task == "identity" else 4 * np.log(2.0))


def test_an_ensemble_larger_than_the_attackers_is_told(monkeypatch, tmp_path):
  from mppar_tf import options
  benchmark = experiment.benchmarks.BENCHMARKS["twin"]
  empty = types.SimpleNamespace(manifest=types.SimpleNamespace(classes=("x",), attributes=benchmark.known + benchmark.novel), folder="")
  monkeypatch.setattr(experiment, "open_records", lambda *_: (dict.fromkeys(("train", "validation", "test"), empty),) * 2)
  monkeypatch.setattr(experiment.frames, "check_crop", lambda *_: None)
  with pytest.raises(experiment.ExperimentError, match="--ensemble=9 is more than the training attackers: "):
    experiment.build(options.RunOptions(data_dir=str(tmp_path)), options.ClipOptions(), options.ModelOptions(),
                     core.settings(ensemble=9), tf.distribute.get_strategy())


def test_kernels_are_drawn_though_weights_were_given():
  """Whoever started from ImageNet starts again from random numbers: what is drawn hangs on the first draw alone."""
  _, method = build("entropy")
  for name in NAMES:
    for variable in method.models[f"attacker/{name}"].trainable_variables:
      variable.assign(keras.ops.full_like(variable, 17.0))
  given, plain = attackers_after(method, 2), attackers_after(build("entropy")[1], 2)
  for name in NAMES:
    for a, b in zip(given[name], plain[name], strict=True):
      np.testing.assert_array_equal(a, b)
