"""Training is killed, stopped and gone on with, and ends bit for bit where an uninterrupted one ends.

Two runs of one seed share stages 1 to 3 whatever the method: `basic` is interrupted there, and `mppar`, begun from what it left, in the
game. Together they must repeat an `mppar` run that nobody disturbed.
"""

import json
import signal

import fixtures
import pytest
import tiny_runs
from tiny_runs import ATTACKERS, Program

from mppar_tf import train

pytestmark = pytest.mark.timeout(3600)
INITIALISED, END = 10, 25  # steps


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  """A folder with records."""
  folder = tmp_path_factory.mktemp("world")
  fixtures.write_tiny_datasets(folder / "records")
  return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
  _, run_dir, ended = tiny_runs.undisturbed(tmp_path_factory)
  assert ended.code == 0, ended.err
  return run_dir


@pytest.fixture(scope="module")
def begun(world):
  """`basic`, interrupted in each of stages 1 to 3 and on entering the game: the folder and how each start ended."""
  program = Program(world / "records", world / "begun", "--method=basic")
  return program.run_dir, {
      "killed while saving": (program.killed_while_saving(), tiny_runs.steps(program.run_dir)),
      "SIGTERM from outside": (program.signalled_after("step-000000004", signal.SIGTERM), tiny_runs.steps(program.run_dir)),
      "killed before its checkpoint": (program.run(at="before:step-000000008"), tiny_runs.steps(program.run_dir)),
      "killed between two checkpoints": (program.run(at="after:initialised"), tiny_runs.steps(program.run_dir)),
      "SIGINT in a round": (program.run(f"batch:attacker/{ATTACKERS[0]}:2", signal.SIGINT), tiny_runs.steps(program.run_dir))}


def gone_on_flags(begun):
  return "--method=mppar", f"--init_from={begun}", "--checkpoint_steps=1000"


@pytest.fixture(scope="module")
def gone_on(world, begun):
  """`mppar` from where `basic` entered the game, saved after updates of f^D alone: the folder and how each start ended."""
  program = Program(world / "records", world / "gone_on", *gone_on_flags(begun[0]))
  return program.run_dir, {
      "SIGTERM in a round": (program.run("batch:recognizer:0", signal.SIGTERM), tiny_runs.steps(program.run_dir)),
      "killed before the best is saved": (program.run(at="before:step-000000020"), tiny_runs.steps(program.run_dir)),
      "to the end": (program.run(), tiny_runs.steps(program.run_dir))}


def test_a_killed_save_leaves_the_checkpoints_before_it(begun):
  _, starts = begun
  for name, last in (("killed while saving", None), ("killed before its checkpoint", 7), ("killed between two checkpoints", 9)):
    ended, saved = starts[name]
    assert ended.code == -signal.SIGKILL, (name, ended.err)
    assert last is None or saved == list(range(1, last + 1))
  assert not list((begun[0] / "checkpoints").glob(".part-step-*")), "the next save of that step cleans up"


def test_a_signal_finishes_the_step_and_saves(begun):
  """The first came from outside at a moment of its own, the second as the game's third step read its batch."""
  for name, words in (("SIGTERM from outside", "SIGTERM after"), ("SIGINT in a round", "SIGINT after 13 steps (0 anonymizer updates)")):
    ended, saved = begun[1][name]
    assert ended.code == train.PREEMPTED == 75
    [line] = ended.told
    assert line.startswith(f"train: stopped by {words}") and line.endswith("the same command resumes it")
  assert begun[1]["SIGTERM from outside"][1][-1] >= 4 and saved == list(range(1, 14))


def test_the_same_command_says_where_it_goes_on(begun, gone_on):
  for name, step in (("killed before its checkpoint", None), ("killed between two checkpoints", 7), ("SIGINT in a round", 9)):
    assert f"(resumed at step {step or ''}" in begun[1][name][0].out
  starts = gone_on[1]
  assert f"(initialised by {begun[0]})" in starts["SIGTERM in a round"][0].out
  assert "(resumed at step 12)" in starts["killed before the best is saved"][0].out
  assert "(resumed at step 15)" in starts["to the end"][0].out


def test_a_started_game_begins_with_the_initialised_weights(begun, gone_on, undisturbed):
  """The first saved moment is after the first f^A step: f^D and f^P are still those of the initialisation."""
  ended, saved = gone_on[1]["SIGTERM in a round"]
  assert (ended.code, saved) == (75, [12])
  first, theirs = tiny_runs.variables(gone_on[0], 12), tiny_runs.variables(begun[0], INITIALISED)
  untouched = [name for name in first if "recognizer" not in name]
  assert first.keys() == theirs.keys() and len(untouched) < len(first)
  assert {name: first[name] for name in untouched} == {name: theirs[name] for name in untouched}
  assert first != theirs


def test_every_checkpoint_is_that_of_the_undisturbed_run(begun, gone_on, undisturbed):
  assert [ended.code for ended, _ in gone_on[1].values()] == [75, -signal.SIGKILL, 0], [ended.err for ended, _ in gone_on[1].values()]
  expected = tiny_runs.steps(undisturbed)
  assert expected == list(range(1, END + 1))
  compared = set()
  for run_dir in (begun[0], gone_on[0]):
    for step in set(tiny_runs.steps(run_dir)) & set(expected):
      assert tiny_runs.variables(run_dir, step) == tiny_runs.variables(undisturbed, step), f"{run_dir.name}, step {step}"
      assert tiny_runs.state(run_dir, step) == tiny_runs.state(undisturbed, step), f"{run_dir.name}, step {step}"
      compared.add(step)
  assert compared == {*range(1, 14), 15, 20, END}


def test_the_best_checkpoint_is_that_of_the_undisturbed_run(gone_on, undisturbed):
  """One start died after it had marked update 2, and before that was saved."""
  ours, theirs = (json.loads((folder / "checkpoints" / "best.json").read_text()) for folder in (gone_on[0], undisturbed))
  assert ours == theirs and ours["step"] in (20, END)


def test_every_scalar_is_that_of_the_undisturbed_run(begun, gone_on, undisturbed):
  expected, found = tiny_runs.scalars(undisturbed), tiny_runs.scalars(begun[0], gone_on[0])
  assert {key: values for key, values in found.items() if len(values) > 1} == {}, "a repeated step measured something else"
  assert found == expected
  times = tiny_runs.logged(begun[0], gone_on[0])["scalars"]
  assert any(len(values) > 1 for values in times.values()), "no step was repeated: nothing was tried"


def test_a_signal_before_the_first_step_is_one_line(world):
  ended = Program(world / "records", world / "early", "--method=basic").run("start", signal.SIGTERM)
  assert ended.code == 75
  [line] = ended.told
  assert line.startswith("train: stopped at once") and not (world / "early").exists()


def test_a_finished_run_is_not_trained_again(gone_on):
  ended = Program(gone_on[0].parent / "records", gone_on[0], *gone_on_flags(gone_on[0].parent / "begun")).run()
  assert ended.code == 0 and "(resumed at step 25)" in ended.out and tiny_runs.steps(gone_on[0])[-1] == END
