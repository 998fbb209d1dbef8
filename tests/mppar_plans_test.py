"""What mppar's updates read, and whom they play: Algorithm 1's alternation as a function of the update's index."""

import pytest

from mppar_tf.data import sets
from mppar_tf.methods import mppar


def plans(count=200, attackers=8, **changes):
  chosen = dict(shift="alternate", kind_of_sets="different", sets_every=10, attackers=attackers, ratio=0.6, seed=3) | changes
  return [mppar.plan_update(update, **chosen) for update in range(count)]


def test_the_first_update_is_model_wise_and_odd_ones_are_attribute_wise():
  for update, plan in enumerate(plans()):
    assert plan.epoch == update // 10
    if update % 2:
      assert (plan.kind, plan.support, plan.query) == ("attributes", "first", "second")
      assert plan.support_attacker == plan.query_attacker
    else:
      assert (plan.kind, plan.support, plan.query) == ("models", "all", "same")
      first, second = sets.attacker_sets(8, ratio=0.6, seed=3, epoch=plan.epoch)
      assert plan.support_attacker in first and plan.query_attacker in second


def test_over_a_run_every_attacker_stands_on_every_side():
  drawn = plans(1000)
  model_wise, attribute_wise = drawn[::2], drawn[1::2]
  assert {p.support_attacker for p in model_wise} == {p.query_attacker for p in model_wise} == set(range(8))
  assert {p.support_attacker for p in attribute_wise} == set(range(8))


@pytest.mark.parametrize("shift, kind, sources, differ", [
    ("attributes", "attributes", ("first", "second"), False),
    ("models", "models", ("all", "same"), True),
    ("both", "both", ("first", "second"), True)])
def test_a_shift_of_one_kind_holds_in_every_update(shift, kind, sources, differ):
  for plan in plans(40, shift=shift):
    assert (plan.kind, plan.support, plan.query) == (kind, *sources)
    assert (plan.support_attacker != plan.query_attacker) == differ


def test_random_sets_draw_two_batches_and_attackers_without_parts():
  drawn = plans(400, kind_of_sets="random")
  assert {(p.support, p.query) for p in drawn} == {("first", "second")}
  pairs = [(p.support_attacker, p.query_attacker) for p in drawn[::2]]
  assert {s for s, _ in pairs} == {q for _, q in pairs} == set(range(8))
  assert 0 < sum(s == q for s, q in pairs) < 0.3 * len(pairs)
  assert all(p.support_attacker == p.query_attacker for p in drawn[1::2])


def test_one_attacker_suffices_where_attackers_do_not_differ():
  assert {p.support_attacker for p in plans(20, attackers=1, shift="attributes")} == {0}
