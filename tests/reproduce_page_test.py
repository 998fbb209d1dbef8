"""The page of results and what stands on it: markers, the papers' figures, what is unfinished, curves."""

import json
import pathlib

import pytest

import straw_programs
from mppar_tf import curves, journal, reproduce_page, reproduce_plan, tables
from mppar_tf.flagfiles import OptionError

PAGE = ("# Results\n\nProse.\n\n<!-- table 1 twin -->\nold | rows\n<!-- end -->\n\nMore prose.\n\n<!-- table 1 sbu -->\nother\n"
        "<!-- end -->\n\nEnd.\n")


# ---- markers ----


def test_what_stands_between_the_markers_is_replaced_and_prose_is_kept():
  found = reproduce_page.placed(PAGE, "1", "twin", "A heading", "new\n")
  assert found == PAGE.replace("old | rows\n", "new\n")
  assert reproduce_page.placed(found, "1", "twin", "A heading", "new\n") == found


def test_a_table_without_markers_is_appended_under_its_heading():
  found = reproduce_page.placed(PAGE, "11", "twin", "A heading", "new\n")
  assert found == PAGE + "\n## A heading\n\n<!-- table 11 twin -->\nnew\n<!-- end -->\n"
  assert reproduce_page.placed(found, "11", "twin", "A heading", "newer\n") == found.replace("new\n", "newer\n")


@pytest.mark.parametrize("page", [
    "<!-- table 1 twin -->\nrows\n", "<!-- table 1 twin -->\n<!-- table 2 twin -->\nrows\n<!-- end -->\n",
    "<!-- table 1 twin -->\n<!-- end -->\n<!-- table 1 twin -->\n<!-- end -->\n"])
def test_broken_markers_are_an_error_before_anything_is_lost(page):
  with pytest.raises(OptionError, match="<!-- table 1 twin --> has no <!-- end -->, or stands twice"):
    reproduce_page.placed(page, "1", "twin", "", "new\n")


# ---- a table ----


def planted(tmp_path, name, benchmark, labels, seeds=(0, 1), **changes):
  """A table's plan of which the rows `labels` are finished for the first seed alone, or for all where a label stands twice."""
  plan = reproduce_plan.of_table(name, benchmark, seeds, None, tmp_path / "runs", tmp_path / "results")
  for label in set(labels):
    for cell in plan.rows[label][:labels.count(label)]:
      cell.result.parent.mkdir(parents=True, exist_ok=True)
      judged = {"flags": cell.settings, "protocol": tables.TABLES[name].protocol}
      results = straw_programs.results(cell.method, cell.seed, action=0.8 + cell.seed / 10) | judged | changes
      cell.result.write_text(json.dumps({key: value for key, value in results.items() if value is not None}))
  return plan


def rows(text):
  lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
  return {line[0]: line[1:] for line in lines[::-1]}  # of rows that stand twice, the first: the figures


def write(tmp_path, name, benchmark, plan):
  return reproduce_page.write_table(name, benchmark, "python -m this", plan, tmp_path / "results", tmp_path / "RESULTS.md")


def test_a_table_shows_what_is_unfinished_and_what_the_paper_prints(tmp_path):
  plan = planted(tmp_path, "1", "twin", ["mppar", "mppar", "basic_equal_data", "basic_equal_data", "basic"])
  text = write(tmp_path, "1", "twin", plan)
  found = rows(text)
  assert found["method"][3:] == ["seeds", "paper, hmdb51_vispr", "paper, ucf101_vispr"]
  assert found["mppar"] == ["0.850 ± 0.071", "0.600 ± 0.000", "0.700 ± 0.000", "2", "action 68.1, cMAP 47.4", "action 67.0, cMAP 21.8"]
  assert found["basic"] == ["0.800", "0.600", "0.700", "1 of 2", "action 67.3, cMAP 55.2", "action 65.6, cMAP 31.7"]
  assert found["spact"][:4] == ["-", "-", "-", "0 of 2"]
  assert found["basic_equal_data"][4:] == ["not in the paper", "not in the paper"]
  assert found["raw frames"][:4] == ["0.900 ± 0.000", "0.950 ± 0.000", "0.960 ± 0.000", "2"] and found["chance"][0] == "0.100"
  assert list(found)[::-1].index("raw frames") < list(found)[::-1].index("mppar")
  assert "| mppar | +0.000 [+0.000, +0.000] |" in text and "| spact | - | - | - |" in text
  assert f"5 of {len(plan.cells)} cells are finished (code: 0123456)" in text and "    python -m this" in text
  assert "MPPAR 2023, table 1" in text and "on other records" in text
  page = (tmp_path / "RESULTS.md").read_text()
  assert text in page and "](results/tables/1_twin_trade_off.png)" in page and "## MPPAR 2023, table 1, twin: Protocol A" in page
  assert "](1_twin_trade_off.png)" in (tmp_path / "results" / "tables" / "1_twin.md").read_text()
  assert (tmp_path / "results" / "tables" / "1_twin_trade_off.png").exists()


def test_a_table_without_any_result_shows_its_rows(tmp_path):
  text = write(tmp_path, "1", "twin", planted(tmp_path, "1", "twin", []))
  assert rows(text)["mppar"][:2] == ["-", "0 of 2"] and "0 of 26 cells" in text
  assert not (tmp_path / "results" / "tables" / "1_twin_trade_off.png").exists() and "![" not in text


def test_on_the_paper_s_own_records_its_figures_are_not_called_others(tmp_path):
  text = write(tmp_path, "1", "ucf101_vispr", planted(tmp_path, "1", "ucf101_vispr", []))
  assert rows(text)["mppar"][2:] == ["action 67.0, cMAP 21.8"] and "on other records" not in text


def test_times_are_those_of_the_game_and_of_a_clip(tmp_path):
  plan = planted(tmp_path, "supp4", "twin", ["mppar", "basic"], update_seconds=1.5)
  found = rows(write(tmp_path, "supp4", "twin", plan))
  # 300 updates of 1.5 s; 3 s for 10 videos of 2 clips.
  assert found["mppar"] == ["1.500", "7.500", "150.000", "1 of 2", "1.8 days, 37.11 ms"]
  assert found["raw frames"][:3] == ["-", "-", "-"] and found["chance"][:3] == ["-", "-", "-"]


def test_every_attacker_stands_beside_the_paper_s_and_what_cannot_be_played_is_told(tmp_path):
  privacy = {"attackers": {"resnet_v1_50": {"identity_accuracy": 0.55}, "inception_v1": {"identity_accuracy": 0.45}}}
  raw = {"action_top1": 0.9, "identity_accuracy": 0.6, "privacy": {"identity_accuracy": 0.6}}
  plan = planted(tmp_path, "pilot2", "ixmas_identity", ["entropy, M=1"], identity_accuracy=0.55, privacy=privacy, raw=raw,
                 chance={"action_top1": 0.1, "identity_accuracy": 0.1}, privacy_cmap_known=None, privacy_cmap_novel=None)
  text = write(tmp_path, "pilot2", "ixmas_identity", plan)
  found = rows(text)
  assert found["entropy, M=1"] == ["0.800", "0.550", "1 of 2", "identity 73.6 (largest of 10)"]
  assert found["resnet_v1_50"][:2] == ["0.550; 70.8", "-; 65.4"] and found["mobilenet_v1_0.25"][0].startswith("-; ")
  assert found["entropy, M=18"][:3] == ["-", "-", "0"] and "entropy, M=18" in text.partition("not played")[0].splitlines()[-1]


def test_curves_are_drawn_again_from_the_cells_alone(tmp_path):
  told = {"curves": {"virtual_training_loss": [[1, 2.0], [2, 1.0]], "virtual_testing_loss": [[1, 3.0], [2, 2.0]]}}
  label = "mppar, alternating"
  write(tmp_path, "5", "twin", planted(tmp_path, "5", "twin", [label, label], **told))
  assert "results/tables/5_twin_curves.png" in (tmp_path / "RESULTS.md").read_text()
  first = (tmp_path / "results" / "tables" / "5_twin_curves.png").read_bytes()
  told["curves"]["virtual_training_loss"][0][1] = 9.0
  write(tmp_path, "5", "twin", planted(tmp_path, "5", "twin", [label, label], **told))
  assert (tmp_path / "results" / "tables" / "5_twin_curves.png").read_bytes() != first


def test_every_heading_names_paper_and_table():
  assert reproduce_page.heading(tables.TABLES["1"], "1") == "MPPAR 2023, table 1"
  assert reproduce_page.heading(tables.TABLES["vita"], "vita") == "VITA 2020, vita"
  assert reproduce_page.heading(tables.TABLES["tuning"], "tuning") == "Tuning"


# ---- curves of a run ----


def test_the_losses_of_a_run_are_read_back_thinned(tmp_path):
  log = journal.Journal(tmp_path)
  for step in range(1, 101):
    log.scalars("anonymizer", step, {"virtual_training_loss": 2.0 * step, "support/privacy_loss": 1.0, "meta_gradient_norm": 5.0})
    log.scalars("recognizer", step, {"action_loss": 7.0})
  log.close()
  again = journal.Journal(tmp_path)  # a run that was stopped repeats steps
  again.scalars("anonymizer", 100, {"virtual_training_loss": 1000.0})
  again.close()
  found = curves.read(tmp_path)
  assert set(found["curves"]) == {"virtual_training_loss", "support/privacy_loss"} and found["update_seconds"] >= 0
  line = found["curves"]["virtual_training_loss"]
  assert len(line) == curves.POINTS and line[0] == [2.0, 4.0]  # steps 1 to 3
  assert line[-1] == [99.5, (2.0 * 99 + 1000.0) / 2]
  assert curves.read(tmp_path / "none") == {}


def test_thinning_keeps_the_mean_and_short_runs_whole():
  assert curves.thinned({1: 5.0, 3: 7.0}) == [[1.0, 5.0], [3.0, 7.0]]
  line = curves.thinned({step: float(step % 7) for step in range(80)}, points=40)
  assert sum(value for _, value in line) / 40 == pytest.approx(sum(step % 7 for step in range(80)) / 80)


def test_nothing_is_drawn_where_no_run_has_the_curve(tmp_path):
  assert not curves.draw(tmp_path / "x.png", {"a": [{}]}, ["loss"], "") and not pathlib.Path(tmp_path / "x.png").exists()
