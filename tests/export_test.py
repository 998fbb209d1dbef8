"""The export program: what it exports is what was trained, and --check finds what is wrong with an export, anywhere."""

import hashlib
import json
import pathlib
import shutil
import subprocess
import sys

import fixtures
import numpy as np
import pytest
import tensorflow as tf
import tiny_exports

from mppar_tf import checkpoints, conversion, experiment, export, export_metrics, exporting_saved_model, flagfiles, loop, options
from mppar_tf.data import records, schema
from mppar_tf.evaluation import report
from mppar_tf.on_camera import manifest as on_camera_manifest
from mppar_tf.on_camera.engine import CameraAnonymizer, Engine

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="module")
def in_this_process():
  """The child process of the conversion is the matter of exporting_test."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(conversion, "convert_apart", tiny_exports.convert_here)
    yield


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("records")
  fixtures.write_tiny_datasets(str(folder))
  return folder


def make_run(run_dir, data_dir, method_name):
  """A run folder as train leaves it, in the middle of the game, with weights that no seed gives. Returns (method, step)."""
  run = options.RunOptions(run_dir=str(run_dir), data_dir=str(data_dir), benchmark="custom", clips_records="tiny_clips",
                           private_records="tiny_images", known_attributes=("a", "b"), novel_attributes=("c",), method=method_name,
                           seed=3, deterministic=False)
  clip = options.ClipOptions(clip_frames=4, frame_skip=1, crop=16)
  model = options.ModelOptions(anonymizer_size="tiny", recognizer_size="tiny", attacker_size="tiny",
                               training_attackers=("mobilenet_v2_0.35", "mobilenet_v2_0.5"), test_attackers=("resnet_v1_50",))
  train = options.TrainOptions(sets_every=2, privacy_batch=4, seed=3)
  built = experiment.build(run, clip, model, train, tf.distribute.get_strategy())
  method = experiment.make_method(built, method_name)
  random = np.random.default_rng(5)
  for variable in method.models["anonymizer"].trainable_variables:
    variable.assign(variable + random.normal(0, 0.2, variable.shape))
  run_dir.mkdir(parents=True)
  flagfiles.write(run_dir / "flags.txt", run, clip, model, train, options.LoopOptions())
  saved = checkpoints.Checkpoints(run_dir / "checkpoints", loop.variables_of(method))
  saved.save(17, {"schedule": method.schedule.state(), "positions": {}})
  return method


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data_dir):
  run_dir = tmp_path_factory.mktemp("runs") / "mppar"
  return run_dir, make_run(run_dir, data_dir, "mppar")


def run_program(*arguments):
  return export.main([str(argument) for argument in arguments])


def test_exports_the_checkpoints_weights_with_their_story(trained, data_dir, tmp_path, capsys):
  run_dir, method = trained
  assert run_program(f"--run_dir={run_dir}", f"--export_dir={tmp_path / 'x'}", "--allow_unfinished", "--export_frames=6") == 0
  told = capsys.readouterr().out
  manifest = json.loads((tmp_path / "x" / "manifest.json").read_text())
  frames = np.random.default_rng(1).uniform(0, 1, (3, 16, 16, 3)).astype(np.float32)
  expected = method.anonymize(tf.constant(frames[:, None]))[:, 0].numpy()
  outputs = Engine((tmp_path / "x" / "anonymizer_float32.tflite").read_bytes()).run_all(frames)
  np.testing.assert_allclose(outputs, expected, atol=1e-4)
  assert (manifest["method"], manifest["protocol"], manifest["benchmark"], manifest["seeds"]) == ("mppar", "a", "custom", [3])
  assert manifest["flags"]["crop"] == 16 and manifest["flags"]["anonymizer_size"] == "tiny"
  assert manifest["checkpoint"] == {"step": 17, "which": "best"}
  total = hashlib.sha256(b"".join(weight.tobytes() for weight in method.models["anonymizer"].get_weights()))
  assert manifest["anonymizer"]["sha256"] == total.hexdigest()
  assert str(data_dir) not in json.dumps(manifest) and str(run_dir) not in json.dumps(manifest)
  assert manifest["statement"] == "Trained on tiny_clips and tiny_images: made up."
  assert [d["dataset"] for d in manifest["training_data"]] == ["tiny_clips", "tiny_images"]
  assert manifest["models"]["float32"]["parity"]["frames"] == 6 and manifest["metrics"] is None and "mppar_tf.evaluate" in told
  assert manifest["calibration"]["apart"] and 1 <= manifest["calibration"]["frames"] <= 128
  assert str(run_dir) not in (tmp_path / "x" / "model_card.md").read_text()
  assert run_program(f"--check={tmp_path / 'x'}") == 0
  told = capsys.readouterr().out
  assert "whole; mppar, protocol a" in told and "NOT JUDGED" in told and told.count("dB to Keras") == len(manifest["models"])


def test_compares_on_training_frames_of_both_sets(trained, data_dir):
  _, method = trained
  run = options.RunOptions(data_dir=str(data_dir), benchmark="custom", clips_records="tiny_clips", private_records="tiny_images",
                           known_attributes=("a", "b"), protocol="c", deterministic=False)
  built = experiment.build(run, options.ClipOptions(clip_frames=4, frame_skip=1, crop=16), options.ModelOptions(
      anonymizer_size="tiny", recognizer_size="tiny", attacker_size="tiny", training_attackers=("mobilenet_v2_0.35", "mobilenet_v2_0.5")),
                           options.TrainOptions(sets_every=2, privacy_batch=4), tf.distribute.get_strategy())
  frames = export.training_frames(built, method, options.ExportOptions(export_frames=6, calibration_frames=4), "fail")
  assert frames.shape == (10, 16, 16, 3) and frames.dtype == np.float32
  assert len(np.unique(frames.reshape(10, -1), axis=0)) == 10  # none twice: what int8 is calibrated on is not what it is compared on
  split = records.open_split(str(data_dir / "tiny_images"), "train")
  raw = next(iter(records.read(split)))[1].numpy()
  first = schema.decode_image(raw, split.manifest.header)
  pixels = tf.io.decode_jpeg(first.pixels).numpy() if isinstance(first.pixels, bytes) else first.pixels
  assert np.abs(frames[1] * 255 - pixels).max() <= 1
  many = export.training_frames(built, method, options.ExportOptions(export_frames=6, calibration_frames=10**6), "fail")
  assert 10 < len(many) < 1000
  np.testing.assert_array_equal(many[:10], frames)
  with pytest.raises(options.OptionError, match="--export_frames=1000 leaves none"):
    export.training_frames(built, method, options.ExportOptions(export_frames=1000), "fail")


def results_of(step=17, **more):
  """A results file as an evaluation writes it, cut down."""
  side = {"action_top1": 0.5, "privacy_cmap_novel": 0.4}
  privacy = lambda precision: {"average_precision": {"c": precision}, "attackers": {"resnet_v1_50": {
      "cmap_novel": precision, "training_accuracy": 0.75, "best_step": 3}}, "by_video": {}}
  return {"format": report.FORMAT, "checkpoint": "last", "checkpoint_step": step, "known": ["a"], "seed": 3, "judged_split": "test",
          "flags": ["--seed=3", "--crop=16"],
          "budget": {"attack_steps": 9, "polish_steps": 2}, "raw": {**side, "privacy": privacy(0.9)},
          "chance": {"action_top1": 0.1, "average_precision": {"c": 0.3}}, "privacy": privacy(0.6), **side, **more}


@pytest.mark.parametrize("step, sha256, told, where", [
    (17, "own", True, "in the manifest"), (17, None, True, "in the manifest"),
    (16, "own", False, "left out, mppar_tf.evaluate judged step 16 (--checkpoint=last) and this is step 17 (--checkpoint=best)"),
    (17, "other", False, "left out, mppar_tf.evaluate judged other weights of step 17, a training of its own (--checkpoint=best)")])
def test_metrics_of_this_checkpoint_alone_are_told(tmp_path, step, sha256, told, where):
  described = {"checkpoint": {"step": 17, "which": "best"}, "anonymizer": {"sha256": "own"}}
  assert export_metrics.where_they_are(tmp_path, described) == "none, mppar_tf.evaluate has not judged this run"
  report.write(tmp_path / "results.json", results_of(step, **({"anonymizer_sha256": sha256} if sha256 else {})))
  found = export_metrics.of_checkpoint(tmp_path, described)
  assert export_metrics.where_they_are(tmp_path, described) == where
  side = {"action_top1": 0.5, "privacy_cmap_novel": 0.4}
  expected = {"anonymized": side, "raw": side, "chance": {"action_top1": 0.1}, "budget": {"attack_steps": 9, "polish_steps": 2},
              "judged": {"split": "test", "seed": 3, "pixels": [16, 16]},
              "attackers": {"resnet_v1_50": {"cmap_novel": 0.6, "training_accuracy": 0.75}},
              "average_precision": {"c": {"anonymized": 0.6, "raw": 0.9, "chance": 0.3, "known": False}}}
  assert found == (expected if told else None)


def test_figures_of_the_very_file_are_added_to_the_manifest_and_no_others(trained, whole, tmp_path, capsys):
  run_dir, _ = trained
  folder = tmp_path / "x"
  shutil.copytree(whole, folder)
  before = json.loads((folder / "manifest.json").read_text())
  sha256 = {variant: before["files"][entry["file"]]["sha256"] for variant, entry in before["models"].items()}
  add = (f"--run_dir={run_dir}", f"--export_dir={folder}", "--add_metrics")
  written = {"results_int8.json": results_of(action_top1=0.25, judged_file={"sha256": sha256["int8"]}),
             "results_dynamic_int8.json": results_of(judged_file={"sha256": sha256["float16"]}),  # of another file
             "results.json": results_of(anonymizer_sha256=before["anonymizer"]["sha256"], action_top1=0.75)}
  try:
    for name, results in written.items():
      report.write(run_dir / name, results)
    assert run_program(*add) == 0
    told = {line.split(":")[0].strip(): line for line in capsys.readouterr().out.splitlines()}
    (folder / "anonymizer_float16.tflite").write_bytes(b"damaged")
    assert run_program(*add) == 0
  finally:
    for name in written:
      (run_dir / name).unlink()
  assert "in the manifest" in told["int8"] and "in the manifest" in told["the network"]
  assert sha256["float16"] in told["dynamic_int8"] and sha256["dynamic_int8"] in told["dynamic_int8"]
  assert "--judged_variant=float16" in told["float16"]
  after = json.loads((folder / "manifest.json").read_text())
  assert after["models"]["int8"]["metrics"]["anonymized"]["action_top1"] == 0.25
  assert after["metrics"]["anonymized"]["action_top1"] == 0.75
  assert [name for name, entry in after["models"].items() if "metrics" in entry] == ["int8"]
  assert {name: value for name, value in after["files"].items() if name != "model_card.md"} == {
      name: value for name, value in before["files"].items() if name != "model_card.md"}
  card = (folder / "model_card.md").read_text()
  assert "**Judged**" in card and "**NOT JUDGED as files:** float32, float16, dynamic_int8." in card
  capsys.readouterr()
  assert run_program(f"--check={folder}") == 3  # figures were added, yet no hash was made anew: the damage is still seen
  err = capsys.readouterr().err
  assert "anonymizer_float16.tflite" in err and "model_card" not in err


@pytest.mark.parametrize("size, here", [((), True), (("--export_height=16", "--export_width=20"), False)], ids=["its own", "another"])
def test_figures_of_the_runs_crop_are_of_no_other_size(trained, tmp_path, capsys, size, here):
  run_dir, _ = trained
  folder = tmp_path / "x"
  try:
    report.write(run_dir / "results.json", results_of())
    assert run_program(f"--run_dir={run_dir}", f"--export_dir={folder}", "--allow_unfinished", "--export_variants=float32", *size) == 0
    said = [capsys.readouterr().out]
    first = json.loads((folder / "manifest.json").read_text())
    on_camera_manifest.write(folder, first | {"metrics": first["metrics"] or first["metrics_of_another_size"]})  # as one of older times
    assert run_program(f"--run_dir={run_dir}", f"--export_dir={folder}", "--add_metrics") == 0
    said.append(capsys.readouterr().out)
  finally:
    (run_dir / "results.json").unlink()
  for manifest in (first, json.loads((folder / "manifest.json").read_text())):
    figures = manifest["metrics" if here else "metrics_of_another_size"]
    assert figures["judged"]["pixels"] == [16, 16] and figures["anonymized"]["action_top1"] == 0.5
    assert ("metrics_of_another_size" not in manifest) if here else (manifest["metrics"] is None)
  card = (folder / "model_card.md").read_text()
  assert ("**Judged**" in card, "**NOT JUDGED at 16x20 pixels.**" in card) == (here, not here)
  for told in said:
    assert ("in the manifest\n" in told, "NOT JUDGED at 16x20 pixels: mppar_tf.evaluate judged 16x16 pixels" in told) == (here, not here)
  assert run_program(f"--check={folder}") == 0
  assert ("NOT JUDGED at 16x20 pixels" in capsys.readouterr().out) == (not here)


def test_another_size_is_exported_and_an_impossible_one_refused(trained, tmp_path, capsys):
  run_dir, method = trained
  common = (f"--run_dir={run_dir}", "--allow_unfinished", "--export_variants=float32")
  assert run_program(*common, f"--export_dir={tmp_path / 'x'}", "--export_height=12", "--export_width=20") == 0
  frames = np.random.default_rng(1).uniform(0, 1, (2, 12, 20, 3)).astype(np.float32)
  outputs = Engine((tmp_path / "x" / "anonymizer_float32.tflite").read_bytes()).run_all(frames)
  np.testing.assert_allclose(outputs, method.models["anonymizer"](frames).numpy(), atol=1e-4)
  assert run_program(*common, f"--export_dir={tmp_path / 'y'}", "--export_height=13") == 3
  assert "13x16" in capsys.readouterr().err and not (tmp_path / "y").exists()


@pytest.mark.parametrize("name, facts, claims", [
    ("downsample_4", {"anonymizer": False, "private_labels": False, "attackers": []}, "No training taught it"),
    ("spact", {"anonymizer": True, "private_labels": False, "attackers": []}, "No private label was read"),
    ("grl", {"anonymizer": True, "private_labels": True, "attackers": ["mobilenet_v2_0.35"]}, "remove what tells private attributes")])
def test_the_card_of_a_method_says_what_that_method_does(data_dir, tmp_path, name, facts, claims):
  make_run(tmp_path / "run", data_dir, name)
  report.write(tmp_path / "run" / "results.json", results_of())
  assert run_program(f"--run_dir={tmp_path / 'run'}", f"--export_dir={tmp_path / 'x'}", "--allow_unfinished",
                     "--export_variants=float32") == 0
  manifest, card = json.loads((tmp_path / "x" / "manifest.json").read_text()), (tmp_path / "x" / "model_card.md").read_text()
  assert manifest["trained"] == facts and manifest["anonymizer"]["name"] == ("downsample_4" if name == "downsample_4" else "johnson")
  assert claims in card and ("worked against" in card) == facts["private_labels"]
  assert ("mobilenet_v2_0.35" in card, "mobilenet_v2_0.5" in card) == (name == "grl", False)
  assert ("Trained on" in card) == facts["anonymizer"]


def test_the_committed_export_is_whole_as_it_stands(capsys):
  assert run_program(f"--check={ROOT / 'saved_models' / 'a' / 'mppar'}") == 0
  assert "[1, 32, 32, 3], judged" in capsys.readouterr().out


def test_what_cannot_be_exported_says_why(trained, data_dir, tmp_path, capsys):
  run_dir, _ = trained
  assert run_program(f"--run_dir={run_dir}", f"--export_dir={tmp_path / 'x'}") == 2
  assert "--allow_unfinished" in capsys.readouterr().err
  flags = (run_dir / "flags.txt").read_text()
  (tmp_path / "raw").mkdir()
  (tmp_path / "raw" / "flags.txt").write_text(flags.replace("--method=mppar", "--method=raw"))
  assert run_program(f"--run_dir={tmp_path / 'raw'}", f"--export_dir={tmp_path / 'x'}") == 2
  assert "method raw is not exported" in capsys.readouterr().err
  assert run_program(f"--run_dir={tmp_path / 'nowhere'}") == 2
  assert "no flags.txt" in capsys.readouterr().err
  assert run_program(f"--run_dir={run_dir}", f"--export_dir={tmp_path / 'x'}", "--add_metrics") == 3
  assert "no readable manifest.json" in capsys.readouterr().err
  for wrong, word in ((("--export_variants=int8",), "float32 must be one"), (("--force_variants=float32",), "--force_variants=float32"),
                      (("--export_variants=float32", "--force_variants=int8"), "--force_variants=int8"),
                      (("--force_variants=int4",), "'int4' is not one of float32, float16, dynamic_int8, int8")):
    assert run_program(f"--run_dir={run_dir}", *wrong) == 2
    assert word in (told := capsys.readouterr().err.strip()) and len(told.splitlines()) == 1
  assert run_program("--check=x", "--add_metrics") == 2
  assert "give one of them" in capsys.readouterr().err
  assert not (tmp_path / "x").exists()


def test_a_method_that_does_more_than_its_network_is_refused(trained):
  from mppar_tf import exporting
  _, method = trained
  frames = tiny_exports.pictures01(2)
  export.check_same(method, frames)

  class Blurred:
    models = method.models
    anonymize = staticmethod(lambda frames: 0.98 * method.anonymize(frames))

  with pytest.raises(exporting.ExportRefused, match="differ from its anonymizer network"):
    export.check_same(Blurred, frames)


@pytest.fixture(scope="module")
def whole(trained, tmp_path_factory):
  """An export to be copied and damaged."""
  run_dir, _ = trained
  folder = tmp_path_factory.mktemp("exports") / "whole"
  # Random weights have feature maps that are nearly flat: int8 is worse there than on any trained network seen.
  assert run_program(f"--run_dir={run_dir}", f"--export_dir={folder}", "--allow_unfinished", "--force_variants=int8") == 0
  return folder


def test_the_camera_runs_every_variant_of_an_export(whole, trained):
  frame = tiny_exports.pictures(1, 16, 16)[0]
  expected = 255 * np.asarray(trained[1].models["anonymizer"](frame[None].astype(np.float32) / 255))[0]
  for variant, levels in (("float32", 0.6), ("float16", 12), ("dynamic_int8", 25), ("int8", None)):
    own = 255 * Engine((whole / f"anonymizer_{variant}.tflite").read_bytes())(frame.astype(np.float32) / 255)
    with CameraAnonymizer(whole, variant=variant) as camera:
      safe = camera(frame)
    assert np.abs(safe - own).max() <= 0.51 and (levels is None or np.abs(safe - expected).max() <= levels)


def test_the_camera_program_takes_every_variant():
  assert options.VARIANTS() == list(conversion.VARIANTS) == list(options.ExportOptions().export_variants)
  for variant in options.VARIANTS():
    flags = flagfiles.define(options.CameraOptions)
    flags(["camera", "--model=x", "--source=y", "--sink=null", f"--variant={variant}"])
    assert flagfiles.read(options.CameraOptions, flags).variant == variant


@pytest.mark.parametrize("how, word", [
    ("flip", "SHA-256"), ("missing", "No such file"), ("stray", "not listed"), ("identity", "identity-like"), ("card", "model_card.md"),
    ("swapped", "differs from Keras on the built-in pictures"), ("other ends", "the manifest says"),
    ("no reference", "no reference can be read"),
    ("other network", "saved_model: differs from Keras")])
def test_check_names_each_problem_in_a_line(whole, tmp_path, capsys, how, word):
  folder = tmp_path / "x"
  shutil.copytree(whole, folder)
  if how == "flip":
    content = bytearray((folder / "saved_model" / "saved_model.pb").read_bytes())
    content[100] ^= 1
    (folder / "saved_model" / "saved_model.pb").write_bytes(content)
  elif how == "missing":
    (folder / "anonymizer_float16.tflite").unlink()
  elif how == "stray":
    (folder / "saved_model" / "assets.extra").write_bytes(b"x")
  elif how == "card":
    (folder / "model_card.md").write_text("# Protects everybody\n")
  elif how in ("swapped", "other ends", "no reference", "other network"):
    described = json.loads((folder / "manifest.json").read_text())
    if how == "swapped":  # its hash is right, and it is no worse anonymizer: only the reference knows that it is another one
      content = conversion.convert(conversion.freeze(tiny_exports.anonymizer(), 16, 16), 16, 16, "float32")
      (folder / "anonymizer_float32.tflite").write_bytes(content)
    elif how == "other ends":
      described["models"]["dynamic_int8"]["file"] = "anonymizer_int8.tflite"
    elif how == "no reference":
      (folder / "reference.npz").write_bytes(b"PK")
    else:
      shutil.rmtree(folder / "saved_model")
      exporting_saved_model.write(tiny_exports.anonymizer(), folder / "saved_model", 16, 16)
    on_camera_manifest.write(folder, described | {"files": on_camera_manifest.list_files(folder)})
  else:
    folder = tiny_exports.write(tmp_path / "identity", tiny_exports.not_anonymizing()["identity-like"])
  capsys.readouterr()
  assert run_program(f"--check={folder}") == 3
  said = capsys.readouterr().err.splitlines()
  assert all(line.startswith("export: ") for line in said if not line.startswith(("INFO", "WARNING")))
  assert any(word in line for line in said)


def test_check_of_the_program_needs_no_tensorflow(tmp_path):
  folder = tiny_exports.write(tmp_path / "x", tiny_exports.anonymizer())
  code = ("import sys\nsys.modules['tensorflow'] = sys.modules['keras'] = None\nfrom mppar_tf import export\n"
          "sys.exit(export.main(['--check=' + sys.argv[1]]))")
  start = lambda *command: subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=120)
  done = start("-c", code, str(folder))
  assert done.returncode == 0 and "float32: " in done.stdout, done.stderr
  done = start("-m", "mppar_tf.export", f"--check={tmp_path / 'nowhere'}")
  assert done.returncode == 3 and done.stdout == "" and len(done.stderr.splitlines()) == 1 and "no readable manifest.json" in done.stderr
