"""Sinks in places where something is already: links, mount points, old frames, what somebody else put there, the source itself."""

import os
import pathlib
import shutil
import zipfile

import av
import exif_footage
import footage
import numpy as np
import pytest
import tiny_exports

from mppar_tf import camera
from mppar_tf.on_camera import pipeline, sink_files, sinks, sources

FRAMES = "test:64x48:frames=3"
MADE = ["00000000.png", "00000001.png", "00000002.png", "times.csv"]


def names(folder):
  return sorted(path.name for path in folder.iterdir())


def contents(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def out(place):
  return place / "out"


def run(source, sink, anonymize=lambda frame: 255 - frame):
  return pipeline.run(sources.find(str(source)), anonymize, sinks.find(str(sink), overwrite=True))


@pytest.mark.parametrize("full", [False, True])
def test_a_link_to_a_folder_is_followed(model, out, full):
  (out / "disk").mkdir()
  (out / "disk" / "frames").mkdir()
  (out / "link").symlink_to("disk/frames")
  if full:
    run("test:64x48:frames=5", out / "disk" / "frames")
  assert camera.run(footage.chosen(model, FRAMES, out / "link", overwrite=full)) == 0
  assert names(out / "link") == MADE and names(out) == ["disk", "link"] and names(out / "disk") == ["frames"]
  assert (out / "link").is_symlink()


def test_a_link_to_nothing_yet_makes_what_it_names(out):
  (out / "link").symlink_to("frames")
  run(FRAMES, out / "link")
  assert names(out / "frames") == MADE and (out / "link").is_symlink()


def test_a_mount_point_is_refused_at_once(model, out, capfd, monkeypatch):
  (out / "disk").mkdir()
  monkeypatch.setattr(os.path, "ismount", lambda path: pathlib.Path(path) == out / "disk")
  assert camera.run(footage.chosen(model, "test:64x48", out / "disk")) == 6  # a source without end
  assert "is a mount point" in capfd.readouterr().err.splitlines()[-1] and names(out) == ["disk"]
  assert camera.run(footage.chosen(model, FRAMES, out / "disk" / "frames")) == 0


@pytest.mark.parametrize("way", [("frames", ".frames.old"), (".frames.part", "frames")])
def test_old_frames_are_there_still_where_new_ones_cannot_come(model, out, capfd, monkeypatch, way):
  run("test:64x48:frames=5", out / "frames")
  before, rename = contents(out / "frames"), os.rename

  def failing(first, second):
    if (first.name, second.name) == way:
      raise OSError(16, "Device or resource busy")
    rename(first, second)
  monkeypatch.setattr(sink_files.os, "rename", failing)
  assert camera.run(footage.chosen(model, FRAMES, out / "frames", overwrite=True)) == 6
  assert "Device or resource busy" in capfd.readouterr().err and contents(out / "frames") == before and names(out) == ["frames"]


def test_what_came_into_the_folder_meanwhile_is_not_replaced(out):
  run(FRAMES, out / "frames")

  def put(frame):
    (out / "frames" / "photo.jpg").write_bytes(b"precious")
    return 255 - frame
  with pytest.raises(sinks.SinkFailed, match="other things than anonymized frames by now"):
    run(FRAMES, out / "frames", put)
  assert (out / "frames" / "photo.jpg").read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["1.png", "photo.png", "00000000.png/x"])
def test_pictures_of_others_are_no_old_frames(model, out, name):
  (out / "frames" / name).parent.mkdir(parents=True)
  (out / "frames" / name).write_bytes(b"precious")
  assert camera.run(footage.chosen(model, FRAMES, out / "frames", overwrite=True)) == 6
  assert (out / "frames" / name).read_bytes() == b"precious"


@pytest.mark.parametrize("sink, kept", [("x.mp4", ["x.partial.mp4", "x.partial2.mp4", "x.partial3.mp4"]),
                                        ("frames", ["frames.partial", "frames.partial2", "frames.partial3"])])
def test_what_is_kept_takes_a_free_name(model, place, out, monkeypatch, capfd, sink, kept):
  if sink == "frames":
    (out / kept[0]).mkdir()
  (out / kept[0] / "photo.jpg" if sink == "frames" else out / kept[0]).write_bytes(b"precious")
  (out / kept[1]).symlink_to("nowhere")
  footage.break_interpreter(monkeypatch, "raises", at=6)
  assert camera.run(footage.chosen(model, place / "source", out / sink, keep_partial=True)) == 5
  assert f"are kept in {out / kept[2]}" in capfd.readouterr().err and names(out) == kept
  assert (out / kept[0] / "photo.jpg" if sink == "frames" else out / kept[0]).read_bytes() == b"precious"


@pytest.mark.parametrize("source, sink", [("x.partial.mp4", "x.mp4"), (".x.mp4.part", "x.mp4"), ("frames.partial", "frames"),
                                          (".frames.part", "frames"), ("frames/00000000.png", "frames")])
def test_the_source_is_never_replaced_whatever_its_name(model, out, monkeypatch, capfd, source, sink):
  if source.endswith((".mp4", ".mp4.part")):
    footage.make_video(out / "in.mp4", tiny_exports.pictures(14, *footage.SIZE)).rename(out / source)
    before = (out / source).read_bytes()
  else:
    folder = out / source.split("/")[0]
    folder.mkdir()
    for i, picture in enumerate(tiny_exports.pictures(14, *footage.SIZE)):
      footage.av.VideoFrame.from_ndarray(picture, format="rgb24").save(str(folder / f"{i:08d}.png"))
    before = contents(folder)
  footage.break_interpreter(monkeypatch, "raises", at=6)
  code = camera.run(footage.chosen(model, out / source, out / sink, keep_partial=True, overwrite=True))
  assert code == (5 if "partial" in source else 6), capfd.readouterr()
  after = (out / source).read_bytes() if (out / source).is_file() and sink == "x.mp4" else contents(out / source.split("/")[0])
  assert after == before


def test_what_others_put_under_the_temporary_name_is_not_removed(model, out, capfd):
  (out / ".frames.part").mkdir()
  (out / ".frames.part" / "photo.jpg").write_bytes(b"precious")
  assert camera.run(footage.chosen(model, FRAMES, out / "frames")) == 6
  assert "in its way" in capfd.readouterr().err and contents(out / ".frames.part") == {"photo.jpg": b"precious"}
  shutil.rmtree(out / ".frames.part")
  (out / ".x.mp4.part").mkdir()
  assert camera.run(footage.chosen(model, FRAMES, out / "x.mp4")) == 6 and names(out) == [".x.mp4.part"]


# What is no video does not make room for one.


def _sound(path, cover):
  """Music, with the picture of its cover as a second track where asked."""
  with av.open(str(path), "w", format="mp4") as container:
    stream = container.add_stream("aac", rate=16000)
    picture = container.add_stream("mjpeg") if cover else None
    if picture:
      picture.width, picture.height, picture.pix_fmt = exif_footage.STORED[1], exif_footage.STORED[0], "yuvj444p"
      picture.disposition = av.stream.Disposition.attached_pic
    for i in range(10):
      tone = av.AudioFrame.from_ndarray(np.sin(np.arange(1024) / 5)[None].astype(np.float32), format="fltp", layout="mono")
      tone.sample_rate, tone.pts = 16000, 1024 * i
      container.mux(stream.encode(tone))
    container.mux(stream.encode(None))
    if picture:
      packet = av.Packet(exif_footage.encoded(exif_footage.corners(), 1))
      packet.stream, packet.pts, packet.dts, packet.time_base = picture, 0, 0, exif_footage.Fraction(1, 25)
      container.mux(packet)


def _video(path, suffix):
  footage.make_video(path.with_name(f"made{suffix}"), tiny_exports.pictures(3, *footage.SIZE)).rename(path)


FOREIGN = {
    "text": lambda path: path.write_text("notes\n"),
    "one byte": lambda path: path.write_bytes(b"\0"),
    "zeros": lambda path: path.write_bytes(bytes(100_000)),
    "playlist": lambda path: path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n"),
    "subtitles": lambda path: path.write_text("1\n00:00:01,000 --> 00:00:02,000\nHello\n"),
    "screen": lambda path: path.write_text("\x1b[31mred\x1b[0m\n" * 50),  # letters that FFmpeg would draw
    "picture": lambda path: path.write_bytes(exif_footage.encoded(exif_footage.corners(), 1)),
    "image": lambda path: path.write_bytes(exif_footage.encoded(exif_footage.corners(), 1, "PNG")),
    "archive": lambda path: zipfile.ZipFile(path, "w").writestr("a.txt", "notes"),
    "music": lambda path: _sound(path, False),
    "music with a cover": lambda path: _sound(path, True),
    "cut off": lambda path: (_video(path, ".mp4"), os.truncate(path, path.stat().st_size // 2)),
    "matroska": lambda path: _video(path, ".mkv")}


@pytest.mark.parametrize("what", FOREIGN)
@pytest.mark.parametrize("name", ["x.mp4", "x.mov"])
def test_what_is_no_video_is_not_replaced(model, out, capfd, what, name):
  FOREIGN[what](out / name)
  before = (out / name).read_bytes()
  assert camera.run(footage.chosen(model, FRAMES, out / name, overwrite=True)) == 6
  assert capfd.readouterr().err.splitlines()[-1] == f"camera: sink {out / name}: is no video in MP4 or MOV; it is not replaced"
  assert names(out) == [name] and (out / name).read_bytes() == before


def test_a_pipe_is_no_video_and_is_not_waited_for(model, out, capfd):
  os.mkfifo(out / "x.mp4")
  assert camera.run(footage.chosen(model, FRAMES, out / "x.mp4", overwrite=True)) == 6
  assert "is no video" in capfd.readouterr().err and (out / "x.mp4").is_fifo()


@pytest.mark.parametrize("name", ["x.mp4", "x.mov", "X.MP4"])
@pytest.mark.parametrize("made", [".mp4", ".mov", None])
def test_a_video_and_an_empty_file_make_room(model, out, name, made):
  if made:
    _video(out / name, made)
  else:
    (out / name).touch()
  assert camera.run(footage.chosen(model, FRAMES, out / name)) == 6
  assert camera.run(footage.chosen(model, FRAMES, out / name, overwrite=True)) == 0
  assert len(footage.read_video(out / name)) == 3 and names(out) == [name]
  assert camera.run(footage.chosen(model, "test:64x48:frames=4", out / name, overwrite=True)) == 0  # its own, too
  assert len(footage.read_video(out / name)) == 4


def test_a_file_that_may_not_be_read_is_not_replaced(model, out, capfd, monkeypatch):
  _video(out / "x.mp4", ".mp4")
  before, really = (out / "x.mp4").read_bytes(), av.open

  def forbidden(file, *arguments, **more):
    if file == str(out / "x.mp4"):
      raise av.error.PermissionError(13, "Permission denied", file)
    return really(file, *arguments, **more)
  monkeypatch.setattr(sink_files.av, "open", forbidden)
  assert camera.run(footage.chosen(model, FRAMES, out / "x.mp4", overwrite=True)) == 6
  assert capfd.readouterr().err.splitlines()[-1] == f"camera: sink {out / 'x.mp4'}: Permission denied"
  assert (out / "x.mp4").read_bytes() == before


def test_what_took_the_video_s_name_meanwhile_is_not_replaced(out):
  def put(frame):
    (out / "x.mp4").write_text("notes")
    return 255 - frame
  with pytest.raises(sinks.SinkFailed, match="another thing than a video by now"):
    run(FRAMES, out / "x.mp4", put)
  assert (out / "x.mp4").read_text() == "notes" and names(out) == ["x.mp4"]
