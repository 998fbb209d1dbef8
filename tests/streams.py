"""Servers and receivers on this machine's loopback, for the tests of the live camera: PyAV's own, GStreamer's, the standard library's."""

import base64
import contextlib
import http.server
import io
import itertools
import pathlib
import socket
import subprocess
import threading
import time
from fractions import Fraction

import av
import numpy as np

from mppar_tf.on_camera import judge

SIZE = (48, 64)
PATIENCE = 20  # seconds after which a test gives up waiting


def free_port():
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    return probe.getsockname()[1]


def transport_stream(pictures, rate=25, first=0):
  """Pictures as one H.264 packet each in MPEG-TS: the chunks that a server sends one by one. [bytes]"""
  place = io.BytesIO()
  chunks = []
  with av.open(place, "w", format="mpegts", options={"flush_packets": "1"}) as container:
    stream = container.add_stream("libx264", rate=rate, options={"crf": "5", "tune": "zerolatency", "bf": "0", "g": "5"})
    stream.height, stream.width = pictures[0].shape[:2]
    stream.pix_fmt = "yuv420p"
    for tick, picture in enumerate(pictures):
      frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
      frame.pts, frame.time_base = first + tick, Fraction(1, rate)
      container.mux(stream.encode(frame))
      chunks.append(place.getvalue()[sum(map(len, chunks)):])
  return [chunk for chunk in chunks if chunk]


def falling_dark(pictures, seconds, rate=25):
  """MPEG-TS of pictures with a tone, then of so many seconds of the tone alone: (one chunk, [chunks of 64 ms each])."""
  place, ends, shown, length = io.BytesIO(), [], 0, Fraction(1024, 16000)
  options = {"flush_packets": "1", "max_interleave_delta": "1"}  # else sound would wait ten seconds for a picture
  with av.open(place, "w", format="mpegts", options=options) as container:
    stream = container.add_stream("libx264", rate=rate, options={"tune": "zerolatency", "bf": "0", "g": "5"})
    stream.height, stream.width = pictures[0].shape[:2]
    stream.pix_fmt = "yuv420p"
    tone = container.add_stream("aac", rate=16000, layout="mono")
    for number in range(int((Fraction(len(pictures), rate) + seconds) / length)):
      while shown < len(pictures) and Fraction(shown, rate) <= number * length:
        frame = av.VideoFrame.from_ndarray(pictures[shown], format="rgb24")
        frame.pts, frame.time_base, shown = shown, Fraction(1, rate), shown + 1
        container.mux(stream.encode(frame))
      sound = av.AudioFrame.from_ndarray(np.sin(np.arange(1024) / 5)[None].astype(np.float32), format="fltp", layout="mono")
      sound.sample_rate, sound.pts = 16000, 1024 * number
      container.mux(tone.encode(sound))
      ends += [place.tell()] if shown == len(pictures) else []
  content = place.getvalue()
  return content[:ends[0]], [content[first:second] for first, second in zip(ends, ends[1:]) if first < second]


class TcpServer:
  """Sends chunks to whoever connects first: the first at once, the others one by one at a rate; then, or when left, it goes."""

  def __init__(self, first, chunks, rate):
    self._server, self._ended = socket.create_server(("127.0.0.1", 0)), threading.Event()
    self.port, self.sent = self._server.getsockname()[1], 0  # sent: of the others
    self._first, self._chunks, self._rate = first, chunks, rate
    self._thread = threading.Thread(target=self._serve, daemon=True)
    self._thread.start()

  def _serve(self):
    with contextlib.suppress(OSError):
      connection, _ = self._server.accept()
      with connection:
        connection.sendall(self._first)
        for chunk in self._chunks:
          if self._ended.wait(1 / self._rate):
            break
          connection.sendall(chunk)
          self.sent += 1

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._ended.set()
    self._server.close()
    self._thread.join(PATIENCE)


def decoded(chunks):
  """[uint8 [H, W, 3]] of a transport stream."""
  with av.open(io.BytesIO(b"".join(chunks)), format="mpegts") as container:
    return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


class HttpServer:
  """Serves chunks to each GET that knows the password, the one after the other at a rate, then ends the connection.

  `silent`: it accepts, and says nothing. `requests`: how many it began to serve.
  """

  def __init__(self, chunks, *, rate=None, port=0, silent=False, password=None):
    outer = self
    self.requests, self._ended = 0, threading.Event()
    due = password and "Basic " + base64.b64encode(password.encode()).decode()

    class Handler(http.server.BaseHTTPRequestHandler):
      protocol_version = "HTTP/1.1"

      def do_GET(self):
        if due and self.headers.get("Authorization") != due:
          self.send_response(401)
          self.send_header("WWW-Authenticate", 'Basic realm="camera"')
          self.send_header("Content-Length", "0")
          self.end_headers()
          return
        outer.requests += 1
        if silent:
          outer._ended.wait(PATIENCE)
          return
        self.send_response(200)
        self.send_header("Content-Type", "video/mp2t")
        self.send_header("Transfer-Encoding", "chunked")  # the end of a body with neither length nor chunks is an error to FFmpeg
        self.end_headers()
        with contextlib.suppress(OSError):
          for chunk in [*chunks, b""]:
            if outer._ended.wait(1 / rate if rate else 0):
              break
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.close_connection = True

      def log_message(self, *_):
        """Says nothing."""

    class Server(http.server.ThreadingHTTPServer):
      allow_reuse_address, daemon_threads, block_on_close = True, True, False

    self._server = Server(("127.0.0.1", port), Handler)
    self.port = self._server.server_address[1]
    self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    self._thread.start()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._ended.set()
    self._server.shutdown()
    self._server.server_close()
    self._thread.join()


LISTEN = {"rtsp": {"listen_timeout": str(PATIENCE)}, "http": {"listen": "1"}, "tcp": {"listen": "1"}, "udp": {}, "rtmp": {"listen": "1"}}


class Receiver:
  """Takes what is pushed to an address: PyAV as a server. `frames`: [(seconds or None, uint8 [H, W, 3], is it a key frame)]."""

  def __init__(self, address, *, count=None, silence=3.0):
    self.frames, self.error, self.started, self._left = [], None, False, False
    self._address, self._count, self._silence = address, count, silence
    self._thread = threading.Thread(target=self._receive, daemon=True)
    self._thread.start()
    time.sleep(0.15)  # until it listens

  def _receive(self):
    kind = self._address.partition("://")[0]
    try:
      with av.open(self._address, options=LISTEN[kind], timeout=(PATIENCE, self._silence)) as container:
        self.started = True
        for frame in itertools.islice(container.decode(video=0), self._count):
          seconds = None if frame.pts is None else float(frame.pts * frame.time_base)
          self.frames.append((seconds, frame.to_ndarray(format="rgb24"), bool(frame.key_frame)))
          if self._left:
            break
    except av.FFmpegError as error:  # how a pushed stream ends differs by protocol
      self.error = error

  def stop(self):
    """Goes at the next frame, or when silence has lasted."""
    self._left = True
    if self.started:
      self._thread.join(PATIENCE)

  def wait(self):
    self._thread.join(PATIENCE)
    assert not self._thread.is_alive()
    return [pixels for _, pixels, _ in self.frames]


def likest(pixels, candidates):
  """(index, PSNR in dB) of the candidate nearest to a picture."""
  found = [judge.psnr_db(pixels / 255, one / 255) for one in candidates]
  return int(np.argmax(found)), max(found)


def gst_server(port, file, user="anna", password="secret"):
  """GStreamer's RTSP server in a process of the system's Python, listening; None where it is not installed."""
  script = pathlib.Path(__file__).with_name("gst_server.py")
  try:
    server = subprocess.Popen(["/usr/bin/python3", str(script), str(port), user, password, str(file)], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
  except OSError:
    return None
  if server.stdout.readline().strip() == "ready":
    return server
  end(server)
  return None


def end(process):
  process.kill()
  process.wait()
  process.stdout.close()


def happens(condition, seconds=PATIENCE):
  """Whether something comes to be so in time."""
  deadline = time.monotonic() + seconds
  while not condition():
    if time.monotonic() > deadline:
      return False
    time.sleep(0.02)
  return True


def until(condition, seconds=PATIENCE):
  """Waits until something is so."""
  assert happens(condition, seconds), "it did not happen in time"
