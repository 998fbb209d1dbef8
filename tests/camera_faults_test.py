"""Whatever goes wrong on the way, the camera stops, and no raw frame gets out."""

import os
import pathlib
import signal
import threading
import time

import av
import footage
import numpy as np
import pytest
import tiny_exports

from mppar_tf import camera
from mppar_tf.on_camera import errors, judge, pipeline, sinks, sources


COUNT_OF_INTERRUPTS = 4  # at opening, and at each of the first frames


@pytest.mark.parametrize("sink", ["safe.mp4", "frames"])
@pytest.mark.parametrize("kind", ["raises", "exotic", "NaN", "constant", "unchanged", "shape", "range"])
def test_a_failure_at_one_frame_stops_and_leaks_nothing(model, place, monkeypatch, capfd, kind, sink):
  footage.break_interpreter(monkeypatch, kind)
  assert camera.run(footage.chosen(model, place / "source", place / "out" / sink)) == 5
  output, error = capfd.readouterr()
  lines = [line for line in error.splitlines() if not line.startswith("INFO: ")]
  assert len(lines) == 1 and lines[0].startswith("camera: frame 5: ")
  assert "0." not in lines[0].replace("[0, 1]", "") or kind == "range"  # no pixel's value; the range check tells extremes of the output
  assert output == "" and list((place / "out").iterdir()) == []


@pytest.mark.parametrize("sink, kept", [("safe.mp4", "safe.partial.mp4"), ("frames", "frames.partial")])
def test_a_kept_partial_output_holds_the_anonymized_frames_alone(model, place, monkeypatch, capsys, sink, kept):
  footage.break_interpreter(monkeypatch, "raises", at=6)
  assert camera.run(footage.chosen(model, place / "source", place / "out" / sink, keep_partial=True)) == 5
  assert [p.name for p in (place / "out").iterdir()] == [kept]
  pictures = tiny_exports.pictures(footage.COUNT, *footage.SIZE)
  assert footage.raw_in(place / "out", pictures) == []
  partial = place / "out" / kept
  files = [partial] if sink.endswith("mp4") else sorted(partial.glob("*.png"))
  shown = [pixels for file in files for _, pixels in footage.read_video(file)]
  assert 0 < len(shown) <= 6 and f"{len(shown)} anonymized frames are kept in {partial}" in capsys.readouterr().err
  monkeypatch.undo()
  with camera.CameraAnonymizer(model) as anonymize:
    expected = [anonymize(raw) / 255 for raw in pictures]
  assert [int(np.argmax([judge.psnr_db(e, safe / 255) for e in expected])) for safe in shown] == list(range(len(shown)))


def test_the_search_for_raw_frames_finds_them(place):
  pictures = tiny_exports.pictures(3, *footage.SIZE)
  footage.make_video(place / "out" / "leak.mp4", pictures, quality="30")
  assert footage.raw_in(place / "out", pictures)
  (place / "out" / "leak.mp4").unlink()
  (place / "out" / "core").write_bytes(b"\0" * 77 + pictures[1].tobytes())
  assert footage.raw_in(place / "out", pictures) == ["bytes in core"]


def test_sigterm_stops_removes_and_says_so(model, place, monkeypatch, capsys):
  footage.break_interpreter(monkeypatch, "terminated", at=3)
  before = signal.getsignal(signal.SIGTERM)
  assert camera.run(footage.chosen(model, place / "source", place / "out" / "safe.mp4")) == 130
  assert "interrupted" in capsys.readouterr().err and list((place / "out").iterdir()) == []
  assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("at", range(COUNT_OF_INTERRUPTS))
def test_an_interrupt_at_any_moment_stops_every_thread_and_leaves_nothing(place, at):
  source = sources.find(str(place / "source"))
  frames, at_open = source.frames, source.open

  def interrupt():
    signal.raise_signal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else os.kill(os.getpid(), signal.SIGINT)

  def interrupted_frames():
    for frame in frames():
      if frame.index == at - 1:
        interrupt()
        time.sleep(0.3)
      yield frame

  source.frames = interrupted_frames
  if at == 0:
    source.open = lambda: (at_open(), interrupt())[0]
  with pytest.raises(errors.Interrupted):
    pipeline.run(source, lambda frame: 255 - frame, sinks.find(str(place / "out" / "x.mp4")), keep_partial=False)
  assert list((place / "out").iterdir()) == []
  deadline = time.monotonic() + 5  # a thread that has let go of everything may take a moment to leave the list
  while {"decode", "anonymize", "encode"} & {thread.name for thread in threading.enumerate()}:
    assert time.monotonic() < deadline
    time.sleep(0.01)


def test_the_python_camera_stays_shut_after_a_failure(model, monkeypatch):
  footage.break_interpreter(monkeypatch, "NaN", at=1)
  pictures = tiny_exports.pictures(3)
  with camera.CameraAnonymizer(model) as anonymize:
    anonymize(pictures[0])
    with pytest.raises(errors.AnonymizationFailed, match="NaN"):
      anonymize(pictures[1])
    with pytest.raises(errors.AnonymizationFailed, match="earlier failure"):
      anonymize(pictures[2])


@pytest.mark.parametrize("frame", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), "frame"])
def test_a_frame_of_another_kind_is_an_error(model, frame):
  with camera.CameraAnonymizer(model) as anonymize:
    with pytest.raises(errors.AnonymizationFailed, match="a frame is uint8"):
      anonymize(frame)
  with pytest.raises(errors.AnonymizationFailed):
    anonymize(tiny_exports.pictures(1)[0])  # closed


def test_dark_frames_pass(model):
  with camera.CameraAnonymizer(model) as anonymize:
    assert anonymize(np.zeros((16, 24, 3), np.uint8)).shape == (16, 24, 3)


@pytest.mark.parametrize("anonymize, word", [
    (lambda frame: frame, "raw frame itself"), (lambda frame: frame[:, ::-1], "raw frame itself"),
    (lambda frame: frame[::2].copy(), "no uint8 picture"),
    (lambda frame: frame / 255, "no uint8 picture"), (lambda frame: None, "no uint8 picture")])
def test_the_pipeline_passes_on_no_raw_frame_whatever_the_engine_returns(place, anonymize, word):
  with pytest.raises(errors.AnonymizationFailed, match=word):
    pipeline.run(sources.find(str(place / "source")), anonymize, sinks.find(str(place / "out" / "x.mp4")))
  assert list((place / "out").iterdir()) == []


class BadSink(sinks.NullSink):
  def write(self, ticks, pixels):
    if self._count == 4:
      raise OSError(28, "No space left on device")
    super().write(ticks, pixels)

  def abandon(self, keep):
    self.abandoned = True


def test_a_sink_that_fails_stops_source_and_engine(place):
  sink, seen = BadSink(), []
  with pytest.raises(errors.CameraError) as failure:
    pipeline.run(sources.find(str(place / "source")), lambda frame: seen.append(1) or 255 - frame, sink, queue_frames=1)
  assert failure.value.exit_code == 7 and "encode: OSError" in str(failure.value) and sink.abandoned
  assert len(seen) <= 4 + 4  # what stood in the queues, no more


def test_taps_see_the_frames_of_the_sink_and_one_that_raises_stops_the_run(place):
  seen, pictures = [], tiny_exports.pictures(footage.COUNT, *footage.SIZE)
  pipeline.run(sources.find(str(place / "source")), lambda frame: 255 - frame, sinks.find("null"), taps=(seen.append,))
  assert [frame.index for frame in seen] == list(range(footage.COUNT))
  assert all(np.array_equal(frame.pixels, 255 - raw) for frame, raw in zip(seen, pictures))

  def bad(frame):
    raise ValueError(f"cannot show {frame.pixels.tolist()}")
  with pytest.raises(errors.CameraError, match="^encode: ValueError at [a-z_]+.py:[0-9]+$"):
    pipeline.run(sources.find(str(place / "source")), lambda frame: 255 - frame, sinks.find(str(place / "out" / "x.mp4")), taps=(bad,))
  assert list((place / "out").iterdir()) == []


def test_a_full_disk_is_a_sink_failure(model, place, monkeypatch, capsys):
  def full(self, *_, **__):
    raise OSError(28, "No space left on device")
  monkeypatch.setattr(pathlib.Path, "mkdir", full)
  assert camera.run(footage.chosen(model, place / "source", place / "out" / "frames")) == 6
  assert "No space left" in capsys.readouterr().err


def truncated(place):
  video = footage.make_video(place / "in.avi", tiny_exports.pictures(30, *footage.SIZE), codec="mpeg4")
  content = video.read_bytes()
  video.write_bytes(content[:len(content) // 2])
  return video


def cut_matroska(place):
  video = footage.make_video(place / "in.mkv", tiny_exports.pictures(30, *footage.SIZE))
  content = video.read_bytes()
  video.write_bytes(content[:len(content) * 2 // 3])
  return video


def damaged(place):
  video = footage.make_video(place / "in.mp4", tiny_exports.pictures(30, *footage.SIZE), codec="mpeg4")
  content = bytearray(video.read_bytes())
  content[len(content) // 2:len(content) // 2 + 40] = bytes(range(40))
  video.write_bytes(content)
  return video


def late_matroska(place):
  pictures = tiny_exports.pictures(30, *footage.SIZE)
  return footage.make_video(place / "in.mkv", pictures, ticks=range(10, 40))


def avi_without_its_middle(place):
  """Chunks of frames 10 to 19 are renamed to what no stream has."""
  content = bytearray(footage.make_video(place / "in.avi", tiny_exports.pictures(30, *footage.SIZE), codec="mpeg4").read_bytes())
  starts = [at for at in range(content.index(b"movi"), content.rindex(b"idx1")) if content[at:at + 4] == b"00dc"]
  for at in starts[10:20]:
    content[at:at + 4] = b"JUNK"
  (place / "in.avi").write_bytes(content)
  return place / "in.avi"


def bad_image(place):
  (place / "source" / "007.png").write_bytes((place / "source" / "007.png").read_bytes()[:400])
  return place / "source"


def growing(place):
  save_one = av.VideoFrame.from_ndarray(tiny_exports.pictures(1, 32, 32)[0], format="rgb24")
  save_one.save(str(place / "source" / "005.png"))
  return place / "source"


def text(place):
  (place / "in.mp4").write_text("not a video")
  return place / "in.mp4"


def empty(place):
  (place / "empty").mkdir()
  return place / "empty"


@pytest.mark.parametrize("make, code, word", [
    (truncated, 4, "in.avi"), (bad_image, 4, "007.png"), (growing, 6, "one video has one size"), (text, 4, "Invalid data"),
    (empty, 4, "has no image"), (cut_matroska, 4, "truncated?"), (damaged, 4, "corrupt"),
    (late_matroska, 4, "begins 0.4"), (avi_without_its_middle, 4, "of 30 frames"),
    (lambda place: place / "nowhere.mp4", 4, "does not exist"),
    (lambda place: "gopher://u:pw@host/x", 4, "gopher://host: its scheme is not one of http, ")])
def test_a_bad_source_stops_with_one_line(model, place, capsys, make, code, word):
  assert camera.run(footage.chosen(model, make(place), place / "out" / "x.mp4")) == code
  said = capsys.readouterr().err.strip().splitlines()
  assert word in said[-1] and list((place / "out").iterdir()) == []


def test_damage_is_told_each_time(place):
  """With a decoder that works on several frames at once it was a matter of luck."""
  content = bytearray(footage.make_video(place / "in.mkv", tiny_exports.pictures(30, *footage.SIZE), codec="mpeg4").read_bytes())
  middle = len(content) // 2
  content[middle:middle + 300] = np.random.default_rng(0).bytes(300)
  (place / "in.mkv").write_bytes(content)
  for _ in range(12):
    source = sources.find(str(place / "in.mkv"))
    source.open()
    with pytest.raises(errors.SourceFailed, match="corrupt|cannot be decoded"):
      for _ in source.frames():
        continue
    source.close()


def test_a_folder_of_pictures_of_many_sizes_goes_into_a_folder(model, place):
  assert camera.run(footage.chosen(model, growing(place), place / "out" / "frames")) == 0
  assert len(list((place / "out" / "frames").glob("*.png"))) == footage.COUNT


def test_sinks_never_replace_what_is_not_theirs(model, place, capsys):
  out = place / "out"
  (out / "holiday").mkdir()
  (out / "holiday" / "photo.jpg").write_bytes(b"precious")
  (out / "old.mp4").write_bytes(b"old")
  video = footage.make_video(place / "in.mp4", tiny_exports.pictures(3, *footage.SIZE))
  before = video.read_bytes()
  cases = [(out / "holiday", "exists already", {}), (out / "holiday", "other things", {"overwrite": True}),
           (out / "old.mp4", "exists already", {}), (out / "old.mp4", "is no video", {"overwrite": True}),
           (video, "is the source", {"overwrite": True}), (out / "x.gif", ".mp4, .mov", {}), (out / "no" / "x.mp4", "does not exist", {})]
  for sink, word, more in cases:
    assert camera.run(footage.chosen(model, video, sink, **more)) == 6
    assert word in capsys.readouterr().err
  assert (out / "holiday" / "photo.jpg").read_bytes() == b"precious"
  assert (out / "old.mp4").read_bytes() == b"old" and video.read_bytes() == before
  footage.make_video(out / "older.mp4", tiny_exports.pictures(5, *footage.SIZE))
  assert camera.run(footage.chosen(model, video, out / "older.mp4", overwrite=True)) == 0
  assert len(footage.read_video(out / "older.mp4")) == 3
