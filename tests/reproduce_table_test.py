"""One small table through the real programs, from the command line to the page; then again for nothing."""

import pytest

import fixtures
import tiny_runs
from mppar_tf import reproduce, tables
from mppar_tf.evaluation import report
from mppar_tf.tables import recipes
from mppar_tf.tables.contract import Row, Table

pytestmark = pytest.mark.timeout(1200)
# At 12 pixels what a hardly trained f^D leaves of so small a picture is taken for the picture, and its export refused.
FEW = ("--crop=16", "--max_steps=2", "--reconstruction_steps=1", "--action_steps=1", "--attacker_init_steps=1", "--nodeterministic",
       "--checkpoint_every=1", "--checkpoint_steps=100")
BUDGET = ("--attack_steps=2", "--attack_looks=1", "--attack_batch=8", "--polish_steps=1", "--polish_batch=4", "--raw_action_steps=1",
          "--clips_per_video=1", "--evaluation_batch=6", "--sheet_frames=0", "--checkpoint=last")
TABLE = Table("Small", "MPPAR 2023", "supp1", "a", ("twin",), (
    Row("basic", ("--method=basic",), "basic"), Row("basic_equal_data", ("--method=basic_equal_data",)),
    Row("basic, int8", ("--method=basic",), variant="int8")),
              curves=("loss",))


def test_a_table_is_trained_judged_and_written_and_the_second_time_read(tmp_path, monkeypatch, capsys):
  fixtures.write_tiny_datasets(tmp_path / "records")
  (tmp_path / "train.flags").write_text("\n".join([*tiny_runs.WORLD, *tiny_runs.GAME, *FEW]))
  (tmp_path / "judge.flags").write_text("\n".join(BUDGET))
  monkeypatch.setenv("PYTHONPATH", str(tiny_runs.ROOT))
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
  monkeypatch.setattr(tables, "TABLES", {"small": TABLE})
  monkeypatch.setitem(recipes.TRAINING, ("a", "twin"), str(tmp_path / "train.flags"))
  monkeypatch.setitem(recipes.EVALUATION, "twin", str(tmp_path / "judge.flags"))
  command = ["--table=small", "--seeds=1", "--jobs=2", f"--data_dir={tmp_path / 'records'}", f"--cells_dir={tmp_path / 'runs'}",
             f"--results_dir={tmp_path / 'results'}"]
  assert reproduce.main(command) == 0, capsys.readouterr().out
  everyone = [*(tmp_path / "results" / "cells" / "twin").glob("*_seed0.json")]
  [int8] = [path for path in everyone if "judged_file" in report.read(path)]
  cells = {path.name.split("-")[0]: path for path in everyone if path != int8}
  assert set(cells) == {"a_basic", "a_basic_equal_data"}
  stored = {name: report.read(path) for name, path in cells.items()}
  judged = report.read(int8)
  assert judged["judged_file"]["variant"] == "int8" and set(judged["cell_seconds"]) == {"train", "export", "evaluate"}
  assert judged["anonymizer_sha256"] == stored["a_basic"]["anonymizer_sha256"]
  assert abs(judged["privacy_cmap_known"] - stored["a_basic"]["privacy_cmap_known"]) < 0.3
  for found in stored.values():
    assert {"loss", "action_loss", "privacy_loss"} <= set(found["curves"]) and {len(line) for line in found["curves"].values()} == {2}
    assert found["update_seconds"] > 0 and found["cell_seconds"]["train"] > 0
  runs = {path.name.split("-")[0]: path for path in (tmp_path / "runs" / "cells" / "twin").iterdir()}
  assert f"--init_from={runs['a_basic']}" in (runs["a_basic_equal_data"] / "flags.txt").read_text().splitlines()

  page = (tmp_path / "RESULTS.md").read_text()
  assert "3 of 3 cells are finished" in page and f"| basic_equal_data | {stored['a_basic_equal_data']['action_top1']:.3f} |" in page
  assert "action 67.3, cMAP 55.2" in page and "not in the paper" in page
  for name in ("small_twin_trade_off.png", "small_twin_curves.png"):
    assert (tmp_path / "results" / "tables" / name).stat().st_size > 5000 and f"(results/tables/{name})" in page

  before = {path: path.stat().st_mtime_ns for path in cells.values()}
  page = page.replace("# Results\n", "# Results\n\nWhat it says.\n", 1)
  (tmp_path / "RESULTS.md").write_text(page)
  assert reproduce.main(command) == 0
  assert {path: path.stat().st_mtime_ns for path in before} == before and (tmp_path / "RESULTS.md").read_text() == page
