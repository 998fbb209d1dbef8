"""Sources that the fuzz program found to be read short, or to end in an exception that nobody foresaw."""

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import zipfile

import pytest
import tiny_files

from tfrecord_tools import archives, source
from tfrecord_tools.plan import PlanError
from tfrecord_tools.readers import folder, ipn, ixmas, kth, pa_annotations, sbu, video

FILES = {"a/one.avi": bytes(range(256)) * 5, "b/two.avi": b"two" * 300, "c/three.txt": b"three"}


# ---- archives ----


def tar():
  out = io.BytesIO()
  with tarfile.open(fileobj=out, mode="w") as archive:
    for name, content in FILES.items():
      member = tarfile.TarInfo(name)
      member.size = len(content)
      archive.addfile(member, io.BytesIO(content))
  return out.getvalue()


def refused(tmp_path, name, data):
  (tmp_path / name).write_bytes(data)
  with pytest.raises(archives.ArchiveError, match=name) as told:
    archives.unpack(tmp_path / name, tmp_path / "out")
  assert not list(tmp_path.glob("out*"))
  return str(told.value)


def second_header(data):
  return data.index(b"b/two.avi")


def test_a_tar_does_not_end_at_a_damaged_header(tmp_path):
  data = bytearray(tar())
  data[second_header(data) + 100] ^= 1
  assert "damaged or cut" in refused(tmp_path, "x.tar", bytes(data))


def test_a_tar_does_not_end_at_an_overwritten_header(tmp_path):
  data = tar()
  start = second_header(data)
  assert "content behind its end" in refused(tmp_path, "x.tar", data[:start] + bytes(512) + data[start + 512:])


def test_a_tar_that_was_cut_between_two_files_is_refused(tmp_path):
  data = tar()
  for end in (second_header(data), second_header(data) + 100):
    assert "damaged or cut" in refused(tmp_path, "x.tar", data[:end])


@pytest.mark.parametrize("place", [-8, -6])
def test_the_checksum_of_a_tar_gz_is_compared(tmp_path, place):
  data = bytearray(gzip.compress(tar()))
  data[place] ^= 1  # the last eight bytes are the checksum and the length
  assert "cannot be read" in refused(tmp_path, "x.tar.gz", bytes(data))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_tar_cut_within_its_first_entry_is_none(tmp_path, compress):
  data = compress(tar())
  for end in range(1, 60, 7):
    (tmp_path / "x").write_bytes(data[:end])
    assert archives.format_of(tmp_path / "x") is None


@pytest.mark.parametrize("compress", [gzip.compress, bytes])
def test_a_sound_tar_is_unpacked_whole(tmp_path, compress):
  (tmp_path / "x").write_bytes(compress(tar()))
  archives.unpack(tmp_path / "x", tmp_path / "out")
  assert {name: (tmp_path / "out" / name).read_bytes() for name in FILES} == FILES


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_that_a_decompressor_finds_is_an_error_of_the_archive(tmp_path, method):
  out = io.BytesIO()
  with zipfile.ZipFile(out, "w", method) as archive:
    archive.writestr("a.avi", FILES["a/one.avi"])
  data = out.getvalue()
  start = 30 + len("a.avi") + 20
  refused(tmp_path, "x.zip", data[:start] + b"\xff" * 40 + data[start + 40:])


def test_an_offset_before_the_archive_is_an_error_of_the_archive(tmp_path):
  out = io.BytesIO()
  with zipfile.ZipFile(out, "w") as archive:
    archive.writestr("a.avi", b"content")
  data = out.getvalue()
  central = data.index(b"PK\x01\x02")
  # The directory's offset is too large: every entry is then taken to begin so much earlier.
  end = data.index(b"PK\x05\x06")
  refused(tmp_path, "x.zip", data[:end + 16] + struct.pack("<I", central + 50) + data[end + 20:])


def test_a_name_too_long_for_a_file_is_an_error_of_the_archive(tmp_path):
  out = io.BytesIO()
  with zipfile.ZipFile(out, "w") as archive:
    archive.writestr("a" * 300, b"content")
  refused(tmp_path, "x.zip", out.getvalue())


# ---- tables ----

HEADER = "file,split,action,subject\n"


@pytest.mark.parametrize("text, word", [
    ('clips/a.mp4,train,wave,"anna\nclips/b.mp4,train,wave,ben\nclips/c.mp4,test,wave,cleo\n', "line 4"),
    ('clips/a.mp4,train,wave,"anna\nclips/b.mp4,train,wave,ben"\n', "quote"),
    ('clips/a.mp4,train,wave,"an"na\n', "line 2"), (f"clips/a.mp4,train,wave,{'a' * 140_000}\n", "field larger"),
    ("clips/a.mp4,train,wave,anna\xe9\n".encode("latin-1"), "not UTF-8")])
def test_a_table_that_is_no_csv_is_refused_as_a_whole(tmp_path, text, word):
  raw = HEADER.encode() + (text if isinstance(text, bytes) else text.encode())
  with pytest.raises(PlanError, match=r"^clips\.csv.*" + word):
    folder.read_table("clips.csv", raw, tmp_path)
  (tmp_path / "clips.csv").write_bytes(raw)
  with pytest.raises(PlanError, match=r"^clips\.csv.*" + word):
    ixmas._rows(tmp_path / "clips.csv", raw)


def test_lines_of_a_csv_keep_their_numbers():
  assert source.read_csv("x.csv", b'\xef\xbb\xbfa,b\r\n\r\n1,"2,3"\r\n , \n4,5') == [(1, ["a", "b"]), (3, ["1", "2,3"]), (5, ["4", "5"])]
  assert source.read_csv("x.csv", b"") == [(1, [])]


def test_a_name_too_long_for_a_file_is_a_problem_of_its_line(tmp_path):
  raw = f"file,split,glasses\n{'a' * 300}.mp4,train,1\n".encode()
  assert "too long" in folder.read_table("x.csv", raw, tmp_path).problems[0].reason


def test_a_subject_that_looks_like_a_number_is_sorted_as_a_word():
  assert sorted(["10", "\u00b2", "9", "9" * 5000, "anna"], key=ixmas._by_number) == ["9", "10", "9" * 5000, "anna", "\u00b2"]


@pytest.mark.parametrize("read", [
    lambda: sbu.read_line("x", "SBU/s01s02/01/001,1,99999999,0,0"), lambda: sbu.read_line("x", "SBU/s01s02/01/001,7,99999999,0,0")])
def test_a_clip_of_more_pictures_than_anybody_takes_is_refused(read):
  with pytest.raises(ValueError, match="frames . to 99999999"):
    read()


def test_a_gesture_of_more_pictures_than_anybody_takes_is_refused():
  [(_, reason)] = ipn.read_list("x.txt", b"1CM1_1_R_#217,B0B,3,1,99999999,99999999\n")
  assert reason == "frames 1 to 99999999, told to be 99999999"


@pytest.mark.parametrize("first", ["pers0n11_boxing_d1 frames 1-4", "\x00person11_boxing_d1 *missing*"])
def test_the_first_line_of_kths_table_is_no_head_when_its_name_is_damaged(first):
  head = "Training:\tperson11, 12\r\n\r\n"
  sequences, problems = kth.read_table((head + first + "\r\nperson11_boxing_d2 frames 1-4\r\n").encode())
  assert [one.name for one in sequences] == ["person11_boxing_d2"] and problems[0].where.startswith("00sequences.txt line 3")


def test_a_video_that_is_labelled_twice_is_refused(tmp_path):
  (tmp_path / "wave.json").write_text('{"a.avi": 1, "b.avi": 2, "a.avi": 3}')
  with pytest.raises(PlanError, match="wave.json.*'a.avi' is there twice"):
    pa_annotations.read_files("pa_hmdb51", source.Tree(tmp_path))
  (tmp_path / "wave.json").write_text(json.dumps({"a.avi": 1, "b.avi": 2}))
  assert list(pa_annotations.read_files("pa_hmdb51", source.Tree(tmp_path)).values()) == [{"a.avi": 1, "b.avi": 2}]


# ---- videos ----


def test_a_matroska_whose_first_cluster_is_damaged_is_refused(tmp_path):
  path = tiny_files.noisy_video(tmp_path / "a.mkv")
  data = bytearray(path.read_bytes())
  clusters = [place for place in range(len(data)) if data[place:place + 4] == b"\x1f\x43\xb6\x75"]
  for place in clusters[:10]:
    data[place:place + 4] = b"\xec\x40\x00\x00"  # something else, of no length
  path.write_bytes(data)
  with pytest.raises(video.Undecodable, match="begins at 0.4"):
    video.decode(path)


@pytest.mark.parametrize("box", [struct.pack(">I4sQ", 1, b"free", (1 << 64) - 1), struct.pack(">I4sQ", 1, b"free", 1 << 62)])
def test_a_box_of_impossible_size_ends_an_mp4(tmp_path, box):
  path = tiny_files.video(tmp_path / "a.mp4", tiny_files.colours(5), codec="libx264")
  path.write_bytes(path.read_bytes() + box)
  assert not video._lacks_last_fragment(path)
