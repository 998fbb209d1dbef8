"""The benchmark's figures as Markdown."""

import collections
import functools
import statistics
from typing import Any, Callable, Mapping, Sequence

from mppar_tf import bench_tools_table, side_by_side

MIB = 2 ** 20
OP, TOP_OPS = "op:", 12
STORED = {"videos": "videos_bytes", "records": "records_bytes", "libjpeg": "pictures_bytes"}


def summaries(found: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
  """Figure -> variant -> its `side_by_side.summary`, from the raw rounds of a part.

  Figures: seconds and cpu_seconds of a turn; and where a turn counts clips or frames, clips_per_second, frames_per_second.
  """
  rounds, reference = found["rounds"], found["reference"]
  values = {key: [{name: figures[key] for name, figures in one.items()} for one in rounds] for key in ("seconds", "cpu_seconds")}
  for counted in ("clips", "frames"):
    if any(counted in figures for one in rounds for figures in one.values()):
      values[f"{counted}_per_second"] = [{name: figures[counted] / figures["seconds"] for name, figures in one.items()} for one in rounds]
  return {key: side_by_side.summary(rows, reference) for key, rows in values.items()}


def machine_line(machine: Mapping[str, Any]) -> str:
  versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
  load = machine["load_average_before"]
  busy = f", load average {load:.1f} at the start" if load is not None else ""
  return f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB{busy}; {versions}"


def table(part: str, found: Mapping[str, Any]) -> str:
  """One part's heading and table; a variant that failed has its reason in place of figures."""
  if "material" in found["failures"]:
    return f"### {part}\n\nNot measured: making the material {found['failures']['material']}"
  tables = {"input": _input, "building": _building, "profile_paper": _profile, "precision_paper": _precision, "trainings_paper": _trainings,
            "training_small": _training, "anonymizers": _anonymizers, "tools": functools.partial(bench_tools_table.tools, _markdown),
            "tools_attacked": functools.partial(bench_tools_table.attacked, _markdown)}
  return tables.get(part, functools.partial(_updates, part))(found)


def _updates(part: str, found: Mapping[str, Any]) -> str:
  sizes, seconds = found["sizes"], found["summary"]["seconds"]
  side = sizes["crop"]
  heading = (f"### {part}: one anonymizer update\n\n"
             f"{sizes['clips']} clip{'s' * (sizes['clips'] > 1)} of {sizes['clip_frames']}x{side}x{side} and {sizes['images']} images; "
             f"{sizes['anonymizer']}, {sizes['recognizer']}, {', '.join(sizes['attackers'])}; "
             f"{len(found['rounds'])} rounds. Seconds of one update.\n")

  def cells(name):
    own, first = seconds[name], found["first"][name]["seconds"]
    return [f"{own['median']:.3g}", f"{own['min']:.3g}", f"{own['max']:.3g}", _ratio(own),
                 f"{found['summary']['cpu_seconds'][name]['median']:.3g}", f"{first:.3g}", f"{_peak(found, name):.0f}"]
  return heading + "\n" + _of_variants(
      found, ["variant", "median s", "min", "max", _ratio_name(found), "CPU s", "trace + first call s", "peak MiB"], cells)


def shares(rounds: Sequence[Mapping[str, Mapping[str, float]]], top: int) -> list[tuple[str, dict[str, float]]]:
  """The `top` kinds that take most, all variants together, then "others": kind -> variant -> mean seconds over rounds."""
  found: dict[str, dict[str, float]] = collections.defaultdict(lambda: collections.defaultdict(float))
  counts = collections.Counter(variant for one in rounds for variant in one)
  for variant, figures in ((variant, figures) for one in rounds for variant, figures in one.items()):
    for name, value in figures.items():
      if name.startswith(OP):
        found[name.removeprefix(OP)][variant] += value / counts[variant]
  ordered = sorted(found, key=lambda kind: -sum(found[kind].values()))
  rest = {variant: sum(found[kind][variant] for kind in ordered[top:]) for variant in counts}
  return [(kind, dict(found[kind])) for kind in ordered[:top]] + ([("others", rest)] if ordered[top:] else [])


def _profile(found: Mapping[str, Any]) -> str:
  heading = (f"### profile_paper: seconds of one anonymizer update, by kinds of ops\n\n{len(found['rounds'])} rounds, mean; added up over "
             "threads, so that ops which run at the same time both count.\n")
  names = [name for name in found["variants"] if name not in found["failures"]]
  ops = shares(found["rounds"], TOP_OPS)
  totals = {name: sum(seconds.get(name, 0.0) for _, seconds in ops) for name in names}
  rows = [[kind, *(cell for name in names for cell in (f"{one.get(name, 0.0):.3g}", f"{100 * one.get(name, 0.0) / totals[name]:.1f}"))]
          for kind, one in [*ops, ("all", totals)]]
  failed = "".join(f"\n\n{name}: {reason}" for name, reason in found["failures"].items())
  return heading + "\n" + _markdown(["op", *(cell for name in names for cell in (f"{name}, s", "%"))], rows) + failed


def _precision(found: Mapping[str, Any]) -> str:
  rows = [[name, *(f"{found['distances'][name][part][figure]:.2g}" for part in ("support", "query", "meta")
                   for figure in ("relative_error", "cosine"))] for name in found["variants"] if name in found["distances"]]
  header = ["gradients against float32", *(f"{part}: {figure}" for part in ("support", "query", "meta") for figure in ("error", "cosine"))]
  return f"{_updates('precision_paper', found)}\n\n{_markdown(header, rows)}"


def _trainings(found: Mapping[str, Any]) -> str:
  heading = ("### trainings_paper: seconds of one update (in brackets the first one, which traces), peak memory\n\n"
             "Attackers: the dearest of all.\n")

  def cells(name):
    one = found["trainings"][name]
    roles = _with_dearest_attacker(one["roles"])
    roles.setdefault("recognizer", roles.get("joint"))
    return [*(_update(roles.get(role)) for role in ("reconstruction", "action", "attacker", "recognizer", "anonymizer")),
                 f"{one['peak_mib'] / 1024:.1f}", f"{one['seconds'] / 60:.1f}"]
  return heading + "\n" + _of_variants(
      found, ["training", "reconstruction", "f^D and f^A", "f^P", "f^A in the game (VITA: with f^D)", "f^D", "peak GiB", "minutes in all"],
      cells)


def _with_dearest_attacker(roles: Mapping[str, Any]) -> dict[str, Any]:
  attackers = [figures for role, figures in roles.items() if role.startswith("attacker/")]
  found = {role: figures for role, figures in roles.items() if not role.startswith("attacker/")}
  return found | ({"attacker": max(attackers, key=lambda figures: figures["seconds"] or 0.0)} if attackers else {})


def _training(found: Mapping[str, Any]) -> str:
  heading = ("### training_small: a whole training, one after the other\n\nCPU minutes count all threads, start and tracing included; "
             "the last column is wall-clock time.\n")
  reference = found["trainings"][found["reference"]]["cpu_seconds"]

  def cells(name):
    one = found["trainings"][name]
    steps = one["roles"]["anonymizer"]
    ratio = "" if found["reference"] in found["failures"] else f"{one['cpu_seconds'] / reference:.2f}"
    return [f"{one['cpu_seconds'] / 60:.2f}", ratio, f"{one['seconds'] / 60:.2f}", f"{one['peak_mib']:.0f}",
                 f"{steps['all_seconds'] / 60:.2f} ({steps['steps']} updates)"]
  header = ["method", "CPU minutes", f"ratio to {found['reference']}", "minutes", "peak MiB", "f^D's updates, minutes"]
  return heading + "\n" + _of_variants(found, header, cells)


def _update(figures: Mapping[str, float | None] | None) -> str:
  if not figures:
    return "none"
  return f"({figures['first_seconds']:.3g})" if figures["seconds"] is None else f"{figures['seconds']:.3g} ({figures['first_seconds']:.3g})"


def _input(found: Mapping[str, Any]) -> str:
  sizes, material, rates = found["sizes"], found["material"], found["summary"].get("clips_per_second", {})
  heading = (f"### input: clips of {sizes['frames']} frames, {sizes['crop']}x{sizes['crop']} pixels, frame skip {sizes['skip']}\n\n"
             f"{sizes['videos']} videos of {sizes['total']} frames; {sizes['clips']} clips a turn, {len(found['rounds'])} rounds, "
             f"files in the page cache. MB/s of uint8 pixels. "
             f"Both sides read the same clips (mean difference {material['mean_difference_of_255']:.1f} of 255).\n")

  def cells(name):
    own = rates[name]
    cpu = 1000 * found["summary"]["cpu_seconds"][name]["median"] / sizes["clips"]
    return [f"{own['median']:.3g}", f"{own['min']:.3g}", f"{own['max']:.3g}", f"{own['median'] * sizes['bytes_of_clip'] / 1e6:.3g}",
            _ratio(own), f"{cpu:.3g}", f"{_peak(found, name):.0f}", f"{material[STORED[name]] / MIB:.3g}"]
  return heading + "\n" + _of_variants(
      found, ["source", "median clips/s", "min", "max", "MB/s", _ratio_name(found), "CPU ms a clip", "peak MiB", "stored MiB"], cells)


def _building(found: Mapping[str, Any]) -> str:
  material, rates = found["material"], found["summary"].get("frames_per_second", {})
  kind = f"{material['different']} real, in turn" if material["real"] else "made up, 320x240, MPEG-4"
  heading = (f"### building: records from videos\n\n{material['videos']} videos ({kind}), {material['frames']} frames, "
             f"{material['bytes'] / 1e6:.3g} MB, stored at 160x120; {len(found['rounds'])} rounds, files in the page cache. "
             f"MB/s of what is read (decoding) or stored. starting: the same build of {material['few_videos']} videos only.\n")

  def cells(name):
    own, figures = rates[name], found["rounds"][0][name]
    seconds, frames = found["summary"]["seconds"][name]["median"], figures["frames"]
    cpu = 1000 * found["summary"]["cpu_seconds"][name]["median"] / frames
    return [f"{seconds:.3g}", f"{own['median'] * material['videos'] / material['frames']:.3g}",
            f"{own['median']:.4g} ({own['min']:.4g} to {own['max']:.4g})", f"{figures['bytes'] / seconds / 1e6:.3g}",
            _ratio(own) if frames == material["frames"] else "", f"{cpu:.3g}", f"{_peak(found, name):.0f}"]
  lines = _of_variants(
      found, ["work", "median s", "videos/s", "frames/s", "MB/s", _ratio_name(found), "CPU ms a frame", "peak MiB of one process"], cells)
  projected = [[name, str(one["videos"]), f"{one['frames'] / 1e6:.2f} million ({one['known_from']})",
                "{median:.2f} ({min:.2f} to {max:.2f})".format(**one["hours"]), f"{one['gigabytes']:.1f}"]
               for name, one in found["projection"].items()]
  header = ["projected", "videos", "frames", "hours to build, on this machine", "GB of records"]
  return f"{heading}\n{lines}" + (f"\n\n{_markdown(header, projected)}" if projected else "")


def _anonymizers(found: Mapping[str, Any]) -> str:
  sizes = found["sizes"]
  side = sizes["pixels"]
  heading = (f"### anonymizers: one frame of {side}x{side} pixels\n\nSize {sizes['size']} where none is named, {sizes['steps']} steps of "
             f"reconstruction; {len(found['rounds'])} rounds, milliseconds by LiteRT with one and two threads: the quickest run of a "
             "round, median over rounds. int8: all of it, calibrated.\n")

  def cells(name):
    facts, rounds = found["facts"][name], [one[name] for one in found["rounds"]]

    def both(values, digits):
      return " / ".join(f"{value:.{digits}}" for value in values)

    def milliseconds(kind):
      return both((statistics.median(one[f"{kind}_{threads}_ms"] for one in rounds) for threads in (1, 2)), "3g")
    return [f"{facts['multiply_adds'] / 1e6:.1f}", f"{facts['parameters']:,}", both(facts["kilobytes"].values(), "0f"),
            milliseconds("float32"), milliseconds("int8"), f"{facts['psnr_db']['int8']:.1f}",
            "" if facts["l1"] is None else f"{facts['l1']:.3f}"]
  return heading + "\n" + _of_variants(found, ["anonymizer", "million multiply-adds", "parameters", "kB, float32 / int8", "ms in float32",
                                               "ms in int8", "int8 against Keras, dB", "last L1"], cells)


def _peak(found: Mapping[str, Any], name: str) -> float:
  return max(one[name].get("largest_process_mib", one[name]["peak_mib"]) for one in found["rounds"])


def _ratio(own: Mapping[str, float]) -> str:
  return f"{own['ratio']:.2f} ({own['ratio_min']:.2f} to {own['ratio_max']:.2f})" if "ratio" in own else "none: the reference failed"


def _ratio_name(found: Mapping[str, Any]) -> str:
  return f"ratio to {found['reference']}, round by round"


def _of_variants(found: Mapping[str, Any], header: list[str], cells: Callable[[str], list[str]]) -> str:
  """A row for each variant, its name and `cells(name)`; one that failed has its reason in place of figures."""
  def row(name):
    return [found["failures"][name], *[""] * (len(header) - 2)] if name in found["failures"] else cells(name)
  return _markdown(header, [[name, *row(name)] for name in found["variants"]])


def _markdown(header: list[str], rows: list[list[str]]) -> str:
  lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
  return "\n".join("| " + " | ".join(line) + " |" for line in lines)
