"""Are the records what the manifest says? A cheap check for the start of a training, and a thorough one that names every damaged record.

TensorFlow alone does not tell: a shard that was cut at a record's border, or an empty one, raises nothing, and a flipped byte with
`ignore_errors` loses the rest of its shard in silence.
"""

import collections
import concurrent.futures
import os
import struct
from typing import Iterator, NamedTuple, Sequence

import tensorflow as tf

from mppar_tf.data import remote, staging
from mppar_tf.data.manifest import JOURNAL, SHARD_JOURNAL, UNFINISHED, Manifest, Shard, read_manifest, sha256_of
from mppar_tf.data.schema import RecordsError, check
from mppar_tf.messages import one_line
from mppar_tf.progress import progress_bar

# A TFRecord is: length (uint64), masked CRC32C of the length, the bytes, masked CRC32C of the bytes; all little-endian.
_HEAD, _TAIL = struct.Struct("<QI"), struct.Struct("<I")


class Found(NamedTuple):
  """One record of a shard as it lies on disk."""
  number: int
  serialized: bytes | None
  problem: str | None


# ---- cheap: at the start of a training ----


def damaged(folder: str, shards: Sequence[Shard], checksums: bool) -> dict[str, str]:
  """Shard file -> what is wrong with it, by presence, byte size and, with `checksums`, SHA-256."""
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    verdicts = pool.map(lambda shard: _verdict(folder, shard, checksums), shards)
    return {shard.file: verdict for shard, verdict in zip(shards, verdicts) if verdict}


def _verdict(folder: str, shard: Shard, checksums: bool) -> str | None:
  path = os.path.join(folder, shard.file)
  size = _size(path)
  if size is None:
    return "missing"
  if size != shard.bytes:
    return f"{'empty' if not size else f'{size} bytes'} where the manifest says {shard.bytes} bytes"
  if checksums and sha256_of(path) != shard.sha256:
    return "its SHA-256 is not the manifest's"
  if not checksums and not remote.is_remote(path) and (whole := framed(path, shard.records)) < shard.records:
    return f"record {whole} (counted from 0) has a damaged length"
  return None


def _size(path: str) -> int | None:
  try:
    return remote.bounded(lambda: tf.io.gfile.stat(path).length, path)
  except tf.errors.NotFoundError:
    return None
  except tf.errors.OpError as error:
    raise RecordsError(f"{path}: cannot be read ({one_line(error.message, 200)})") from None


# ---- thorough: the verify program ----


def verify(folder: str, progress: bool = False) -> list[str]:
  """Every way in which a dataset's folder differs from its manifest, one line each; empty where all is well.

  Finds flipped bytes (shard and record number), cut, missing, empty and extra shards, missing and extra records, leftovers of a killed
  build, records that cannot be parsed or break the header, ids that occur twice, another schema version.
  """
  folder = os.fspath(folder)
  try:
    manifest = read_manifest(folder)
  except RecordsError as error:
    return [str(error)]
  problems, seen = [], collections.defaultdict(list)
  shards = [(split, shard) for split, of_split in manifest.splits.items() for shard in of_split]
  for split, shard in progress_bar(shards, desc=f"verify {manifest.dataset}", unit=" shards", disable=not progress):
    try:
      problems += _shard_problems(folder, shard, manifest, seen)
    except (RecordsError, tf.errors.OpError) as error:  # an endpoint that fails half-way; what was found before is told too
      problems.append(f"{shard.file}: {one_line(error, 300)}")
  problems += [f"record id {name!r} occurs {len(files)} times: {', '.join(files)}" for name, files in seen.items() if len(files) > 1]
  for split, of_split in manifest.splits.items():
    accounted = sum(shard.records + len(shard.skipped) for shard in of_split)
    if accounted != manifest.items.get(split):
      problems.append(f"{split}: {manifest.items.get(split)} sources, but {accounted} records and skipped ones")
  return problems + _strangers(folder, {shard.file for _, shard in shards})


def _strangers(folder: str, known: set[str]) -> list[str]:
  names = remote.names(folder)
  return [f"{name}: a shard that the manifest does not name" for name in names if name.endswith(".tfrecord") and name not in known] + [
      f"{name}: left over from a build that was interrupted" for name in names
      if name.endswith((UNFINISHED, SHARD_JOURNAL)) or name == JOURNAL]


def _shard_problems(folder: str, shard: Shard, manifest: Manifest, seen: dict[str, list[str]]) -> list[str]:
  path, problems = os.path.join(folder, shard.file), []
  if remote.is_staged(folder):
    path, = staging.local_copies(folder, [shard])
  size = _size(path)
  if size is None:
    return [f"{shard.file}: missing"]
  if size == 0 and shard.records:
    return [f"{shard.file}: empty where the manifest says {shard.records} records"]
  intact = size == shard.bytes and sha256_of(path) == shard.sha256
  found, complete = 0, True
  for record in scan(path, bodies=not intact):
    found += record.serialized is not None or record.problem is None
    if record.problem:
      problems.append(f"{shard.file}: record {record.number}: {record.problem}")
      complete = complete and record.serialized is not None
    else:
      try:
        seen[check(record.serialized, manifest.header)].append(f"{shard.file} record {record.number}")
      except RecordsError as error:
        problems.append(f"{shard.file}: record {record.number}: {error}")
  if found < shard.records:
    problems.append(f"{shard.file}: {found} records of {shard.records}, {shard.records - found} lost")
  elif found > shard.records:
    problems.append(f"{shard.file}: {found} records where the manifest says {shard.records}, {found - shard.records} too many")
  if size != shard.bytes:
    problems.append(f"{shard.file}: {size} bytes where the manifest says {shard.bytes}")
  elif not intact and not problems:
    problems.append(f"{shard.file}: its SHA-256 is not the manifest's, although every record's own checksum holds")
  return problems


def scan(path: str, bodies: bool = True) -> Iterator[Found]:
  """The records of a shard in order, also those after a damaged body; stops where the framing itself is lost.

  Args:
    bodies: compare each body with its checksum. It runs in Python (some MB/s), so only a shard whose SHA-256 is wrong needs it.
  Yields:
    Found: `serialized` is None where the record cannot be cut out of the file.
  """
  size = tf.io.gfile.stat(path).length
  with tf.io.gfile.GFile(path, "rb") as file:
    number = 0
    while head := file.read(_HEAD.size):
      if len(head) < _HEAD.size:
        yield Found(number, None, "the file ends inside its length")
        return
      length, checksum = _HEAD.unpack(head)
      if masked_crc32c(head[:8]) != checksum:
        yield Found(number, None, "damaged length; nothing after it can be found")
        return
      # Whoever asks for more than there is gets a buffer of that size all the same.
      body, tail = file.read(min(length, size)), file.read(_TAIL.size)
      if len(body) < length or len(tail) < _TAIL.size:
        yield Found(number, None, f"the file ends after {len(body)} of its {length} bytes")
        return
      flipped = bodies and masked_crc32c(body) != _TAIL.unpack(tail)[0]
      yield Found(number, body, "damaged bytes (checksum)" if flipped else None)
      number += 1


def framed(path: str, most: int) -> int:
  """How many records, at most `most`, lie whole within the file by their lengths, up to the first damaged length. Reads no body."""
  size, number, place = tf.io.gfile.stat(path).length, 0, 0
  with tf.io.gfile.GFile(path, "rb") as file:
    while number < most and place + _HEAD.size <= size:
      file.seek(place)
      head = file.read(_HEAD.size)
      length, checksum = _HEAD.unpack(head)
      place += _HEAD.size + length + _TAIL.size
      if masked_crc32c(head[:8]) != checksum or place > size:
        break
      number += 1
  return number


def _crc32c_table() -> tuple[int, ...]:
  def entry(value: int) -> int:
    for _ in range(8):
      value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value
  return tuple(entry(value) for value in range(256))


_TABLE = _crc32c_table()


def masked_crc32c(data: bytes) -> int:
  """The checksum of a TFRecord: CRC32C (Castagnoli), rotated right by 15 bits, plus a constant, modulo 2^32."""
  crc, table = 0xFFFFFFFF, _TABLE
  for byte in data:
    crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
  crc ^= 0xFFFFFFFF
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
