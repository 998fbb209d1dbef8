"""Where the time of one update goes: seconds of each kind of op, as TensorFlow's profiler sees them."""

import collections
import pathlib
import tempfile
from typing import Any, Callable

import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from mppar_tf import bench_tables

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
        seconds[bench_tables.OP + _plain(kind)] += event.duration_ps / 1e12
  return dict(seconds)


def _plain(kind: str) -> str:
  for prefix in ONE_DNN:
    kind = kind.removeprefix(prefix)
  return kind
