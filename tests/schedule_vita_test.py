"""VITA's loops against traces written by hand; bounds, resumption and counts against random games."""

import collections
import json
import random

import pytest
from played_schedules import play, scripted

from mppar_tf.schedule import GateLimits, Schedule, Stage
from mppar_tf.schedule_vita import GRL_AND_ENTROPY, K_BEAM, Loops

ATTACKERS = ("p", "q")
LETTERS = {"validation": "v", "recognizer": "A", "joint": "J", "attacker/p": "p", "attacker/q": "q", "anonymizer": "D", "pick": "?",
           "restart": "!"}
REASONS = {"anonymizer_first", "anonymizer_thresholds_met", "anonymizer_bound_reached", "validation", "attacker_below_T2",
           "attacker_measured", "pick", "restart", "attacker_after_restart", "recognizer_below_T1", "recognizer_minimum", "joint_below_T1"}


def loops(order=GRL_AND_ENTROPY, **changes):
  usual = dict(order=order, attackers=ATTACKERS, action_role="joint" if order == K_BEAM else "recognizer", action_threshold=0.7,
               attacker_threshold=0.95, min_recognizer_steps=0, max_recognizer_steps=3, max_attacker_rounds=2, ascents=1, restart_every=0,
               retraining_rounds=2, smoothing=0.0, updates=2)
  return Loops(**usual | changes)


def schedule_of(*args, stages=(), **changes):
  return Schedule(stages, ATTACKERS, loops(*args, **changes))


def trace(decisions):
  return " ".join(LETTERS[d.role] for d in decisions)


def test_a_cycle_of_grl_by_hand():
  """f^D once; f^A while at most T1 (70 % itself is not enough); each attacker while at most T2; then f^D again."""
  decisions = play(schedule_of(), scripted(validation=[0.5, 0.7, 0.71], attacker_p=[0.96], attacker_q=[0.95, 0.96]))
  assert trace(decisions) == "D v A v A v p q q D"
  assert [d.reason for d in decisions] == [
      "anonymizer_first", "validation", "recognizer_below_T1", "validation", "recognizer_below_T1", "validation",
      "attacker_below_T2", "attacker_below_T2", "attacker_below_T2", "anonymizer_thresholds_met"]


@pytest.mark.parametrize("order, played", [(GRL_AND_ENTROPY, "D v p q D v p q p D v p q D"), (K_BEAM, "v ? D p q v ? D p q p v ? D")])
def test_an_attacker_that_f_d_has_thrown_back_is_updated_again(order, played):
  schedule = schedule_of(order, updates=4 if order == GRL_AND_ENTROPY else 3)
  decisions = play(schedule, scripted(validation=[1.0], attacker_p=[0.96, 0.5, 0.6, 0.97], attacker_q=[0.96]))
  assert trace(decisions) == played
  assert [d.reason for d in decisions if d.role == "attacker/p"][:3] == ["attacker_below_T2", "attacker_measured", "attacker_below_T2"]


def test_a_cycle_of_entropy_moves_both_on_actions():
  decisions = play(schedule_of(action_role="joint"), scripted(validation=[0.5, 0.8], attacker_p=[1.0], attacker_q=[1.0]))
  assert trace(decisions) == "D v J v p q D"


def test_a_cycle_of_k_beam_by_hand():
  """f^A and f^D on actions first; one pick; f^D its steps in a row, the last of the run included; then the attackers."""
  schedule = schedule_of(K_BEAM, ascents=3, updates=5)
  decisions = play(schedule, scripted(validation=[0.5, 0.8], attacker_p=[1.0], attacker_q=[1.0]))
  assert trace(decisions) == "v J v ? D D D p q v ? D D"
  assert schedule.state()["vita"]["picked"] == 1
  assert {d.reason for d in decisions[4:7]} == {"anonymizer_first"} and decisions[-1].reason == "anonymizer_thresholds_met"


def test_thresholds_that_cannot_be_reached_meet_the_bounds():
  decisions = play(schedule_of(), scripted())
  assert trace(decisions) == "D v A v A v A p q p q D" and decisions[-1].reason == "anonymizer_bound_reached"
  decisions = play(schedule_of(K_BEAM, max_recognizer_steps=1, max_attacker_rounds=1), scripted())
  assert trace(decisions) == "v J ? D p q v J ? D"
  assert {d.reason for d in decisions if d.role == "anonymizer"} == {"anonymizer_bound_reached"}


def test_bounds_of_zero_leave_the_anonymizer_alone():
  assert trace(play(schedule_of(max_recognizer_steps=0, max_attacker_rounds=0), scripted())) == "D v D"


def test_the_action_loop_gets_its_minimum_above_its_threshold():
  decisions = play(schedule_of(min_recognizer_steps=2), scripted(validation=[1.0], attacker_p=[1.0], attacker_q=[1.0]))
  assert [d.reason for d in decisions if d.role == "recognizer"] == ["recognizer_minimum"] * 2


def test_above_its_threshold_the_minimum_moves_f_a_alone():
  """Else a recipe's least steps of f^A would draw f^D back to the raw frame in every cycle, which VITA does below T1 alone."""
  accuracies = scripted(validation=[0.5, 0.8], attacker_p=[1.0], attacker_q=[1.0])
  decisions = play(schedule_of(action_role="joint", min_recognizer_steps=2), accuracies)
  assert trace(decisions) == "D v J v A v p q D"
  assert [d.reason for d in decisions[2:5:2]] == ["joint_below_T1", "recognizer_minimum"]


def test_a_restart_stands_between_cycles_and_only_attackers_move():
  schedule = schedule_of(restart_every=2, updates=5, max_recognizer_steps=0, max_attacker_rounds=1)
  assert trace(play(schedule, scripted())) == "D v p q D v p q ! p q p q D v p q D v p q ! p q p q D"
  assert schedule.reasons["attacker_after_restart"] == 8 and schedule.counts["restart"] == 2


def test_what_old_attackers_reached_says_nothing_of_the_new():
  schedule = schedule_of(restart_every=1, max_recognizer_steps=0, max_attacker_rounds=0, retraining_rounds=1, smoothing=0.9, updates=2)
  play(schedule, scripted(attacker_p=[0.25], attacker_q=[0.5]), steps=2)
  assert schedule.next().role == "restart"
  play(schedule, scripted(attacker_p=[0.25], attacker_q=[0.5]), steps=3)
  assert [schedule.gate_scalars[f"attacker_accuracy/{name}"] for name in ATTACKERS] == [0.25, 0.5]


def test_only_those_of_the_ensemble_play():
  stage = Stage("attackers", ("attacker/p", "attacker/q"), 1)
  decisions = play(schedule_of(stages=[stage], attackers=("p",), restart_every=1), scripted())
  assert trace(decisions[:2]) == "p q" and "attacker/q" not in {d.role for d in decisions[2:]}


def noise(seed):
  rng = random.Random(seed)
  return lambda decision: collections.defaultdict(rng.random)


def random_game(seed):
  rng = random.Random(seed)
  most = rng.randint(0, 4)
  order = rng.choice([GRL_AND_ENTROPY, K_BEAM])
  game = loops(order, action_role=rng.choice(["recognizer", "joint"]), action_threshold=rng.random(), attacker_threshold=rng.random(),
               min_recognizer_steps=rng.randint(0, most), max_recognizer_steps=most, max_attacker_rounds=rng.randint(0, 3),
               ascents=rng.randint(1, 4), restart_every=rng.randint(0, 4), retraining_rounds=rng.randint(0, 2),
               attackers=ATTACKERS[:rng.randint(1, 2)], smoothing=rng.choice([0.0, 0.9]), updates=rng.randint(1, 8))
  stages = [Stage("action", ("action",), rng.randint(0, 2)), Stage("attackers", ("attacker/p", "attacker/q"), rng.randint(0, 2))]
  return game, lambda: Schedule(stages, ATTACKERS, game)


@pytest.mark.parametrize("seed", range(60))
def test_bounds_hold_and_the_order_is_kept(seed):
  game, make = random_game(seed)
  schedule = make()
  decisions = play(schedule, noise(seed))
  assert schedule.next() is None and schedule.counts["anonymizer"] == game.updates
  assert schedule.counts == collections.Counter(d.role for d in decisions)
  assert schedule.reasons == collections.Counter(d.reason for d in decisions)
  played = [d for d in decisions if d.stage == "game"]
  assert {d.reason for d in played} <= REASONS
  turn, row, since = collections.Counter(), 0, 0
  for before, decision in zip([None, *played], played):
    role = decision.role
    if role == "anonymizer":
      row = row + 1 if before and before.role == "anonymizer" else 1
      since += 1
      assert row <= game.ascents
      assert game.order != K_BEAM or row > 1 or before.role == "pick"
      moved = turn["recognizer"] + turn["joint"]
      assert moved <= game.max_recognizer_steps and turn["attacker_below_T2"] <= 2 * game.max_attacker_rounds
      assert moved >= game.min_recognizer_steps or decision.reason == "anonymizer_first" or row > 1
      turn.clear()
    elif role == "restart":
      assert 0 < game.restart_every <= since
      since = 0
    turn[decision.reason if role.startswith("attacker/") else role] += 1


@pytest.mark.parametrize("seed", range(20))
def test_a_saved_game_goes_on_as_if_it_had_not_stopped(seed):
  """At every step, from what JSON makes of the state; asking twice changes nothing either."""
  make, measured = random_game(seed)[1], []
  whole, scalars = make(), noise(seed)

  def noted(decision):
    measured.append({key: scalars(decision)[key] for key in ("action_accuracy", "privacy_accuracy", "privacy_loss/p", "privacy_loss/q")})
    return measured[-1]
  expected = play(whole, noted)
  for cut in range(len(expected) + 1):
    first, second, replay = make(), make(), iter(measured)
    done = play(first, lambda _: next(replay), steps=cut)
    saved = json.loads(json.dumps(first.state(), sort_keys=True))
    second.load(saved)
    assert second.next() == second.next()
    assert done + play(second, lambda _: next(replay)) == expected
    assert second.state() == whole.state()
    assert json.loads(json.dumps(first.state())) == saved, "playing on from a copy changed what it was copied from"


@pytest.mark.parametrize("theirs, ours", [(GRL_AND_ENTROPY, K_BEAM), (K_BEAM, GRL_AND_ENTROPY)], ids=["grl", "k_beam"])
def test_a_game_begun_from_anothers_initialisation_plays_its_own_order(theirs, ours):
  stage = [Stage("attackers", ("attacker/p", "attacker/q"), 1)]
  giver, taker, alone = (Schedule(stage, ATTACKERS, loops(order)) for order in (theirs, ours, ours))
  play(giver, scripted(), steps=2)
  play(alone, scripted(), steps=2)
  taker.load(json.loads(json.dumps(giver.state())))
  assert taker.state() == alone.state()
  assert play(taker, scripted(), steps=9) == play(alone, scripted(), steps=9)


def gate():
  return GateLimits(0.7, 0.95, 0, 0, 0, 0.0, 2)


@pytest.mark.parametrize("theirs, ours", [(gate(), loops()), (loops(), gate())], ids=["to VITA's", "from VITA's"])
def test_another_games_initialisation_is_taken_and_its_middle_refused(theirs, ours):
  stage = [Stage("attackers", ("attacker/p", "attacker/q"), 1)]
  other, mine = Schedule(stage, ATTACKERS, theirs), Schedule(stage, ATTACKERS, ours)
  play(other, scripted(), steps=2)
  mine.load(other.state())
  assert mine.stage == "game" and mine.counts == other.counts and mine.next().reason in ("anonymizer_first", "validation")
  while not other.counts["anonymizer"]:
    play(other, scripted(), steps=1)
  with pytest.raises(ValueError, match="the saved game is another one"):
    mine.load(other.state())
