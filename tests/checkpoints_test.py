"""Checkpoints are whole or absent: kills at every moment, the last K and the best, other networks."""

import json
import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from mppar_tf import checkpoints, learning_rates, loop
from mppar_tf.checkpoints import CheckpointError, Checkpoints


def network(seed=0, units=3, name="dense"):
  keras.utils.set_random_seed(seed)
  return keras.Sequential([keras.Input([2]), keras.layers.Dense(units, name=name), keras.layers.BatchNormalization()])


class Game:
  """What `loop.variables_of` reads of a method."""

  def __init__(self, seed=0, units=3, names=("f_d", "attacker/p")):
    self.models = {name: network(seed + i, units) for i, name in enumerate(names)}
    rate = learning_rates.shaped(1e-2, 0, "constant")
    self.optimizers = {name: learning_rates.adam(rate, model.trainable_variables) for name, model in self.models.items()}

  def train(self, steps=1):
    for _ in range(steps):
      for name, model in self.models.items():
        self.optimizers[name].apply_gradients([(tf.random.normal(v.shape), v) for v in model.trainable_variables])
        model(tf.random.normal([4, 2]), training=True)

  def variables(self):
    return loop.variables_of(self)

  def values(self):
    return {name: [keras.ops.convert_to_numpy(v) for v in group] for name, group in self.variables().items()}


def same(one, other):
  return one.keys() == other.keys() and all(np.array_equal(a, b) for name in one for a, b in zip(one[name], other[name], strict=True))


def saved(folder, steps=(1,), keep=3, game=None):
  game = game or Game()
  store = Checkpoints(folder, game.variables(), keep)
  for step in steps:
    game.train()
    store.save(step, {"schedule": {"turn": step}, "positions": {"clips": 10 * step}})
  return game, store


def test_everything_comes_back(tmp_path):
  """Weights, BatchNorm statistics, Adam's slots and iterations, and the state."""
  game, store = saved(tmp_path, steps=(1, 2, 3))
  other = Game(seed=50)
  assert not same(game.values(), other.values())
  state = Checkpoints(tmp_path, other.variables()).restore(store.find("last"))
  assert same(game.values(), other.values())
  assert state == {"step": 3, "schedule": {"turn": 3}, "positions": {"clips": 30}}
  assert int(other.optimizers["f_d"].iterations) == 3
  assert float(np.abs(other.values()["model/f_d"][4]).max()) > 0  # moving mean


def test_every_checkpoint_holds_its_own_moment(tmp_path):
  game = Game()
  store, moments = Checkpoints(tmp_path, game.variables()), {}
  for step in (1, 2, 3):
    game.train()
    moments[step] = game.values()
    store.save(step, {})
  for step in (1, 3, 2):
    store.restore(tmp_path / f"step-{step:09d}")
    assert same(game.values(), moments[step])


def test_chosen_groups_leave_the_others_alone(tmp_path):
  game, store = saved(tmp_path)
  other = Game(seed=50)
  before = other.values()
  Checkpoints(tmp_path, other.variables()).restore(store.find("last"), groups=["model/f_d"])
  after = other.values()
  assert same({"f": after["model/f_d"]}, {"f": game.values()["model/f_d"]})
  assert same({k: v for k, v in after.items() if k != "model/f_d"}, {k: v for k, v in before.items() if k != "model/f_d"})


def test_a_group_that_nobody_knows_is_an_error(tmp_path):
  _, store = saved(tmp_path)
  with pytest.raises(CheckpointError, match="f_x.*model/f_d"):
    store.restore(store.find("last"), groups=["model/f_x"])


def test_the_last_ones_and_the_best_stay(tmp_path):
  game = Game()
  store = Checkpoints(tmp_path, game.variables(), keep=2)
  for step in range(1, 8):
    if step in (2, 3):
      store.mark_best(step, score=step / 10)
    store.save(step, {})
  assert store.steps() == [3, 6, 7]
  assert (store.best(), store.best_score()) == (3, 0.3)
  assert store.find("best").name == "step-000000003" and store.find("last").name == "step-000000007"


def test_a_named_checkpoint_stays_for_ever(tmp_path):
  _, store = saved(tmp_path, steps=(), keep=1)
  store.save(1, {}, checkpoints.INITIALISED)
  for step in (2, 3, 4):
    store.save(step, {})
  assert store.steps() == [4]
  assert json.loads((store.find("initialised") / "state.json").read_text())["step"] == 1


def test_without_checkpoints_it_is_told(tmp_path):
  store = Checkpoints(tmp_path / "none", Game().variables())
  assert (store.steps(), store.best(), store.best_score()) == ([], None, float("-inf"))
  for which in ("last", "best", "initialised"):
    with pytest.raises(CheckpointError, match=f"no {which} checkpoint in .*none"):
      store.find(which)


def test_the_best_counts_only_once_it_is_whole(tmp_path):
  """A kill between mark and save: the step is repeated and marked again."""
  _, store = saved(tmp_path)
  store.mark_best(2, 0.9)
  assert (store.best(), store.best_score()) == (None, float("-inf"))
  store.save(2, {})
  assert (store.best(), store.best_score()) == (2, 0.9)


def test_the_old_best_stays_until_the_new_one_is_whole(tmp_path):
  """A kill between mark and save; what is saved next is another step, of a signal say."""
  game = Game()
  store = Checkpoints(tmp_path, game.variables(), keep=1)
  for step, score in ((1, 0.2), (2, 0.4), (3, 0.1)):
    if score > store.best_score():
      store.mark_best(step, score)
    store.save(step, {})
  store.mark_best(5, 0.9)
  store = Checkpoints(tmp_path, game.variables(), keep=1)
  assert (store.best(), store.best_score(), store.find("best").name) == (2, 0.4, "step-000000002")
  store.save(4, {})
  assert store.steps() == [2, 4] and store.best() == 2
  store.mark_best(5, 0.9)
  store.save(5, {})
  assert store.steps() == [5] and (store.best(), store.best_score()) == (5, 0.9)


def test_a_step_that_is_done_again_need_not_be_the_best_any_more(tmp_path):
  """With another number of threads it is another one."""
  game, store = saved(tmp_path)
  store.forget_unsaved()
  assert not (tmp_path / "best.json").exists()
  store.mark_best(1, 0.2)
  before = (tmp_path / "best.json").read_bytes()
  store.forget_unsaved()
  assert (tmp_path / "best.json").read_bytes() == before
  store.mark_best(2, 0.9)
  again = Checkpoints(tmp_path, game.variables())
  again.forget_unsaved()
  again.save(2, {})
  assert (again.best(), again.best_score()) == (1, 0.2)


@pytest.mark.parametrize("moment", ["write", "sync", "rename"])
def test_a_mark_that_dies_leaves_the_one_before(tmp_path, monkeypatch, moment):
  _, store = saved(tmp_path)
  store.mark_best(1, 0.2)

  def die(*_, **__):
    raise KeyboardInterrupt
  with monkeypatch.context() as killed:
    killed.setattr(*{"write": (json, "dumps"), "sync": (os, "fsync"), "rename": (os, "replace")}[moment], die)
    with pytest.raises(KeyboardInterrupt):
      store.mark_best(2, 0.9)
  store.save(2, {})
  assert (store.best(), store.best_score()) == (1, 0.2)


def test_a_mark_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
  """A machine that loses power would leave an empty file."""
  _, store = saved(tmp_path)
  done, sync, replace = [], os.fsync, os.replace
  monkeypatch.setattr(os, "fsync", lambda handle: (done.append(os.stat(handle).st_ino), sync(handle)))
  monkeypatch.setattr(os, "replace", lambda a, b: (done.append("renamed"), replace(a, b)))
  store.mark_best(1, 0.2)
  assert done == [(tmp_path / "best.json").stat().st_ino, "renamed", tmp_path.stat().st_ino]


def test_a_mark_of_an_older_version_counts(tmp_path):
  _, store = saved(tmp_path)
  (tmp_path / "best.json").write_text('{"step": 1, "score": 0.25}')
  assert (store.best(), store.best_score()) == (1, 0.25)


@pytest.mark.parametrize("content", [b"", b'{"step": 1, "sc', b"[1]", b"7", b'{"step": 1}', b'{"step": null, "score": 0.2}', b"\xff\xfe",
                                     b'{"step": 1, "score": 0.2, "before": 3}', b'{"step": Infinity, "score": 0.2}'], ids=repr)
def test_a_damaged_mark_is_told_in_one_line(tmp_path, content):
  game, store = saved(tmp_path)
  (tmp_path / "best.json").write_bytes(content)
  for ask in (store.best, store.best_score, store.forget_unsaved, lambda: store.find("best"), lambda: store.mark_best(2, 0.9),
              lambda: store.save(2, {})):
    with pytest.raises(CheckpointError, match="best.json is damaged .*remove it") as caught:
      ask()
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
  assert store.steps() == [1, 2] and (tmp_path / "best.json").read_bytes() == content
  store.restore(store.find("last"))


def test_a_mark_that_cannot_be_written_is_told_in_one_line(tmp_path, monkeypatch):
  def full(*_, **__):
    raise OSError(28, "No space left\non device")
  _, store = saved(tmp_path)
  monkeypatch.setattr(os, "replace", full)
  with pytest.raises(CheckpointError, match="best.json cannot be written: .*No space left on device"):
    store.mark_best(1, 0.2)


def test_the_very_first_may_be_the_best(tmp_path):
  _, store = saved(tmp_path / "fresh", steps=())
  store.mark_best(1, 0.2)
  store.save(1, {})
  assert store.best() == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", ["weight", "statistic", "slot"])
def test_groups_that_are_not_finite_are_named(tmp_path, place, value):
  game, store = saved(tmp_path)
  assert store.not_finite() == []
  group, variable = {"weight": ("model/f_d", game.models["f_d"].weights[0]),
                     "statistic": ("model/attacker/p", game.models["attacker/p"].weights[-1]),
                     "slot": ("optimizer/f_d", game.optimizers["f_d"].variables[-1])}[place]
  spoilt = keras.ops.convert_to_numpy(variable).copy()
  spoilt.flat[-1] = value
  variable.assign(spoilt)
  assert store.not_finite() == [group]


@pytest.mark.parametrize("moment", ["variables", "state", "sync", "rename"])
def test_a_save_that_dies_leaves_the_one_before(tmp_path, monkeypatch, moment):
  game, store = saved(tmp_path)
  before = game.values()
  game.train()

  def die(*_, **__):
    raise KeyboardInterrupt
  with monkeypatch.context() as killed:
    if moment == "variables":
      killed.setattr(tf.train.Checkpoint, "write", die)
    elif moment == "state":
      killed.setattr(json, "dumps", die)
    else:
      killed.setattr(os, {"sync": "fsync", "rename": "replace"}[moment], die)
    with pytest.raises(KeyboardInterrupt):
      store.save(2, {})
  assert store.steps() == [1]
  fresh = Game(seed=50)
  store = Checkpoints(tmp_path, fresh.variables())
  store.restore(store.find("last"))
  assert same(fresh.values(), before)
  store.save(2, {})
  assert store.steps() == [1, 2]
  assert not list(tmp_path.glob(".part-step*"))


def test_what_a_killed_save_left_behind_is_no_checkpoint_and_is_written_over(tmp_path):
  game, store = saved(tmp_path)
  shutil.copytree(tmp_path / "step-000000001", tmp_path / ".part-step-000000002")
  (tmp_path / ".part-step-000000002" / "state.json").write_text("{")
  (tmp_path / "step-000000003").mkdir()
  assert store.steps() == [1]
  game.train()
  store.save(2, {"fresh": True})
  assert store.restore(store.find("last")) == {"step": 2, "fresh": True}
  assert {path.name for path in tmp_path.iterdir()} == {"step-000000001", "step-000000002"}


def test_a_step_that_is_saved_already_is_left_alone(tmp_path):
  game, store = saved(tmp_path)
  moment = game.values()
  game.train()
  store.save(1, {"other": 1})
  assert "other" not in store.restore(store.find("last"))
  assert same(game.values(), moment)


@pytest.mark.parametrize("other, why", [
    (dict(units=4), "shape"), (dict(names=("f_d",)), "fewer"), (dict(names=("f_d", "attacker/p", "attacker/q")), "more"),
    (dict(names=("f_d", "attacker/q")), "named")],
    ids=lambda value: value if isinstance(value, str) else "")
def test_other_networks_are_refused(tmp_path, other, why):
  _, store = saved(tmp_path)
  with pytest.raises(CheckpointError, match="step-000000001 is damaged or does not fit this run's networks"):
    Checkpoints(tmp_path, Game(**other).variables()).restore(store.find("last"))


@pytest.mark.parametrize("damage", ["torn", "gone", "flipped"])
@pytest.mark.parametrize("broken", ["variables.index", "variables.data-00000-of-00001", "state.json"])
def test_a_damaged_file_is_told_in_one_line(tmp_path, broken, damage):
  _, store = saved(tmp_path)
  folder = store.find("last")
  content = (folder / broken).read_bytes()
  if damage == "gone":
    (folder / broken).unlink()
  elif damage == "torn":
    (folder / broken).write_bytes(content[:len(content) // 2])
  else:
    (folder / broken).write_bytes(content[:9] + bytes([content[9] ^ 0xFF]) + content[10:])
  with pytest.raises(CheckpointError, match="step-000000001") as caught:
    store.restore(folder)
  assert "\n" not in str(caught.value)


def test_replicas_are_saved_once_and_all_restored(tmp_path, two_replicas):
  with two_replicas.scope():
    game, other = Game(), Game(seed=50)
  store = Checkpoints(tmp_path, game.variables())
  store.save(1, {})
  Checkpoints(tmp_path, other.variables()).restore(store.find("last"))
  for name, group in other.variables().items():
    for variable, wanted in zip(group, game.variables()[name], strict=True):
      for local in two_replicas.experimental_local_results(variable.value):
        np.testing.assert_array_equal(local, two_replicas.experimental_local_results(wanted.value)[0])
  single = Game(seed=60)
  Checkpoints(tmp_path, single.variables()).restore(store.find("last"))
  assert same(single.values(), other.values())


def test_what_another_method_saved_of_ours_can_be_taken_alone(tmp_path):
  """Its game had no optimizer that we have, and one that we have not; names with dots and slashes are found again."""
  game, ours = (Game(seed, names=("f_d", "attacker/v2_0.5")) for seed in (0, 50))
  for one, name in ((game, "theirs"), (ours, "joint")):
    one.optimizers[name] = learning_rates.adam(learning_rates.shaped(1e-2, 0, "constant"), one.models["f_d"].trainable_variables)
  store = Checkpoints(tmp_path, game.variables())
  for name, model in game.models.items():
    game.optimizers[name].apply_gradients([(tf.random.normal(v.shape), v) for v in model.trainable_variables])
  store.save(1, {})
  fresh = ours.values()
  mine = Checkpoints(tmp_path, ours.variables())
  held = mine.held_by(store.find("last"))
  assert sorted(held) == [f"{kind}/{name}" for kind in ("model", "optimizer") for name in ("attacker/v2_0.5", "f_d")]
  with pytest.raises(CheckpointError):
    mine.restore(store.find("last"))
  mine.restore(store.find("last"), held)
  assert same({name: ours.values()[name] for name in held}, {name: game.values()[name] for name in held})
  assert same({name: ours.values()[name] for name in set(fresh) - set(held)}, {name: fresh[name] for name in set(fresh) - set(held)})
  with pytest.raises(CheckpointError, match="damaged"):
    mine.held_by(tmp_path / "nobody")
  with pytest.raises(CheckpointError, match="does not fit this run's networks: model.attacker.v2_0.5, model.q on one side alone"):
    Checkpoints(tmp_path, Game(names=("f_d", "q")).variables()).held_by(store.find("last"))
