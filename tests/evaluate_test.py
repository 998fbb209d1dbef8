"""The program from the command line on: a run is judged, judged again for nothing, interrupted and refused."""

import json
import shutil

import cv2
import numpy as np
import pytest

import fixtures
from mppar_tf import evaluate, flagfiles, options, train
from mppar_tf.data import clips, images
from mppar_tf.evaluation import report, two_fold

TRAINING = ["--benchmark=custom", "--clips_records=tiny_clips", "--private_records=tiny_images", "--known_attributes=a,b",
            "--novel_attributes=c,d", "--protocol=a", "--method=strong_blur", "--clip_frames=4", "--frame_skip=1", "--crop=16",
            "--anonymizer_size=tiny", "--recognizer_size=tiny", "--attacker_size=tiny",
            "--training_attackers=mobilenet_v2_0.5,mobilenet_v2_1.0",
            "--test_attackers=mobilenet_v1_1.0,resnet_v1_50", "--action_steps=3", "--max_steps=1", "--min_recognizer_steps=1",
            "--action_batch=2", "--privacy_batch=4", "--recognizer_batch=4", "--nodeterministic"]
BUDGET = ["--attack_steps=4", "--attack_looks=2", "--attack_batch=8", "--polish_steps=2", "--polish_batch=4", "--raw_action_steps=2",
          "--clips_per_video=2", "--evaluation_batch=5", "--sheet_frames=3"]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("world")
  fixtures.write_tiny_datasets(folder / "records")
  arguments = TRAINING + [f"--data_dir={folder / 'records'}", f"--run_dir={folder / 'run'}"]
  program = lambda: train.run(*(flagfiles.read(cls) for cls in train.PROGRAM_OPTIONS))
  assert flagfiles.main(program, train.PROGRAM_OPTIONS, "", arguments=arguments) == 0
  return folder / "run"


def _judge(run_dir, *more):
  return evaluate.main([f"--run_dir={run_dir}", *BUDGET, *more])


def test_a_run_is_judged_and_its_report_written(run_dir, monkeypatch, capsys):
  assert _judge(run_dir) == 0
  results = report.read(run_dir / "results.json")
  assert (results["method"], results["protocol"], results["benchmark"], results["seed"]) == ("strong_blur", "a", "custom", 0)
  assert set(results["privacy"]["attackers"]) == {"mobilenet_v1_1.0", "resnet_v1_50"}
  assert set(results["privacy"]["average_precision"]) == {"a", "b", "c", "d"}
  for figure in ("action_top1", "privacy_cmap_known", "privacy_cmap_novel"):
    assert 0.0 <= results[figure] <= 1.0 and 0.0 <= results["raw"][figure] <= 1.0 and 0.0 < results["chance"][figure] < 1.0
  assert results["judged_videos"] == results["promised"]["judged_videos"] == 6
  assert results["judged_items"] == results["promised"]["judged_private_records"] == 12
  assert results["budget"]["raw_action_steps"] == 2 and results["budget"]["attack_evaluate_every"] == 2
  assert f"--run_dir={run_dir}" in results["flags"] and "--method=strong_blur" in results["flags"]
  assert not (run_dir / "evaluation").exists()
  assert len(list((run_dir.parent / "raw_levels").glob("*.json"))) == 1
  table = (run_dir / "results.md").read_text()
  assert table in capsys.readouterr().out and "resnet_v1_50" in table
  for name in ("trade_off.png", "before_after.png"):
    assert np.std(cv2.imread(str(run_dir / name))) > 5

  # Nothing of it is trained again, yet another run's points can be added.
  other = run_dir.parent / "other.json"
  report.write(other, results | {"method": "other", "action_top1": 1.0})
  before = (run_dir / "trade_off.png").read_bytes()
  monkeypatch.setattr(two_fold, "evaluate", lambda *_, **__: pytest.fail("a finished evaluation was computed again"))
  assert _judge(run_dir, f"--compare={other}") == 0
  assert (run_dir / "trade_off.png").read_bytes() != before

  # The same weights in other words: a method without a best checkpoint. The file says how it was asked for the last time.
  assert _judge(run_dir, "--checkpoint=last") == 0
  again = report.read(run_dir / "results.json")
  assert again["checkpoint"] == "last" and "--checkpoint=last" in again["flags"] and again["action_top1"] == results["action_top1"]


def test_a_comparison_with_a_run_that_was_judged_otherwise_is_refused_before_anything_is_computed(run_dir, monkeypatch, capsys):
  monkeypatch.setattr(two_fold, "evaluate", lambda *_, **__: pytest.fail("an evaluation was computed for a plot that is refused"))
  (run_dir / "results.json").unlink(missing_ok=True)
  other = run_dir.parent / "otherwise.json"
  attackers = {"mobilenet_v1_1.0": {}, "resnet_v1_50": {}}
  judged = {"format": report.FORMAT, "method": "basic", "protocol": "a", "benchmark": "custom", "seed": 1, "judged_split": "test",
            "privacy": {"attackers": attackers}, "flags": ["--run_dir=runs/basic_1"]}
  for changes, told in (({"budget": {"attack_steps": 5, "polish_steps": 2}}, "attack_steps 4 and 5"),
                        ({"privacy": {"attackers": {"resnet_v1_50": {}}}}, "attackers mobilenet_v1_1.0, resnet_v1_50 and resnet_v1_50"),
                        ({"facts": {"clips": "0123"}}, " and 0123"), ({"judged_split": "validation"}, "judged_split test and validation")):
    report.write(other, judged | changes)
    assert _judge(run_dir, f"--compare={other}") == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert f"strong_blur, seed 0 ({run_dir}) and basic, seed 1 (runs/basic_1) do not share one plot: " in line and line.endswith(told)
  assert not (run_dir / "results.json").exists() and not (run_dir / "evaluation").exists()


def test_another_budget_or_other_weights_are_another_evaluation(run_dir, monkeypatch):
  keys = []

  def stop(*_, work_dir, **__):
    keys.append(work_dir.name)
    raise two_fold.metrics.MetricError("attribute 'a' has no positive")
  monkeypatch.setattr(two_fold, "evaluate", stop)
  (run_dir / "results.json").unlink(missing_ok=True)
  assert _judge(run_dir) == _judge(run_dir) == _judge(run_dir, "--attack_steps=5") == evaluate.NOT_COMPUTABLE
  assert _judge(run_dir, "--test_attackers=inception_v1") == evaluate.NOT_COMPUTABLE
  assert keys[0] == keys[1] and len(set(keys)) == 3
  assert not (run_dir / "results.json").exists()


def test_a_recipe_is_tuned_without_a_look_at_test(run_dir, monkeypatch):
  read = set()
  streams = ((clips, "training_clips"), (clips, "evaluation_clips"), (images, "training_private"), (images, "evaluation_private"))
  for module, name in streams:
    noted = lambda split, *more, _original=getattr(module, name), **named: read.add(split.split) or _original(split, *more, **named)
    monkeypatch.setattr(module, name, noted)
  assert _judge(run_dir, "--judged_split=validation") == 0
  assert read == {"train", "validation"}
  results = report.read(run_dir / "results_validation.json")
  assert results["judged_split"] == "validation" and "privacy_cmap_novel" not in results and "privacy_cmap_novel" not in results["raw"]
  assert results["judged_videos"] == results["promised"]["judged_videos"] == 6
  assert set(results["privacy"]["attackers"]) == {"mobilenet_v2_0.5", "mobilenet_v2_1.0"}
  assert set(results["privacy"]["average_precision"]) == {"a", "b"}
  for name in ("results_validation.md", "trade_off_validation.png", "before_after_validation.png"):
    assert (run_dir / name).exists()


@pytest.fixture
def asked(monkeypatch):
  """What evaluations are asked for, none of which is computed: (known, novel, attackers, unfinished work's folder)."""
  found = []

  def stop(anonymize, recognizer, action, privacy, *_, work_dir, **__):
    found.append((privacy.known, privacy.novel, list(privacy.builders), work_dir.parent.name))
    raise two_fold.metrics.MetricError("stopped here")
  monkeypatch.setattr(two_fold, "evaluate", stop)
  return found


def test_a_run_is_judged_under_another_protocol_beside_its_own_results(run_dir, capsys):
  (run_dir / "results.json").write_text("its own")
  assert _judge(run_dir, "--protocol=c") == 0
  assert "strong_blur on custom, protocol c (trained under a), seed 0" in capsys.readouterr().out
  assert (run_dir / "results.json").read_text() == "its own"
  (run_dir / "results.json").unlink()
  results = report.read(run_dir / "results_protocol_c.json")
  assert (results["protocol"], results["trained_protocol"], results["known"], results["novel"]) == ("c", "a", ["a", "b"], [])
  for figures in (results, results["raw"], results["chance"]):
    assert 0 <= figures["privacy_cmap_known"] <= 1 and "privacy_cmap_novel" not in figures
  assert set(results["privacy"]["average_precision"]) == {"a", "b"}
  table = (run_dir / "results_protocol_c.md").read_text()
  assert "protocol c (trained under a)" in table and "known cMAP" in table and "novel" not in table
  for name in ("trade_off_protocol_c.png", "before_after_protocol_c.png"):
    assert np.std(cv2.imread(str(run_dir / name))) > 5


@pytest.mark.parametrize("flags, expected", [
    (["--protocol=a"], (("a", "b"), ("c", "d"), ["mobilenet_v1_1.0", "resnet_v1_50"], "evaluation")),
    (["--protocol", "d", "--test_attackers=mobilenet_v2_1.0"], (("a", "b"), (), ["mobilenet_v2_1.0"], "evaluation_protocol_d")),
    (["--protocol=b", "--test_attackers=mobilenet_v2_0.5", "--novel_attributes=d"],
     (("a", "b"), ("d",), ["mobilenet_v2_0.5"], "evaluation_protocol_b")),
    (["--protocol=c", "--judged_split=validation"],
     (("a", "b"), (), ["mobilenet_v2_0.5", "mobilenet_v2_1.0"], "evaluation_protocol_c_validation"))])
def test_a_protocol_decides_what_is_judged_and_by_whom(run_dir, asked, flags, expected):
  assert _judge(run_dir, *flags) == evaluate.NOT_COMPUTABLE
  assert asked == [expected]


def test_runs_to_compare_with_are_looked_for_where_their_results_under_this_protocol_are(tmp_path):
  for protocol in "ac":
    (tmp_path / protocol).mkdir()
    (tmp_path / protocol / "flags.txt").write_text(f"--data_dir=x\n--protocol={protocol}\n")
  (tmp_path / "published").mkdir()
  places = {("a", "test", "a"): "results.json", ("a", "test", "c"): "results_protocol_c.json", ("c", "test", "c"): "results.json",
            ("a", "validation", "a"): "results_validation.json", ("published", "test", "c"): "results.json"}
  for (folder, split, judged), name in places.items():
    assert evaluate.results_path(str(tmp_path / folder), split, judged) == tmp_path / folder / name
  assert str(evaluate.results_path("own.json", "test", "c")) == "own.json"


def test_an_unfinished_run_is_refused_in_one_line(run_dir, capsys, tmp_path):
  copy = tmp_path / "run"
  shutil.copytree(run_dir, copy)
  for state in copy.glob("checkpoints/*/state.json"):
    content = json.loads(state.read_text())
    content["schedule"]["stage"], content["schedule"]["turn"] = 0, 1
    state.write_text(json.dumps(content))
  assert _judge(copy) == 2
  told = capsys.readouterr().err.strip().splitlines()
  assert len(told) == 1 and "stands at step" in told[0] and "--allow_unfinished" in told[0]
  shutil.rmtree(copy / "checkpoints")
  assert _judge(copy) == 2
  assert "no last checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize("more, words", [
    (["--gamma=3"], "--gamma belongs to the run"), (["--noflip"], "--noflip belongs to the run"),
    (["--crop", "24"], "--crop belongs to the run"), (["--virtual_devices=2"], "--virtual_devices belongs to the run"),
    (["--protocol=identity"], "--protocol=identity judges identity, but --benchmark=custom labels attributes"),
    (["--protocol=d"], "architectures, mobilenet_v2_0.5, mobilenet_v2_1.0, but not mobilenet_v1_1.0, resnet_v1_50"),
    (["--protocol=c", "--novel_attributes=c"], "--novel_attributes=c: protocol c judges the known labels alone"),
    (["--protocol=z"], "a|b|c|d|identity"),
    (["--compare=nowhere.json"], "nowhere.json is no results file"), (["--test_attackers=mobilenet_v2_0.5"], "stand on both sides"),
    (["--checkpoint=newest"], "best|last"), (["--novel_attributes=c,zebra"], "zebra")])
def test_what_does_not_fit_the_run_is_refused_in_one_line(run_dir, capsys, more, words):
  assert _judge(run_dir, *more) == 2
  told = capsys.readouterr().err.strip().splitlines()
  assert words in told[-1] and len(told) == 1


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
  assert evaluate.main([]) == evaluate.main([f"--run_dir={tmp_path}"]) == 2
  assert "--run_dir is required" in (err := capsys.readouterr().err) and "no flags.txt there" in err


def test_flags_of_the_run_come_first_and_own_ones_win(tmp_path):
  (tmp_path / "flags.txt").write_text("--data_dir=a\n--gamma=7\n")
  own = ["--run_dir", str(tmp_path), "--data_dir=b"]
  assert evaluate.with_flags_of_run(own) == ["--data_dir=a", "--gamma=7", *own]
  (tmp_path / "flags.txt").write_text("--protocol=b\n--novel_attributes=x\n")
  with pytest.raises(options.OptionError, match="--protocol belongs to the run"):  # for who exports it, say
    evaluate.with_flags_of_run([*own, "--protocol=a"])
  lines = {protocol: evaluate.with_flags_of_run([*own, f"--protocol={protocol}"], ("data_dir", "run_dir", "protocol"))[:-4]
           for protocol in "ac"}
  assert lines == {"a": ["--protocol=b", "--novel_attributes=x"], "c": ["--protocol=b"]}


def test_every_method_gets_the_same_budget_from_the_same_flags():
  chosen, settings = options.EvaluationOptions(attack_steps=100, attack_looks=3, polish_steps=50), options.TrainOptions(
      action_steps=400, max_steps=200, min_recognizer_steps=1, max_recognizer_steps=2, action_lr=2e-3)
  budget = evaluate.budget_of(chosen, settings)
  assert (budget.raw_action_steps, budget.raw_action_learning_rate, budget.attack_evaluate_every) == (400 + 200 + 50, 2e-3, 34)
  assert evaluate.budget_of(options.EvaluationOptions(raw_action_steps=7), settings).raw_action_steps == 7
  default = evaluate.budget_of(options.EvaluationOptions(), settings)
  for name, value in {"attack_lr": 1e-4, "polish_lr": 1e-4, "clips_per_video": 9, "polish_steps": 3}.items():
    assert evaluate.budget_of(options.EvaluationOptions(**{name: value}), settings) != default


def test_levels_on_raw_frames_lie_beside_local_records(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

  def place(data_dir, chosen=None):
    return evaluate.raw_levels_dir(options.EvaluationOptions(raw_levels_dir=chosen), options.RunOptions(data_dir=data_dir))
  assert place(str(tmp_path / "records")) == tmp_path / "raw_levels"
  assert place("s3://bucket/records") == tmp_path / "cache" / "mppar_tf" / "raw_levels"
  assert place("s3://bucket/records", "here") == options.pathlib.Path("here")


def test_obfuscation_is_held_against_frames_as_they_are_stored(tmp_path, run_dir, capsys):
  """In the records of `run_dir`, once more with boxes: everything else is equal, and so the raw level must be."""
  fixtures.write_tiny_datasets(tmp_path / "records", body_boxes=np.array([[0.0, 0.0, 1.0, 0.5]]))
  results = {}
  for method in ("raw", "box_blackening_body"):
    arguments = TRAINING + [f"--method={method}", f"--data_dir={tmp_path / 'records'}", f"--run_dir={tmp_path / method}"]
    program = lambda: train.run(*(flagfiles.read(cls) for cls in train.PROGRAM_OPTIONS))
    assert flagfiles.main(program, train.PROGRAM_OPTIONS, "", arguments=arguments) == 0
    assert _judge(tmp_path / method) == 0
    results[method] = report.read(tmp_path / method / "results.json")
  assert results["raw"]["raw"] == results["box_blackening_body"]["raw"] and len(list((tmp_path / "raw_levels").glob("*.json"))) == 1
  assert "obfuscation" not in results["raw"]
  told = results["box_blackening_body"]["obfuscation"]
  assert told["region"] == "box" and told["missed"]["clips, test"] == {"records": 6, "frames": 36, "frames_without": 0}
  assert "no body to hide, whoever may be there. clips, train: 0 of 72 frames" in capsys.readouterr().out
  sheet = cv2.imread(str(tmp_path / "box_blackening_body" / "before_after.png"))
  assert (sheet == 0).all(axis=-1).mean() > 2 * (cv2.imread(str(tmp_path / "raw" / "before_after.png")) == 0).all(axis=-1).mean()

  refused = TRAINING + ["--method=box_blackening_body", f"--data_dir={run_dir.parent / 'records'}", f"--run_dir={tmp_path / 'refused'}"]
  assert flagfiles.main(program, train.PROGRAM_OPTIONS, "", arguments=refused) == 2
  assert "tiny_clips: a record of split 'train' does not tell where each body is (body_boxes)" in capsys.readouterr().err
