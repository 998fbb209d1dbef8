"""The losses of f^D's updates over a run, from its TensorBoard events, thinned so that they fit into a cell's results; and their plot."""

import pathlib
import statistics
from typing import Any, Iterator, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from mppar_tf import whole_files

POINTS = 40  # of a curve
ROLE = "anonymizer/"


def read(run_dir: pathlib.Path) -> dict[str, Any]:
  """What a run's events tell of f^D's updates; nothing where it has none.

  Returns:
    "curves": name of a loss -> [[update, mean of the loss over its part of the run], ...], at most POINTS of them, and
    "update_seconds": median wall-clock seconds from one update to the next, competitors' updates between them included.
  """
  losses: dict[str, dict[int, float]] = {}
  moments: dict[int, float] = {}
  for tag, step, value, moment in _scalars(run_dir):
    name = tag.removeprefix(ROLE)
    if tag.startswith(ROLE) and name.split("/")[-1].endswith("loss"):
      losses.setdefault(name, {})[step] = value  # a step that was repeated after a kill counts once
    if tag.startswith(ROLE):
      moments[step] = moment
  gaps = [moments[step] - moments[step - 1] for step in moments if step - 1 in moments]
  found: dict[str, Any] = {"curves": {name: thinned(values) for name, values in sorted(losses.items())}} if losses else {}
  return found | ({"update_seconds": statistics.median(gaps)} if gaps else {})


def _scalars(run_dir: pathlib.Path) -> Iterator[tuple[str, int, float, float]]:
  from tensorboard.backend.event_processing import event_file_loader
  from tensorboard.util import tensor_util
  for path in sorted(run_dir.glob("events.out.tfevents.*")):
    for event in event_file_loader.EventFileLoader(str(path)).Load():
      for value in event.summary.value:
        if value.metadata.plugin_data.plugin_name == "scalars":
          yield value.tag, event.step, float(tensor_util.make_ndarray(value.tensor)), event.wall_time


def thinned(values: Mapping[int, float], points: int = POINTS) -> list[list[float]]:
  """Means over at most `points` parts of equal length, each at its middle step, to six digits."""
  steps = np.array(sorted(values))
  parts = np.array_split(steps, min(points, len(steps)))
  return [[float(f"{part.mean():.6g}"), float(f"{np.mean([values[step] for step in part]):.6g}")] for part in parts]


def draw(path: pathlib.Path, runs: Mapping[str, Sequence[Mapping[str, Any]]], names: Sequence[str], title: str) -> bool:
  """Loss curves, one panel a loss: rows as the mean over seeds, single seeds faint. False: no run has any of them, nothing is drawn.

  Args:
    runs: label -> results of its seeds, as `read` gives them.
    names: of losses.
  """
  names = [name for name in names if any(name in run.get("curves", {}) for found in runs.values() for run in found)]
  if not names:
    return False
  figure = Figure(figsize=(5.2 * len(names), 4.0), layout="constrained")
  for panel, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names):
    for i, (label, found) in enumerate(runs.items()):
      lines = [np.array(run["curves"][name]) for run in found if name in run.get("curves", {})]  # [points, 2] each
      for line in lines:
        panel.plot(*line.T, color=f"C{i % 10}", alpha=0.25, linewidth=0.8)
      if lines:
        steps = np.mean([line[:, 0] for line in lines if len(line) == len(lines[0])], axis=0)
        panel.plot(steps, np.mean([np.interp(steps, *line.T) for line in lines], axis=0), color=f"C{i % 10}", label=label)
    panel.set_xlabel("updates of f^D")
    panel.set_ylabel(name.replace("_", " "))
    panel.grid(alpha=0.2)
    panel.legend(fontsize=8)
  figure.suptitle(title, fontsize=10)
  whole_files.write(path, lambda part: figure.savefig(part, format="png", dpi=110))
  return True
