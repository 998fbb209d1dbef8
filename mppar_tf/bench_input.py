"""The input benchmark's material (videos, records made from them, the plan of all clips) and its side of records.

Both sides read the same clips: the plan holds what `data.clips.training_clips` draws, so the video side cuts the very same frames and
windows, and the pixels of a few are compared before anything is measured.
"""

import os
import threading
import time
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm

from mppar_tf import bench_jpeg, bench_videos, experiment, feeding, side_by_side
from mppar_tf.data import clips, frames, order, parsing, records, schema
from mppar_tf.progress import progress_bar

ACTIONS = 10
LARGEST_DIFFERENCE = 2.5  # of 255, on average over a batch: JPEG at quality 95 makes 1.3, a shift by one frame 3 to 7
QUIET_SECONDS, QUIET_SHARE, LONGEST_WAIT = 0.05, 0.1, 10.0


def records_folder(folder: str) -> str:
  return os.path.join(folder, "records")


def make(*, folder: str, videos: int, video_frames: int, plan_clips: int, batch: int, clip: Any,
         seed: int) -> tuple[None, dict[str, Any]]:
  """Films, encodes, makes records and the plan.

  Args:
    folder: empty; everything goes there.
    videos, video_frames: how many, and how long each is.
    plan_clips: how many clips both sides may read in all.
    batch: clips of a batch.
    clip: ClipOptions.
  Returns:
    No turn, and facts: stored bytes of both sides, and the mean difference of the clips compared (of 255).
  Raises:
    RuntimeError: the two sides would not read the same clips.
  """
  tqdm.tqdm.set_lock(threading.RLock())  # its own lock is a semaphore, which would stay behind when this process is ended
  for number in progress_bar(range(videos), desc="videos", unit=" videos"):
    bench_videos.write_video(bench_videos.path_of(folder, number), bench_videos.pictures(seed + number, video_frames))

  def record(number: int) -> schema.Video:
    pixels = bench_videos.read_all(bench_videos.path_of(folder, number))
    return schema.Video(str(number), pixels, bench_videos.RATE, number % ACTIONS)

  writer = records.DatasetWriter(records_folder(folder), schema.Header("bench", "video", tuple(f"action{n}" for n in range(ACTIONS))))
  writer.write_split("train", range(videos), record, shards=min(4, videos))
  manifest = writer.finish()
  split = records.open_split(records_folder(folder), "train")
  parsed = [parsing.parse_video(serialized) for _, serialized in records.read(split)]
  frames_of = {int(one["id"].numpy()): one["frames"].numpy().tolist() for one in parsed}
  pictures_bytes = bench_jpeg.save_pictures(folder, (frames_of[number] for number in range(videos)), video_frames)
  plan = _plan(split, clip, seed, plan_clips)
  bench_videos.save_plan(folder, plan)
  difference = _difference(split, folder, plan[:batch], clip, seed, video_frames)
  if difference > LARGEST_DIFFERENCE:
    raise RuntimeError(f"records and videos do not give the same clips: they differ by {difference:.1f} of 255")
  stored = {"records_bytes": sum(shard.bytes for shard in manifest.splits["train"]),
            "pictures_bytes": pictures_bytes,
            "videos_bytes": sum(os.path.getsize(bench_videos.path_of(folder, number)) for number in range(videos))}
  return None, stored | {"mean_difference_of_255": difference}


def _spec(clip: Any) -> clips.ClipSpec:
  return clips.ClipSpec(frames=clip.clip_frames, skip=clip.frame_skip, crop=clip.crop, flip=clip.flip)


def _plan(split: records.Split, clip: Any, seed: int, count: int) -> list[bench_videos.Cut]:
  """What `training_clips` draws for its first `count` clips, without decoding any."""
  def draw(drawn: order.Drawn):
    parsed, draws = parsing.parse_video(drawn.serialized), frames.draw(seed, drawn.position)
    start = frames.uniform_integer(draws.start, frames.last_start(tf.size(parsed["frames"]), clip.clip_frames, clip.frame_skip) + 1)
    top, left = (frames.uniform_integer(u, parsed[side] - clip.crop + 1) for u, side in ((draws.top, "height"), (draws.left, "width")))
    return drawn.index, start, top, left, tf.logical_and(clip.flip, draws.flip < 0.5)

  names = [int(name) for name in records.ids(split)]
  drawn = order.shuffled(split, seed=seed).map(draw, num_parallel_calls=tf.data.AUTOTUNE).take(count).as_numpy_iterator()
  return [bench_videos.Cut(names[index], int(start), int(top), int(left), bool(flip)) for index, start, top, left, flip in drawn]


def _difference(split: records.Split, folder: str, plan: list[bench_videos.Cut], clip: Any, seed: int, total: int) -> float:
  """Mean absolute difference of the first batch between both sides, in steps of 255."""
  [(ours, _)] = clips.training_clips(split, _spec(clip), batch_size=len(plan), seed=seed).take(1).as_numpy_iterator()  # [B, T, H, W, 3]
  of_clip = {"frames": clip.clip_frames, "skip": clip.frame_skip, "crop": clip.crop, "total": total}
  theirs = [bench_videos.read_clip(bench_videos.path_of(folder, cut.video), cut, **of_clip) for cut in plan]
  return float(np.mean(np.abs(255 * ours - np.stack(theirs))))


def prepare(*, folder: str, batch: int, lead: int, batches: int, threads: int, deterministic: bool, clip: Any,
            seed: int) -> tuple[side_by_side.Turn, dict[str, Any]]:
  """The reader of records, through the stream that training reads; a turn is `batches` batches.

  The pipeline works ahead while nobody reads. So that a turn gets nothing for free, it first draws `lead` batches unmeasured, more than can
  be waiting; and it ends when the pipeline has come to rest, so that it takes nothing from the other side's turn.
  """
  strategy = experiment.configure(deterministic=deterministic, threads=threads, seed=seed)
  split = records.open_split(records_folder(folder), "train")
  stream = feeding.Stream(strategy, lambda position: clips.training_clips(
      split, _spec(clip), batch_size=batch, seed=seed, start_batch=position))

  def draw(count: int) -> None:
    for _ in range(count):
      for local in strategy.experimental_local_results(stream.next().frames):
        local[:0].numpy()  # the batch is there when this returns, also on a device

  def turn(number: int) -> side_by_side.Figures:
    draw(lead)
    figures = side_by_side.timed(lambda: draw(batches))
    _rest()
    return figures | {"clips": batches * batch}

  return turn, {"threads": threads or side_by_side.cores()}


def _rest() -> None:
  """Returns when this process has stopped working in the background."""
  end = time.monotonic() + LONGEST_WAIT
  while time.monotonic() < end:
    before = time.process_time()
    time.sleep(QUIET_SECONDS)
    if time.process_time() - before < QUIET_SHARE * QUIET_SECONDS:
      return
