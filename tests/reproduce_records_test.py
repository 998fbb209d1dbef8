"""Results of one comparison are of the same records, or it is refused before anything is run or written."""

import json

import pytest

import straw_programs
from mppar_tf import evaluate, flagfiles, reproduce, reproduce_plan, reproduce_records, train
from mppar_tf.data import records
from mppar_tf.flagfiles import OptionError
from tfrecord_tools import build

OTHER = "0" * 24


@pytest.fixture
def planted(tmp_path, monkeypatch):
  """Plants a table's finished cells, of one digest; returns (their files, a function that runs the table)."""
  monkeypatch.setattr(flagfiles.sys, "argv", ["reproduce"])
  plan = reproduce_plan.of_table("supp1", "twin", range(2), None, tmp_path / "runs", tmp_path / "results")
  for cell in plan.cells:
    cell.result.parent.mkdir(parents=True, exist_ok=True)
    results = straw_programs.results(cell.method, cell.seed)
    cell.result.write_text(json.dumps(results | {"flags": cell.settings, "facts": {"clips": "c" * 24, "private": "p" * 24}}))
  run = lambda *flags: reproduce.main(["--table=supp1", "--seeds=2", f"--cells_dir={tmp_path / 'runs'}",
                                       f"--results_dir={tmp_path / 'results'}", *flags])
  return [cell.result for cell in plan.cells], run


def change(path, **facts):
  results = json.loads(path.read_text())
  path.write_text(json.dumps(results | {"facts": results["facts"] | facts}))


def test_a_cell_of_other_records_is_refused_by_name(planted, tmp_path, capsys):
  files, run = planted
  assert run() == 0 and (tmp_path / "RESULTS.md").exists()
  page = (tmp_path / "RESULTS.md").read_text()
  change(files[3], private=OTHER)
  capsys.readouterr()
  assert run() == 2
  told = capsys.readouterr().err
  assert str(files[3]) in told and "judged on other records (private: 0000" in told and "--results_dir" in told and told.count("\n") == 1
  assert (tmp_path / "RESULTS.md").read_text() == page
  assert run("--dry_run") == 2, "what it lists as done is not"


def test_cells_that_were_judged_otherwise_do_not_share_a_plot(planted, capsys):
  files, run = planted
  results = json.loads(files[3].read_text())
  files[3].write_text(json.dumps(results | {"budget": results["budget"] | {"attack_steps": 10}}))
  for path in files[:3] + files[4:]:
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"budget": whole["budget"] | {"attack_steps": 400}}))
  assert run() == 2
  told = capsys.readouterr().err
  assert "do not share one plot: attack_steps 400 and 10" in told and told.count("\n") == 1


@pytest.fixture(scope="module")
def twin_records(tmp_path_factory):
  data_dir = tmp_path_factory.mktemp("records")
  assert build.main(["twin", f"--data_dir={data_dir}", "--twin_share=0.005", "--workers=1"]) == 0
  return data_dir


def test_finished_cells_are_held_against_the_records_that_further_ones_will_see(planted, tmp_path, capsys, monkeypatch, twin_records):
  files, run = planted
  monkeypatch.setattr(train, "ensure_records", lambda _: None)  # it would build the whole twin
  started = []
  monkeypatch.setattr(reproduce, "run_all", lambda todo, *_: started.extend(todo) or {})
  files[0].unlink()
  assert run(f"--data_dir={twin_records}") == 2 and not started
  told = capsys.readouterr().err
  assert "than those in --data_dir (" in told and told.count("\n") == 1
  here = reproduce_records.present((kind, f"{twin_records}/{name}") for kind, name in (("clips", "twin_clips"), ("private", "twin_images")))
  shards = records.read_manifest(f"{twin_records}/twin_clips").splits
  assert here["clips"] == evaluate.digest({split: [shard.sha256 for shard in shards[split]] for split in shards})
  for path in files[1:]:
    change(path, **here)
  assert run(f"--data_dir={twin_records}") == 0 and [cell.result for cell in started] == files[:1]


def test_each_kind_is_compared_with_the_first_that_names_it(tmp_path):
  older, one, two = ({"facts": {}}, {"facts": {"clips": "a"}}, {"facts": {"clips": "b", "private": "p"}})
  reproduce_records.check({"older": older, "none": {}, "one": one})
  reproduce_records.check({"one": one}, {"private": "p"})
  with pytest.raises(OptionError, match=r"two was judged on other records \(clips: b\) than one \(a\)"):
    reproduce_records.check({"older": older, "one": one, "two": two})
  with pytest.raises(OptionError, match=r"two was judged on other records \(private: p\) than those in --data_dir \(q\)"):
    reproduce_records.check({"two": two}, {"private": "q"})
  with pytest.raises(OptionError, match="no manifest"):
    reproduce_records.present([("clips", str(tmp_path))])
