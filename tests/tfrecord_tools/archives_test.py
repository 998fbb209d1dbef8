"""Archives: sound ones become folders, and none reaches out of its folder, fills the disk, or leaves half of itself."""

import collections
import io
import os
import pathlib
import shutil
import stat
import struct
import subprocess
import tarfile
import zipfile

import pytest
import tiny_rar

from tfrecord_tools import archives, rar

FILES = {"top/a b.avi": b"hello" * 1000, "top/deep/ü.txt": "süß".encode(), "empty.txt": b""}
NOISE = bytes(range(256)) * 40


def content(folder):
  return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def zipped(path, files, **changes):
  """A zip of files; `changes`: name -> (attribute of ZipInfo, value)."""
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, data in files.items():
      info = zipfile.ZipInfo(name)
      info.compress_type = zipfile.ZIP_DEFLATED
      for attribute, value in changes.get(name, {}).items():
        setattr(info, attribute, value)
      archive.writestr(info, data)
  return path


def tarred(path, members, mode="w:gz"):
  """A tar of (name, fields of TarInfo, content)."""
  with tarfile.open(path, mode) as archive:
    for name, fields, data in members:
      info = tarfile.TarInfo(name)
      info.size = len(data)
      for field, value in fields.items():
        setattr(info, field, value)
      archive.addfile(info, io.BytesIO(data))
  return path


def refused(archive, folder):
  """What is said of an archive that is not unpacked; nothing of it may stay."""
  before = sorted(path for path in archive.parent.rglob("*"))
  with pytest.raises(archives.ArchiveError) as caught:
    archives.unpack(archive, folder)
  assert sorted(path for path in archive.parent.rglob("*")) == before
  assert "\n" not in str(caught.value) and archive.name in str(caught.value)
  return str(caught.value)


@pytest.mark.parametrize("make", [
    lambda path: zipped(path, FILES),
    lambda path: tarred(path, [(name, {}, data) for name, data in FILES.items()]),
    lambda path: tarred(path, [("top", {"type": tarfile.DIRTYPE}, b""), *((name, {}, data) for name, data in FILES.items())], "w:xz"),
], ids=["zip", "tar.gz", "tar.xz"])
def test_a_sound_archive_becomes_a_folder(tmp_path, make):
  archive = make(tmp_path / "any name")  # the content tells what it is
  assert archives.format_of(archive)
  archives.unpack(archive, tmp_path / "out")
  assert content(tmp_path / "out") == FILES


def test_what_a_killed_unpacking_left_is_no_part_of_the_next(tmp_path):
  (tmp_path / "out.writing").mkdir()
  (tmp_path / "out.writing" / "half.avi").write_bytes(b"h")
  archives.unpack(zipped(tmp_path / "a.zip", FILES), tmp_path / "out")
  assert content(tmp_path / "out") == FILES and not (tmp_path / "out.writing").exists()


def test_archives_inside_are_unpacked_where_they_lie(tmp_path):
  for name in ("wave", "walk"):
    zipped(tmp_path / f"{name}.zip", {f"{name}/1.avi": name.encode()})
  inner = {f"all/{name}.zip": (tmp_path / f"{name}.zip").read_bytes() for name in ("wave", "walk")}
  archives.unpack(zipped(tmp_path / "outer.zip", inner | {"all/no.gz": b"no archive"}), tmp_path / "out")
  assert content(tmp_path / "out") == {"all/wave/1.avi": b"wave", "all/walk/1.avi": b"walk", "all/no.gz": b"no archive"}


def test_neither_a_folder_nor_a_video_is_an_archive(tmp_path):
  (tmp_path / "a.avi").write_bytes(b"RIFF" + NOISE)
  assert archives.format_of(tmp_path) is archives.format_of(tmp_path / "a.avi") is archives.format_of(tmp_path / "none.zip") is None


@pytest.mark.parametrize("name, reason", [
    ("../out.txt", "'..' leads out of the root"),
    ("top/../../out.txt", "'..' leads out of the root"),
    ("..\\out.txt", "'..' leads out of the root"),
    ("/out.txt", "absolute path"),
    ("C:\\out.txt", "absolute path"),
    ("C:/out.txt", "absolute path"),
])
def test_no_name_leads_out(tmp_path, name, reason):
  told = [refused(zipped(tmp_path / "a.zip", {"first.txt": b"1", name: b"2"}), tmp_path / "out"),
          refused(tarred(tmp_path / "a.tar.gz", [("first.txt", {}, b"1"), (name, {}, b"2")]), tmp_path / "out")]
  assert all(f"entry {name!r}: {reason}" in one for one in told)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_a_tar_s_links_and_devices_are_refused(tmp_path, kind):
  members = [("way", {"type": kind, "linkname": str(tmp_path)}, b""), ("way/out.txt", {}, b"1")]
  assert "entry 'way': is a link or no plain file" in refused(tarred(tmp_path / "a.tar", members, "w"), tmp_path / "out")


def test_a_zip_s_links_are_refused(tmp_path):
  link = {"create_system": 3, "external_attr": (stat.S_IFLNK | 0o777) << 16}
  archive = zipped(tmp_path / "a.zip", {"way": str(tmp_path).encode(), "way/out.txt": b"1"}, way=link)
  assert "entry 'way': is a link or no plain file" in refused(archive, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a.txt", "a.txt"), ("a.txt", "./a.txt"), ("a.txt", "a.txt/b.txt")])
def test_a_name_that_is_there_already_is_refused(tmp_path, names):
  archive = tarred(tmp_path / "a.tar", [(name, {}, b"1") for name in names], "w")
  assert f"entry {names[1]!r}: the name is there already" in refused(archive, tmp_path / "out")


def test_a_huge_declared_size_is_refused_before_anything_of_it_is_written(tmp_path, monkeypatch):
  archive = zipped(tmp_path / "a.zip", {"small.txt": b"1", "huge.bin": NOISE})
  data = bytearray(archive.read_bytes())
  place = data.rindex(b"PK\x01\x02")  # the central directory's entry of huge.bin: its declared size
  data[place + 24:place + 28] = struct.pack("<I", 3_000_000_000)
  archive.write_bytes(data)
  monkeypatch.setattr(archives, "_copy", lambda entry, out: out.write(entry.name.encode()) if entry.size < 10 else pytest.fail("written"))
  assert "unpacks to more than 100 times its size" in refused(archive, tmp_path / "out")
  assert "at 'huge.bin' of 3000000000 bytes" in refused(archive, tmp_path / "out")


def test_content_that_grows_out_of_all_proportion_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(archives, "SLACK", 1000)
  bomb = {f"{number}.txt": bytes(1 << 20) for number in range(3)}
  assert "unpacks to more than 100 times its size" in refused(zipped(tmp_path / "a.zip", bomb), tmp_path / "out")
  members = [(name, {}, data) for name, data in bomb.items()]
  assert "unpacks to more than 100 times its size" in refused(tarred(tmp_path / "a.tar.xz", members, "w:xz"), tmp_path / "out")
  # A bomb inside an archive draws on the same bound.
  inner = zipped(tmp_path / "inner.zip", bomb).read_bytes()
  assert "unpacks to more than 100 times its size" in refused(zipped(tmp_path / "b.zip", {"inner.zip": inner}), tmp_path / "out")


def test_an_archive_larger_than_the_free_disk_is_refused(tmp_path, monkeypatch):
  usage = collections.namedtuple("usage", "free")
  monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(archives.RESERVE + 100))
  assert "more than the disk has room for (100 bytes), at 'top/a b.avi' of 5000 bytes" in refused(
      zipped(tmp_path / "a.zip", FILES), tmp_path / "out")


def test_too_many_entries_are_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(archives, "MOST_ENTRIES", 5)
  archive = zipped(tmp_path / "a.zip", {f"{number}/": b"" for number in range(6)})
  assert "holds more than 5 entries" in refused(archive, tmp_path / "out")


def test_a_zip_whose_content_is_damaged_is_one_line(tmp_path):
  archive = zipped(tmp_path / "a.zip", {"first.txt": b"1", "a.bin": os.urandom(3000)})
  data = bytearray(archive.read_bytes())
  data[1500:1540] = bytes(40)
  archive.write_bytes(data)
  assert "Bad CRC-32 for file 'a.bin'" in refused(archive, tmp_path / "out")


def test_an_encrypted_zip_is_one_line(tmp_path):
  archive = zipped(tmp_path / "a.zip", {"a.bin": NOISE})
  data = bytearray(archive.read_bytes())
  data[6] = data[data.index(b"PK\x01\x02") + 8] = 1  # the flag of both headers
  archive.write_bytes(data)
  assert "is encrypted, password required" in refused(archive, tmp_path / "out")


def test_a_zip_that_lies_about_its_content_s_size_is_refused(tmp_path):
  archive = zipped(tmp_path / "a.zip", {"a.bin": NOISE})
  data = bytearray(archive.read_bytes())
  place = data.index(b"PK\x01\x02")
  data[place + 24:place + 28] = struct.pack("<I", 7)
  archive.write_bytes(data)
  assert "a.bin" in refused(archive, tmp_path / "out")


@pytest.mark.parametrize("mode, share", [("w:gz", 0.5), ("w", 0.6)])
def test_a_tar_that_broke_off_is_one_line(tmp_path, mode, share):
  archive = tarred(tmp_path / "a.tar", [("a.bin", {}, os.urandom(60000))], mode)
  archive.write_bytes(archive.read_bytes()[:int(archive.stat().st_size * share)])
  refused(archive, tmp_path / "out")


def test_what_is_unpacked_is_kept_while_the_archive_stays_the_same(tmp_path, capsys):
  archive, place = zipped(tmp_path / "a.zip", FILES), tmp_path / "place"
  sources = {"source": str(archive), "annotations": str(tmp_path), "other": None}
  first = archives.as_folders(sources, place)
  assert list(first) == ["source"] and content(pathlib.Path(first["source"])) == FILES
  assert archives.as_folders(sources, place) == first and capsys.readouterr().err.count("unpacking") == 1
  os.utime(archive, ns=(1, 1))
  assert archives.as_folders(sources, place) != first


# ---- rar ----


@pytest.fixture
def alone(tmp_path, monkeypatch):
  """A folder that is all of PATH."""
  (tmp_path / "bin").mkdir()
  monkeypatch.setenv("PATH", str(tmp_path / "bin"))
  return tmp_path / "bin"


def test_without_a_program_for_rar_one_line_says_so(tmp_path, alone):
  assert refused(tiny_rar.write(tmp_path / "a.rar", FILES), tmp_path / "out") == (
      "a.rar: reading .rar needs one of the programs unrar, bsdtar, 7z, 7zz; none is installed (bsdtar: Debian's libarchive-tools)")


# How each program is asked what it is, and the word by which one that reads RAR 5 is known: unrar-free calls itself unrar, and some
# builds of 7-Zip have no RAR.
ASKED = {"unrar": ([], b"freeware"), "bsdtar": (["--version"], b"libarchive"), "7z": (["i"], b"Rar5"), "7zz": (["i"], b"Rar5")}


@pytest.mark.parametrize("tool", list(rar.TOOLS))
def test_a_real_program_reads_a_real_rar(tmp_path, tool, monkeypatch):
  arguments, word = ASKED[tool]
  if not shutil.which(tool) or word not in subprocess.run([tool, *arguments], capture_output=True, check=False).stdout:
    pytest.skip(f"{tool} is not installed, or reads no RAR 5")
  monkeypatch.setattr(rar, "TOOLS", {tool: rar.TOOLS[tool]})
  archives.unpack(tiny_rar.write(tmp_path / "a.rar", {"top/": b"", **FILES}), tmp_path / "out")
  assert content(tmp_path / "out") == FILES
  for name, hostile in {"way": {"files": {}, "links": {"way": str(tmp_path)}}, "../out": {"files": {"../out": b"1"}},
                        "huge": {"files": {"huge": b"1"}, "sizes": {"huge": 1 << 50}}}.items():
    assert repr(name) in refused(tiny_rar.write(tmp_path / "b.rar", **hostile), tmp_path / "out_b")
  cut = tiny_rar.write(tmp_path / "c.rar", {"a.bin": os.urandom(60000)})
  cut.write_bytes(cut.read_bytes()[:40000])
  refused(cut, tmp_path / "out_c")


ENTRIES = [("top", "Directory", 0, b""), *((name, "File", len(data), data) for name, data in FILES.items())]


@pytest.mark.parametrize("tool", ["unrar", "7z"])
def test_a_listing_and_a_stream_become_files(tmp_path, alone, tool):
  tiny_rar.stand_in(alone, tool, ENTRIES)
  archives.unpack(tiny_rar.write(tmp_path / "a.rar", {}), tmp_path / "out")
  assert content(tmp_path / "out") == FILES


@pytest.mark.parametrize("tool", ["unrar", "7z"])
@pytest.mark.parametrize("entries, code, reason", [
    ([("../out", "File", 1, b"1")], 0, "entry '../out': '..' leads out of the root"),
    ([("/out", "File", 1, b"1")], 0, "entry '/out': absolute path"),
    ([("way", "Unix symbolic link", 0, b""), ("way/out", "File", 1, b"1")], 0, "entry 'way': is a link or no plain file"),
    ([("a", "File", 1, b"1"), ("huge", "File", 1 << 50, b"1")], 0, "unpacks to more than 100 times its size"),
    ([("a", "File", 9, b"1")], 0, "entry 'a': ends 8 bytes early"),
    ([("a", "File", 1, b"12"), ("b", "File", 3, b"345")], 0, "'a' is damaged: its checksum differs"),
    ([("a", "File", 1, b"1"), ("b", "Directory", 0, b"234")], 0, "gives more content than it lists"),
    ([("a", "File", 1, b"1")], 3, "exit code 3"),
    ([], 0, "lists nothing"),
])
def test_a_listing_that_is_hostile_or_wrong_is_refused(tmp_path, alone, tool, entries, code, reason):
  tiny_rar.stand_in(alone, tool, entries, code)
  assert reason in refused(tiny_rar.write(tmp_path / "a.rar", {}), tmp_path / "out")


def test_a_program_that_cannot_read_it_leaves_it_to_the_next(tmp_path, alone):
  tiny_rar.stand_in(alone, "unrar", [])  # as unrar-free does, whose listing says nothing to us
  tiny_rar.stand_in(alone, "7z", ENTRIES)
  archives.unpack(tiny_rar.write(tmp_path / "a.rar", {}), tmp_path / "out")
  assert content(tmp_path / "out") == FILES
  tiny_rar.stand_in(alone, "7z", ENTRIES, code=2)
  told = refused(tiny_rar.write(tmp_path / "b.rar", {}), tmp_path / "out_b")
  assert "unrar: lists nothing; 7z: exit code 2" in told and ", ".join(rar.TOOLS) in told
