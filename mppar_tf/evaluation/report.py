"""What an evaluation leaves behind: results.json, a table, the trade-off plot, a sheet of frames before and after.

Figures are fractions in the JSON and percent in tables and plots. Everything is written under another name and renamed.
"""

import dataclasses
import importlib.metadata
import itertools
import json
import pathlib
import subprocess
from typing import Any, Iterable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from mppar_tf import whole_files
from mppar_tf.evaluation.two_fold import Budget, Scores

FORMAT = 2  # of results.json
PRIVACY = {"privacy_cmap_known": "known cMAP", "privacy_cmap_novel": "novel cMAP", "identity_accuracy": "identity accuracy"}
AXES = {"privacy_cmap_known": "cMAP of known attributes", "privacy_cmap_novel": "cMAP of novel attributes",
        "identity_accuracy": "identity accuracy"}
RECORDS = ("clips", "private", "test")  # among the facts: digests of all shards of the clips, of the private set, of a test set of its own
MANNER = ("attack_batch", "polish_batch", "attacker_size")  # among the facts: what else, beside the budget, all methods must have alike
UNCOMPARED = ("save_every",)  # of the budget: it decides no figure
PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "numpy", "scikit-learn")


class ReportError(ValueError):
  """A results file that cannot be used, told in one line."""


def compose(scores: Scores, budget: Budget, *, method: str, protocol: str, benchmark: str, seed: int, **facts: Any) -> dict[str, Any]:
  """What results.json holds: the headline figures at the top level, what they rest on below, `facts` as they are."""
  return {
      "format": FORMAT, "method": method, "protocol": protocol, "benchmark": benchmark, "seed": seed,
      "action_top1": scores.action_top1, "action_top1_before_polish": scores.action_top1_before_polish,
      **_headline(scores.privacy),
      "privacy": dataclasses.asdict(scores.privacy), "polish_training_accuracy": scores.polish_training_accuracy,
      "raw": {"action_top1": scores.raw.action_top1, "action_training_accuracy": scores.raw.action_training_accuracy,
              **_headline(scores.raw.privacy), "privacy": dataclasses.asdict(scores.raw.privacy)},
      "chance": {PREFIXED.get(key, key): value for key, value in scores.chance.items()},
      "judged_videos": scores.videos, "judged_items": scores.privacy.items, "budget": dataclasses.asdict(budget),
      "wall_seconds": scores.wall_seconds, "code_commit": code_commit(), "versions": versions(), **facts}


PREFIXED = {"cmap_known": "privacy_cmap_known", "cmap_novel": "privacy_cmap_novel"}


def _headline(privacy) -> dict[str, float]:
  found = {"privacy_cmap_known": privacy.cmap_known, "privacy_cmap_novel": privacy.cmap_novel,
           "identity_accuracy": privacy.identity_accuracy}
  return {key: value for key, value in found.items() if value is not None}


def name_of(results: Mapping[str, Any]) -> str:
  """The method, and the file that was judged in its place."""
  return results["method"] + (f", {results['judged_file']['variant']}" if results.get("judged_file") else "")


def protocols(judged: str, trained: str) -> str:
  """The protocol of a figure, in words."""
  return f"protocol {judged}" + ("" if trained == judged else f" (trained under {trained})")


def write(path: pathlib.Path, results: Mapping[str, Any]) -> None:
  """Writes results.json atomically; refuses NaN, which JSON does not know."""
  whole_files.write_json(path, results)


def read(path: pathlib.Path) -> dict[str, Any]:
  """Reads a results.json back. Raises ReportError where it is none of this format."""
  try:
    results = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError) as error:
    raise ReportError(f"{path} is no results file: {error}") from None
  if results.get("format") != FORMAT:
    raise ReportError(f"{path} has results format {results.get('format')}, not {FORMAT}")
  return results


def code_commit() -> str:
  """Commit of the code, "-dirty" where tracked files differ from it, "unknown" outside of a git checkout."""
  here = pathlib.Path(__file__).resolve().parent
  try:
    git = lambda *arguments: subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
    return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
  except (OSError, subprocess.CalledProcessError):
    return "unknown"


def versions() -> dict[str, str]:
  """Installed versions of the libraries that figures hang on."""
  found = {}
  for package in PACKAGES:
    try:
      found[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      continue
  return found


def table(results: Mapping[str, Any]) -> str:
  """One run as Markdown, in percent: headline beside raw and chance, then every attacker, then every attribute."""
  kinds = [key for key in PRIVACY if key in results]
  raw, chance = results["raw"], results["chance"]
  blocks = [
      f"## {name_of(results)} on {results['benchmark']}, "
      f"{protocols(results['protocol'], results.get('trained_protocol', results['protocol']))}, seed {results['seed']}, "
      f"{results['judged_split']} split (percent)",
      _markdown(["", "action top-1, higher is better"] + [f"{PRIVACY[k]}, lower is better" for k in kinds], [
          [name_of(results), results["action_top1"]] + [results[k] for k in kinds],
          ["before the polish of f^A", results["action_top1_before_polish"]] + [None] * len(kinds),
          ["raw frames", raw["action_top1"]] + [raw[k] for k in kinds],
          ["chance", chance["action_top1"]] + [chance[k] for k in kinds]])]
  if "judged_file" in results:
    blocks += [f"f^D was run as {results['judged_file']['file']} (SHA-256 {results['judged_file']['sha256']})."]
  own_name = [k.removeprefix("privacy_") for k in kinds]
  if results["privacy"]["by_video"]:
    rows = {name_of(results): results["privacy"], "raw frames": raw["privacy"], "chance": chance}
    told = {name: side["by_video"] for name, side in rows.items() if side.get("by_video")}  # older files lack the chance of videos
    blocks += ["Frames averaged to videos. What any frame of a video shows counts as shown, so chance is another one than above.",
               _markdown([""] + [f"{PRIVACY[k]}, lower is better" for k in kinds],
                         [[name] + [side[k] for k in own_name] for name, side in told.items()])]
  from_imagenet = [name for name, start in results.get("attacker_weights", {}).items() if start == "imagenet"]
  if from_imagenet:
    blocks += [f"Attackers that start from ImageNet weights: {', '.join(from_imagenet)}; all others start from scratch."]
  if "obfuscation" in results:
    told = "; ".join(f"{name}: {one['frames_without']} of {one['frames']} frames" for name, one in results["obfuscation"]["missed"].items())
    blocks += [f"Frames in which the records show no {results['obfuscation']['part']} to hide, whoever may be there. {told}."]
  blocks += [
      "Each attacker, trained afresh. One that is weak on its own training data flatters the anonymizer; the leak is the largest figure "
      "of a column.",
      _markdown(["attacker", "training accuracy", "validation", "best step"] + [PRIVACY[k] for k in kinds]
                + [f"{PRIVACY[k]}, raw" for k in kinds] + ["training accuracy, raw"], [
          [name, own["training_accuracy"], own["validation"], str(own["best_step"])] + [own[k] for k in own_name]
          + [raw["privacy"]["attackers"][name][k] for k in own_name] + [raw["privacy"]["attackers"][name]["training_accuracy"]]
          for name, own in results["privacy"]["attackers"].items()])]
  precision = results["privacy"]["average_precision"]
  if precision:
    known = results.get("known", ())
    blocks += ["Average precision of each attribute, the largest over attackers.",
               _markdown(["attribute", "in training", name_of(results), "raw frames", "chance"], [
                   [name, "known" if name in known else "novel", value, raw["privacy"]["average_precision"][name],
                    chance["average_precision"][name]] for name, value in precision.items()])]
  return "\n\n".join(blocks) + "\n"


def write_table(path: pathlib.Path, results: Mapping[str, Any]) -> None:
  whole_files.write_text(path, table(results))


def comparable(runs: Sequence[Mapping[str, Any]]) -> None:
  """Whether figures may stand side by side: judged on the same records and split, by the same attackers, with the same budget.

  What one of two results does not tell (it is older, or of a benchmark without a test set of its own) is no difference between them.

  Args:
    runs: results, or as much of them as is known before anything was computed.
  Raises:
    ReportError: two of them cannot be compared; one line names both, and everything that differs with both values.
  """
  for (one, how), (other, otherwise) in itertools.combinations([(run, _judged(run)) for run in runs], 2):
    unlike = [f"{name} {how[name]} and {otherwise[name]}" for name in how if how[name] != otherwise.get(name, how[name])]
    if unlike:
      raise ReportError(f"{_told(one)} and {_told(other)} do not share one plot: {'; '.join(unlike)}")


def _judged(results: Mapping[str, Any]) -> dict[str, str]:
  """How a run was judged, as far as its results tell, in words."""
  budget, facts, privacy, starts = (results.get(key) or {} for key in ("budget", "facts", "privacy", "attacker_weights"))
  found = {key: results.get(key) for key in ("benchmark", "protocol", "judged_split")}
  found |= {key: value for key, value in budget.items() if key not in UNCOMPARED} | {key: facts.get(key) for key in MANNER}
  found |= {f"{key} records": facts.get(key) for key in RECORDS}
  lists = {"attackers": privacy.get("attackers"), "known": results.get("known"), "novel": results.get("novel"),
           "attacker_weights": [f"{name} {start}" for name, start in starts.items()]}
  found |= {key: ", ".join(sorted(names)) for key, names in lists.items() if names}
  return {key: str(value) for key, value in found.items() if value is not None}


def _told(results: Mapping[str, Any]) -> str:
  """A run by its name, its seed and, where its flags say it, its folder."""
  folders = [flag.partition("=")[2] for flag in results.get("flags") or () if flag.startswith("--run_dir=")]
  return f"{name_of(results)}, seed {results['seed']}" + "".join(f" ({folder})" for folder in folders[-1:])


def trade_off(path: pathlib.Path, runs: Sequence[Mapping[str, Any]]) -> None:
  """Action top-1 over privacy leak, one panel per privacy figure: methods as mean and spread over seeds, beside raw frames and chance.

  Args:
    runs: results that are `comparable`, any number of methods and seeds.
  Raises:
    ReportError: there are none, they cannot be compared, or they have no privacy figure in common.
  """
  comparable(runs)
  kinds = [key for key in PRIVACY if runs and all(key in r for r in runs)]
  if not kinds:
    raise ReportError(f"runs of {' and of '.join(dict.fromkeys(map(name_of, runs))) or 'nothing'} do not share one plot: no privacy figure "
                      "is of all of them")
  methods = list(dict.fromkeys(map(name_of, runs)))
  figure = Figure(figsize=(5.2 * len(kinds) + 2.2, 4.6), layout="constrained")
  panels = figure.subplots(1, len(kinds), squeeze=False)[0]
  for panel, kind in zip(panels, kinds):
    for i, method in enumerate(methods):
      _cluster(panel, [(r[kind], r["action_top1"]) for r in runs if name_of(r) == method], f"C{i % 10}", "os^vDPX*"[i // 10 % 8], method)
    once = {r["seed"]: r for r in runs}.values()  # the level on raw frames is a seed's, whatever the method
    _cluster(panel, [(r["raw"][kind], r["raw"]["action_top1"]) for r in once], "black", "s", "raw frames")
    chance = np.mean([(r["chance"][kind], r["chance"]["action_top1"]) for r in once], axis=0) * 100  # [2]
    panel.axvline(chance[0], color="grey", linestyle=":", linewidth=1.2, label=f"chance (action: {chance[1]:.1f})")
    lowest = min(panel.dataLim.y0, 100 * min(min(r["action_top1"], r["raw"]["action_top1"]) for r in runs))
    panel.margins(0.12)
    if chance[1] > lowest - 10:  # far below, it would press all methods into one line
      panel.axhline(chance[1], color="grey", linestyle=":", linewidth=1.2)
    else:
      panel.set_ylim(bottom=lowest - 5)
    panel.set_xlabel(f"{AXES[kind]} in percent (lower is better)")
    panel.set_ylabel("action top-1 in percent (higher is better)")
    panel.text(0.02, 0.98, "\u2196 better", transform=panel.transAxes, va="top", color="grey", fontsize=9,
               bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    panel.grid(alpha=0.2)
  handles, labels = panels[0].get_legend_handles_labels()
  figure.legend(handles, labels, loc="outside right center", frameon=False)
  seeds = sorted({sum(name_of(r) == method for r in runs) for method in methods})
  counts = f"{seeds[0]} seeds" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds a method"
  spread = f": mean and standard deviation over {counts}, small dots are single runs" if seeds[-1] > 1 else ": one seed, hence no spread"
  figure.suptitle(f"{runs[0]['benchmark']}, protocol {runs[0]['protocol']}{spread}", fontsize=10)
  whole_files.write(path, lambda part: figure.savefig(part, format="png", dpi=110))


def sheet(path: pathlib.Path, rows: Iterable[tuple[str, np.ndarray, np.ndarray]], title: str = "") -> None:
  """Frames before and after, one above the other.

  Raw frames stand here beside anonymized ones: this is for local evaluation on dataset frames alone, the sheet says so in its title, and
  neither the camera nor an export ever calls it.

  Args:
    rows: (caption, raw [N, H, W, 3], anonymized [N, H, W, 3]) in [0, 1].
  """
  rows = list(rows)
  columns = max(len(raw) for _, raw, _ in rows)
  figure = Figure(figsize=(1.3 * columns, 3.0 * len(rows) + 0.5), layout="constrained")
  figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
  panels = figure.subplots(2 * len(rows), columns, squeeze=False)
  for panel in panels.flat:
    panel.axis("off")
  for i, (caption, raw, anonymized) in enumerate(rows):
    for j, (name, frames) in enumerate(((f"{caption}, raw", raw), (f"{caption}, anonymized", anonymized))):
      for k, frame in enumerate(frames):
        panels[2 * i + j, k].imshow(np.clip(frame, 0.0, 1.0), interpolation="nearest")
      panels[2 * i + j, 0].set_title(name, loc="left", fontsize=8)
  figure.suptitle(f"{title}\nraw frames of the dataset: local evaluation only", fontsize=9)
  whole_files.write(path, lambda part: figure.savefig(part, format="png", dpi=110))


def _cluster(panel, points: Sequence[tuple[float, float]], color: str, marker: str, label: str) -> None:
  points = np.asarray(points, np.float64) * 100  # [runs, 2]
  if len(points) == 1:
    panel.plot(*points[0], marker, color=color, markersize=8, label=label)
    return
  mean, spread = points.mean(axis=0), points.std(axis=0, ddof=1)
  panel.errorbar(*mean, xerr=spread[0], yerr=spread[1], color=color, marker=marker, markersize=7, linestyle="none", capsize=3, label=label)
  panel.plot(*points.T, ".", color=color, alpha=0.4, markersize=5)


def _percent(value: Any) -> str:
  return "" if value is None else value if isinstance(value, str) else f"{100 * value:.1f}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
  body = [[_percent(cell) for cell in row] for row in rows]
  widths = [max(len(line[i]) for line in [list(head), *body]) for i in range(len(head))]
  line = lambda cells: "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |"
  return "\n".join([line(head), line(["-" * width for width in widths])] + [line(row) for row in body])
