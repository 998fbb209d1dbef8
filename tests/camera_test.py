"""The camera: frames keep number, order and times, models that must not run do not, the program tells bad input in one line."""

import os
import pathlib
import struct
import subprocess
import sys
from fractions import Fraction

import av
import footage
import numpy as np
import pytest
import tiny_exports

from mppar_tf import camera, flagfiles, options
from mppar_tf.on_camera import errors, judge, manifest, pipeline, sinks, sources

ROOT = pathlib.Path(__file__).resolve().parents[1]


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
  assert camera.run(footage.chosen(model, place / "source", sink)) == 0
  assert f"{footage.COUNT} frames" in capsys.readouterr().out
  names = {"safe.mp4": ["safe.mp4"], "safe.mov": ["safe.mov"], "frames": ["frames"], "null": []}[sink]
  assert sorted(p.name for p in (place / "out").iterdir()) == names
  if sink == "frames":
    rows = (place / "out" / "frames" / "times.csv").read_text().split()
    assert rows[:3] == ["frame,seconds", "00000000.png,0", "00000001.png,0.04"] and len(rows) == footage.COUNT + 1
    assert len(list((place / "out" / "frames").glob("*.png"))) == footage.COUNT
  elif names:
    assert len(footage.read_video(place / "out" / sink)) == footage.COUNT
  assert footage.raw_in(place / "out", tiny_exports.pictures(footage.COUNT, *footage.SIZE)) == []


@pytest.mark.parametrize("ticks, time_base", [
    ([0, 1, 2, 3, 4, 5, 6, 7], Fraction(1, 25)),
    ([3, 5, 6, 200, 201, 202, 203, 250], Fraction(1, 25)),
    ([7, 3003, 6006, 10010, 10011, 20020, 23023, 26026], Fraction(1, 90000)),
    ([3 * 100, 5 * 100, 600, 700, 800, 900, 1000, 40000], Fraction(1, 2997))])
def test_times_order_and_count_are_kept_exactly(place, ticks, time_base):
  greys = [20 + 25 * i for i in range(8)]
  pictures = [np.full((*footage.SIZE, 3), grey, np.uint8) for grey in greys]
  video = footage.make_video(place / "in.mp4", pictures, ticks=ticks, time_base=time_base)
  source = sources.find(str(video))
  before = footage.read_video(video)
  assert [t for t, _ in before] == [tick * time_base for tick in ticks]
  summary = pipeline.run(source, lambda frame: 255 - frame, sinks.find(str(place / "out" / "negative.mp4")), queue_frames=1)
  after = footage.read_video(place / "out" / "negative.mp4")
  with av.open(str(place / "out" / "negative.mp4")) as container:  # nothing is reordered, hence nothing is held back
    assert all(packet.pts == packet.dts for packet in container.demux(video=0) if packet.size)
  assert summary.frames == 8 and [t for t, _ in after] == [t for t, _ in before]
  assert np.abs([picture.mean() - (255 - grey) for (_, picture), grey in zip(after, greys)]).max() < 3


def test_audio_and_metadata_are_dropped_and_odd_sizes_stay(model, place):
  video = footage.make_video(place / "in.mp4", tiny_exports.pictures(5, *footage.SIZE), audio=True)
  with av.open(str(video)) as container:
    assert container.streams.audio and container.metadata["title"]  # else the test proves nothing
  assert camera.run(footage.chosen(model, video, place / "out" / "safe.mp4")) == 0
  with av.open(str(place / "out" / "safe.mp4")) as container:
    assert [s.type for s in container.streams] == ["video"] and "title" not in container.metadata
  assert b"Anna" not in (place / "out" / "safe.mp4").read_bytes()
  for old in (place / "source").iterdir():
    old.unlink()
  footage.save(place / "source", tiny_exports.pictures(3, 33, 47))
  assert camera.run(footage.chosen(model, place / "source", place / "out" / "odd.mp4")) == 0
  assert [p.shape for _, p in footage.read_video(place / "out" / "odd.mp4")] == [(33, 47, 3)] * 3


ONE = 1 << 16
TURNS = {  # a, b, c, d of the display matrix (x' = a x + c y, y' = b x + d y) -> where the top left comes to lie, and the shape
    "quarter": ((0, ONE, -ONE, 0), (slice(16), slice(-16, None)), (64, 48, 3)),
    "three quarters": ((0, -ONE, ONE, 0), (slice(-16, None), slice(16)), (64, 48, 3)),
    "half": ((-ONE, 0, 0, -ONE), (slice(-16, None), slice(-16, None)), (48, 64, 3)),
    "mirrored": ((-ONE, 0, 0, ONE), (slice(16), slice(-16, None)), (48, 64, 3)),
    "upside down": ((ONE, 0, 0, -ONE), (slice(-16, None), slice(16)), (48, 64, 3)),
    "transposed": ((0, ONE, ONE, 0), (slice(16), slice(16)), (64, 48, 3))}


def _with_matrix(video, matrix):
  content = bytearray(video.read_bytes())
  start = content.index(b"tkhd") + 4 + 40  # version and flags 4, times and ids 20, reserved 8, layer to reserved 8, then the matrix
  assert struct.unpack_from(">9i", content, start) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
  a, b, c, d = matrix
  struct.pack_into(">9i", content, start, a, b, 0, c, d, 0, 0, 0, 1 << 30)
  video.write_bytes(content)
  return video


@pytest.mark.parametrize("how", TURNS)
def test_a_turned_or_mirrored_video_is_put_upright(place, how):
  picture = np.full((*footage.SIZE, 3), 30, np.uint8)
  picture[:16, :16] = 220  # top left
  matrix, (rows, columns), shape = TURNS[how]
  source = sources.find(str(_with_matrix(footage.make_video(place / "in.mp4", [picture] * 2), matrix)))
  source.open()
  frame = next(source.frames())
  source.close()
  assert frame.pixels.shape == shape and frame.pixels[rows, columns].mean() > 200
  frame.pixels[rows, columns] = 0
  assert frame.pixels.mean() < 40


def test_a_video_turned_by_an_odd_angle_leaves_nothing(model, place, capsys):
  video = _with_matrix(footage.make_video(place / "in.mp4", tiny_exports.pictures(3, *footage.SIZE)), (46341, 46341, -46341, 46341))
  assert camera.run(footage.chosen(model, video, place / "out" / "x.mp4")) != 0
  assert "degrees" in capsys.readouterr().err and list((place / "out").iterdir()) == []


def test_a_title_in_an_old_encoding_is_no_matter(place):
  video = footage.make_video(place / "in.mkv", tiny_exports.pictures(3, *footage.SIZE))
  content = video.read_bytes()
  assert b"birthday of Anna" in content
  video.write_bytes(content.replace(b"birthday of Anna", "birthday of An\u00e9a".encode("latin-1")))
  with pytest.raises(UnicodeDecodeError):
    av.open(str(video))
  source = sources.find(str(video))
  source.open()
  assert len(list(source.frames())) == 3
  source.close()


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
  seconds = [t for t, _ in footage.read_video(place / "out" / "x.mp4")]
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
    assert camera.run(footage.chosen(named, place / "source", place / "out" / "x.mp4")) == 3
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("camera: ") and word in said[-1]
  assert list((place / "out").iterdir()) == []


@pytest.mark.parametrize("word", list(tiny_exports.not_anonymizing()))
def test_a_whole_file_that_does_not_anonymize_is_refused(place, capsys, word):
  bad = tiny_exports.write(place / "bad", tiny_exports.not_anonymizing()[word])
  assert camera.run(footage.chosen(bad, place / "source", place / "out" / "x.mp4")) == 3
  assert word in capsys.readouterr().err.splitlines()[-1]
  assert list((place / "out").iterdir()) == []
  with pytest.raises(errors.ModelRefused, match="built-in pictures"):
    camera.CameraAnonymizer(bad)


def test_a_pinned_manifest_admits_one_export_only(model, place):
  digest = manifest.sha256((model / "manifest.json").read_bytes())
  assert camera.run(footage.chosen(model, place / "source", "null", manifest_sha256=digest.upper())) == 0
  other = tiny_exports.write(place / "other", tiny_exports.anonymizer(seed=7))
  assert camera.run(footage.chosen(other, place / "source", "null")) == 0
  assert camera.run(footage.chosen(other, place / "source", "null", manifest_sha256=digest)) == 3


@pytest.mark.parametrize("pin", ["", " ", "0" * 63, "0" * 65, "g" * 64, "0" * 64 + "\n", "sha256:" + "0" * 64])
def test_a_pin_that_is_none_pins_nothing_open(model, place, capsys, pin):
  with pytest.raises(flagfiles.OptionError, match="64 hexadecimal digits"):
    footage.chosen(model, place / "source", "null", manifest_sha256=pin)
  code = flagfiles.main(lambda: camera.run(flagfiles.read(options.CameraOptions)), (options.CameraOptions,), "",
                        arguments=[f"--model={model}", f"--source={place / 'source'}", "--sink=null", f"--manifest_sha256={pin}"])
  assert code == 2 and len(capsys.readouterr().err.splitlines()) == 1
  with pytest.raises(errors.ModelRefused, match="pinned"):
    camera.CameraAnonymizer(model, manifest_sha256=pin)


def test_unknown_variant_lists_choices(model):
  with pytest.raises(errors.ModelRefused, match="'float16', there: float32"):
    camera.CameraAnonymizer(model, variant="float16")


# The program.


def python(*arguments):
  return subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=120)


def program(*arguments):
  return python("-m", "mppar_tf.camera", *arguments)


def test_no_tensorflow_is_loaded(model, place):
  code = ("import sys\nfrom mppar_tf import camera, options\n"
          "code = camera.run(options.CameraOptions(model=sys.argv[1], source=sys.argv[2], sink='null'))\n"
          "heavy = [m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'keras', 'cv2', 'matplotlib')]\n"
          "print(code, heavy)")
  done = python("-c", code, model, place / "source")
  assert done.stdout.splitlines()[-1] == "0 []", done.stderr


def test_the_program_runs_and_tells_bad_input_in_one_line(model, place):
  done = program(f"--model={model}", f"--source={place / 'source'}", f"--sink={place / 'out' / 'safe.mp4'}")
  assert done.returncode == 0 and f"{footage.COUNT} frames" in done.stdout
  assert len(footage.read_video(place / "out" / "safe.mp4")) == footage.COUNT
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
  assert all(line.split("=")[0] in done.stdout for line in flagfiles.lines(footage.chosen("m", "s", "null")))
