"""Checkpoints that are whole or absent.

Each is a folder `step-NNNNNNNNN`, written under another name and renamed when it is on disk, so that a kill at any moment leaves the last
whole one. It holds every variable (networks, BatchNorm statistics, optimizer slots) and `state.json` (gate, stream positions). The last K
stay, and the best by validation.
"""

import json
import os
import pathlib
import re
import shutil
from typing import Any, Mapping, Sequence

import tensorflow as tf

from mppar_tf import whole_files
from mppar_tf.messages import one_line

BEST = "best.json"
INITIALISED = "initialised"  # the end of stages 1 to 3, which runs of other methods may start from


class CheckpointError(ValueError):
  """A checkpoint that cannot be read or written, told in one line."""


class Checkpoints:
  """The checkpoints of one run.

  Args:
    folder: where they lie; made when the first is saved.
    variables: group name -> variables, in an order that does not change between program starts.
    keep: how many of the last are kept.
  """

  def __init__(self, folder: str | os.PathLike, variables: Mapping[str, Sequence[Any]], keep: int = 3):
    self._folder, self._keep = pathlib.Path(folder), keep
    self._variables = {name: [v.value for v in group] for name, group in variables.items()}

  def _tracker(self, groups: Sequence[str] | None = None) -> tf.train.Checkpoint:
    unknown = sorted(set(groups or ()) - set(self._variables))
    if unknown:
      raise CheckpointError(f"variables of {', '.join(unknown)} are not among {', '.join(self._variables)}")
    chosen = {name: group for name, group in self._variables.items() if groups is None or name in groups}
    return tf.train.Checkpoint(groups={name.replace("/", "."): list(group) for name, group in chosen.items() if group})

  def not_finite(self) -> list[str]:
    """Groups that hold a NaN or an infinity: a state that must not be saved."""
    def whole(group):
      return tf.reduce_all([tf.reduce_all(tf.math.is_finite(v)) for v in group if v.dtype.is_floating])
    return [name for name, group in self._variables.items() if not whole(group)]

  def save(self, step: int, state: Mapping[str, Any], name: str | None = None) -> pathlib.Path:
    """Writes a checkpoint; returns its folder. `name` in place of the step's name keeps it for ever.

    One that is there already is left alone: runs are deterministic. Raises CheckpointError: best.json is damaged; the checkpoint is whole.
    """
    final = self._folder / (name or f"step-{step:09d}")
    if (final / "state.json").exists():
      return final
    part = self._folder / f".part-{final.name}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    self._tracker().write(str(part / "variables"))
    (part / "state.json").write_text(json.dumps({"step": step, **state}, indent=1, sort_keys=True), encoding="utf-8")
    for file in part.iterdir():
      whole_files.sync(file)
    os.replace(part, final)
    whole_files.sync(self._folder)
    self._clean()
    return final

  def _clean(self) -> None:
    best = self.best()
    for old in self.steps()[:-self._keep]:
      if best is None or old != best:
        shutil.rmtree(self._folder / f"step-{old:09d}")
    for left in (*self._folder.glob(".part-*"), *self._folder.glob("step-*")):
      if left.name.startswith(".part") or not (left / "state.json").exists():
        shutil.rmtree(left, ignore_errors=True)  # of a save or a cleaning that was killed

  def steps(self) -> list[int]:
    """Steps of all whole checkpoints, ascending."""
    found = (re.fullmatch(r"step-(\d+)", p.name) for p in self._folder.glob("step-*") if (p / "state.json").exists())
    return sorted(int(m.group(1)) for m in found if m)

  def mark_best(self, step: int, score: float) -> None:
    """Remembers a step as the best so far; its checkpoint stays. The one before stays the best until that checkpoint is whole.

    Called just BEFORE the step is saved: a kill in between repeats the step and marks it again.

    Raises:
      CheckpointError: best.json is damaged or cannot be written.
    """
    self._write_marks([(step, score), *self._whole_marks()])

  def forget_unsaved(self) -> None:
    """Takes back the mark of a step whose save was killed: done again, by another number of threads say, it may score otherwise.

    Raises:
      CheckpointError: best.json is damaged or cannot be written.
    """
    whole = self._whole_marks()
    if whole and whole[0] != self._marks()[0]:
      self._write_marks(whole)

  def best(self) -> int | None:
    """The step marked best whose checkpoint is whole. Raises CheckpointError: best.json is damaged."""
    return next((step for step, _ in self._whole_marks()), None)

  def best_score(self) -> float:
    """Its score; minus infinity where there is none. Raises CheckpointError: best.json is damaged."""
    return next((score for _, score in self._whole_marks()), float("-inf"))

  def _whole_marks(self) -> list[tuple[int, float]]:
    saved = self.steps()
    return [mark for mark in self._marks() if mark[0] in saved]

  def _marks(self) -> list[tuple[int, float]]:
    """(step, score) of the step marked last and of the best before it; empty where none was marked."""
    path = self._folder / BEST
    try:
      last = json.loads(path.read_text(encoding="utf-8"))
      return [(int(mark["step"]), float(mark["score"])) for mark in (last, last.get("before")) if mark is not None]
    except FileNotFoundError:
      return []
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
      raise CheckpointError(f"{path} is damaged ({one_line(error, 100)}); remove it, and the best is chosen among later ones") from error

  def _write_marks(self, marks: Sequence[tuple[int, float]]) -> None:
    last, *before = ({"step": step, "score": score} for step, score in marks)
    value = last | {"before": before[0] if before else None}

    def fill(part: pathlib.Path) -> None:
      part.write_text(json.dumps(value), encoding="utf-8")
      whole_files.sync(part)
    try:
      whole_files.write(self._folder / BEST, fill)
      whole_files.sync(self._folder)
    except OSError as error:
      raise CheckpointError(f"{self._folder / BEST} cannot be written: {one_line(error, 200)}") from error

  def find(self, which: str) -> pathlib.Path:
    """The folder of `last`, `best` or a named checkpoint. Raises CheckpointError where there is none."""
    steps = self.steps()
    if which == "last" and steps:
      return self._folder / f"step-{steps[-1]:09d}"
    if which == "best" and self.best() is not None:
      return self._folder / f"step-{self.best():09d}"
    if which not in ("last", "best") and (self._folder / which / "state.json").exists():
      return self._folder / which
    raise CheckpointError(f"no {which} checkpoint in {self._folder}")

  def held_by(self, folder: pathlib.Path) -> list[str]:
    """The groups of this run that another method's checkpoint holds: its game may have had other optimizers, but the same networks.

    Raises:
      CheckpointError: other networks, or it is damaged.
    """
    try:
      stored = {key.split("/")[1].replace("..", ".") for key, _ in tf.train.list_variables(str(folder / "variables")) if "/" in key}
    except (ValueError, IndexError, OSError, tf.errors.OpError) as error:
      raise CheckpointError(f"{folder} is damaged: {one_line(error, 200)}") from error
    ours = {name.replace("/", "."): name for name, group in self._variables.items() if group}
    if others := sorted(name for name in stored ^ ours.keys() if name.startswith("model.")):
      raise CheckpointError(f"{folder} does not fit this run's networks: {', '.join(others)} on one side alone")
    return [name for group, name in ours.items() if group in stored]

  def restore(self, folder: pathlib.Path, groups: Sequence[str] | None = None) -> dict[str, Any]:
    """Reads variables (of `groups`, default all) and returns the saved state.

    Raises:
      CheckpointError: the checkpoint holds other networks than this run, or is damaged; a group that nobody knows.
    """
    tracker = self._tracker(groups)
    try:
      status = tracker.read(str(folder / "variables"))
      status.assert_existing_objects_matched().expect_partial() if groups else status.assert_consumed()
      return json.loads((folder / "state.json").read_text(encoding="utf-8"))
    # IndexError is TensorFlow's word for a truncated file.
    except (AssertionError, ValueError, IndexError, OSError, tf.errors.OpError) as error:
      raise CheckpointError(f"{folder} is damaged or does not fit this run's networks: {one_line(error, 200)}") from error
