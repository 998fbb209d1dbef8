"""A source that gives no frame and does not end: a signal, a failing model and a failing sink end the camera all the same."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import saboteur
import streams
import tiny_exports

from mppar_tf.on_camera import errors, links, pipeline, sinks, source_live, sources

SOON = 20  # seconds: --timeout_seconds and one, and what a busy machine needs; half of what the sound would take
SECONDS = 40  # of sound alone


@pytest.fixture(scope="module")
def dark():
  """A stream whose picture goes after 3 s, and whose sound goes on."""
  return streams.falling_dark(tiny_exports.pictures(75, *streams.SIZE), SECONDS)


@pytest.fixture
def server(dark):
  with streams.TcpServer(*dark, rate=16000 / 1024) as one:
    yield one


def started(place, fault, at, model, source, sink="x.mp4"):
  """A camera in a process of its own whose words go into said; its outputs into out/."""
  flags = [f"--model={model}", f"--source={source}", f"--sink={sink}", "--timeout_seconds=2", "--stats_seconds=0"]
  with open(place / "said", "wb") as said:
    return subprocess.Popen([sys.executable, saboteur.__file__, fault, str(at), *flags], cwd=place / "out", stdout=said, stderr=said,
                            env=os.environ | {"TMPDIR": str(place / "out")})


def code_of(process):
  """Its exit code; -1 where it does not end."""
  try:
    return process.wait(SOON)
  except subprocess.TimeoutExpired:
    process.kill()
    process.wait()
    return -1


def last_line(place):
  return (place / "said").read_text(errors="replace").splitlines()[-1]


def test_the_stream_falls_dark(dark):
  """Else the tests below prove nothing."""
  first, others = dark
  assert len(streams.decoded([first])) >= 74 and len(streams.decoded([first, *others])) == 75
  assert len(others) > 0.3 * SECONDS * 16000 / 1024


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_camera_that_gets_sound_alone(place, model, server, number):
  process = started(place, "none", 0, model, f"tcp://127.0.0.1:{server.port}")
  streams.until(lambda: server.sent > 40 or process.poll() is not None)
  process.send_signal(number)
  assert code_of(process) == 130 and "interrupted after " in last_line(place)
  assert list((place / "out").iterdir()) == []


@pytest.mark.parametrize("fault, code", [("out of memory", 5), ("full disk", 6)])
def test_a_model_or_sink_that_fails_ends_a_camera_that_gets_sound_alone(place, model, server, fault, code):
  process = started(place, f"{fault}, late", 5, model, f"tcp://127.0.0.1:{server.port}", sink="frames")
  assert code_of(process) == code and "frame" in last_line(place)
  assert list((place / "out").iterdir()) == []


def test_sound_alone_counts_as_a_lost_connection(server, monkeypatch):
  monkeypatch.setattr(source_live, "NO_FRAME_SECONDS", 1.0)
  source = sources.find(f"tcp://127.0.0.1:{server.port}", patience=links.Patience(reconnect_seconds=0))
  source.open()
  begin, seen = time.monotonic(), []
  with pytest.raises(errors.SourceFailed, match=r"lost after \d+ frames \(no whole frame for 1 s\)"):
    seen += source.frames()
  assert time.monotonic() - begin < SOON
  source.close()


def test_a_source_within_a_call_that_nothing_ends_is_left_behind(place, model):
  process = started(place, "stuck source", 5, model, place / "source")
  streams.until(lambda: (place / "out" / saboteur.READY).exists() or process.poll() is not None)
  (place / "out" / saboteur.READY).unlink()
  process.send_signal(signal.SIGTERM)
  assert code_of(process) == 130 and "interrupted after " in last_line(place)
  assert list((place / "out").iterdir()) == []


def test_a_source_that_is_left_behind_is_not_closed(place):
  within, stuck, closed = threading.Event(), threading.Event(), []
  source = sources.find(str(place / "source"))
  frames, source.close = source.frames, lambda: closed.append(1)

  def stuck_frames():
    for frame in frames():
      if frame.index == 3:
        within.set()
        stuck.wait(SOON)
      yield frame
  source.frames = stuck_frames

  def fail(frame):
    within.wait(SOON)
    raise errors.AnonymizationFailed("no")
  begin = time.monotonic()
  with pytest.raises(errors.AnonymizationFailed):
    pipeline.run(source, fail, sinks.find("null"), source_seconds=0.5)
  assert time.monotonic() - begin < 5 and pipeline.is_reading() and not closed
  stuck.set()
  streams.until(lambda: not pipeline.is_reading())
