"""A sink that sends H.264 to an address. The sending is done by a process of its own (`pusher`), which only ever gets anonymized frames.

FFmpeg may wait for a silent server without end, and PyAV holds Python's lock while it connects: within this process that would stop the
source too, and Ctrl-C. A process of its own can be ended, and the address, which may hold a password, is told to it through a pipe: it
is in no list of processes.
"""

import json
import os
import pathlib
import select
import struct
import subprocess
import sys
import time
from typing import Any, Mapping

import numpy as np

from mppar_tf.on_camera import links
from mppar_tf.on_camera.errors import FrameLost, SinkFailed
from mppar_tf.on_camera.frames import Stream

START_SECONDS = 20.0  # a small device takes its time to start Python


class PushSink:
  """One connection at a time; where it is lost, another. Each starts with a key frame, and times go on.

  Args:
    address: what FFmpeg opens for writing.
    name: what errors and notes call it.
    container: FFmpeg's name of the format.
    options: FFmpeg's, for pushing.
    quality: H.264's constant rate factor.
    lossless: keep the frame in hand for the next connection; else it is stale by then, and dropped (FrameLost).
    patience: time limits, and whom to tell.
  """
  paced = True

  def __init__(self, address: str, name: str, *, container: str, options: Mapping[str, str], quality: int, lossless: bool,
               patience: links.Patience):
    self.name, self._lossless, self._patience = name, lossless, patience
    self._order = {"address": address, "container": container, "options": dict(options), "quality": quality,
                   "timeout_seconds": patience.timeout_seconds}
    self._pusher: _Pusher | None = None
    self._shape: tuple[int, ...] | None = None

  def open(self, stream: Stream) -> None:
    """Starts Python over there. The connection is made with the first frame, when its size is known."""
    self._pusher = _Pusher(self._patience)
    self._order |= {"time_base": str(stream.time_base), "rate": str(stream.rate), "pixel_aspect": str(stream.pixel_aspect)}

  def write(self, ticks: int, pixels: np.ndarray) -> None:
    """Sends one frame, uint8 RGB [H, W, 3], and waits until it is with FFmpeg's muxer.

    Raises:
      FrameLost: the connection was lost with the frame and is there again.
      SinkFailed: the first connection cannot be made (it is not tried again: the address may be wrong), a lost one is not there again
        in time, or frames change size.
    """
    if self._shape is None:
      self._shape = pixels.shape
      self._connect()
    if pixels.shape != self._shape:
      raise SinkFailed(f"sink {self.name}: a frame of {pixels.shape} after frames of {self._shape}; one video has one size")
    attempts = None
    while True:
      try:
        return self._pusher.send(struct.pack("<q", ticks), np.ascontiguousarray(pixels))
      except _Gone as gone:
        if self._patience.stop.is_set():
          raise SinkFailed(f"sink {self.name}: the run stops") from None
        attempts = attempts or self._patience.attempts()
        self._reconnect(attempts, str(gone))
      if not self._lossless:
        raise FrameLost

  def _connect(self) -> None:
    try:
      self._pusher = self._pusher if self._pusher and not self._pusher.used else _Pusher(self._patience)
      self._pusher.connect(self._order | {"shape": list(self._shape)})
    except _Gone as gone:
      raise SinkFailed(f"sink {self.name}: {gone}") from None

  def _reconnect(self, attempts: Any, why: str) -> None:
    limit = self._patience.reconnect_seconds
    if limit:
      self._patience.tell(f"sink {self.name}: lost ({why}); trying again for {limit:g} s")
    for _ in attempts:
      try:
        self._connect()
      except SinkFailed:
        continue
      self._patience.count("sink_reconnects")
      self._patience.tell(f"sink {self.name}: connected again")
      return
    raise SinkFailed(f"sink {self.name}: lost ({why})" + (f", not back within {limit:g} s" if limit else ""))

  def commit(self, frames: int) -> None:
    """Ends the stream in good order. Every frame is with the muxer already."""
    pusher, self._pusher = self._pusher, None
    if pusher:
      try:
        pusher.finish()
      except _Gone as gone:
        raise SinkFailed(f"sink {self.name}: at the end: {gone}") from None

  def abandon(self, keep: bool) -> pathlib.Path | None:
    pusher, self._pusher = self._pusher, None
    if pusher:
      pusher.kill()
    return None


class _Gone(Exception):
  """The pusher has ended or is stuck; the text tells why, without the address."""


class _Pusher:
  """The process that sends. Raises _Gone wherever it does not answer in time, and has ended it then."""

  def __init__(self, patience: links.Patience):
    root = str(pathlib.Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}
    command = [sys.executable, "-c", "from mppar_tf.on_camera.pusher import main; main()"]
    self._stop, self._timeout_seconds, self.used = patience.stop, patience.timeout_seconds, False
    # A session of its own: Ctrl-C in the terminal is for the camera, which ends the pusher. Its standard error may quote the address.
    self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                     start_new_session=True)

  def connect(self, order: Mapping[str, Any]) -> None:
    self.used = True
    content = json.dumps(order).encode()
    self._exchange([struct.pack("<q", len(content)) + content], START_SECONDS + self._timeout_seconds)

  def send(self, *parts: Any) -> None:
    self._exchange(parts, 2 * self._timeout_seconds)  # the pusher itself gives up first

  def finish(self) -> None:
    """Ends the stream in good order, where there is one."""
    self._process.stdin.close()
    answer = self._answer(2 * self._timeout_seconds) if self.used else "done"
    self.kill()
    if answer != "done":
      raise _Gone(answer)

  def _exchange(self, parts: Any, seconds: float) -> None:
    answer = "takes no data"
    try:
      if all(links.write_all(self._process.stdin.fileno(), part, self._stop, seconds) for part in parts):
        answer = self._answer(seconds)
    except OSError:
      answer = self._answer(1.0)
    if answer != "ok":
      self.kill()
      raise _Gone(answer)

  def _answer(self, seconds: float) -> str:
    """One line of the pusher; a word of our own where none comes."""
    pipe, deadline, text = self._process.stdout.fileno(), time.monotonic() + seconds, b""
    while not text.endswith(b"\n"):
      if self._stop.is_set() or time.monotonic() > deadline:
        return "no answer in time"
      if select.select([pipe], [], [], links.POLL_SECONDS)[0]:
        content = os.read(pipe, 256)
        if not content:
          return "no answer in time"  # its alarm ended it
        text += content
    return text.decode("utf-8", "replace").strip()

  def kill(self) -> None:
    self._process.kill()
    self._process.wait()
    for pipe in (self._process.stdin, self._process.stdout):
      try:
        pipe.close()
      except OSError:  # bytes that were to be flushed to a process that is gone
        continue
