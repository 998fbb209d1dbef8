"""Where an export is written: it replaces an export when asked, whole or not at all, and nothing else ever."""

import functools
import os
import pathlib

import fixtures
import pytest
import tiny_exports

from mppar_tf import conversion, exporting, exporting_variants
from mppar_tf.on_camera import manifest

SMALLER = {"variants": ("float32",)}


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
  """The child process of the conversion is the matter of exporting_test."""
  monkeypatch.setattr(conversion, "convert_apart", tiny_exports.convert_here)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
  return tiny_exports.write(tmp_path_factory.mktemp("exports") / "x", tiny_exports.anonymizer())


def test_replaces_an_export_when_asked_and_nothing_else_ever(exported, tmp_path):
  model, folder = tiny_exports.anonymizer(), exported
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
  written = exporting.export(model, old, frames, {}, overwrite=True, **SMALLER)
  assert manifest.problems(old, manifest.read(old)) == [] and "saved_model/saved_model.pb" in written["files"]
  assert sorted(p.name for p in tmp_path.iterdir()) == ["holiday", "old"]


def test_a_link_to_an_export_stays_one_and_is_replaced_again_and_again(tmp_path):
  model, frames = tiny_exports.anonymizer(), tiny_exports.pictures01(2)
  tiny_exports.write(tmp_path / "first", model)
  (tmp_path / "current").symlink_to("first")
  for _ in range(2):
    exporting.export(model, tmp_path / "current", frames, {}, overwrite=True, **SMALLER)
  assert (tmp_path / "current").is_symlink() and sorted(manifest.read(tmp_path / "first")["models"]) == ["float32"]
  assert sorted(p.name for p in tmp_path.iterdir()) == ["current", "first"]


def test_what_is_no_export_stays_also_under_the_name_of_one_that_was_set_aside(tmp_path):
  (tmp_path / ".x.old").mkdir()
  (tmp_path / ".x.old" / "thesis.txt").write_bytes(b"precious")
  (tmp_path / "x").mkdir()
  (tmp_path / "x" / "photo.jpg").write_bytes(b"precious")
  with pytest.raises(exporting.ExportRefused, match="exists already"):
    exporting.export(tiny_exports.anonymizer(), tmp_path / "x", tiny_exports.pictures01(2), {}, **SMALLER)
  assert (tmp_path / ".x.old" / "thesis.txt").read_bytes() == b"precious"


def records_folder(folder):
  fixtures.write_tiny_datasets(str(folder))
  return folder / "tiny_clips"


def export_beside(name, folder):
  """An export, and a file that is not of it."""
  tiny_exports.write(folder / "x", tiny_exports.anonymizer())
  (folder / "x" / name).parent.mkdir(exist_ok=True)
  (folder / "x" / name).write_bytes(b"precious")
  return folder / "x"


@pytest.mark.parametrize("make, word", [
    (records_folder, "is no export"), (functools.partial(export_beside, "notes.txt"), "notes.txt in it would be lost"),
    (functools.partial(export_beside, "results/of.txt"), "results/of.txt in it would be lost"),
    (functools.partial(export_beside, "saved_model/more.pb"), "saved_model/more.pb in it would be lost")],
                         ids=["records", "a file beside", "a folder beside", "a file within"])
def test_overwrite_loses_nothing_that_is_not_an_exports(tmp_path, make, word):
  folder = make(tmp_path)
  contents = lambda: {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
  before = contents()
  with pytest.raises(exporting.ExportRefused, match=word) as refused:
    exporting.export(tiny_exports.anonymizer(seed=4), folder, tiny_exports.pictures01(2), {}, overwrite=True, **SMALLER)
  assert contents() == before and len(str(refused.value).splitlines()) == 1


def test_what_appears_while_an_export_is_written_is_not_replaced(monkeypatch, tmp_path):
  true_keep = exporting_variants.keep

  def keep(*arguments):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "photo.jpg").write_bytes(b"precious")
    return true_keep(*arguments)

  monkeypatch.setattr(exporting_variants, "keep", keep)
  with pytest.raises(exporting.ExportRefused, match="exists already"):
    exporting.export(tiny_exports.anonymizer(), tmp_path / "x", tiny_exports.pictures01(2), {}, **SMALLER)
  assert (tmp_path / "x" / "photo.jpg").read_bytes() == b"precious" and [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt()], ids=["failed", "interrupted"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_replacement_that_breaks_off_leaves_the_old_export(monkeypatch, tmp_path, error, when):
  old, true_replace = tiny_exports.write(tmp_path / "old", tiny_exports.anonymizer(seed=4)), os.replace
  before = (old / "manifest.json").read_bytes()

  def replace(source, target):
    if when == "before" and pathlib.Path(target) == old and pathlib.Path(source).name == ".old.part":
      raise error
    true_replace(source, target)
    if when == "after" and pathlib.Path(source) == old:
      raise error

  monkeypatch.setattr(os, "replace", replace)
  with pytest.raises(type(error)):
    exporting.export(tiny_exports.anonymizer(), old, tiny_exports.pictures01(2), {}, overwrite=True, **SMALLER)
  assert [path.name for path in tmp_path.iterdir()] == ["old"] and (old / "manifest.json").read_bytes() == before
  assert manifest.problems(old, manifest.read(old)) == []


@pytest.mark.parametrize("made_again", [False, True])
def test_the_next_export_brings_back_what_a_killed_one_had_set_aside(tmp_path, made_again):
  old = tiny_exports.write(tmp_path / "old", tiny_exports.anonymizer(seed=4))
  before = (old / "manifest.json").read_bytes()
  old.rename(tmp_path / ".old.old")  # as it lies between the two renames
  if made_again:
    old.mkdir()
  with pytest.raises(exporting.ExportRefused, match="exists already"):
    exporting.export(tiny_exports.anonymizer(), old, tiny_exports.pictures01(2), {}, **SMALLER)
  assert [path.name for path in tmp_path.iterdir()] == ["old"] and (old / "manifest.json").read_bytes() == before
