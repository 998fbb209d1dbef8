"""Holding out whole people: a share, never all, by a draw that no order and no neighbour changes; and identity among those trained on."""

import pytest

from tfrecord_tools import splits
from tfrecord_tools.plan import PlanError, Problem

PEOPLE = [f"person{number}" for number in range(20)]


@pytest.mark.parametrize("count, share, wanted", [(20, 0.2, 4), (20, 0.0, 0), (3, 0.1, 1), (2, 0.5, 1), (1, 0.5, 0), (0, 0.2, 0)])
def test_a_share_of_the_distinct_people_is_held_out(count, share, wanted):
  held = splits.held_out(PEOPLE[:count] * 3, share, seed=1)
  assert len(held) == wanted and held <= set(PEOPLE[:count])


def test_the_draw_depends_on_names_and_seed_alone():
  held = splits.held_out(PEOPLE, 0.25, seed=0)
  assert splits.held_out(reversed(PEOPLE), 0.25, seed=0) == held != splits.held_out(PEOPLE, 0.25, seed=1)
  # Somebody leaves: of the five held out at most the one goes, and at most one comes in.
  assert len(splits.held_out(PEOPLE[:-1], 0.25, seed=0) & held) >= 4


def test_a_stranger_is_told_with_what_may_be_the_reason():
  everybody = {"train": ["anna", "ben"], "validation": ["ben"], "test": ["anna"]}
  splits.check_closed_set("mine", everybody, [])
  with pytest.raises(PlanError, match=r"^mine: identity needs everybody in train, but cleo is only in validation$"):
    splits.check_closed_set("mine", everybody | {"validation": ["cleo"]}, [])
  with pytest.raises(PlanError, match=r"but dan is only in test \(1 left out, the first: a.avi: no such file\)"):
    splits.check_closed_set("mine", everybody | {"test": ["dan"]}, [Problem("a.avi", "no such file")])
