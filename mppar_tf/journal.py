"""What TensorBoard shows of a run: scalars by role, before/after frames, the flags."""

import math
import pathlib
from typing import Mapping

import tensorflow as tf


REMEDY = "the last checkpoint is the one before. Lower the learning rates or set --clip_norm, in another --run_dir"


class NotFinite(ArithmeticError):
  """A loss, accuracy or norm became NaN or infinite: says at which step and which term."""


class Journal:
  """Scalars, images and text of one run.

  Args:
    folder: where event files go; each start of the program adds one. None: nowhere.
    log_every: steps of a role between its scalars.
  """

  def __init__(self, folder: pathlib.Path | None, log_every: int = 1):
    self._writer = tf.summary.create_file_writer(str(folder)) if folder else tf.summary.create_noop_writer()
    self._every = log_every

  def scalars(self, role: str, step: int, values: Mapping[str, float], *, always: bool = False) -> None:
    """Writes `role/name` at `step` (that role's own count)."""
    if not always and step % self._every:
      return
    with self._writer.as_default():
      for name, value in values.items():
        tf.summary.scalar(f"{role}/{name}", value, step=step)

  def images(self, name: str, step: int, frames: tf.Tensor) -> None:
    """Writes frames [N, H, W, 3] in [0, 1]."""
    with self._writer.as_default():
      tf.summary.image(name, frames, step=step, max_outputs=int(frames.shape[0]))

  def text(self, name: str, content: str) -> None:
    with self._writer.as_default():
      tf.summary.text(name, content, step=0)

  def flush(self) -> None:
    self._writer.flush()

  def close(self) -> None:
    self._writer.close()


def check_finite(role: str, step: int, values: Mapping[str, float]) -> None:
  """Raises NotFinite that names the role, its step and every bad term."""
  bad = [f"{name} = {value}" for name, value in values.items() if not math.isfinite(value)]
  if bad:
    raise NotFinite(f"step {step} of {role}: {', '.join(bad)}; {REMEDY}")
