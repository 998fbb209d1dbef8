"""The camera: frames keep number, order and times; whatever goes wrong, no raw frame gets out."""

import contextlib
import itertools
import os
import pathlib
import signal
import struct
import subprocess
import sys
import time
from fractions import Fraction

import av
import numpy as np
import pytest
import tiny_exports

from mppar_tf import camera, flagfiles, options
from mppar_tf.on_camera import engine, errors, judge, manifest, pipeline, sinks, sources

ROOT = pathlib.Path(__file__).resolve().parents[1]
SIZE = (48, 64)
COUNT = 14


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  return tiny_exports.write(tmp_path_factory.mktemp("models") / "good", tiny_exports.anonymizer())


@pytest.fixture
def place(tmp_path, monkeypatch):
  """A folder of PNG frames as source, an empty folder for outputs, and a folder for temporary files that is watched too."""
  (tmp_path / "source").mkdir()
  (tmp_path / "out").mkdir()
  monkeypatch.setenv("TMPDIR", str(tmp_path / "out"))
  monkeypatch.chdir(tmp_path / "out")
  save(tmp_path / "source", tiny_exports.pictures(COUNT, *SIZE))
  return tmp_path


def save(folder, pictures):
  for i, picture in enumerate(pictures):
    av.VideoFrame.from_ndarray(picture, format="rgb24").save(str(folder / f"{i:03d}.png"))


def chosen(model, source, sink, **more):
  return options.CameraOptions(model=str(model), source=str(source), sink=str(sink), **more)


def make_video(path, pictures, *, ticks=None, time_base=Fraction(1, 25), codec="libx264", audio=False, quality="1"):
  """A video with the given times, a title, and a tone if asked."""
  with av.open(str(path), "w", options={"movie_timescale": str(time_base.denominator), "video_track_timescale": str(time_base.denominator)}
               if path.suffix in (".mp4", ".mov") else {}) as container:
    container.metadata["title"] = "birthday of Anna"
    stream = container.add_stream(codec, rate=Fraction(25), options={"crf": quality} if codec == "libx264" else {})
    stream.height, stream.width = pictures[0].shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = time_base
    tone = container.add_stream("aac", rate=16000) if audio else None
    for tick, picture in zip(ticks or itertools.count(), pictures):
      frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
      frame.pts, frame.time_base = tick, time_base
      container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
    if tone:
      for i in range(10):
        sound = av.AudioFrame.from_ndarray(np.sin(np.arange(1024) / 5)[None].astype(np.float32), format="fltp", layout="mono")
        sound.sample_rate, sound.pts = 16000, 1024 * i
        container.mux(tone.encode(sound))
      container.mux(tone.encode(None))
  return path


def read_video(path):
  """[(seconds, uint8 [H, W, 3])]"""
  with av.open(str(path)) as container:
    return [(frame.pts * frame.time_base, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def raw_in(folder, raw):
  """Where any frame of `raw` can be found below `folder`: as bytes of one of its rows, or in any picture or video, even one that is cut off."""
  found = []
  for path in (p for p in folder.rglob("*") if p.is_file()):
    content = path.read_bytes()
    if any(picture[len(picture) // 2].tobytes() in content for picture in raw):
      found.append(f"bytes in {path.name}")
    with contextlib.suppress(av.FFmpegError):
      with av.open(str(path)) as container:
        if container.streams.video:
          for frame in container.decode(video=0):
            pixels = frame.to_ndarray(format="rgb24")
            if any(pixels.shape == p.shape and judge.psnr_db(pixels / 255, p / 255) > 22 for p in raw):
              found.append(f"picture in {path.name}")
  return found


class Faulty:
  """An interpreter that does its work until frame `at`, then misbehaves in one way. It first sees the two built-in pictures."""

  def __init__(self, content, threads, *, at, kind):
    self._real, self._left, self._kind = REAL(content, threads), at + 2, kind

  def __getattr__(self, name):
    return getattr(self._real, name)

  def set_tensor(self, index, pixels):
    self._pixels = pixels
    self._real.set_tensor(index, pixels)

  def invoke(self):
    self._left -= 1
    if self._left < 0 and self._kind == "raises":
      raise RuntimeError(f"cannot take {self._pixels.tolist()}")  # as some engines do: the error quotes the frame
    if self._left < 0 and self._kind == "exotic":
      raise SystemError(f"cannot take {self._pixels.tolist()}")
    if self._left < 0 and self._kind == "terminated":
      os.kill(os.getpid(), signal.SIGTERM)
      time.sleep(0.5)
    self._real.invoke()

  def get_tensor(self, index):
    output = self._real.get_tensor(index)
    if self._left >= 0:
      return output
    changed = {"NaN": np.full_like(output, np.nan), "constant": np.full_like(output, 0.3), "unchanged": self._pixels.copy(),
               "shape": output[:, :8], "range": output * 40}
    return changed.get(self._kind, output)


REAL = engine.make_interpreter


def break_interpreter(monkeypatch, kind, at=5):
  monkeypatch.setattr(engine, "make_interpreter", lambda content, threads: Faulty(content, threads, at=at, kind=kind))


# What the camera does when all is well.


def test_one_frame_equals_keras(model):
  picture = tiny_exports.pictures(1)[0]
  with camera.CameraAnonymizer(model) as anonymize:
    safe = anonymize(picture)
  expected = np.asarray(tiny_exports.anonymizer()(picture[None].astype(np.float32) / 255))[0]
  assert safe.dtype == np.uint8 and np.abs(safe - 255.0 * expected).max() <= 0.51


def test_other_sizes_are_scaled_as_a_whole_and_back(model):
  picture = tiny_exports.pictures(1, 96, 144)[0]  # 6 times the model's size: the mean of 6x6 blocks is the oracle of the way in
  small = picture.reshape(16, 6, 24, 6, 3).mean(axis=(1, 3))
  expected = np.asarray(tiny_exports.anonymizer()(small[None].astype(np.float32) / 255))[0]
  with camera.CameraAnonymizer(model) as anonymize:
    safe = anonymize(picture)
  assert safe.shape == picture.shape and not np.shares_memory(safe, picture)
  back = safe.reshape(16, 6, 24, 6, 3).mean(axis=(1, 3)) / 255
  assert judge.psnr_db(back, expected) > 25 and judge.psnr_db(back, expected[:, ::-1]) < 20


@pytest.mark.parametrize("sink", ["safe.mp4", "safe.mov", "frames", "null"])
def test_counts_agree_for_every_sink(model, place, capsys, sink):
  assert camera.run(chosen(model, place / "source", sink)) == 0
  assert f"{COUNT} frames" in capsys.readouterr().out
  names = {"safe.mp4": ["safe.mp4"], "safe.mov": ["safe.mov"], "frames": ["frames"], "null": []}[sink]
  assert sorted(p.name for p in (place / "out").iterdir()) == names
  if sink == "frames":
    rows = (place / "out" / "frames" / "times.csv").read_text().split()
    assert rows[:3] == ["frame,seconds", "00000000.png,0", "00000001.png,0.04"] and len(rows) == COUNT + 1
    assert len(list((place / "out" / "frames").glob("*.png"))) == COUNT
  elif names:
    assert len(read_video(place / "out" / sink)) == COUNT
  assert raw_in(place / "out", tiny_exports.pictures(COUNT, *SIZE)) == []


@pytest.mark.parametrize("ticks, time_base", [
    ([0, 1, 2, 3, 4, 5, 6, 7], Fraction(1, 25)),
    ([3, 5, 6, 200, 201, 202, 203, 250], Fraction(1, 25)),
    ([7, 3003, 6006, 10010, 10011, 20020, 23023, 26026], Fraction(1, 90000)),
    ([3 * 100, 5 * 100, 600, 700, 800, 900, 1000, 40000], Fraction(1, 2997))])
def test_times_order_and_count_are_kept_exactly(place, ticks, time_base):
  greys = [20 + 25 * i for i in range(8)]
  video = make_video(place / "in.mp4", [np.full((*SIZE, 3), grey, np.uint8) for grey in greys], ticks=ticks, time_base=time_base)
  source = sources.find(str(video))
  before = read_video(video)
  assert [t for t, _ in before] == [tick * time_base for tick in ticks]
  summary = pipeline.run(source, lambda frame: 255 - frame, sinks.find(str(place / "out" / "negative.mp4")), queue_frames=1)
  after = read_video(place / "out" / "negative.mp4")
  assert summary.frames == 8 and [t for t, _ in after] == [t for t, _ in before]
  assert np.abs([picture.mean() - (255 - grey) for (_, picture), grey in zip(after, greys)]).max() < 3


def test_audio_and_metadata_are_dropped_and_odd_sizes_stay(model, place):
  video = make_video(place / "in.mp4", tiny_exports.pictures(5, *SIZE), audio=True)
  with av.open(str(video)) as container:
    assert container.streams.audio and container.metadata["title"]  # else the test proves nothing
  assert camera.run(chosen(model, video, place / "out" / "safe.mp4")) == 0
  with av.open(str(place / "out" / "safe.mp4")) as container:
    assert [s.type for s in container.streams] == ["video"] and "title" not in container.metadata
  assert b"Anna" not in (place / "out" / "safe.mp4").read_bytes()
  for old in (place / "source").iterdir():
    old.unlink()
  save(place / "source", tiny_exports.pictures(3, 33, 47))
  assert camera.run(chosen(model, place / "source", place / "out" / "odd.mp4")) == 0
  assert [p.shape for _, p in read_video(place / "out" / "odd.mp4")] == [(33, 47, 3)] * 3


def test_a_turned_video_is_put_upright(place):
  picture = np.full((*SIZE, 3), 30, np.uint8)
  picture[:16, :16] = 220  # top left
  video = make_video(place / "in.mp4", [picture] * 2)
  content = bytearray(video.read_bytes())
  start = content.index(b"tkhd") + 4 + 40  # version and flags 4, times and ids 20, reserved 8, layer to reserved 8, then the matrix
  assert struct.unpack_from(">9i", content, start) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
  struct.pack_into(">9i", content, start, 0, 65536, 0, -65536, 0, 0, SIZE[0] << 16, 0, 1 << 30)  # a quarter clockwise, as phones write it
  video.write_bytes(content)
  source = sources.find(str(video))
  source.open()
  frame = next(source.frames())
  source.close()
  assert frame.pixels.shape == (64, 48, 3)
  assert frame.pixels[:16, -16:].mean() > 200 and frame.pixels[-16:, :].mean() < 60  # top right now


def test_times_of_a_container_that_has_none_increase(place):
  # MPEG-4 with B-frames in AVI: FFmpeg gives such frames the times of their decoding order.
  shared = os.environ.get("MPPAR_SHARED_DATA") or ROOT.parent / "shared" / "data"
  clip = pathlib.Path(shared) / "clips" / "PS7A1P1T1.avi"
  if not clip.exists():
    pytest.skip("shared data is absent: no clip with B-frames in AVI")
  with av.open(str(clip)) as container:
    given = [frame.pts for frame in container.decode(video=0)]
  assert given != sorted(given)
  pipeline.run(sources.find(str(clip)), lambda frame: 255 - frame, sinks.find(str(place / "out" / "x.mp4")))
  seconds = [t for t, _ in read_video(place / "out" / "x.mp4")]
  assert len(seconds) == len(given)
  assert np.allclose(np.diff([float(t) for t in seconds]), 100 / 2997)


# Models that must not run.


def damaged(model, folder, how):
  """A copy of the export with one thing wrong."""
  folder.mkdir()
  for path in model.iterdir():
    (folder / path.name).write_bytes(path.read_bytes())
  tflite = folder / "anonymizer_float32.tflite"
  content = bytearray(tflite.read_bytes())
  if how == "flipped":
    content[len(content) // 2] ^= 1
    tflite.write_bytes(content)
  elif how == "truncated":
    tflite.write_bytes(content[:-1])
  elif how == "missing":
    tflite.unlink()
  elif how == "no manifest":
    (folder / "manifest.json").unlink()
  elif how == "no json":
    (folder / "manifest.json").write_text("{")
  elif how == "not LiteRT":
    tflite.write_bytes(b"not a model at all")
    tiny_exports.describe(folder)
  elif how == "outside":
    (folder.parent / "other.tflite").write_bytes(content)
    tiny_exports.describe(folder)
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace("anonymizer_float32.tflite", "../other.tflite"))
  elif how == "other size":
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace(" 16,", " 32,"))
  return folder


@pytest.mark.parametrize("how, word", [
    ("flipped", "SHA-256"), ("truncated", "bytes"), ("missing", "No such file"), ("no manifest", "no readable manifest.json"),
    ("no json", "not a JSON"), ("not LiteRT", "LiteRT does not take"), ("outside", "not listed"), ("other size", "is not the manifest's")])
def test_a_damaged_or_missing_model_is_refused(model, place, capsys, how, word):
  bad = damaged(model, place / "bad", how)
  for named in (bad, bad / "anonymizer_float32.tflite"):
    assert camera.run(chosen(named, place / "source", place / "out" / "x.mp4")) == 3
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("camera: ") and word in said[-1]
  assert list((place / "out").iterdir()) == []


@pytest.mark.parametrize("word", list(tiny_exports.not_anonymizing()))
def test_a_whole_file_that_does_not_anonymize_is_refused(place, capsys, word):
  bad = tiny_exports.write(place / "bad", tiny_exports.not_anonymizing()[word])
  assert camera.run(chosen(bad, place / "source", place / "out" / "x.mp4")) == 3
  assert word in capsys.readouterr().err.splitlines()[-1]
  assert list((place / "out").iterdir()) == []
  with pytest.raises(errors.ModelRefused, match="built-in pictures"):
    camera.CameraAnonymizer(bad)


def test_a_pinned_manifest_admits_one_export_only(model, place):
  digest = manifest.sha256((model / "manifest.json").read_bytes())
  assert camera.run(chosen(model, place / "source", "null", manifest_sha256=digest)) == 0
  other = tiny_exports.write(place / "other", tiny_exports.anonymizer(seed=7))
  assert camera.run(chosen(other, place / "source", "null")) == 0
  assert camera.run(chosen(other, place / "source", "null", manifest_sha256=digest)) == 3


def test_unknown_variant_lists_choices(model):
  with pytest.raises(errors.ModelRefused, match="'float16', there: float32"):
    camera.CameraAnonymizer(model, variant="float16")


# Failures on the way.


@pytest.mark.parametrize("sink", ["safe.mp4", "frames"])
@pytest.mark.parametrize("kind", ["raises", "exotic", "NaN", "constant", "unchanged", "shape", "range"])
def test_a_failure_at_one_frame_stops_and_leaks_nothing(model, place, monkeypatch, capfd, kind, sink):
  break_interpreter(monkeypatch, kind)
  assert camera.run(chosen(model, place / "source", place / "out" / sink)) == 5
  output, error = capfd.readouterr()
  lines = [line for line in error.splitlines() if not line.startswith("INFO: ")]
  assert len(lines) == 1 and lines[0].startswith("camera: frame 5: ")
  assert "0." not in lines[0].replace("[0, 1]", "") or kind == "range"  # no pixel's value; the range check tells extremes of the output
  assert output == "" and list((place / "out").iterdir()) == []


@pytest.mark.parametrize("sink, kept", [("safe.mp4", "safe.partial.mp4"), ("frames", "frames.partial")])
def test_a_kept_partial_output_holds_the_anonymized_frames_alone(model, place, monkeypatch, capsys, sink, kept):
  break_interpreter(monkeypatch, "raises", at=6)
  assert camera.run(chosen(model, place / "source", place / "out" / sink, keep_partial=True)) == 5
  assert [p.name for p in (place / "out").iterdir()] == [kept]
  pictures = tiny_exports.pictures(COUNT, *SIZE)
  assert raw_in(place / "out", pictures) == []
  partial = place / "out" / kept
  shown = [p for _, p in read_video(partial)] if sink.endswith("mp4") else [read_video(p)[0][1] for p in sorted(partial.glob("*.png"))]
  assert 0 < len(shown) <= 6 and f"{len(shown)} anonymized frames are kept in {partial}" in capsys.readouterr().err
  monkeypatch.undo()
  with camera.CameraAnonymizer(model) as anonymize:
    expected = [anonymize(raw) / 255 for raw in pictures]
  assert [int(np.argmax([judge.psnr_db(e, safe / 255) for e in expected])) for safe in shown] == list(range(len(shown)))


def test_the_search_for_raw_frames_finds_them(place):
  pictures = tiny_exports.pictures(3, *SIZE)
  make_video(place / "out" / "leak.mp4", pictures, quality="30")
  assert raw_in(place / "out", pictures)
  (place / "out" / "leak.mp4").unlink()
  (place / "out" / "core").write_bytes(b"\0" * 77 + pictures[1].tobytes())
  assert raw_in(place / "out", pictures) == ["bytes in core"]


def test_sigterm_stops_removes_and_says_so(model, place, monkeypatch, capsys):
  break_interpreter(monkeypatch, "terminated", at=3)
  before = signal.getsignal(signal.SIGTERM)
  assert camera.run(chosen(model, place / "source", place / "out" / "safe.mp4")) == 130
  assert "interrupted" in capsys.readouterr().err and list((place / "out").iterdir()) == []
  assert signal.getsignal(signal.SIGTERM) is before


def test_the_python_camera_stays_shut_after_a_failure(model, monkeypatch):
  break_interpreter(monkeypatch, "NaN", at=1)
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
    (lambda frame: frame, "raw frame itself"), (lambda frame: frame[:, ::-1], "raw frame itself"), (lambda frame: frame[::2].copy(), "no uint8 picture"),
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


def test_a_full_disk_is_a_sink_failure(model, place, monkeypatch, capsys):
  def full(self, *_, **__):
    raise OSError(28, "No space left on device")
  monkeypatch.setattr(pathlib.Path, "mkdir", full)
  assert camera.run(chosen(model, place / "source", place / "out" / "frames")) == 6
  assert "No space left" in capsys.readouterr().err


def truncated(place):
  video = make_video(place / "in.avi", tiny_exports.pictures(30, *SIZE), codec="mpeg4")
  content = video.read_bytes()
  video.write_bytes(content[:len(content) // 2])
  return video


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
    (truncated, 4, "in.avi"), (bad_image, 4, "007.png"), (growing, 6, "one video has one size"), (text, 4, "Invalid data"), (empty, 4, "has no image"),
    (lambda place: place / "nowhere.mp4", 4, "does not exist"), (lambda place: "rtsp://host/x", 4, "live streams")])
def test_a_bad_source_stops_with_one_line(model, place, capsys, make, code, word):
  assert camera.run(chosen(model, make(place), place / "out" / "x.mp4")) == code
  said = capsys.readouterr().err.strip().splitlines()
  assert word in said[-1] and list((place / "out").iterdir()) == []


def test_a_folder_of_pictures_of_many_sizes_goes_into_a_folder(model, place):
  assert camera.run(chosen(model, growing(place), place / "out" / "frames")) == 0
  assert len(list((place / "out" / "frames").glob("*.png"))) == COUNT


def test_sinks_never_replace_what_is_not_theirs(model, place, capsys):
  out = place / "out"
  (out / "holiday").mkdir()
  (out / "holiday" / "photo.jpg").write_bytes(b"precious")
  (out / "old.mp4").write_bytes(b"old")
  video = make_video(place / "in.mp4", tiny_exports.pictures(3, *SIZE))
  before = video.read_bytes()
  cases = [(out / "holiday", "exists already", {}), (out / "holiday", "other things", {"overwrite": True}), (out / "old.mp4", "exists already", {}),
           (video, "is the source", {"overwrite": True}), (out / "x.gif", ".mp4, .mov", {}), (out / "no" / "x.mp4", "does not exist", {})]
  for sink, word, more in cases:
    assert camera.run(chosen(model, video, sink, **more)) == 6
    assert word in capsys.readouterr().err
  assert (out / "holiday" / "photo.jpg").read_bytes() == b"precious" and (out / "old.mp4").read_bytes() == b"old" and video.read_bytes() == before
  assert camera.run(chosen(model, video, out / "old.mp4", overwrite=True)) == 0
  assert len(read_video(out / "old.mp4")) == 3


# The program.


def program(*arguments, **more):
  return subprocess.run([sys.executable, "-m", "mppar_tf.camera", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=120, **more)


def test_no_tensorflow_is_loaded(model, place):
  code = ("import sys\nfrom mppar_tf import camera, options\n"
          "code = camera.run(options.CameraOptions(model=sys.argv[1], source=sys.argv[2], sink='null'))\n"
          "heavy = [m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'keras', 'cv2', 'matplotlib')]\n"
          "print(code, heavy)")
  done = subprocess.run([sys.executable, "-c", code, str(model), str(place / "source")], cwd=ROOT, capture_output=True, text=True, timeout=120)
  assert done.stdout.splitlines()[-1] == "0 []", done.stderr


def test_the_program_runs_and_tells_bad_input_in_one_line(model, place):
  done = program(f"--model={model}", f"--source={place / 'source'}", f"--sink={place / 'out' / 'safe.mp4'}")
  assert done.returncode == 0 and f"{COUNT} frames" in done.stdout and len(read_video(place / "out" / "safe.mp4")) == COUNT
  for arguments, code, word in [(["--model=x", "--sink=null"], 2, "--source is required"), (["--modle=x"], 2, "modle"),
                                (["--model=x", f"--source={place / 'source'}", "--sink=null"], 3, "model x: does not exist"),
                                (["--model=x", "--source=y", "--sink=null", "--variant=int4"], 2, "float16")]:
    done = program(*arguments)
    assert done.returncode == code and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and word in done.stderr


def test_every_exit_code_and_flag_is_told_by_help():
  done = program("--help")
  assert done.returncode == 0
  for kind in [errors.CameraError, *errors.CameraError.__subclasses__()]:
    assert f"\n  {kind.exit_code:<5}" in done.stdout
  assert all(line.split("=")[0] in done.stdout for line in flagfiles.lines(chosen("m", "s", "null")))
