"""Action clips from videos: random clips without end for training, evenly spaced ones in storage order for evaluation."""

import dataclasses

import tensorflow as tf

from mppar_tf.data import frames, order, records
from mppar_tf.data.obfuscation import Obfuscation
from mppar_tf.data.parsing import parse_video
from mppar_tf.data.records import Split
from mppar_tf.data.schema import RecordsError
from mppar_tf.types import Clips


@dataclasses.dataclass(frozen=True)
class ClipSpec:
  """How clips are cut from videos."""
  frames: int = 16  # T
  skip: int = 2  # distance between frames of a clip, in frames of the video
  crop: int = 112  # height and width of the window, pixels
  flip: bool = True  # mirror half of the training clips
  hidden: Obfuscation | None = None  # hides people in every frame as it is read

  @property
  def regions(self) -> str:
    """The records' feature that this needs beside frames, "" for none."""
    return self.hidden.feature if self.hidden else ""


def training_clips(split: Split, spec: ClipSpec, *, batch_size: int, seed: int, start_batch: int = 0,
                   on_corrupt: str = "fail", share: order.Share = order.Share()) -> tf.data.Dataset:
  """An infinite dataset of Clips [B, T, crop, crop, 3] in [0, 1]: a random start, a random window and a mirroring for each clip.

  Each epoch is one pass over all videos in an order of its own; batches run across the border. The stream is a pure function of the split,
  `spec`, `batch_size` and `seed`: from `start_batch` on it is bit for bit what an uninterrupted stream gives there. With `share` the
  batches are that part of these, [B / count, ...].

  Raises:
    RecordsError: no videos or no action labels here, frames smaller than the crop, damage under `fail` that is known at the start. Damage
      met later is an InvalidArgumentError that names the shard.
  """
  split = _checked(split, spec, on_corrupt)

  def cut(drawn: order.Drawn):
    parsed, draws = parse_video(drawn.serialized, regions=spec.regions), frames.draw(seed, drawn.position)
    total = tf.size(parsed["frames"])
    start = frames.uniform_integer(draws.start, frames.last_start(total, spec.frames, spec.skip) + 1)
    numbers = frames.clip_indices(start, total, spec.frames, spec.skip)  # [T]
    return frames.random_crop(parsed, numbers, spec.crop, draws, spec.flip, spec.hidden), _action(parsed)

  stream = order.shuffled(split, seed=seed, start=start_batch * batch_size)
  stream = order.batches_of(stream, cut, batch_size, share).map(lambda pixels, action: Clips(frames.pixels01(pixels), action))
  return frames.with_options(stream.prefetch(2))


def evaluation_clips(split: Split, spec: ClipSpec, *, batch_size: int, clips_per_video: int, on_corrupt: str = "fail") -> tf.data.Dataset:
  """A finite dataset of (Clips, storage index of the video int64 [B]): evenly spaced clips, centre window, storage order.

  The last batch is partial.

  Raises:
    RecordsError: as `training_clips`; under skip_shard_remainder the videos in `records.tolerant(split).lost` do not appear.
  """
  split = _checked(split, spec, on_corrupt)

  def cut(index, serialized):
    parsed = parse_video(serialized, regions=spec.regions)
    total = tf.size(parsed["frames"])
    starts = frames.even_starts(total, spec.frames, spec.skip, clips_per_video)  # [C]
    numbers = tf.reshape(frames.clip_indices(starts, total, spec.frames, spec.skip), [clips_per_video * spec.frames])  # [C * T]
    pixels = frames.centre_crop(parsed, numbers, spec.crop, spec.hidden)  # [C * T, crop, crop, 3]
    pixels = tf.reshape(pixels, [clips_per_video, spec.frames, spec.crop, spec.crop, 3])  # [C, T, crop, crop, 3]
    return pixels, tf.repeat(_action(parsed), clips_per_video), tf.repeat(index, clips_per_video)

  stream = records.read(split, on_corrupt).map(cut, num_parallel_calls=tf.data.AUTOTUNE).unbatch().batch(batch_size)
  return frames.with_options(stream.map(lambda pixels, action, index: (Clips(frames.pixels01(pixels), action), index)).prefetch(2))


def _checked(split: Split, spec: ClipSpec, on_corrupt: str) -> Split:
  if split.manifest.kind != "video" or not split.manifest.classes:
    raise RecordsError(f"{split.folder}: holds no videos with action labels (kind {split.manifest.kind!r}, "
                       f"{len(split.manifest.classes)} classes)")
  frames.check_crop(split, spec.crop)
  return records.settled(split, on_corrupt)


def _action(parsed: dict[str, tf.Tensor]) -> tf.Tensor:
  labelled = tf.debugging.Assert(parsed["action"] >= 0, ["video", parsed["id"], "has no action label"])
  with tf.control_dependencies([labelled] if labelled is not None else []):
    return tf.identity(parsed["action"])
