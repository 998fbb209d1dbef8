"""Whole trainings at the papers' size, a handful of steps in every stage: do they run, in what memory, and how long does an update take?

Each is the program mppar_tf.train itself with one of the paper's flagfiles, on records of the right form but of made-up pictures: what is
learned means nothing, what it costs is real.
"""

import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Iterator, Mapping

import numpy as np

from mppar_tf import bench_videos
from mppar_tf.data import records, schema, vocabularies

VIDEOS = {"train": 32, "validation": 16, "test": 4}  # at least a batch of clips each
IMAGES = {"train": 256, "validation": 64, "test": 32}
FRAMES = 34  # a clip of 16 with skip 2, and a little
ACTIONS = {"ucf101": 101, "hmdb51": 51}
PRESENT = 0.4  # share of positive labels
# Steps of each stage: the first one traces, the others are measured.
STEPS = ("--reconstruction_steps=3", "--action_steps=3", "--attacker_init_steps=2", "--max_recognizer_steps=1", "--max_attacker_rounds=1",
         "--validate_every=1000", "--checkpoint_every=1000", "--checkpoint_steps=1000")
RATE = "_steps_per_second"


def make_records(data_dir: str, seed: int) -> None:
  """Datasets ucf101, hmdb51_without_pa_hmdb51, pa_hmdb51 and vispr, a few records each, as their readers would name and label them."""
  random = np.random.default_rng(seed)
  films = [list(bench_videos.pictures(seed + number, FRAMES)) for number in range(4)]
  for name, dataset in (("ucf101", "ucf101"), ("hmdb51", "hmdb51_without_pa_hmdb51")):
    classes = tuple(f"action{number}" for number in range(ACTIONS[name]))
    _write(data_dir, schema.Header(dataset, "video", classes), VIDEOS,
           lambda number: schema.Video(str(number), films[number % len(films)], 25.0, int(random.integers(len(classes)))))
  classes = tuple(f"action{number}" for number in range(ACTIONS["hmdb51"]))
  attributes = tuple(vocabularies.PA_HMDB51)
  _write(data_dir, schema.Header("pa_hmdb51", "video", classes, attributes), {"test": VIDEOS["test"]}, lambda number: schema.Video(
      str(number), films[number % len(films)], 30.0, int(random.integers(len(classes))),
      frame_labels={name: [int(random.random() < PRESENT)] * FRAMES for name in attributes}))
  attributes = (*vocabularies.VISPR, *vocabularies.PA_HMDB51)
  _write(data_dir, schema.Header("vispr", "image", (), attributes), IMAGES, lambda number: schema.Image(
      str(number), films[number % len(films)][number % FRAMES],
      labels={name: int(random.random() < PRESENT) for name in attributes}))


def _write(data_dir: str, header: schema.Header, counts: Mapping[str, int], make: Any) -> None:
  writer = records.DatasetWriter(os.path.join(data_dir, header.dataset), header)
  first = 0
  for split, count in counts.items():
    writer.write_split(split, range(first, first + count), make, progress=False)
    first += count
  writer.finish()


def train(flagfile: str, flags: list[str], data_dir: str, updates: int) -> dict[str, Any]:
  """Runs the training program in a process of its own.

  Returns:
    exit_code, seconds, peak_mib of the process; last_line of its error output; roles: role -> first_seconds (with tracing) and seconds,
    the median of the later steps (None where there was one step).
  """
  with tempfile.TemporaryDirectory(prefix="mppar_tf_scale_") as folder:
    run_dir, errors = os.path.join(folder, "run"), pathlib.Path(folder, "errors")
    command = [sys.executable, "-m", "mppar_tf.train", f"--flagfile={flagfile}", f"--data_dir={data_dir}", f"--run_dir={run_dir}",
               f"--max_steps={updates}", *STEPS, *flags]
    started = time.perf_counter()
    with errors.open("wb") as stderr:
      process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
      try:
        _, status, usage = os.wait4(process.pid, 0)
      except BaseException:
        process.kill()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for what is gone
    lines = errors.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").strip().splitlines()
    return {"exit_code": process.returncode, "seconds": time.perf_counter() - started, "peak_mib": usage.ru_maxrss / 2 ** 10,
            "last_line": lines[-1] if lines else "", "roles": _roles(pathlib.Path(run_dir))}


def _roles(run_dir: pathlib.Path) -> dict[str, dict[str, float | None]]:
  """What the run's events tell of each role; attackers are told as one, the dearest."""
  seconds: dict[str, list[float]] = {}
  for name, value in _scalars(run_dir):
    if name.endswith(RATE):
      seconds.setdefault(name.removeprefix("throughput/").removesuffix(RATE), []).append(1 / value)
  found = {role: {"first_seconds": times[0], "seconds": statistics.median(times[1:]) if times[1:] else None}
           for role, times in seconds.items()}
  attackers = {role: one for role, one in found.items() if role.startswith("attacker/")}
  if attackers:
    dearest = max(attackers, key=lambda role: attackers[role]["seconds"] or -math.inf)
    found = {role: one for role, one in found.items() if role not in attackers} | {dearest: attackers[dearest]}
  return found


def _scalars(run_dir: pathlib.Path) -> Iterator[tuple[str, float]]:
  import tensorflow as tf
  from tensorflow.core.util import event_pb2
  for path in sorted(run_dir.rglob("events.out.tfevents.*")):
    for serialized in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
      for value in event_pb2.Event.FromString(serialized).summary.value:
        if value.metadata.plugin_data.plugin_name == "scalars":
          yield value.tag, float(tf.make_ndarray(value.tensor))
