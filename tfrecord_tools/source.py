"""The source of a dataset: paths that stay inside their root, draws that depend on a name alone, and a digest of everything read."""

import collections
import concurrent.futures
import csv
import hashlib
import io
import os
import pathlib
from typing import Iterable, Mapping, Sequence

from tfrecord_tools.plan import Item, PlanError

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


class Tree:
  """The files below a folder, found by the last parts of their paths: what stands above differs between copies of one dataset."""

  def __init__(self, root: str | os.PathLike):
    """Lists `root`; follows no link to a folder. Raises PlanError where it is no folder."""
    self.root = pathlib.Path(root)
    if not self.root.is_dir():
      there = "is neither a folder nor a sound .zip, .tar or .rar" if self.root.exists() else "is not there"
      raise PlanError(f"{os.fspath(root)} {there}")
    self._by_name: dict[str, list[pathlib.PurePosixPath]] = collections.defaultdict(list)
    for folder, _, names in os.walk(self.root):
      above = pathlib.Path(folder).relative_to(self.root)
      for name in names:
        self._by_name[name.casefold()].append(pathlib.PurePosixPath(above, name))

  def paths(self) -> list[pathlib.PurePosixPath]:
    """Every file, relative to the root, sorted."""
    return sorted(path for listed in self._by_name.values() for path in listed)

  def find(self, name: str) -> pathlib.Path | None:
    """The one file whose path ends in the parts of `name`, None where there is none.

    Case is a tie-break: UCF101's lists and copies of it disagree about HandstandPushups and HandStandPushups.

    Raises:
      PlanError: several files have this name.
      ValueError: a link leads out of the root.
    """
    wanted = pathlib.PurePosixPath(name).parts
    folded = [part.casefold() for part in wanted]
    found = [path for path in self._by_name.get(folded[-1] if folded else "", ())
             if [part.casefold() for part in path.parts[-len(folded):]] == folded]
    exact = [path for path in found if path.parts[-len(wanted):] == wanted] or found
    if len(exact) > 1:
      raise PlanError(f"{self.root}: {exact[0]} and {exact[1]} could both be {name}; give the folder of one of them")
    return inside(self.root, os.fspath(exact[0])) if exact else None


def read_lines(path: pathlib.Path) -> list[tuple[int, str]]:
  """(line number from 1, text without blanks around it) of every line that is not empty, whatever ends it. Raises PlanError."""
  try:
    text = path.read_bytes().decode("utf-8-sig")
  except UnicodeDecodeError as error:
    raise PlanError(f"{path.name}: not UTF-8 text (byte {error.start})") from error
  return [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def read_csv(name: str, raw: bytes, errors: str = "strict") -> list[tuple[int, list[str]]]:
  """(number of its line from 1, cells) of every line of a CSV that is not empty, the header's first; there is always a header.

  Args:
    errors: what is done with bytes that are no UTF-8, as of `bytes.decode`.
  Raises:
    PlanError: no UTF-8, no CSV, or a cell of several lines: a quote that nobody closed swallows the lines that follow, to the last.
  """
  try:
    reader = csv.reader(io.StringIO(raw.decode("utf-8-sig", errors), newline=""), strict=True)
    found = []
    for cells in reader:
      if any("\n" in cell or "\r" in cell for cell in cells):
        raise PlanError(f"{name} line {reader.line_num}: a cell of several lines, or a quote that is not closed")
      found.append((reader.line_num, cells))
  except UnicodeDecodeError as error:
    raise PlanError(f"{name}: not UTF-8 text (byte {error.start})") from error
  except csv.Error as error:
    raise PlanError(f"{name} line {reader.line_num}: {error}") from error
  return [(line, cells) for line, cells in found if any(cell.strip() for cell in cells)] or [(1, [])]


def draw(seed: int, name: str) -> float:
  """A number in [0, 1) that depends on (seed, name) alone: adding or removing files moves no other file."""
  return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big") / 2 ** 64


def mixed(items: Iterable[Item]) -> list[Item]:
  """Storage order: by a hash of the id, so that every shard mixes classes and the table's own order changes no byte."""
  return sorted(items, key=lambda item: hashlib.sha256(item.id.encode()).digest())


def digest(root: str | os.PathLike, names: Sequence[str], tables: Sequence[bytes] = ()) -> str:
  """SHA-256 over the tables and over the name and content of every file; a file that cannot be read counts as missing."""
  return digest_of({name: pathlib.Path(root, name) for name in names}, tables)


def digest_of(files: Mapping[str, pathlib.Path], tables: Sequence[bytes] = ()) -> str:
  """`digest` of files that lie anywhere: names count, paths do not."""
  total = hashlib.sha256()
  for table in tables:
    total.update(hashlib.sha256(table).digest())
  ordered = sorted(files)
  # hashlib lets go of the interpreter lock, so threads read and hash side by side.
  with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
    for name, value in zip(ordered, pool.map(lambda name: _file_digest(files[name]), ordered)):
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
