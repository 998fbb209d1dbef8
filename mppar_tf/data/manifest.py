"""manifest.json: what a dataset's folder must hold, shard by shard. One manifest for all splits, written last."""

import dataclasses
import hashlib
import json
import os
from typing import Any, Mapping, Sequence

import tensorflow as tf

from mppar_tf.data import remote
from mppar_tf.data.schema import KINDS, SCHEMA_VERSION, Header, RecordsError
from mppar_tf.messages import one_line

MANIFEST = "manifest.json"
JOURNAL = "journal.json"  # stands beside the shards while a build runs
SHARD_JOURNAL = ".journal.json"  # ends the name of the journal of one shard, where shards are written by several processes
UNFINISHED = ".writing"  # ends the name of a file that is being written
SPLITS = ("train", "validation", "test")
_HASH_CHUNK = 1 << 22
_SMALLEST_RECORD = 16  # bytes of a TFRecord's frame


@dataclasses.dataclass(frozen=True)
class Shard:
  """One file of records."""
  file: str
  records: int
  bytes: int
  sha256: str
  height: int  # the smallest stored frame, pixels: a crop must fit into it
  width: int
  subjects: tuple[str, ...] = ()  # who appears, sorted
  skipped: tuple[str, ...] = ()  # sources that gave no record, each with its reason


@dataclasses.dataclass(frozen=True)
class Manifest:
  """A whole dataset."""
  dataset: str
  kind: str
  classes: tuple[str, ...]
  attributes: tuple[str, ...]
  splits: Mapping[str, tuple[Shard, ...]]
  items: Mapping[str, int]  # sources of each split: as many as its records and its skipped ones
  closed_set_identity: bool = False  # the same subjects stand in every split, by the benchmark's definition
  source_sha256: str = ""
  tool_version: str = ""
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  licence: str = ""
  schema_version: int = SCHEMA_VERSION

  @property
  def subjects(self) -> tuple[str, ...]:
    """Everyone in any split, sorted; the index is the identity class."""
    return tuple(sorted({subject for shards in self.splits.values() for shard in shards for subject in shard.subjects}))

  @property
  def digest(self) -> str:
    """24 hexadecimal digits over the SHA-256 of all shards: records of one digest are the same, wherever they lie."""
    shards = {split: [shard.sha256 for shard in shards] for split, shards in self.splits.items()}
    return hashlib.sha256(json.dumps(shards, sort_keys=True).encode()).hexdigest()[:24]

  @property
  def header(self) -> Header:
    return Header(self.dataset, self.kind, self.classes, self.attributes)


def manifest_path(folder: str) -> str:
  return os.path.join(folder, MANIFEST)


def shard_name(split: str, number: int, shards: int) -> str:
  return f"{split}-{number:05d}-of-{shards:05d}.tfrecord"


def manifest_exists(folder: str) -> bool:
  return _stored(os.fspath(folder)) is not None


def read_manifest(folder: str) -> Manifest:
  """The manifest of a dataset's folder; raises RecordsError where it is absent, unreadable or of another schema version."""
  folder = os.fspath(folder)
  stored = _stored(folder)
  if stored is None:
    raise RecordsError(f"{folder}: no {MANIFEST}; build the records first")
  manifest = parse_manifest(stored.decode(errors="replace"), manifest_path(folder))
  for split, shards in manifest.splits.items():
    # A journal lists some of a split's shards; a manifest that does so has lost the others.
    for number, shard in enumerate(shards):
      if shard.file != shard_name(split, number, len(shards)):
        raise RecordsError(f"{manifest_path(folder)}: {split} lists {shard.file!r} where {shard_name(split, number, len(shards))} belongs")
  return manifest


def _stored(folder: str) -> bytes | None:
  path = manifest_path(folder)
  try:
    return remote.fetch(path) if remote.is_remote(path) else read_bytes(path)
  except tf.errors.NotFoundError:
    return None
  except tf.errors.OpError as error:
    raise RecordsError(f"{path}: cannot be read ({one_line(error.message, 200)})") from None


def parse_manifest(text: str, path: str) -> Manifest:
  """The manifest or journal that a text is; raises RecordsError where it is of another schema version or anything else."""
  try:
    fields = json.loads(text, object_pairs_hook=_each_once)
    version = fields["schema_version"]
    if version != SCHEMA_VERSION:
      raise RecordsError(f"{path}: schema version {version}, this program reads {SCHEMA_VERSION}; build the records again")
    fields["splits"] = {split: tuple(_shard(one) for one in shards) for split, shards in fields["splits"].items()}
    fields |= {key: _texts(key, fields[key]) for key in ("classes", "attributes")}
    manifest = Manifest(**fields)
    _check_types(manifest)
  except RecordsError:
    raise
  # ValueError also for what is no JSON, for numbers of thousands of digits and for halves of characters.
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
    raise RecordsError(f"{path}: no manifest of records ({type(error).__name__}: {error})") from None
  if manifest.kind not in KINDS:
    raise RecordsError(f"{path}: kind {manifest.kind!r} is not one of {', '.join(KINDS)}")
  return manifest


def _shard(fields: Mapping[str, Any]) -> Shard:
  shard = Shard(**{**fields, **{key: _texts(key, fields[key]) for key in ("subjects", "skipped")}})
  _texts("file, sha256", [shard.file, shard.sha256])
  for key in ("records", "bytes", "height", "width"):
    _check_count(key, getattr(shard, key))
  if shard.records * _SMALLEST_RECORD > shard.bytes:
    raise ValueError(f"{shard.records} records in {shard.bytes} bytes")
  return shard


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
  """A JSON object; of a name that is there twice the parser would keep the last and drop the others."""
  fields = dict(pairs)
  if len(fields) < len(pairs):
    names = [name for name, _ in pairs]
    raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
  return fields


def _check_types(manifest: Manifest) -> None:
  _texts("dataset, source_sha256, tool_version, licence", [
      manifest.dataset, manifest.source_sha256, manifest.tool_version, manifest.licence])
  unknown = [split for split in manifest.splits if split not in SPLITS]
  if unknown:
    raise ValueError(f"split {unknown[0]!r} is not one of {', '.join(SPLITS)}")
  for split, count in manifest.items.items():
    _check_count(f"items of {split}", count)
  if not isinstance(manifest.settings, dict) or not isinstance(manifest.closed_set_identity, bool):
    raise TypeError("settings are no object, or closed_set_identity is neither true nor false")
  json.dumps(dataclasses.asdict(manifest), ensure_ascii=False).encode()


def _check_count(name: str, value: Any) -> None:
  if type(value) is not int or not 0 <= value < 1 << 63:
    raise ValueError(f"{name} is {value!r}")


def _texts(name: str, values: Any) -> tuple[str, ...]:
  if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
    raise TypeError(f"{name}: texts are needed, this is {values!r}")
  return tuple(values)


def manifest_text(manifest: Manifest) -> str:
  return json.dumps(dataclasses.asdict(manifest), indent=1) + "\n"


def write_manifest(folder: str, manifest: Manifest) -> None:
  """Writes `manifest.json` under a temporary name and renames it: a reader sees all of it or nothing."""
  write_atomically(manifest_path(folder), manifest_text(manifest).encode())


def write_atomically(path: str, content: bytes, suffix: str = UNFINISHED) -> None:
  temporary = path + suffix
  with tf.io.gfile.GFile(temporary, "wb") as file:
    file.write(content)
  tf.io.gfile.rename(temporary, path, overwrite=True)


def read_bytes(path: str) -> bytes:
  with tf.io.gfile.GFile(path, "rb") as file:
    return file.read()


def sha256_of(path: str) -> str:
  """SHA-256 of a file, read in pieces."""
  digest = hashlib.sha256()
  # A plain file object releases the GIL and copies less than GFile does.
  with (tf.io.gfile.GFile(path, "rb") if "://" in path else open(path, "rb")) as file:
    while chunk := file.read(_HASH_CHUNK):
      digest.update(chunk)
  return digest.hexdigest()
