"""Builds one dataset's folder of records from a plan: workers decode and compress, this process writes; or a runner of Apache Beam has
each shard made and written by whichever of its workers.

A build that is killed resumes with the shards that it finished; one that fails leaves no manifest, so nothing can read what is there.
TensorFlow is imported inside functions, because spawned workers import whatever the main program imports at its top.
"""

import contextlib
import fcntl
import functools
import json
import os
import pathlib
import re
import sys
import time
from typing import Any, Callable, Iterable, Iterator, Mapping, NamedTuple, Sequence

import mppar_tf
from mppar_tf.messages import one_line
from tfrecord_tools import beam, coverage
from tfrecord_tools.plan import SPLITS, Item, Plan
from tfrecord_tools.pool import LeftOut, make_one, ordered_map

FACTS = ("kind", "classes", "attributes", "closed_set_identity", "licence", "source_sha256")  # of a plan and of a manifest
TOLD = 60  # letters of a value, where settings are told apart


class TooManyErrors(RuntimeError):
  """More bad items than allowed; `problems` tells each that was found, with its reason."""

  def __init__(self, message: str, problems: Sequence[str]):
    super().__init__(message)
    self.problems = tuple(problems)


class Report(NamedTuple):
  """What a build did."""
  manifest: Any  # mppar_tf.data.records.Manifest
  made: int  # records of this run; the others were there already
  problems: tuple[str, ...]  # what was left out
  seconds: float


def assemble(plan: Plan, data_dir: str, *, workers: int = 0, allow_errors: int = 0, jpeg_quality: int = 95, runner: str = beam.LOCAL,
             beam_options: str = "", progress: bool = True) -> Report:
  """Writes `data_dir/plan.dataset`, or completes what an interrupted build left there.

  Args:
    workers: processes (0: one for each core; 1: this process).
    runner: one of beam.RUNNERS; all but LOCAL make and write shards on Apache Beam, the same bytes.
    beam_options: its flags.
  Raises:
    BeamFailed: Apache Beam is not there, or its pipeline failed.
    TooManyErrors: more than `allow_errors` items cannot become records; no manifest is written.
    RecordsError: the folder holds records made with other settings, which are named, or it cannot be written.
    WorkerLost: a worker was killed.
  """
  started = time.monotonic()
  _check_errors(plan, [str(problem) for problem in plan.problems], allow_errors, "nothing was decoded yet")
  with lock(data_dir, plan.dataset):
    manifest, made, problems = _write(plan, os.path.join(data_dir, plan.dataset), workers, allow_errors, jpeg_quality, runner, beam_options,
                                      progress)
  return Report(manifest, made, tuple(str(one) for one in plan.absent) + problems, time.monotonic() - started)


def _write(plan: Plan, folder: str, workers: int, allow_errors: int, quality: int, runner: str, beam_options: str,
           progress: bool) -> tuple[Any, int, tuple[str, ...]]:
  from mppar_tf.data import records, schema
  header = schema.Header(plan.dataset, plan.kind, plan.classes, plan.attributes)
  problems, refused = [str(problem) for problem in plan.problems], None
  settings = {**plan.settings, "left_out": [*map(str, plan.absent), *problems]}
  try:
    # The plan's order mixes classes already, whatever the table's order; so the writer need not shuffle.
    writer = records.DatasetWriter(
        folder, header, source_sha256=plan.source_sha256, settings=settings, licence=plan.licence, quality=quality,
        closed_set_identity=plan.closed_set_identity, tool_version=mppar_tf.__version__, shuffle_seed=None)
  except records.RecordsError as error:
    different = _different(folder, plan, {**settings, "jpeg_quality": quality})
    if not different:
      raise
    raise records.RecordsError(f"{folder}: holds finished records {different}; remove the folder or choose another --data_dir") from error
  make = functools.partial(make_one, plan.make, quality)
  shards_of = {split: -(-len(plan.items[split]) // plan.shard_records) for split in SPLITS if plan.items.get(split)}
  answers: dict[str, str | None] = {}  # item id -> None for a record, else why there is none
  written: dict[str, Any] = {}  # file -> records.Shard, of shards that Beam's workers wrote
  if runner != beam.LOCAL:
    tasks = [task for split, shards in shards_of.items() for task in writer.missing(split, plan.items[split], shards=shards)]
    beam.for_each(functools.partial(_write_shard, writer.workshop, make, plan.kind), tasks, runner, beam_options)
    written = {task.file: writer.workshop.written(task) for task in tasks}
    for task in tasks:
      answers |= _answers(task.items, written[task.file].skipped)

  def converted(items: Sequence[Item], made: Iterable[Any]) -> Iterator[Any]:
    for item, one in zip(items, made):
      answers[item.id] = one.reason if isinstance(one, LeftOut) else None
      yield _as_record(plan.kind, item, one)

  with ordered_map(workers if runner == beam.LOCAL else 1) as parallel:
    for split, shards in shards_of.items():
      items = plan.items[split]
      try:
        writer.write_split(split, items, make, shards=shards, written=written, progress=progress,
                           mapper=lambda _, some: converted(some, parallel(make, [item.work for item in some])))
      except records.RecordsError as error:
        # A split of which nothing is left: go on, so that the reasons of all splits are told together.
        if any(answers.get(item.id, "") is None for item in items):
          raise
        refused = error
      kept = [item for item in items if item.id not in answers]
      problems += [f"{item.id}: {answers[item.id]}" for item in items if answers.get(item.id)]
      problems += _reasons_again(kept, make, folder, header, [records.shard_name(split, number, shards) for number in range(shards)])
  _check_errors(plan, problems, allow_errors, "no manifest was written")
  if refused:
    raise refused
  manifest = writer.finish()
  _remove_strangers(folder, {shard.file for of_split in manifest.splits.values() for shard in of_split})
  return manifest, sum(reason is None for reason in answers.values()), tuple(problems)


def _different(folder: str, plan: Plan, settings: Mapping[str, Any]) -> str:
  """How finished records in `folder` differ from what the plan would make; "" where there are none or they do not. Raises RecordsError."""
  from mppar_tf.data import records
  if not records.manifest_exists(folder):
    return ""
  former = records.read_manifest(folder)
  stored = {**former.settings, **{name: getattr(former, name) for name in FACTS}, "tool_version": former.tool_version}
  # Through JSON, as those of the former build went.
  wanted = {**json.loads(json.dumps(settings)), **{name: getattr(plan, name) for name in FACTS}, "tool_version": mppar_tf.__version__}
  names = [name for name in {**wanted, **stored} if stored.get(name) != wanted.get(name)]
  return apart(stored, wanted, names) if names else ""


def apart(stored: Mapping[str, Any], wanted: Mapping[str, Any], names: Sequence[str]) -> str:
  """The values of `names` that records were built with, and those that are wanted; of long ones what stands around the difference."""
  pairs = [_around((one_line(stored.get(name)), one_line(wanted.get(name)))) for name in names]
  built, asked = (", ".join(f"{name}={pair[side]}" for name, pair in zip(names, pairs)) for side in (0, 1))
  return f"built with {built}; wanted is {asked}"


def _around(texts: tuple[str, str]) -> list[str]:
  if max(map(len, texts)) <= TOLD:
    return list(texts)
  start = max(0, len(os.path.commonprefix(texts)) - TOLD // 3)
  return ["..." * (start > 0) + text[start:start + TOLD] + "..." * (len(text) > start + TOLD) for text in texts]


def _as_record(kind: str, item: Item, made: Any) -> Any:
  from mppar_tf.data import records, schema
  if isinstance(made, LeftOut):
    return records.Skipped(item.id, made.reason)
  return (schema.Video if kind == "video" else schema.Image)(**made)


def _write_shard(workshop: Any, make: Callable[[Any], Any], kind: str, task: Any) -> None:
  """What a worker of Beam does with one shard."""
  workshop.write(task, (_as_record(kind, item, make(item.work)) for item in task.items))


def _answers(items: Sequence[Item], skipped: Sequence[str]) -> dict[str, str | None]:
  """Item id -> None for a record, else why there is none: `skipped` tells it in the order of `items`."""
  reasons, answers = list(reversed(skipped)), {}
  for item in items:
    left_out = bool(reasons) and reasons[-1].startswith(f"{item.id}: ")
    answers[item.id] = reasons.pop().removeprefix(f"{item.id}: ") if left_out else None
  return answers


def _reasons_again(kept: Sequence[Item], make: Callable, folder: str, header: Any, files: Sequence[str]) -> list[str]:
  """A shard kept from an interrupted build shows which items it lacks, not why: those few are tried once more."""
  from mppar_tf.data import records, schema
  if not kept:
    return []
  stored = {schema.check(found.serialized, header) for file in files for found in records.scan(os.path.join(folder, file), bodies=False)}
  reasons = []
  for item in (item for item in kept if item.id not in stored):
    made = make(item.work)
    now_fine = f"could not be read by the interrupted build, and can be now; remove {folder} and build again"
    reasons.append(f"{item.id}: {made.reason if isinstance(made, LeftOut) else now_fine}")
  return reasons


def _remove_strangers(folder: str, known: set[str]) -> None:
  """Shards of an interrupted build with other settings would never be read, but look as if they belonged."""
  import tensorflow as tf
  shard = re.compile(r"(train|validation|test)-\d{5}-of-\d{5}\.tfrecord((\.journal\.json)?(\.[0-9a-f]{32})?\.writing)?")
  for name in tf.io.gfile.listdir(folder):
    if shard.fullmatch(name) and name not in known:
      tf.io.gfile.remove(os.path.join(folder, name))


def _check_errors(plan: Plan, problems: Sequence[str], allowed: int, state: str) -> None:
  if len(problems) > allowed:
    items = sum(map(len, plan.items.values())) + len(plan.problems)
    raise TooManyErrors(
        f"{plan.dataset}: {len(problems)} of {items} items cannot become records, --allow_errors={allowed}; {state}", problems)


@contextlib.contextmanager
def lock(data_dir: str, dataset: str) -> Iterator[None]:
  """Two trainings started together build a dataset once: the second waits here, and then finds it."""
  if "://" in data_dir:
    yield  # object stores know no locks; a build there is one person's deliberate act
    return
  folder = pathlib.Path(data_dir)
  folder.mkdir(parents=True, exist_ok=True)
  with open(folder / f".{dataset}.lock", "w", encoding="utf-8") as held:
    try:
      fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      print(f"{os.path.join(data_dir, dataset)} is being built by another process; waiting for it", file=sys.stderr, flush=True)
      fcntl.flock(held, fcntl.LOCK_EX)
    yield


def describe(report: Report, folder: str) -> str:
  """The end report: records by split, of each class and attribute, what was left out, bytes, seconds."""
  from mppar_tf.data import records
  manifest = report.manifest
  size = sum(shard.bytes for shards in manifest.splits.values() for shard in shards)
  total = sum(shard.records for shards in manifest.splits.values() for shard in shards)
  before = "" if report.made == total else f" ({total - report.made} of them were there already)"
  cost = f"{size / 1e6:.1f} MB, {report.seconds:.1f} s"
  lines = [f"{folder}: {total} {manifest.kind} records{before}, {cost}, {len(report.problems)} left out"]
  for split in (split for split in SPLITS if split in manifest.splits):
    opened, shards = records.open_split(folder, split), manifest.splits[split]
    lines.append(f"  {split}: {sum(shard.records for shard in shards)} in {len(shards)} shard{'s' if len(shards) > 1 else ''}")
    lines += [f"    {line}" for line in _counts(opened, manifest)]
  return "\n".join(lines)


def _counts(opened: Any, manifest: Any) -> Iterator[str]:
  import numpy as np
  from mppar_tf.data import records
  if manifest.classes:
    counts = np.bincount(records.actions(opened) + 1, minlength=len(manifest.classes) + 1)[1:]  # -1 is none
    yield "actions: " + ", ".join(f"{name} {count}" for name, count in zip(manifest.classes, counts))
  if manifest.attributes:
    labels = records.labels(opened, manifest.attributes)  # [N, P]
    present, absent = (labels > 0).sum(0), (labels == 0).sum(0)
    yield "attributes (present/labelled): " + ", ".join(
        f"{name} {yes}/{yes + no}" for name, yes, no in zip(manifest.attributes, present, absent))
  if manifest.subjects:
    yield f"subjects: {len(np.unique(records.subjects(opened)))}"
  found = coverage.coverage(opened)
  if found:
    yield f"boxes: {coverage.words(found)}"
