"""A run goes on, and is started from, on the records that it was begun on, wherever they lie by now."""

import json
import shutil

import fixtures
import pytest
import tiny_runs

from mppar_tf import evaluate, flagfiles, train, train_records

RAW = "--method=raw"  # learns next to nothing, and quickly


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  """Records, the same elsewhere, and others with as many clips and images of the same classes and attributes."""
  folder = tmp_path_factory.mktemp("records")
  fixtures.write_tiny_datasets(folder / "first")
  shutil.copytree(folder / "first", folder / "moved")
  fixtures.write_tiny_datasets(folder / "other", seed=1)
  return folder


@pytest.fixture(scope="module")
def begun(data):
  assert run_here(data / "first", data / "run") == 0
  return data / "run"


def run_here(records, run_dir, *flags) -> int:
  """Trains in this process, whose TensorFlow is set up already; returns the exit code."""
  arguments = [*tiny_runs.WORLD, *tiny_runs.GAME, "--nodeterministic", RAW, f"--data_dir={records}", f"--run_dir={run_dir}", *flags]
  program = lambda: train.run(*(flagfiles.read(cls) for cls in train.PROGRAM_OPTIONS))
  return flagfiles.main(program, train.PROGRAM_OPTIONS, "", arguments=arguments)


def state_of(folder):
  return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_run_does_not_go_on_on_other_records(data, begun, capsys):
  kept, before = json.loads((begun / "records.json").read_text()), state_of(begun)
  assert len(set(kept.values())) == 2 and set(kept) == {"clips", "private"}
  capsys.readouterr()
  assert run_here(data / "other", begun) == 2
  [line] = capsys.readouterr().err.splitlines()
  assert f"{begun} was begun on other records (clips {kept['clips']} there, " in line and f"private {kept['private']} there, " in line
  assert state_of(begun) == before
  assert run_here(data / "moved", begun) == 0
  assert json.loads((begun / "records.json").read_text()) == kept


def test_one_other_set_is_named_alone(begun):
  kept = json.loads((begun / "records.json").read_text())
  assert train_records.others(begun, kept) == ""
  assert train_records.others(begun, kept | {"private": "new"}) == f"private {kept['private']} there, new here"


def test_an_initialisation_on_other_records_is_refused(data, begun, tmp_path, capsys):
  assert run_here(data / "other", tmp_path / "run", f"--init_from={begun}") == 2
  assert f"--init_from={begun}: that run was initialised on other records (clips " in capsys.readouterr().err
  assert not (tmp_path / "run").exists()
  train_records.check(tmp_path / "run", str(begun), json.loads((begun / "records.json").read_text()))  # its own are not


def test_a_run_that_is_older_than_the_record_goes_on_and_has_one(data, begun):
  kept = (begun / "records.json").read_text()
  (begun / "records.json").unlink()
  assert run_here(data / "first", begun) == 0
  assert (begun / "records.json").read_text() == kept


@pytest.mark.parametrize("content", ["", "{", "[]", "3", '{"clips": "x"}'])
def test_a_damaged_record_is_one_line(data, begun, capsys, content):
  kept = (begun / "records.json").read_text()
  try:
    (begun / "records.json").write_text(content)
    assert run_here(data / "first", begun) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"{begun / 'records.json'} is damaged" in line
  finally:
    (begun / "records.json").write_text(kept)


def test_evaluate_warns_where_it_judges_on_other_records(data, begun, capsys, monkeypatch):
  """Their test clips may have been training clips of the run."""
  class Enough(Exception):
    pass

  def restored(*_):
    raise Enough
  monkeypatch.setattr(evaluate, "restore", restored)
  warning = f"evaluate: warning: {begun} was trained on other records (clips "
  for records, warned in (("first", False), ("moved", False), ("other", True)):
    with pytest.raises(Enough):
      evaluate.main([f"--run_dir={begun}", f"--data_dir={data / records}"])
    assert (warning in capsys.readouterr().err) == warned
