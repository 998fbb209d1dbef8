"""Reads .rar through a tool of the system, which is asked for names and bytes and never writes a file itself."""

import contextlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from typing import IO, Callable, Iterator, NamedTuple

MAGIC = b"Rar!\x1a\x07"
FILE, FOLDER = "a file", "a folder"


class ToolError(ValueError):
  """No tool reads this archive; one line."""


class Entry(NamedTuple):
  """One entry of an archive. `read(n)` gives at most n bytes, b"" at the end; it must be read before the next entry is asked for."""
  name: str
  kind: str  # FILE, FOLDER, or what else it is
  size: int = 0  # declared, bytes
  read: Callable[[int], bytes] = lambda count: b""


def is_rar(path: str) -> bool:
  with open(path, "rb") as stream:
    return stream.read(len(MAGIC)) == MAGIC


def entries(path: str) -> Iterator[Entry]:
  """The archive's entries, by the first installed tool that can list it.

  Raises:
    ToolError: none is installed, none can read it, or the content does not match the list.
  """
  installed = [name for name in TOOLS if shutil.which(name)]
  if not installed:
    raise ToolError(f"reading .rar needs one of the programs {', '.join(TOOLS)}; none is installed (bsdtar: Debian's libarchive-tools)")
  complaints = []
  for name in installed:
    found, first = TOOLS[name](name, os.path.abspath(path)), None
    try:
      for entry in found:
        first = first or entry
        yield entry
      if first:
        return
      complaints.append(f"{name}: lists nothing")
    except ToolError as error:
      complaints.append(f"{name}: {error}")
      if first:
        break  # its first entries are written already
  raise ToolError(f"{'; '.join(complaints)} (programs that read .rar: {', '.join(TOOLS)})")


def tar_entries(opened: tarfile.TarFile) -> Iterator[Entry]:
  """The entries of a tar that is read as a stream."""
  for member in opened:
    kind = FOLDER if member.isdir() else FILE if member.isreg() else "a link or no plain file"
    if kind == FILE:
      yield Entry(member.name, FILE, member.size, opened.extractfile(member).read)
    else:
      yield Entry(member.name, kind)


def _bsdtar(tool: str, path: str) -> Iterator[Entry]:
  """bsdtar rewrites any archive that it reads as a tar."""
  with _output(tool, "-cf", "-", "--format=pax", f"@{path}") as stream:
    try:
      with tarfile.open(fileobj=stream, mode="r|") as opened:
        yield from tar_entries(opened)
    except tarfile.ReadError as error:
      raise ToolError("not an archive that it knows") from error
    while stream.read(1 << 16):  # the padding behind the last entry; a closed pipe would look like a failure
      continue


def _unrar(tool: str, path: str) -> Iterator[Entry]:
  """`unrar lt` tells of each entry in lines `Name: value`, `unrar p` prints all content in the same order."""
  kinds = {"File": FILE, "Directory": FOLDER}
  listed = []
  for fields in _blocks(_text(tool, "lt", "-p-", "--", path), "Name"):
    if fields.get("Type") != "Service":
      listed.append(_Listed(fields["Name"], kinds.get(fields.get("Type", ""), "a link or no plain file"), fields.get("Size", "0"),
                            fields.get("CRC32", "")))
  yield from _cut(listed, tool, "p", "-inul", "-p-", "--", path)


def _seven_zip(tool: str, path: str) -> Iterator[Entry]:
  """`7z l -slt` tells of each entry in lines `Path = value`, `7z x -so` prints all content in the same order."""
  listed = []
  for fields in _blocks(_text(tool, "l", "-slt", "-ba", "-p", "--", path), "Path"):
    attributes = fields.get("Attributes", "")
    linked = any(fields.get(f"{kind} Link") for kind in ("Symbolic", "Hard", "Copy")) or re.search(r"\b[lbcps][r-][w-]", attributes)
    folder = fields.get("Folder") == "+" or attributes.startswith("D")
    listed.append(_Listed(fields["Path"], "a link or no plain file" if linked else FOLDER if folder else FILE, fields.get("Size", "0"),
                          fields.get("CRC", "")))
  yield from _cut(listed, tool, "x", "-so", "-bd", "-p", "--", path)


TOOLS: dict[str, Callable[[str, str], Iterator[Entry]]] = {"unrar": _unrar, "bsdtar": _bsdtar, "7z": _seven_zip, "7zz": _seven_zip}


class _Listed(NamedTuple):
  """An entry as a tool lists it."""
  name: str
  kind: str
  size: str
  crc: str  # eight hexadecimal digits, or nothing where the tool does not tell


def _blocks(text: str, first: str) -> Iterator[dict[str, str]]:
  """The fields of each entry of a listing, whose block begins with the field `first`."""
  fields: dict[str, str] = {}
  for line in text.splitlines():
    match = re.fullmatch(r"\s*(\w[\w ]*?)(?:: | = ?)(.*)", line)
    if match and match[1] == first and fields:
      yield fields
    if match and (match[1] == first or fields):
      fields = {first: match[2]} if match[1] == first else {**fields, match[1]: match[2]}
  if fields:
    yield fields


def _cut(listed: list[_Listed], *command: str) -> Iterator[Entry]:
  """Entries from a listing and the stream of all their content. A checksum that differs says that the two do not go together."""
  if not listed:
    raise ToolError("lists nothing")  # unrar-free calls itself unrar and lists in a form of its own
  with _output(*command) as stream:
    for one in listed:
      if not one.size.isdigit() and one.kind == FILE:
        raise ToolError(f"lists {one.name!r} without its size")
      if one.kind != FILE:
        yield Entry(one.name, one.kind)
        continue
      piece = _Piece(stream, int(one.size))
      yield Entry(one.name, FILE, int(one.size), piece.read)
      if re.fullmatch(r"[0-9A-Fa-f]{8}", one.crc) and int(one.crc, 16) != piece.crc:
        raise ToolError(f"{one.name!r} is damaged: its checksum differs")
    if stream.read(1):
      raise ToolError("gives more content than it lists")


class _Piece:
  """The next `size` bytes of a stream."""

  def __init__(self, stream: IO[bytes], size: int):
    self._stream, self._left, self.crc = stream, size, 0

  def read(self, count: int) -> bytes:
    block = self._stream.read(min(count, self._left)) if self._left else b""
    self._left, self.crc = self._left - len(block), zlib.crc32(block, self.crc)
    return block


@contextlib.contextmanager
def _output(*command: str) -> Iterator[IO[bytes]]:
  """What a tool prints, as a stream; raises ToolError at the end where it failed."""
  # A program that takes a word for another may write where it stands, as unrar-free does on `p`: let it stand apart.
  with tempfile.TemporaryDirectory() as apart, tempfile.TemporaryFile() as words, subprocess.Popen(
      command, cwd=apart, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words) as process:
    try:
      yield process.stdout
    except BaseException:
      process.kill()
      raise
    if process.wait():
      words.seek(0)
      said = " ".join(words.read().decode(errors="replace").split())
      raise ToolError(f"exit code {process.returncode}{': ' if said else ''}{said[-200:]}")


def _text(*command: str) -> str:
  with _output(*command) as stream:
    return stream.read().decode("utf-8", "surrogateescape")
