"""Comparisons with programs of straw: what is run, what is not run again, who waits for whom, what a failure or a stop leaves behind."""

import dataclasses
import fcntl
import json
import os
import pathlib
import shutil
import signal
import threading
import time

import pytest

import straw_programs
from mppar_tf import flagfiles, reproduce, reproduce_plan, reproduce_run, tables
from mppar_tf.tables import recipes
from mppar_tf.tables.contract import Row, Table

STRAW = str(pathlib.Path(straw_programs.__file__))
ROWS = (Row("basic", ("--method=basic",), "basic"), Row("blurred", ("--method=strong_blur",)),
        Row("mppar", ("--method=mppar",), "mppar_full"), Row("mppar, again", ("--method=mppar", "--sets=different"), "mppar_full"))
TABLE = Table("A table", "MPPAR 2023", "1", "a", ("twin",), ROWS)
OTHER = Table("Another", "MPPAR 2023", "2", "a", ("twin",), (ROWS[2], Row("joint", ("--method=mppar", "--meta_gradient=joint"))))

TUNING = dataclasses.replace(TABLE, source="", number=None, judging=("--judged_split=validation",))


@pytest.fixture
def straw(tmp_path, monkeypatch):
  """Straw in place of train and evaluate; a folder for its orders. Two small tables in place of the papers'."""
  folder = tmp_path / "straw"
  folder.mkdir()
  monkeypatch.setenv("STRAW", str(folder))
  monkeypatch.setattr(reproduce_run, "PROGRAMS", {name: (STRAW, name) for name in reproduce_run.PROGRAMS})
  monkeypatch.setattr(reproduce_run, "LOOK_SECONDS", 0.01)
  monkeypatch.setattr(reproduce, "prepare", lambda *_: [])
  monkeypatch.setattr(tables, "TABLES", {"one": TABLE, "two": OTHER, "tuning": TUNING})
  monkeypatch.setattr(flagfiles.sys, "argv", ["reproduce"])
  return folder


@pytest.fixture
def go(straw, tmp_path):
  def run(*flags, table="one") -> int:
    return reproduce.main([f"--table={table}", "--seeds=2", "--jobs=2", f"--cells_dir={tmp_path / 'runs'}",
                           f"--results_dir={tmp_path / 'results'}", *flags])
  return run


def started(straw) -> list[tuple]:
  path = straw / "started"
  return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def trained(straw) -> list[tuple[str, int]]:
  return [(method, seed) for program, method, seed, *_ in started(straw) if program == "train"]


def test_every_cell_is_run_once_and_never_again(straw, go, tmp_path, capsys):
  assert go() == 0, capsys.readouterr().err
  # Two rows of the same flags are one cell.
  assert sorted(trained(straw)) == [(method, seed) for method in ("basic", "mppar", "strong_blur") for seed in (0, 1)]
  assert len(started(straw)) == 12, "each is judged, too"
  told = capsys.readouterr()
  assert "6 cells, 0 done, 6 to run" in told.out and "min left" in told.out and "(6 of 6" in told.out
  assert go() == 0 and len(started(straw)) == 12, "a finished cell ran again"
  assert "6 cells, 6 done, 0 to run" in capsys.readouterr().out
  # Another table finds mppar's cells; what differs by an ablation alone is run.
  assert go("--jobs=1", table="two") == 0  # one at a time: two that start together write their lines in any order
  assert trained(straw)[6:] == [("mppar", 0), ("mppar", 1)]
  flags = [flags for program, method, _, flags, _ in started(straw)[12:] if program == "train"]
  assert [one["meta_gradient"] for one in flags] == ["joint", "joint"]


def test_a_planted_result_is_a_finished_cell(straw, go, tmp_path, capsys):
  plan = reproduce_plan.of_table("one", "twin", range(2), None, tmp_path / "runs", tmp_path / "results")
  for cell in plan.cells:
    cell.result.parent.mkdir(parents=True, exist_ok=True)
    results = straw_programs.results(cell.method, cell.seed, action=0.5 + cell.seed / 10)
    cell.result.write_text(json.dumps(results | {"flags": cell.settings}))
  assert go() == 0 and started(straw) == []
  assert "| blurred | 0.550 ± 0.071 |" in capsys.readouterr().out


def test_learned_cells_of_a_seed_share_one_initialisation(straw, go, tmp_path):
  assert go("--seeds=1") == 0
  given = {method: flags.get("init_from") for program, method, _, flags, _ in started(straw) if program == "train"}
  [maker] = (tmp_path / "runs" / "cells" / "twin").glob("a_basic-*_seed0")
  assert given == {"basic": None, "strong_blur": None, "mppar": str(maker)}
  # A later table takes it from where it lies.
  assert go("--seeds=1", table="two") == 0
  [(*_, flags, _)] = [one for one in started(straw)[6:] if one[0] == "train"]
  assert flags["init_from"] == str(maker)


def test_the_folders_of_this_machine_are_not_published(straw, go, tmp_path):
  assert go("--seeds=1", table="two") == 0
  [path, _] = sorted((tmp_path / "results" / "cells" / "twin").glob("a_mppar-*_seed0.json"))
  stored = json.loads(path.read_text())
  assert "--seed=0" in stored["flags"] and not [flag for flag in stored["flags"] if flag.startswith("--data_dir")]
  assert set(stored["cell_seconds"]) == {"train", "evaluate"} and path.name.startswith(stored["cell"])


def test_a_failing_cell_is_told_at_once_and_the_others_are_finished(straw, go, tmp_path, capsys):
  (straw / "fail").write_text("basic")
  assert go("--seeds=1") == reproduce.FAILED
  told = capsys.readouterr()
  assert "failed: a_basic-" in told.out and "exit code 70: straw: a reason" in told.out
  assert "1 of 3 cells failed: a_basic-" in told.err
  # The next of its initialisation makes it; the row shows what is missing.
  assert sorted(method for program, method, *_ in started(straw) if program == "evaluate") == ["mppar", "strong_blur"]
  page = (tmp_path / "RESULTS.md").read_text()
  assert "| basic | - | - | - | 0 of 1 |" in page and "2 of 3 cells are finished" in page
  (straw / "fail").unlink()
  assert go("--seeds=1") == 0
  assert "| basic | 0.800 | 0.600 | 0.700 | 1 |" in (tmp_path / "RESULTS.md").read_text()


def test_an_evaluation_under_another_name_is_a_failed_cell(straw, go, capsys):
  (straw / "elsewhere").write_text("")
  assert go("--seeds=1") == reproduce.FAILED
  assert "than the run's own" in capsys.readouterr().out


def test_tuning_keeps_what_was_judged_on_validation_data_under_names_of_its_own(straw, go, tmp_path, capsys):
  assert go("--seeds=1", table="tuning") == 0, capsys.readouterr().out
  judged = [flags for program, _, _, flags, _ in started(straw) if program == "evaluate"]
  assert {flags["judged_split"] for flags in judged} == {"validation"}
  page = (tmp_path / "RESULTS.md").read_text()
  assert "| basic | 0.800 | 0.600 | 0.700 | 1 |" in page and "paper" not in page
  assert go("--seeds=1") == 0 and len(started(straw)) == 12, "figures of tuning passed for those of the test"


def test_a_file_of_the_export_is_judged_beside_the_network_of_one_training(straw, go, tmp_path, monkeypatch, capsys):
  files = tuple(dataclasses.replace(ROWS[2], label=f"mppar, {variant}", variant=variant) for variant in ("int8", "float32"))
  monkeypatch.setitem(tables.TABLES, "files", dataclasses.replace(TABLE, rows=(ROWS[2], *files), reference="mppar"))
  assert go("--seeds=1", table="files") == 0, capsys.readouterr().out
  assert trained(straw) == [("mppar", 0)] * 3  # the second and third find it finished
  [folder] = {flags["run_dir"] for *_, flags, _ in started(straw)}
  exports = [flags for program, _, _, flags, _ in started(straw) if program == "export"]
  assert [(one["export_dir"], one["export_variants"], one.get("force_variants"), one["checkpoint"]) for one in exports] == [
      (f"{folder}/export", "float32,int8", "int8", "last"), (f"{folder}/export", "float32", None, "last")]
  judged = [(flags.get("judged_export"), flags.get("judged_variant")) for name, *_, flags, _ in started(straw) if name == "evaluate"]
  assert judged == [(None, None), (f"{folder}/export", "int8"), (f"{folder}/export", "float32")]
  stored = [json.loads(path.read_text()) for path in (tmp_path / "results" / "cells" / "twin").glob("*.json")]
  assert sorted(one.get("judged_file", {}).get("variant", "") for one in stored) == ["", "float32", "int8"]
  page = (tmp_path / "RESULTS.md").read_text()
  assert "One seed of mppar beside others" in page and "| mppar, int8 | 0.800 |" in page
  # Figures of the network are not taken for those of a file, nor the other way round.
  shutil.rmtree(tmp_path / "results" / "cells")
  cells = {cell.variant: cell for cell in reproduce_plan.of_table("files", "twin", (0,), None, tmp_path, tmp_path / "results").cells}
  assert cells[None].settings == cells["float32"].settings
  for variant in (None, "float32"):
    kept = tmp_path / f"kept_{variant}"
    kept.mkdir()
    [of_it] = [one for one in stored if one.get("judged_file", {}).get("variant") == variant]
    (kept / "one.json").write_text(json.dumps(of_it | {"flags": cells[variant].settings}))
    assert [cell.variant for cell in reproduce_plan.adopt([*cells.values()], kept)] == [variant]


def test_two_ways_of_judging_take_turns_in_one_run_folder(straw, go, tmp_path, monkeypatch, capsys):
  known = dataclasses.replace(TABLE, protocol="c", rows=(ROWS[0],))
  monkeypatch.setitem(tables.TABLES, "three", known)
  monkeypatch.setitem(recipes.TRAINING, ("c", "twin"), "protocol_c.flags")
  assert go("--seeds=1", table="three") == 0, capsys.readouterr().out
  [cell] = reproduce_plan.of_table("three", "twin", (0,), None, tmp_path / "runs", tmp_path / "results").cells
  assert [flags["protocol"] for _, _, _, flags, _ in started(straw)] == ["a", "c"], "trained as A, judged as C"
  [row] = [row for name, row in go_rows(tmp_path).items() if name == "basic"]
  assert row[0].run_dir == cell.run_dir and row[0].result != cell.result
  # One waits for the other: a folder is worked in by one of them alone.
  waiting = [row[0], cell]
  running = [reproduce_run.Running(cell, "train", None, None, 0.0)]
  assert reproduce_run._next(waiting, running, {}) is None and reproduce_run._next(waiting, [], {}) is row[0]


def go_rows(tmp_path):
  return reproduce_plan.of_table("one", "twin", (0,), None, tmp_path / "runs", tmp_path / "results").rows


def test_a_folder_to_adopt_from_that_is_not_there_is_one_line(straw, go, capsys):
  assert go("--adopt=nowhere") == 2 and "--adopt=nowhere" in capsys.readouterr().err


def stop_when_begun(cells) -> None:
  """Stops this program as soon as two cells are at work."""
  def stop():
    end = time.monotonic() + 30
    while len(list(cells.glob("*/begun"))) < 2 and time.monotonic() < end:
      time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)
  threading.Thread(target=stop).start()


def test_a_stop_ends_the_children_cleanly_and_says_what_goes_on(straw, go, tmp_path, capsys):
  (straw / "long").write_text("")
  cells = tmp_path / "runs" / "cells" / "twin"
  stop_when_begun(cells)
  assert go() == reproduce.STOPPED
  assert len(list(cells.glob("*/saved"))) == 2, "a child was not told, or not waited for"
  told = capsys.readouterr()
  assert "the same command goes on" in told.err and "0 of 6 cells are finished" in told.out
  (straw / "long").unlink()
  assert go() == 0


def test_a_child_that_does_not_listen_is_ended_all_the_same(straw, go, tmp_path, monkeypatch):
  for name in ("long", "stubborn"):
    (straw / name).write_text("")
  monkeypatch.setattr(reproduce_run, "PATIENCE", 0.1)
  cells = tmp_path / "runs" / "cells" / "twin"
  stop_when_begun(cells)
  assert go() == reproduce.STOPPED
  for log in cells.glob("*/log.txt"):  # a child that lived would hold it
    with open(log) as file:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  assert len(list(cells.glob("*/begun"))) == 2 and not list(cells.glob("*/saved"))


def test_two_processes_never_work_in_one_run_folder(straw, go, tmp_path, capsys):
  plan = reproduce_plan.of_table("one", "twin", range(1), None, tmp_path / "runs", tmp_path / "results")
  busy = plan.rows["blurred"][0].run_dir
  busy.mkdir(parents=True)
  with open(busy / "log.txt", "a") as log:
    fcntl.flock(log, fcntl.LOCK_EX)
    assert go("--seeds=1") == reproduce.FAILED
  assert f"another process works in {busy}" in capsys.readouterr().out and ("strong_blur", 0) not in trained(straw)


def test_a_begun_cell_goes_on_with_the_flags_that_it_was_begun_with(straw, go, tmp_path):
  """Its initialisation came from elsewhere, while by now there is one here."""
  plan = reproduce_plan.of_table("one", "twin", range(1), None, tmp_path / "runs", tmp_path / "results")
  run_dir = plan.rows["mppar"][0].run_dir
  (run_dir / "checkpoints" / "step-000000004").mkdir(parents=True)
  (run_dir / "flags.txt").write_text("--init_from=elsewhere\n")
  assert go("--seeds=1") == 0
  [flags] = [flags for program, method, _, flags, _ in started(straw) if (program, method) == ("train", "mppar")]
  assert flags["init_from"] == "elsewhere"


def test_a_dry_run_lists_cells_and_minutes_and_runs_nothing(straw, go, tmp_path, capsys):
  assert go("--dry_run") == 0 and started(straw) == []
  told = capsys.readouterr().out
  assert "no finished cell tells how long" in told and told.count("to do") == 6 and "mppar; mppar, again" in told
  assert not (tmp_path / "results").exists()
  assert go("--seeds=1") == 0
  for path in (tmp_path / "results" / "cells" / "twin").glob("*.json"):
    seconds = {"train": 500.0, "evaluate": 100.0} if "a_mppar-" in path.name else {"train": 0.5, "evaluate": 0.5}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cell_seconds": seconds}))
  capsys.readouterr()
  assert go("--dry_run", "--jobs=1") == 0
  told = capsys.readouterr().out
  assert "6 cells, 3 done, 3 to run" in told and "about 10 min left" in told  # a blur and a basic take no time, another mppar ten minutes
  assert [line.split()[0] for line in told.splitlines() if "a_mppar-" in line] == ["done", "to"] and told.count("10.0 min") == 2


def test_cells_have_the_priority_and_the_threads_that_are_asked_for(straw, go):
  assert go("--seeds=1", f"--nice={min(19, os.nice(0) + 3) - os.nice(0)}", "--cell_threads=2") == 0
  assert {nice for *_, nice in started(straw)} == {min(19, os.nice(0) + 3)}
  assert {flags["threads"] for *_, flags, _ in started(straw)} == {"2"}
  # Each cell is a session of its own, which Linux weighs as one: a cell's own nice is nothing to the processes of others.
  if (straw / "autogroups").exists():
    assert set((straw / "autogroups").read_text().split()) == {str(min(19, os.nice(0) + 3))}


@pytest.mark.parametrize("flags, words", [
    (["--table=one", "--benchmark=sbu"], ["--table=one", "--benchmark=sbu", "twin", "tables for sbu: none"]),
    (["--table=nine"], ["nine", "one", "two"]),
    (["--table=one", "--evaluation=nothing.flags"], ["nothing.flags", "evaluation_small.flags"])])
def test_what_cannot_be_is_one_line_that_names_the_choices(straw, go, capsys, flags, words):
  assert go(*flags) == 2
  [line] = capsys.readouterr().err.splitlines()
  assert [word for word in words if word not in line] == [], line


def test_a_row_that_training_would_refuse_is_named(straw, go, monkeypatch, capsys):
  monkeypatch.setitem(tables.TABLES, "one", Table("", "", None, "a", ("twin",), (Row("bad", ("--method=basic", "--gamma=-1")),)))
  assert go() == 2
  assert "row 'bad'" in (told := capsys.readouterr().err) and "gamma" in told


def test_missing_records_are_told_once_and_before_the_first_cell(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(reproduce_run, "run", lambda *_: pytest.fail("cells were run"))
  assert reproduce.main(["--table=vita", "--benchmark=sbu", "--seeds=1", "--jobs=1", f"--data_dir={tmp_path / 'empty'}",
                         f"--cells_dir={tmp_path / 'runs'}", f"--results_dir={tmp_path / 'results'}"]) == 2
  assert "tfrecord_tools.build sbu --sbu_split=pairs" in capsys.readouterr().err
  assert not (tmp_path / "results").exists()


# ---- one's own comparison ----


def test_a_study_keeps_its_names_and_its_table(straw, tmp_path, capsys):
  command = ["--study=s", "--config=protocol_a.flags", "--methods=basic,mppar", "--seeds=1", "--jobs=2", f"--cells_dir={tmp_path / 'runs'}",
             f"--results_dir={tmp_path / 'results'}"]
  assert reproduce.main(command) == 0
  assert sorted(path.name for path in (tmp_path / "results" / "s").iterdir()) == [
      "basic_seed0.json", "mppar_seed0.json", "table.md", "trade_off.png"]
  assert (tmp_path / "runs" / "s" / "mppar_seed0" / "log.txt").exists()
  assert reproduce.main(command) == 0 and len(started(straw)) == 4
  stored = tmp_path / "results" / "s" / "basic_seed0.json"
  kept = json.loads(stored.read_text())
  for flags, told in OTHER_FLAGS:
    stored.write_text(json.dumps(kept | flags(kept["flags"])))
    capsys.readouterr()
    assert reproduce.main(command) == 2, f"a result of another recipe was taken: {told}"
    assert told in capsys.readouterr().err
  stored.write_text(json.dumps(kept))
  assert reproduce.main([*command, f"--config={changed(tmp_path, '--l1_weight=5')}"]) == 2
  assert "--l1_weight=0.0 then, --l1_weight=5.0 now" in capsys.readouterr().err


def changed(tmp_path, line):
  config = tmp_path / "changed.flags"
  config.write_text(f"--flagfile=protocol_a.flags\n{line}\n")
  return config


def without(flags, *names):
  return [line for line in flags if reproduce_plan.name_of(line) not in names]


OTHER_FLAGS = [  # what another result says of itself, and what is told of it
    (lambda flags: {"flags": [*without(flags, "gamma"), "--gamma=0.5"]}, "--gamma=0.5 then, --gamma=36.0 now"),
    # Of a result that is older than a flag, what was the default; this study's own value is another.
    (lambda flags: {"flags": without(flags, "gamma")}, "--gamma=0.4 then, --gamma=36.0 now"),
    (lambda flags: {"flags": [*flags, "--private_records=mine"]}, "--private_records=mine then, no --private_records now"),
    (lambda flags: {"initial_weights": {"recognizer": {"path": "f_a.h5", "sha256": "12ab"}}}, "--recognizer_weights of SHA-256 12ab then"),
]


def test_an_evaluation_that_went_by_other_flags_is_a_failed_cell_and_stops_no_other(straw, go, tmp_path, monkeypatch, capsys):
  (straw / "otherwise").write_text("basic")
  assert go("--seeds=1") == reproduce.FAILED
  told = capsys.readouterr()
  assert "was made with other flags: --checkpoint=best then, --checkpoint=last now" in told.out and "1 of 3 cells failed" in told.err
  assert len([one for one in started(straw) if one[0] == "evaluate"]) == 3
  assert not [*(tmp_path / "results" / "cells" / "twin").glob("a_basic-*")]


def test_the_committed_comparison_on_the_twin_is_found_whole(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(flagfiles.CONFIGS.parent)
  monkeypatch.setattr(reproduce_run, "run", lambda *_: pytest.fail("committed cells are run again"))
  assert reproduce.main(["--flagfile=reproduce_twin.flags", "--dry_run"]) == 0
  assert "12 cells, 12 done, 0 to run" in capsys.readouterr().out
  plan = reproduce_plan.of_study("twin_protocol_a", "protocol_a.flags", ("strong_blur", "basic", "basic_equal_data", "mppar"), range(3),
                                 "evaluation_small.flags", tmp_path, pathlib.Path("results"))
  from mppar_tf import reproduce_page
  shown = reproduce_page.write_study(plan, tmp_path)
  assert shown + "\n" == pathlib.Path("results/twin_protocol_a/table.md").read_text(encoding="utf-8")


# ---- how many at a time ----


def test_jobs_are_bounded_by_cores_and_by_memory(monkeypatch):
  monkeypatch.setattr(reproduce_run.glob, "glob", lambda _: [])
  monkeypatch.setattr(reproduce_run.os, "sched_getaffinity", lambda _: range(16), raising=False)
  monkeypatch.setattr(reproduce_run, "free_gib", lambda: 45.0)
  assert reproduce_run.jobs(3, 1, ["paper"]) == 3, "what is asked for is taken"
  assert reproduce_run.jobs(0, 1, ["tiny"]) == 16 and reproduce_run.jobs(0, 4, ["tiny"]) == 4 and reproduce_run.jobs(0, 0, ["tiny"]) == 1
  assert reproduce_run.jobs(0, 1, ["small", "paper"]) == int(45 / recipes.GIB["paper"])
  monkeypatch.setattr(reproduce_run, "free_gib", lambda: 0.5)
  assert reproduce_run.jobs(0, 1, ["paper"]) == 1
  monkeypatch.setattr(reproduce_run.glob, "glob", lambda _: ["a GPU"])
  assert reproduce_run.jobs(0, 1, ["tiny"]) == 1


def test_free_memory_is_less_than_all():
  assert 0 < reproduce_run.free_gib() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2 ** 30


def test_what_is_left_is_reckoned_by_method(tmp_path):
  plan = reproduce_plan.of_table("1", "twin", range(1), None, tmp_path, tmp_path)
  mppar, basic = plan.rows["mppar"][0], plan.rows["basic"][0]
  known = reproduce_run.seconds_of([{"method": "mppar", "cell_seconds": {"train": 500.0, "evaluate": 100.0}},
                                    {"method": "raw", "cell_seconds": {"train": 300.0}}, {"method": "old"}])
  assert known == {"mppar": 600.0, "raw": 300.0, "": 450.0}
  assert reproduce_run.minutes([mppar, basic], {}, known, 1) == (600 + 450) / 60
  assert reproduce_run.minutes([mppar], {basic: 150.0}, known, 2) == 600 / 60, "no shorter than the longest cell"
  assert reproduce_run.minutes([mppar], {}, {}, 1) is None
