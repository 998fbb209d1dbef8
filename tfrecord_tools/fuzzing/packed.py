"""Fuzzing of archives: a small tree of files as .zip and .tar in their usual compressions."""

import gzip
import io
import pathlib
import random
import tarfile
import zipfile
from typing import Callable, Mapping, NamedTuple

from tfrecord_tools import archives
from tfrecord_tools.fuzzing import mutations, outcomes
from tfrecord_tools.fuzzing.outcomes import Outcome, Target
from tfrecord_tools.plan import PlanError
from tfrecord_tools.source import Tree

FILES = {"download-main/lists/train.txt": b"a/clip1.avi 1\r\n" * 40, "download-main/a/clip1.avi": random.Random(1).randbytes(3000),
         "download-main/a/clip2.avi": random.Random(2).randbytes(700), "download-main/b/empty.txt": b"",
         "download-main/b/\u00fcber.txt": b"text\n", "download-main/" + "long/" * 25 + "name.txt": b"deep\n"}


class Sound(NamedTuple):
  """A whole archive."""
  name: str
  data: bytes
  checked: bool  # whether the format has checksums of its content


def _zip(method: int) -> Callable[[], bytes]:
  def write() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
      for name, content in {"download-main/": b"", **FILES}.items():
        archive.writestr(zipfile.ZipInfo(name), content, method)  # by ZipInfo, whose date is not today's
    return out.getvalue()
  return write


def _tar(mode: str, form: int = tarfile.PAX_FORMAT) -> Callable[[], bytes]:
  def write() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=form) as archive:
      for name, content in FILES.items():
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()
  return write


def _gzipped() -> bytes:
  return gzip.compress(_tar("w")(), mtime=0)


def _nested() -> bytes:
  """An archive of archives, as HMDB51 comes."""
  out = io.BytesIO()
  with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr(zipfile.ZipInfo("inner.tar.gz"), _gzipped(), zipfile.ZIP_DEFLATED)
  return out.getvalue()


WRITERS: Mapping[str, tuple[Callable[[], bytes], bool]] = {
    "stored.zip": (_zip(zipfile.ZIP_STORED), True), "deflated.zip": (_zip(zipfile.ZIP_DEFLATED), True),
    "bzip2.zip": (_zip(zipfile.ZIP_BZIP2), True), "lzma.zip": (_zip(zipfile.ZIP_LZMA), True), "nested.zip": (_nested, True),
    "plain.tar": (_tar("w"), False), "gnu.tar": (_tar("w", tarfile.GNU_FORMAT), False), "a.tar.gz": (_gzipped, True),
    "a.tar.bz2": (_tar("w:bz2"), True), "a.tar.xz": (_tar("w:xz"), True)}


def prepare(folder: pathlib.Path) -> list[Sound]:
  return [Sound(name, write(), checked) for name, (write, checked) in WRITERS.items()]


def attempt(prepared: list[Sound], rng: random.Random, folder: pathlib.Path) -> Outcome:
  """A changed archive is refused by name, or unpacks to the same files; where a format checks no content, to the same names and sizes."""
  sound = rng.choice(prepared)
  data = mutations.binary(rng, sound.data)
  outcomes.keep(folder, {sound.name: data})
  path = folder / outcomes.INPUT / sound.name
  try:
    Tree(archives.as_folders({"source": str(path)}, folder / "unpacked").get("source", path))
  except PlanError as error:
    return outcomes.error(error, sound.name, "inner.tar.gz")
  place = next((folder / "unpacked").iterdir())
  got = {str(one.relative_to(place)): one.read_bytes() for one in place.rglob("*") if one.is_file()}
  return _judged(got, sound, data)


def _judged(got: Mapping[str, bytes], sound: Sound, data: bytes) -> Outcome:
  if got == FILES:
    return Outcome(outcomes.SAME)
  missing, strange = sorted(set(FILES) - set(got)), sorted(set(got) - set(FILES))
  differing = [name for name in FILES if name in got and got[name] != FILES[name]]
  words = f"{sound.name}: missing {missing[:2]}, strange {strange[:2]}, differing {differing[:2]}"
  # No tar has checksums of its own content, and its headers' are sums, which exchanged bytes leave as they are.
  if not sound.checked and len(got) == len(FILES):
    return Outcome(outcomes.OTHER, words)
  return Outcome(outcomes.LOSS, words)


ARCHIVES = Target(prepare, attempt)
