"""libjpeg alone, as the limit of the input benchmark: the pictures of the same clips, decoded from memory and thrown away.

No reader of JPEG records can be faster than this. The decoder is libjpeg-turbo as OpenCV brings it, called with the least that can be
around it: no file, no parsing, no window, no conversion. No TensorFlow here.
"""

import concurrent.futures
import os
import pathlib
from typing import Any, Iterable, Sequence

import cv2
import numpy as np

from mppar_tf import bench_videos, side_by_side

PICTURES, ENDS = "pictures.jpegs", "pictures.npy"


def save_pictures(folder: str, videos: Iterable[Sequence[bytes]], total: int) -> int:
  """Keeps the JPEGs of every video, `total` frames each, in one file with an index; its bytes. Raises RuntimeError: another length."""
  ends = [0]
  with open(os.path.join(folder, PICTURES), "wb") as file:
    for number, frames in enumerate(videos):
      if len(frames) != total:
        raise RuntimeError(f"video {number} has {len(frames)} frames of {total}")
      for frame in frames:
        ends.append(ends[-1] + file.write(frame))
  np.save(os.path.join(folder, ENDS), np.array(ends, np.int64))
  return ends[-1]


def prepare(*, folder: str, batch: int, lead: int, batches: int, threads: int,
            of_clip: dict[str, int]) -> tuple[side_by_side.Turn, dict[str, Any]]:
  """Decodes the pictures of the clips that the other sides read; arguments as `bench_videos.prepare` has them."""
  plan, workers = bench_videos.load_plan(folder), threads or side_by_side.cores()
  stored, ends = pathlib.Path(folder, PICTURES).read_bytes(), np.load(os.path.join(folder, ENDS), allow_pickle=False)
  pictures = [np.frombuffer(stored[begin:end], np.uint8) for begin, end in zip(ends, ends[1:])]
  cv2.setNumThreads(1)  # every core has pictures of its own
  pool = concurrent.futures.ThreadPoolExecutor(workers)

  def decode(cut: bench_videos.Cut) -> int:
    numbers = [(cut.start + i * of_clip["skip"]) % of_clip["total"] for i in range(of_clip["frames"])]
    return sum(cv2.imdecode(pictures[cut.video * of_clip["total"] + number], cv2.IMREAD_COLOR) is not None for number in numbers)

  def turn(number: int) -> side_by_side.Figures:
    first = (number * (lead + batches) + lead) * batch
    cuts = plan[first:first + batches * batch]

    def read():
      if sum(pool.map(decode, cuts)) != batches * batch * of_clip["frames"]:
        raise RuntimeError(f"turn {number} has pictures that are none")
    return side_by_side.timed(read) | {"clips": batches * batch}

  return turn, {"threads": workers, "opencv": cv2.__version__}
