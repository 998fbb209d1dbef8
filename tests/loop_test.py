"""The loop with a method of one weight: what is saved, what is refused, what a signal does."""

import os
import signal
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from mppar_tf import checkpoints, journal, loop
from mppar_tf.schedule import GateLimits, Schedule, Stage
from mppar_tf.schedule_vita import GRL_AND_ENTROPY, Loops

ATTACKERS = tuple("abcdefgh")
UPDATES = loop.Rhythm(1, 1000, 1, 1)  # checkpoints of f^D's updates alone


class Toy:
  """Adds 1 to its weight at every step; from step `spoilt` (counted from 0) on its weight, or the term that it returns, is infinite."""

  def __init__(self, folder, schedule, spoilt=None, spoil="weight"):
    model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    self.weight, self.folder = model.weights[0], folder

    def update(batch):
      bad = tf.where(batch >= (1000 if spoilt is None else spoilt), np.float32(np.inf), 0.0)
      self.weight.assign(self.weight + 1.0 + (bad if spoil == "weight" else 0.0))
      accuracies = {f"{task}_accuracy": tf.constant(0.5) for task in ("action", "privacy")}
      return {"loss": bad if spoil == "term" else tf.constant(0.5), **accuracies}
    roles = ("x", "validation", "anonymizer", "restart", *(f"attacker/{name}" for name in ATTACKERS))
    self.method = types.SimpleNamespace(models={"m": model}, optimizers={}, update={role: update for role in roles}, schedule=schedule)
    self.checkpoints = checkpoints.Checkpoints(folder / "checkpoints", loop.variables_of(self.method), keep=99)

  def run(self, batch=lambda role, count: None, rhythm=loop.Rhythm(1, 1, 1, 1), **settings):
    def counted(role, count):
      batch(role, count)
      return tf.constant(count)
    feeder = types.SimpleNamespace(batch=counted, positions=dict, seek=lambda _: None)
    log = journal.Journal(self.folder)
    try:
      loop.run(self.method, feeder, tf.distribute.get_strategy(), run_dir=self.folder, checkpoints=self.checkpoints, journal=log,
               rhythm=rhythm, quiet=True, **settings)
    finally:
      log.close()

  def saved(self):
    """Step -> state and weight of its checkpoint."""
    return {step: (self.checkpoints.restore(self.checkpoints.find(f"step-{step:09d}")), float(self.weight[0, 0]))
            for step in self.checkpoints.steps()}


def stage(rounds=4):
  return Schedule([Stage("x", ("x",), rounds)])


def game(updates=3):
  return Schedule([], (), GateLimits(0.7, 0.95, 0, 0, 0, 0.0, updates))


def restarting(updates=3):
  """After a stage of three steps, VITA's cycles of few steps, and twelve of two new attackers between two of them."""
  names = ATTACKERS[:2]
  return Schedule([Stage("x", ("x",), 3)], names, Loops(GRL_AND_ENTROPY, names, "recognizer", 0.1, 0.1, 0, 0, 1, 1, 1, 6, 0.0, updates))


def test_every_step_is_saved_and_the_last_is_the_schedules(tmp_path):
  toy = Toy(tmp_path, stage())
  toy.run()
  assert toy.checkpoints.steps() == [1, 2, 3, 4] and float(toy.weight[0, 0]) == 4.0


def test_attackers_in_turn_are_saved_by_the_steps_of_the_whole_stage(tmp_path):
  """Each of eight comes to ten steps of its own, one right after the other."""
  schedule = lambda: Schedule([Stage("attackers", tuple(f"attacker/{name}" for name in ATTACKERS), 11)], ATTACKERS)
  toy = Toy(tmp_path, schedule())
  toy.run(rhythm=loop.Rhythm(1, 10, 1, 1))
  assert toy.checkpoints.steps() == [*range(10, 90, 10), 88]


def test_a_game_is_saved_between_two_updates_too(tmp_path):
  """Nowhere is more lost than --checkpoint_steps; killed among the new attackers' steps, it ends as if nobody had killed it."""
  rhythm = loop.Rhythm(1000, 5, 1000, 1)
  whole, killed, again = (Toy(tmp_path / name, restarting()) for name in ("whole", "killed", "killed"))
  whole.run(rhythm=rhythm)

  def die(role, count):
    if (role, count) == ("attacker/b", 4):
      raise KeyboardInterrupt
  with pytest.raises(KeyboardInterrupt):
    killed.run(die, rhythm)
  start = again.checkpoints.restore(again.checkpoints.find("last"))
  assert start["schedule"]["vita"]["phase"] == "retraining" and start["schedule"]["counts"]["anonymizer"] == 1
  again.run(rhythm=rhythm, start=start)
  assert again.saved() == whole.saved()
  steps = [0, *whole.saved()]
  assert steps[1] == 3 and steps[-1] > 30 and max(b - a for a, b in zip(steps, steps[1:])) == 5
  assert whole.checkpoints.restore(whole.checkpoints.find(checkpoints.INITIALISED))["step"] == 3, "no later one bears this name"


def test_a_game_whose_updates_are_saved_is_saved_no_oftener(tmp_path):
  toy = Toy(tmp_path, game(updates=6))
  toy.run(rhythm=loop.Rhythm(2, 4, 1000, 1))
  assert toy.checkpoints.steps() == [4, 8, 12]


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
  """Every term of the step that spoils them is finite."""
  toy = Toy(tmp_path, stage(), spoilt=2)
  with pytest.raises(journal.NotFinite, match="^after step 3: NaN or infinity in model/m; the last checkpoint is the one before"):
    toy.run()
  assert toy.checkpoints.steps() == [1, 2]
  toy.checkpoints.restore(toy.checkpoints.find("last"))
  assert float(toy.weight[0, 0]) == 2.0


def test_a_term_that_is_not_finite_is_named_with_its_step(tmp_path):
  toy = Toy(tmp_path, stage(), spoilt=2, spoil="term")
  with pytest.raises(journal.NotFinite, match="^step 2 of x: loss = inf; the last checkpoint is the one before"):
    toy.run()
  assert toy.checkpoints.steps() == [1, 2]


def test_a_spoilt_state_is_not_marked_as_the_best(tmp_path):
  toy, scores = Toy(tmp_path, game(), spoilt=1), iter([0.1, 0.9, 0.9])
  with pytest.raises(journal.NotFinite, match="after step 4"):
    toy.run(rhythm=UPDATES, looks=loop.Looks(validate=lambda: {"score": next(scores)}))
  assert (toy.checkpoints.steps(), toy.checkpoints.best(), toy.checkpoints.best_score()) == ([2], 2, 0.1)


def test_the_best_score_of_full_validation_is_kept(tmp_path):
  toy, scores = Toy(tmp_path, game()), iter([0.1, 0.4, 0.3])
  toy.run(rhythm=UPDATES, looks=loop.Looks(validate=lambda: {"score": next(scores)}))
  assert (toy.checkpoints.steps(), toy.checkpoints.best()) == ([2, 4, 6], 4)


def test_a_score_that_is_not_finite_stops(tmp_path):
  toy = Toy(tmp_path, game())
  with pytest.raises(journal.NotFinite, match="step 1 of full validation: score = nan"):
    toy.run(rhythm=UPDATES, looks=loop.Looks(validate=lambda: {"score": float("nan")}))
  assert toy.checkpoints.steps() == [] and toy.checkpoints.best() is None


def test_a_look_without_a_score_chooses_no_checkpoint(tmp_path):
  toy = Toy(tmp_path, game())
  toy.run(looks=loop.Looks(validate=lambda: {"action_top1": 0.9}))
  assert toy.checkpoints.best() is None and toy.checkpoints.steps()


@pytest.mark.parametrize("failing", ["write", "flush"])
def test_what_cannot_be_written_is_one_line(tmp_path, monkeypatch, failing):
  def full(*_, **__):
    raise OSError(28, "No space left\non device")
  monkeypatch.setattr(*((tf.train.Checkpoint, "write") if failing == "write" else (journal.Journal, "flush")), full)
  with pytest.raises(checkpoints.CheckpointError, match="cannot be written: .*No space left on device") as caught:
    Toy(tmp_path, stage()).run()
  assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_its_step_and_another_start_goes_on(tmp_path, number):
  before = signal.getsignal(number)
  toy = Toy(tmp_path, stage())
  with pytest.raises(loop.Preempted, match=f"{number.name} after 2 steps"):
    toy.run(batch=lambda role, count: os.kill(os.getpid(), number) if count == 1 else None)
  assert toy.checkpoints.steps() == [1, 2] and signal.getsignal(number) is before
  again = Toy(tmp_path, stage())
  again.run(start=again.checkpoints.restore(again.checkpoints.find("last")))
  assert again.checkpoints.steps() == [1, 2, 3, 4] and float(again.weight[0, 0]) == 4.0


def test_a_second_signal_is_not_waited_for(tmp_path):
  def twice(role, count):
    for _ in range(2):
      os.kill(os.getpid(), signal.SIGINT)
  toy = Toy(tmp_path, stage())
  with pytest.raises(KeyboardInterrupt):
    toy.run(batch=twice)
  assert toy.checkpoints.steps() == []
