"""The source of a dataset: paths that stay inside their root, draws that depend on a name alone, and a digest of everything read."""

import concurrent.futures
import hashlib
import os
import pathlib
from typing import Iterable, Sequence

from tfrecord_tools.plan import Item

BLOCK = 1 << 20  # bytes read at a time


def inside(root: str | os.PathLike, name: str) -> pathlib.Path:
  """The path of `name` under `root`; raises ValueError where it leads out of it: absolute, `..`, or a link that points out."""
  # A backslash or drive of another system would be one odd file name here and an escape there.
  parts = pathlib.PurePosixPath(name.replace("\\", "/"))
  if parts.is_absolute() or pathlib.PureWindowsPath(name).drive:
    raise ValueError("absolute path; give it relative to the root")
  if ".." in parts.parts:
    raise ValueError("'..' leads out of the root")
  path = pathlib.Path(root, name)
  if not path.resolve().is_relative_to(pathlib.Path(root).resolve()):
    raise ValueError("a link leads out of the root")
  return path


def draw(seed: int, name: str) -> float:
  """A number in [0, 1) that depends on (seed, name) alone: adding or removing files moves no other file."""
  return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big") / 2 ** 64


def mixed(items: Iterable[Item]) -> list[Item]:
  """Storage order: by a hash of the id, so that every shard mixes classes and the table's own order changes no byte."""
  return sorted(items, key=lambda item: hashlib.sha256(item.id.encode()).digest())


def digest(root: str | os.PathLike, names: Sequence[str], tables: Sequence[bytes] = ()) -> str:
  """SHA-256 over the tables and over the name and content of every file; a file that cannot be read counts as missing."""
  total = hashlib.sha256()
  for table in tables:
    total.update(hashlib.sha256(table).digest())
  ordered = sorted(set(names))
  # hashlib lets go of the interpreter lock, so threads read and hash side by side.
  with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
    for name, value in zip(ordered, pool.map(lambda name: _file_digest(pathlib.Path(root, name)), ordered)):
      total.update(name.encode() + b"\0" + value)
  return total.hexdigest()


def _file_digest(path: pathlib.Path) -> bytes:
  value = hashlib.sha256()
  try:
    with open(path, "rb") as stream:
      while block := stream.read(BLOCK):
        value.update(block)
  except OSError:
    return b"missing"
  return value.digest()
