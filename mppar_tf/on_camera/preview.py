"""A page on this machine that shows the newest anonymized frame: http://127.0.0.1:PORT/, and /frames.mjpeg for a player.

It is offered frames that have left the choke point, in the encoder's thread, and only remembers the newest one. A JPEG is made by whichever
viewer first asks for it, so that nobody looking costs nothing and a slow viewer misses frames and slows no one.

Only this machine can reach it: the socket is bound to 127.0.0.1. A request must name that host itself, or a page on the web could have
its own name point here and read the pictures in the user's browser (DNS rebinding).
"""

import contextlib
import http.server
import socket
import threading
import time
from fractions import Fraction
from typing import Any

import av
import numpy as np

from mppar_tf.on_camera.errors import SinkFailed

HOST = "127.0.0.1"
VIEWERS = 8           # at once; more are told 503
IDLE_SECONDS = 5.0    # a client that neither sends nor takes a byte for so long is dropped
STILL_SECONDS = 1.0   # a viewer gets the same frame again where no new one comes for so long, which also tells whether it is there
QUALITY = 4           # of MJPEG's quantizer, 1 best to 31
BOUNDARY = "frame"
PAGE = b"""<!doctype html><meta charset="utf-8"><title>Anonymized frames</title>
<style>body{margin:0;background:#222;color:#ddd;font:14px sans-serif;text-align:center}img{max-width:100vw;max-height:90vh;min-width:50vw;
image-rendering:pixelated}p{margin:.5em}</style>
<p>What leaves this camera: anonymized frames, the newest first.</p><img src="/frames.mjpeg" alt="anonymized frames">
"""


def jpeg(pixels: np.ndarray) -> bytes:
  """uint8 RGB [H, W, 3] as a JPEG without metadata."""
  codec: Any = av.CodecContext.create("mjpeg", "w")
  codec.height, codec.width, codec.pix_fmt = *pixels.shape[:2], "yuvj444p"
  codec.time_base, codec.options = Fraction(1, 25), {"qmin": str(QUALITY), "qmax": str(QUALITY)}
  codec.thread_count = 1
  frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(format="yuvj444p", dst_color_range="JPEG")
  frame.pts = 0
  return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


class Preview:
  """The page, served while the context is open. `show` is a tap of the pipeline."""

  def __init__(self, port: int):
    """port: of 127.0.0.1; 0 takes a free one, told by `port`. Raises SinkFailed where it cannot be had."""
    self._news = threading.Condition()
    self._pixels: np.ndarray | None = None
    self._number = self._encoded_number = -1
    self._encoding = threading.Lock()
    self._encoded = b""
    self._ended = False
    self.seats = threading.BoundedSemaphore(VIEWERS)
    try:
      self._server = _Server((HOST, port), self)
    except OSError as error:
      raise SinkFailed(f"--preview_port={port}: cannot be had ({error.strerror})") from None
    self.port = self._server.server_address[1]

  def __enter__(self) -> "Preview":
    threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True, name="preview").start()
    return self

  def __exit__(self, *_: Any) -> None:
    with self._news:
      self._ended, self._pixels = True, None
      self._news.notify_all()
    self._server.shutdown()
    self._server.server_close()

  def show(self, frame: Any) -> None:
    """Remembers an anonymized frame (`pipeline.SafeFrame`) as the newest one. Never blocks on a viewer."""
    with self._news:
      self._pixels, self._number = frame.pixels, self._number + 1
      self._news.notify_all()

  def newest(self, after: int, seconds: float) -> tuple[int, bytes] | None:
    """(number, JPEG) of the newest frame, waiting up to `seconds` for one later than `after`; None once the camera has ended, or
    where there is no frame yet."""
    with self._news:
      self._news.wait_for(lambda: self._ended or self._number > after, seconds)
      if self._ended or self._pixels is None:
        return None
    # Outside of the condition: a frame that comes meanwhile does not wait for the encoder.
    with self._encoding:
      with self._news:
        pixels, number = self._pixels, self._number
      if pixels is None:
        return None
      if number != self._encoded_number:
        self._encoded, self._encoded_number = jpeg(pixels), number
      return number, self._encoded

  @property
  def ended(self) -> bool:
    return self._ended


class _Server(http.server.ThreadingHTTPServer):
  daemon_threads = True
  block_on_close = False  # a viewer that never reads must not hold the camera's exit

  def __init__(self, address: tuple[str, int], preview: Preview):
    self.preview = preview
    super().__init__(address, _Page)

  def process_request(self, request: Any, client_address: Any) -> None:
    if not self.preview.seats.acquire(blocking=False):
      with contextlib.suppress(OSError):
        request.settimeout(IDLE_SECONDS)
        request.sendall(b"HTTP/1.0 503 Too many viewers\r\nContent-Length: 0\r\n\r\n")
      self.shutdown_request(request)
      return
    try:
      super().process_request(request, client_address)
    except BaseException:  # no thread to be had
      self.preview.seats.release()
      raise

  def process_request_thread(self, request: Any, client_address: Any) -> None:
    try:
      super().process_request_thread(request, client_address)
    finally:
      self.preview.seats.release()

  def handle_error(self, request: Any, client_address: Any) -> None:
    """A viewer that goes away is no news, and a traceback of another fault would go to the camera's log."""


class _Page(http.server.BaseHTTPRequestHandler):
  timeout = IDLE_SECONDS
  server_version, sys_version = "camera", ""

  def log_message(self, format: str, *arguments: Any) -> None:
    """Requests are not logged: their text is a stranger's."""

  def do_GET(self) -> None:
    hosts = [value.strip().lower() for value in self.headers.get_all("Host", [])]
    port = self.server.server_address[1]
    if len(hosts) != 1 or hosts[0] not in (f"{HOST}:{port}", f"localhost:{port}"):
      self._answer(403, "text/plain", b"this page answers to 127.0.0.1 alone\n")
    elif self.path == "/":
      self._answer(200, "text/html; charset=utf-8", PAGE)
    elif self.path == "/frames.mjpeg":
      self._frames()
    else:
      self._answer(404, "text/plain", b"there are / and /frames.mjpeg\n")

  def _head(self, code: int, kind: str) -> None:
    self.send_response(code)
    self.send_header("Content-Type", kind)
    self.send_header("Cache-Control", "no-store")
    self.send_header("X-Content-Type-Options", "nosniff")
    self.send_header("Content-Security-Policy", "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'")
    self.send_header("Cross-Origin-Resource-Policy", "same-origin")  # no other page may put the pictures into its own

  def _answer(self, code: int, kind: str, body: bytes) -> None:
    self._head(code, kind)
    self.send_header("Content-Length", str(len(body)))
    self.end_headers()
    self.wfile.write(body)

  def _frames(self) -> None:
    # A small buffer: a viewer that stops reading is noticed, and does not see seconds-old frames when it goes on.
    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
    self._head(200, f"multipart/x-mixed-replace; boundary={BOUNDARY}")
    self.end_headers()
    number = -1
    while not self.server.preview.ended:
      found = self.server.preview.newest(number, STILL_SECONDS)
      if found is None:
        time.sleep(0.02)
        continue
      number, picture = found
      self.wfile.write(f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n".encode() + picture + b"\r\n")
