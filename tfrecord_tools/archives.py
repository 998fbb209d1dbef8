"""Unpacks the archive of a dataset, so that nothing in it reaches out of its folder or fills the disk.

This program alone writes files, whoever reads the archive: zipfile, tarfile, or for .rar a tool of the system that is only asked for names
and bytes. An entry that is absolute, climbs by `..`, is a link or no plain file, or is there twice refuses the whole archive. So does
content that grows beyond LARGEST_RATIO times the archive, or beyond the free disk; a declared size is believed as a bound alone.
Archives inside the archive are unpacked too, one level deep (HMDB51 is a .rar of 51 .rar).
"""

import bz2
import errno
import gzip
import hashlib
import lzma
import os
import pathlib
import shutil
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from typing import IO, Callable, Iterator, Mapping, NamedTuple

from mppar_tf.messages import one_line
from tfrecord_tools import rar
from tfrecord_tools.plan import PlanError
from tfrecord_tools.rar import FILE, FOLDER, Entry
from tfrecord_tools.source import BLOCK, inside

LARGEST_RATIO = 100  # videos and photographs hardly shrink, lists and labels by 30
SLACK = 1 << 26  # bytes that any archive may grow to
RESERVE = 1 << 28  # bytes of the disk that stay free
MOST_ENTRIES = 1_000_000


class ArchiveError(PlanError):
  """An archive that cannot be used, told in one line that names it and the entry."""


class Format(NamedTuple):
  """A kind of archive."""
  matches: Callable[[str], bool]
  entries: Callable[[str], Iterator[Entry]]


def _zip(path: str) -> Iterator[Entry]:
  with zipfile.ZipFile(path) as opened:
    for info in opened.infolist():
      kind = stat.S_IFMT(info.external_attr >> 16)
      plain = FOLDER if info.is_dir() else FILE if kind in (0, stat.S_IFREG) else "a link or no plain file"
      if plain == FILE:
        with opened.open(info) as stream:
          yield Entry(info.filename, FILE, info.file_size, stream.read)
      else:
        yield Entry(info.filename, plain)


class _Member(tarfile.TarInfo):
  """An entry of a tar. The library takes a damaged or cut header for the end of the archive, and the rest would be lost in silence."""

  @classmethod
  def fromtarfile(cls, opened: tarfile.TarFile) -> tarfile.TarInfo:
    try:
      return super().fromtarfile(opened)
    except tarfile.EOFHeaderError:
      raise
    except tarfile.HeaderError as error:
      raise tarfile.ReadError(f"damaged or cut at byte {opened.offset}: {error}") from error


def _is_tar(path: str) -> bool:
  try:
    return tarfile.is_tarfile(path)
  except (EOFError, zlib.error, lzma.LZMAError):  # cut or damaged within its first entry
    return False


def _tar(path: str) -> Iterator[Entry]:
  with open(path, "rb") as file:
    head = file.read(8)
  # The library's own stream of a .tar.gz compares no checksum; that of the whole file is compared at its end.
  opener = next((opener for magic, opener in COMPRESSIONS.items() if head.startswith(magic)), open)
  with opener(path, "rb") as stream, tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as opened:
    yield from rar.tar_entries(opened)
    for _ in range(SLACK // BLOCK):
      padding = opened.fileobj.read(BLOCK)
      if padding.strip(b"\0"):
        raise tarfile.ReadError("content behind its end")
      if not padding:
        return
    raise tarfile.ReadError("endless zeros behind its end")


FORMATS = {
    "rar": Format(rar.is_rar, rar.entries),
    "zip": Format(zipfile.is_zipfile, _zip),
    "tar": Format(_is_tar, _tar),
}
# What the libraries raise on damaged or encrypted archives; OSError is the disk's.
DAMAGE = (ValueError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, MemoryError)
COMPRESSIONS: dict[bytes, Callable[..., IO[bytes]]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}  # of a tar
NO_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ELOOP)  # what a file system answers to a name that no file can have


def format_of(path: str | os.PathLike) -> Format | None:
  """The format that a file's content shows; None where it is a folder or no archive."""
  path = os.fspath(path)
  return next((one for one in FORMATS.values() if one.matches(path)), None) if os.path.isfile(path) else None


def as_folders(sources: Mapping[str, str | None], place: str | os.PathLike) -> dict[str, str]:
  """The archives among `sources`, each as a folder below `place` that holds its content.

  An archive that was unpacked there already is not unpacked again, unless it was changed since.

  Raises:
    ArchiveError, OSError: see `unpack`.
  """
  folders = {}
  for name, source in sources.items():
    if source and format_of(source):
      facts = os.stat(source)
      key = hashlib.sha256(f"{os.path.abspath(source)}:{facts.st_size}:{facts.st_mtime_ns}".encode()).hexdigest()[:16]
      folders[name] = os.path.join(place, f"{name}-{key}")
      if not os.path.isdir(folders[name]):
        print(f"unpacking {source} into {folders[name]}", file=sys.stderr, flush=True)
        unpack(source, folders[name])
  return folders


def unpack(path: str | os.PathLike, folder: str | os.PathLike) -> None:
  """Unpacks an archive into `folder`, which appears when all of it is there.

  Raises:
    ArchiveError: the archive is damaged, encrypted, reaches out of its folder, or grows too large; nothing of it stays.
    OSError: the disk cannot be written.
  """
  path, writing = os.fspath(path), pathlib.Path(f"{os.fspath(folder)}.writing")
  shutil.rmtree(writing, ignore_errors=True)
  writing.mkdir(parents=True)
  try:
    bound = _Bound(path, shutil.disk_usage(writing).free - RESERVE)
    _unpack_into(path, writing, bound)
    for inner in sorted(one for one in writing.rglob("*") if one.suffix.lower() in (".rar", ".zip", ".tar", ".gz", ".tgz")):
      if format_of(inner):
        _unpack_into(os.fspath(inner), inner.parent, bound)
        inner.unlink()
    os.replace(writing, folder)
  finally:
    shutil.rmtree(writing, ignore_errors=True)


class _Bound:
  """What an archive may still grow by."""

  def __init__(self, path: str, free: int):
    size = os.path.getsize(path)
    self._name, self._left, self._entries = os.path.basename(path), min(LARGEST_RATIO * size + SLACK, free), MOST_ENTRIES
    self._most = f"the disk has room for ({free} bytes)" if self._left == free else f"{LARGEST_RATIO} times its size ({size} bytes)"

  def spend(self, entry: Entry) -> None:
    self._left, self._entries = self._left - entry.size, self._entries - 1
    if self._left < 0:
      raise ArchiveError(f"{self._name}: unpacks to more than {self._most}, at {entry.name!r} of {entry.size} bytes")
    if self._entries < 0:
      raise ArchiveError(f"{self._name}: holds more than {MOST_ENTRIES} entries")


def _unpack_into(path: str, folder: pathlib.Path, bound: _Bound) -> None:
  name = os.path.basename(path)
  try:
    for entry in _told(format_of(path).entries(path)):
      bound.spend(entry)
      _write(entry, folder, name)
  except ArchiveError:
    raise
  except DAMAGE as error:
    raise ArchiveError(f"{name}: {one_line(error) or type(error).__name__}") from error


def _told(entries: Iterator[Entry]) -> Iterator[Entry]:
  """The entries; that a damaged archive cannot be read on is a ValueError, where an OSError is the disk's that is written to."""
  while True:
    try:
      entry = next(entries, None)
    except OSError as error:
      raise ValueError(f"cannot be read ({error})") from error
    if entry is None:
      return
    yield entry


def _write(entry: Entry, folder: pathlib.Path, archive: str) -> None:
  try:
    path = inside(folder, entry.name)
    if entry.kind == FOLDER:
      path.mkdir(parents=True, exist_ok=True)
    elif entry.kind == FILE:
      path.parent.mkdir(parents=True, exist_ok=True)
      with open(path, "xb") as out:
        _copy(entry, out)
    else:
      raise ValueError(f"is {entry.kind}")
  except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
    raise ArchiveError(f"{archive}: entry {entry.name!r}: the name is there already") from error
  except ValueError as error:
    raise ArchiveError(f"{archive}: entry {entry.name!r}: {error}") from error
  except OSError as error:
    if error.errno not in NO_NAME:
      raise
    raise ArchiveError(f"{archive}: entry {entry.name[:200]!r}: {error.strerror}") from error


def _copy(entry: Entry, out: IO[bytes]) -> None:
  left = entry.size
  while block := _read(entry, min(left, BLOCK) or 1):
    left -= len(block)
    if left < 0:
      raise ValueError(f"holds more than the {entry.size} bytes that it declares")
    out.write(block)
  if left:
    raise ValueError(f"ends {left} bytes early")


def _read(entry: Entry, count: int) -> bytes:
  try:
    return entry.read(count)
  except OSError as error:  # bzip2's word for damage
    raise ValueError(f"cannot be read ({error})") from error
