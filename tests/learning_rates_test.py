"""Learning rates against their definitions."""

import keras
import numpy as np
import pytest

from mppar_tf import learning_rates


def at(schedule, *steps):
  return [float(schedule(step)) for step in steps]


def test_one_cycle_warms_up_and_comes_down():
  schedule = learning_rates.one_cycle(0.5, 100)
  assert at(schedule, 0, 15, 30, 100) == pytest.approx([0.02, 0.26, 0.5, 0.0005], rel=1e-5)
  middle = 0.0005 + (0.5 - 0.0005) * (1 + np.cos(np.pi / 2)) / 2
  assert at(schedule, 65) == pytest.approx([middle], rel=1e-5)
  assert at(schedule, 1000) == at(schedule, 100)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_the_shortest_cycles_are_finite(steps):
  assert all(np.isfinite(at(learning_rates.one_cycle(0.5, steps), 0, 1, 2)))


def test_shapes():
  assert at(learning_rates.shaped(0.5, 100, "constant"), 0, 99, 1000) == [0.5] * 3
  tail = learning_rates.shaped(0.5, 100, "linear_tail")
  assert at(tail, 0, 49, 50, 75, 97.5, 99, 1000) == pytest.approx([0.5, 0.5, 0.5, 0.25, 0.025, 0.025, 0.025])
  with pytest.raises(ValueError, match="'square' is not one of constant, linear_tail"):
    learning_rates.shaped(0.5, 100, "square")


def test_one_after_the_other_each_from_its_own_zero():
  schedule = learning_rates.Consecutive(learning_rates.shaped(2.0, 4, "linear_tail"), 4, learning_rates.shaped(7.0, 8, "linear_tail"))
  assert at(schedule, 0, 2, 3, 4, 8, 10, 100) == pytest.approx([2.0, 2.0, 1.0, 7.0, 7.0, 3.5, 0.35])


def test_the_log_reads_the_present_rate_on_every_number_of_replicas(two_replicas):
  def optimizer():
    variable = keras.Variable(np.zeros(2))
    return learning_rates.adam(learning_rates.shaped(0.5, 100, "linear_tail"), [variable])
  with two_replicas.scope():
    spread = optimizer()
  alone = optimizer()
  for one in (alone, spread):
    assert learning_rates.values({"a": one}) == {"a": 0.5}
    one.iterations.assign(75)
    assert learning_rates.values({"a": one}) == pytest.approx({"a": 0.25})


def test_slots_exist_before_the_first_step():
  variable = keras.Variable(np.zeros([2, 3]))
  shapes = [tuple(v.shape) for v in learning_rates.adam(learning_rates.shaped(0.5, 0, "constant"), [variable]).variables]
  assert shapes.count((2, 3)) == 2
