"""Decodes a video file with PyAV, whole or not at all.

A video that breaks off half-way decodes without any complaint from FFmpeg, so the frames are counted against what the container
declares. Every failure is an `Undecodable` whose one-line message says what is wrong with the file.
"""

import os
import pathlib
from typing import Any, Callable, NamedTuple

import av
import numpy as np

# Containers of old DivX files declare a frame or two more than they hold; a file that broke off lacks far more.
MISSING_SHARE = 0.05
MISSING_FRAMES = 2


class Undecodable(ValueError):
  """A file that does not give the pictures it promises; the message is the reason, without the path."""


class Footage(NamedTuple):
  """A decoded video."""
  frames: list[Any]  # what `convert` made of each frame, in order of display
  frames_per_second: float


def decode(path: str | os.PathLike, convert: Callable[[np.ndarray], Any] = lambda frame: frame) -> Footage:
  """All frames of the first video stream, upright.

  Args:
    path: a file in any container and codec that PyAV's FFmpeg reads.
    convert: called on each frame, uint8 RGB [H, W, 3], as soon as it is decoded: whoever stores JPEG never holds a raw video.
  Raises:
    Undecodable: missing, empty, not a video, no video stream, no frame rate, damaged, of changing size, or broken off.
  """
  check_file(path)
  try:
    with av.open(os.fspath(path)) as container:
      return _decode_stream(container, convert)
  except (av.error.FFmpegError, EOFError, IndexError) as error:
    raise Undecodable(f"not a video that FFmpeg can open ({_words(error)})") from error


def check_file(path: str | os.PathLike) -> None:
  """Raises Undecodable unless `path` is a regular file with something in it."""
  file = pathlib.Path(path)
  if not file.exists():
    raise Undecodable("no such file")
  if not file.is_file():
    raise Undecodable("not a regular file")
  if not file.stat().st_size:
    raise Undecodable("empty file")


def _decode_stream(container: av.container.InputContainer, convert: Callable[[np.ndarray], Any]) -> Footage:
  if not container.streams.video:
    raise Undecodable("no video stream in it")
  stream = container.streams.video[0]
  stream.codec_context.thread_count = 1  # the pool already gives every core a file
  rate = stream.average_rate or stream.guessed_rate or stream.base_rate
  frames: list[Any] = []
  size: tuple[int, int] | None = None
  try:
    for frame in container.decode(stream):
      if frame.is_corrupt:
        raise Undecodable(f"frame {len(frames)} is damaged")
      size = size or (frame.height, frame.width)
      if (frame.height, frame.width) != size:
        raise Undecodable(f"frame {len(frames)} is {frame.width}x{frame.height}, those before are {size[1]}x{size[0]}")
      frames.append(convert(_upright(frame)))
  except av.error.FFmpegError as error:
    raise Undecodable(f"decoding fails after {len(frames)} frames ({_words(error)})") from error
  if not frames:
    raise Undecodable("no frame in its video stream")
  if not rate:
    raise Undecodable("no frame rate in its header")
  _check_complete(len(frames), _declared_frames(container, stream, float(rate)))
  return Footage(frames, float(rate))


def _upright(frame: av.VideoFrame) -> np.ndarray:
  pixels = frame.to_ndarray(format="rgb24")  # [H, W, 3]
  # Phones store frames sideways with a display matrix; FFmpeg's decoder leaves turning to the player.
  turns = round(frame.rotation / 90) % 4
  return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _declared_frames(container: av.container.InputContainer, stream: av.video.stream.VideoStream, rate: float) -> int:
  """How many frames the header speaks of; 0 where it says nothing."""
  if stream.frames:
    return stream.frames
  if stream.duration and stream.time_base:
    return int(float(stream.duration * stream.time_base) * rate)
  # Matroska knows one duration for all streams; an audio track may outlast the pictures, so it counts only without one.
  if container.duration and not container.streams.audio:
    return int(container.duration / av.time_base * rate)
  return 0


def is_broken_off(decoded: int, declared: int) -> bool:
  """Whether so many frames are missing that the file cannot be the one that was spoken of."""
  return declared - decoded > max(MISSING_FRAMES, MISSING_SHARE * declared)


def _check_complete(decoded: int, declared: int) -> None:
  if is_broken_off(decoded, declared):
    raise Undecodable(f"broken off: {decoded} frames decoded of {declared} declared")


def _words(error: Exception) -> str:
  """FFmpeg's words without the path, which the caller names."""
  return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
