"""The public face of a dataset's records: write them, verify them, open a split, read it in storage order.

A split's records are numbered by storage: shard after shard, record after record, by the MANIFEST's counts. That number is every record's
index in `labels`, `actions`, `subjects` and in the reading pipelines, also where records were lost to damage.
"""

import dataclasses
import functools
import os
import re
from typing import Container, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from mppar_tf.data import remote, staging
from mppar_tf.data.integrity import damaged, framed, masked_crc32c, scan, verify
from mppar_tf.data.manifest import SPLITS, Manifest, Shard, manifest_exists, manifest_path, read_manifest, shard_name, write_manifest
from mppar_tf.data.parsing import parse_context
from mppar_tf.data.schema import SCHEMA_VERSION, RecordsError
from mppar_tf.data.writing import DatasetWriter, ShardTask, Skipped, Workshop, write_shard
from mppar_tf.types import NOT_ANNOTATED

__all__ = [
    "SCHEMA_VERSION", "SPLITS", "DatasetWriter", "Manifest", "RecordsError", "Shard", "ShardTask", "Skipped", "Split", "Workshop",
    "actions", "checked_attributes", "explain", "ids", "labels", "manifest_exists", "manifest_path", "masked_crc32c", "open_split", "read",
    "read_manifest", "scan", "shard_name", "subjects", "tolerant", "verify", "write_manifest", "write_shard"]

ON_CORRUPT = ("fail", "skip_shard_remainder")
CHECKS = ("size", "sha256")


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
  """An opened split."""
  folder: str
  manifest: Manifest
  split: str
  files: tuple[str, ...]  # paths of the shards, or of their local copies
  counts: tuple[int, ...]  # records of each shard by the manifest
  readable: tuple[int, ...]  # records of each shard that are read; less than `counts` only under skip_shard_remainder
  tolerant: bool = False  # opened under skip_shard_remainder: `readable` was counted

  @property
  def total(self) -> int:
    """Records by the manifest: storage indices are below it."""
    return sum(self.counts)

  @property
  def lost(self) -> dict[str, int]:
    """Shard -> records that skip_shard_remainder gave up; empty where nothing is lost."""
    return {os.path.basename(file): count - kept for file, count, kept in zip(self.files, self.counts, self.readable) if kept < count}

  @property
  def offsets(self) -> tuple[int, ...]:
    """Storage index of the first record of each shard."""
    return tuple(np.cumsum((0,) + self.counts[:-1]).tolist())

  @property
  def present(self) -> np.ndarray:
    """np.bool_ [N]: False for the records that are lost."""
    return np.concatenate([np.arange(count) < kept for count, kept in zip(self.counts, self.readable)])  # [N]

  @property
  def smallest_frame(self) -> tuple[int, int]:
    """Height and width that every stored frame has at least, pixels."""
    shards = [shard for shard in self.manifest.splits[self.split] if shard.records]
    return min(shard.height for shard in shards), min(shard.width for shard in shards)


def open_split(folder: str, split: str, *, on_corrupt: str = "fail", check: str | None = None) -> Split:
  """Opens a split after a cheap check against the manifest.

  Args:
    folder: `<data_dir>/<dataset>`; may be remote.
    split: one of SPLITS.
    on_corrupt: `fail`, or `skip_shard_remainder`: a damaged shard is read up to its first bad record, and what is lost is counted and
      reported. A missing shard is an error under both.
    check: one of CHECKS: `size`, presence and byte size of every shard, or `sha256`, their digests too. Default: `sha256` for local
      files, `size` for remote ones, since a digest reads all of them; records that are copied first (s3) are always compared.
  Raises:
    RecordsError: no such split, a missing or empty split, or a shard that differs from the manifest, named.
  """
  folder = os.fspath(folder)
  manifest = read_manifest(folder)
  if split not in manifest.splits:
    raise RecordsError(f"{folder}: split {split!r} is not one of {', '.join(manifest.splits)}")
  shards = manifest.splits[split]
  counts = tuple(shard.records for shard in shards)
  accounted = sum(counts) + sum(len(shard.skipped) for shard in shards)
  if accounted != manifest.items.get(split):
    raise RecordsError(f"{manifest_path(folder)}: {split}: {manifest.items.get(split)} sources, but {accounted} records and skipped ones")
  if not sum(counts):
    raise RecordsError(f"{folder}: split {split!r} holds no records")
  _check_policy(on_corrupt)
  check = check or ("size" if remote.is_remote(folder) else "sha256")
  if check not in CHECKS:
    raise RecordsError(f"check: {check!r} is not one of {', '.join(CHECKS)}")
  if remote.is_staged(folder):
    files, bad, check = staging.local_copies(folder, shards), {}, "sha256"  # a copy that is no copy is an error, whatever the policy
  else:
    files = tuple(os.path.join(folder, shard.file) for shard in shards)
    bad = damaged(folder, shards, checksums=check == "sha256")
  missing = [file for file, reason in bad.items() if reason == "missing"]
  if missing:
    raise RecordsError(f"{folder}: {missing[0]} is missing ({len(missing)} of {len(shards)} shards of {split!r} are)")
  opened = Split(folder, manifest, split, files, counts, counts)
  if on_corrupt == "skip_shard_remainder":
    return tolerant(opened, bad if check == "sha256" else None)
  if bad:
    file, reason = next(iter(bad.items()))
    raise RecordsError(f"{folder}: {file}: {reason} ({len(bad)} damaged shards; python -m tfrecord_tools.verify names the records)")
  return opened


def _check_policy(on_corrupt: str) -> None:
  if on_corrupt not in ON_CORRUPT:
    raise RecordsError(f"on_corrupt: {on_corrupt!r} is not one of {', '.join(ON_CORRUPT)}")


def tolerant(split: Split, suspects: Container[str] | None = None) -> Split:
  """The split under skip_shard_remainder: damage shortens its shard instead of stopping. Counts what is readable and reports the loss.

  Args:
    suspects: names of the shards to count, one pass over each; None: all.
  """
  readable = tuple(count if suspects is not None and os.path.basename(file) not in suspects else _readable(file, count)
                   for file, count in zip(split.files, split.counts))
  opened = dataclasses.replace(split, readable=readable, tolerant=True)
  if not sum(readable):
    raise RecordsError(f"{split.folder}: no record of split {split.split!r} is readable")
  for file, lost in opened.lost.items():
    logging.error("%s: %s: the last %d records are lost (skip_shard_remainder)", split.folder, file, lost)
  return opened


def _readable(file: str, count: int) -> int:
  if not remote.is_remote(file):
    count = framed(file, count)  # TensorFlow asks for as much memory as a length says, and crashes where it gets none
  stream = tf.data.TFRecordDataset(file).ignore_errors().take(count)
  return int(stream.reduce(np.int64(0), lambda total, _: total + 1))


def settled(split: Split, on_corrupt: str) -> Split:
  """The split under a pipeline's own policy; raises RecordsError where `fail` meets a split that lost records."""
  _check_policy(on_corrupt)
  if on_corrupt == "fail" and split.lost:
    raise RecordsError(f"{split.folder}: {', '.join(f'{file} lost {lost} records' for file, lost in split.lost.items())}")
  return split if on_corrupt == "fail" or split.tolerant else tolerant(split)


def shard_records(split: Split, shard: tf.Tensor) -> tf.data.Dataset:
  """The readable records of one shard, in the graph: (storage index int64 [], serialized string []).

  A shard that gives fewer or more records than it should is an InvalidArgumentError that names it: TensorFlow's own error names no file,
  and a file cut at a record's border raises none.
  """
  file, expected = tf.constant(split.files)[shard], tf.constant(split.readable, tf.int64)[shard]
  offset = tf.constant(split.offsets, tf.int64)[shard]
  end = tf.data.Dataset.from_tensors(b"").repeat()  # no record is empty, so this marks the end
  # One place more than expected: it must hold the end's mark, or the shard has records too many.
  stream = tf.data.TFRecordDataset(file).ignore_errors().concatenate(end).take(expected + int(not split.tolerant))

  state = "is damaged, or its connection failed" if remote.is_remote(split.files[0]) else "is damaged"

  def inside(number, serialized):
    last, ended = tf.equal(number, expected), tf.equal(tf.strings.length(serialized), 0)
    fits = tf.debugging.Assert(
        tf.equal(last, ended), ["shard", file, f"{state}: the manifest says", expected, "readable records, but record", number,
                                "(counted from 0) is missing, corrupt or one too many"])
    with tf.control_dependencies([fits] if fits is not None else []):
      return tf.logical_not(last)

  return stream.enumerate().filter(inside).map(lambda number, serialized: (offset + number, serialized))


def read(split: Split, on_corrupt: str = "fail") -> tf.data.Dataset:
  """A finite dataset of (storage index int64 [], serialized string []) in storage order.

  Under `fail` damage raises InvalidArgumentError that names the shard when it is reached; under `skip_shard_remainder` what is lost is
  counted before the first record (`tolerant(split).lost`).
  """
  split = settled(split, on_corrupt)
  return tf.data.Dataset.range(len(split.files)).flat_map(lambda shard: shard_records(split, shard))


def checked_attributes(split: Split, attributes: Sequence[str]) -> tuple[str, ...]:
  """The attributes as a tuple; raises RecordsError where the dataset has no such attribute."""
  for attribute in attributes:
    if attribute not in split.manifest.attributes:
      raise RecordsError(f"{split.folder}: attribute {attribute!r} is not one of {', '.join(split.manifest.attributes) or 'none'}")
  return tuple(attributes)


def labels(split: Split, attributes: Sequence[str]) -> np.ndarray:
  """np.int8 [N, P] in storage order: 1 present (any stored value above 0), 0 absent, -1 NA; -1 for lost records."""
  attributes = checked_attributes(split, attributes)
  return _fixed(np.minimum(_column(split, "labels", attributes), 1).astype(np.int8))  # [N, P]


def actions(split: Split) -> np.ndarray:
  """np.int32 [N] in storage order: index into the manifest's classes, -1 none or lost."""
  return _column(split, "action")


def subjects(split: Split) -> np.ndarray:
  """np.int32 [N] in storage order: index into the manifest's subjects, -1 none or lost."""
  index = {name.encode(): number for number, name in enumerate(split.manifest.subjects)}
  return _fixed(np.array([index.get(name, NOT_ANNOTATED) for name in _column(split, "subject")], np.int32))


def ids(split: Split) -> list[str]:
  """The id of every record in storage order; empty for lost ones."""
  return [name.decode() if name != NOT_ANNOTATED else "" for name in _column(split, "id")]


@functools.lru_cache(maxsize=64)  # sets are built anew every epoch from the same labels, and a pass over videos takes long
def _column(split: Split, key: str, attributes: tuple[str, ...] = ()) -> np.ndarray:
  parsed = read(split, "skip_shard_remainder" if split.tolerant else "fail").map(
      lambda index, serialized: (index, parse_context(serialized, split.manifest.kind, attributes)[key]),
      num_parallel_calls=tf.data.AUTOTUNE)
  column = None
  try:
    for index, values in parsed.batch(512).as_numpy_iterator():
      if column is None:
        column = np.full((split.total,) + values.shape[1:], NOT_ANNOTATED, values.dtype)
      column[index] = values
  except tf.errors.OpError as error:
    raise RecordsError(f"{split.folder}: {explain(error)}") from None
  return _fixed(column)


def _fixed(column: np.ndarray) -> np.ndarray:
  column.flags.writeable = False  # it is shared by all who ask for it
  return column


def explain(error: tf.errors.OpError) -> str:
  """One line from the error that a dataset raised while it was iterated: the shard and record for damage, else TensorFlow's first line."""
  text = " ".join(error.message.split())
  told = re.search(r"assertion failed: (\[.*?\])(?: \[\[|$)", text)
  return " ".join(re.findall(r"\[(.*?)\]", told.group(1))) if told else text[:300]
