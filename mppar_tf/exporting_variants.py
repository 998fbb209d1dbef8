"""The TFLite files of an export, one a variant: run, compared with Keras, timed; kept where they do what Keras does."""

import os
import pathlib
import platform
import statistics
import time
from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np

from mppar_tf import conversion
from mppar_tf.on_camera import judge
from mppar_tf.on_camera.engine import Engine
from mppar_tf.on_camera.errors import ModelRefused

SAVED_MODEL, ESSENTIAL = "saved_model", "float32"
LATENCY_THREADS = (1, 2)
LATENCY_RUNS, LATENCY_SECONDS, WARM_UP = 21, 3.0, 3  # runs of a frame, or as many as fit; the first ones of an interpreter are slow


class ExportRefused(ValueError):
  """The anonymizer is not fit to be exported, or a file of it does not do what Keras does; one line."""


class Tolerance(NamedTuple):
  """How far a file's output may be from Keras's, on frames in [0, 1]."""
  psnr_db: float  # at least
  max_abs_error: float  # at most


# Float32 files differ by the order of sums. Instance norm divides by a standard deviation, which magnifies that, and the rounding of
# weights, where a feature map is nearly flat. An 8-bit file that is further from Keras than the 30 dB at which `judge` calls two pictures
# alike gives other pictures than the network that was judged.
PARITY: Mapping[str, Tolerance] = {
    SAVED_MODEL: Tolerance(90.0, 1e-3),
    "float32": Tolerance(80.0, 5e-3),
    "float16": Tolerance(45.0, 1e-1),
    "dynamic_int8": Tolerance(35.0, 2e-1),
    "int8": Tolerance(judge.IDENTITY_PSNR_DB, 3e-1),
}


class Compared(NamedTuple):
  """Inputs and what Keras makes of them, both [N, H, W, 3] float32."""
  inputs: np.ndarray
  expected: np.ndarray


def parity(kind: str, compared: Compared, outputs: np.ndarray) -> tuple[dict[str, float], str | None]:
  """({"psnr_db", "max_abs_error", "frames"} of a file's outputs against Keras's, how it is beyond PARITY[kind] or None).

  Raises ExportRefused where nothing can be compared: another shape, NaN.
  """
  if outputs.shape != compared.expected.shape or not np.all(np.isfinite(outputs)):
    wrong = int(np.sum(~np.isfinite(outputs)))
    raise ExportRefused(f"the {kind} file answers {list(outputs.shape)} with {wrong} values that are not finite")
  found, allowed = distance(compared.expected, outputs), PARITY[kind]
  beyond = found["psnr_db"] < allowed.psnr_db or found["max_abs_error"] > allowed.max_abs_error
  told = (f"the {kind} file differs from Keras: PSNR {found['psnr_db']:.1f} dB (at least {allowed.psnr_db:g}), "
          f"largest error {found['max_abs_error']:.2g} (at most {allowed.max_abs_error:g})")
  return found | {"frames": len(outputs)}, told if beyond else None


def distance(expected: np.ndarray, outputs: np.ndarray) -> dict[str, float]:
  """{"psnr_db", "max_abs_error"} of two arrays of one shape."""
  return {"psnr_db": round(judge.psnr_db(expected, outputs), 2), "max_abs_error": float(f"{np.abs(expected - outputs).max():.3g}")}


def keep(converted: conversion.Converted, frames: Compared, pictures: Compared,
         force: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
  """What the manifest says of each file that is kept, and why others are not; these are removed.

  Args:
    converted: float32 among them.
    frames, pictures: training frames, and the built-in pictures.
    force: variants that are kept beyond their parity all the same, which their entry then says; never one that does not anonymize.
  Raises:
    ExportRefused: float32, which everything else is measured by, is not kept.
  """
  models, left_out = {}, dict(converted.failed)
  for variant, file in converted.files.items():
    try:
      models[variant] = _entry(variant, file, frames, pictures, variant in force)
    except (ExportRefused, ModelRefused) as error:
      left_out[variant] = str(error)
      file.unlink()
  if ESSENTIAL not in models:
    raise ExportRefused(f"the anonymizer is not exported: {left_out.get(ESSENTIAL, f'there is no {ESSENTIAL} file')}")
  return models, left_out


def _entry(variant: str, file: pathlib.Path, frames: Compared, pictures: Compared, forced: bool) -> dict[str, Any]:
  content = file.read_bytes()
  engine = Engine(content)
  outputs = [engine.run_all(compared.inputs) for compared in (frames, pictures)]
  found, beyond = parity(variant, frames, outputs[0])
  if beyond and not (forced and variant != ESSENTIAL):
    raise ExportRefused(beyond)
  for compared, given in zip((frames, pictures), outputs):
    fault = judge.fault(compared.inputs, given)
    if fault:
      raise ExportRefused(f"the {variant} file: {fault}")
  return {"file": file.name, "bytes": len(content), "parity": found, "built_in": distance(pictures.expected, outputs[1]),
          "interface": engine.interface, "latency_ms": {str(threads): latency_ms(content, threads, frames.inputs[0])
                                                        for threads in LATENCY_THREADS}} | ({"forced": beyond} if beyond else {})


def latency_ms(content: bytes, threads: int, frame: np.ndarray) -> float:
  """Median milliseconds in which LiteRT anonymizes `frame` [H, W, 3], on this machine."""
  engine, times = Engine(content, threads=threads), []
  for _ in range(WARM_UP):
    engine(frame)
  end = time.monotonic() + LATENCY_SECONDS
  while len(times) < WARM_UP or (len(times) < LATENCY_RUNS and time.monotonic() < end):
    start = time.perf_counter()
    engine(frame)
    times.append(time.perf_counter() - start)
  return float(f"{1000 * statistics.median(times):.3g}")


def machine() -> dict[str, Any]:
  """What latencies were measured on."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
  except OSError:
    lines = []
  names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
  return {"cpu": names[0] if names else platform.processor() or platform.machine(), "cores": os.cpu_count()}
