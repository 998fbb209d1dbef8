"""The camera's live sinks, against real receivers: what arrives is anonymized, in order, on time, and an outage sends nothing."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import footage
import numpy as np
import pytest
import streams
import tiny_exports

from mppar_tf import camera
from mppar_tf.on_camera import errors, links, pipeline, sinks, source_pattern, sources, stats

ROOT = pathlib.Path(__file__).resolve().parents[1]
CLOSE_DB, FAR_DB = 23, 18  # a picture this small loses most by its halved colour planes


def pattern(count):
  return [source_pattern.picture(i, *streams.SIZE) for i in range(count)]


def anonymized(model, raw):
  with camera.CameraAnonymizer(model) as anonymize:
    return [anonymize(picture) for picture in raw]


def address(kind, port, secret="anna:secret@"):
  return {"rtsp": f"rtsp://{secret}127.0.0.1:{port}/token", "http": f"http://{secret}127.0.0.1:{port}/token",
          "udp": f"udp://127.0.0.1:{port}", "tcp": f"tcp://127.0.0.1:{port}", "rtmp": f"rtmp://127.0.0.1:{port}/live/token"}[kind]


@pytest.mark.parametrize("kind", ["rtsp", "http", "udp", "tcp", "rtmp"])
def test_a_receiver_gets_the_anonymized_frames_in_order_and_times(model, place, capfd, kind):
  port, count = streams.free_port(), 30
  receiver, start = streams.Receiver(address(kind, port, secret=""), silence=1.0), time.monotonic()
  assert camera.run(footage.chosen(model, f"test:64x48@30:frames={count}", address(kind, port), quality=1)) == 0
  took = time.monotonic() - start
  output, error = capfd.readouterr()
  assert f"{count} frames" in output and f"{kind}://127.0.0.1\n" in output
  assert not [word for word in ("secret", "anna", "token", str(port)) if word in output + error]
  got, raw = receiver.wait(), pattern(count)
  safe = anonymized(model, raw)
  assert len(got) == count
  assert [streams.likest(pixels, safe)[0] for pixels in got] == list(range(count))
  assert min(streams.likest(pixels, safe)[1] for pixels in got) > CLOSE_DB
  assert max(streams.likest(pixels, raw)[1] for pixels in got) < FAR_DB
  seconds = [t for t, _, _ in receiver.frames if t is not None]
  assert np.allclose(np.diff(seconds), 1 / 30, atol=2e-3) and len(seconds) > count // 2
  assert took > (count - 1) / 30  # a file is sent at its own pace


def test_a_stream_goes_to_the_next_receiver_after_an_outage_in_which_it_drops(model, place, capfd):
  port, target = streams.free_port(), place / "out" / "stats.json"
  first = streams.Receiver(address("tcp", port), count=20)
  codes = []
  run = threading.Thread(target=lambda: codes.append(camera.run(footage.chosen(
      model, "test:64x48@30", address("tcp", port), quality=1, max_seconds=5, stats_json=str(target), stats_seconds=0.5))))
  run.start()
  before = first.wait()
  time.sleep(0.8)
  second = streams.Receiver(address("tcp", port), silence=1.5)
  run.join(streams.PATIENCE)
  after, safe = second.wait(), anonymized(model, pattern(150))
  assert codes == [0]
  shown = [streams.likest(pixels, safe)[0] for pixels in before]
  assert shown[0] == 0 and shown == sorted(set(shown))  # those that came while it connected are missed
  numbers = [streams.likest(pixels, safe) for pixels in after]
  order = [number for number, _ in numbers]
  assert min(level for _, level in numbers) > CLOSE_DB and order == sorted(set(order)) and len(order) > 20
  # What was shown during the outage is not sent later, but for the frames that waited; and times go on.
  assert order[0] >= shown[-1] + 0.8 * 30 - 6
  assert np.allclose(np.diff([t for t, _, _ in second.frames]), np.diff(order) / 30, atol=2e-3)
  found = json.loads(target.read_text())
  assert found["state"] == "ended" and found["frames"]["sink_reconnects"] == 1 and found["frames"]["dropped_anonymized"] > 0
  frames = found["frames"]
  assert frames["decoded"] == 150 == frames["written"] + frames["dropped_raw"] + frames["dropped_anonymized"]
  error = capfd.readouterr().err
  assert "sink tcp://127.0.0.1: lost (" in error and "connected again" in error and "fps in" in error


def test_a_file_that_is_pushed_loses_no_frame_by_an_outage(place):
  port, patience = streams.free_port(), links.Patience()
  first = streams.Receiver(address("tcp", port), count=8)
  seconds = []

  def come_back():
    first.wait()
    seconds.append(streams.Receiver(address("tcp", port), silence=2.0))
  threading.Thread(target=come_back, daemon=True).start()
  sink = sinks.find(address("tcp", port), quality=1, patience=patience)
  summary = pipeline.run(sources.find("test:64x48@30:frames=60"), lambda frame: 255 - frame, sink, rules=pipeline.Rules(paced=True),
                         stop=patience.stop)
  after = seconds[0].wait()
  assert summary.frames == 60 and summary.dropped == 0
  numbers = [streams.likest(255 - pixels, pattern(60))[0] for pixels in after]
  assert numbers == list(range(numbers[0], 60)) and numbers[0] < 30


def test_key_frames_come_each_second_though_a_slow_model_drops_most_frames():
  port = streams.free_port()
  receiver = streams.Receiver(address("tcp", port), silence=1.0)

  def slow(frame):
    time.sleep(0.2)
    return 255 - frame
  pipeline.run(sources.find("test:64x48@30"), slow, sinks.find(address("tcp", port), lossless=False),
               rules=pipeline.Rules(live=True, paced=True, max_seconds=3.2))
  receiver.wait()
  keys = [seconds for seconds, _, key in receiver.frames if key]
  assert 8 <= len(receiver.frames) <= 24 and len(keys) >= 3 and max(np.diff(keys)) < 1.5


@pytest.mark.parametrize("patience, word", [(0.0, "lost ("), (0.6, "not back within 0.6 s")])
def test_a_receiver_that_stays_away_ends_the_run_with_6(model, place, capfd, patience, word):
  port = streams.free_port()
  receiver = streams.Receiver(address("tcp", port), count=5)
  start = time.monotonic()
  assert camera.run(footage.chosen(model, "test:64x48@30", address("tcp", port), reconnect_seconds=patience, max_seconds=30)) == 6
  assert time.monotonic() - start < 10
  assert receiver.wait() and word in capfd.readouterr().err.splitlines()[-1]


def test_nobody_there_and_somebody_silent_are_told_within_the_time_limit(model, place, capfd):
  port = streams.free_port()
  assert camera.run(footage.chosen(model, "test:64x48@30", address("rtsp", port))) == 6
  assert capfd.readouterr().err.splitlines()[-1] == "camera: sink rtsp://127.0.0.1: Connection refused"
  with socket.create_server(("127.0.0.1", port)):  # accepts and says nothing: FFmpeg would wait without end
    start = time.monotonic()
    assert camera.run(footage.chosen(model, "test:64x48@30", address("rtsp", port), timeout_seconds=0.5)) == 6
    assert time.monotonic() - start < 8
  assert capfd.readouterr().err.splitlines()[-1] == "camera: sink rtsp://127.0.0.1: no answer in time"
  assert pushers() == []


def pushers():
  """Processes that send for this one; helpers of other tests in this process are none."""
  found = []
  for task in pathlib.Path("/proc/self/task").iterdir():
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread or a child that ends meanwhile
      children = (task / "children").read_text().split()
      found += [pid for pid in children if b"pusher" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()]
  return found


def test_a_model_that_fails_ends_a_push_with_anonymized_frames_alone(model, place, monkeypatch, capfd):
  footage.break_interpreter(monkeypatch, "raises", at=40)
  port = streams.free_port()
  receiver = streams.Receiver(address("tcp", port), silence=1.0)
  assert camera.run(footage.chosen(model, "test:64x48@30:frames=60", address("tcp", port), quality=1)) == 5
  assert pushers() == []
  got, raw = receiver.wait(), pattern(60)
  monkeypatch.undo()
  safe = anonymized(model, raw[:40])
  assert 0 < len(got) <= 40
  assert all(streams.likest(pixels, safe)[1] > CLOSE_DB and streams.likest(pixels, raw)[1] < FAR_DB for pixels in got)
  assert list((place / "out").iterdir()) == []


def test_the_process_that_sends_leaves_no_core_and_knows_no_address_by_its_command(place):
  port = streams.free_port()
  streams.Receiver(address("http", port, secret=""), silence=1.0)
  seen = []

  def look(frame):
    seen.extend((pathlib.Path(f"/proc/{pid}/limits").read_text(), pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()) for pid in pushers())
  pipeline.run(sources.find("test:64x48@30:frames=3"), lambda frame: 255 - frame, sinks.find(address("http", port)), taps=(look,))
  assert len(seen) == 3
  for limits, command in seen:
    assert [line.split()[4] for line in limits.splitlines() if line.startswith("Max core")] == ["0"]
    assert b"secret" not in command and b"127.0.0.1" not in command


def test_the_process_that_sends_ends_with_the_camera_however_that_ends(model):
  port = streams.free_port()
  receiver = streams.Receiver(address("tcp", port), silence=5.0)
  run = program(f"--model={model}", "--source=test:64x48@30", f"--sink={address('tcp', port)}")
  streams.until(lambda: receiver.started)
  found = [path for path in pathlib.Path("/proc").glob("[0-9]*/stat") if is_child(path, run.pid)]
  assert len(found) == 1
  run.kill()
  run.communicate()
  streams.until(lambda: not found[0].exists())
  assert receiver.wait()


def is_child(stat, parent):
  try:
    return int(stat.read_text().rpartition(")")[2].split()[1]) == parent
  except OSError:  # it has ended
    return False


# Standard output.


def program(*arguments, **more):
  return subprocess.Popen([sys.executable, "-m", "mppar_tf.camera", *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, **more)


def test_raw_frames_on_standard_output_are_those_of_the_python_camera(model):
  done = program(f"--model={model}", "--source=test:64x48@25:frames=12", "--sink=-", "--stats_seconds=0.01")
  output, error = done.communicate(timeout=60)
  assert done.returncode == 0 and output == b"".join(picture.tobytes() for picture in anonymized(model, pattern(12)))
  assert b"12 frames" in error and b"rgb24, 64x48, 25 frames per second" in error


def test_a_reader_that_goes_ends_the_run_with_6_and_sigterm_with_130(model):
  for stop, code, word in [(lambda run: run.stdout.close(), 6, "standard output: Broken pipe"),
                           (lambda run: run.send_signal(signal.SIGTERM), 130, "interrupted after ")]:
    run = program(f"--model={model}", "--source=test:64x48@25", "--sink=-")  # nobody reads on: it hangs within a frame
    assert len(run.stdout.read(48 * 64 * 3)) == 48 * 64 * 3
    stop(run)
    assert run.wait(timeout=30) == code
    assert word in run.stderr.read().decode().splitlines()[-1]
    run.stdout.close()
    run.stderr.close()


def test_standard_output_is_given_back(place, capfd):
  sink = sinks.find("-")
  pipeline.run(sources.find("test:64x48@25:frames=2"), lambda frame: 255 - frame, sink, taps=(lambda frame: os.write(1, b"noise"),))
  os.write(1, b"after")
  content = os.fsencode(capfd.readouterr().out)
  assert b"noise" not in content and content.endswith(b"after")


def test_a_terminal_gets_no_raw_frames(model):
  keyboard, terminal = os.openpty()
  command = [sys.executable, "-m", "mppar_tf.camera", f"--model={model}", "--source=test", "--sink=-"]
  run = subprocess.run(command, cwd=ROOT, stdout=terminal, stderr=subprocess.PIPE, timeout=60)
  os.close(terminal)
  os.close(keyboard)
  assert run.returncode == 6 and b"standard output is a terminal" in run.stderr


def test_raw_video_has_one_size(place):
  with pytest.raises(errors.SinkFailed, match="raw video has one size"):
    footage.save(place / "source", tiny_exports.pictures(1, 32, 32))
    pipeline.run(sources.find(str(place / "source")), lambda frame: 255 - frame, sinks.find("-"))


def test_statistics_that_cannot_be_written_stop_nothing(place, capfd):
  (place / "out" / ".there.json.part").mkdir()
  told = []
  with stats.Reporter(stats.Stats(), seconds=0.02, path=str(place / "out" / "there.json"), tell=told.append):
    time.sleep(0.2)
  assert sum("Is a directory; the run goes on without" in line for line in told) == 1 and len(told) > 3
