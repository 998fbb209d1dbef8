"""Clips straight from video files with PyAV: what a training without records would do, as the input benchmark's other side.

It is given every chance: files of the stored size (nothing to resize), decoding stops behind the last frame that is needed, only needed
frames become RGB, and a thread for each core works on a file of its own. No TensorFlow here.
"""

import concurrent.futures
import itertools
import os
import pathlib
from typing import Any, Iterator, NamedTuple

import av
import numpy as np

from mppar_tf import side_by_side

HEIGHT, WIDTH = 120, 160  # of every video: the size in which the paper's benchmarks are stored
RATE = 25  # frames per second
PLAN = "plan.npz"


class Cut(NamedTuple):
  """Where a clip lies: which video, its first frame, its window, and whether it is mirrored."""
  video: int
  start: int
  top: int
  left: int
  flip: bool


def path_of(folder: str, video: int) -> str:
  return os.path.join(folder, f"video{video:04d}.mp4")


def save_plan(folder: str, cuts: list[Cut]) -> None:
  np.savez(os.path.join(folder, PLAN), cuts=np.array(cuts, np.int64).reshape(-1, len(Cut._fields)))


def load_plan(folder: str) -> list[Cut]:
  with np.load(os.path.join(folder, PLAN), allow_pickle=False) as stored:
    return [Cut(*row[:4], bool(row[4])) for row in stored["cuts"].tolist()]


def pictures(seed: int, count: int, height: int = HEIGHT, width: int = WIDTH) -> Iterator[np.ndarray]:
  """Frames of a made-up film, uint8 RGB [height, width, 3]: a camera pans over a scene in which a shape moves, with some sensor noise.

  Textures and motion are such that a frame takes as many bytes as one of real footage does at this size, as JPEG (8 to 10 kB at
  quality 95) and as H.264 (about 60 kbit/s): decoding time goes with them.
  """
  random = np.random.default_rng(seed)
  scene, shape = (_texture(random, 2 * height, 2 * width) for _ in range(2))
  speed, phase = random.uniform(0.01, 0.03, 4), random.uniform(0, 2 * np.pi, 4)
  rows, columns = np.mgrid[:height, :width]
  for number in range(count):
    pan_y, pan_x, y, x = 0.5 + 0.4 * np.sin(phase + speed * number)
    top, left = int(pan_y * height), int(pan_x * width)
    inside = ((rows - y * height) / (height / 4)) ** 2 + ((columns - x * width) / (width / 10)) ** 2 < 1  # [H, W]
    frame = np.where(inside[..., None], shape[:height, :width], scene[top:top + height, left:left + width])
    yield np.clip(frame + random.normal(0, 1.0, frame.shape), 0, 255).astype(np.uint8)


def _texture(random: np.random.Generator, height: int, width: int) -> np.ndarray:
  frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
  frequency[0, 0] = np.inf  # no mean of its own
  noise = np.fft.rfft2(random.normal(size=(3, height, width))) / frequency ** 1.5
  planes = np.fft.irfft2(noise, (height, width))  # [3, H, W]
  planes = planes / planes.std(axis=(1, 2), keepdims=True)
  grey = planes[:1] + 0.15 * planes  # the planes of a natural picture go together
  return 120 + 40 * np.moveaxis(grey, 0, -1)  # [H, W, 3]


def write_video(path: str, frames: Iterator[np.ndarray], codec: str = "libx264") -> None:
  """A file as the codec's encoder sets it by default (libx264: CRF 23)."""
  with av.open(path, "w") as container:
    stream = container.add_stream(codec, rate=RATE)
    for number, frame in enumerate(frames):
      if not number:
        stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], "yuv420p"
      container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
    container.mux(stream.encode())


def read_all(path: str) -> list[np.ndarray]:
  """Every frame, uint8 RGB [H, W, 3]."""
  with av.open(path) as container:
    return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def read_clip(path: str, cut: Cut, *, frames: int, skip: int, crop: int, total: int) -> np.ndarray:
  """One clip, uint8 [T, crop, crop, 3]: frames start, start + skip, ... modulo the video's length `total`."""
  numbers = [(cut.start + i * skip) % total for i in range(frames)]
  wanted, found = set(numbers), {}
  with av.open(path) as container:
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1  # every core has a file of its own
    ticks = 1 / (stream.time_base * RATE)  # of one frame
    if min(wanted):
      container.seek(int(min(wanted) * ticks), stream=stream)  # to the key frame before it
    for frame in container.decode(stream):
      number = round(frame.pts / ticks)
      if number in wanted:
        window = frame.to_ndarray(format="rgb24")[cut.top:cut.top + crop, cut.left:cut.left + crop]  # [crop, crop, 3]
        found[number] = window[:, ::-1] if cut.flip else window
        if len(found) == len(wanted):
          break
  if len(found) < len(wanted):
    raise RuntimeError(f"{pathlib.Path(path).name}: frame {min(wanted - set(found))} of {total} was not decoded")
  return np.stack([found[number] for number in numbers])


def prepare(*, folder: str, batch: int, lead: int, batches: int, threads: int,
            of_clip: dict[str, int]) -> tuple[side_by_side.Turn, dict[str, Any]]:
  """The reader of video files; a turn is `batches` batches, float32 [B, T, crop, crop, 3] in [0, 1].

  Args:
    folder: holds the videos and the plan of the clips.
    lead: batches that the plan has before those of a turn (the other side draws them unmeasured).
    threads: 0: one for each core.
    of_clip: frames, skip, crop, total: see `read_clip`.
  """
  plan, workers = load_plan(folder), threads or side_by_side.cores()
  pool = concurrent.futures.ThreadPoolExecutor(workers)

  def turn(number: int) -> side_by_side.Figures:
    first = (number * (lead + batches) + lead) * batch
    cuts = plan[first:first + batches * batch]

    def read():
      clips = pool.map(lambda cut: read_clip(path_of(folder, cut.video), cut, **of_clip), cuts)
      for _ in range(batches):
        made = np.stack(list(itertools.islice(clips, batch))).astype(np.float32) / np.float32(255)  # [B, T, crop, crop, 3]
        if len(made) < batch:
          raise RuntimeError(f"turn {number} has fewer clips than {batches} x {batch}")
    return side_by_side.timed(read) | {"clips": batches * batch}

  return turn, {"threads": workers}
