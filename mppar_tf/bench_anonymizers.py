"""Anonymizers as a camera would run them: multiply-adds, bytes, milliseconds a frame, and what full 8-bit arithmetic does to the output.

Each is trained a little first, to reproduce its input: the ranges that 8 bits must span are those of a network that does something. The
files are the frozen graph's, at the size of the crop, run by LiteRT with its XNNPACK kernels.
"""

import itertools
import math
import time
from typing import Any, Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from mppar_tf import bench_videos, conversion, equalization, side_by_side
from mppar_tf.models import macs
from mppar_tf.models.anonymizers import ANONYMIZERS
from mppar_tf.on_camera import judge
from mppar_tf.on_camera.engine import Engine

FILMS, FRAMES_OF_FILM, STEP_OF_FILM = 24, 8, 12  # a film's neighbouring frames look alike
CALIBRATED, JUDGED = 64, 24  # frames of films, none of which serves twice; the others are trained on
BATCH, LEARNING_RATE = 8, 2e-3
THREADS = (1, 2)
WARM_UP, RUNS, LONGEST_SECONDS = 3, 20, 2.0  # runs of a frame in every turn, fewer of a slow one


def parsed(name: str, sizes: Sequence[str]) -> tuple[str, str | None, float]:
  """NAME, NAME/SIZE, NAME:WIDTH or NAME/SIZE:WIDTH -> anonymizer, one of `sizes` (None: the common one), width. Raises ValueError."""
  named, _, width = name.partition(":")
  anonymizer, _, size = named.partition("/")
  if anonymizer not in ANONYMIZERS:
    raise ValueError(f"{name}: there is no anonymizer {anonymizer!r}; choices: {', '.join(ANONYMIZERS)}")
  if size and size not in sizes:
    raise ValueError(f"{name}: there is no size {size!r}; choices: {', '.join(sizes)}")
  try:
    number = float(width or 1.0)
  except ValueError:
    number = math.nan
  if not 0.05 <= number <= 16:
    raise ValueError(f"{name}: a width is a number from 0.05 to 16, not {width!r}")
  return anonymizer, size or None, number


def prepare(*, anonymizer: str, width: float, size: str, pixels: int, steps: int, seed: int) -> tuple[side_by_side.Turn, dict[str, Any]]:
  """One anonymizer, built, trained for `steps`, converted; a turn times each file with one thread and with two.

  Raises ValueError where it does not take frames of `pixels` x `pixels`.
  """
  keras.utils.set_random_seed(seed)
  model = ANONYMIZERS[anonymizer](size=size, width=width, seed=seed)
  facts = {"multiply_adds": macs.count(model, pixels, pixels), "parameters": int(model.count_params())}
  judged, calibration, training = _frames(seed, pixels)
  facts["l1"] = _reconstruct(model, training, steps, seed)
  expected = np.concatenate([model(frame[None], training=False) for frame in judged])  # [N, H, W, 3]
  graph = conversion.freeze(equalization.equalized(model, calibration), pixels, pixels)
  files = {kind: conversion.convert(graph, pixels, pixels, kind, calibration) for kind in ("float32", "int8")}
  facts["kilobytes"] = {kind: len(content) / 1e3 for kind, content in files.items()}
  facts["psnr_db"] = {kind: judge.psnr_db(expected, Engine(content).run_all(judged)) for kind, content in files.items()}
  engines = {(kind, threads): Engine(content, threads=threads) for kind, content in files.items() for threads in THREADS}

  def turn(number: int) -> side_by_side.Figures:
    found = {f"{kind}_{threads}_ms": 1000 * _seconds(engine, judged[number % len(judged)]) for (kind, threads), engine in engines.items()}
    one = found["int8_1_ms"] / 1000
    return found | {"seconds": one, "cpu_seconds": one}

  return turn, facts


def _frames(seed: int, pixels: int) -> list[np.ndarray]:
  """Frames that are judged, that calibrate, and that are trained on; [N, pixels, pixels, 3] float32 in [0, 1] each."""
  def film(number: int) -> Iterator[np.ndarray]:
    frames = bench_videos.pictures(seed + number, FRAMES_OF_FILM * STEP_OF_FILM, pixels, pixels)
    return itertools.islice(frames, 0, None, STEP_OF_FILM)
  made = np.stack([frame for number in range(FILMS) for frame in film(number)]).astype(np.float32) / 255
  return np.split(made, (JUDGED, JUDGED + CALIBRATED))


def _reconstruct(model: keras.Model, frames: np.ndarray, steps: int, seed: int) -> float | None:
  """Stage 1 of a training in small: L1 to the input, on windows of half the frame's side. The last loss; None without steps."""
  random, side = np.random.default_rng(seed), frames.shape[1] // 2 // 16 * 16 or frames.shape[1]
  optimizer, loss = keras.optimizers.Adam(LEARNING_RATE), None

  @tf.function
  def update(batch):
    with tf.GradientTape() as tape:
      error = tf.reduce_mean(tf.abs(model(batch, training=True) - batch))
    gradients = tape.gradient(error, model.trainable_variables)
    optimizer.apply_gradients(zip(tf.clip_by_global_norm(gradients, 10.0)[0], model.trainable_variables))
    return error

  for _ in range(steps):
    top, left = random.integers(0, frames.shape[1] - side + 1, 2)
    loss = update(frames[random.integers(0, len(frames), BATCH), top:top + side, left:left + side])
  return None if loss is None else float(loss)


def _seconds(run: Callable[[np.ndarray], Any], frame: np.ndarray) -> float:
  """Seconds of a frame, the quickest of many runs: what else the machine does only ever adds, and these are fractions of its time slice."""
  times, end = [], time.perf_counter() + LONGEST_SECONDS
  while len(times) < WARM_UP + RUNS and (len(times) < 2 * WARM_UP or time.perf_counter() < end):
    began = time.perf_counter()
    run(frame)
    times.append(time.perf_counter() - began)
  return min(times[WARM_UP:])
