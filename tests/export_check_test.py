"""What `mppar_tf.export --check` says of exports that were tampered with or damaged: one line, exit code 3, nothing of other files."""

import hashlib
import io
import json
import shutil

import numpy as np
import pytest

import tiny_exports
from mppar_tf import export_check, export_metrics, exporting_card
from mppar_tf.on_camera import judge, manifest


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  return tiny_exports.write(tmp_path_factory.mktemp("export") / "whole", tiny_exports.anonymizer())


@pytest.fixture
def folder(whole, tmp_path):
  return shutil.copytree(whole, tmp_path / "export")


def rewritten(folder, **changes):
  described = json.loads((folder / manifest.NAME).read_text())
  described |= changes
  (folder / manifest.NAME).write_text(json.dumps(described))


def listed(folder, name, content):
  """Puts a file of right hashes into the export."""
  (folder / name).unlink(missing_ok=True)
  (folder / name).write_bytes(content)
  described = json.loads((folder / manifest.NAME).read_text())
  described["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
  (folder / manifest.NAME).write_text(json.dumps(described))


def refused(folder, capsys):
  """What the program says on stderr, refusing."""
  assert export_check.check(folder) == export_check.REFUSED
  told = capsys.readouterr()
  assert told.out == "" and all(line.startswith("export: ") for line in told.err.splitlines())
  return told.err


def packed(**arrays):
  content = io.BytesIO()
  np.savez_compressed(content, **arrays)
  return content.getvalue()


def plain_array():
  content = io.BytesIO()
  np.save(content, np.zeros(3))
  return content.getvalue()


def cut_short():
  content = bytearray(packed(outputs=np.random.default_rng(0).integers(0, 65535, [2, 12, 12, 3]).astype(np.uint16)))
  content[60:160] = bytes(100)
  return bytes(content)


OTHER_PICTURES = packed(outputs=np.zeros([3, 12, 12, 3], np.uint16))


@pytest.mark.parametrize("content", [b"", plain_array(), cut_short(), OTHER_PICTURES, packed(x=np.zeros(2))],
                         ids=["empty", "an array", "damaged", "other pictures", "another name"])
def test_a_reference_of_right_hash_that_is_none(folder, capsys, content):
  listed(folder, "reference.npz", content)
  rewritten(folder, reference={"file": "reference.npz"})
  assert "reference.npz" in refused(folder, capsys)


@pytest.mark.parametrize("changes", [
    {"left_out": None}, {"left_out": 3}, {"statement": 5}, {"method": ["mppar"]},
    {"input": {"shape": [1, 10**6, 10**6, 3], "dtype": "float32", "range": [0.0, 1.0]}},
    {"input": {"shape": [True, 12, 12, 3], "dtype": "float32", "range": [0.0, 1.0]}}])
def test_a_manifest_of_other_types_or_sizes(folder, capsys, changes):
  rewritten(folder, **changes)
  assert "manifest.json" in refused(folder, capsys)


def test_a_number_that_is_none_is_no_parity(folder, capsys):
  text = (folder / manifest.NAME).read_text()
  (folder / manifest.NAME).write_text(text.replace('"format_version": 1', '"format_version": 1, "any": NaN'))
  assert "not a JSON file" in refused(folder, capsys)


@pytest.mark.parametrize("name", ["anonymizer_float32.tflite", manifest.NAME])
def test_no_file_is_followed_out_of_the_export(folder, tmp_path, capsys, name):
  content = (folder / name).read_bytes()
  (tmp_path / "outside").write_bytes(content)
  (folder / name).unlink()
  (folder / name).symlink_to(tmp_path / "outside")
  told = refused(folder, capsys)
  assert "a link out of the export" in told and hashlib.sha256(content).hexdigest() not in told


def test_links_in_a_circle_are_told(folder, capsys):
  (folder / "anonymizer_float32.tflite").unlink()
  (folder / "anonymizer_float32.tflite").symlink_to("anonymizer_float32.tflite")
  assert "not readable" in refused(folder, capsys)


def test_links_within_the_export_and_to_it_are_its_own(folder, tmp_path, capsys):
  (folder / "anonymizer_float32.tflite").rename(folder / "kept")
  (folder / "anonymizer_float32.tflite").symlink_to("kept")
  (tmp_path / "current").symlink_to(folder)
  assert export_check.check(tmp_path / "current") == export_check.DONE, capsys.readouterr().err


def test_what_lies_beside_the_files_is_not_opened(folder, tmp_path, capsys):
  (folder / "notes").symlink_to("/proc/self/mem")
  with open(folder / "video.mp4", "wb") as file:
    file.truncate(1 << 40)  # more than memory holds
  assert export_check.check(folder) == export_check.DONE, capsys.readouterr().err


def test_words_of_a_manifest_cannot_steer_a_terminal(folder, capsys):
  rewritten(folder, method="mppar\nexport: whole \x1b[2J", statement="said\x07")
  assert export_check.check(folder) == export_check.DONE, capsys.readouterr().err
  out = capsys.readouterr().out
  assert "\x1b" not in out and "\x07" not in out and not any(line.startswith("export:") for line in out.splitlines())


def test_an_error_that_is_no_number_is_as_far_as_can_be():
  frames = np.zeros([1, 4, 4, 3], np.float32)
  assert judge.psnr_db(frames, frames) == judge.PSNR_CAP_DB == -judge.psnr_db(np.full_like(frames, np.nan), frames)


# ---- figures and words ----


@pytest.mark.parametrize("changes, told", [
    ({}, None), ({"method": "downsample_2"}, "method downsample_2 and this is downsample_8"), ({"seed": 7}, "seed 7 and this is 0"),
    ({"trained_protocol": "b"}, "training under protocol b and this is a"), ({"trained_protocol": "a", "protocol": "c"}, None)])
def test_figures_of_another_run_of_the_same_weights_are_refused(changes, told):
  described = {"method": "downsample_8", "seeds": [0], "protocol": "a", "checkpoint": {"step": 4}, "anonymizer": {"sha256": "nothing's"}}
  results = {"method": "downsample_8", "seed": 0, "protocol": "a", "checkpoint_step": 4, "anonymizer_sha256": "nothing's"} | changes
  assert export_metrics._another(results, described) == told


def leaks(**attributes):
  sides = ("anonymized", "raw", "chance")
  precision = {name: dict(zip(sides, figures)) | {"known": True} for name, figures in attributes.items()}
  return "\n".join(exporting_card._leaks({}, {"anonymized": {}, "average_precision": precision}))


def test_a_card_takes_no_failed_test_for_protection():
  assert "The test shows nothing" in leaks(a=(0.3, 0.305, 0.3), b=(0.3, 0.3, 0.3))
  assert "Read behind the anonymizer, though not on raw frames: **a**" in leaks(a=(0.95, 0.505, 0.5), b=(0.3, 0.9, 0.3))
  assert "Of no attribute more than half" in leaks(a=(0.4, 0.9, 0.3))


def test_a_card_names_the_attributes_that_were_judged():
  precision = {"a": {"known": True}, "c": {"known": False}}
  described = {"known_attributes": ["a", "b"], "novel_attributes": ["never"]}
  assert exporting_card._judged_attributes(described, {"average_precision": precision}, "known") == ["a"]
  assert exporting_card._judged_attributes(described, {"average_precision": precision}, "novel") == ["c"]
  assert exporting_card._judged_attributes(described, {}, "novel") == ["never"]
