"""A table of methods over seeds from their results.json: mean, spread and n, and differences paired by seed."""

import math
from typing import Any, Mapping, Sequence

import numpy as np
from scipy import stats

# No method's name. The method `raw` has another f^A than this level (its own steps, then the polish): a mean over both would be of neither.
RAW = "raw frames"
REFERENCE = "basic_equal_data"  # it sees at least as much data per anonymizer update as mppar: what is left is the meta step's own gain


HEADS = {"action_top1": "action top-1 ↑", "privacy_cmap_known": "known cMAP ↓", "privacy_cmap_novel": "novel cMAP ↓",
         "identity_accuracy": "identity accuracy ↓", "update_seconds": "seconds an update ↓", "game_minutes": "minutes of the game ↓",
         "clip_milliseconds": "inference, ms a clip ↓"}
JUDGED = ("action_top1", "privacy_cmap_known", "privacy_cmap_novel", "identity_accuracy")
MISSING = "-"


def figures(results: Sequence[Mapping[str, Any]]) -> list[str]:
  """Names of the figures that count in these results."""
  return [name for name in JUDGED if any(r.get(name) is not None for r in results)]


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


def spread(values: Sequence[float | None]) -> str:
  """Mean and sample standard deviation; a single value says so by having none. A mean over fewer than promised is none."""
  if not values or any(value is None for value in values):
    return MISSING
  values = np.asarray(values, float)
  return f"{values.mean():.3f} ± {values.std(ddof=1):.3f}" if len(values) > 1 else f"{values.mean():.3f}"


def paired_difference(ours: Mapping[int, float], reference: Mapping[int, float]) -> str:
  """Mean difference over common seeds with a 95 % confidence interval (Student's t); needs two seeds."""
  seeds = sorted(set(ours) & set(reference))
  gaps = np.array([ours[s] - reference[s] for s in seeds])
  if len(gaps) < 2:
    return "n/a (one seed)" if len(gaps) else MISSING
  half = stats.t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / math.sqrt(len(gaps))
  return f"{gaps.mean():+.3f} [{gaps.mean() - half:+.3f}, {gaps.mean() + half:+.3f}]"


def table(results: Sequence[Mapping[str, Any]], order: Sequence[str] = (), *, columns: Sequence[str] = (),
          seeds: Mapping[str, int] | None = None, beside: Mapping[str, Mapping[str, str]] | None = None,
          reference: str = REFERENCE) -> str:
  """Markdown: one row a method, chance in the last row; then differences to `reference` where two seeds of it are there.

  Args:
    results: contents of results.json files of one benchmark and protocol; what each calls its method is its row.
    order: methods in the order of rows; one without results shows that.
    columns: keys of HEADS; those of `figures` where there are none.
    seeds: method -> results promised; a row with fewer says so. Empty: as many as there are.
    beside: heads of more columns -> method -> text.
  """
  methods, seeds, beside = by_method(results), seeds or {}, beside or {}
  order = [RAW, *order]
  names = [*order, *sorted(set(methods) - set(order))] if seeds else [m for m in order if m in methods] + sorted(set(methods) - set(order))
  columns = list(columns) or figures(results) or ["action_top1"]
  lines = [_line(["method", *(HEADS[c] for c in columns), "seeds", *beside]), "|---" * (len(columns) + 2 + len(beside)) + "|"]
  for name in names:
    found = methods.get(name, {})
    count = f"{len(found)} of {seeds[name]}" if len(found) < seeds.get(name, 0) else str(len(found))
    more = [texts.get(name, "") for texts in beside.values()]
    lines.append(_line([name, *(spread([r.get(c) for r in found.values()]) for c in columns), count, *more]))
  chance = results[0]["chance"] if results else {}
  told = [f"{chance[c]:.3f}" if c in chance else MISSING for c in columns]
  lines.append(_line(["chance", *told, "", *("" for _ in beside)]))
  others = [name for name in names if name != reference]
  if reference not in methods or not others:
    return "\n".join(lines)
  if not any(len(set(methods.get(name, {})) & set(methods[reference])) > 1 for name in others):
    return "\n".join([*lines, "", f"One seed of {reference} beside others: no difference has a confidence interval."])
  lines += ["", f"Difference to {reference}, paired by seed, mean [95 % confidence interval]:", "",
            _line(["method", *(HEADS[c] for c in columns)]), "|---" * (len(columns) + 1) + "|"]
  for name in others:
    gaps = [paired_difference(_by_seed(methods, name, c), _by_seed(methods, reference, c)) for c in columns]
    lines.append(_line([name, *gaps]))
  return "\n".join(lines)


def _by_seed(methods: Mapping[str, Mapping[int, Mapping[str, Any]]], method: str, column: str) -> dict[int, float]:
  return {seed: result[column] for seed, result in methods.get(method, {}).items() if result.get(column) is not None}


def _line(cells: Sequence[str]) -> str:
  return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"
