"""Tiny videos and images made on the spot, sound and broken, for the tests of the record tools."""

import csv
import io
import pathlib
import wave

import av
import numpy as np
from PIL import Image

HEIGHT, WIDTH = 24, 32


def colours(count: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
  """`count` flat frames, each of its own colour, top half darker: uint8 [T, H, W, 3]."""
  frames = np.zeros((count, height, width, 3), np.uint8)
  for index in range(count):
    frames[index] = (40 + 12 * index % 200, 200 - 11 * index % 180, 90 + 31 * index % 140)
    frames[index, :height // 2] //= 2
  return frames


def video(path: pathlib.Path, frames: np.ndarray, rate: int = 25, codec: str = "mpeg4") -> pathlib.Path:
  """Writes frames as a video; the container is the suffix's."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with av.open(str(path), "w") as container:
    stream = container.add_stream(codec, rate=rate)
    stream.height, stream.width = frames.shape[1:3]
    stream.pix_fmt = "yuv420p"
    stream.bit_rate = 2_000_000
    for frame in frames:
      container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
    container.mux(stream.encode())
  return path


def noisy_video(path: pathlib.Path, count: int = 30, codec: str = "mpeg4") -> pathlib.Path:
  """A video in which every frame takes many bytes, so that cutting or overwriting the file's middle hits frames."""
  return video(path, np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), np.uint8), codec=codec)


def sound(path: pathlib.Path) -> pathlib.Path:
  """An audio file: a container without a video stream."""
  with wave.open(str(path), "wb") as out:
    out.setnchannels(1)
    out.setsampwidth(2)
    out.setframerate(8000)
    out.writeframes(bytes(16000))
  return path


def image(path: pathlib.Path, pixels: np.ndarray, **save) -> pathlib.Path:
  """Writes pixels; the format is the suffix's."""
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(pixels).save(path, **save)
  return path


def gradient(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
  """A smooth picture without symmetry, uint8 [H, W, 3]."""
  y, x = np.mgrid[0:height, 0:width]
  return np.stack([255 * y / height, 255 * x / width, 255 * (x + y) / (height + width)], -1).astype(np.uint8)


def table(path: pathlib.Path, rows: list[dict[str, str]]) -> pathlib.Path:
  """Writes a CSV whose header is the first row's keys."""
  text = io.StringIO()
  writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
  writer.writeheader()
  writer.writerows(rows)
  path.write_text(text.getvalue(), encoding="utf-8")
  return path
