"""Every method of the table: what each update may change, what a camera runs, and that no option is a dead one."""

import collections
import dataclasses
import functools
import itertools
import types

import fixtures_core as core
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from mppar_tf import experiment, learning_rates, loop, methods, options
from mppar_tf.data import clips
from mppar_tf.methods import fixed
from mppar_tf.methods.obfuscation import OBFUSCATIONS
from mppar_tf.protocols import benchmarks

METHODS = pytest.mark.parametrize("name", methods.METHODS)
GAMES = ("basic", "basic_equal_data", "mppar")
VITA = ("grl", "entropy", "k_beam")
ATTACKER_ROLES = core.ATTACKER_ROLES
COMPETITORS = {"spact": ("attacker/budget",)}  # where they are not the attackers
CHANGES = {
    "reconstruction": {"model/anonymizer", "optimizer/reconstruction"},
    "action": {"model/anonymizer", "model/recognizer", "optimizer/action", "optimizer/recognizer"},
    "recognizer": {"model/recognizer", "optimizer/recognizer"},
    "anonymizer": {"model/anonymizer", "optimizer/anonymizer"},
    "validation": set(),
    "attacker/budget": {"model/budget", "optimizer/budget"},
    "joint": {"model/anonymizer", "model/recognizer", "optimizer/joint", "optimizer/recognizer"},
    "pick": set(),
} | {role: {f"model/{role}", f"optimizer/{role}"} for role in ATTACKER_ROLES}


def build(name, networks=core.micro_networks, **changes):
  made = networks()
  core.shake([made.anonymizer, made.recognizer, *made.attackers.values()])
  method = methods.METHODS[name](made, core.settings(**changes))
  core.shake([model for owner, model in method.models.items() if owner == "budget"])
  return method


@functools.cache
def played(name):
  """The method, on a UNet (which has batch norms of its own), after one update of each role; by role: scalars, before, after."""
  method, seen = build(name, lambda: core.networks("unet")), {}
  for role, update in method.update.items():
    before = snapshot(method)
    seen[role] = {key: float(value) for key, value in update(core.batch_of(role)).items()}, before, snapshot(method)
  return method, seen


def snapshot(method):
  return {group: core.values(variables) for group, variables in loop.variables_of(method).items()}


def groups_changed(before, after):
  return {group for group in after if any(not np.array_equal(a, b) for a, b in zip(before[group], after[group], strict=True))}


def changes(role, method):
  """Groups that an update of the role may change; a restart, the attackers that play."""
  return {f"{kind}/attacker/{name}" for kind in ("model", "optimizer") for name in method.opponents} if role == "restart" else CHANGES[role]


@METHODS
def test_the_shift_decides_something_of_those_alone_that_are_listed(name):
  """What another --shift draws the same with is trained once for two protocols."""
  plans = [build(name, shift=shift).plan for shift in ("alternate", "attributes", "models")]
  drawn = [[plan(update) for update in range(8)] if plan else None for plan in plans]
  assert (drawn[0] == drawn[1] == drawn[2]) != (name in methods.SHIFTING)
  assert name in methods.SHIFTING or not drawn[0] or {plan.support for plan in drawn[0]} == {"all"}


@METHODS
def test_every_role_that_the_schedule_names_has_an_update(name):
  method, accuracies = build(name, action_threshold=0.5), itertools.cycle((1.0, 0.0))  # f^A is seen above its threshold and not above
  decided = []
  while (decision := method.schedule.next()) is not None:
    decided.append(decision.role)
    accuracy = next(accuracies) if decision.role == "validation" else 0.5
    method.schedule.record(decision, collections.defaultdict(lambda: accuracy))
  assert set(decided) <= set(method.update)
  assert (method.plan is not None) == ("anonymizer" in method.update) == (name not in methods.WITHOUT_LEARNING)
  if method.plan:
    assert set(decided) == set(method.update)
    assert decided.count("anonymizer") == core.settings().max_steps
    initial = ["reconstruction"] * 2 * (name != "bdq") + ["action"] * 2 + list(COMPETITORS.get(name, ATTACKER_ROLES)) * 2
    assert decided[:len(initial)] == initial
  else:
    # As many steps as a recognizer that plays the game at its lower bound.
    assert decided == ["recognizer"] * (core.settings().action_steps + core.settings().max_steps * core.settings().min_recognizer_steps)


@METHODS
def test_every_update_returns_finite_scalars(name):
  for role, (scalars, _, _) in played(name)[1].items():
    assert scalars and all(np.isfinite(value) for value in scalars.values()), f"{role}: {scalars}"
    assert all(value > 0 for key, value in scalars.items() if "norm" in key.split("_")), f"{role}: {scalars}"


@METHODS
def test_the_gate_finds_the_accuracies_that_it_reads(name):
  for role, (scalars, _, _) in played(name)[1].items():
    if role == "validation":
      assert 0.0 <= scalars["action_accuracy"] <= 1.0
    if role.startswith("attacker/"):
      assert 0.0 <= scalars["privacy_accuracy"] <= 1.0


@METHODS
def test_every_update_changes_what_it_should_and_nothing_else(name):
  for role, (_, before, after) in played(name)[1].items():
    assert groups_changed(before, after) == changes(role, played(name)[0]), role


@METHODS
def test_batch_statistics_move_only_where_a_network_trains(name):
  """f^D's updates read everybody's moving statistics; its own move in the reconstruction alone."""
  method, seen = played(name)
  trains = {"reconstruction": {"anonymizer"}, "action": {"recognizer"}, "recognizer": {"recognizer"}, "joint": {"recognizer"},
            "attacker/budget": {"budget"},
            "restart": {f"attacker/{name}" for name in method.opponents}} | {role: {role} for role in ATTACKER_ROLES}
  for role, (_, before, after) in seen.items():
    for owner, model in method.models.items():
      places = [i for i, v in enumerate(model.variables) if "moving_" in v.path]
      assert places or owner == "anonymizer"
      moved = [not np.array_equal(before[f"model/{owner}"][i], after[f"model/{owner}"][i]) for i in places]
      assert not any(moved) or owner in trains.get(role, ()), f"{role} moves {owner}'s statistics"
      assert all(moved) or owner not in trains.get(role, ()), f"{role} leaves {owner}'s statistics where they are"


@pytest.mark.parametrize("name", GAMES + VITA)
def test_every_kernel_of_the_network_that_trains_moves(name):
  """Biases need not: batch norm in training mode takes them away."""
  method, seen = played(name)
  owners = {"reconstruction": "anonymizer", "anonymizer": "anonymizer", "action": "recognizer", "recognizer": "recognizer"}
  for role, owner in owners.items():
    _, before, after = seen[role if role in seen else "joint"]
    for i, variable in enumerate(method.models[owner].variables):
      if variable.trainable and len(variable.shape) > 1:
        assert not np.array_equal(before[f"model/{owner}"][i], after[f"model/{owner}"][i]), f"{role} leaves {variable.path} where it is"


@METHODS
@pytest.mark.parametrize("shape", [(2, 1, 8, 8, 3), (3, 4, 8, 16, 3)])
def test_anonymize_keeps_shape_and_range_and_sees_frames_one_by_one(name, shape):
  method, _ = played(name)
  frames = np.random.default_rng(1).random(shape, np.float32)
  out = method.anonymize(tf.constant(frames)).numpy()
  assert out.shape == shape and out.dtype == np.float32
  assert 0.0 <= out.min() <= out.max() <= 1.0
  assert np.array_equal(out, frames) == (name in ("raw", "downsample_1", *OBFUSCATIONS))  # these hide people as frames are read
  if name == "bdq":  # sees pairs of frames: tests/compared_methods_test.py
    return
  np.testing.assert_allclose(method.anonymize(tf.constant(frames[:1, :1])).numpy(), out[:1, :1], atol=1e-5)


@METHODS
def test_exportable_is_none_or_a_reason_and_the_export_is_what_a_camera_runs(name):
  method, _ = played(name)
  if method.exportable is None:
    frames = np.random.default_rng(1).random((2, 1, 8, 8, 3), np.float32)
    np.testing.assert_allclose(method.models["anonymizer"](frames[:, 0]), method.anonymize(tf.constant(frames))[:, 0], atol=1e-6)
  else:
    assert len(method.exportable.split()) > 3


@METHODS
def test_everything_that_trains_is_checkpointed_once(name):
  method, _ = played(name)
  variables = [v for group in loop.variables_of(method).values() for v in group]
  assert len({id(v) for v in variables}) == len(variables)
  ours = {id(v) for v in variables}
  assert all(id(v) in ours for model in method.models.values() for v in model.variables)


def test_strong_blur_is_scipys_gaussian():
  frames = np.random.default_rng(2).random((2, 40, 30, 3), np.float32)
  sigma = 0.08 * 40
  expected = ndimage.gaussian_filter(frames, [0, sigma, sigma, 0], mode="reflect", radius=[0, 8, 8, 0])  # radius: ceil(2.5 sigma)
  np.testing.assert_allclose(fixed.gaussian_blur(sigma)(frames), expected, atol=1e-6)


# What each rate is the rate of: role, and the optimizer's own steps at which it rules. One-cycle schedules start at a 25th of their peak.
RATES = {
    "reconstruction_lr": ("reconstruction", "reconstruction", 0, 1 / 25),
    "action_lr": ("action", "recognizer", 0, 1 / 25),
    "action_anonymizer_lr": ("action", "action", 0, 1 / 25),
    "recognizer_lr": ("recognizer", "recognizer", core.settings().action_steps, 1),
    "attacker_init_lr": (ATTACKER_ROLES[1], ATTACKER_ROLES[1], 0, 1 / 25),
    "attacker_lr": (ATTACKER_ROLES[1], ATTACKER_ROLES[1], core.settings().attacker_init_steps, 1),
    "beta": ("anonymizer", "anonymizer", 0, 1),
    "budget_lr": ("attacker/budget", "budget", core.settings().attacker_init_steps, 1),
}


def test_every_learning_rate_is_tried():
  named = {f.name for f in dataclasses.fields(options.TrainOptions) if f.name.endswith("_lr")} | {"beta"}
  assert set(RATES) == named


def rates(method, step):
  for optimizer in method.optimizers.values():
    optimizer.iterations.assign(step)
  return learning_rates.values(method.optimizers)


@pytest.mark.parametrize("option", RATES)
def test_a_rate_is_what_its_optimizer_steps_with_and_nobody_else(option):
  role, owner, step, start = RATES[option]
  peak = getattr(core.settings(), option)
  base, changed = (build("spact" if owner == "budget" else "basic", **changes) for changes in ({}, {option: 2 * peak}))

  users = set(ATTACKER_ROLES) if owner in ATTACKER_ROLES else {owner}
  for at in (0, 2):
    before, after = rates(base, at), rates(changed, at)
    always = owner in ("reconstruction", "action", "anonymizer")  # one rate for all of its steps
    assert {key for key in before if before[key] != after[key]} == (users if always or at == step else set())

  def stride(method):
    """By how much one update moves what the optimizer owns."""
    rates(method, step)
    variables = method.optimizers[owner]._trainable_variables
    before = core.values(variables)
    method.update[role](core.batch_of(role))
    return core.flat(core.values(variables)) - core.flat(before)
  once, twice = stride(base), stride(changed)
  assert np.linalg.norm(once) > 0
  np.testing.assert_allclose(twice, 2 * once, rtol=0.05, atol=0.02 * np.abs(once).max())
  if step == 0:  # Adam's first step is as long as its rate, whatever the gradient
    assert np.abs(once).max() == pytest.approx(start * peak, rel=0.01)


def test_without_a_rate_the_anonymizer_sits_out_stage_two():
  method = build("basic", action_anonymizer_lr=0.0)
  before = snapshot(method)
  scalars = method.update["action"](core.batch_of("action"))
  assert groups_changed(before, snapshot(method)) == {"model/recognizer", "optimizer/recognizer"}
  assert "anonymizer_gradient_norm" not in scalars


def anonymizer_update(name, episode=None, **changes):
  scalars = build(name, **changes).update["anonymizer"](episode or core.episode())
  return {key: float(value) for key, value in scalars.items()}


@pytest.mark.parametrize("changes", [dict(alpha=0.5), dict(gamma=1.4), dict(privacy_reduction="sum"), dict(meta_gradient="first_order"),
                                     dict(meta_gradient="joint")], ids=lambda c: " ".join(map(str, *c.items())))
def test_options_of_the_meta_step_change_the_meta_gradient(changes):
  base, changed = (anonymizer_update("mppar", **options_)["meta_gradient_norm"] for options_ in ({}, changes))
  assert changed != pytest.approx(base, rel=1e-4)


def test_the_virtual_step_is_logged_as_it_was():
  """Without a virtual step, on one batch, against one attacker: both losses and both gradients are the same."""
  episode = core.episode(query_attacker=0)
  scalars = anonymizer_update("mppar", episode._replace(query=episode.support), alpha=0.0)
  assert scalars["virtual_training_loss"] == pytest.approx(scalars["virtual_testing_loss"], rel=1e-5)
  assert scalars["support_query_cosine"] == pytest.approx(1.0, abs=1e-5)
  assert scalars["meta_gradient_norm"] == pytest.approx(2 * scalars["virtual_gradient_norm"], rel=1e-5)
  for key in ("action_loss", "privacy_loss", "privacy_accuracy", "action_accuracy"):
    assert scalars[f"support/{key}"] == pytest.approx(scalars[f"query/{key}"], rel=1e-5)


def test_equal_data_is_the_mean_of_two_batches():
  one = anonymizer_update("basic")
  episode = core.episode(query_attacker=0)
  same = anonymizer_update("basic_equal_data", episode._replace(query=episode.support))
  assert {k: pytest.approx(v, rel=1e-5) for k, v in one.items()} == same
  other = anonymizer_update("basic", episode._replace(support=episode.query))
  both = anonymizer_update("basic_equal_data", episode)
  for key in ("loss", "action_loss", "privacy_loss", "action_accuracy", "privacy_accuracy"):
    assert both[key] == pytest.approx((one[key] + other[key]) / 2, rel=1e-5)


class Spy:
  """Options that remember which of them were read."""

  def __init__(self, told):
    self._told, self.read = told, set()

  def __getattr__(self, name):
    self.read.add(name)
    return getattr(self._told, name)


def test_every_training_option_is_consumed():
  """By building, planning and updating mppar; by making its streams; by a method without learning; or by those that it is for."""
  of_others = {"entropy_weight": "bdq", "budget_weight": "spact", "budget_lr": "spact", "ensemble": "k_beam", "restart_every": "k_beam",
               "beam_steps": "k_beam", "strong_blur_sigma": "strong_blur", "weak_blur_sigma": "weak_blur"}
  fields = {f.name for f in dataclasses.fields(options.TrainOptions)}
  settings = Spy(core.settings())
  method = methods.METHODS["mppar"](core.micro_networks(), settings)
  method.plan(0)
  method.update["anonymizer"](core.episode())
  assert fields - settings.read == {"action_batch", "privacy_batch", "recognizer_batch", "attacker_batch", "fixed_recognizer_steps",
                                    *of_others}

  run = types.SimpleNamespace(
      settings=settings, spec=clips.ClipSpec(core.FRAMES, 1, core.CROP, False), strategy=tf.distribute.get_strategy(), clips={}, private={},
      benchmark=benchmarks.Benchmark("c", "p", ("a", "b"), (), {}, ""))
  experiment.make_feeder(run, method, seed=0, on_corrupt="fail")
  assert fields - settings.read == {"fixed_recognizer_steps", *of_others}
  methods.METHODS["raw"](core.micro_networks(), settings)
  assert fields - settings.read == set(of_others)
  for name in sorted(set(of_others.values())):
    if name in methods.WITHOUT_LEARNING:
      methods.METHODS[name](core.micro_networks(), settings)
    else:
      methods.METHODS[name](core.micro_networks(), settings).update["anonymizer"](core.episode())
  assert fields == settings.read


@pytest.mark.parametrize("name", methods.WITHOUT_LEARNING)
def test_without_learning_the_recognizer_has_a_budget_of_its_own(name):
  """A schedule of its own length too, or the rate would not come down by the last step."""
  method = build(name, fixed_recognizer_steps=30)
  assert method.schedule.total == {"recognizer": 30}
  peak = core.settings().action_lr
  assert [rates(method, step)["recognizer"] for step in (0, 9, 30)] == pytest.approx([peak / 25, peak, peak / 1000], rel=1e-4)


@pytest.mark.parametrize("name", GAMES)
def test_plans_are_a_function_of_seed_and_update(name):
  def drawn(seed):
    plan = build(name, seed=seed).plan
    return [plan(update) for update in range(30)]
  backwards = build(name, seed=1).plan
  assert drawn(1) == list(reversed([backwards(update) for update in reversed(range(30))]))
  assert drawn(1) != drawn(2)


@pytest.mark.parametrize("name, query", [("basic", "same"), ("basic_equal_data", "all")])
def test_basic_plays_one_random_attacker_of_all_on_any_record(name, query):
  plan = build(name).plan
  drawn = [plan(update) for update in range(60)]
  assert {(p.kind, p.support, p.query) for p in drawn} == {("single", "all", query)}
  assert all(p.support_attacker == p.query_attacker for p in drawn)
  assert {p.support_attacker for p in drawn} == {0, 1}


def test_clip_norm_bounds_every_update():
  """With plain gradient descent at rate 1 the stride is the clipped gradient."""
  for role in ("reconstruction", "recognizer", ATTACKER_ROLES[0], "anonymizer"):
    with pytest.MonkeyPatch.context() as patch:
      patch.setattr(learning_rates, "adam", core.descent)
      method = build("mppar", clip_norm=1e-3)
    variables = method.optimizers[role]._trainable_variables
    before = core.values(variables)
    scalars = method.update[role](core.batch_of(role))
    norm = float(scalars["meta_gradient_norm" if role == "anonymizer" else "gradient_norm"])
    assert norm > 2e-3, "the bound was not tried"
    assert np.linalg.norm(core.flat(core.values(variables)) - core.flat(before)) == pytest.approx(1e-3, rel=1e-3), role
