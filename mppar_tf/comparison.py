"""A table of methods over seeds from their results.json: mean, spread and n, and differences paired by seed."""

import math
from typing import Any, Mapping, Sequence

import numpy as np
from scipy import stats

# No method's name. The method `raw` has another f^A than this level (its own steps, then the polish): a mean over both would be of neither.
RAW = "raw frames"
REFERENCE = "basic_equal_data"  # it sees as much data per anonymizer update as mppar: what is left is the meta step's own gain


def figures(results: Sequence[Mapping[str, Any]]) -> list[str]:
  """Names of the figures that count in these results."""
  names = ("action_top1", "privacy_cmap_known", "privacy_cmap_novel", "identity_accuracy")
  return [name for name in names if any(r.get(name) is not None for r in results)]


def by_method(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, Mapping[str, Any]]]:
  """method -> seed -> results. Each result also carries the level on raw frames of its seed: together they are the row RAW."""
  found: dict[str, dict[int, Mapping[str, Any]]] = {RAW: {}}
  for result in results:
    found.setdefault(result["method"], {})[result["seed"]] = result
    found[RAW].setdefault(result["seed"], _raw_level(result))
  return found


def _raw_level(result: Mapping[str, Any]) -> dict[str, Any]:
  raw = result["raw"]
  cmaps = {f"privacy_{name}": value for name, value in raw["privacy"].items() if name.startswith("cmap_")}
  return {"action_top1": raw["action_top1"], **cmaps, "identity_accuracy": raw["privacy"]["identity_accuracy"]}


def spread(values: Sequence[float]) -> str:
  """Mean and sample standard deviation; a single value says so by having none."""
  values = np.asarray(values, float)
  return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}" if len(values) > 1 else f"{values.mean():.3f}"


def paired_difference(ours: Mapping[int, float], reference: Mapping[int, float]) -> str:
  """Mean difference over common seeds with a 95 % confidence interval (Student's t); needs two seeds."""
  seeds = sorted(set(ours) & set(reference))
  gaps = np.array([ours[s] - reference[s] for s in seeds])
  if len(gaps) < 2:
    return "n/a (one seed)"
  half = stats.t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / math.sqrt(len(gaps))
  return f"{gaps.mean():+.3f} [{gaps.mean() - half:+.3f}, {gaps.mean() + half:+.3f}]"


def table(results: Sequence[Mapping[str, Any]], order: Sequence[str] = ()) -> str:
  """Markdown: one row a method, chance in the last row; then differences to REFERENCE where it is there.

  Args:
    results: contents of results.json files of one benchmark and protocol.
    order: methods in the order of rows.
  """
  methods = by_method(results)
  order = [RAW, *order]
  names = [m for m in order if m in methods] + sorted(set(methods) - set(order))
  columns = figures(results)
  head = {"action_top1": "action top-1 ↑", "privacy_cmap_known": "known cMAP ↓", "privacy_cmap_novel": "novel cMAP ↓",
          "identity_accuracy": "identity accuracy ↓"}
  lines = ["| method | " + " | ".join(head[c] for c in columns) + " | seeds |", "|---" * (len(columns) + 2) + "|"]
  for name in names:
    cells = [spread([r[c] for r in methods[name].values()]) for c in columns]
    lines.append(f"| {name} | " + " | ".join(cells) + f" | {len(methods[name])} |")
  lines.append("| chance | " + " | ".join(f"{results[0]['chance'][c]:.3f}" for c in columns) + " | |")
  if REFERENCE in methods and len(methods) > 1:
    lines += ["", f"Difference to {REFERENCE}, paired by seed, mean [95 % confidence interval]:", "",
              "| method | " + " | ".join(head[c] for c in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    by_seed = lambda method, column: {seed: result[column] for seed, result in methods[method].items()}
    for name in names:
      if name != REFERENCE:
        gaps = [paired_difference(by_seed(name, c), by_seed(REFERENCE, c)) for c in columns]
        lines.append(f"| {name} | " + " | ".join(gaps) + " |")
  return "\n".join(lines)
