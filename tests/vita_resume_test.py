"""VITA's loops through the program: begun from another method's initialisation, stopped between two ascents, gone on with bit for bit."""

import json
import re
import signal

import pytest
import tiny_runs
from tiny_runs import Program

pytestmark = pytest.mark.timeout(3600)


def test_k_beam_goes_on_bit_for_bit_over_a_pick_and_a_restart(tmp_path_factory):
  """Stopped where only the saved state knows whom f^D plays; the restart, and what it draws, comes after."""
  data, initialised, ended = tiny_runs.undisturbed(tmp_path_factory)
  assert ended.code == 0, ended.err
  folder = tmp_path_factory.mktemp("k_beam")
  flags = ("--method=k_beam", "--beam_steps=2", "--restart_every=2", f"--init_from={initialised}")
  whole, cut = (Program(data, folder / name, *flags) for name in ("whole", "cut"))
  ends = whole.run(), cut.run("batch:anonymizer:0", signal.SIGTERM), cut.run()
  assert [one.code for one in ends] == [0, 75, 0], [one.err for one in ends]
  assert f"(initialised by {initialised})" in ends[1].out
  resumed = int(re.search(r"resumed at step (\d+)", ends[2].out)[1])
  own = json.loads(tiny_runs.state(cut.run_dir, resumed))["schedule"]["vita"]
  assert (own["phase"], own["steps"]) == ("anonymizer", 1), "it was to stop between two ascents"
  assert "restart 1" in ends[0].out and "attacker_after_restart 4" in ends[0].out and "pick 2" in ends[0].out
  assert tiny_runs.steps(whole.run_dir) == tiny_runs.steps(cut.run_dir)
  for step in tiny_runs.steps(whole.run_dir):
    assert tiny_runs.variables(whole.run_dir, step) == tiny_runs.variables(cut.run_dir, step), f"step {step}"
    assert tiny_runs.state(whole.run_dir, step) == tiny_runs.state(cut.run_dir, step), f"step {step}"
  assert tiny_runs.scalars(whole.run_dir) == tiny_runs.scalars(cut.run_dir)
