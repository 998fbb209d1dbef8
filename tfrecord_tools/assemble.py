"""Builds one dataset's folder of records from a plan: workers decode and compress, this process writes.

A build that is killed resumes with the shards that it finished; one that fails leaves no manifest, so nothing can read what is there.
TensorFlow is imported inside functions, because spawned workers import whatever the main program imports at its top.
"""

import contextlib
import fcntl
import functools
import os
import pathlib
import time
from typing import Any, Iterator, NamedTuple, Sequence

import mppar_tf
from tfrecord_tools.plan import SPLITS, Item, Plan
from tfrecord_tools.pool import LeftOut, make_one, ordered_map


class TooManyErrors(RuntimeError):
  """More bad items than allowed; `problems` tells each that was found, with its reason."""

  def __init__(self, message: str, problems: Sequence[str]):
    super().__init__(message)
    self.problems = tuple(problems)


class Report(NamedTuple):
  """What a build did."""
  manifest: Any  # mppar_tf.data.records.Manifest
  problems: tuple[str, ...]  # what was left out
  seconds: float


def assemble(plan: Plan, data_dir: str, *, jobs: int = 0, allow_errors: int = 0, jpeg_quality: int = 95, progress: bool = True) -> Report:
  """Writes `data_dir/plan.dataset`, or completes what an interrupted build left there.

  Raises:
    TooManyErrors: more than `allow_errors` items cannot become records; no manifest is written.
    RecordsError: the folder holds another dataset, or it cannot be written.
    WorkerLost: a worker was killed.
  """
  started = time.monotonic()
  _check_errors(plan, [str(problem) for problem in plan.problems], allow_errors, "its table was read, nothing was decoded")
  with lock(data_dir, plan.dataset):
    manifest, problems = _write(plan, os.path.join(data_dir, plan.dataset), jobs, allow_errors, jpeg_quality, progress)
  return Report(manifest, problems, time.monotonic() - started)


def _write(plan: Plan, folder: str, jobs: int, allow_errors: int, quality: int, progress: bool) -> tuple[Any, tuple[str, ...]]:
  from mppar_tf.data import records, schema
  record = schema.Video if plan.kind == "video" else schema.Image
  header = schema.Header(plan.dataset, plan.kind, plan.classes, plan.attributes)
  settings = {**plan.settings, "left_out": [str(problem) for problem in plan.problems]}
  writer = records.DatasetWriter(
      folder, header, source_sha256=plan.source_sha256, settings=settings, licence=plan.licence, quality=quality,
      closed_set_identity=plan.closed_set_identity, tool_version=mppar_tf.__version__)
  make = functools.partial(make_one, plan.make, quality)
  with ordered_map(jobs) as workers:
    def mapper(_: Any, items: Sequence[Item]) -> Iterator[Any]:
      for item, made in zip(items, workers(make, [item.work for item in items])):
        yield records.Skipped(item.id, made.reason) if isinstance(made, LeftOut) else record(**made)
    for split in SPLITS:
      items = plan.items.get(split, ())
      if items:
        shards = -(-len(items) // plan.shard_records)
        # The plan's order is a hash of the ids already; it mixes classes whatever the table's order.
        writer.write_split(split, items, make, shards=shards, shuffle_seed=None, mapper=mapper, progress=progress)
  skipped = [text for shards in writer.splits.values() for shard in shards for text in shard.skipped]
  problems = (*settings["left_out"], *skipped)
  _check_errors(plan, problems, allow_errors, "no manifest was written")
  return writer.finish(), problems


def _check_errors(plan: Plan, problems: Sequence[str], allowed: int, state: str) -> None:
  if len(problems) > allowed:
    items = sum(map(len, plan.items.values())) + len(plan.problems)
    raise TooManyErrors(f"{plan.dataset}: {len(problems)} of {items} items cannot become records, --allow_errors={allowed}; {state}", problems)


@contextlib.contextmanager
def lock(data_dir: str, dataset: str) -> Iterator[None]:
  """Two trainings started together build a dataset once: the second waits here, and then finds it."""
  if "://" in data_dir:
    yield  # object stores know no locks; a build there is one person's deliberate act
    return
  folder = pathlib.Path(data_dir)
  folder.mkdir(parents=True, exist_ok=True)
  with open(folder / f".{dataset}.lock", "w", encoding="utf-8") as held:
    fcntl.flock(held, fcntl.LOCK_EX)
    yield


def describe(report: Report, folder: str) -> str:
  """The end report: records by split, of each class and attribute, what was left out, bytes, seconds."""
  from mppar_tf.data import records
  manifest = report.manifest
  size = sum(shard.bytes for shards in manifest.splits.values() for shard in shards)
  total = sum(shard.records for shards in manifest.splits.values() for shard in shards)
  lines = [f"{folder}: {total} {manifest.kind} records, {size / 1e6:.1f} MB, {report.seconds:.1f} s"]
  for split, shards in manifest.splits.items():
    opened = records.open_split(folder, split, check="size")
    lines.append(f"  {split}: {sum(shard.records for shard in shards)} in {len(shards)} shard{'s' if len(shards) > 1 else ''}")
    lines += [f"    {line}" for line in _counts(opened, manifest)]
  return "\n".join(lines)


def _counts(opened: Any, manifest: Any) -> Iterator[str]:
  import numpy as np
  from mppar_tf.data import records
  if manifest.classes:
    counts = np.bincount(records.actions(opened)[records.actions(opened) >= 0], minlength=len(manifest.classes))
    yield "actions: " + ", ".join(f"{name} {count}" for name, count in zip(manifest.classes, counts))
  if manifest.attributes:
    labels = records.labels(opened, manifest.attributes)  # [N, P]
    present, absent = (labels > 0).sum(0), (labels == 0).sum(0)
    yield "attributes (present/labelled): " + ", ".join(
        f"{name} {yes}/{yes + no}" for name, yes, no in zip(manifest.attributes, present, absent))
  if manifest.subjects:
    yield f"subjects: {len(np.unique(records.subjects(opened)))}"
