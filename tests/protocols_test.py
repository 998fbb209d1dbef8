"""Benchmarks by name: the twin's attributes are those that it is built with, and a twin of other settings goes by another name."""

import pytest

from mppar_tf import flagfiles, train
from mppar_tf.protocols.benchmarks import BENCHMARKS
from tfrecord_tools import build
from tfrecord_tools.twin.labels import GROUPINGS


@pytest.mark.parametrize("name, grouping", [("twin", "vispr"), ("twin_as_built", "vispr"), ("twin_hmdb51", "hmdb51")])
def test_the_attributes_of_a_twin_are_those_of_its_grouping(name, grouping):
  for side in ("known", "novel"):
    assert sorted(getattr(BENCHMARKS[name], side)) == sorted(getattr(GROUPINGS[grouping], side))


@pytest.fixture(scope="module", params=["vispr", "hmdb51"])
def trial(request, tmp_path_factory):
  """A small twin, its folder and the name of its benchmark."""
  data_dir = tmp_path_factory.mktemp(request.param)
  assert build.main(["twin", f"--data_dir={data_dir}", "--twin_share=0.005", "--twin_size=16", f"--twin_grouping={request.param}",
                     "--workers=1"]) == 0
  return data_dir, {"vispr": "twin_as_built", "hmdb51": "twin_hmdb51"}[request.param]


def trained(data_dir, benchmark, run_dir):
  """The exit code of a training of f^A on raw frames."""
  arguments = [f"--benchmark={benchmark}", f"--data_dir={data_dir}", f"--run_dir={run_dir}", "--method=raw", "--crop=16", "--clip_frames=4",
               "--anonymizer_size=tiny", "--recognizer_size=tiny", "--attacker_size=tiny",
               "--training_attackers=mobilenet_v2_0.35,mobilenet_v2_0.5", "--fixed_recognizer_steps=1", "--recognizer_batch=2",
               "--nodeterministic"]
  program = lambda: train.run(*(flagfiles.read(cls) for cls in train.PROGRAM_OPTIONS))
  return flagfiles.main(program, train.PROGRAM_OPTIONS, "", arguments=arguments)


def test_a_twin_of_other_settings_is_trained_on_under_its_own_name(trial, tmp_path, capsys):
  data_dir, name = trial
  assert trained(data_dir, "twin", tmp_path / "run") == 2
  [line] = capsys.readouterr().err.splitlines()
  assert "size=16" in line and "share=0.005" in line and "wanted is size=32" in line and name in line
  assert not (tmp_path / "run").exists()
  assert trained(data_dir, name, tmp_path / "run") == 0
  assert f"--benchmark={name}" in (tmp_path / "run" / "flags.txt").read_text()
