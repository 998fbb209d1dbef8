"""The process that sends anonymized frames to an address: an order and frames come on standard input, a word for each goes back.

Input: 8 bytes of length and so many of JSON (see `PushSink`), then for each frame 8 bytes of ticks and its rgb24 pixels; integers are
little-endian and signed. Output: a line for the connection and for each frame, "ok" or what went wrong; "done" after the end of input.
"""

import json
import os
import signal
import struct
import sys
from fractions import Fraction
from typing import Any, BinaryIO

import av
import numpy as np
from av.video.frame import PictureType

from mppar_tf.on_camera import core_dumps, ffmpeg_errors

KEY_FRAME_SECONDS = 1  # whoever joins, or has lost a packet, has a picture after this long
H264 = {"preset": "veryfast", "tune": "zerolatency", "bf": "0"}  # every frame leaves at once; none waits for a later one


def main() -> None:
  """Never returns. Where FFmpeg is stuck the alarm ends this process: Python could not, FFmpeg may hold its lock."""
  core_dumps.forbid()  # the address may hold a password
  answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
  os.dup2(2, 1)
  try:
    push(sys.stdin.buffer, answers)
    answers.write("done\n")
  except (av.FFmpegError, OSError, ValueError) as error:
    answers.write(f"{ffmpeg_errors.kind_of(error)}\n")
  answers.flush()
  os._exit(0)  # closing what is broken could wait once more


def push(frames: BinaryIO, answers: Any) -> None:
  """Connects, then sends each frame. Raises av.FFmpegError or OSError where that fails."""
  order = json.loads(frames.read(struct.unpack("<q", frames.read(8))[0]))
  height, width, _ = order["shape"]
  limit = order["timeout_seconds"]
  _alarm(limit)
  container = av.open(order["address"], "w", format=order["container"], options=order["options"])
  stream = _video(container, order)
  container.start_encoding()
  answers.write("ok\n")
  time_base, key_due = Fraction(order["time_base"]), None
  while True:
    _alarm(0)
    start = frames.read(8)
    content = frames.read(height * width * 3) if len(start) == 8 else b""
    if len(content) < height * width * 3:
      break
    _alarm(limit)
    frame = av.VideoFrame.from_ndarray(np.frombuffer(content, np.uint8).reshape(height, width, 3), format="rgb24")
    frame.pts, frame.time_base = struct.unpack("<q", start)[0], time_base
    if key_due is None or frame.pts * time_base >= key_due:  # by time: dropped frames make a rate lower than the one told
      frame.pict_type, key_due = PictureType.I, frame.pts * time_base + KEY_FRAME_SECONDS
    container.mux(stream.encode(frame))
    answers.write("ok\n")
  _alarm(limit)
  container.mux(stream.encode(None))
  container.close()
  _alarm(0)


def _alarm(seconds: float) -> None:
  signal.setitimer(signal.ITIMER_REAL, seconds)


def _video(container: Any, order: dict[str, Any]) -> Any:
  rate = Fraction(order["rate"])
  options = H264 | {"crf": str(order["quality"]), "g": str(max(1, round(KEY_FRAME_SECONDS * rate)))}
  stream = container.add_stream("libx264", rate=rate, options=options)
  stream.height, stream.width = order["shape"][:2]
  # H.264 halves the colour planes only of even sizes.
  stream.pix_fmt = "yuv444p" if stream.height % 2 or stream.width % 2 else "yuv420p"
  stream.codec_context.time_base = Fraction(order["time_base"])
  stream.codec_context.sample_aspect_ratio = Fraction(order["pixel_aspect"])
  return stream
