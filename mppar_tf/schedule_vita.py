"""VITA's order of updates (Wu et al., TPAMI 2020): cycles of loops, each of which runs to its end before the next begins.

  GRL, Entropy  f^D once on the privacy term; while f^A's validation accuracy <= T1: f^A (Entropy: f^A and f^D together); while an
                attacker's training accuracy <= T2: that attacker.
  K-Beam        while f^A's validation accuracy <= T1: f^A and f^D together; pick the attacker of least loss, once; f^D against it alone for
                `ascents` steps; while an attacker's training accuracy <= T2: that attacker.
  Restarting    every `restart_every` updates of f^D, between two cycles: new attackers, `retraining_rounds` steps of each, nothing else.

An attacker above T2 takes one step in each cycle, too: its accuracy is measured on the frames that f^D makes now.

VITA's own loops have no bound; these have those of Algorithm 1's gate (`mppar_tf/schedule.py`), for the same reason. Nor has VITA a least
number of steps of f^A: where a recipe has one, those above T1 are f^A's alone, or they would draw f^D back to the raw frame in every cycle.
"""

import dataclasses
from typing import Any, Mapping

GRL_AND_ENTROPY = ("anonymizer", "action", "attackers")
K_BEAM = ("action", "pick", "anonymizer", "attackers")


@dataclasses.dataclass(frozen=True)
class Loops:
  """A `mppar_tf.schedule.Game`. Its state is the dict "vita": where a cycle stands, and `picked`, an index into `attackers`."""
  order: tuple[str, ...]  # GRL_AND_ENTROPY or K_BEAM
  attackers: tuple[str, ...]  # those that play; others are initialised and no more
  action_role: str  # "recognizer", or "joint": f^A and f^D on L_T
  action_threshold: float  # T1, accuracy in [0, 1]
  attacker_threshold: float  # T2
  min_recognizer_steps: int  # steps of the action loop in a cycle, at least (VITA: 0); above T1 they are f^A's alone
  max_recognizer_steps: int  # and at most
  max_attacker_rounds: int  # rounds over the attackers in a cycle, at most: the first over all, others over those at or below T2
  ascents: int  # f^D steps in a row on the privacy term, at least 1
  restart_every: int  # anonymizer updates between restarts; 0: never
  retraining_rounds: int  # steps of each new attacker before f^D and f^A move again
  smoothing: float  # weight of the past in the accuracies' moving averages
  updates: int  # anonymizer updates in all

  def fresh(self) -> dict[str, Any]:
    """`entered` says how the loops since f^D's last step ended: first (there were none), thresholds_met or bound_reached."""
    return {"vita": {"phase": self.order[0], "steps": 0, "stale": True, "rounds": 0, "pending": [], "picked": 0, "restarted_at": 0,
                     "entered": "first"}}

  def choose(self, state: dict[str, Any]) -> tuple[str, str]:
    own = state["vita"]
    phase = own["phase"]
    if phase == "anonymizer":
      return phase, f"anonymizer_{own['entered']}"
    if phase == "action":
      if own["stale"]:
        return "validation", "validation"
      below = state["action_accuracy"] <= self.action_threshold
      return (self.action_role, f"{self.action_role}_below_T1") if below else ("recognizer", "recognizer_minimum")
    if phase == "attackers":
      name = own["pending"][0]
      return f"attacker/{name}", "attacker_below_T2" if name in self._weak(state) else "attacker_measured"
    if phase == "retraining":
      return f"attacker/{self.attackers[own['steps'] % len(self.attackers)]}", "attacker_after_restart"
    return phase, phase

  def note(self, state: dict[str, Any], role: str, scalars: Mapping[str, float]) -> None:
    own = state["vita"]
    if role == "validation":
      own["stale"] = False
    else:
      own["steps"] += 1
      own["stale"] = role in (self.action_role, "recognizer") and own["steps"] < self.max_recognizer_steps
    if own["phase"] == "attackers":
      own["pending"].pop(0)
    elif role == "pick":
      losses = [scalars[f"privacy_loss/{name}"] for name in self.attackers]
      own["picked"] = losses.index(min(losses))
    elif role == "restart":
      # What the old ones reached says nothing of the new: their averages start afresh.
      state["seen"] = [one for one in state["seen"] if one.partition("/")[2] not in self.attackers]
      own["restarted_at"] = state["counts"]["anonymizer"]
    while self._is_over(state):
      self._enter_next(state)

  def _is_over(self, state: dict[str, Any]) -> bool:
    """Whether the present phase has nothing more to do; a new round over the attackers begins here."""
    own = state["vita"]
    phase, steps = own["phase"], own["steps"]
    if phase == "anonymizer":
      return steps >= self.ascents
    if phase == "action":
      bounded = steps >= self.max_recognizer_steps
      return not own["stale"] and steps >= self.min_recognizer_steps and (bounded or state["action_accuracy"] > self.action_threshold)
    if phase == "attackers":
      if not own["pending"] and own["rounds"] < self.max_attacker_rounds:
        # f^D has moved since they were measured, and a step is what measures: whom a round left out would never be asked again.
        own["pending"], own["rounds"] = self._weak(state) if own["rounds"] else list(self.attackers), own["rounds"] + 1
      return not own["pending"]
    return steps >= (self.retraining_rounds * len(self.attackers) if phase == "retraining" else 1)

  def _weak(self, state: dict[str, Any]) -> list[str]:
    return [name for name in self.attackers if state["attacker_accuracy"][name] <= self.attacker_threshold]

  def _enter_next(self, state: dict[str, Any]) -> None:
    own = state["vita"]
    phase = own["phase"]
    if phase == "anonymizer":
      own["entered"] = "thresholds_met"
    elif (phase == "action" and state["action_accuracy"] <= self.action_threshold) or (phase == "attackers" and self._weak(state)):
      own["entered"] = "bound_reached"
    own |= {"phase": self._after(phase, state), "steps": 0, "rounds": 0, "stale": True}

  def _after(self, phase: str, state: dict[str, Any]) -> str:
    """The phase that follows; a restart stands between two cycles."""
    if phase == "restart":
      return "retraining"
    if phase in self.order[:-1]:
      return self.order[self.order.index(phase) + 1]
    due = self.restart_every and state["counts"]["anonymizer"] - state["vita"]["restarted_at"] >= self.restart_every
    return "restart" if due else self.order[0]
