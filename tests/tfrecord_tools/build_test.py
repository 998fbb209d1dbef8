"""The build program: its words and flags, its exit codes, the twin from end to end, and building on first use."""

import json
import pathlib
import subprocess
import sys

import pytest
import tiny_files

from mppar_tf import flagfiles
from mppar_tf.data import records, schema
from tfrecord_tools import build, options, verify
from tfrecord_tools.readers import twin
from tfrecord_tools.twin import dataset

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARE = 0.005  # of the twin: 8 clips and 20 images to train on


@pytest.fixture(scope="module")
def twin_dir(tmp_path_factory):
  data_dir = tmp_path_factory.mktemp("records")
  assert build.main(["twin", f"--data_dir={data_dir}", f"--twin_share={SHARE}", "--workers=1"]) == 0
  return data_dir


def test_the_twin_holds_what_its_renderer_drew(twin_dir):
  assert verify.verify([str(twin_dir / "twin_clips"), str(twin_dir / "twin_images")]) == 0
  clips, images = (records.read_manifest(str(twin_dir / name)) for name in ("twin_clips", "twin_images"))
  counts = [{split: sum(shard.records for shard in shards) for split, shards in one.splits.items()} for one in (clips, images)]
  assert counts == [{"train": 8, "validation": 2, "test": 3}, {"train": 20, "validation": 3, "test": 6}]
  assert clips.classes == dataset.CLASSES and images.classes == () and clips.attributes == images.attributes and len(clips.attributes) == 14
  assert "ynthetic" in clips.licence and not clips.closed_set_identity
  opened = records.open_split(str(twin_dir / "twin_clips"), "test")
  stored = [schema.decode(data, clips.header) for _, data in records.read(opened).as_numpy_iterator()]
  for index, video in enumerate(stored):
    drawn = dataset.fields(dataset.Twin("video"), "test", index)
    assert (video.id, video.action, dict(video.labels), video.subject) == (drawn["id"], drawn["action"], drawn["labels"], drawn["subject"])
    assert len(video.frames) == 8 and len(video.body_masks) == 8
    # JPEG of quality 95 with whole chroma planes stays within a few grey levels.
    assert abs(video.frames[3].astype(int) - drawn["frames"][3]).mean() < 4


def test_a_seed_makes_another_benchmark_and_a_size_larger_frames():
  chosen = ({}, {"twin_seed": 1}, {"twin_size": 48})
  plain, other, large = (twin.plan(options.TwinBuildOptions(twin_share=SHARE, **one))[1] for one in chosen)
  assert len({plan.source_sha256 for plan in (plain, other, large)}) == 3
  assert large.make(large.items["test"][0].work)["pixels"].shape == (48, 48, 3)


def test_ensure_does_nothing_where_the_same_records_stand(twin_dir, monkeypatch):
  monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a build was started"))
  build.ensure("twin", str(twin_dir), twin_share=SHARE)


def test_ensure_refuses_records_of_other_settings(twin_dir):
  with pytest.raises(records.RecordsError, match=r"twin_clips: built with share=0.005; wanted is share=1.0: remove the folder, choose"):
    build.ensure("twin", str(twin_dir))
  with pytest.raises(records.RecordsError, match="built with size=32, share=0.005; wanted is size=48, share=1.0: .*, or use another name"):
    build.ensure("twin", str(twin_dir), twin_size=48, way_out="or use another name")
  with pytest.raises(options.OptionError, match="dataset 'cat' is not one of twin, folder, ixmas, utkface"):
    build.ensure("cat", str(twin_dir))


def test_ensure_builds_what_is_missing(tmp_path):
  for number in range(8):
    tiny_files.image(tmp_path / "faces" / f"{number}_1_2_{number}.png", tiny_files.gradient())
  source = str(tmp_path / "faces")
  build.ensure("utkface", str(tmp_path / "data"), source=source, size=16, workers=1)
  assert records.read_manifest(str(tmp_path / "data" / "utkface")).settings["size"] == 16
  with pytest.raises(records.RecordsError, match="building ixmas failed with exit code 2"):
    build.ensure("ixmas", str(tmp_path / "data"), source=str(tmp_path))


def test_ensure_builds_nothing_in_a_remote_place(tmp_path, monkeypatch):
  monkeypatch.setattr(build, "_is_built", lambda *_: False)
  with pytest.raises(records.RecordsError, match="s3://bucket/records: no records of twin_clips, twin_images; build them on a local disk"):
    build.ensure("twin", "s3://bucket/records")


@pytest.mark.parametrize("arguments, dataset_, flags", [
    (["twin", "--data_dir=x"], "twin", ["--data_dir=x"]),
    (["--data_dir=x", "twin"], "twin", ["--data_dir=x"]),
    (["--data_dir", "x", "twin"], "twin", ["--data_dir", "x"]),
    (["--dataset=ixmas", "--source=y"], "ixmas", ["--source=y"]),
])
def test_the_dataset_is_a_word_or_a_flag(arguments, dataset_, flags):
  assert build.take_dataset(arguments) == (dataset_, flags)


@pytest.mark.parametrize("arguments, reason", [
    ([], "which dataset? One of twin, folder, ixmas, utkface"),
    (["cat"], "dataset 'cat' is not one of twin, folder, ixmas, utkface"),
    (["--dataset="], "dataset '' is not one of twin"),
    (["twin", "ixmas"], "one dataset at a time; given: twin, ixmas"),
    (["twin", "--dataset=ixmas"], "one dataset at a time"),
    (["ixmas"], "ixmas: --source is missing"),
    (["folder", "--csv=none.csv", "--root=.", "--name=mine"], "folder: no file --csv=none.csv"),
    (["folder", "--resize=bend"], "resize"),
    (["twin", "--sheet=a.jpg"], "--sheet: 'a.jpg' does not end in .png"),
    (["--flagfile=none.flags"], "--flagfile: 'none.flags' is neither"),
])
def test_a_bad_command_line_is_one_line_and_exit_code_2(arguments, reason, capsys):
  assert build.main(arguments) == 2
  error = capsys.readouterr().err
  assert reason in error and error.count("\n") == 1


def test_a_flag_of_another_dataset_is_refused():
  # In a process of its own: absl's flags of this one are those of every test before.
  command = [sys.executable, "-m", "tfrecord_tools.build", "twin", "--csv=a.csv"]
  answer = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
  assert answer.returncode == 2 and "Unknown command line flag 'csv'" in answer.stderr and "Traceback" not in answer.stderr


def test_help_teaches(capsys):
  assert build.main(["--help"]) == 0
  everything = capsys.readouterr().out
  assert build.main(["ixmas", "--help"]) == 0
  ixmas = capsys.readouterr().out
  assert all(flag in everything for flag in ("--csv=", "--twin_size=32", "--size=64", "--source=", "build folder --csv"))
  assert "--validation_share=0.2" in ixmas and "--csv=labels.csv" in ixmas and "--twin_size" not in ixmas


def test_bad_items_are_listed_and_exit_code_1(tmp_path, capsys):
  tiny_files.image(tmp_path / "files" / "good.png", tiny_files.gradient())
  (tmp_path / "files" / "bad.png").write_bytes(b"no picture")
  table = tiny_files.table(tmp_path / "t.csv", [{"file": name, "split": "train", "nude": "1"} for name in ("good.png", "bad.png")])
  command = ["folder", f"--csv={table}", f"--root={tmp_path / 'files'}", "--name=mine", f"--data_dir={tmp_path / 'data'}", "--workers=1"]
  assert build.main(command) == 1
  error = capsys.readouterr().err
  assert "left out: bad.png: not an image that Pillow can open" in error
  assert "build: mine: 1 of 2 items cannot become records, --allow_errors=0; no manifest was written" in error
  assert not (tmp_path / "data" / "mine" / "manifest.json").exists()
  assert build.main([*command, "--allow_errors=1", f"--sheet={tmp_path / 'sheets' / 'mine.png'}"]) == 0
  captured = capsys.readouterr()
  assert "left out: bad.png" in captured.err and "mine: 1 image records" in captured.out and "1 left out" in captured.out
  assert (tmp_path / "sheets" / "mine.png").stat().st_size > 500


def test_a_folder_of_other_records_is_exit_code_1(twin_dir, capsys):
  assert build.main(["twin", f"--data_dir={twin_dir}", "--twin_share=0.01", "--workers=1"]) == 1
  assert f"twin_clips: holds finished records built with share={SHARE}; wanted is share=0.01; remove" in capsys.readouterr().err


@pytest.mark.parametrize("address, scheme", [
    ("https://me:secret@localhost/x", "https"), ("HTTP://localhost/x", "http"), ("s3://bucket/x", "s3")])
def test_a_place_that_can_only_be_read_is_told_at_once(address, scheme, capsys):
  assert build.main(["folder", "--csv=none.csv", "--root=.", "--name=mine", f"--data_dir={address}"]) == 2
  error = capsys.readouterr().err
  assert f"--data_dir: {scheme}:// can be read and not written" in error and "gs://" in error and error.count("\n") == 1
  assert "secret" not in error


def test_a_place_that_can_be_written_is_taken(monkeypatch):
  built = []
  monkeypatch.setattr(build, "_build_folders", lambda dataset, chosen: built.append(chosen.data_dir))
  assert build.main(["twin", "--data_dir=gs://bucket/x"]) == 0 and built == ["gs://bucket/x"]


@pytest.mark.parametrize("splits, told", [
    (["train"], "build: mine: no validation and no test records; training needs train and validation, evaluation test"),
    (["validation", "test"], "build: mine: no train records; training needs train and validation, evaluation test"),
    (["train", "validation", "test"], ""),
])
def test_splits_that_training_will_miss_are_told_in_the_end(tmp_path, splits, told, capsys):
  for split in splits:
    tiny_files.image(tmp_path / "files" / f"{split}.png", tiny_files.gradient())
  table = tiny_files.table(tmp_path / "t.csv", [{"file": f"{split}.png", "split": split, "nude": "1"} for split in splits])
  command = ["folder", f"--csv={table}", f"--root={tmp_path / 'files'}", "--name=mine", f"--data_dir={tmp_path / 'data'}", "--workers=1"]
  for _ in ("new", "there already"):
    assert build.main(command) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "needs" in line] == [told] * bool(told) and (not told or lines[-1] == told)


def test_a_place_that_cannot_be_written_is_exit_code_1(tmp_path, capsys):
  (tmp_path / "taken").write_text("a file", encoding="utf-8")
  assert build.main(["twin", f"--data_dir={tmp_path / 'taken'}", f"--twin_share={SHARE}", "--workers=1"]) == 1
  error = capsys.readouterr().err
  assert error.startswith("build: ") and "taken" in error and error.count("\n") == 1


def test_ctrl_c_says_that_the_build_can_be_resumed(tmp_path, capsys, monkeypatch):
  def interrupted(*_, **__):
    raise KeyboardInterrupt
  monkeypatch.setattr(build.assemble, "assemble", interrupted)
  assert build.main(["twin", f"--data_dir={tmp_path}"]) == 130
  assert "the same command resumes" in capsys.readouterr().err


def test_every_flag_of_a_dataset_is_read_by_it():
  # A flag that no code reads is a lie: each one's field must be taken from the options.
  class Spy:
    def __init__(self, inner):
      self.inner, self.read = inner, set()

    def __getattr__(self, name):
      self.read.add(name)
      return getattr(self.inner, name)
  spy = Spy(options.TwinBuildOptions(twin_share=SHARE))
  twin.plan(spy)
  assert {"twin_seed", "twin_size", "twin_frames", "twin_grouping", "twin_share", "jpeg_quality", "shard_records"} <= spy.read


def test_settings_are_plain_json():
  for entry in build.DATASETS.values():
    for wanted in entry.settings(entry.options()).values():
      assert json.loads(json.dumps(wanted)) == wanted


def test_flags_given_to_a_child_are_those_it_reads():
  chosen = options.FolderOptions(csv="a b.csv", closed_set_identity=True, allow_errors=3)
  flags = flagfiles.lines(chosen)
  assert "--csv=a b.csv" in flags and "--closed_set_identity=true" in flags and "--allow_errors=3" in flags
  assert not any(flag.startswith("--root") for flag in flags)
  assert isinstance(chosen, options.FolderOptions) and flagfiles.expand(flags) == flags
