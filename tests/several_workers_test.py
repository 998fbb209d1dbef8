"""Training as two processes on this machine equals training as one, and survives the loss of one of them."""

import signal

import fixtures_core as core
import numpy as np
import pytest
import tensorflow as tf
import tiny_runs
from tiny_runs import ATTACKERS, Program

from mppar_tf import loop, methods, train

pytestmark = pytest.mark.timeout(3600)
END = 25  # steps


def said(ended):
  """The program's own lines on stderr; TensorFlow adds notes of several lines where a worker is gone."""
  assert "Traceback" not in ended.err
  return [line for line in ended.told if line.startswith("train:")]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
  """Records, and the run of one process."""
  return tiny_runs.undisturbed(tmp_path_factory)


@pytest.fixture(scope="module")
def together(alone):
  """`mppar` through all stages as two workers: the folder and how they ended."""
  program = Program(alone[0], alone[0].with_name("together"), "--method=mppar", "--strategy=multi_worker")
  return program.run_dir, program.run_on_workers()


@pytest.fixture(scope="module")
def interrupted(alone):
  """The same; worker 1 is killed in its second step of stage 2, then stopped in stage 3: the folder and how each start ended."""
  program = Program(alone[0], alone[0].with_name("apart"), "--method=mppar", "--strategy=multi_worker")
  starts = {}
  for name, at, number in (("killed", "batch:action:1", signal.SIGKILL), ("SIGTERM", f"batch:attacker/{ATTACKERS[0]}:1", signal.SIGTERM),
                           ("to the end", None, signal.SIGKILL)):
    starts[name] = program.run_on_workers(at, number), tiny_runs.steps(program.run_dir)
  return program.run_dir, starts


def test_two_workers_train_as_one_process_does(alone, together):
  run_dir, ended = together
  assert [one.code for one in ended] == [0, 0], [one.err for one in ended]
  assert tiny_runs.steps(run_dir) == tiny_runs.steps(alone[1]) and tiny_runs.steps(run_dir)[-1] == END
  start, one, two = (tiny_runs.arrays(folder / "checkpoints" / name) for folder, name in (
      (alone[1], "step-000000001"), (alone[1], f"step-{END:09d}"), (run_dir, f"step-{END:09d}")))
  assert one.keys() == two.keys()
  models = [name for name in one if "model" in name]
  for name in one:
    np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-5, err_msg=name)
  assert sum(float(np.abs(one[name] - start[name]).max()) > 3e-4 for name in models) > len(models) / 2, "what is compared hardly moved"


def test_what_was_measured_is_the_same(alone, together):
  """Losses, accuracies, norms and decisions of the gate, the chief's looks at validation among them."""
  expected, found = tiny_runs.scalars(alone[1]), tiny_runs.scalars(together[0])
  assert found.keys() == expected.keys()
  for key, values in expected.items():
    assert sorted(found[key]) == pytest.approx(sorted(values), rel=1e-3, abs=1e-4), key


def test_the_chief_alone_writes_and_speaks(together):
  run_dir, (chief, other) = together
  [event_file] = run_dir.glob("events.out.tfevents.*")
  assert {path.name for path in run_dir.iterdir()} == {"flags.txt", "records.json", "checkpoints", event_file.name}
  assert "2 replica(s) on 2 worker(s)" in chief.out and "%|" in chief.err and said(chief) == []
  assert other.out == "" and said(other) == [] and "%|" not in other.err


def test_a_killed_worker_is_told_by_the_other_which_ends(interrupted):
  (chief, other), saved = interrupted[1]["killed"]
  assert (chief.code, other.code) == (train.LOST, -signal.SIGKILL) and train.LOST == 76
  [line] = said(chief)
  assert line.startswith("train: worker 0: another worker is gone (") and line.endswith("the same commands go on from the last checkpoint")
  assert saved == [1, 2, 3, 4]


def test_a_signal_to_one_stops_all_at_the_same_step(interrupted):
  ended, saved = interrupted[1]["SIGTERM"]
  for name, one in zip(("worker 0", "worker 1"), ended):
    assert one.code == train.PREEMPTED
    [line] = said(one)
    assert line.startswith(f"train: {name}: stopped by SIGTERM to worker 1 after 9 steps (0 anonymizer updates); saved in"), line
  assert "(resumed at step 4)" in ended[0].out and saved == list(range(1, 10))


def test_started_again_both_end_where_undisturbed_ones_end(together, interrupted):
  run_dir, starts = interrupted
  ended, _ = starts["to the end"]
  assert [one.code for one in ended] == [0, 0] and "(resumed at step 9)" in ended[0].out, [one.err for one in ended]
  assert tiny_runs.steps(run_dir) == tiny_runs.steps(together[0])
  for step in tiny_runs.steps(run_dir):
    assert tiny_runs.variables(run_dir, step) == tiny_runs.variables(together[0], step), f"step {step}"
    assert tiny_runs.state(run_dir, step) == tiny_runs.state(together[0], step), f"step {step}"
  assert tiny_runs.scalars(run_dir) == tiny_runs.scalars(together[0])


@pytest.mark.parametrize("name", sorted(methods.METHODS))
def test_no_variable_wants_all_workers_when_it_is_saved(two_replicas, name):
  """One that is synchronized when read would stop the chief, which saves alone, until the others came."""
  with two_replicas.scope():
    method = methods.METHODS[name](core.micro_networks(), core.settings())
  variables = [variable.value for group in loop.variables_of(method).values() for variable in group]
  assert variables and not [v.name for v in variables if v.synchronization == tf.VariableSynchronization.ON_READ]
