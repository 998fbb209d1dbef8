"""Written is what is read back; the table tells every figure; the pictures hold what they should."""

import dataclasses
import json
import subprocess

import cv2
import numpy as np
import pytest

from mppar_tf.evaluation import report, two_fold

BUDGET = two_fold.Budget(10, 1e-3, 5, 4, 1e-3, 8, 1e-3, 2, 4)


def _privacy(known, novel):
  own = {name: {"cmap_known": known - less, "cmap_novel": novel - less,
                "average_precision": {"gender": known - less, "race": novel - less}, "training_accuracy": 0.912, "training_loss": 0.3,
                "validation": 0.777, "best_step": 40} for name, less in (("resnet", 0.0), ("mobilenet", 0.1))}
  return two_fold.PrivacyScores(known, novel, None, {"gender": known, "race": novel}, own, {}, 300)


def _results(method="mppar", seed=0, action=0.813, known=0.554, novel=0.623, **facts):
  raw = two_fold.RawLevel(0.925, 0.99, _privacy(0.871 + seed / 100, 0.846))
  chance = {"action_top1": 0.1, "cmap_known": 0.4, "cmap_novel": 0.43, "average_precision": {"gender": 0.4, "race": 0.43}}
  scores = two_fold.Scores(action, action - 0.25, 0.9, _privacy(known, novel), raw, chance, 60, {"raw": 0.0, "polish": 1.5})
  return report.compose(scores, BUDGET, method=method, protocol="a", benchmark="twin", seed=seed, known=["gender"], novel=["race"],
                        judged_split="test", **facts)


def _identity_results():
  own = {"resnet": {"identity_accuracy": 0.31, "training_accuracy": 0.5, "validation": 0.3, "best_step": 10}}
  privacy = two_fold.PrivacyScores(None, None, 0.31, {}, own, {}, 90)
  scores = two_fold.Scores(0.8, 0.7, 0.9, privacy, two_fold.RawLevel(0.9, 0.99, dataclasses.replace(privacy, identity_accuracy=0.97)),
                           {"action_top1": 0.1, "identity_accuracy": 0.12}, 60, {})
  return report.compose(scores, BUDGET, method="vita", protocol="identity", benchmark="sbu", seed=3, judged_split="test")


def test_written_is_read_back(tmp_path):
  results = _results(checkpoint="best")
  report.write(tmp_path / "results.json", results)
  assert report.read(tmp_path / "results.json") == json.loads(json.dumps(results)) == results
  assert [p.name for p in tmp_path.iterdir()] == ["results.json"]
  assert (results["privacy_cmap_known"], results["privacy_cmap_novel"], results["action_top1"]) == (0.554, 0.623, 0.813)
  assert results["chance"]["privacy_cmap_known"] == 0.4 and results["raw"]["privacy_cmap_novel"] == 0.846
  assert "identity_accuracy" not in results and results["checkpoint"] == "best"
  assert results["privacy"]["attackers"]["mobilenet"]["training_accuracy"] == 0.912
  assert results["budget"]["attack_steps"] == 10 and results["versions"]["keras"]


def test_figures_that_are_not_finite_are_not_written(tmp_path):
  with pytest.raises(ValueError):
    report.write(tmp_path / "results.json", _results(action=float("nan")))
  assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize("text, words", [("{", "no results file"), ('{"format": 99}', "results format 99, not 2")])
def test_a_file_that_is_no_result_is_told_in_one_line(tmp_path, text, words):
  (tmp_path / "results.json").write_text(text)
  with pytest.raises(report.ReportError, match=words):
    report.read(tmp_path / "results.json")
  with pytest.raises(report.ReportError, match="no results file"):
    report.read(tmp_path / "missing.json")


def test_commit_is_gits(tmp_path, monkeypatch):
  commit = report.code_commit()
  here = report.pathlib.Path(report.__file__).parent
  head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=here, check=False)
  assert commit.removesuffix("-dirty") == (head.stdout.strip() if head.returncode == 0 else "unknown")
  monkeypatch.setattr(report, "__file__", str(tmp_path / "report.py"))
  monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
  assert report.code_commit() == "unknown"


def test_the_table_tells_every_figure():
  text = report.table(_results())
  lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
  assert ["mppar", "81.3", "55.4", "62.3"] in lines
  assert ["before the polish of f^A", "56.3", "", ""] in lines
  assert ["raw frames", "92.5", "87.1", "84.6"] in lines and ["chance", "10.0", "40.0", "43.0"] in lines
  assert ["mobilenet", "91.2", "77.7", "40", "45.4", "52.3", "77.1", "74.6", "91.2"] in lines
  assert ["gender", "known", "55.4", "87.1", "40.0"] in lines and ["race", "novel", "62.3", "84.6", "43.0"] in lines
  widths = {len(line) for line in text.splitlines()[2:7]}
  assert len(widths) == 1
  identity = report.table(_identity_results())
  assert "31.0" in identity and "97.0" in identity and "12.0" in identity and "Average precision" not in identity


def _of_videos(chance):
  """Results whose test items are frames of videos; `chance`: of videos, None in a file that is older than it."""
  results = json.loads(json.dumps(_results()))
  results["privacy"]["by_video"] = {"cmap_known": 0.721, "cmap_novel": 0.733}
  results["raw"]["privacy"]["by_video"] = {"cmap_known": 0.944, "cmap_novel": 0.955}
  results["chance"] |= {"by_video": chance} if chance else {}
  return results


def test_the_leak_of_videos_stands_beside_its_own_raw_level_and_chance():
  rows = lambda text: [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
  text = report.table(_of_videos({"cmap_known": 0.611, "cmap_novel": 0.622}))
  assert "Frames averaged to videos" in text
  at = rows(text).index(["mppar", "72.1", "73.3"])
  assert rows(text)[at - 2] == ["", "known cMAP, lower is better", "novel cMAP, lower is better"]
  assert rows(text)[at + 1:at + 3] == [["raw frames", "94.4", "95.5"], ["chance", "61.1", "62.2"]]
  assert ["chance", "10.0", "40.0", "43.0"] in rows(text)

  older = rows(report.table(_of_videos(None)))
  at = older.index(["mppar", "72.1", "73.3"])
  assert older[at + 1] == ["raw frames", "94.4", "95.5"] and older[at + 2][0] == "attacker"
  assert "averaged to videos" not in report.table(_results())


def test_the_chance_of_videos_is_written_under_its_own_name():
  chance = {"action_top1": 0.1, "cmap_known": 0.4, "cmap_novel": 0.43, "by_video": {"cmap_known": 0.6, "cmap_novel": 0.7}}
  privacy = _privacy(0.5, 0.6)
  scores = two_fold.Scores(0.8, 0.7, 0.9, privacy, two_fold.RawLevel(0.9, 0.99, privacy), chance, 60, {})
  written = report.compose(scores, BUDGET, method="mppar", protocol="a", benchmark="twin", seed=0)["chance"]
  assert written == {"action_top1": 0.1, "privacy_cmap_known": 0.4, "privacy_cmap_novel": 0.43, "by_video": chance["by_video"]}


def _ink(path):
  picture = cv2.imread(str(path))
  return picture, float((picture < 250).any(axis=2).mean())


def test_the_trade_off_plot_shows_all_points(tmp_path):
  runs = [_results(method, seed, action=0.8 + 0.03 * i + seed / 100, known=0.5 + 0.05 * i + seed / 90)
          for i, method in enumerate(("basic", "mppar")) for seed in range(3)]
  report.trade_off(tmp_path / "one.png", runs[:1])
  report.trade_off(tmp_path / "all.png", runs)
  for name in ("one", "all"):
    picture, ink = _ink(tmp_path / f"{name}.png")
    assert min(picture.shape[:2]) > 300 and 0.005 < ink < 0.5
  # Matplotlib's first two colours stand for the two methods; one run draws only the first.
  orange = np.array([14, 127, 255])  # BGR
  count = lambda name: int((np.abs(_ink(tmp_path / f"{name}.png")[0].astype(int) - orange).sum(axis=2) < 30).sum())
  assert count("all") > 50 > 5 > count("one")
  report.trade_off(tmp_path / "identity.png", [_identity_results()])
  assert _ink(tmp_path / "identity.png")[1] > 0.005


def test_the_level_on_raw_frames_is_a_seeds_and_not_a_methods(tmp_path, monkeypatch):
  runs = [_results(method, seed) for method, seeds in (("basic", 2), ("mppar", 3), ("spact", 3)) for seed in range(seeds)]
  for run in runs:
    run["raw"] = run["raw"] | {"action_top1": 0.9 + run["seed"] / 100}
  drawn = []
  monkeypatch.setattr(report, "_cluster", lambda panel, points, color, marker, label: drawn.append((label, [y for _, y in points])))
  report.trade_off(tmp_path / "plot.png", runs)
  assert [points for label, points in drawn if label == "raw frames"] == [[0.9, 0.91, 0.92]] * (len(drawn) // 4)


def test_runs_that_cannot_be_compared_are_refused(tmp_path):
  without = {key: value for key, value in _results().items() if not key.startswith("privacy_")}
  for runs in ([], [without], [_results(), _identity_results()], [_results(), _results() | {"benchmark": "other"}]):
    with pytest.raises(report.ReportError, match="do not share one plot"):
      report.trade_off(tmp_path / "plot.png", runs)


FACTS = {"clips": "c1", "private": "p1", "test": "t1", "attack_batch": 64, "attacker_size": "small"}


def _changed(path, value, **facts):
  """Results of `basic` with `value` at `path` (names of keys)."""
  results = json.loads(json.dumps(_results("basic", facts=FACTS, flags=["--run_dir=runs/basic_0"], **facts)))
  inner = results
  for key in path[:-1]:
    inner = inner[key]
  inner[path[-1]] = value
  return results


@pytest.mark.parametrize("path, value, told", [
    (("budget", "attack_steps"), 300, "attack_steps 10 and 300"),
    (("budget", "raw_action_steps"), 9, "raw_action_steps 8 and 9"),
    (("budget", "clips_per_video"), 5, "clips_per_video 2 and 5"),
    (("privacy", "attackers"), {"inception": {}, "resnet": {}}, "attackers mobilenet, resnet and inception, resnet"),
    (("judged_split",), "validation", "judged_split test and validation"),
    (("facts", "clips"), "c2", "clips records c1 and c2"), (("facts", "private"), "p2", "private records p1 and p2"),
    (("facts", "test"), "t2", "test records t1 and t2"), (("facts", "attack_batch"), 8, "attack_batch 64 and 8"),
    (("facts", "attacker_size"), "paper", "attacker_size small and paper"),
    (("attacker_weights",), {"resnet": "imagenet", "mobilenet": "scratch"},
     "attacker_weights mobilenet scratch, resnet scratch and mobilenet scratch, resnet imagenet"),
    (("novel",), ["age"], "novel race and age"), (("benchmark",), "other", "benchmark twin and other"),
    (("protocol",), "c", "protocol a and c")])
def test_runs_that_were_judged_otherwise_do_not_share_a_plot(tmp_path, path, value, told):
  weights = {"resnet": "scratch", "mobilenet": "scratch"}
  ours = _results(facts=FACTS, attacker_weights=weights)
  report.trade_off(tmp_path / "plot.png", [ours, _changed(("seed",), 1, attacker_weights=weights)])
  (tmp_path / "plot.png").unlink()
  with pytest.raises(report.ReportError) as caught:
    report.trade_off(tmp_path / "plot.png", [ours, _results("spact", facts=FACTS), _changed(path, value, attacker_weights=weights)])
  assert str(caught.value) == f"mppar, seed 0 and basic, seed 0 (runs/basic_0) do not share one plot: {told}"
  assert not list(tmp_path.iterdir())


def test_all_that_differs_between_two_runs_is_told_in_one_line():
  other = _changed(("facts", "clips"), "c2", judged_file={"variant": "int8"})
  other["budget"] |= {"attack_steps": 11, "polish_steps": 5}
  with pytest.raises(report.ReportError, match=r"^mppar, seed 0 and basic, int8, seed 0 \(runs/basic_0\) do not share one plot: "
                     "attack_steps 10 and 11; polish_steps 4 and 5; clips records c1 and c2$"):
    report.comparable([_results(facts=FACTS), other])


def test_what_a_result_does_not_tell_is_no_difference(tmp_path):
  """Older files lack some of it, a benchmark without a test set of its own has no records of it; saves decide no figure."""
  older = _changed(("budget", "save_every"), 7)
  del older["budget"]["raw_action_steps"], older["facts"]["test"], older["judged_split"], older["novel"]
  bare = _results("spact") | {"budget": {"save_every": 7}, "facts": None, "privacy": {"attackers": {}}}
  report.trade_off(tmp_path / "plot.png", [_results(facts=FACTS, attacker_weights={"resnet": "scratch"}), older, bare])
  assert _ink(tmp_path / "plot.png")[1] > 0.005
  # What the first does not tell still tells the others apart.
  with pytest.raises(report.ReportError, match="test records t1 and t2"):
    report.comparable([older, _results("mppar", facts=FACTS), _results("spact", facts=FACTS | {"test": "t2"})])


def test_the_sheet_shows_frames_before_and_after(tmp_path):
  raw = np.zeros((4, 16, 16, 3), np.float32)
  raw[..., 0] = 1.0
  report.sheet(tmp_path / "sheet.png", [("clips", raw, raw[..., ::-1]), ("images", raw[:2], 1 - raw[:2])], "test")
  picture = cv2.imread(str(tmp_path / "sheet.png")).astype(int)
  share = lambda rgb: (np.abs(picture - np.array(rgb[::-1])).sum(axis=2) < 6).mean()
  assert share((255, 0, 0)) > 0.05 and share((0, 0, 255)) > 0.03 and share((0, 255, 255)) > 0.01
  assert share((255, 0, 0)) == pytest.approx(1.5 * share((0, 0, 255)), rel=0.05)  # 6 raw frames, 4 of one colour after
