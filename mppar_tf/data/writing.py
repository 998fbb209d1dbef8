"""Writes a dataset's records so that a killed build resumes and never leaves a shard that looks whole.

Shards are written under a temporary name and renamed. A journal beside them lists the finished ones; a build that starts again with the
same arguments keeps every shard whose bytes match the journal and writes the others. `manifest.json` appears last. The same input gives the
same bytes.

Shards may also be written apart from the writer, by other processes or machines that see the folder (`missing`, `Workshop`): each of them
then has a journal of its own, since these processes cannot write into one.
"""

import dataclasses
import json
import os
import uuid
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from mppar_tf.data import remote
from mppar_tf.data.manifest import (
    JOURNAL, MANIFEST, SHARD_JOURNAL, SPLITS, UNFINISHED, Manifest, Shard, manifest_text, parse_manifest, read_bytes, sha256_of,
    shard_name, write_atomically, write_manifest)
from mppar_tf.data.schema import JPEG_QUALITY, KINDS, Encoded, Header, Image, RecordsError, Video, encode
from mppar_tf.progress import progress_bar

ITEMS_PER_SHARD = 512


class Skipped(NamedTuple):
  """What `make` returns for a source that cannot become a record: listed in the manifest, never silent."""
  id: str
  reason: str


Made = Video | Image | Encoded | Skipped


class ShardTask(NamedTuple):
  """One shard to be written."""
  split: str
  file: str
  items: Sequence[Any]
  split_items: int  # of the whole split


def write_shard(path: str, made: Iterable[Made], header: Header, quality: int = JPEG_QUALITY, temporary: str = "") -> Shard:
  """Writes one file of records under a temporary name, then renames it.

  Args:
    path: of the shard, e.g. `<folder>/train-00000-of-00008.tfrecord`.
    made: what becomes a record each (pixels are encoded here, `Encoded` goes in as it is), or `Skipped`.
    temporary: that name; default: `path` and UNFINISHED.
  Returns:
    The shard's line of the manifest.
  Raises:
    RecordsError: what `encode` refuses.
  """
  temporary, skipped, sizes, subjects = temporary or path + UNFINISHED, [], [], set()
  with tf.io.TFRecordWriter(temporary) as writer:
    for one in made:
      if isinstance(one, Skipped):
        skipped.append(f"{one.id}: {one.reason}")
        continue
      record = one if isinstance(one, Encoded) else encode(one, header, quality)
      writer.write(record.serialized)
      sizes.append((record.height, record.width))
      subjects.add(record.subject)
  size, digest = tf.io.gfile.stat(temporary).length, sha256_of(temporary)
  tf.io.gfile.rename(temporary, path, overwrite=True)
  heights, widths = zip(*sizes) if sizes else ((0,), (0,))
  return Shard(os.path.basename(path), len(sizes), size, digest, min(heights), min(widths), tuple(sorted(subjects - {""})), tuple(skipped))


@dataclasses.dataclass(frozen=True)
class Workshop:
  """What another process needs in order to write shards of a dataset; can be pickled."""
  folder: str
  manifest: Manifest  # without splits
  quality: int

  def write(self, task: ShardTask, made: Iterable[Made]) -> None:
    """Writes a shard, then its journal. Two that write the same one at once do no harm: each has a temporary file of its own, and their
    bytes are the same."""
    remote.prepare(self.folder)
    path = os.path.join(self.folder, task.file)
    shard = write_shard(path, made, self.manifest.header, self.quality, f"{path}.{uuid.uuid4().hex}{UNFINISHED}")
    journal = dataclasses.replace(self.manifest, splits={task.split: (shard,)}, items={task.split: task.split_items})
    write_atomically(path + SHARD_JOURNAL, manifest_text(journal).encode(), f".{uuid.uuid4().hex}{UNFINISHED}")

  def written(self, task: ShardTask) -> Shard:
    """The line of the manifest that `write` left; raises RecordsError where it left none."""
    path = os.path.join(self.folder, task.file)
    if not tf.io.gfile.exists(path + SHARD_JOURNAL):
      raise RecordsError(f"{path}: was not written; what writes shards must see this folder under this name")
    return parse_manifest(read_bytes(path + SHARD_JOURNAL).decode(), path + SHARD_JOURNAL).splits[task.split][0]


class DatasetWriter:
  """Writes the splits of one dataset, then its manifest.

  Example:
    writer = DatasetWriter(folder, header, source_sha256=digest, settings={"height": 120})
    writer.write_split("train", paths, make)
    writer.write_split("test", test_paths, make)
    manifest = writer.finish()
  """

  def __init__(self, folder: str, header: Header, *, source_sha256: str = "", settings: Mapping[str, Any] | None = None,
               licence: str = "", closed_set_identity: bool = False, tool_version: str = "", quality: int = JPEG_QUALITY,
               shuffle_seed: int | None = 0):
    """Opens `folder`, made if absent, and takes over what a build with the same arguments left there.

    Args:
      folder: `<data_dir>/<dataset>`.
      header: shared by all records.
      source_sha256: digest of what the records are made from.
      settings: JSON values that shape the records (frame size, lists, seeds).
      quality: of JPEG encoding, for frames that come as pixels.
      shuffle_seed: permutes the items of each split, so that no shard holds a single class and a bounded shuffle buffer mixes well; None
        keeps their order.
    Raises:
      RecordsError: the folder holds a finished dataset that was made from other arguments.
    """
    if header.kind not in KINDS:
      raise RecordsError(f"{header.dataset}: kind {header.kind!r} is not one of {', '.join(KINDS)}")
    self._folder, self._header, self._quality, self._shuffle_seed = os.fspath(folder), header, quality, shuffle_seed
    remote.prepare(self._folder)
    tf.io.gfile.makedirs(self._folder)
    # As JSON gives them back, so that they compare equal to those of a former build.
    settings = json.loads(json.dumps({**(settings or {}), "jpeg_quality": quality, "shuffle_seed": shuffle_seed}))
    self._manifest = Manifest(
        dataset=header.dataset, kind=header.kind, classes=tuple(header.classes), attributes=tuple(header.attributes), splits={}, items={},
        closed_set_identity=closed_set_identity, source_sha256=source_sha256, tool_version=tool_version,
        settings=settings, licence=licence)
    self._former = _former(self._folder, self._manifest)

  @property
  def workshop(self) -> Workshop:
    return Workshop(self._folder, dataclasses.replace(self._manifest, splits={}, items={}), self._quality)

  @property
  def splits(self) -> Mapping[str, tuple[Shard, ...]]:
    """The shards written so far, or kept from a former build."""
    return self._manifest.splits

  def missing(self, split: str, items: Sequence[Any], *, shards: int | None = None) -> list[ShardTask]:
    """The shards that `write_split` with these arguments would write."""
    return [task for task in self._tasks(split, items, shards) if self._kept(task) is None]

  def write_split(self, split: str, items: Sequence[Any], make: Callable[[Any], Made], *, shards: int | None = None,
                  mapper: Callable[..., Iterable[Made]] = map, written: Mapping[str, Shard] | None = None, progress: bool = True) -> None:
    """Writes the shards of a split that are not there yet.

    Args:
      split: one of SPLITS.
      items: what `make` turns into records; cheap things such as paths, since a resumed build passes them again.
      make: item -> Video, Image, Encoded (encoded already, e.g. in a worker process) or Skipped.
      shards: number of files; default: one for each ITEMS_PER_SHARD items.
      mapper: an ordered `map`, such as that of a pool; called once for each shard.
      written: shards, by file, that a workshop wrote just now.
    Raises:
      RecordsError: a bad split name, no items, every item skipped, or what `encode` refuses.
    """
    with progress_bar(total=len(items), desc=f"{self._header.dataset} {split}", unit=" records", disable=not progress) as bar:
      for task in self._tasks(split, items, shards):
        shard = (written or {}).get(task.file) or self._kept(task)
        if shard is None:
          made = _counted(mapper(make, task.items), bar)
          shard = write_shard(os.path.join(self._folder, task.file), made, self._header, self._quality)
          self._enter(split, shard, len(items))
        else:
          self._enter(split, shard, len(items))
          bar.update(len(task.items))
    written = self._manifest.splits[split]
    if not sum(shard.records for shard in written):
      raise RecordsError(f"{self._folder}: split {split!r} has no records, all {len(items)} items were skipped ({written[0].skipped[0]})")

  def _tasks(self, split: str, items: Sequence[Any], shards: int | None) -> list[ShardTask]:
    if split not in SPLITS:
      raise RecordsError(f"{self._folder}: split {split!r} is not one of {', '.join(SPLITS)}")
    if not len(items):
      raise RecordsError(f"{self._folder}: split {split!r} has no items")
    shards = min(shards or -(-len(items) // ITEMS_PER_SHARD), len(items))
    order = np.arange(len(items)) if self._shuffle_seed is None else np.random.default_rng(self._shuffle_seed).permutation(len(items))
    return [ShardTask(split, shard_name(split, number, shards), [items[i] for i in numbers], len(items))
            for number, numbers in enumerate(np.array_split(order, shards))]

  def finish(self) -> Manifest:
    """Writes the manifest and removes the journals; the dataset can be read from now on."""
    if not self._manifest.splits:
      raise RecordsError(f"{self._folder}: no split was written")
    write_manifest(self._folder, self._manifest)
    for name in _journals(self._folder):
      tf.io.gfile.remove(os.path.join(self._folder, name))
    return self._manifest

  def _kept(self, task: ShardTask) -> Shard | None:
    """The shard that a former build finished, if its bytes are still those."""
    if self._former is None or self._former.items.get(task.split) != task.split_items:
      return None
    path = os.path.join(self._folder, task.file)
    shard = next((shard for shard in self._former.splits[task.split] if shard.file == task.file), None)
    if shard is None or not tf.io.gfile.exists(path) or tf.io.gfile.stat(path).length != shard.bytes:
      return None
    return shard if sha256_of(path) == shard.sha256 else None

  def _enter(self, split: str, shard: Shard, items: int) -> None:
    splits = self._manifest.splits | {split: self._manifest.splits.get(split, ()) + (shard,)}
    self._manifest = dataclasses.replace(self._manifest, splits=splits, items=self._manifest.items | {split: items})
    write_atomically(os.path.join(self._folder, JOURNAL), manifest_text(self._journal()).encode())

  def _journal(self) -> Manifest:
    """What is written now, and what a former build finished that this one has not come to yet: a second kill must not lose it."""
    return _with_shards_of(self._manifest, self._former) if self._former else self._manifest


def _counted(made: Iterable[Made], bar: tqdm.tqdm) -> Iterable[Made]:
  for one in made:
    yield one
    bar.update(1)


def _with_shards_of(manifest: Manifest, other: Manifest) -> Manifest:
  """`manifest` with the shards that it lacks and `other` has, where both count as many sources of a split."""
  splits, items = dict(manifest.splits), dict(manifest.items)
  for split, shards in other.splits.items():
    if items.setdefault(split, other.items[split]) == other.items[split]:
      known = {shard.file for shard in splits.get(split, ())}
      splits[split] = splits.get(split, ()) + tuple(shard for shard in shards if shard.file not in known)
  return dataclasses.replace(manifest, splits=splits, items=items)


def _journals(folder: str) -> list[str]:
  # A shard's own journal comes first: it was written after whatever the common one says of that shard.
  return sorted((name for name in tf.io.gfile.listdir(folder) if name == JOURNAL or name.endswith(SHARD_JOURNAL)), key=JOURNAL.__eq__)


def _former(folder: str, manifest: Manifest) -> Manifest | None:
  """What a build with the same arguments left: its journals, or its manifest where it finished."""
  found = None
  for name in (*_journals(folder), MANIFEST):
    path = os.path.join(folder, name)
    if not tf.io.gfile.exists(path):
      continue
    former = parse_manifest(read_bytes(path).decode(), path)
    changed = [field.name for field in dataclasses.fields(Manifest) if field.name not in ("splits", "items")
               and getattr(former, field.name) != getattr(manifest, field.name)]
    if not changed:
      found = former if found is None else _with_shards_of(found, former)
    elif name == MANIFEST:
      raise RecordsError(f"{folder}: holds finished records made with another {', '.join(changed)}; remove the folder or choose another")
  return found
