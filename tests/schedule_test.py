"""Algorithm 1 against a trace written by hand; bounds, resumption and counts against random games."""

import collections
import json
import random

import pytest
from played_schedules import play, scripted

from mppar_tf.schedule import Decision, GateLimits, Schedule, Stage

ATTACKERS = ("p", "q")


def limits(**changes):
  usual = dict(action_threshold=0.7, attacker_threshold=0.95, min_recognizer_steps=0, max_recognizer_steps=3, max_attacker_rounds=2,
               smoothing=0.0, updates=2)
  return GateLimits(**usual | changes)


def roles(decisions):
  letters = {"validation": "v", "recognizer": "A", "attacker/p": "p", "attacker/q": "q", "anonymizer": "D"}
  return " ".join(letters[d.role] for d in decisions)


def test_algorithm_1_by_hand():
  """f^A is validated, updated until T1 = 70 %, then every attacker until it has T2 = 95 %, then f^D; after f^D all are measured again."""
  schedule = Schedule([], ATTACKERS, limits())
  decisions = play(schedule, scripted(validation=[0.5, 0.6, 0.7, 0.9], attacker_p=[0.95], attacker_q=[0.5, 0.96, 0.96]))
  # First round: f^A at .5, .6, .7 (not below); p reaches T2 in its first step, q in its second. Second update: all thresholds are met.
  assert roles(decisions) == "v A v A v p q q D v p q D"
  assert [d.reason for d in decisions] == [
      "validation", "recognizer_below_T1", "validation", "recognizer_below_T1", "validation",
      "attacker_below_T2", "attacker_below_T2", "attacker_below_T2", "anonymizer_thresholds_met", "validation", "attacker_measured",
      "attacker_measured", "anonymizer_thresholds_met"]
  assert {d.stage for d in decisions} == {"game"}


def test_thresholds_that_cannot_be_reached_meet_the_bounds():
  """The twin's attackers stay at .69: unbounded, f^D would never move."""
  decisions = play(Schedule([], ATTACKERS, limits(updates=2)), scripted())
  assert roles(decisions) == "v A v A v A p q p q D v A v A v A p q p q D"
  assert decisions[10].reason == decisions[-1].reason == "anonymizer_bound_reached"


def test_an_attacker_that_f_d_has_thrown_back_is_updated_again():
  """What it reached on frames that f^D no longer makes says nothing: unmeasured, it would stay as it was for the rest of the game."""
  decisions = play(Schedule([], ATTACKERS, limits(updates=3, max_recognizer_steps=0)),
                   scripted(attacker_p=[0.96, 0.5, 0.6, 0.97], attacker_q=[0.96]))
  assert roles(decisions) == "v p q D v p q p D v p q D"
  assert [d.reason for d in decisions if d.role == "attacker/p"] == [
      "attacker_below_T2", "attacker_measured", "attacker_below_T2", "attacker_below_T2"]


def test_the_recognizer_gets_its_minimum_even_above_its_threshold():
  schedule = Schedule([], ATTACKERS, limits(min_recognizer_steps=2, updates=1))
  decisions = play(schedule, scripted(validation=[1.0], attacker_p=[1.0], attacker_q=[1.0]))
  assert [d.reason for d in decisions if d.role == "recognizer"] == ["recognizer_minimum"] * 2
  assert roles(decisions)[-1] == "D"


def test_bounds_of_zero_leave_the_anonymizer_alone():
  decisions = play(Schedule([], ATTACKERS, limits(max_recognizer_steps=0, max_attacker_rounds=0, updates=3)), scripted())
  assert roles(decisions) == "v D v D v D"


def test_accuracies_are_moving_averages_that_start_at_the_first_value():
  schedule = Schedule([], ATTACKERS, limits(smoothing=0.75, max_attacker_rounds=0))
  play(schedule, scripted(validation=[0.4, 0.8]), steps=3)  # validation, f^A, validation
  assert schedule.gate_scalars["action_accuracy"] == pytest.approx(0.75 * 0.4 + 0.25 * 0.8)


def test_stages_take_turns_for_their_rounds_and_empty_ones_are_passed_over():
  pair = ("attacker/p", "attacker/q")
  stages = [Stage("nothing", ("x",), 0), Stage("nobody", (), 5), Stage("attackers", pair, 2), Stage("action", ("action",), 3)]
  schedule = Schedule(stages, ATTACKERS, limits(updates=1))
  assert schedule.total == {"attackers": 4, "action": 3, "game": 1}
  assert schedule.stage == "attackers"
  decisions = play(schedule, scripted(), steps=7)
  assert [(d.role, d.stage) for d in decisions] == [(role, "attackers") for role in pair * 2] + [("action", "action")] * 3
  assert schedule.stage == "game"
  play(schedule, scripted())
  assert schedule.stage == "done" and schedule.next() is None and schedule.done_in_stage == 1


def test_progress_of_a_stage_is_counted_in_the_unit_of_its_total():
  schedule = Schedule([Stage("attackers", ("attacker/p", "attacker/q"), 2)], ATTACKERS, limits())
  play(schedule, scripted(), steps=3)
  assert (schedule.stage, schedule.done_in_stage) == ("attackers", 3)


def test_without_a_gate_the_stages_are_all():
  assert [d.role for d in play(Schedule([Stage("recognizer", ("recognizer",), 3)]), scripted())] == ["recognizer"] * 3


def noise(seed):
  rng = random.Random(seed)
  return lambda decision: {"action_accuracy": rng.random(), "privacy_accuracy": rng.random()}


def random_game(seed):
  rng = random.Random(seed)
  most = rng.randint(0, 4)
  gate = limits(action_threshold=rng.random(), attacker_threshold=rng.random(), min_recognizer_steps=rng.randint(0, most),
                max_recognizer_steps=most, max_attacker_rounds=rng.randint(0, 3), smoothing=rng.choice([0.0, 0.5, 0.9]),
                updates=rng.randint(1, 6))
  names = tuple(f"n{i}" for i in range(rng.randint(0, 4)))
  stages = [Stage("action", ("action",), rng.randint(0, 3)), Stage("attackers", tuple(f"attacker/{n}" for n in names), rng.randint(0, 2))]
  return gate, names, lambda: Schedule(stages, names, gate)


@pytest.mark.parametrize("seed", range(60))
def test_bounds_hold_and_the_anonymizer_always_gets_its_turn(seed):
  gate, names, make = random_game(seed)
  schedule = make()
  decisions = play(schedule, noise(seed))
  game = [d for d in decisions if d.stage == "game"]
  assert schedule.next() is None
  assert sum(d.role == "anonymizer" for d in game) == gate.updates
  turn = collections.Counter()
  for decision in game:
    if decision.role == "anonymizer":
      assert gate.min_recognizer_steps <= turn["recognizer"] <= gate.max_recognizer_steps
      assert all(turn[f"attacker/{name}"] <= gate.max_attacker_rounds for name in names)
      assert turn["validation"] <= 1 + turn["recognizer"]
      turn.clear()
    else:
      turn[decision.role] += 1


@pytest.mark.parametrize("seed", range(20))
def test_every_decision_is_counted_by_role_and_by_reason(seed):
  schedule = random_game(seed)[2]()
  decisions = play(schedule, noise(seed))
  assert schedule.counts == collections.Counter(d.role for d in decisions)
  assert schedule.reasons == collections.Counter(d.reason for d in decisions)
  logged = schedule.gate_scalars
  assert {k: v for k, v in logged.items() if k.startswith("decisions/")} == {f"decisions/{k}": v for k, v in schedule.reasons.items()}


@pytest.mark.parametrize("seed", range(20))
def test_a_saved_game_goes_on_as_if_it_had_not_stopped(seed):
  make = random_game(seed)[2]
  whole, scalars = make(), noise(seed)
  measured = []

  def noted(decision):
    measured.append(scalars(decision))
    return measured[-1]
  expected = play(whole, noted)
  for cut in range(len(expected) + 1):
    first, second, replay = make(), make(), iter(measured)
    done = play(first, lambda _: next(replay), steps=cut)
    saved = json.loads(json.dumps(first.state()))
    second.load(saved)
    assert done + play(second, lambda _: next(replay)) == expected
    assert second.state() == whole.state()
    assert json.loads(json.dumps(first.state())) == saved, "playing on from a copy changed what it was copied from"


@pytest.mark.parametrize("seed", range(20))
def test_asking_again_gives_the_same_answer_and_changes_nothing(seed):
  """The loop looks ahead (is this the last update?) and saves between two questions."""
  asked_once, asked_twice = (random_game(seed)[2]() for _ in range(2))
  decisions = play(asked_once, noise(seed))
  scalars = noise(seed)
  for expected in decisions:
    assert asked_twice.next() == asked_twice.next() == expected
    asked_twice.record(expected, scalars(expected))
  assert asked_twice.next() is None
  assert asked_twice.state() == asked_once.state()


def test_another_runs_gate_is_refused():
  state = Schedule([], ("p", "r"), limits()).state()
  with pytest.raises(ValueError, match=r"knows attackers \['p', 'r'\], this run has \['p', 'q'\]"):
    Schedule([], ATTACKERS, limits()).load(state)


@pytest.mark.parametrize("key", ["action", "attacker"])
def test_a_saved_accuracy_that_is_not_finite_is_refused(key):
  schedule = Schedule([], ATTACKERS, limits())
  decision = Decision("validation" if key == "action" else "attacker/p", "game", "x")
  if key == "attacker":
    play(schedule, scripted(validation=[1.0]), steps=1)
    decision = schedule.next()
  schedule.record(decision, {"action_accuracy": float("nan"), "privacy_accuracy": float("nan")})
  with pytest.raises(ValueError, match="not finite"):
    Schedule([], ATTACKERS, limits()).load(schedule.state())
