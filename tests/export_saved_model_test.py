"""--check and the SavedModel: a program that may write files is run from the bytes that were hashed, or not at all."""

import shutil

import pytest
import tensorflow as tf
import tiny_exports

from mppar_tf import conversion, export_check, exporting, exporting_saved_model

SIZE = (tiny_exports.HEIGHT, tiny_exports.WIDTH, 3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """An export to be copied and damaged."""
  folder = tmp_path_factory.mktemp("exports") / "whole"
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(conversion, "convert_apart", tiny_exports.convert_here)
    exporting.export(tiny_exports.anonymizer(), folder, tiny_exports.pictures01(2), {}, variants=("float32",))
  return folder


def writing_saved_model(folder, marker):
  """A SavedModel with an export's ends that writes the file `marker` when it is run."""
  class Writing(tf.Module):
    def serve(self, frames):
      with tf.control_dependencies([tf.io.write_file(str(marker), "was here")]):
        return {"anonymized": tf.reverse(frames, [2])}

  module = Writing()
  ends = {name: tf.function(module.serve).get_concrete_function(tf.TensorSpec(shape, tf.float32, name=argument))
          for name, shape, argument in (("serving_default", [None, *SIZE], "frames"), ("clips", [None, None, *SIZE], "clips"))}
  shutil.rmtree(folder, ignore_errors=True)
  tf.saved_model.save(module, str(folder), signatures=ends)
  return folder


def test_a_saved_model_writes_files_where_it_is_run(tmp_path):
  """What the two tests below rest on."""
  exporting_saved_model.run(writing_saved_model(tmp_path / "saved_model", tmp_path / "marker"), tiny_exports.pictures01(2))
  assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("how", ["replaced", "stray", "missing", "stray manifest"])
def test_check_never_runs_a_saved_model_that_was_not_exported(whole, tmp_path, capsys, monkeypatch, how):
  folder, loaded = tmp_path / "x", []
  shutil.copytree(whole, folder)
  monkeypatch.setattr(tf.saved_model, "load", lambda *arguments, true_load=tf.saved_model.load: loaded.append(1) or true_load(*arguments))
  if how == "replaced":
    writing_saved_model(folder / "saved_model", tmp_path / "marker")
  elif how == "missing":
    (folder / "saved_model" / "fingerprint.pb").unlink()  # TensorFlow would load it all the same
  else:
    (folder / "saved_model" / ("stray.pb" if how == "stray" else "manifest.json")).write_bytes(b"x")
  capsys.readouterr()
  assert export_check.check(folder) == 3
  said = capsys.readouterr().err.splitlines()
  assert not loaded and not (tmp_path / "marker").exists()
  assert f"export: {folder / 'saved_model'}: not run" in said and len(said) == len(set(said))


def test_check_runs_the_bytes_that_it_hashed(whole, tmp_path, capsys, monkeypatch):
  """Whoever changes the folder between the hashes and the run changes nothing of the run."""
  folder, true_load = tmp_path / "x", tf.saved_model.load
  shutil.copytree(whole, folder)

  def load(*arguments):
    writing_saved_model(folder / "saved_model", tmp_path / "marker")
    return true_load(*arguments)

  monkeypatch.setattr(tf.saved_model, "load", load)
  assert export_check.check(folder) == 0 and "saved_model: run" in capsys.readouterr().out
  assert not (tmp_path / "marker").exists()
