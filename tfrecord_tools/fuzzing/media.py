"""Fuzzing of video files: small ones in the containers that datasets come in, made with PyAV."""

import pathlib
import random
from typing import Mapping, NamedTuple

import av
import numpy as np

from tfrecord_tools.fuzzing import mutations, outcomes
from tfrecord_tools.fuzzing.outcomes import Outcome, Target
from tfrecord_tools.readers import video

FRAMES, HEIGHT, WIDTH, RATE = 20, 48, 64, 25
FILES: dict[str, tuple[str, Mapping[str, str]]] = {  # name -> codec, options of the container
    "h264.mp4": ("libx264", {}), "fragments.mp4": ("libx264", {"movflags": "frag_keyframe+empty_moov"}), "h264.mkv": ("libx264", {}),
    "mpeg4.avi": ("mpeg4", {}), "h264.avi": ("libx264", {}), "mpeg4.mkv": ("mpeg4", {}), "mjpeg.mov": ("mjpeg", {}),
    "mpeg4.mp4": ("mpeg4", {})}
# The same bytes in every process, or a case's number would name another input in each: Matroska draws identifiers, and x264's tree of
# macroblocks reads memory that nobody has set where pictures are this small.
CONTAINERS, CODECS = {"fflags": "+bitexact"}, {"libx264": {"x264-params": "mbtree=0:crf=31"}}
# What `video.decode` tolerates by its own words: old AVI files lack a frame or two; ends in time may round by a tick.
TOLERATED = max(video.MISSING_FRAMES, int(video.MISSING_SHARE * FRAMES))


class Sound(NamedTuple):
  """A whole video."""
  name: str
  data: bytes
  frames: list[bytes]
  declared: float  # length by the container, see `declared`


def prepare(folder: pathlib.Path) -> list[Sound]:
  folder.mkdir(parents=True, exist_ok=True)
  found = []
  for name, (codec, options) in FILES.items():
    path = folder / name
    _write(path, codec, options)
    found.append(Sound(name, path.read_bytes(), [frame.tobytes() for frame in video.decode(path).frames], declared(path)))
  return found


def _write(path: pathlib.Path, codec: str, options: Mapping[str, str]) -> None:
  rng = np.random.default_rng(0)
  with av.open(str(path), "w", options={**CONTAINERS, **options}) as container:
    stream = container.add_stream(codec, rate=RATE, options=CODECS.get(codec))
    stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuvj420p" if codec == "mjpeg" else "yuv420p"
    stream.codec_context.gop_size, stream.codec_context.thread_count = 8, 1
    for number in range(FRAMES):
      pixels = rng.integers(0, 64, (HEIGHT, WIDTH, 3), np.uint8) + np.uint8(8 * number)
      container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
    container.mux(stream.encode())


def declared(path: pathlib.Path) -> float:
  """Frames that the container declares for its first video stream, by count, else by time; 0 where FFmpeg cannot tell."""
  try:
    with av.open(str(path), metadata_errors="ignore") as container:
      stream = container.streams.video[0]
      by_time = float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / av.time_base
      return float(stream.frames or by_time * RATE)
  except (av.error.FFmpegError, IndexError, EOFError, ValueError, TypeError):
    return 0.0


def attempt(prepared: list[Sound], rng: random.Random, folder: pathlib.Path) -> Outcome:
  """A changed video either says what is wrong, or gives as many frames as it declares."""
  sound = rng.choice(prepared)
  data = mutations.binary(rng, sound.data)
  outcomes.keep(folder, {sound.name: data})
  path = folder / outcomes.INPUT / sound.name
  try:
    frames = [frame.tobytes() for frame in video.decode(path).frames]
  except video.Undecodable as error:
    return outcomes.error(error, "")  # the caller names the file
  if frames == sound.frames:
    return Outcome(outcomes.SAME)
  return _judged(len(frames), sound, declared(path))


def _judged(count: int, sound: Sound, declared: float) -> Outcome:
  """Other frames: a flip in picture data decodes to other pixels, and who edits the declared length makes another video."""
  words = f"{sound.name}: {count} frames of {len(sound.frames)}, declared {declared:g} of {sound.declared:g}"
  if count < len(sound.frames) - TOLERATED and declared > sound.declared - 1:
    return Outcome(outcomes.LOSS, words)
  return Outcome(outcomes.OTHER, words)


VIDEOS = Target(prepare, attempt)
