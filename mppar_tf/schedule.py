"""Which network is updated next: stages of fixed length, then a game, by default Algorithm 1's gate.

Algorithm 1, at each iteration: if the accuracy of f^A on validation clips is below T1, update f^A; else if an attacker's training accuracy
is below T2, update that attacker; else update f^D. An attacker's accuracy is that of its own steps' batches, so that after each update of
f^D every one takes a step, whatever it had reached. Unbounded, these loops hang for ever on a benchmark that cannot reach a threshold (on
the twin no attacker reaches 95 %), so consecutive competitor steps are bounded, and every decision is counted with its reason. All state
is plain numbers, saved with the checkpoint. VITA's loops, another game, stand in `mppar_tf/schedule_vita.py`.
"""

import collections
import copy
import dataclasses
import math
from typing import Any, Mapping, NamedTuple, Protocol, Sequence


class Decision(NamedTuple):
  """The role to update next, its stage, and why."""
  role: str
  stage: str
  reason: str


@dataclasses.dataclass(frozen=True)
class Stage:
  """Roles that take turns for `rounds` rounds."""
  name: str
  roles: tuple[str, ...]
  rounds: int


class Game(Protocol):
  """What is played after the stages, until f^D has had its updates.

  State is one dict of plain numbers, lists and dicts: the schedule's (counts by role, "action_accuracy", "attacker_accuracy" by name) with
  the game's own keys beside them. Asking changes no answer: `choose` twice is the same as once.
  """
  smoothing: float  # weight of the past in the accuracies' moving averages, in [0, 1)
  updates: int  # anonymizer updates in all

  def fresh(self) -> dict[str, Any]:
    """The game's own keys as they are before its first step."""

  def choose(self, state: dict[str, Any]) -> tuple[str, str]:
    """The next role and the reason for it."""

  def note(self, state: dict[str, Any], role: str, scalars: Mapping[str, float]) -> None:
    """Takes note of a step of the game; counts and accuracies are up to date."""


@dataclasses.dataclass(frozen=True)
class GateLimits:
  """Algorithm 1's gate: its thresholds and bounds."""
  action_threshold: float  # T1, accuracy in [0, 1]
  attacker_threshold: float  # T2
  min_recognizer_steps: int  # f^A steps per anonymizer update, at least (f^A lags behind f^D otherwise)
  max_recognizer_steps: int  # and at most
  max_attacker_rounds: int  # rounds over the attackers per anonymizer update, at most: the first over all, others over those below T2
  smoothing: float  # weight of the past in the accuracies' moving averages
  updates: int  # anonymizer updates in all

  def fresh(self) -> dict[str, Any]:
    return {"stale": True, "recognizer_steps": 0, "attacker_rounds": 0, "pending": []}

  def choose(self, state: dict[str, Any]) -> tuple[str, str]:
    accuracies = state["attacker_accuracy"]
    if state["stale"]:
      return "validation", "validation"
    if state["recognizer_steps"] < self.min_recognizer_steps:
      return "recognizer", "recognizer_minimum"
    if state["action_accuracy"] < self.action_threshold and state["recognizer_steps"] < self.max_recognizer_steps:
      return "recognizer", "recognizer_below_T1"
    if not state["pending"] and state["attacker_rounds"] < self.max_attacker_rounds:
      # f^D has moved since their accuracies were measured, and a step is what measures: whom a round left out would never be asked again.
      first = not state["attacker_rounds"]
      state["pending"] = [name for name, accuracy in accuracies.items() if first or accuracy < self.attacker_threshold]
      state["attacker_rounds"] += 1
    if state["pending"]:
      name = state["pending"][0]
      return f"attacker/{name}", "attacker_below_T2" if accuracies[name] < self.attacker_threshold else "attacker_measured"
    weak = any(accuracy < self.attacker_threshold for accuracy in accuracies.values())
    bounded = state["action_accuracy"] < self.action_threshold or weak
    return "anonymizer", "anonymizer_bound_reached" if bounded else "anonymizer_thresholds_met"

  def note(self, state: dict[str, Any], role: str, scalars: Mapping[str, float]) -> None:
    state["stale"] = role in ("recognizer", "anonymizer") and not (
        role == "recognizer" and state["recognizer_steps"] + 1 >= self.max_recognizer_steps)
    if role == "recognizer":
      state["recognizer_steps"] += 1
    elif role.startswith("attacker/"):
      state["pending"].pop(0)
    elif role == "anonymizer":
      state["recognizer_steps"], state["attacker_rounds"] = 0, 0


@dataclasses.dataclass(frozen=True)
class Turns:
  """Roles that take turns, whatever their accuracies; one of them is "anonymizer"."""
  roles: tuple[str, ...]
  smoothing: float  # weight of the past in the accuracies' moving averages, which are logged and decide nothing
  updates: int  # anonymizer updates in all

  def fresh(self) -> dict[str, Any]:
    return {"next_role": 0}

  def choose(self, state: dict[str, Any]) -> tuple[str, str]:
    role = self.roles[state["next_role"]]
    return role, f"{role.partition('/')[0]}_in_turn"

  def note(self, state: dict[str, Any], role: str, scalars: Mapping[str, float]) -> None:
    state["next_role"] = (state["next_role"] + 1) % len(self.roles)


class Schedule:
  """Decides, is told what came of it, and can be saved.

  A loop calls `next()` for a Decision (None: done), carries it out, and calls `record(decision, scalars)`.
  """

  def __init__(self, stages: Sequence[Stage], attackers: Sequence[str] = (), game: Game | None = None):
    self._stages = [s for s in stages if s.rounds > 0 and s.roles]
    self._attackers, self._game = list(attackers), game
    self._state: dict[str, Any] = {
        "stage": 0, "turn": 0, "counts": collections.Counter(), "reasons": collections.Counter(),
        "action_accuracy": 0.0, "attacker_accuracy": {a: 0.0 for a in attackers}, "seen": [], **(game.fresh() if game else {})}

  @property
  def counts(self) -> Mapping[str, int]:
    """Steps done so far, by role."""
    return self._state["counts"]

  @property
  def reasons(self) -> Mapping[str, int]:
    """Decisions so far, by reason."""
    return self._state["reasons"]

  @property
  def stage(self) -> str:
    """Name of the present stage; "done" at the end."""
    index = self._state["stage"]
    if index < len(self._stages):
      return self._stages[index].name
    return "game" if self._game and self.counts["anonymizer"] < self._game.updates else "done"

  @property
  def gate_scalars(self) -> dict[str, float]:
    """The game's view: smoothed accuracies and decisions so far, for the log."""
    view = {"action_accuracy": self._state["action_accuracy"]} if "validation" in self._state["seen"] else {}
    view |= {f"attacker_accuracy/{name}": value for name, value in self._state["attacker_accuracy"].items()}
    return view | {f"decisions/{reason}": float(count) for reason, count in self._state["reasons"].items()}

  @property
  def total(self) -> dict[str, int]:
    """Steps that are known beforehand, by stage: rounds of the stages, anonymizer updates of the game."""
    known = {s.name: s.rounds * len(s.roles) for s in self._stages}
    return known | ({"game": self._game.updates} if self._game else {})

  @property
  def done_in_stage(self) -> int:
    """Steps of the present stage that are done, in `total`'s unit."""
    return self.counts["anonymizer"] if self.stage in ("game", "done") else self._state["turn"]

  def next(self) -> Decision | None:
    state = self._state
    if state["stage"] < len(self._stages):
      stage = self._stages[state["stage"]]
      return Decision(stage.roles[state["turn"] % len(stage.roles)], stage.name, stage.name)
    if self.stage == "done":
      return None
    role, reason = self._game.choose(state)
    return Decision(role, "game", reason)

  def record(self, decision: Decision, scalars: Mapping[str, float]) -> None:
    """Takes note of what a decided step measured."""
    state, role = self._state, decision.role
    state["counts"][role] += 1
    state["reasons"][decision.reason] += 1
    if role.startswith("attacker/"):
      self._smooth(state["attacker_accuracy"], role.partition("/")[2], scalars["privacy_accuracy"], role)
    if role == "validation":
      self._smooth(state, "action_accuracy", scalars["action_accuracy"], role)
    if decision.stage == "game":
      self._game.note(state, role, scalars)
    else:
      state["turn"] += 1
      if state["turn"] == self._stages[state["stage"]].rounds * len(self._stages[state["stage"]].roles):
        state["stage"], state["turn"] = state["stage"] + 1, 0

  def _smooth(self, where: dict, key: str, value: float, role: str) -> None:
    first = role not in self._state["seen"]
    if first:
      self._state["seen"].append(role)
    past = self._game.smoothing if self._game and not first else 0.0
    where[key] = past * where[key] + (1.0 - past) * float(value)

  def state(self) -> dict[str, Any]:
    """A JSON-serialisable copy of everything that `load` needs."""
    return copy.deepcopy({**self._state, "counts": dict(self._state["counts"]), "reasons": dict(self._state["reasons"])})

  def load(self, state: Mapping[str, Any]) -> None:
    """Continues from a saved state; one that was saved before another game's first step is taken too.

    Raises:
      ValueError: other attackers, the middle of another game, or an accuracy that is not finite.
    """
    accuracies = state["attacker_accuracy"]
    if set(accuracies) != set(self._attackers):
      raise ValueError(f"the saved gate knows attackers {sorted(accuracies)}, this run has {sorted(self._attackers)}")
    begun = sum(state["counts"].values()) > sum(stage.rounds * len(stage.roles) for stage in self._stages)
    if begun and (unknown := sorted(set(self._state) - set(state))):
      raise ValueError(f"the saved game is another one: it knows nothing of {', '.join(unknown)}")
    taken = copy.deepcopy({key: state.get(key, fresh) for key, fresh in self._state.items()})
    if self._game and not begun:  # methods share initialisations, and the giver's game may bear this one's name and begin otherwise
      taken |= self._game.fresh()
    # JSON may have sorted the names, and attackers take turns in their own order.
    taken["attacker_accuracy"] = {name: accuracies[name] for name in self._attackers}
    self._state = taken | {key: collections.Counter(taken[key]) for key in ("counts", "reasons")}
    if not all(math.isfinite(v) for v in (self._state["action_accuracy"], *self._state["attacker_accuracy"].values())):
      raise ValueError("the saved gate holds an accuracy that is not finite")
