"""Exports: every file does what Keras does, nothing unfit or half-written gets through."""

import hashlib
import json
import stat

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_exports

from mppar_tf import conversion, exporting, exporting_variants
from mppar_tf.models.anonymizers import ANONYMIZERS
from mppar_tf.on_camera import judge, manifest, reference
from mppar_tf.on_camera.engine import Engine
from mppar_tf.on_camera.errors import ModelRefused

FACTS = {"protocol": "a", "method": "mppar", "flags": ["--seed=3"], "seeds": [3], "metrics": None}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
  model = tiny_exports.anonymizer()
  folder = tmp_path_factory.mktemp("exports") / "a" / "mppar"
  begun = []
  written = exporting.export(model, folder, tiny_exports.pictures01(4), FACTS, begins=begun.append)
  assert begun == exporting.steps(manifest.VARIANTS), "who waits is told what is done"
  return model, folder, written


@pytest.fixture
def in_this_process(monkeypatch):
  """Spares a test the child's start, where the child is not what it is about."""
  monkeypatch.setattr(conversion, "convert_apart", tiny_exports.convert_here)


def keras_outputs(model, frames):
  return np.asarray(model(frames, training=False))


@pytest.mark.parametrize("variant", manifest.VARIANTS)
def test_tflite_equals_keras_on_frames_not_seen_by_the_export(exported, variant):
  model, folder, written = exported
  frames = tiny_exports.pictures01(5, seed=9)
  outputs = Engine((folder / written["models"][variant]["file"]).read_bytes()).run_all(frames)
  tolerance = exporting.PARITY[variant]
  error = np.abs(outputs - keras_outputs(model, frames)).max()
  assert error <= tolerance.max_abs_error and judge.psnr_db(outputs, keras_outputs(model, frames)) >= tolerance.psnr_db
  if variant in ("float16", "int8"):  # dynamic_int8 leaves kernels of less than 1024 weights as they are
    assert error > 1e-4  # rounded weights cannot be equal: the file really is another one


def test_smaller_weights_make_smaller_files(exported):
  _, _, written = exported
  assert list(written["models"]) == list(manifest.VARIANTS) == list(conversion.VARIANTS) and written["left_out"] == {}
  model = tiny_exports.anonymizer()
  big = ANONYMIZERS["johnson"](size="small", seed=1)
  assert big.count_params() > 5 * model.count_params()
  graph, frames = conversion.freeze(big, 16, 24), tiny_exports.pictures01(3)
  sizes = {variant: len(conversion.convert(graph, 16, 24, variant, frames)) for variant in manifest.VARIANTS}
  assert sizes["float32"] - sizes["float16"] > big.count_params() and sizes["float16"] > max(sizes["dynamic_int8"], sizes["int8"])


def interpreter(content):
  from ai_edge_litert.interpreter import Interpreter
  made = Interpreter(model_content=content)
  made.allocate_tensors()
  return made


def test_int8_is_integer_throughout_and_takes_a_cameras_pixels_as_they_are(exported):
  _, folder, written = exported
  content = (folder / written["models"]["int8"]["file"]).read_bytes()
  made = interpreter(content)
  assert {np.dtype(one["dtype"]).kind for one in made.get_tensor_details()} <= {"i", "u"}
  ends = written["models"]["int8"]["interface"]
  assert ends["input"]["dtype"] == ends["output"]["dtype"] == "uint8"
  assert ends["input"]["zero_point"] == 0 and ends["input"]["scale"] == pytest.approx(1 / 255, rel=1e-6)
  pixels = tiny_exports.pictures(3, seed=4)
  own = []
  for picture in pixels:
    made.set_tensor(made.get_input_details()[0]["index"], picture[None])
    made.invoke()
    own.append(made.get_tensor(made.get_output_details()[0]["index"])[0].astype(np.float64))
  given = Engine(content).run_all(pixels.astype(np.float32) / 255)
  np.testing.assert_allclose(given, (np.stack(own) - ends["output"]["zero_point"]) * ends["output"]["scale"], atol=1e-6)
  with pytest.raises(ValueError, match="finite"):
    Engine(content)(np.full((16, 24, 3), np.nan, np.float32))


def test_a_dim_rooms_calibration_does_not_blind_int8_to_bright_pixels():
  model, frames = tiny_exports.elementwise(lambda x: tf.nn.avg_pool2d(x[:, :, ::-1], 4, 1, "SAME")), tiny_exports.pictures01(3)
  content = conversion.convert(conversion.freeze(model, 16, 24), 16, 24, "int8", 0.2 * frames)
  bright = np.stack([np.full((16, 24, 3), level, np.float32) for level in (0.5, 0.75, 1.0)])
  np.testing.assert_allclose(Engine(content).run_all(bright), bright, atol=0.02)


def test_saved_model_has_named_ends_and_a_free_batch(exported):
  model, folder, _ = exported
  serve = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"]
  for count in (1, 5):
    frames = tiny_exports.pictures01(count, seed=8)
    outputs = serve(frames=tf.constant(frames))
    assert list(outputs) == ["anonymized"]
    np.testing.assert_allclose(outputs["anonymized"], keras_outputs(model, frames), atol=1e-5)


def test_saved_model_takes_clips_of_any_batch_and_length(exported):
  model, folder, written = exported
  signature = tf.saved_model.load(str(folder / "saved_model")).signatures["clips"]
  frames = tiny_exports.pictures01(6, seed=7)
  expected = keras_outputs(model, frames)
  for batch, time in ((1, 6), (2, 3), (6, 1)):
    outputs = signature(clips=tf.constant(frames.reshape(batch, time, 16, 24, 3)))["anonymized"].numpy()
    np.testing.assert_allclose(outputs, expected.reshape(batch, time, 16, 24, 3), atol=1e-5)
  assert set(written["saved_model"]["signatures"]) == {"serving_default", "clips"}


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


def test_manifest_tells_size_and_latency_of_each_file(exported):
  _, folder, written = exported
  for entry in written["models"].values():
    assert entry["bytes"] == (folder / entry["file"]).stat().st_size == written["files"][entry["file"]]["bytes"]
    assert set(entry["latency_ms"]) == {"1", "2"} and all(0 < ms < 1000 for ms in entry["latency_ms"].values())
  assert written["machine"]["cores"] >= 1 and written["calibration"] == {"frames": 4, "apart": False}


def test_latency_grows_with_the_work(exported):
  _, folder, written = exported
  small = (folder / written["models"]["float32"]["file"]).read_bytes()
  large = conversion.convert(conversion.freeze(tiny_exports.anonymizer(), 256, 256), 256, 256, "float32")
  frames = [np.zeros(size, np.float32) for size in ((16, 24, 3), (256, 256, 3))]
  times = [exporting_variants.latency_ms(content, 1, frame) for content, frame in zip((small, large), frames)]
  assert times[1] > 3 * times[0]


def test_reference_is_what_keras_made_of_the_built_in_pictures(exported):
  model, folder, written = exported
  expected = keras_outputs(model, judge.built_in_pictures(16, 24))
  np.testing.assert_allclose(reference.read(folder, written), expected, atol=1e-5)
  assert reference.read(folder, {key: value for key, value in written.items() if key != "reference"}) is None


@pytest.mark.parametrize("variant", manifest.VARIANTS)
def test_tflite_uses_builtin_operations_only(exported, variant):
  _, folder, written = exported
  content = (folder / written["models"][variant]["file"]).read_bytes()
  assert not any(name.startswith(("Flex", "CUSTOM")) for name in (op["op_name"] for op in interpreter(content)._get_ops_details()))
  assert b"Flex" not in content and b"READ_VARIABLE" not in content
  for name in (b"VarHandleOp", b"ReadVariableOp"):
    assert name not in content


@pytest.mark.parametrize("name", ["johnson", "unet", "compact"])
def test_this_projects_anonymizers_export_on_real_frames(in_this_process, tmp_path, name):
  frames = tiny_exports.real_frames(32, 32)
  if frames is None:
    pytest.skip("shared data is absent: no real frames")
  model = ANONYMIZERS[name](size="small", seed=1)
  written = exporting.export(model, tmp_path / name, frames, {}, variants=("float32", "dynamic_int8"))
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

  def converted(graph, height, width, folder, variants, calibration):
    if damage != "truncated":
      graph = conversion.freeze(bad[damage], height, width)
    content = conversion.convert(graph, height, width, "float32")
    files = {variant: folder / conversion.file_name(variant) for variant in variants}
    for file in files.values():
      file.write_bytes(content[:16] if damage == "truncated" else content)
    return conversion.Converted(files, {})

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


def test_a_variant_that_fails_or_kills_the_child_stops_no_other(monkeypatch, tmp_path):
  playing = tmp_path / "python"  # as the child is called: -c CODE SOURCE HEIGHT WIDTH CALIBRATION VARIANT...
  playing.write_text("""#!/bin/sh
cd "$(dirname "$3")"
shift 6
for variant in "$@"; do
  case $variant in
    float16) echo "ValueError: no such op" > float16.refused ;;
    dynamic_int8) echo half > dynamic_int8.part; echo mlir assertion >&2; kill -ABRT $$ ;;
    *) echo whole > anonymizer_$variant.tflite ;;
  esac
done
""")
  playing.chmod(playing.stat().st_mode | stat.S_IXUSR)
  monkeypatch.setattr(conversion.sys, "executable", str(playing))
  folder = tmp_path / "export"
  folder.mkdir()
  done = conversion.convert_apart(b"graph", 16, 24, folder, manifest.VARIANTS, tiny_exports.pictures01(1))
  assert done.files == {variant: folder / conversion.file_name(variant) for variant in ("float32", "int8")}
  assert "no such op" in done.failed["float16"] and "signal 6: mlir assertion" in done.failed["dynamic_int8"]
  assert sorted(path.name for path in folder.iterdir()) == ["anonymizer_float32.tflite", "anonymizer_int8.tflite"]


@pytest.fixture
def int8_of_another(monkeypatch):
  """int8 comes out as a network of the test's choice."""
  def choose(model):
    def converted(graph, height, width, folder, variants, calibration):
      done = tiny_exports.convert_here(graph, height, width, folder, variants, calibration)
      other = conversion.convert(conversion.freeze(model, height, width), height, width, "int8", calibration)
      done.files["int8"].write_bytes(other)
      return done
    monkeypatch.setattr(conversion, "convert_apart", converted)
  return choose


def test_a_variant_beyond_its_parity_is_left_out_unless_forced(int8_of_another, tmp_path):
  int8_of_another(tiny_exports.anonymizer(seed=5))
  model, frames, variants = tiny_exports.anonymizer(), tiny_exports.pictures01(2), ("float32", "int8")
  written = exporting.export(model, tmp_path / "x", frames, {}, variants=variants)
  assert list(written["models"]) == ["float32"] and "the int8 file differs from Keras: PSNR" in written["left_out"]["int8"]
  assert not (tmp_path / "x" / "anonymizer_int8.tflite").exists() and manifest.problems(tmp_path / "x", written) == []
  written = exporting.export(model, tmp_path / "y", frames, {}, variants=variants, force=("int8",))
  entry = written["models"]["int8"]
  assert entry["parity"]["psnr_db"] < 30 and "at least 30" in entry["forced"] and written["left_out"] == {}
  assert "forced" not in written["models"]["float32"]
  assert "**int8 was written against its parity:**" in (tmp_path / "y" / "model_card.md").read_text()


@pytest.mark.parametrize("word", ["constant", "identity-like"])
def test_force_lets_no_variant_through_that_does_not_anonymize(int8_of_another, tmp_path, word):
  int8_of_another(tiny_exports.not_anonymizing()[word])
  written = exporting.export(tiny_exports.anonymizer(), tmp_path / "x", tiny_exports.pictures01(2), {}, variants=("float32", "int8"),
                             force=("int8",))
  assert list(written["models"]) == ["float32"] and word in written["left_out"]["int8"]


def test_float32_is_always_written(tmp_path):
  with pytest.raises(exporting.ExportRefused, match="float32 is always written"):
    exporting.export(tiny_exports.anonymizer(), tmp_path / "x", tiny_exports.pictures01(2), {}, variants=("int8",))
  with pytest.raises(exporting.ExportRefused, match="calibrate on are"):
    exporting.export(tiny_exports.anonymizer(), tmp_path / "x", tiny_exports.pictures01(2), {}, calibration=np.zeros((1, 8, 8, 3), "f"))


@pytest.mark.parametrize("frames, word", [
    (np.zeros((2, 16, 24, 3), np.uint8), "float32"), (np.full((2, 16, 24, 3), 2.0, np.float32), "leave"),
    (np.zeros((0, 16, 24, 3), np.float32), "float32"), (np.full((1, 16, 24, 3), np.nan, np.float32), "leave")])
def test_frames_that_prove_nothing_are_refused(tmp_path, frames, word):
  with pytest.raises(exporting.ExportRefused, match=word):
    exporting.export(tiny_exports.anonymizer(), tmp_path / "export", frames, {})


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
