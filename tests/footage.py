"""Footage, a search for raw frames and an interpreter that misbehaves, for the tests of the camera."""

import contextlib
import itertools
import os
import signal
import time
from fractions import Fraction

import av
import numpy as np
import tiny_exports

from mppar_tf import options
from mppar_tf.on_camera import engine, judge

SIZE = (48, 64)
COUNT = 14


def place(tmp_path, monkeypatch):
  """A folder of PNG frames as source, and an empty working folder for outputs, in which temporary files fall too."""
  (tmp_path / "source").mkdir()
  (tmp_path / "out").mkdir()
  monkeypatch.setenv("TMPDIR", str(tmp_path / "out"))
  monkeypatch.chdir(tmp_path / "out")
  save(tmp_path / "source", tiny_exports.pictures(COUNT, *SIZE))
  return tmp_path


def save(folder, pictures):
  for i, picture in enumerate(pictures):
    av.VideoFrame.from_ndarray(picture, format="rgb24").save(str(folder / f"{i:03d}.png"))


def chosen(model, source, sink, **more):
  return options.CameraOptions(model=str(model), source=str(source), sink=str(sink), **more)


def make_video(path, pictures, *, ticks=None, time_base=Fraction(1, 25), codec="libx264", audio=False, quality="1"):
  """A video with the given times, a title, and a tone if asked."""
  with av.open(str(path), "w", options={"movie_timescale": str(time_base.denominator), "video_track_timescale": str(time_base.denominator)}
               if path.suffix in (".mp4", ".mov") else {}) as container:
    container.metadata["title"] = "birthday of Anna"
    stream = container.add_stream(codec, rate=Fraction(25), options={"crf": quality} if codec == "libx264" else {})
    stream.height, stream.width = pictures[0].shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = time_base
    tone = container.add_stream("aac", rate=16000) if audio else None
    for tick, picture in zip(ticks or itertools.count(), pictures):
      frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
      frame.pts, frame.time_base = tick, time_base
      container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
    if tone:
      for i in range(10):
        sound = av.AudioFrame.from_ndarray(np.sin(np.arange(1024) / 5)[None].astype(np.float32), format="fltp", layout="mono")
        sound.sample_rate, sound.pts = 16000, 1024 * i
        container.mux(tone.encode(sound))
      container.mux(tone.encode(None))
  return path


def read_video(path):
  """[(seconds, uint8 [H, W, 3])]"""
  with av.open(str(path)) as container:
    return [(frame.pts * frame.time_base, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def raw_in(folder, raw):
  """Where any frame of `raw` can be found below `folder`: as bytes of one of its rows, or in any picture or video, even a cut-off one."""
  found = []
  for path in (p for p in folder.rglob("*") if p.is_file()):
    content = path.read_bytes()
    if any(picture[len(picture) // 2].tobytes() in content for picture in raw):
      found.append(f"bytes in {path.name}")
    with contextlib.suppress(av.FFmpegError):
      with av.open(str(path)) as container:
        if container.streams.video:
          for frame in container.decode(video=0):
            pixels = frame.to_ndarray(format="rgb24")
            if any(pixels.shape == p.shape and judge.psnr_db(pixels / 255, p / 255) > 22 for p in raw):
              found.append(f"picture in {path.name}")
  return found


class Faulty:
  """An interpreter that does its work until frame `at`, then misbehaves in one way. It first sees the two built-in pictures."""

  def __init__(self, content, threads, *, at, kind):
    self._real, self._left, self._kind = REAL(content, threads), at + 2, kind

  def __getattr__(self, name):
    return getattr(self._real, name)

  def set_tensor(self, index, pixels):
    self._pixels = pixels
    self._real.set_tensor(index, pixels)

  def invoke(self):
    self._left -= 1
    if self._left < 0 and self._kind == "raises":
      raise RuntimeError(f"cannot take {self._pixels.tolist()}")  # as some engines do: the error quotes the frame
    if self._left < 0 and self._kind == "exotic":
      raise SystemError(f"cannot take {self._pixels.tolist()}")
    if self._left < 0 and self._kind == "terminated":
      os.kill(os.getpid(), signal.SIGTERM)
      time.sleep(0.5)
    self._real.invoke()

  def get_tensor(self, index):
    output = self._real.get_tensor(index)
    if self._left >= 0:
      return output
    changed = {"NaN": np.full_like(output, np.nan), "constant": np.full_like(output, 0.3), "unchanged": self._pixels.copy(),
               "shape": output[:, :8], "range": output * 40}
    return changed.get(self._kind, output)


REAL = engine.make_interpreter


def break_interpreter(monkeypatch, kind, at=5):
  monkeypatch.setattr(engine, "make_interpreter", lambda content, threads: Faulty(content, threads, at=at, kind=kind))
