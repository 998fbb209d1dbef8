"""The papers' tables: every one plans on every benchmark that it names, and stands beside exactly the figures that its paper prints."""

import collections
import csv
import json
import pathlib

import pytest
import tiny_official

from mppar_tf import flagfiles, methods, reproduce_plan, train
from mppar_tf.protocols import PROTOCOLS
from mppar_tf.protocols.benchmarks import chosen
from mppar_tf.tables import TABLES, mppar, paper, recipes
from mppar_tf.tables.contract import Row, Table

PLANNED = [(name, benchmark) for name, table in TABLES.items() for benchmark in table.benchmarks]


def plan_of(name, benchmark, seeds=(0,), evaluation=None):
  return reproduce_plan.of_table(name, benchmark, seeds, evaluation, pathlib.Path("runs"), pathlib.Path("results"))


def options_of(cell):
  return reproduce_plan.parsed(cell.flags, train.PROGRAM_OPTIONS, cell.told)


# ---- plans ----


def test_a_benchmarks_own_novel_attributes_are_not_those_that_one_trains_against():
  novel = chosen("ucf101_vispr").novel
  assert chosen("ucf101_vispr", known=(novel[0], "a0_safe")).novel == novel[1:]
  assert chosen("ucf101_vispr", known=novel).novel == () and chosen("ucf101_vispr").novel == novel
  with pytest.raises(ValueError, match=f"attributes {novel[0]} are both known and novel"):
    chosen("ucf101_vispr", known=novel, novel=novel[:1])


@pytest.mark.parametrize("name, benchmark", PLANNED)
def test_every_row_is_a_run_that_can_be_started(name, benchmark):
  """As far as options and records' names tell: methods, attackers, protocol and benchmark go together."""
  table, found = TABLES[name], plan_of(name, benchmark)
  assert list(found.rows) == [row.label for row in table.rows] and len(set(found.rows)) == len(table.rows)
  for row in table.rows:
    assert bool(found.rows[row.label]) == (row.flags is not None) == (not row.lacking)
  for cell in found.cells:
    run, _, models, settings, _ = options_of(cell)
    assert cell.method in methods.METHODS and run.benchmark == benchmark and f"--protocol={table.protocol}" in cell.settings
    if run.protocol != table.protocol:
      assert run.protocol == reproduce_plan.TRAINED_UNDER[table.protocol] and cell.evaluation[-1] == f"--protocol={table.protocol}"
    protocol = PROTOCOLS[run.protocol]
    protocol.sees(chosen(benchmark, clips=run.clips_records, private=run.private_records, known=run.known_attributes,
                         novel=run.novel_attributes), benchmark)
    training = models.training_attackers or protocol.training_attackers
    protocol.check(training, models.test_attackers or protocol.test_attackers)
    assert settings.ensemble <= len(training)
    assert settings.restart_every < settings.max_steps or cell.method not in ("grl", "entropy", "k_beam"), "it would never restart"


@pytest.mark.parametrize("name, benchmark", PLANNED)
def test_cells_of_one_initialisation_are_those_that_training_lets_share_it(name, benchmark):
  cells = plan_of(name, benchmark).cells
  wanted = lambda cell: [line for line in flagfiles.lines(*options_of(cell)) if line.startswith(train.INITIALISATION_FLAGS)]
  shared = [cell for cell in cells if cell.group]
  assert [train.differences(wanted(a), wanted(b), lambda line: True) for a in shared for b in shared if a.group == b.group] == [
      ("", "") for a in shared for b in shared if a.group == b.group]
  alone = {cell.method for cell in cells} - {cell.method for cell in shared}
  assert alone <= {*methods.WITHOUT_LEARNING, *methods.OWN_INITIALISATION}


def test_what_the_game_alone_reads_does_not_part_initialisations_and_seeds_and_networks_do():
  groups = lambda name, **given: [cell.group for cell in plan_of(name, "twin", **given).cells if cell.group]
  assert len(set(groups("supp_figure1") + groups("supp1") + groups("supp2") + groups("supp3") + groups("5"))) == 1
  assert len(set(groups("supp1", seeds=(0, 1)))) == 2
  assert not set(groups("1")) & set(groups("2")) and len(set(groups("2"))) == 2, "full of protocol b has attackers of its own"
  # On the papers' own sets attackers are left to the protocol, so that flags alone do not tell them apart.
  left = lambda protocol: reproduce_plan.initialisation(reproduce_plan.parsed(
      ["--benchmark=ucf101_vispr", f"--protocol={protocol}"], train.PROGRAM_OPTIONS, ""))
  assert left("a") == left("c") != left("b")


def test_a_digest_changes_with_the_recipe_and_not_with_the_machine():
  def key(*flags, evaluation=None):
    rows = [reproduce_plan.Wanted("row", ("--flagfile=protocol_a.flags", *flags))]
    found = reproduce_plan.plan(rows, evaluation, (0,), lambda chosen, key, seed: key, pathlib.Path("a"), pathlib.Path("b"))
    return found.cells[0].name
  own = key()
  for flags in (["--data_dir=elsewhere"], ["--threads=7"], ["--run_dir=x"], ["--init_from=y"], ["--log_every=9"], ["--keep_checkpoints=9"],
                ["--shift=alternate"], ["--sets=different"], ["--method=mppar"], ["--alpha=0.0050"], ["--virtual_devices=1"]):
    assert key(*flags) == own, flags
  recipes_ = (["--alpha=0.004"], ["--method=basic"], ["--gamma=35"], ["--shift=both"], ["--max_steps=301"], ["--crop=28"], ["--protocol=c"],
              ["--test_attackers=inception_v1"], ["--noflip"], ["--precision=mixed_bfloat16"], ["--training_attackers=mobilenet_v2_0.5"])
  changed = [key(*flags) for flags in recipes_] + [key(evaluation="evaluation_small.flags")]
  assert len({own, *changed}) == len(recipes_) + 2


def test_a_cell_that_waits_does_not_see_its_flagfile_edited(tmp_path):
  config, judging = tmp_path / "train.flags", tmp_path / "judge.flags"
  config.write_text("--flagfile=protocol_a.flags\n--gamma=5")
  judging.write_text("--attack_steps=7")
  found = reproduce_plan.of_study("s", str(config), ["basic"], [3], str(judging), tmp_path, tmp_path).cells[0]
  assert not [flag for flag in (*found.flags, *found.evaluation) if "flagfile" in flag]
  config.write_text("--gamma=6")
  assert options_of(found)[3].gamma == 5 and options_of(found)[0].seed == 3 and found.evaluation == ("--attack_steps=7",)


def test_the_same_cell_of_two_tables_is_one():
  mine = {cell.name for cell in plan_of("1", "twin").cells}
  for name, more in (("5", 1), ("supp1", 1), ("supp2", 2), ("supp3", 2), ("supp4", 0), ("supp_figure1", 8)):
    cells = {cell.name for cell in plan_of(name, "twin").cells}
    assert len(cells - mine) == more, name
  assert plan_of("pilot3", "twin") == plan_of("pilot4", "twin") and plan_of("pilot3", "ucf101_vispr") != plan_of("pilot4", "ucf101_vispr")
  pilot, vita = ({benchmark: plan_of(name, benchmark) for benchmark in ("ixmas_identity", "sbu")} for name in ("pilot2", "vita"))
  names = lambda plan: {cell.name for cell in plan.cells}
  assert names(pilot["ixmas_identity"]) - names(vita["ixmas_identity"]) == {
      cell.name for label, cells in pilot["ixmas_identity"].rows.items() if "M=6" in label for cell in cells}
  assert not names(pilot["sbu"]) & names(vita["sbu"]), "on SBU the pilot has thresholds of its own"


def test_what_is_judged_under_two_protocols_is_trained_once():
  folders = lambda name, benchmark="twin": {cell.run_dir for cell in plan_of(name, benchmark).cells}
  for benchmark in ("twin", "ucf101_vispr"):
    assert folders("4", benchmark) == folders("2", benchmark)
    own = [cell for cell in plan_of("3", benchmark).cells if cell.run_dir not in folders("1", benchmark)]
    assert [options_of(cell)[3].shift for cell in own] == ["models"], "only-model alone is trained for table 3"
  # Settings of training under either protocol differ in nothing that training reads.
  for judged, trained in reproduce_plan.TRAINED_UNDER.items():
    same = ("training_attackers", "test_attackers", "novel_attackers", "task")
    assert [getattr(PROTOCOLS[judged], name) for name in same] == [getattr(PROTOCOLS[trained], name) for name in same]
  judging = {reproduce_plan.name_of(line) for line in flagfiles.lines(*(cls() for cls in reproduce_plan.JUDGING))}
  for name, under in (("3", "a"), ("4", "b")):
    for cell in plan_of(name, "twin").cells:
      trained = set(reproduce_plan.deciding(options_of(cell)))
      unread = {line for line in trained if cell.method not in methods.SHIFTING and line.startswith("--shift=")}
      assert trained - set(cell.settings) == {f"--protocol={under}", *unread}
      # What a finished cell will be read by is what its run has in its flags, or evaluation in its own.
      of_training = {line for line in cell.settings if reproduce_plan.name_of(line) not in judging}
      assert of_training - trained == {f"--protocol={TABLES[name].protocol}", f"--seed={cell.seed}"}


def test_a_table_takes_up_what_a_study_has_made_with_the_same_flags(tmp_path):
  cells = reproduce_plan.of_table("1", "twin", range(3), None, tmp_path / "runs", tmp_path / "results").cells
  study = pathlib.Path(__file__).resolve().parents[1] / "results" / "twin_protocol_a"
  taken = reproduce_plan.adopt(cells, study)
  assert collections.Counter(cell.method for cell in taken) == {"basic": 3, "basic_equal_data": 3, "mppar": 3, "strong_blur": 3}
  for cell in taken:
    theirs = json.loads((study / f"{cell.method}_seed{cell.seed}.json").read_text())
    assert reproduce_plan.read(cell) == theirs | {"cell": cell.name}
  assert reproduce_plan.adopt(cells, study) == [], "finished cells are left alone"


def test_another_recipe_is_not_taken_up(tmp_path):
  rows = [reproduce_plan.Wanted("row", ("--flagfile=protocol_a.flags", "--method=basic", "--gamma=35"))]
  [cell] = reproduce_plan.plan(rows, "evaluation_small.flags", (0,), lambda chosen, key, seed: key, tmp_path / "runs",
                               tmp_path / "results").cells
  assert reproduce_plan.adopt([cell], pathlib.Path(__file__).resolve().parents[1] / "results" / "twin_protocol_a") == []
  (tmp_path / "strange.json").write_text("[1]")
  assert reproduce_plan.adopt([cell], tmp_path) == [] and not cell.done


def test_tuning_sees_validation_data_alone_and_each_method_has_four_runs_at_most():
  found = plan_of("tuning", "twin").cells
  assert all("--judged_split=validation" in cell.settings for cell in found)
  assert max(collections.Counter(cell.method for cell in found).values()) <= 4
  for name, benchmark in PLANNED:
    if name != "tuning":
      assert all("--judged_split=test" in cell.settings for cell in plan_of(name, benchmark).cells)


def test_a_benchmark_that_a_table_does_not_know_is_an_error_with_the_choices():
  with pytest.raises(flagfiles.OptionError, match="--table=2 is not for --benchmark=ixmas_utkface, but for twin.*for ixmas_utkface: 1, 5"):
    plan_of("2", "ixmas_utkface")
  with pytest.raises(flagfiles.OptionError, match="no flagfile trains protocol identity on twin; there are those for ixmas_identity, sbu"):
    reproduce_plan.training_flagfile("identity", "twin")


@pytest.mark.parametrize("protocol, benchmark", recipes.TRAINING)
def test_a_flagfile_trains_what_it_stands_for(protocol, benchmark):
  run, *_ = reproduce_plan.parsed([f"--flagfile={recipes.TRAINING[protocol, benchmark]}"], train.PROGRAM_OPTIONS, "")
  assert (run.protocol, run.benchmark) == (protocol, benchmark) and benchmark in recipes.EVALUATION


@pytest.mark.parametrize("benchmark", mppar.ALPHA_BETA)
def test_the_sweep_surrounds_the_benchmark_s_own_recipe(benchmark):
  found = plan_of("supp_figure1", benchmark)
  own = options_of(found.rows["mppar"][0])[3]
  assert (own.alpha, own.beta) == mppar.ALPHA_BETA[benchmark]
  for flag in ("alpha", "beta"):
    swept = [getattr(options_of(cells[0])[3], flag) for label, cells in found.rows.items() if flag in label]
    assert swept == [pytest.approx(factor * getattr(own, flag)) for factor in mppar.FACTORS]


# ---- the papers' figures ----


def printed() -> dict[tuple[str, str], set[str]]:
  """(source, table) -> names of its rows, attackers left out."""
  found: dict[tuple[str, str], set[str]] = {}
  with open(paper.FILE, newline="", encoding="utf-8") as file:
    for line in csv.DictReader(file):
      found.setdefault((line["source"], line["table"]), set()).add(line["method"].split("/")[0])
  return found


def test_the_figures_are_whole():
  with open(paper.FILE, newline="", encoding="utf-8") as file:
    lines = list(csv.reader(file))
  assert tuple(lines[0]) == paper.COLUMNS and len(lines) == 629 and {len(line) for line in lines} == {6}
  keys = [tuple(line[:5]) for line in lines[1:]]
  assert len(set(keys)) == len(keys) and {line[4] for line in lines[1:]} == set(paper.WORDS)
  assert all(float(line[5]) > 0 for line in lines[1:])


def test_the_figures_are_those_of_the_shared_folder():
  source = pathlib.Path(tiny_official.SHARED) / "paper_tables.csv"
  if not source.exists():
    pytest.skip(f"no {source}")
  assert paper.FILE.read_text(encoding="utf-8").splitlines() == source.read_text(encoding="utf-8").splitlines()


def test_every_printed_row_stands_in_the_table_and_no_other():
  covered = {(table.source, table.number): {row.paper for row in table.rows if row.paper} for table in TABLES.values() if table.number}
  assert printed() == covered
  assert [row.label for table in TABLES.values() if table.number is None for row in table.rows if row.paper] == [
      row.label for name in ("supp_figure1",) for row in TABLES[name].rows if row.paper]


def test_what_the_paper_prints_is_told_as_printed():
  """Against figures read off the papers' pages."""
  by_label = {row.label: row for row in TABLES["1"].rows}
  assert paper.told(TABLES["1"], by_label["mppar"], "ucf101_vispr") == "action 67.0, cMAP 21.8"
  assert paper.told(TABLES["1"], by_label["basic"], "hmdb51_vispr") == "action 67.3, cMAP 55.2"
  assert paper.told(TABLES["1"], by_label["basic_equal_data"], "hmdb51_vispr") == paper.NOT_IN_PAPER
  [full] = [row for row in TABLES["supp4"].rows if row.label == "mppar"]
  assert paper.told(TABLES["supp4"], full, "hmdb51_vispr") == "1.8 days, 37.11 ms"
  assert paper.told(TABLES["supp_figure1"], full, "hmdb51_vispr") == paper.UNAVAILABLE
  alone = Table("", "MPPAR 2023", "4", "d", (), ())
  assert paper.told(alone, Row("", (), "mppar_random_sets"), "ucf101_vispr") == paper.NOT_PRINTED


def test_of_several_attackers_the_largest_is_the_leak_and_each_is_kept():
  [row] = [row for row in TABLES["pilot2"].rows if row.paper == "entropy_M1"]
  assert paper.told(TABLES["pilot2"], row, "sbu") == "identity 73.6 (largest of 10)"
  found = paper.attackers(TABLES["pilot2"], "sbu")
  assert found["mobilenet_v1_1.0"]["entropy_M1"] == "73.6" and found["resnet_v1_50"]["entropy_M10"] == "68.3"
  assert set(found) == set(PROTOCOLS["identity"].test_attackers), "attackers go by other names here"
  assert paper.attackers(TABLES["1"], "ucf101_vispr") == {}


def test_the_paper_s_own_benchmark_stands_alone_beside_ours():
  assert paper.shown(TABLES["1"], "ucf101_vispr") == ["ucf101_vispr"]
  assert paper.shown(TABLES["1"], "twin") == ["hmdb51_vispr", "ucf101_vispr"]
  assert paper.shown(TABLES["pilot3"], "ucf101_vispr") == ["ucf101_vispr17"] and paper.shown(TABLES["vita"], "sbu") == []
