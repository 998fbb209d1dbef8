"""The camera's live sources, against real servers: a slow model misses frames, a lost server is waited for, nothing tells a password."""

import contextlib
import json
import threading
import time

import av
import footage
import numpy as np
import pytest
import streams
import tiny_exports

from mppar_tf import camera, flagfiles, options
from mppar_tf.on_camera import errors, links, pipeline, sinks, source_pattern, sources, stats


@pytest.fixture(scope="module")
def chunks():
  return streams.transport_stream(tiny_exports.pictures(40, *streams.SIZE))


def moved(address, *, anonymize=lambda frame: 255 - frame, seconds=0.0, after=None, source_options=(), **more):
  """What a run of the pipeline did, and the frames that it anonymized: (summary, [SafeFrame], Stats, told).

  after: the run ends with so many frames decoded after the source came back.
  """
  told, figures, seen = [], stats.Stats(), []
  patience = links.Patience(tell=told.append, count=figures.add, **more)
  source = sources.find(address, patience=patience, options=source_options)
  frames = source.frames

  def some_more():
    left = after
    for frame in frames():
      yield frame
      left -= bool(figures.count["source_reconnects"])
      if not left:
        return
  if after:
    source.frames = some_more
  summary = pipeline.run(source, anonymize, sinks.find("null"), taps=(seen.append,), stats=figures, stop=patience.stop,
                         rules=pipeline.Rules(live=True, paced=address.startswith("test"), max_seconds=seconds))
  return summary, seen, figures, told


# Servers.


def test_a_file_on_a_server_gives_every_frame_as_the_python_camera_does(model, place, chunks, capfd):
  with streams.HttpServer(chunks, password="anna:secret") as server:
    address = f"http://anna:secret@127.0.0.1:{server.port}/film.ts?token=hidden"
    assert camera.run(footage.chosen(model, address, place / "out" / "frames", live="off")) == 0
    assert camera.run(footage.chosen(model, address.replace("secret", "guess"), "null", live="off")) == 4
  assert server.requests == 1
  with camera.CameraAnonymizer(model) as anonymize:
    expected = [anonymize(raw) for raw in streams.decoded(chunks)]
  got = [footage.read_video(path)[0][1] for path in sorted((place / "out" / "frames").glob("*.png"))]
  assert len(got) == 40 and np.array_equal(got, expected)
  said = str(capfd.readouterr())
  assert "401" in said and not [word for word in ("secret", "guess", "anna", "token") if word in said]


def test_a_file_on_a_server_is_not_taken_for_a_stream_unless_asked(model, place, capfd):
  video = footage.make_video(place / "in.mkv", tiny_exports.pictures(10, *streams.SIZE))
  with streams.HttpServer([video.read_bytes()]) as server:
    address = f"http://127.0.0.1:{server.port}/"
    assert camera.run(footage.chosen(model, address, "null")) == 4
    assert "a file of 0.4 s, not a stream; --live=off" in capfd.readouterr().err
    assert camera.run(footage.chosen(model, address, "null", live="off")) == 0
    assert camera.run(footage.chosen(model, address, "null", live="on", max_seconds=1)) == 0
  assert server.requests >= 4 and "lost after frame 9 (the stream ended)" in capfd.readouterr().err


def test_a_live_stream_is_read_as_it_comes(model, chunks):
  with streams.HttpServer(chunks, rate=40) as server, camera.CameraAnonymizer(model) as anonymize:
    _, seen, figures, told = moved(f"http://127.0.0.1:{server.port}/", anonymize=anonymize, seconds=1.2)
    expected = [anonymize(raw) for raw in streams.decoded(chunks)]
  numbers = [next(i for i, safe in enumerate(expected) if np.array_equal(safe, frame.pixels)) for frame in seen]
  assert numbers == sorted(set(numbers)) and len(numbers) > 8 and told == []  # those of the first look come at once
  assert figures.count["source_reconnects"] == 0 and figures.count["decoded"] == 30
  [first] = {n - frame.ticks / 3600 for n, frame in zip(numbers, seen)}  # 25 a second in ticks of 1/90000 s, 0 at the first decoded,
  assert first in range(numbers[0] + 1)                                   # which a busy machine may have dropped


def test_a_server_that_dies_and_comes_back(chunks):
  port, pause, runs = streams.free_port(), 0.7, []
  run = threading.Thread(target=lambda: runs.append(moved(
      f"http://anna:secret@127.0.0.1:{port}/x", after=15, source_options=("analyzeduration=200000",))))
  with streams.HttpServer(chunks, rate=40, port=port) as server:
    run.start()
    streams.until(lambda: server.requests)
    time.sleep(0.8)
  time.sleep(pause)
  with streams.HttpServer(streams.transport_stream(tiny_exports.pictures(80, *streams.SIZE, seed=1)), rate=25, port=port):
    run.join(streams.PATIENCE)
  _, seen, figures, told = runs[0]
  gaps = np.diff([frame.ticks / 90000 for frame in seen])
  assert gaps.min() > 0 and gaps.max() > pause and (gaps > pause).sum() == 1  # the outage has its length, and nothing is in it
  assert figures.count["source_reconnects"] == 1 and figures.count["written"] == len(seen) > 8
  assert told[0].startswith("source http://127.0.0.1: lost after frame ") and told[1:] == ["source http://127.0.0.1: connected again"]


@pytest.mark.parametrize("patience, word", [(0.0, "(the stream ended)"), (0.6, "(the stream ended), not back within 0.6 s")])
def test_a_server_that_stays_away_ends_the_run_with_4(model, place, chunks, capfd, patience, word):
  with streams.HttpServer(chunks) as server:
    address = f"http://127.0.0.1:{server.port}/"
    ended = threading.Timer(0.3, server.__exit__)
    start = time.monotonic()
    ended.start()
    assert camera.run(footage.chosen(model, address, place / "out" / "x.mp4", reconnect_seconds=patience)) == 4
    assert time.monotonic() - start < 8
    ended.join()
  assert capfd.readouterr().err.splitlines()[-1].endswith(word) and list((place / "out").iterdir()) == []


def test_a_server_that_ends_again_and_again_is_not_taken_for_one_that_is_back(chunks):
  empty = chunks[0][:188 * 3]  # tables, and no frame
  with streams.HttpServer(chunks) as server:
    patience = links.Patience(reconnect_seconds=1.0, timeout_seconds=1.0)
    source = sources.find(f"http://127.0.0.1:{server.port}/", patience=patience)
    source.open()
    server.__exit__()
  with streams.HttpServer([empty], port=server.port):
    start = time.monotonic()
    with pytest.raises(errors.SourceFailed, match="not back within 1 s"):
      list(source.frames())
  source.close()
  assert time.monotonic() - start < 6


def test_a_silent_server_is_told_within_the_time_limit(model, place, capfd):
  with streams.HttpServer([], silent=True) as server:
    start = time.monotonic()
    assert camera.run(footage.chosen(model, f"http://127.0.0.1:{server.port}/", "null", timeout_seconds=0.4)) == 4
    assert time.monotonic() - start < 4
  assert capfd.readouterr().err.endswith("camera: source http://127.0.0.1: no answer in time\n")


def test_frames_of_another_size_after_an_outage_end_the_run(model, place, chunks, capfd):
  port = streams.free_port()
  other = streams.transport_stream(tiny_exports.pictures(40, 32, 96))
  with streams.HttpServer(chunks, port=port) as server:
    later = []

    def exchange():
      server.__exit__()
      later.append(streams.HttpServer(other, port=port))
    threading.Timer(0.5, exchange).start()
    assert camera.run(footage.chosen(model, f"http://127.0.0.1:{port}/", place / "out" / "x.mp4")) == 4
  later[0].__exit__()
  assert "has the shape (32, 96, 3), those before (48, 64, 3)" in capfd.readouterr().err
  assert list((place / "out").iterdir()) == []


def test_damaged_parts_of_a_live_stream_are_left_out(chunks):
  damaged = list(chunks)
  damaged[12] = damaged[12][:200] + bytes(range(256))[:len(damaged[12]) - 210] + damaged[12][-10:]
  del damaged[:2]  # joined between two key frames
  with streams.HttpServer(damaged, rate=60) as server:
    summary, seen, figures, _ = moved(f"http://127.0.0.1:{server.port}/", seconds=1.0)
  sound = [255 - raw for raw in streams.decoded(chunks)]
  clean = [any(np.array_equal(one, frame.pixels) for one in sound) for frame in seen]
  assert figures.count["corrupt"] > 0 and 15 < sum(clean)
  assert summary.frames == len(seen)


@pytest.fixture
def gst(tmp_path):
  port, file = streams.free_port(), tmp_path / "kept.mkv"
  server = streams.gst_server(port, file)
  if server is None:
    pytest.skip("GStreamer's RTSP server is absent (Debian: gir1.2-gst-rtsp-server-1.0, python3-gi, gstreamer1.0-plugins-base, -good, "
                "-bad, -ugly)")
  servers = [server]
  yield port, servers, file
  for one in servers:
    streams.end(one)


def test_an_rtsp_server_gets_the_anonymized_frames_alone(model, place, gst, capfd):
  port, _, file = gst
  address = f"rtsp://anna:secret@127.0.0.1:{port}/safe"
  # On a busy machine this server may keep nothing of a short stream; a longer one tells as much of what it was sent.
  for count in (45, 90, 180):
    assert camera.run(footage.chosen(model, f"test:64x48@30:frames={count}", address, quality=1)) == 0
    if streams.happens(lambda: file.exists() and file.stat().st_size > 0, seconds=5):
      break
  assert camera.run(footage.chosen(model, "test:64x48@30:frames=30", address.replace("secret", "guess"))) == 6
  said = str(capfd.readouterr())
  assert "sink rtsp://127.0.0.1: Server returned 401" in said
  assert not [word for word in ("secret", "guess", "anna", "/safe") if word in said]
  raw = [source_pattern.picture(i, *streams.SIZE) for i in range(count)]
  with camera.CameraAnonymizer(model) as anonymize:
    safe = [anonymize(picture) for picture in raw]
  kept = [pixels for _, pixels in footage.read_video(file)]
  numbers, levels = zip(*(streams.likest(pixels, safe) for pixels in kept))
  # This server leaves out packets that it thinks late (the next look like the last); tests of pushing have one that keeps all.
  assert len(set(numbers)) > 8 and np.median(levels) > 23
  assert max(streams.likest(pixels, raw)[1] for pixels in kept) < 18


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_an_rtsp_camera_with_a_password(model, place, gst, capfd, transport):
  port, _, _ = gst
  address = f"rtsp://anna:secret@127.0.0.1:{port}/live"
  with av.open(address, options={"rtsp_transport": "tcp"}, timeout=10) as container:
    raw = next(container.decode(video=0)).to_ndarray(format="rgb24")
  assert camera.run(footage.chosen(model, address, place / "out" / "frames", max_seconds=2.0, rtsp_transport=transport)) == 0
  with camera.CameraAnonymizer(model) as anonymize:
    expected = anonymize(raw)
  got = [footage.read_video(path)[0][1] for path in sorted((place / "out" / "frames").glob("*.png"))]
  assert 8 <= len(got) <= 50  # those of the first look come at once, and fall
  for pixels in got[2:]:  # a standing picture, but for a corner of noise
    assert streams.likest(pixels, [expected])[1] > 20 and streams.likest(pixels, [raw])[1] < 15
  assert camera.run(footage.chosen(model, address.replace("secret", "guess"), "null")) == 4
  output, error = capfd.readouterr()
  assert "401" in error and not [word for word in ("secret", "guess", "anna", "/live", str(port)) if word in output + error]


def test_an_rtsp_camera_that_dies_and_comes_back(gst):
  port, servers, file = gst

  def exchange():
    servers[0].kill()
    time.sleep(0.3)
    servers.append(streams.gst_server(port, file))

  def negative(frame):
    count[0] += 1
    if count[0] == 30:
      threading.Thread(target=exchange, daemon=True).start()
    return 255 - frame
  count = [0]
  _, seen, figures, told = moved(f"rtsp://anna:secret@127.0.0.1:{port}/live", anonymize=negative, after=30)
  ticks = np.array([frame.ticks for frame in seen])
  assert figures.count["source_reconnects"] == 1 and (np.diff(ticks) > 0).all()
  assert np.diff(ticks).max() > 0.3 * 90000 and len(told) == 2
  after = np.argmax(np.diff(ticks)) + 1
  assert 5 < after < len(seen)


def test_a_camera_that_pushes_rtsp_is_listened_to():
  """The camera's own sink is the other side: what it sends over RTSP, another camera anonymizes."""
  port = streams.free_port()
  address = f"rtsp://127.0.0.1:{port}/x"
  patience = links.Patience()
  source = sources.find(address, options=["listen_timeout=20"], patience=patience)
  seen = []

  def send():
    time.sleep(0.4)
    sink = sinks.find(address, quality=1, patience=links.Patience(reconnect_seconds=0))
    with contextlib.suppress(errors.SinkFailed):  # the listener goes first
      pipeline.run(sources.find("test:64x48@30:frames=60"), lambda frame: 255 - frame, sink, rules=pipeline.Rules(paced=True))
  sender = threading.Thread(target=send, daemon=True)
  sender.start()
  pipeline.run(source, lambda frame: 255 - frame, sinks.find("null"), taps=(seen.append,), stop=patience.stop,
               rules=pipeline.Rules(live=True, max_seconds=1.0))
  raw = [source_pattern.picture(i, *streams.SIZE) for i in range(60)]  # twice negative
  sender.join(streams.PATIENCE)
  numbers = [streams.likest(frame.pixels, raw)[0] for frame in seen]
  assert len(numbers) > 15 and numbers == sorted(set(numbers))


# A slow model, a high rate.


def slow(frame):
  time.sleep(0.08)
  return 255 - frame


def test_a_slow_model_never_stalls_a_live_source_and_sees_fresh_frames():
  start = time.monotonic()
  summary, seen, figures, _ = moved("test:64x48@50", anonymize=slow, seconds=2.0)
  took = time.monotonic() - start
  count = figures.count
  assert count["decoded"] == 100 and took < 4  # the source went on as if nobody were slow
  assert count["dropped_raw"] > 60 and count["dropped_raw"] + count["anonymized"] == 100 and summary.dropped == 100 - summary.frames
  assert 8 <= len(seen) <= 32 and [frame.index for frame in seen] == sorted({frame.index for frame in seen})
  for frame in seen:  # each is the picture of its own number
    assert np.array_equal(frame.pixels, 255 - source_pattern.picture(frame.index, *streams.SIZE))
  # At most 4 frames of 20 ms wait before the model, 240 ms with the one in it; waiting for every frame, the last would come after 6 s.
  assert figures.snapshot()["latency_ms"]["p99"] < 1000


def test_a_file_waits_for_a_slow_model():
  summary = pipeline.run(sources.find("test:64x48@50:frames=12"), slow, sinks.find("null"))
  assert summary.frames == 12 and summary.dropped == 0


def test_a_server_is_read_on_while_the_model_is_slow(chunks):
  with streams.HttpServer(chunks, rate=40) as server:
    _, seen, figures, _ = moved(f"http://127.0.0.1:{server.port}/", anonymize=slow, seconds=1.2)
  assert figures.count["decoded"] == 30 and figures.count["dropped_raw"] > 10 and len(seen) < 20


def test_the_highest_rate_is_the_sink_s_and_is_counted(model, place, capfd):
  target = place / "out" / "stats.json"
  chosen = footage.chosen(model, "test:64x48@50:frames=50", place / "out" / "safe.mp4", max_fps=10, stats_json=str(target))
  assert camera.run(chosen) == 0
  assert [float(t) for t, _ in footage.read_video(place / "out" / "safe.mp4")] == pytest.approx(np.arange(10) / 10)
  found = json.loads(target.read_text())
  assert found["frames"]["over_max_fps"] == 40 and found["frames"]["written"] == 10 and found["state"] == "ended"
  assert "10 frames" in (said := capfd.readouterr().out) and "40 dropped" in said
  assert set(found) == {"state", "pid", "seconds", "frames", "fps_in", "fps_out", "latency_ms", "model_ms_mean", "waiting", "rss_mib"}
  assert found["fps_in"] == pytest.approx(50 / found["seconds"], rel=0.05)  # of the whole run
  assert set(found["frames"]) == set(stats.COUNTERS) and found["model_ms_mean"] > 0 and found["rss_mib"] > 10
  assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]


def test_lines_of_figures_come_while_it_runs(model, place, capfd):
  assert camera.run(footage.chosen(model, "test:64x48@25", "null", max_seconds=1, stats_seconds=0.3)) == 0
  lines = [line for line in capfd.readouterr().err.splitlines() if "decoded" in line]
  assert 2 <= len(lines) <= 4 and all("fps in" in line and "latency" in line and "MiB" in line for line in lines)


# Bad input; what must not be told.


SECRET = "anna:s3cr3t@"


@pytest.mark.parametrize("source, sink, code, word", [
    (f"rtsp://{SECRET}127.0.0.1:1/key", "null", 4, "source rtsp://127.0.0.1: Connection refused"),
    (f"http://{SECRET}no-such-host.invalid/key", "null", 4, "source http://no-such-host.invalid: "),
    (f"gopher://{SECRET}127.0.0.1/key", "null", 4, "source gopher://127.0.0.1: its scheme is not one of http"),
    ("http://anna:s3cr3t/key@127.0.0.1:1/key", "null", 4, "source http://...: "),
    (f"http://{SECRET}[127.0.0.1/key", "null", 4, "source http://...: "),
    ("test:64x48", f"gopher://{SECRET}127.0.0.1/key", 6, "sink gopher://127.0.0.1: its scheme is not one of http"),
    ("test:64x48", f"http://{SECRET}127.0.0.1:1/key", 6, "sink http://127.0.0.1: "),
    ("test:64x48", f"rtmp://{SECRET}127.0.0.1:1/key", 6, "sink rtmp://127.0.0.1: ")])
def test_of_an_address_only_scheme_and_host_are_told(model, place, capfd, source, sink, code, word):
  assert camera.run(footage.chosen(model, source, sink, stats_seconds=0.05, stats_json=str(place / "out" / "stats.json"))) == code
  output, error = capfd.readouterr()
  assert word in error.splitlines()[-1]
  written = "".join(path.read_text() for path in (place / "out").iterdir())
  assert not [part for part in ("s3cr3t", "anna", "key") if part in output + error + written]


@pytest.mark.parametrize("argument", [f"rtsp://{SECRET}host/key", "--source_options=s3cr3t", "--sink_options=a=b,=s3cr3t"])
def test_a_mistaken_flag_tells_no_password(capfd, argument):
  code = flagfiles.main(lambda: camera.run(flagfiles.read(options.CameraOptions)), (options.CameraOptions,), "",
                        arguments=["--model=m", "--source=test", "--sink=null", argument])
  assert code == 2 and "s3cr3t" not in (said := capfd.readouterr().err) and len(said.splitlines()) == 1


@pytest.mark.parametrize("source, word", [
    ("test:", "a test pattern is test[:WIDTHxHEIGHT]"), ("test:1x2", "a side is 2"), ("test@0", "the rate"),
    ("test:64x48:frames=0", "above 0"),
    ("v4l2:/dev/no-such-camera", "there is no such device"), ("/dev/null", "source /dev/null: "), ("v4l2:/dev/null", "source /dev/null: "),
    ("testing.mp4", "does not exist; a source is a video file, a folder of images, a V4L2 device")])
def test_other_bad_sources_stop_with_one_line(model, place, capfd, source, word):
  assert camera.run(footage.chosen(model, source, "null")) == 4
  assert word in (said := capfd.readouterr().err) and len(said.splitlines()) == 1


def test_a_file_named_like_the_test_pattern_is_the_file(place):
  footage.make_video(place / "out" / "in.mp4", tiny_exports.pictures(2, *footage.SIZE)).rename(place / "out" / "test")
  assert isinstance(sources.find("test"), sources.VideoFile) and isinstance(sources.find("test@5"), source_pattern.Pattern)
