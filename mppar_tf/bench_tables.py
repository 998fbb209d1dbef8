"""The benchmark's figures as Markdown."""

from typing import Any, Mapping

from mppar_tf import side_by_side

MIB = 2 ** 20


def summaries(found: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
  """Figure -> variant -> its `side_by_side.summary`, from the raw rounds of a part.

  Figures: seconds and cpu_seconds of a turn; and where a turn reads clips, clips_per_second.
  """
  rounds, reference = found["rounds"], found["reference"]
  values = {key: [{name: figures[key] for name, figures in one.items()} for one in rounds] for key in ("seconds", "cpu_seconds")}
  if any("clips" in figures for one in rounds for figures in one.values()):
    values["clips_per_second"] = [{name: figures["clips"] / figures["seconds"] for name, figures in one.items()} for one in rounds]
  return {key: side_by_side.summary(rows, reference) for key, rows in values.items()}


def machine_line(machine: Mapping[str, Any]) -> str:
  versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
  load = machine["load_average_before"]
  busy = f", load average {load:.1f} at the start" if load is not None else ""
  return f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB{busy}; {versions}"


def table(part: str, found: Mapping[str, Any]) -> str:
  """One part's heading and table; a variant that failed has its reason in place of figures."""
  return _input(found) if part == "input" else _updates(part, found)


def _updates(part: str, found: Mapping[str, Any]) -> str:
  sizes, seconds = found["sizes"], found["summary"]["seconds"]
  side = sizes["crop"]
  heading = (f"### {part}: one anonymizer update\n\n"
             f"{sizes['clips']} clip{'s' * (sizes['clips'] > 1)} of {sizes['clip_frames']}x{side}x{side} and {sizes['images']} images; "
             f"{sizes['anonymizer']}, {sizes['recognizer']}, {', '.join(sizes['attackers'])}; "
             f"{len(found['rounds'])} rounds. Seconds of one update.\n")
  rows = []
  for name in found["variants"]:
    if name in found["failures"]:
      rows.append([name, found["failures"][name], *[""] * 6])
      continue
    own, first = seconds[name], found["first"][name]["seconds"]
    rows.append([name, f"{own['median']:.3g}", f"{own['min']:.3g}", f"{own['max']:.3g}", _ratio(own),
                 f"{found['summary']['cpu_seconds'][name]['median']:.3g}", f"{first:.3g}", f"{_peak(found, name):.0f}"])
  ratio = f"ratio to {found['reference']}, round by round"
  return heading + "\n" + _markdown(["variant", "median s", "min", "max", ratio, "CPU s", "trace + first call s", "peak MiB"], rows)


def _input(found: Mapping[str, Any]) -> str:
  if "material" in found["failures"]:
    return f"### input\n\nNot measured: making the videos and records {found['failures']['material']}"
  sizes, material, rates = found["sizes"], found["material"], found["summary"].get("clips_per_second", {})
  heading = (f"### input: clips of {sizes['frames']} frames, {sizes['crop']}x{sizes['crop']} pixels, frame skip {sizes['skip']}\n\n"
             f"{sizes['videos']} videos of {sizes['total']} frames; {sizes['clips']} clips a turn, {len(found['rounds'])} rounds, "
             f"files in the page cache. MB/s of uint8 pixels. "
             f"Both sides read the same clips (mean difference {material['mean_difference_of_255']:.1f} of 255).\n")
  rows = []
  for name in found["variants"]:
    if name in found["failures"]:
      rows.append([name, found["failures"][name], *[""] * 7])
      continue
    own = rates[name]
    cpu = 1000 * found["summary"]["cpu_seconds"][name]["median"] / sizes["clips"]
    rows.append([name, f"{own['median']:.3g}", f"{own['min']:.3g}", f"{own['max']:.3g}",
                 f"{own['median'] * sizes['bytes_of_clip'] / 1e6:.3g}", _ratio(own), f"{cpu:.3g}",
                 f"{_peak(found, name):.0f}", f"{material[f'{name}_bytes'] / MIB:.3g}"])
  ratio = f"ratio to {found['reference']}, round by round"
  return heading + "\n" + _markdown(
      ["source", "median clips/s", "min", "max", "MB/s", ratio, "CPU ms a clip", "peak MiB", "stored MiB"], rows)


def _peak(found: Mapping[str, Any], name: str) -> float:
  return max(one[name]["peak_mib"] for one in found["rounds"])


def _ratio(own: Mapping[str, float]) -> str:
  return f"{own['ratio']:.2f} ({own['ratio_min']:.2f} to {own['ratio_max']:.2f})" if "ratio" in own else "none: the reference failed"


def _markdown(header: list[str], rows: list[list[str]]) -> str:
  lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
  return "\n".join("| " + " | ".join(line) + " |" for line in lines)
