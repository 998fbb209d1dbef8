"""Where the time of one update goes: seconds of each kind of op, as TensorFlow's profiler sees them."""

import collections
import pathlib
import tempfile
from typing import Any, Callable, Mapping, Sequence

import tensorflow as tf
from tensorflow.core.profiler.protobuf import xplane_pb2

PREFIX = "op:"
# Control flow and calls last as long as what they hold, which is counted by itself.
HOLDERS = ("Case", "If", "StatelessCase", "StatelessIf", "While", "StatelessWhile", "PartitionedCall", "StatefulPartitionedCall")
ONE_DNN = ("_MklNative", "_Mkl", "_Fused")  # what the graph's optimizer puts before a name: the same mathematics


def profiled(work: Callable[[], Any]) -> dict[str, float]:
  """Does `work` under the profiler: "op:KIND" -> seconds in which ops of that kind ran, added up over threads.

  Two ops that run at the same time both count, so the sum may exceed the wall-clock time.
  """
  with tempfile.TemporaryDirectory(prefix="mppar_tf_profile_") as folder:
    with tf.profiler.experimental.Profile(folder):
      work()
    [path] = pathlib.Path(folder).rglob("*.xplane.pb")
    space = xplane_pb2.XSpace.FromString(path.read_bytes())
  seconds: dict[str, float] = collections.Counter()
  for plane in space.planes:
    for event in (event for line in plane.lines for event in line.events):
      name = plane.event_metadata[event.metadata_id].name
      kind = name.rpartition(":")[2] if ":" in name and "::" not in name else ""
      if kind and kind not in HOLDERS and " " not in kind:
        seconds[PREFIX + _plain(kind)] += event.duration_ps / 1e12
  return dict(seconds)


def _plain(kind: str) -> str:
  for prefix in ONE_DNN:
    kind = kind.removeprefix(prefix)
  return kind


def shares(rounds: Sequence[Mapping[str, Mapping[str, float]]], top: int) -> list[tuple[str, dict[str, float]]]:
  """The `top` kinds that take most, all variants together, then "others": kind -> variant -> mean seconds over rounds."""
  found: dict[str, dict[str, float]] = collections.defaultdict(lambda: collections.defaultdict(float))
  counts = collections.Counter(variant for one in rounds for variant in one)
  for variant, figures in ((variant, figures) for one in rounds for variant, figures in one.items()):
    for name, value in figures.items():
      if name.startswith(PREFIX):
        found[name.removeprefix(PREFIX)][variant] += value / counts[variant]
  ordered = sorted(found, key=lambda kind: -sum(found[kind].values()))
  rest = {variant: sum(found[kind][variant] for kind in ordered[top:]) for variant in counts}
  return [(kind, dict(found[kind])) for kind in ordered[:top]] + ([("others", rest)] if ordered[top:] else [])
