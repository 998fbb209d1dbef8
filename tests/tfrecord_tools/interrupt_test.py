"""Ctrl-C in the middle of a real process: one line and exit code 130, no traceback of the program or of its workers, nothing half done."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tiny_detectors
import tiny_files

from mppar_tf.data import records, schema

ROOT = pathlib.Path(__file__).resolve().parents[2]
# A tool as `python -m` runs it, in which one function gives the whole group the signal, as a terminal does, and never returns.
PROGRAM = """
import importlib, os, runpy, signal, sys, time

def interrupted(*_, **__):
  os.killpg(0, signal.SIGINT)
  time.sleep(60)
  os._exit(99)

module, name = sys.argv[1].split(":")
setattr(importlib.import_module(module), name, interrupted)
sys.argv = sys.argv[2:]
runpy.run_module("tfrecord_tools." + sys.argv[0], run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """Records `clips`, images with their table, and the weights of a detector."""
  place = tmp_path_factory.mktemp("place")
  writer = records.DatasetWriter(str(place / "clips"), schema.Header("clips", "video"), shuffle_seed=None)
  frames = np.zeros((4, 16, 16, 3), np.uint8)
  for split in ("train", "test"):
    writer.write_split(split, range(3), lambda number: schema.Video(f"clip{number}", frames, 5.0), progress=False)
  writer.finish()
  rows = [{"file": f"{number}.png", "split": "train", "nude": "1"} for number in range(8)]
  for row in rows:
    tiny_files.image(place / "files" / row["file"], tiny_files.gradient())
  tiny_files.table(place / "table.csv", rows)
  tiny_detectors.red_is_a_person(place / "red.tflite")
  return place


@pytest.mark.parametrize("tool, moment, arguments, told", [
    ("inspect", "mppar_tf.data.records:open_split", ["clips"], "inspect: stopped"),
    ("verify", "mppar_tf.data.integrity:scan", ["clips"], "verify: stopped"),
    ("split_check", "mppar_tf.data.records:read", ["clips"], "split_check: stopped"),
    ("extract", "numpy:repeat", ["clips", "--video=out/clip.mp4"], "extract: stopped"),
    ("detector_check", "tfrecord_tools.readers.still:stretch", ["--detector=selfie", "--detector_weights=red.tflite", "--source=files"],
     "detector_check: stopped"),
    ("build", "tfrecord_tools.assemble:_as_record",
     ["folder", "--csv=table.csv", "--root=files", "--name=mine", "--data_dir=data", "--workers=2"],
     "build: interrupted; the same command resumes it"),
])
def test_ctrl_c_is_one_line_and_exit_code_130(place, tool, moment, arguments, told):
  answer = subprocess.run([sys.executable, "-c", PROGRAM, moment, tool, *arguments], cwd=place, capture_output=True, text=True,
                          start_new_session=True, timeout=120, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
  assert answer.returncode == 130, answer.stderr
  assert answer.stderr.splitlines()[-1] == told and "Traceback" not in answer.stderr
  assert not (place / "out").exists() or list((place / "out").iterdir()) == []


@pytest.mark.parametrize("tool", ["inspect", "verify", "split_check", "extract", "detector_check", "build", "fuzz"])
def test_the_help_tells_the_exit_code(tool):
  shown = subprocess.run([sys.executable, "-m", f"tfrecord_tools.{tool}", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
  assert "130 interrupted by Ctrl-C" in " ".join(shown.stdout.split())
