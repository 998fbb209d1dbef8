"""Cells of a comparison with programs of straw: who waits for whom, and what an earlier attempt leaves behind."""

import json
import pathlib
import subprocess
import threading
import types

import pytest

from mppar_tf import options, reproduce

MAKER, WAITING = "basic", "mppar"


@pytest.fixture
def chosen(tmp_path):
  return options.ReproduceOptions(study="s", methods=(MAKER, WAITING), seeds=1, jobs=2, cells_dir=str(tmp_path / "runs"),
                                  results_dir=str(tmp_path / "results"))


@pytest.fixture
def programs(monkeypatch):
  """Puts straw in place of train and evaluate; `fail` names methods whose training fails. Returns (fail, command lines)."""
  fail, started = set(), []

  def run(command, *, stdout, **_):
    flags = dict(argument.lstrip("-").split("=", 1) for argument in command if argument.startswith("--"))
    run_dir = pathlib.Path(flags["run_dir"])
    method = run_dir.name.partition("_seed")[0]
    started.append((command[2], method, flags))
    if method in fail:
      return types.SimpleNamespace(returncode=70)
    (run_dir / "checkpoints" / "initialised").mkdir(parents=True, exist_ok=True)
    (run_dir / "checkpoints" / "initialised" / "state.json").write_text("{}")
    (run_dir / "results.json").write_text(json.dumps({"method": method, "flags": ["--seed=0", f"--run_dir={run_dir}"]}))
    return types.SimpleNamespace(returncode=0)
  monkeypatch.setattr(subprocess, "run", run)
  monkeypatch.setattr(reproduce, "write_table", lambda *_: None)
  return fail, started


def go(chosen) -> int:
  return reproduce.run(chosen, options.StorageOptions(data_dir="nowhere"))


def test_learned_methods_of_a_seed_share_one_initialisation(chosen, programs):
  assert go(chosen) == 0
  shared = {method: flags.get("init_from") for program, method, flags in programs[1] if program == "mppar_tf.train"}
  assert shared == {MAKER: None, WAITING: str(pathlib.Path(chosen.cells_dir) / "s" / f"{MAKER}_seed0")}
  stored = json.loads((pathlib.Path(chosen.results_dir) / "s" / f"{WAITING}_seed0.json").read_text())
  assert stored == {"method": WAITING, "flags": ["--seed=0"]}, "folders of this machine are published"
  assert go(chosen) == 0 and len(programs[1]) == 4, "a finished cell ran again"


def test_an_evaluation_under_another_name_is_a_failed_cell(chosen, programs, monkeypatch, capsys):
  straw = subprocess.run

  def elsewhere(command, **given):
    ended = straw(command, **given)
    [run_dir] = [pathlib.Path(argument.partition("=")[2]) for argument in command if argument.startswith("--run_dir=")]
    (run_dir / "results.json").rename(run_dir / "results_protocol_c.json")
    return ended
  monkeypatch.setattr(subprocess, "run", elsewhere)
  assert go(chosen) == reproduce.FAILED
  assert "than the run's own" in capsys.readouterr().out


def test_a_cell_does_not_wait_for_a_maker_that_failed(chosen, programs, capsys):
  programs[0].add(MAKER)
  assert go(chosen) == reproduce.FAILED
  told = capsys.readouterr()
  assert "2 of 2 cells failed" in told.err and [method for _, method, _ in programs[1]] == [MAKER]


def test_a_failure_of_an_earlier_attempt_stops_nobody_while_its_maker_is_tried_again(chosen, programs, monkeypatch):
  """The maker is held back until the waiting cell has looked."""
  programs[0].add(MAKER)
  assert go(chosen) == reproduce.FAILED
  programs[0].clear()
  looked, run_cell = threading.Event(), reproduce.run_cell

  def late(cell, *arguments):
    if cell.method == MAKER:
      assert looked.wait(30)
    return run_cell(cell, *arguments)
  monkeypatch.setattr(reproduce, "run_cell", late)
  monkeypatch.setattr(reproduce.time, "sleep", lambda _: looked.set())
  assert go(chosen) == 0
