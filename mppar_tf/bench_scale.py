"""Whole trainings at the papers' size, a handful of steps in every stage: do they run, in what memory, and how long does an update take?

Each is the program mppar_tf.train itself with one of the paper's flagfiles, on records of the right form but of made-up pictures: what is
learned means nothing, what it costs is real. A whole training at the benchmark's size is measured in the same way.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from mppar_tf import bench_videos, side_by_side
from mppar_tf.data import records, schema, vocabularies

VIDEOS = {"train": 32, "validation": 16, "test": 4}  # at least a batch of clips each
IMAGES = {"train": 256, "validation": 64, "test": 32}
FRAMES = 34  # a clip of 16 with skip 2, and a little
ACTIONS = {"ucf101": 101, "hmdb51": 51, "sbu": 8}
PAIRS = 13  # of people: sbu's private label
PRESENT = 0.4  # share of positive labels
# Three anonymizer updates (a model-wise one, an attribute-wise one, and one that traces nothing) and a few steps of each other stage.
HANDFUL = ("--max_steps=3", "--reconstruction_steps=3", "--action_steps=3", "--attacker_init_steps=2", "--max_recognizer_steps=1",
           "--max_attacker_rounds=1", "--validate_every=1000", "--checkpoint_every=1000", "--checkpoint_steps=1000")
RATE = "_steps_per_second"


def make_records(data_dir: str, seed: int) -> None:
  """Datasets ucf101, hmdb51_without_pa_hmdb51, pa_hmdb51, vispr and sbu, a few records each, as their readers would name and label them."""
  random = np.random.default_rng(seed)
  films = [list(bench_videos.pictures(seed + number, FRAMES)) for number in range(4)]
  classes_of = {name: tuple(f"action{number}" for number in range(count)) for name, count in ACTIONS.items()}
  for name, dataset in (("ucf101", "ucf101"), ("hmdb51", "hmdb51_without_pa_hmdb51")):
    classes = classes_of[name]
    _write(data_dir, schema.Header(dataset, "video", classes), VIDEOS,
           lambda number: schema.Video(str(number), films[number % len(films)], 25.0, int(random.integers(len(classes)))))
  classes = classes_of["hmdb51"]
  attributes = tuple(vocabularies.PA_HMDB51)
  _write(data_dir, schema.Header("pa_hmdb51", "video", classes, attributes), {"test": VIDEOS["test"]}, lambda number: schema.Video(
      str(number), films[number % len(films)], 30.0, int(random.integers(len(classes))),
      frame_labels={name: [int(random.random() < PRESENT)] * FRAMES for name in attributes}))
  classes = classes_of["sbu"]
  _write(data_dir, schema.Header("sbu", "video", classes), VIDEOS, lambda number: schema.Video(
      str(number), films[number % len(films)], 15.0, number % len(classes), subject=f"pair{number % PAIRS}"), closed_set_identity=True)
  attributes = (*vocabularies.VISPR, *vocabularies.PA_HMDB51)
  _write(data_dir, schema.Header("vispr", "image", (), attributes), IMAGES, lambda number: schema.Image(
      str(number), films[number % len(films)][number % FRAMES],
      labels={name: int(random.random() < PRESENT) for name in attributes}))


def _write(data_dir: str, header: schema.Header, counts: Mapping[str, int], make: Any, **declared: bool) -> None:
  writer = records.DatasetWriter(os.path.join(data_dir, header.dataset), header, **declared)
  first = 0
  for split, count in counts.items():
    writer.write_split(split, range(first, first + count), make, progress=False)
    first += count
  writer.finish()


def train(flags: Sequence[str], data_dir: str) -> dict[str, Any]:
  """Runs the training program in a process of its own.

  Returns:
    exit_code, seconds, cpu_seconds, peak_mib of the process; last_line of its error output; roles: role -> steps, first_seconds (with
    tracing), seconds (the median of the later steps, None where there was one step) and all_seconds.
  """
  with tempfile.TemporaryDirectory(prefix="mppar_tf_scale_") as folder:
    run_dir, errors = os.path.join(folder, "run"), pathlib.Path(folder, "errors")
    command = [sys.executable, "-m", "mppar_tf.train", *flags, f"--data_dir={data_dir}", f"--run_dir={run_dir}"]
    started = time.perf_counter()
    with errors.open("wb") as stderr:
      process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
      usage = side_by_side.wait(process)
    lines = errors.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").strip().splitlines()
    return {"exit_code": process.returncode, "seconds": time.perf_counter() - started,
            "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_mib": usage.ru_maxrss / 2 ** 10,
            "last_line": lines[-1] if lines else "", "roles": _roles(pathlib.Path(run_dir))}


def _roles(run_dir: pathlib.Path) -> dict[str, dict[str, float | None]]:
  """What the run's events tell of each role."""
  seconds: dict[str, list[float]] = {}
  for name, value in _scalars(run_dir):
    if name.endswith(RATE):
      seconds.setdefault(name.removeprefix("throughput/").removesuffix(RATE), []).append(1 / value)
  return {role: {"steps": len(times), "first_seconds": times[0], "seconds": statistics.median(times[1:]) if times[1:] else None,
                 "all_seconds": sum(times)} for role, times in seconds.items()}


def _scalars(run_dir: pathlib.Path) -> Iterator[tuple[str, float]]:
  import tensorflow as tf
  from tensorflow.core.util import event_pb2
  for path in sorted(run_dir.rglob("events.out.tfevents.*")):
    for serialized in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
      for value in event_pb2.Event.FromString(serialized).summary.value:
        if value.metadata.plugin_data.plugin_name == "scalars":
          yield value.tag, float(tf.make_ndarray(value.tensor))
