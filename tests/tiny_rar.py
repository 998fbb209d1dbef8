"""Writes .rar archives (RAR 5, entries stored uncompressed) from nothing, for what no program here can make, and stand-ins for the programs
that read them."""

import pathlib
import stat
import struct
import sys
import zlib

SIGNATURE = b"Rar!\x1a\x07\x01\x00"


def _number(value: int) -> bytes:
  """RAR's variable-length integer: seven bits a byte, low first."""
  pieces = bytearray()
  while value >= 0x80:
    pieces.append(value & 0x7F | 0x80)
    value >>= 7
  return bytes([*pieces, value])


def _block(kind: int, fields: bytes, *, extra: bytes = b"", data: bytes | None = None) -> bytes:
  flags = (1 if extra else 0) | (2 if data is not None else 0)
  body = _number(kind) + _number(flags) + (_number(len(extra)) if extra else b"") + (b"" if data is None else _number(len(data)))
  body += fields + extra
  header = _number(len(body)) + body
  return struct.pack("<I", zlib.crc32(header)) + header + (data or b"")


def _file(name: str, content: bytes, size: int | None, link: str | None) -> bytes:
  folder, encoded = name.endswith("/"), name.rstrip("/").encode()
  fields = _number(1 if folder else 4) + _number(len(content) if size is None else size)
  fields += _number((stat.S_IFLNK if link else stat.S_IFDIR if folder else stat.S_IFREG) | 0o644)
  fields += (b"" if folder else struct.pack("<I", zlib.crc32(content))) + _number(0) + _number(1) + _number(len(encoded)) + encoded
  target = (link or "").encode()
  record = _number(5) + _number(1) + _number(0) + _number(len(target)) + target
  return _block(2, fields, extra=_number(len(record)) + record if link else b"", data=content)


def write(path: pathlib.Path, files: dict[str, bytes], *, links: dict[str, str] | None = None,
          sizes: dict[str, int] | None = None) -> pathlib.Path:
  """Writes an archive of `files`; names ending in / are folders.

  Args:
    links: symbolic links and their targets.
    sizes: declared sizes, where they are not the truth.
  """
  blocks = [_block(1, _number(0))]
  blocks += [_file(name, content, (sizes or {}).get(name), None) for name, content in files.items()]
  blocks += [_file(name, b"", None, target) for name, target in (links or {}).items()]
  path.write_bytes(SIGNATURE + b"".join(blocks) + _block(5, _number(0)))
  return path


# A stand-in answers as the program of its name does, about the entries (name, type, size, content) that it holds for an archive's name.
STAND_IN = """#!{python}
import os, sys, zlib
ARCHIVES = {archives!r}
ENTRIES = ARCHIVES.get(os.path.basename(sys.argv[-1]), ARCHIVES.get("", []))
name, command = {name!r}, sys.argv[1]
if name == "unrar" and command == "lt":
  print("\\nUNRAR 6.24 freeware\\n\\nArchive: x.rar\\nDetails: RAR 5")
  for entry, kind, size, content in ENTRIES:
    print(f"\\n        Name: {{entry}}\\n        Type: {{kind}}\\n        Size: {{size}}\\n       CRC32: {{zlib.crc32(content):08X}}")
elif name == "7z" and command == "l":
  for entry, kind, size, content in ENTRIES:
    print(f"Path = {{entry}}\\nFolder = {{'+' if kind == 'Directory' else '-'}}\\nSize = {{size}}\\nAttributes = A -rw-r--r--")
    print(f"CRC = {{zlib.crc32(content):08X}}\\nSymbolic Link = {{'x' if 'link' in kind else ''}}\\n")
elif (name, command) in (("unrar", "p"), ("7z", "x")):
  sys.stdout.buffer.write(b"".join(content for _, _, _, content in ENTRIES))
else:
  sys.exit("no such command")
sys.exit({code})
"""


def stand_in(folder: pathlib.Path, name: str, entries: list[tuple[str, str, int, bytes]] | dict[str, list], code: int = 0) -> pathlib.Path:
  """Puts a program `name` into `folder`: `unrar` or `7z`, as far as records are built from what they say.

  Args:
    entries: of any archive, or by the archive's file name.
    code: its exit code.
  """
  folder.mkdir(exist_ok=True)
  program = folder / name
  archives = entries if isinstance(entries, dict) else {"": entries}
  program.write_text(STAND_IN.format(python=sys.executable, archives=archives, name=name, code=code), encoding="utf-8")
  program.chmod(0o755)
  return program
