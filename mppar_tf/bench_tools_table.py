"""The figures of bench's part `tools` as one Markdown table."""

import statistics
from typing import Any, Callable, Mapping

from mppar_tf.bench_attacked import FIGURES, RAW

HEADER = ["", "frames/s, with start", "frames/s, without", "start, s", "CPU ms a frame", "peak MiB", "faces still found, clips",
          "faces still found, UTKFace"]
ATTACKED = ["", "action top-1 ↑", "known cMAP ↓", "novel cMAP ↓"]
NONE = "-"
Markdown = Callable[[list[str], list[list[str]]], str]


def tools(markdown: Markdown, found: Mapping[str, Any]) -> str:
  """Heading, a row for raw frames and each tool, what stands behind the figures, and what failed."""
  rows = [[name, *_speed(found, name), *_faces(found, name)] for name in (RAW, *found["variants"])]
  return "\n\n".join([_heading(found), markdown(HEADER, rows), *_notes(found), *_failed(found)])


def attacked(markdown: Markdown, found: Mapping[str, Any]) -> str:
  """The same of what attackers read."""
  tried = [name for name in found["variants"] if name not in found["rows"]]
  rows = [[name, *_three(figures)] for name, figures in found["rows"].items()]
  rows += [[name, found["failures"].get(name, NONE), *[NONE] * 2] for name in tried]
  if found["chance"]:
    rows.append(["chance", *_three(found["chance"])])
  sees = found["deface_sees"]
  note = [f"deface hides faces alone, by its design: it finds one in {sees['hit']} of {sees['frames']} IXMAS frames."] if sees else []
  heading = "### tools_attacked: what attackers read behind each tool, IXMAS and UTKFace"
  return "\n\n".join([heading, markdown(ATTACKED, rows), *note, *_failed(found)])


def _heading(found: Mapping[str, Any]) -> str:
  material, packages = found["material"], found["packages"]
  kind = "real" if material["real"] else "made up, nobody is seen in them"
  return (f"### tools: the camera beside others, from file to file\n\n{material['clips']} clips ({kind}), {material['frames']} frames; "
          f"{len(found['rounds'])} rounds, median (in brackets least and most). Without the start: the medians' difference. CPU ms without "
          f"the start, all threads. The camera's network has one thread, the others have all cores. deface {packages['deface']}, its "
          f"defaults, network run by {packages['backend of deface']}; OpenCV {packages['opencv-python-headless']}; faces found by mtcnn "
          f"{packages['mtcnn']}.")


def _speed(found: Mapping[str, Any], name: str) -> list[str]:
  if name in found["failures"]:
    return [found["failures"][name], *[NONE] * 4]
  turns = [one[name] for one in found["rounds"] if name in one]
  if not turns:
    return [NONE] * 5
  return [_spread([one["frames"] / one["seconds"] for one in turns]),
          _without_start(turns),
          _spread([one["start_seconds"] / one["files"] for one in turns]),
          _spread([1000 * (one["cpu_seconds"] - one["start_cpu_seconds"]) / one["frames"] for one in turns]),
          f"{max(one['largest_process_mib'] for one in turns):.0f}"]


def _without_start(turns: list[Mapping[str, float]]) -> str:
  """From medians, not round by round: on a busy machine one start may take longer than a whole clip a moment later."""
  seconds = statistics.median(one["seconds"] for one in turns) - statistics.median(one["start_seconds"] for one in turns)
  return f"{turns[0]['frames'] / seconds:.3g}" if seconds > 0 else "lost in noise"


def _spread(values: list[float]) -> str:
  return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def _faces(found: Mapping[str, Any], name: str) -> list[str]:
  """Raw frames: how many faces the judge sees; a tool: how many of these it still sees."""
  cells = []
  for kind in ("clips", "images"):
    seen = found["faces"].get(kind)
    if name == RAW:
      cells.append(f"{seen['true']} in {seen['frames']} frames" if seen else NONE)
    elif seen and name in seen["still"]:
      still = seen["still"][name]["matched"]
      cells.append(f"{still} of {seen['true']} ({still / seen['true']:.0%})" if seen["true"] else "none to be found")
    else:
      cells.append(NONE)
  return cells


def _three(figures: Mapping[str, float]) -> list[str]:
  return [f"{figures[name]:.3f}" for name in FIGURES]


def _notes(found: Mapping[str, Any]) -> list[str]:
  kinds = {"clips": "the clips", "images": "UTKFace"}
  return [f"Share of raw frames of {kinds[kind]} with a face: "
          + ", ".join(f"{name} {share:.2f}" for name, share in seen["raw"].items())
          + ". Frames with a face anywhere behind a tool (MTCNN, false alarms among them): "
          + ", ".join(f"{name} {one['hit'] / one['frames']:.2f}" for name, one in seen["still"].items()) + "."
          for kind, seen in found["faces"].items()]


def _failed(found: Mapping[str, Any]) -> list[str]:
  return [f"Failed: {name}: {reason}" for name, reason in found["failures"].items() if name not in found["variants"]]
