"""Exports: every file does what Keras does, nothing unfit or half-written gets through."""

import hashlib
import json
import stat

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_exports

from mppar_tf import conversion, exporting
from mppar_tf.models.anonymizers import ANONYMIZERS
from mppar_tf.on_camera import judge, manifest
from mppar_tf.on_camera.engine import Engine
from mppar_tf.on_camera.errors import ModelRefused

FACTS = {"protocol": "a", "method": "mppar", "flags": ["--seed=3"], "seeds": [3], "metrics": {"privacy_cmap": 0.61}}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
  model = tiny_exports.anonymizer()
  folder = tmp_path_factory.mktemp("exports") / "a" / "mppar"
  return model, folder, exporting.export(model, folder, tiny_exports.pictures01(4), FACTS)


@pytest.fixture
def in_this_process(monkeypatch):
  """Spares a test the child's start, where the child is not what it is about."""
  def convert(graph, height, width, folder):
    files = [folder / conversion.file_name(variant) for variant in conversion.VARIANTS]
    for variant, file in zip(conversion.VARIANTS, files):
      file.write_bytes(conversion.convert(graph, height, width, variant))
    return files

  monkeypatch.setattr(conversion, "convert_apart", convert)


def keras_outputs(model, frames):
  return np.asarray(model(frames, training=False))


@pytest.mark.parametrize("variant", ["float32", "float16"])
def test_tflite_equals_keras_on_frames_not_seen_by_the_export(exported, variant):
  model, folder, written = exported
  frames = tiny_exports.pictures01(5, seed=9)
  outputs = Engine((folder / written["models"][variant]["file"]).read_bytes()).run_all(frames)
  tolerance = exporting.PARITY[variant]
  error = np.abs(outputs - keras_outputs(model, frames)).max()
  assert error <= tolerance.max_abs_error and judge.psnr_db(outputs, keras_outputs(model, frames)) >= tolerance.psnr_db
  if variant == "float16":
    assert error > 0  # weights of 16 bits cannot be equal: the file really is another one


def test_saved_model_has_named_ends_and_a_free_batch(exported):
  model, folder, _ = exported
  serve = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"]
  for count in (1, 5):
    frames = tiny_exports.pictures01(count, seed=8)
    outputs = serve(frames=tf.constant(frames))
    assert list(outputs) == ["anonymized"]
    np.testing.assert_allclose(outputs["anonymized"], keras_outputs(model, frames), atol=1e-5)


def test_manifest_tells_hashes_parity_facts_and_distance(exported):
  model, folder, written = exported
  read = json.loads((folder / "manifest.json").read_text())
  assert read == written
  files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json")
  assert sorted(read["files"]) == sorted(p.relative_to(folder).as_posix() for p in files)
  for path in files:
    content = path.read_bytes()
    assert read["files"][path.relative_to(folder).as_posix()] == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
  assert {key: read[key] for key in FACTS} == FACTS
  assert read["input"] == {"name": "frames", "shape": [1, 16, 24, 3], "layout": "NHWC", "dtype": "float32", "range": [0.0, 1.0],
                           "colour": "RGB"}
  frames = tiny_exports.pictures01(4)
  mse = np.mean((keras_outputs(model, frames).astype(np.float64) - frames) ** 2)
  assert read["identity"]["psnr_db"] == pytest.approx(10 * np.log10(1 / mse), abs=1e-2)
  assert read["versions"]["keras"] == keras.__version__ and read["versions"]["tensorflow"] == tf.__version__
  assert read["parameters"] == model.count_params()


def test_tflite_uses_builtin_operations_only(exported):
  _, folder, written = exported
  content = (folder / written["models"]["float32"]["file"]).read_bytes()
  assert b"Flex" not in content and b"READ_VARIABLE" not in content
  for name in (b"VarHandleOp", b"ReadVariableOp"):
    assert name not in content


@pytest.mark.parametrize("name", ["johnson", "unet"])
def test_this_projects_anonymizers_export_on_real_frames(in_this_process, tmp_path, name):
  frames = tiny_exports.real_frames(32, 32)
  if frames is None:
    pytest.skip("shared data is absent: no real frames")
  model = ANONYMIZERS[name](size="small", seed=1)
  written = exporting.export(model, tmp_path / name, frames, {})
  assert written["models"]["float32"]["parity"]["frames"] == len(frames)
  again = Engine((tmp_path / name / "anonymizer_float32.tflite").read_bytes()).run_all(frames[::-1, :, ::-1])
  assert np.abs(again - keras_outputs(model, frames[::-1, :, ::-1])).max() < exporting.PARITY["float32"].max_abs_error


@pytest.mark.parametrize("word", list(tiny_exports.not_anonymizing()))
def test_what_does_not_anonymize_is_refused_and_leaves_nothing(tmp_path, word):
  with pytest.raises(exporting.ExportRefused, match=word.replace("[", r"\[")):
    exporting.export(tiny_exports.not_anonymizing()[word], tmp_path / "export", tiny_exports.pictures01(4), {})
  assert list(tmp_path.iterdir()) == []


def test_an_anonymizer_that_only_fails_on_real_frames_is_refused(tmp_path):
  dark = tiny_exports.pictures01(3)
  dark[1] = 0.01 * dark[1]  # 0 / 0 there, as a norm without epsilon has it
  model = tiny_exports.elementwise(lambda x: tf.reverse(x, [2]) * (tf.nn.relu(tf.reduce_mean(x, [1, 2, 3], keepdims=True) - 0.1)
                                                                  / tf.nn.relu(tf.reduce_mean(x, [1, 2, 3], keepdims=True) - 0.1)))
  with pytest.raises(exporting.ExportRefused, match="3 training frames: .*NaN"):
    exporting.export(model, tmp_path / "export", dark, {})


def test_a_graph_that_still_reads_variables_is_refused(monkeypatch, tmp_path):
  from tensorflow.python.framework import convert_to_constants
  monkeypatch.setattr(convert_to_constants, "convert_variables_to_constants_v2", lambda concrete: concrete)
  with pytest.raises(exporting.ExportRefused, match="ReadVariableOp|PartitionedCall"):
    exporting.export(tiny_exports.anonymizer(), tmp_path / "export", tiny_exports.pictures01(2), {})
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage, word", [("NaN", "not finite"), ("other weights", "differs from Keras"), ("truncated", "LiteRT")])
def test_a_converted_file_that_does_not_do_what_keras_does_is_refused(monkeypatch, tmp_path, damage, word):
  bad = {"NaN": tiny_exports.elementwise(lambda x: tf.math.log(x - 2.0)), "other weights": tiny_exports.anonymizer(seed=5)}

  def converted(graph, height, width, folder):
    if damage != "truncated":
      graph = conversion.freeze(bad[damage], height, width)
    content = conversion.convert(graph, height, width, "float32")
    files = [folder / conversion.file_name(variant) for variant in conversion.VARIANTS]
    for file in files:
      file.write_bytes(content[:16] if damage == "truncated" else content)
    return files

  monkeypatch.setattr(conversion, "convert_apart", converted)
  with pytest.raises(exporting.ExportRefused, match=word):
    exporting.export(tiny_exports.anonymizer(), tmp_path / "export", tiny_exports.pictures01(2), {})
  assert list(tmp_path.iterdir()) == []


def test_a_converter_that_aborts_takes_nothing_with_it(monkeypatch, tmp_path):
  aborting = tmp_path / "python"
  aborting.write_text("#!/bin/sh\necho mlir assertion >&2\nkill -ABRT $$\n")
  aborting.chmod(aborting.stat().st_mode | stat.S_IXUSR)
  monkeypatch.setattr(conversion.sys, "executable", str(aborting))
  with pytest.raises(exporting.ExportRefused, match="signal 6: mlir assertion"):
    exporting.export(tiny_exports.anonymizer(), tmp_path / "exports" / "x", tiny_exports.pictures01(2), {})
  assert list((tmp_path / "exports").iterdir()) == []


@pytest.mark.parametrize("frames, word", [
    (np.zeros((2, 16, 24, 3), np.uint8), "float32"), (np.full((2, 16, 24, 3), 2.0, np.float32), "leave"),
    (np.zeros((0, 16, 24, 3), np.float32), "float32"), (np.full((1, 16, 24, 3), np.nan, np.float32), "leave")])
def test_frames_that_prove_nothing_are_refused(tmp_path, frames, word):
  with pytest.raises(exporting.ExportRefused, match=word):
    exporting.export(tiny_exports.anonymizer(), tmp_path / "export", frames, {})


def test_replaces_an_export_when_asked_and_nothing_else_ever(exported, in_this_process, tmp_path):
  model, folder, _ = exported
  before = (folder / "manifest.json").read_bytes()
  frames = tiny_exports.pictures01(2)
  with pytest.raises(exporting.ExportRefused, match="exists already"):
    exporting.export(model, folder, frames, {})
  assert (folder / "manifest.json").read_bytes() == before
  holiday = tmp_path / "holiday"
  holiday.mkdir()
  (holiday / "photo.jpg").write_bytes(b"precious")
  with pytest.raises(exporting.ExportRefused, match="is no export"):
    exporting.export(model, holiday, frames, {}, overwrite=True)
  assert (holiday / "photo.jpg").read_bytes() == b"precious"
  old = tiny_exports.write(tmp_path / "old", tiny_exports.anonymizer(seed=4))
  (tmp_path / ".old.part").mkdir()
  (tmp_path / ".old.part" / "half").write_bytes(b"of a killed export")
  written = exporting.export(model, old, frames, {}, overwrite=True)
  assert manifest.problems(old, manifest.read(old)) == [] and "saved_model/saved_model.pb" in written["files"]
  assert sorted(p.name for p in tmp_path.iterdir()) == ["holiday", "old"]


def test_metrics_that_are_not_finite_do_not_reach_the_manifest(tmp_path):
  with pytest.raises(exporting.ExportRefused, match="manifest"):
    exporting.export(tiny_exports.anonymizer(), tmp_path / "export", tiny_exports.pictures01(2), {"metrics": {"cmap": float("nan")}})
  assert list(tmp_path.iterdir()) == []


def test_version_of_another_format_is_not_read(exported, tmp_path):
  _, _, written = exported
  manifest.write(tmp_path, written | {"format_version": 2})
  with pytest.raises(ModelRefused, match="format version 2, this program reads 1"):
    manifest.read(tmp_path)


# psnr of a constant difference d is -20 log10 d; the recovery of a pure colour map is 1, of independent noise about 0.
def test_distances_against_closed_forms():
  random = np.random.default_rng(0)
  inputs = random.uniform(0.2, 0.6, (2, 40, 40, 3))
  assert judge.psnr_db(inputs, inputs + 0.1) == pytest.approx(20, abs=1e-9)
  assert judge.psnr_db(inputs, inputs) == judge.PSNR_CAP_DB
  grey = np.repeat(inputs @ [0.2, 0.5, 0.3], 3).reshape(inputs.shape)
  assert judge.colour_recovery(inputs, grey) == pytest.approx(1, abs=1e-6)
  assert judge.colour_recovery(inputs, 1 - inputs[..., ::-1]) == pytest.approx(1, abs=1e-6)
  assert judge.colour_recovery(inputs, random.uniform(0, 1, inputs.shape)) < 0.02
  noisy = inputs[..., :1] + random.normal(0, np.std(inputs[..., 0]), inputs[..., :1].shape)  # half of the variance is signal
  assert judge.colour_recovery(np.repeat(inputs[..., :1], 3, -1), np.repeat(noisy, 3, -1)) == pytest.approx(0.5, abs=0.05)
