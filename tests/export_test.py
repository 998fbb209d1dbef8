"""The export program: what it exports is what was trained, and --check finds what is wrong with an export, anywhere."""

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

from mppar_tf import checkpoints, conversion, experiment, export, flagfiles, loop, options
from mppar_tf.data import records, schema
from mppar_tf.evaluation import report
from mppar_tf.on_camera.engine import CameraAnonymizer, Engine

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="module")
def in_this_process():
  """The child process of the conversion is the matter of exporting_test."""
  def convert(graph, height, width, folder):
    files = [folder / conversion.file_name(variant) for variant in conversion.VARIANTS]
    for variant, file in zip(conversion.VARIANTS, files):
      file.write_bytes(conversion.convert(graph, height, width, variant))
    return files

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(conversion, "convert_apart", convert)
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
  assert str(data_dir) not in json.dumps(manifest) and str(run_dir) not in json.dumps(manifest)
  assert manifest["statement"] == "Trained on tiny_clips and tiny_images: made up."
  assert [d["dataset"] for d in manifest["training_data"]] == ["tiny_clips", "tiny_images"]
  assert manifest["models"]["float32"]["parity"]["frames"] == 6 and manifest["metrics"] is None and "mppar_tf.evaluate" in told
  assert run_program(f"--check={tmp_path / 'x'}") == 0
  assert "whole; mppar, protocol a" in capsys.readouterr().out


def test_compares_on_training_frames_of_both_sets(trained, data_dir):
  _, method = trained
  run = options.RunOptions(data_dir=str(data_dir), benchmark="custom", clips_records="tiny_clips", private_records="tiny_images",
                           known_attributes=("a", "b"), protocol="c", deterministic=False)
  built = experiment.build(run, options.ClipOptions(clip_frames=4, frame_skip=1, crop=16), options.ModelOptions(
      anonymizer_size="tiny", recognizer_size="tiny", attacker_size="tiny", training_attackers=("mobilenet_v2_0.35", "mobilenet_v2_0.5")),
                           options.TrainOptions(sets_every=2, privacy_batch=4), tf.distribute.get_strategy())
  frames = export.training_frames(built, method, options.ExportOptions(export_frames=6), "fail")
  assert frames.shape == (6, 16, 16, 3) and frames.dtype == np.float32
  split = records.open_split(str(data_dir / "tiny_images"), "train")
  raw = next(iter(records.read(split)))[1].numpy()
  first = schema.decode_image(raw, split.manifest.header)
  pixels = tf.io.decode_jpeg(first.pixels).numpy() if isinstance(first.pixels, bytes) else first.pixels
  assert np.abs(frames[3] * 255 - pixels).max() <= 1


@pytest.mark.parametrize("step, told, where", [
    (17, True, "in the manifest"),
    (16, False, "left out, mppar_tf.evaluate judged step 16 (--checkpoint=last) and this is step 17 (--checkpoint=best)")])
def test_metrics_of_this_checkpoint_alone_are_told(trained, step, told, where):
  run_dir, _ = trained
  assert export.where_metrics_are(run_dir, 17, "best") == "none, mppar_tf.evaluate has not judged this run"
  side = {"action_top1": 0.5, "privacy_cmap_novel": 0.4, "by_video": {}}
  report.write(run_dir / "results.json", {"format": report.FORMAT, "checkpoint": "last", "checkpoint_step": step, "raw": side,
                                          "chance": {"action_top1": 0.1}, "budget": {"attack_steps": 9}, **side})
  try:
    found = export.metrics(run_dir, 17)
    assert export.where_metrics_are(run_dir, 17, "best") == where
  finally:
    (run_dir / "results.json").unlink()
  expected = {"anonymized": {"action_top1": 0.5, "privacy_cmap_novel": 0.4}, "raw": {"action_top1": 0.5, "privacy_cmap_novel": 0.4},
              "chance": {"action_top1": 0.1}, "budget": {"attack_steps": 9}}
  assert found == (expected if told else None)


def test_another_size_is_exported_and_an_impossible_one_refused(trained, tmp_path, capsys):
  run_dir, method = trained
  common = (f"--run_dir={run_dir}", "--allow_unfinished")
  assert run_program(*common, f"--export_dir={tmp_path / 'x'}", "--export_height=12", "--export_width=20") == 0
  frames = np.random.default_rng(1).uniform(0, 1, (2, 12, 20, 3)).astype(np.float32)
  outputs = Engine((tmp_path / "x" / "anonymizer_float32.tflite").read_bytes()).run_all(frames)
  np.testing.assert_allclose(outputs, method.models["anonymizer"](frames).numpy(), atol=1e-4)
  assert run_program(*common, f"--export_dir={tmp_path / 'y'}", "--export_height=13") == 3
  assert "13x16" in capsys.readouterr().err and not (tmp_path / "y").exists()


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
  assert run_program(f"--run_dir={run_dir}", f"--export_dir={folder}", "--allow_unfinished") == 0
  return folder


def test_the_camera_runs_every_variant_of_an_export(whole, trained):
  frame = tiny_exports.pictures(1, 16, 16)[0]
  expected = 255 * np.asarray(trained[1].models["anonymizer"](frame[None].astype(np.float32) / 255))[0]
  for variant, levels in (("float32", 0.6), ("float16", 12)):
    with CameraAnonymizer(whole, variant=variant) as camera:
      assert np.abs(camera(frame) - expected).max() <= levels


@pytest.mark.parametrize("how, word", [
    ("flip", "SHA-256"), ("missing", "No such file"), ("stray", "not listed"), ("identity", "identity-like")])
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
