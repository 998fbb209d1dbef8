"""The preview page: anonymized frames alone, for this machine alone, and no viewer slows the camera."""

import contextlib
import http.client
import io
import socket
import threading
import time

import av
import footage
import leaks
import numpy as np
import pytest
import tiny_exports

from mppar_tf import camera
from mppar_tf.on_camera import preview
from mppar_tf.on_camera.errors import SinkFailed
from mppar_tf.on_camera.frames import SafeFrame


def safe_frame(grey, height=48, width=64, index=0):
  pixels = np.full((height, width, 3), grey, np.uint8)
  pixels[:, width // 2:] = 255 - grey
  return SafeFrame(index, index, pixels, 0.0)


@pytest.fixture
def page():
  with preview.Preview(0) as opened:
    yield opened


def get(page, path="/", host=None, method="GET"):
  connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=5)
  connection.putrequest(method, path, skip_host=True)
  for one in [f"127.0.0.1:{page.port}"] if host is None else host:
    connection.putheader("Host", one)
  connection.endheaders()
  return connection.getresponse()


def parts(answer, count):
  """JPEGs of a stream."""
  found = []
  while len(found) < count:
    line = answer.readline()
    if line.lower().startswith(b"content-length:"):
      assert answer.readline() == b"\r\n"
      found.append(answer.read(int(line.split(b":")[1])))
  return found


def decoded(content):
  with av.open(io.BytesIO(content)) as container:
    return next(container.decode(video=0)).to_ndarray(format="rgb24")


@pytest.mark.parametrize("shape", [(48, 64), (33, 47), (720, 1280), (1, 1)])
def test_a_jpeg_shows_its_frame(shape):
  pixels = tiny_exports.pictures(1, *shape)[0]
  content = preview.jpeg(pixels)
  assert content[:2] == b"\xff\xd8" and content[-2:] == b"\xff\xd9"
  shown = decoded(content).astype(int)
  assert shown.shape == pixels.shape and np.abs(shown - pixels).mean() < 8
  assert np.abs(decoded(preview.jpeg(np.full((16, 16, 3), [255, 0, 90], np.uint8))).astype(int) - [255, 0, 90]).max() < 6


def test_the_page_and_its_stream(page):
  answer = get(page)
  text = answer.read()
  assert answer.status == 200 and b"/frames.mjpeg" in text and b"http://" not in text  # nothing of the page comes from elsewhere
  page.show(safe_frame(40))
  stream = get(page, "/frames.mjpeg")
  assert stream.getheader("Content-Type") == "multipart/x-mixed-replace; boundary=frame"
  for grey in (40, 90, 200):
    page.show(safe_frame(grey))
    [content] = parts(stream, 1)
    while abs(decoded(content)[10, 10, 0] - grey) > 4:  # a frame may be told twice
      [content] = parts(stream, 1)
  for headers in (answer.headers, stream.headers):
    assert headers["Cache-Control"] == "no-store" and headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_who_does_not_name_this_machine_is_refused(page):
  page.show(safe_frame(40))
  port = page.port
  for host in (["evil.example"], [f"evil.example:{port}"], [], ["127.0.0.1"], [f"127.0.0.1:{port}", "evil.example"],
               [f"127.0.0.1:{port + 1}"], [f"0.0.0.0:{port}"], [f"127.0.0.1.evil.example:{port}"], [""]):
    for path in ("/", "/frames.mjpeg"):
      assert get(page, path, host).status == 403, host
  assert get(page, "/", [f"localhost:{port}"]).status == 200


@pytest.mark.parametrize("path", ["/x", "/../etc/passwd", "/frames.mjpeg/", "/?a", "*"])
def test_there_is_nothing_else(page, path):
  assert get(page, path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS", "CONNECT"])
def test_nothing_can_be_done_but_looking(page, method):
  assert get(page, "/", method=method).status == 501


def test_only_this_machine_can_connect(page):
  others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
  with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect(("192.0.2.1", 9))  # sends nothing; tells this machine's own address
    others.add(probe.getsockname()[0])
  for address in others - {"127.0.0.1", "0.0.0.0"}:
    with pytest.raises(OSError):
      socket.create_connection((address, page.port), timeout=2).close()
  assert page._server.socket.getsockname()[0] == "127.0.0.1"


def test_viewers_are_bounded_and_come_back(page):
  page.show(safe_frame(40))
  watching = [get(page, "/frames.mjpeg") for _ in range(preview.VIEWERS)]
  assert [answer.status for answer in watching] == [200] * preview.VIEWERS
  assert get(page).status == 503
  for answer in watching:
    answer.close()
  deadline = time.monotonic() + 10
  while get(page).status != 200:
    page.show(safe_frame(50))  # a viewer that has gone is noticed when it is written to
    assert time.monotonic() < deadline
    time.sleep(0.05)


@pytest.mark.parametrize("sent", [
    b"", b"GET / HT", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET " + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 500 + b"\r\n", b"\0" * 1000])
def test_nonsense_is_survived(page, monkeypatch, capfd, sent):
  monkeypatch.setattr(preview._Page, "timeout", 0.3)
  with socket.create_connection(("127.0.0.1", page.port), timeout=5) as client:
    with contextlib.suppress(OSError):
      client.sendall(sent)
      while client.recv(4096):
        continue
  assert get(page).status == 200 and capfd.readouterr().err == ""


def test_a_viewer_that_does_not_read_slows_nobody(page):
  """Frames far larger than any buffer between."""
  page.show(SafeFrame(0, 0, leaks.noise(1, 600, 800)[0], 0.0))
  slow = [get(page, "/frames.mjpeg") for _ in range(3)]  # never read
  pixels = list(leaks.noise(5, 600, 800, seed=2))
  seconds = []
  for number in range(50):
    start = time.perf_counter()
    page.show(SafeFrame(number, number, pixels[number % 5], 0.0))
    seconds.append(time.perf_counter() - start)
    time.sleep(0.01)
  assert sorted(seconds)[25] < 0.01 and max(seconds) < 1.0  # a viewer that is waited for takes seconds
  page.show(safe_frame(77))
  quick = get(page, "/frames.mjpeg")
  assert abs(decoded(parts(quick, 1)[0])[10, 10, 0] - 77) <= 4
  assert len(slow) == 3


def test_closing_does_not_wait_for_viewers():
  with preview.Preview(0) as page:
    page.show(SafeFrame(0, 0, leaks.noise(1, 600, 800)[0], 0.0))
    stuck = get(page, "/frames.mjpeg")
    time.sleep(0.2)
    start = time.monotonic()
  assert time.monotonic() - start < 3
  with pytest.raises(OSError):
    socket.create_connection(("127.0.0.1", page.port), timeout=2).close()
  stuck.close()


def test_a_port_that_is_taken_is_told_by_the_program(tmp_path, capsys):
  model = tiny_exports.write(tmp_path / "model", tiny_exports.anonymizer())
  (tmp_path / "source").mkdir()
  footage.save(tmp_path / "source", leaks.noise(3))
  with preview.Preview(0) as page:
    with pytest.raises(SinkFailed, match=f"preview_port={page.port}: cannot be had"):
      preview.Preview(page.port)
    capsys.readouterr()
    assert camera.run(footage.chosen(model, tmp_path / "source", tmp_path / "x.mp4", preview_port=page.port)) == 6
    assert "preview_port" in capsys.readouterr().err and not (tmp_path / "x.mp4").exists()


def test_the_program_shows_what_it_writes_and_nothing_raw(tmp_path, monkeypatch):
  model = tiny_exports.write(tmp_path / "model", tiny_exports.anonymizer())
  raw = leaks.noise(12)
  (tmp_path / "source").mkdir()
  footage.save(tmp_path / "source", raw)
  with preview.Preview(0) as probe:
    port = probe.port
  seen, real = [], preview.Preview.show

  def show(self, frame):
    real(self, frame)
    if frame.index == 0:
      watcher = threading.Thread(target=lambda: seen.extend(parts(get(self, "/frames.mjpeg"), 6)))
      watcher.start()
      threads.append(watcher)
    time.sleep(0.1)
  threads = []
  monkeypatch.setattr(preview.Preview, "show", show)
  assert camera.run(footage.chosen(model, tmp_path / "source", tmp_path / "frames", preview_port=port)) == 0
  threads[0].join(10)
  search = leaks.Search(raw, network=(tiny_exports.HEIGHT, tiny_exports.WIDTH))
  written = [picture for path in sorted((tmp_path / "frames").glob("*.png")) for _, picture in footage.read_video(path)]
  assert len(seen) == 6
  for content in seen:
    shown = decoded(content)
    assert search.picture(shown) == [] and min(np.abs(shown.astype(int) - one).mean() for one in written) < 6
