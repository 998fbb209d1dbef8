"""What methods declare of their training, which model cards tell, against what their updates do."""

import collections

import fixtures_core as core
import numpy as np
import pytest
import tensorflow as tf
from methods_test import ATTACKER_ROLES, build

from mppar_tf import methods

METHODS = pytest.mark.parametrize("name", methods.METHODS)
PRIVATE = ("reconstruction", "anonymizer", "pick", *ATTACKER_ROLES, "attacker/budget")  # roles whose batch has private labels


def with_other_labels(batch):
  """The same samples; what their private labels said is turned round."""
  turned = lambda private: private._replace(labels=tf.where(private.labels < 0, private.labels, 1 - private.labels))
  if hasattr(batch, "support"):
    return batch._replace(**{side: getattr(batch, side)._replace(private=turned(getattr(batch, side).private))
                             for side in ("support", "query")})
  return batch._replace(private=turned(batch.private)) if hasattr(batch, "private") else turned(batch)


def changed_by(method, role, batch):
  """All variables behind one update, which is taken back."""
  variables = [v for owner in (*method.models.values(), *method.optimizers.values()) for v in owner.variables]
  before = [v.numpy() for v in variables]
  method.update[role](batch)
  after = [v.numpy() for v in variables]
  for variable, value in zip(variables, before):
    variable.assign(value)
  return after


@METHODS
def test_private_labels_are_read_where_a_method_says_so_and_nowhere_else(name):
  method = build(name)
  read = [role for role in PRIVATE if role in method.update and not all(
      np.array_equal(a, b) for a, b in zip(*(changed_by(method, role, batch) for batch in (
          core.batch_of(role), with_other_labels(core.batch_of(role))))))]
  assert bool(read) == method.private_labels, read


@METHODS
def test_something_of_f_d_is_learned_where_a_method_says_so(name):
  method = build(name)
  own = [v.numpy() for v in method.models["anonymizer"].variables] if "anonymizer" in method.models else []
  for role in ("recognizer", "action", "anonymizer"):
    if role in method.update:
      method.update[role](core.batch_of(role))
  moved = any(not np.array_equal(before, v.numpy()) for before, v in zip(own, method.models["anonymizer"].variables)) if own else False
  assert moved == method.learned


@METHODS
@pytest.mark.parametrize("ensemble", [0, 1])
def test_the_attackers_that_were_met_are_those_that_play_after_stage_three(name, ensemble):
  method = build(name, ensemble=ensemble, max_steps=12)
  played = []
  while (decision := method.schedule.next()) is not None:
    played.append(decision.role)
    method.schedule.record(decision, collections.defaultdict(lambda: 0.5))
  game = played[played.index("anonymizer"):] if "anonymizer" in played else []
  expected = {role for role in game if role.startswith("attacker/")} - {"attacker/budget"}
  assert {f"attacker/{one}" for one in method.met} == expected
