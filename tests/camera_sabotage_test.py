"""The camera is sabotaged in every way that we know of, and whatever it leaves behind is searched for raw footage by content."""

import base64
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import av
import footage
import leaks
import numpy as np
import pytest
import saboteur
import tensorflow as tf
import tiny_exports

from mppar_tf import camera
from mppar_tf.on_camera import framing, manifest

COUNT = 32  # H.264's encoder looks ahead: nothing is in the file before the tenth or so
RAW = leaks.noise(COUNT)
NETWORK = (tiny_exports.HEIGHT, tiny_exports.WIDTH)
SABOTEUR = pathlib.Path(saboteur.__file__)


@pytest.fixture(scope="module")
def search(model, tmp_path_factory):
  """Looks for RAW; knows the camera's own H.264 from a run without sabotage, in which it finds nothing."""
  place = tmp_path_factory.mktemp("good run")
  (place / "source").mkdir()
  footage.save(place / "source", RAW)
  for sink in ("safe.mp4", "frames"):
    assert camera.run(footage.chosen(model, place / "source", place / sink)) == 0
  found = leaks.Search(RAW, network=NETWORK, h264_header=leaks.h264_header(place / "safe.mp4"))
  assert found.file(place / "safe.mp4") == [] and found.folder(place / "frames") == []
  return found


@pytest.fixture
def place(tmp_path, monkeypatch):
  """source/ holds RAW; out/ is the working folder, the one for temporary files, and where everything said is written to."""
  (tmp_path / "source").mkdir()
  (tmp_path / "out").mkdir()
  monkeypatch.setenv("TMPDIR", str(tmp_path / "out"))
  monkeypatch.chdir(tmp_path / "out")
  footage.save(tmp_path / "source", RAW)
  return tmp_path


def ended(place, search, capfd, code, expected):
  """One line was said, nothing is left, and neither holds a raw pixel."""
  output, error = capfd.readouterr()
  lines = [line for line in error.splitlines() if not line.startswith("INFO: ")]
  assert code == expected, error
  assert output == "" and len(lines) == 1 and lines[0].startswith("camera: ")
  assert search.content(error.encode()) == [] and list((place / "out").iterdir()) == []
  return lines[0]


# ---- the search itself ----


def _video(path, pictures, quality="20"):
  footage.make_video(path, pictures, quality=quality)
  return path.read_bytes()


def _png(path, picture):
  av.VideoFrame.from_ndarray(picture, format="rgb24").save(str(path))
  return path.read_bytes()


def _one_block(safe):
  changed = safe.copy()
  changed[2, 16:32, 48:64] = RAW[2, 16:32, 48:64]
  return changed


LEAKS = {  # name -> bytes of a file that a leaky camera might leave; `path` has its name, `safe` are anonymized frames
    "core": lambda path, safe: os.urandom(1001) + RAW[3].tobytes() + os.urandom(1000),
    "strip": lambda path, safe: os.urandom(501) + RAW[3, 20].tobytes()[31:46] + os.urandom(500),
    "bgr": lambda path, safe: RAW[3][..., ::-1].tobytes(),
    "floats": lambda path, safe: b"xxx" + (RAW[3, 9:10].astype(np.float32) / 255).tobytes(),
    "planes": lambda path, safe: RAW[5].transpose(2, 0, 1)[1, 30].tobytes(),
    "yuv": lambda path, safe: av.VideoFrame.from_ndarray(RAW[5], format="rgb24").reformat(format="yuv420p").to_ndarray()[40].tobytes(),
    "list.log": lambda path, safe: f"camera: cannot take {RAW[4, :3].tolist()}".encode(),
    "array.log": lambda path, safe: str(RAW[4]).encode(),
    "shares.log": lambda path, safe: f"{(RAW[4, :2].astype(np.float32) / 255).tolist()}".encode(),
    "repr.log": lambda path, safe: f"frame = {RAW[4].tobytes()[:200]!r}".encode(),
    "base64.log": lambda path, safe: b"data:" + base64.b64encode(RAW[6].tobytes()[100:200]),
    "hex.log": lambda path, safe: RAW[6].tobytes()[100:130].hex().encode(),
    "raw.mp4": lambda path, safe: _video(path, RAW),
    "coarse.mp4": lambda path, safe: _video(path, RAW, "32"),
    "one frame.mp4": lambda path, safe: _video(path, [*safe[:3], RAW[3], *safe[4:]]),
    "one block.mp4": lambda path, safe: _video(path, _one_block(safe)),
    "one block.png": lambda path, safe: _png(path, _one_block(safe)[2]),
    "half.png": lambda path, safe: _png(path, RAW[7])[:4000],
    "in a zip": lambda path, safe: b"PK" + _png(path.with_suffix(".png"), RAW[7]),
    "photo.jpg": lambda path, safe: _png(path, RAW[7]),
    "the network's input.png": lambda path, safe: _png(path, framing.resize(RAW[7], *NETWORK, "AREA"))}


@pytest.mark.parametrize("name", LEAKS)
def test_the_search_finds_a_planted_leak(tmp_path, search, model, name):
  with camera.CameraAnonymizer(model) as anonymize:
    safe = np.stack([anonymize(frame) for frame in RAW])
  content = LEAKS[name](tmp_path / name, safe)
  for path in tmp_path.iterdir():
    path.unlink()
  (tmp_path / "folder").mkdir()
  (tmp_path / "folder" / name).write_bytes(content)
  assert search.folder(tmp_path) != []
  (tmp_path / "folder" / name).write_bytes(np.random.default_rng(9).bytes(len(content)))
  assert search.folder(tmp_path) == []


@pytest.mark.parametrize("sink", ["safe.mp4", "frames"])
def test_the_search_catches_a_camera_that_leaks(place, model, search, monkeypatch, sink):
  saboteur.leak(monkeypatch.setattr, "leak", 0)
  assert camera.run(footage.chosen(model, place / "source", place / "out" / sink)) == 0
  assert len(search.folder(place / "out")) >= COUNT


# ---- models ----


def _edited(change):
  def edit(folder, other):
    content = json.loads((folder / "manifest.json").read_text())
    change(content)
    (folder / "manifest.json").write_text(json.dumps(content))
  return edit


def _swapped(folder, other):
  shutil.copy(other / "anonymizer_float32.tflite", folder / "anonymizer_float32.tflite")


def _cut(count):
  def cut(folder, other):
    path = folder / "anonymizer_float32.tflite"
    path.write_bytes(path.read_bytes()[:count])
  return cut


def _endless(folder, other):
  (folder / "anonymizer_float32.tflite").unlink()
  (folder / "anonymizer_float32.tflite").symlink_to("/dev/zero")


def _endless_manifest(folder, other):
  (folder / "manifest.json").unlink()
  (folder / "manifest.json").symlink_to("/dev/zero")


def _pipe(folder, other):
  (folder / "anonymizer_float32.tflite").unlink()
  os.mkfifo(folder / "anonymizer_float32.tflite")


FILE = "anonymizer_float32.tflite"
BAD_MODELS = {
    "another model under the name": _swapped, "empty": _cut(0), "head alone": _cut(16), "last byte gone": _cut(-1), "half": _cut(900),
    "endless": _endless, "endless manifest": _endless_manifest, "pipe": _pipe,
    "hash changed": _edited(lambda m: m["files"][FILE].update(sha256="0" * 64)),
    "hash removed": _edited(lambda m: m["files"][FILE].pop("sha256")),
    "hash of another kind": _edited(lambda m: m["files"][FILE].update(sha256=None)),
    "length changed": _edited(lambda m: m["files"][FILE].update(bytes=1)),
    "file not listed": _edited(lambda m: m["files"].clear()),
    "files a list": _edited(lambda m: m.update(files=[FILE])),
    "models a text": _edited(lambda m: m.update(models=FILE)),
    "a name that no file has": _edited(lambda m: (m["models"]["float32"].update(file="a\0b"), m["files"].update({"a\0b": {"bytes": 3}}))),
    "a name without end": _edited(lambda m: m["files"].update({"a" * 100_000: {"bytes": 3}}) or m["models"]["float32"].update(file="b")),
    "half a character": _edited(lambda m: (m["models"]["float32"].update(file="\ud800"), m["files"].update({"\ud800": {"bytes": 3}}))),
    "the folder above": _edited(lambda m: m["models"]["float32"].update(file="../x")),
    "a version to come": _edited(lambda m: m.update(format_version=2)),
    "another range": _edited(lambda m: m["input"].update(range=[0, 255])),
    "another size": _edited(lambda m: [m[side].update(shape=[1, 32, 32, 3]) for side in ("input", "output")]),
    "sides that differ": _edited(lambda m: m["output"].update(shape=[1, 32, 32, 3])),
    "nested without end": lambda folder, other: (folder / "manifest.json").write_text("[" * 100_000),
    "another encoding": lambda folder, other: (folder / "manifest.json").write_bytes(b"\xff\xfe{}")}


@pytest.fixture(scope="module")
def other(tmp_path_factory):
  return tiny_exports.write(tmp_path_factory.mktemp("models") / "other", tiny_exports.anonymizer(seed=7))


@pytest.mark.parametrize("name", BAD_MODELS)
def test_a_sabotaged_model_is_refused(place, model, other, search, capfd, name):
  shutil.copytree(model, place / "bad")
  BAD_MODELS[name](place / "bad", other)
  line = ended(place, search, capfd, camera.run(footage.chosen(place / "bad", place / "source", place / "out" / "x.mp4")), 3)
  assert "model" in line and len(line) < 700


def test_a_pinned_manifest_refuses_a_model_that_was_swapped_with_its_manifest(place, model, other, search, capfd):
  pin = manifest.sha256((model / "manifest.json").read_bytes())
  options = footage.chosen(other, place / "source", place / "out" / "x.mp4", manifest_sha256=pin)
  assert "pinned" in ended(place, search, capfd, camera.run(options), 3)


@pytest.mark.parametrize("name, network", {
    "half": lambda x: tf.concat([x[:, :, :12], tf.nn.avg_pool2d(x, 7, 1, "SAME")[:, :, 12:]], axis=2),
    "upper half": lambda x: tf.concat([x[:, :8, :], tf.nn.avg_pool2d(x, 7, 1, "SAME")[:, 8:, ::-1]], axis=1)}.items())
def test_a_model_that_lets_a_part_through_is_refused(place, search, capfd, name, network):
  bad = tiny_exports.write(place / "bad", tiny_exports.elementwise(network))
  capfd.readouterr()  # the converter's words
  assert "in part" in ended(place, search, capfd, camera.run(footage.chosen(bad, place / "source", place / "out" / "x.mp4")), 3)


# ---- in the middle of a run ----


@pytest.mark.parametrize("sink", ["safe.mp4", "frames"])
@pytest.mark.parametrize("fault, code", {
    "nearly identity": 5, "one pixel changed": 5, "half identity": 5, "transposed": 5, "too deep": 5, "no array": 5, "text": 5,
    "infinite": 5, "one NaN": 5, "out of memory": 5, "interrupt in a thread": 7, "exit in a thread": 7}.items())
def test_an_engine_that_fails_in_a_new_way(place, model, search, monkeypatch, capfd, fault, code, sink):
  saboteur.answer(monkeypatch.setattr, fault, 6)
  line = ended(place, search, capfd, camera.run(footage.chosen(model, place / "source", place / "out" / sink)), code)
  assert "frame 6: " in line or code == 7


@pytest.mark.parametrize("error, code", [(RuntimeError, 7), (MemoryError, 7), (ValueError, 7), (SystemExit, 7), (KeyboardInterrupt, 7)])
def test_a_decoder_that_quotes_what_it_cannot_take(place, model, search, monkeypatch, capfd, error, code):
  saboteur.decoder(monkeypatch.setattr, error, 6)
  ended(place, search, capfd, camera.run(footage.chosen(model, place / "source", place / "out" / "x.mp4")), code)


def test_a_video_that_changes_its_size_midway(place, model, search, capfd):
  jpegs = []
  for number, frame in enumerate([*RAW[:6], *leaks.noise(6, 32, 48)]):
    av.VideoFrame.from_ndarray(frame, format="rgb24").save(str(place / f"{number}.jpg"))
    jpegs.append((place / f"{number}.jpg").read_bytes())
  (place / "in.mjpeg").write_bytes(b"".join(jpegs))
  line = ended(place, search, capfd, camera.run(footage.chosen(model, place / "in.mjpeg", place / "out" / "x.mp4")), 4)
  assert "frame 6 has the shape (32, 48, 3)" in line


def test_a_folder_that_is_taken_away_while_frames_go_there(place, model, search, monkeypatch, capfd):
  def take_away(pixels, output):
    shutil.rmtree(place / "out" / ".frames.part", ignore_errors=True)
    return output
  monkeypatch.setitem(saboteur.ANSWERS, "no array", take_away)
  saboteur.answer(monkeypatch.setattr, "no array", 5)
  ended(place, search, capfd, camera.run(footage.chosen(model, place / "source", place / "out" / "frames")), 6)

def test_a_disk_that_is_full_from_the_start(place, model, search, capfd):
  (place / "out" / ".x.mp4.part").symlink_to("/dev/full")
  line = ended(place, search, capfd, camera.run(footage.chosen(model, place / "source", place / "out" / "x.mp4")), 6)
  assert "No space left" in line


# ---- a process of its own ----


def started(place, fault, at, *flags, **named):
  """A sabotaged camera whose words go into out/."""
  environment = {**os.environ, "TMPDIR": str(place / "out")}
  with open(place / "out" / "said", "wb") as said:
    return subprocess.Popen([sys.executable, str(SABOTEUR), fault, str(at), *map(str, flags)], cwd=place / "out", stdout=said, stderr=said,
                            env=environment, **named)


def chosen(place, model, sink="x.mp4"):
  return [f"--model={model}", f"--source={place / 'source'}", f"--sink={place / 'out' / sink}", "--queue_frames=1"]


def said(place):
  return [line for line in (place / "out" / "said").read_text(errors="replace").splitlines() if not line.startswith("INFO: ")]


def left(place):
  return sorted(path.name for path in (place / "out").iterdir() if path.name not in ("said", saboteur.READY))


def wait_until_ready(place, process):
  deadline = time.monotonic() + 60
  while not (place / "out" / saboteur.READY).exists():
    assert process.poll() is None and time.monotonic() < deadline, said(place)
    time.sleep(0.02)


@pytest.mark.parametrize("number, sink", [(signal.SIGTERM, "x.mp4"), (signal.SIGINT, "frames")])
def test_a_signal_in_mid_frame_ends_the_camera_and_leaves_nothing(place, model, search, number, sink):
  process = started(place, "stops for long", 6, *chosen(place, model, sink))
  wait_until_ready(place, process)
  time.sleep(0.3)  # until the other threads wait for this frame
  # The frame takes seconds; a second signal finds the camera waiting for it.
  process.send_signal(number)
  time.sleep(0.2)
  process.send_signal(number)
  assert process.wait(40) == 130
  assert said(place) == ["camera: interrupted after 6 frames"] and left(place) == [] and search.folder(place / "out") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_model_is_loaded(place, model, search, number):
  process = started(place, "slow loading", 0, *chosen(place, model))
  wait_until_ready(place, process)
  process.send_signal(number)
  assert process.wait(20) == 130
  assert said(place) == ["camera: interrupted before the first frame"] and left(place) == []


@pytest.mark.parametrize("sink", ["x.mp4", "frames"])
def test_a_killed_camera_leaves_anonymized_frames_alone(place, model, search, sink):
  process = started(place, "stops for long", 28, *chosen(place, model, sink))
  wait_until_ready(place, process)
  time.sleep(0.3)
  process.kill()
  assert process.wait(20) == -signal.SIGKILL
  assert left(place) == [f".{sink}.part"] and search.folder(place / "out") == []
  if sink == "frames":
    assert len(list((place / "out" / ".frames.part").glob("*.png"))) == 28


@pytest.mark.parametrize("fault, number", [("quit", signal.SIGQUIT), ("segmentation", signal.SIGSEGV), ("aborted", signal.SIGABRT)])
def test_a_crash_dumps_no_core(place, model, search, fault, number):
  process = started(place, fault, 28, *chosen(place, model))
  assert process.wait(60) == -number
  assert left(place) == [".x.mp4.part"] and search.folder(place / "out") == []


def test_a_core_dump_would_hold_raw_frames(place, model):
  """Else the test before this one proves nothing."""
  pattern = pathlib.Path("/proc/sys/kernel/core_pattern")
  if not pattern.exists() or "/" in pattern.read_text() or "|" in pattern.read_text():
    pytest.skip("core dumps do not go into the working folder on this machine")
  process = started(place, "dumping", 6, *chosen(place, model))
  assert process.wait(60) == -signal.SIGABRT
  cores = list((place / "out").glob("core*"))
  if not cores:
    pytest.skip("this machine's limit allows no core dump")
  assert any(RAW[6, row].tobytes() in cores[0].read_bytes() for row in (0, 31, 63))


@pytest.mark.parametrize("kilobytes, sink", [(1, "x.mp4"), (2, "x.mp4"), (10, "x.mp4"), (1, "frames")])
def test_a_disk_that_fills_up(place, model, search, kilobytes, sink):
  process = started(place, "small files", kilobytes, *chosen(place, model, sink))
  code = process.wait(60)
  assert code == 6, said(place)
  assert left(place) == [] and search.folder(place / "out") == []


@contextlib.contextmanager
def small_disk(folder):
  done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False)
  if done.returncode:
    pytest.skip("nothing may be mounted here")
  try:
    yield
  finally:
    subprocess.run(["umount", str(folder)], capture_output=True, check=True)


@pytest.mark.parametrize("sink", ["x.mp4", "frames"])
def test_a_small_disk(place, model, search, sink, capfd):
  (place / "out" / "disk").mkdir()
  with small_disk(place / "out" / "disk"):
    code = camera.run(footage.chosen(model, place / "source", place / "out" / "disk" / sink, quality=0))
    assert list((place / "out" / "disk").iterdir()) == []
  (place / "out" / "disk").rmdir()
  assert "No space left" in ended(place, search, capfd, code, 6)


@pytest.mark.parametrize("megabytes", [0, 6, 24])
def test_memory_that_runs_out(place, model, megabytes):
  big = leaks.noise(4, 800, 1200)
  for path in (place / "source").iterdir():
    path.unlink()
  footage.save(place / "source", big)
  process = started(place, "little memory", megabytes, *chosen(place, model))
  code = process.wait(60)
  # A library that cannot go on without memory aborts.
  assert code in (4, 5, 6, 7, -signal.SIGABRT, -signal.SIGSEGV), said(place)
  assert left(place) == [] if code > 0 else left(place) in ([], [".x.mp4.part"])
  assert leaks.Search(big[:, :200, :200], network=NETWORK).folder(place / "out") == []
  assert code < 0 or (len(said(place)) == 1 and said(place)[0].startswith("camera: "))
