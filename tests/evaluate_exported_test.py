"""A TFLite file judged in the place of f^D: the very file, of the very checkpoint, run as a camera runs it."""

import json
import shutil

import export_test
import fixtures
import numpy as np
import pytest
import tensorflow as tf
import tiny_exports

from mppar_tf import conversion, evaluate, evaluate_exported, export, options
from mppar_tf.evaluation import fitting, report
from mppar_tf.on_camera import manifest
from mppar_tf.on_camera.engine import Engine

BUDGET = ("--allow_unfinished", "--attack_steps=2", "--attack_looks=1", "--attack_batch=8", "--polish_steps=1", "--polish_batch=4",
          "--raw_action_steps=1", "--clips_per_video=1", "--evaluation_batch=5", "--sheet_frames=2", "--test_attackers=inception_v1")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  """(run folder, its method, its export of float32 and int8)."""
  folder = tmp_path_factory.mktemp("judged")
  fixtures.write_tiny_datasets(str(folder / "records"))
  method = export_test.make_run(folder / "run", folder / "records", "mppar")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(conversion, "convert_apart", tiny_exports.convert_here)
    assert export.main([f"--run_dir={folder / 'run'}", f"--export_dir={folder / 'x'}", "--allow_unfinished", "--force_variants=int8",
                        "--export_variants=float32,int8"]) == 0
  return folder / "run", method, folder / "x"


def chosen(folder, variant="int8"):
  return options.EvaluationOptions(judged_export=str(folder), judged_variant=variant)


@pytest.mark.parametrize("variant", ["float32", "int8"])
def test_clips_go_through_the_file_frame_by_frame(world, variant):
  _, method, folder = world
  anonymize, told = evaluate_exported.find(chosen(folder, variant), method, "mppar", 16, 1)
  content = (folder / f"anonymizer_{variant}.tflite").read_bytes()
  assert told == {"variant": variant, "file": f"anonymizer_{variant}.tflite", "bytes": len(content), "sha256": manifest.sha256(content)}
  clips = tiny_exports.pictures(6, 16, 16).astype(np.float32).reshape(2, 3, 16, 16, 3) / 255  # [B, T, H, W, 3]
  f_d = fitting.frozen(anonymize, tf.TensorSpec([None, 3, 16, 16, 3], tf.float32))  # as evaluation compiles it, for any batch
  expected = np.clip(Engine(content).run_all(clips.reshape(6, 16, 16, 3)), 0, 1).reshape(clips.shape)
  np.testing.assert_allclose(f_d(tf.constant(clips)), expected, atol=1e-6)
  np.testing.assert_allclose(f_d(tf.constant(clips[:1])), expected[:1], atol=1e-6)
  if variant == "float32":
    np.testing.assert_allclose(f_d(tf.constant(clips)), method.anonymize(tf.constant(clips)), atol=1e-3)


def test_nothing_is_judged_in_place_of_f_d_unless_asked(world):
  assert evaluate_exported.find(options.EvaluationOptions(), world[1], "mppar", 16, 1) is None


@pytest.mark.parametrize("how, word", [
    ("other weights", "was made from weights of SHA-256"), ("damaged", "SHA-256"), ("other size", "takes frames of 16x16 pixels"),
    ("no variant", "no variant 'float16', there: float32, int8"), ("no export", "no readable manifest.json"),
    ("a file", "is a file: give its folder"), ("other method", "is of method mppar, this run is of another")])
def test_another_export_is_refused(world, tmp_path, how, word):
  _, method, whole = world
  folder = tmp_path / "x"
  shutil.copytree(whole, folder)
  if how == "damaged":
    content = bytearray((folder / "anonymizer_int8.tflite").read_bytes())
    content[-1] ^= 1
    (folder / "anonymizer_int8.tflite").write_bytes(content)
  elif how == "other weights":
    described = manifest.read(folder)
    manifest.write(folder, described | {"anonymizer": described["anonymizer"] | {"sha256": "0" * 64}})
  elif how == "no export":
    (folder / "manifest.json").unlink()
  elif how == "a file":
    folder = folder / "anonymizer_int8.tflite"
  with pytest.raises(evaluate_exported.NotThisRuns, match=word):
    variant = "float16" if how == "no variant" else "int8"
    name, crop = "another" if how == "other method" else "mppar", 24 if how == "other size" else 16
    evaluate_exported.find(chosen(folder, variant), method, name, crop, 1)


def test_a_files_figures_stand_beside_the_runs_own_and_reach_its_manifest(world, capsys):
  run_dir, _, folder = world
  judge = [f"--run_dir={run_dir}", *BUDGET, f"--judged_export={folder}"]
  assert evaluate.main([*judge, "--judged_variant=dynamic_int8"]) == 2
  assert "no variant 'dynamic_int8'" in capsys.readouterr().err
  assert evaluate.main([*judge, "--judged_variant=int8"]) == 0
  table = capsys.readouterr().out
  results, sha256 = report.read(run_dir / "results_int8.json"), manifest.read(folder)["files"]["anonymizer_int8.tflite"]["sha256"]
  assert results["judged_file"]["sha256"] == sha256 and "mppar, int8 on custom" in table and sha256 in table
  assert not (run_dir / "results.json").exists() and (run_dir / "before_after_int8.png").exists()
  assert export.main([f"--run_dir={run_dir}", f"--export_dir={folder}", "--add_metrics"]) == 0
  entry = json.loads((folder / "manifest.json").read_text())["models"]
  assert entry["int8"]["metrics"]["anonymized"]["privacy_cmap_novel"] == results["privacy_cmap_novel"]
  assert "metrics" not in entry["float32"]
  assert export.main([f"--check={folder}"]) == 0
