"""Two replicas compute what one does on the same global batch: every role's update, through the streams and the loop's own traced step.

The one replica runs eagerly, which is quicker and the plainer oracle. float64, so that a difference is a mistake. Adam hides a wrong
scale of the gradient; its slots and the returned norms, which are compared too, do not.
"""

import fixtures_core as core
import keras
import numpy as np
import pytest
import tensorflow as tf

from mppar_tf import feeding, loop, methods
from mppar_tf.types import Clips, Private

COMPETITORS = ("reconstruction", "action", "recognizer", *core.ATTACKER_ROLES, "validation")
BATCH, BATCHES = 4, 3


def streams(strategy, task):
  """Every stream of a run. Labels are missing on one replica far more often than on the other; X_1 and X_2 know different attributes."""
  def stream(seed, make):
    rng = np.random.default_rng(seed)
    whole = make(rng)
    batches = lambda: tf.data.Dataset.from_tensor_slices(whole).batch(BATCH, drop_remainder=True).repeat()
    return feeding.Stream(strategy, lambda position: batches().skip(position))

  def clips(rng):
    frames = rng.random([BATCH * BATCHES, core.FRAMES, core.CROP, core.CROP, 3])
    return Clips(frames, rng.integers(0, core.CLASSES, BATCH * BATCHES).astype(np.int32))

  def private(masked):
    def make(rng):
      frames = rng.random([BATCH * BATCHES, 2, core.CROP, core.CROP, 3])
      if task == "identity":
        return Private(frames, rng.integers(0, core.ATTRIBUTES, [BATCH * BATCHES, 1]).astype(np.int32))
      labels = rng.integers(0, 2, [BATCH * BATCHES, core.ATTRIBUTES]).astype(np.int32)
      labels[:, masked] = -1
      second_replica = np.arange(BATCH * BATCHES) % BATCH >= BATCH // 2
      labels[second_replica[:, None] & (rng.random(labels.shape) < 0.8)] = -1
      return Private(frames, labels)
    return make
  made = {f"clips/{role}": stream(i, clips) for i, role in enumerate(("reconstruction", "recognizer", "validation", "anonymizer"))}
  made |= {f"private/{name}": stream(10 + i, private(masked)) for i, (name, masked) in enumerate(
      {"reconstruction": [], "attacker": [], "all": [], "first": [2, 3], "second": [0, 1]}.items())}
  return made


class Run:
  """A method under a strategy, played role by role."""

  def __init__(self, strategy, traced, name, task="attributes", **changes):
    self.strategy, self.traced = strategy, traced
    with strategy.scope():
      networks = core.micro_networks(task)
      core.shake([networks.anonymizer, networks.recognizer, *networks.attackers.values()])
      self.method = methods.METHODS[name](networks, core.settings(**changes))
    self.feeder = feeding.Feeder(streams(strategy, task), self.method.plan)
    self.steps, self.counts = {}, {}

  def step(self, role):
    count = self.counts.setdefault(role, 0)
    self.counts[role] += 1
    if role not in self.steps:
      update = self.method.update[role]
      self.steps[role] = loop.distributed(self.strategy, update) if self.traced else lambda batch: self.strategy.run(update, args=(batch,))
    return {name: float(value) for name, value in self.steps[role](self.feeder.batch(role, count)).items()}

  def values(self):
    """Group -> variables -> the value on each replica."""
    return {group: [[local.numpy() for local in self.strategy.experimental_local_results(v.value)] for v in variables]
            for group, variables in loop.variables_of(self.method).items()}


def changed(before, after):
  return {group for group in after if any(not np.array_equal(a[0], b[0]) for a, b in zip(before[group], after[group]))}


def compare(two_replicas, name, roles, **options):
  keras.config.set_floatx("float64")
  keras.config.set_dtype_policy("float64")
  one, two = Run(tf.distribute.MirroredStrategy(["CPU:0"]), False, name, **options), Run(two_replicas, True, name, **options)
  before, touched = two.values(), set()
  for role in roles:
    single, double = one.step(role), two.step(role)
    assert single.keys() == double.keys()
    for key in single:
      assert double[key] == pytest.approx(single[key], rel=1e-9, abs=1e-12), f"{role}: {key}"
    expected, found = one.values(), two.values()
    for group, variables in found.items():
      for i, (locals_, wanted) in enumerate(zip(variables, expected[group], strict=True)):
        assert len(locals_) == 2 and len(wanted) == 1
        np.testing.assert_array_equal(locals_[0], locals_[1], err_msg=f"{role}: replicas differ in {group}, variable {i}")
        np.testing.assert_allclose(locals_[0], wanted[0], rtol=1e-9, atol=1e-12, err_msg=f"{role}: {group}, variable {i}")
    touched |= changed(before, found)
    before = found
  return touched, two


def test_initialisation_and_competitors(two_replicas):
  touched, two = compare(two_replicas, "basic", COMPETITORS * 2, clip_norm=0.05)
  assert touched == set(two.values()) - {"optimizer/anonymizer"}
  for model in two.method.models.values():
    means = [w for w in model.non_trainable_variables if "moving_mean" in w.path]
    assert means and all(float(np.ptp(keras.ops.convert_to_numpy(w))) > 0 for w in means)


@pytest.mark.parametrize("task", ["attributes", "identity"])
def test_a_whole_mppar_update(two_replicas, task):
  """Update 0 is model-wise (support and query share their data), update 1 attribute-wise, with labels in unequal shares."""
  touched, two = compare(two_replicas, "mppar", ["anonymizer"] * 2, task=task)
  assert touched == {"model/anonymizer", "optimizer/anonymizer"}
  assert [two.method.plan(i).kind for i in (0, 1)] == ["models", "attributes"]


@pytest.mark.parametrize("name", ["basic", "basic_equal_data"])
def test_a_whole_update_of_the_adversarial_baselines(two_replicas, name):
  touched, _ = compare(two_replicas, name, ["anonymizer"] * 2, clip_norm=0.05)
  assert touched == {"model/anonymizer", "optimizer/anonymizer"}


def test_a_whole_update_of_bdq(two_replicas):
  """Each replica's clips are scaled by themselves, and the entropy is one mean over all."""
  touched, _ = compare(two_replicas, "bdq", ["action", *core.ATTACKER_ROLES, "anonymizer", "anonymizer"], clip_norm=0.05)
  assert touched >= {"model/anonymizer", "optimizer/anonymizer", "optimizer/action"}


def test_a_view_of_spact_is_compared_with_those_of_all_replicas(two_replicas):
  """Each replica by itself would compare a view with half of the others, under draws of its own."""
  touched, _ = compare(two_replicas, "spact", ["attacker/budget", "anonymizer", "attacker/budget", "anonymizer"], clip_norm=0.05)
  assert touched == {"model/anonymizer", "optimizer/anonymizer", "model/budget", "optimizer/budget"}


@pytest.mark.parametrize("name", sorted(set(methods.METHODS) - {"raw", "downsample_1"}))
def test_what_is_judged_is_the_same_on_every_replica(two_replicas, name):
  keras.config.set_floatx("float64")
  keras.config.set_dtype_policy("float64")
  run = Run(two_replicas, True, name)
  batch = run.feeder.batch("recognizer", 0)
  per_replica = two_replicas.run(tf.function(lambda clips: run.method.anonymize(clips.frames)), args=(batch,))
  found = np.concatenate([local.numpy() for local in two_replicas.experimental_local_results(per_replica)])
  frames = np.concatenate([local.numpy() for local in two_replicas.experimental_local_results(batch.frames)])
  np.testing.assert_allclose(found, run.method.anonymize(tf.constant(frames)), rtol=1e-9, atol=1e-12)


JOINT = ("model/recognizer", "optimizer/recognizer", "optimizer/joint")


@pytest.mark.parametrize("name, more, moved, task", [
    ("grl", [], (), "identity"), ("k_beam", ["pick", "joint"], JOINT, "attributes"), ("entropy", ["joint"], JOINT, "attributes")])
def test_whole_updates_of_vitas_methods(two_replicas, name, more, moved, task):
  """What the replicas hold is unequal: whom entropy's f^D moves against, and a pick, are the global batch's."""
  touched, _ = compare(two_replicas, name, ["anonymizer", *more] * 2, task=task, l1_weight=0.5, clip_norm=0.05)
  assert touched == {"model/anonymizer", "optimizer/anonymizer", *moved}


def test_restarted_attackers_are_the_same_everywhere(two_replicas):
  roles = [*core.ATTACKER_ROLES, "restart", *core.ATTACKER_ROLES]
  touched, _ = compare(two_replicas, "entropy", roles)
  assert touched == {f"{kind}/{role}" for kind in ("model", "optimizer") for role in core.ATTACKER_ROLES}


def test_the_recognizer_of_a_fixed_transform(two_replicas):
  touched, _ = compare(two_replicas, "strong_blur", ["recognizer", "recognizer", "validation"])
  assert touched == {"model/recognizer", "optimizer/recognizer"}


def test_the_replicas_hold_unequal_shares_of_the_labels(two_replicas):
  """Without this the tests above would not see a local mean in place of the global one."""
  keras.config.set_floatx("float64")
  for name in ("attacker", "all", "first", "second"):
    stream = streams(two_replicas, "attributes")[f"private/{name}"]
    labels = [two_replicas.experimental_local_results(stream.next().labels) for _ in range(BATCHES)]
    first, second = (sum(int((of_batch[i].numpy() != -1).sum()) for of_batch in labels) for i in (0, 1))
    assert first > 2 * second > 0
