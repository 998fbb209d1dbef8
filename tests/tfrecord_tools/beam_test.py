"""Building on Apache Beam: the local build's bytes, its way of resuming, its list of what is bad, and one line where there is no Beam."""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import tiny_plans

from mppar_tf.data import records
from tfrecord_tools import assemble, beam, build, options
from tfrecord_tools.plan import PlanError

ROOT = pathlib.Path(__file__).resolve().parents[2]
needs_beam = pytest.mark.skipif(not importlib.util.find_spec("apache_beam"), reason="Apache Beam, the extra beam, is not installed")


def run(folder, runner="DirectRunner", allow_errors=0, **chosen):
  return assemble.assemble(tiny_plans.plan(**chosen), str(folder), workers=1, runner=runner, allow_errors=allow_errors, progress=False)


def content(folder):
  return {path.name: path.read_bytes() for path in sorted((folder / "tiny").iterdir())}


@needs_beam
def test_the_direct_runner_gives_the_bytes_of_the_local_build_and_its_list_of_bad_items(tmp_path):
  there, here = run(tmp_path / "beam", bad=2, allow_errors=2), run(tmp_path / "local", beam.LOCAL, bad=2, allow_errors=2)
  assert content(tmp_path / "beam") == content(tmp_path / "local")
  assert there.problems == here.problems == ("train 100: number 100 is a bad one", "train 101: number 101 is a bad one")
  assert (there.made, there.manifest) == (14, here.manifest)
  assert run(tmp_path / "beam", bad=2, allow_errors=2).made == 0


@needs_beam
@pytest.mark.parametrize("runner", ["DirectRunner", beam.LOCAL])
def test_a_killed_pipeline_resumes_to_the_same_bytes_on_any_runner(tmp_path, runner):
  broken = tmp_path / "broken"
  child = subprocess.run(
      [sys.executable, tiny_plans.__file__, str(broken), "DirectRunner", str(tmp_path / "fuse")], check=False, capture_output=True,
      env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "TF_CPP_MIN_LOG_LEVEL": "3"})
  assert child.returncode == -9, child.stderr
  finished = {path.name.removesuffix(".journal.json") for path in (broken / "tiny").glob("*.journal.json")}
  assert 2 <= len(finished) <= 3 and not (broken / "tiny" / "manifest.json").exists()
  assert any("left over from a build" in line for line in _problems_with_a_manifest(broken / "tiny", tmp_path))
  before = {name: (broken / "tiny" / name).stat().st_ino for name in finished}
  report = run(broken, runner)
  assert {name: (broken / "tiny" / name).stat().st_ino for name in finished} == before  # not written again
  assert report.made == 14 - sum(2 if name.startswith("test") else 3 for name in finished)
  run(tmp_path / "whole", beam.LOCAL)
  assert content(broken) == content(tmp_path / "whole")


def _problems_with_a_manifest(folder, tmp_path):
  """What `verify` says of the leftovers where a manifest stands: it is lent one for that moment."""
  run(tmp_path / "lender", beam.LOCAL)
  (folder / "manifest.json").write_bytes((tmp_path / "lender" / "tiny" / "manifest.json").read_bytes())
  told = records.verify(str(folder))
  (folder / "manifest.json").unlink()
  return told


@needs_beam
def test_too_many_bad_items_leave_no_manifest_and_are_all_told(tmp_path):
  with pytest.raises(assemble.TooManyErrors, match=r"tiny: 3 of 17 items cannot become records, --allow_errors=2; no manifest") as caught:
    run(tmp_path, bad=3, allow_errors=2)
  assert caught.value.problems == tuple(f"train {n}: number {n} is a bad one" for n in (100, 101, 102))
  assert not (tmp_path / "tiny" / "manifest.json").exists()


def faulty(work):
  raise ZeroDivisionError(f"{work[0]} cannot be made")


@needs_beam
def test_an_error_that_is_no_bad_item_is_one_line(tmp_path):
  with pytest.raises(beam.BeamFailed, match=r"DirectRunner: .*the same command resumes") as caught:
    run(tmp_path, make=faulty)
  assert "\n" not in str(caught.value) and "ZeroDivisionError" in str(caught.value)


def test_without_beam_one_line_tells_what_to_install(tmp_path, monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, "apache_beam", None)
  with pytest.raises(PlanError, match=r"--runner=FlinkRunner needs Apache Beam: pip install -c constraints.txt 'apache-beam' "):
    beam.check("FlinkRunner")
  assert beam.check(beam.LOCAL) is None
  assert build.main(["twin", f"--data_dir={tmp_path}", "--runner=DirectRunner"]) == 2
  told = capsys.readouterr().err
  assert told.count("\n") == 1 and "pip install" in told
  assert list(tmp_path.iterdir()) == []


def test_an_archive_that_distant_workers_cannot_see_is_refused(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(beam, "check", lambda runner: None)
  shutil.make_archive(str(tmp_path / "UCF101"), "zip", ROOT, "configs")
  where = [f"--source={tmp_path / 'UCF101.zip'}", "--annotations=lists", "--data_dir=gs://bucket/records"]
  assert build.main(["ucf101", *where, "--runner=DataflowRunner"]) == 2
  assert "UCF101.zip: workers of --runner=DataflowRunner cannot see what this machine unpacks" in capsys.readouterr().err


@pytest.mark.parametrize("flags, told", [
    ({"runner": "local", "beam_options": "--region=x"}, "--beam_options=--region=x: --runner=local has none"),
    ({"runner": "DirectRunner", "workers": 2}, "--workers=2: is for --runner=local; --runner=DirectRunner takes what --beam_options says")])
def test_flags_of_the_other_kind_of_build_are_refused(flags, told):
  with pytest.raises(options.OptionError, match=told):
    options.BuildOptions(**flags)


def test_the_reasons_of_a_shard_are_given_back_to_its_items():
  items = [assemble.Item(name, None) for name in ("a", "b", "c")]
  assert assemble._answers(items, ["a: cut", "c: dark: very"]) == {"a": "cut", "b": None, "c": "dark: very"}
  assert assemble._answers(items, []) == dict.fromkeys("abc")
