"""Decodes a video file with PyAV, whole or not at all.

A video that breaks off half-way decodes without any complaint from FFmpeg, so what came out is compared with what the container
declares. Every failure is an `Undecodable` whose one-line message says what is wrong with the file.

| what the file has | what comes out |
|---|---|
| B-frames, odd sizes, 10 bits, grey | every frame, in order of display, as 8-bit RGB of its own size |
| transparency | the picture on black, like a still image's |
| a quarter turn or a mirror in its metadata | upright frames; another angle is refused |
| a variable frame rate | frames at the usual distance of two pictures, one that stayed longer repeatedly (timing.py) |
| AVI, which stores no times, with frames that its encoder dropped | every frame once, at the header's rate; refused above 5 % |
| frames hidden by an edit list (trimmed on a phone) | the frames that a player shows |
| interlaced lines, pixels that are not square | as coded |
| mkv without its index (cues) | every frame: nothing is sought |
| mkv, webm that begin late: their first clusters are damaged, or a cut kept its times | refused; remux it |
| mp4 without its index (moov) | refused: FFmpeg cannot open it |
| no frame; only sound, with or without a cover picture; no decoder for the codec | refused |
| a cut or overwritten file | refused: fewer frames or less time than declared, or a damaged frame |
| no declared length: MPEG-TS, MPEG-PS, raw H.264; webm, mkv, wmv, fragmented mp4 never closed | refused: a cut could not be told; |
| | with `undeclared_length` what is there |
| metadata in an unknown encoding | every frame: metadata is not read |
"""

import math
import os
import pathlib
import re
import struct
from typing import Any, Callable, NamedTuple

import av
import numpy as np

from mppar_tf import display_matrix
from mppar_tf.messages import one_line
from tfrecord_tools.readers import timing

# Containers of old DivX files declare a frame or two more than they hold; a file that broke off lacks far more.
MISSING_SHARE = 0.05
MISSING_FRAMES = 2
MISSING_TICKS = 1.25  # of the frame rate, where the pictures' own track declares when it ends
MISSING_SECONDS = 0.1  # where only the whole file does: the last packet of sound may be long
GUESSED_LENGTH = av.format.Flags.no_timestamps.value | av.format.Flags.ts_discont.value  # of these formats, from what happens to be there


class Undecodable(ValueError):
  """A file that does not give the pictures it promises; the message is the reason, without the path."""


class Footage(NamedTuple):
  """A decoded video."""
  frames: list[Any]  # what `convert` made of each frame, in order of display
  frames_per_second: float


class Pictures(NamedTuple):
  """Everything that a stream gave."""
  frames: list[Any]
  times: list[float]  # when each appears, seconds; 0 where the file knows no times
  end: float  # when the last one ends, seconds; 0 where unknown
  file_start: float  # when the first packet of any track begins, seconds; infinite where unknown
  file_end: float  # when the last packet of any track ends, seconds


def decode(path: str | os.PathLike, convert: Callable[[np.ndarray], Any] = lambda frame: frame, *,
           undeclared_length: bool = False) -> Footage:
  """All frames of the first video stream, upright, at a steady rate.

  Args:
    path: a file in any container and codec that PyAV's FFmpeg reads.
    convert: called on each decoded frame, uint8 RGB [H, W, 3], as soon as it is decoded: whoever stores JPEG never holds a raw video.
    undeclared_length: take files that declare no length too; one that broke off between two frames then passes for whole.
  Raises:
    Undecodable: missing, empty, not a video, no video stream, no frame rate, damaged, of changing size, or broken off.
  """
  check_file(path)
  try:
    # Titles in the encoding of some old system are none of our business, and would be a UnicodeDecodeError.
    with av.open(os.fspath(path), metadata_errors="ignore") as container:
      return _decode_stream(container, convert, pathlib.Path(path), undeclared_length)
  except (av.error.FFmpegError, EOFError, IndexError) as error:
    raise Undecodable(f"not a video that FFmpeg can open ({_words(error)})") from error


def check_file(path: str | os.PathLike) -> None:
  """Raises Undecodable unless `path` is a regular file with something in it."""
  file = pathlib.Path(path)
  try:
    there = file.exists()
  except OSError as error:  # a name too long for any file
    raise Undecodable(error.strerror) from error
  if not there:
    raise Undecodable("no such file")
  if not file.is_file():
    raise Undecodable("not a regular file")
  if not file.stat().st_size:
    raise Undecodable("empty file")


def _decode_stream(container: av.container.InputContainer, convert: Callable[[np.ndarray], Any], path: pathlib.Path,
                   undeclared_length: bool) -> Footage:
  stream = _moving_pictures(container)
  found = _read(container, stream, convert)
  rates = [float(rate) for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate) if rate]
  if not found.frames:
    raise Undecodable("no frame in its video stream")
  if not rates:
    raise Undecodable("no frame rate in its header")
  try:
    # AVI stores no times: FFmpeg makes them up from the order of decoding.
    shown, rate = (range(len(found.frames)), rates[0]) if container.format.name == "avi" else timing.steady(found.times, rates)
  except ValueError as error:
    raise Undecodable(str(error)) from error
  if not _is_complete(container, stream, path, found, rate) and not undeclared_length:
    raise Undecodable(f"its container ({container.format.name}) declares no length, so whether it broke off cannot be told; "
                      "remux it: ffmpeg -i FILE -c copy NEW.mkv")
  return Footage([found.frames[index] for index in shown], rate)


def _moving_pictures(container: av.container.InputContainer) -> av.video.stream.VideoStream:
  streams = [stream for stream in container.streams.video if not stream.disposition & av.stream.Disposition.attached_pic]
  if not streams:
    raise Undecodable("no video stream in it" + (", only a cover picture" if container.streams.video else ""))
  if streams[0].codec_context is None:
    raise Undecodable("no decoder for its video stream")
  streams[0].codec_context.thread_count = 1  # the pool already gives every core a file
  return streams[0]


def _read(container: av.container.InputContainer, stream: av.video.stream.VideoStream, convert: Callable[[np.ndarray], Any]) -> Pictures:
  frames: list[Any] = []
  times, end, file_start, file_end = [], 0.0, math.inf, 0.0
  size: tuple[int, int] | None = None
  try:
    # Every track is read, though one is decoded: where they end tells whether the file is whole.
    for packet in container.demux():
      file_start, file_end = min(file_start, _start(packet)), max(file_end, _end(packet))
      for frame in packet.decode() if packet.stream.index == stream.index else ():
        if frame.is_corrupt or packet.is_corrupt:
          raise Undecodable(f"frame {len(frames)} is damaged")
        size = size or (frame.height, frame.width)
        if (frame.height, frame.width) != size:
          raise Undecodable(f"frame {len(frames)} is {frame.width}x{frame.height}, those before are {size[1]}x{size[0]}")
        frames.append(convert(_upright(frame)))
        times.append(frame.time or 0.0)
        end = _end(frame)
  except av.error.FFmpegError as error:
    raise Undecodable(f"decoding fails after {len(frames)} frames ({_words(error)})") from error
  return Pictures(frames, times, end, file_start, file_end)


def _start(packet: av.Packet) -> float:
  return math.inf if packet.pts is None or packet.time_base is None else float(packet.pts * packet.time_base)


def _end(part: av.Packet | av.VideoFrame) -> float:
  """When a packet or frame ends, in seconds; when it begins, where it does not know how long it is."""
  start = part.dts if part.pts is None else part.pts
  return 0.0 if start is None or part.time_base is None else float((start + (part.duration or 0)) * part.time_base)


def _upright(frame: av.VideoFrame) -> np.ndarray:
  """uint8 RGB [H, W, 3], as a player would show it."""
  pixels = display_matrix.upright(_on_black(frame), frame)
  if pixels is None:
    raise Undecodable(f"its frames are to be shown turned by {frame.rotation} degrees; quarters and mirrors are possible")
  return pixels


def _on_black(frame: av.VideoFrame) -> np.ndarray:
  if not any(component.is_alpha for component in frame.format.components):
    return frame.to_ndarray(format="rgb24")  # [H, W, 3]
  pixels = frame.to_ndarray(format="rgba").astype(np.uint16)  # [H, W, 4]
  return ((pixels[..., :3] * pixels[..., 3:] + 127) // 255).astype(np.uint8)


# ---- is it whole? ----


def _is_complete(container: av.container.InputContainer, stream: av.video.stream.VideoStream, path: pathlib.Path, found: Pictures,
                 rate: float) -> bool:
  """False where the file declares no length; raises Undecodable where it declares more than was found."""
  is_mp4 = "mp4" in container.format.name.split(",")
  if container.format.flags & GUESSED_LENGTH or (is_mp4 and _lacks_last_fragment(path)):
    return False
  if stream.frames and not is_mp4:  # mp4 counts those too that an edit list hides
    _check_complete(len(found.frames), stream.frames)
    return True
  # FFmpeg goes on behind a damaged cluster without a word; at the end or the beginning of the file that is seen.
  if "matroska" in container.format.name and MISSING_FRAMES / rate + MISSING_SECONDS < found.file_start < math.inf:
    raise Undecodable(f"begins at {found.file_start:.2f} s: what comes before is damaged; if it is whole, remux it: "
                      "ffmpeg -i FILE -c copy NEW.mkv")
  own = _declared_end(stream, is_mp4)
  end, declared = (found.end, own) if own else (found.file_end, (container.duration or 0) / av.time_base)
  if declared - end > (MISSING_TICKS / rate if own else max(MISSING_FRAMES / rate, MISSING_SECONDS)):
    raise Undecodable(f"broken off: {end:.2f} s decoded of {declared:.2f} s declared")
  return bool(declared)


def is_broken_off(decoded: int, declared: int) -> bool:
  """Whether so many frames are missing that the file cannot be the one that was spoken of."""
  return declared - decoded > max(MISSING_FRAMES, MISSING_SHARE * declared)


def _check_complete(decoded: int, declared: int) -> None:
  if is_broken_off(decoded, declared):
    raise Undecodable(f"broken off: {decoded} frames decoded of {declared} declared")


def _declared_end(stream: av.video.stream.VideoStream, is_mp4: bool) -> float:
  """When the last picture ends by what its own track declares, in seconds; 0 where it does not. Other formats copy the whole file's."""
  if is_mp4 and stream.duration:
    return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
  tags = [text for name, text in stream.metadata.items() if name.startswith("DURATION")]  # Matroska's; some add a language to the name
  parts = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", tags[0]) if tags else None
  return 3600 * int(parts[1]) + 60 * int(parts[2]) + float(parts[3]) if parts else 0.0


def _lacks_last_fragment(path: pathlib.Path) -> bool:
  """Whether an mp4 is written in fragments without the list of them that ends such a file: FFmpeg then takes what is there for all."""
  fragmented, kind = False, b""
  end = path.stat().st_size  # a damaged size may lead beyond it, and beyond every number that a file system takes
  with open(path, "rb") as file:
    while len(header := file.read(8)) == 8:
      start, (size, kind) = file.tell() - 8, struct.unpack(">I4s", header)
      if size == 1:
        size = int.from_bytes(file.read(8), "big")
      if kind == b"moov":
        fragmented = b"mvex" in file.read(min(size, end))
      if size < 8:  # 0: to the end of the file
        break
      file.seek(min(start + size, end))
  return fragmented and kind != b"mfra"


def _words(error: Exception) -> str:
  """FFmpeg's words without the path, which the caller names."""
  return getattr(error, "strerror", None) or one_line(error) or type(error).__name__
