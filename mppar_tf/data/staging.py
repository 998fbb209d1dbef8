"""Copies of remote shards on this machine, each below the digest that the manifest gives, hence shared by all who read the same bytes."""

import concurrent.futures
import hashlib
import os
import pathlib
import uuid
from typing import BinaryIO, Sequence

from mppar_tf.data import remote
from mppar_tf.data.manifest import UNFINISHED, Shard, sha256_of
from mppar_tf.data.schema import RecordsError
from mppar_tf.progress import progress_bar

_CHUNK = 1 << 22
_AT_ONCE = 4  # shards
_LONG = 1 << 26  # bytes that are worth a progress bar


def cache_folder() -> str:
  return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.join(pathlib.Path.home(), ".cache"), "mppar_tf", "remote")


def local_copies(folder: str, shards: Sequence[Shard]) -> tuple[str, ...]:
  """Paths of copies on this machine, compared with the manifest byte by byte.

  What is there already is not asked for again; a copy appears whole or not at all.

  Args:
    folder: `<data_dir>/<dataset>`, of a scheme of remote.STAGED.
    shards: lines of its manifest.
  Raises:
    RecordsError: a shard that is missing or not what the manifest says, named; no answer in time; no room.
  """
  copies, total = [], sum(shard.bytes for shard in shards)
  with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool, \
      progress_bar(total=total, desc=folder, unit="B", unit_scale=True, disable=total < _LONG) as bar:
    waiting = [pool.submit(_local_copy, os.path.join(folder, shard.file), shard) for shard in shards]
    try:
      for shard, one in zip(shards, waiting):
        copies.append(one.result())
        bar.update(shard.bytes)
    except RecordsError:
      pool.shutdown(wait=False, cancel_futures=True)  # the first reason is told now, not after all others have failed too
      raise
  return tuple(copies)


def _local_copy(url: str, shard: Shard) -> str:
  place = os.path.join(cache_folder(), shard.sha256)
  target = os.path.join(place, shard.file)
  temporary = f"{target}.{uuid.uuid4().hex}{UNFINISHED}"  # two programs may fetch the same shard at once
  try:
    if os.path.exists(target) and os.path.getsize(target) == shard.bytes and sha256_of(target) == shard.sha256:
      return target
    os.makedirs(place, exist_ok=True)
    try:
      with open(temporary, "wb") as file:
        _copy(url, shard, file)
      os.replace(temporary, target)
    finally:
      pathlib.Path(temporary).unlink(missing_ok=True)
  except OSError as error:
    raise RecordsError(f"{url}: cannot be copied to {place} ({error.strerror or error})") from None
  return target


def _copy(url: str, shard: Shard, file: BinaryIO) -> None:
  try:
    stored = remote.answer(lambda: remote.object_store(url).size(url), url)
  except FileNotFoundError:
    raise RecordsError(f"{url} is missing") from None
  if stored != shard.bytes:
    raise RecordsError(f"{url}: {stored} bytes where the manifest says {shard.bytes} bytes")
  digest = hashlib.sha256()
  # A range at a time: each must come in time, however large the shard.
  for first in range(0, shard.bytes, _CHUNK):
    chunk = remote.answer(lambda: remote.object_store(url).cat_file(url, start=first, end=min(first + _CHUNK, shard.bytes)), url)
    digest.update(chunk)
    file.write(chunk)
  if digest.hexdigest() != shard.sha256:
    raise RecordsError(f"{url}: its SHA-256 is not the manifest's")
