"""From the JPEGs of one record to cropped pixels: which frames, which window, decoded once and only where needed."""

from typing import NamedTuple

import tensorflow as tf

from mppar_tf.data import obfuscation
from mppar_tf.data.obfuscation import Obfuscation
from mppar_tf.data.records import Split
from mppar_tf.data.schema import RecordsError

UNROLLED = 32  # frames; beyond it a loop keeps the graph small


class Draws(NamedTuple):
  """What augmentation draws for one record at one position of a stream: uniform numbers in [0, 1)."""
  start: tf.Tensor  # []
  top: tf.Tensor
  left: tf.Tensor
  flip: tf.Tensor


def draw(seed: int, position: tf.Tensor) -> Draws:
  """Draws that are a pure function of (seed, position), so that a resumed stream repeats them."""
  key = tf.stack([tf.constant(seed, tf.int64), tf.cast(position, tf.int64)])
  # The algorithm is named because the automatic choice differs between devices.
  return Draws(*tf.unstack(tf.random.stateless_uniform([len(Draws._fields)], key, alg="philox")))


def uniform_integer(uniform: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
  """An integer in [0, count) from a number in [0, 1); int32 []."""
  count = tf.cast(count, tf.int32)
  return tf.minimum(tf.cast(uniform * tf.cast(count, tf.float32), tf.int32), count - 1)


def last_start(total: tf.Tensor, frames: int, skip: int) -> tf.Tensor:
  """The largest start of a clip that stays inside a video of `total` frames; 0 for a shorter video, which loops."""
  return tf.maximum(tf.cast(total, tf.int32) - ((frames - 1) * skip + 1), 0)


def clip_indices(start: tf.Tensor, total: tf.Tensor, frames: int, skip: int) -> tf.Tensor:
  """Frame numbers start, start + skip, ... of each clip, modulo the video's length; `start` [...] -> int32 [..., T]."""
  return tf.math.floormod(start[..., None] + tf.range(frames) * skip, tf.cast(total, tf.int32))


def even_starts(total: tf.Tensor, frames: int, skip: int, clips: int) -> tf.Tensor:
  """Starts of `clips` evenly spaced clips: the middles of as many equal parts of the range of possible starts; int32 [C]."""
  possible = last_start(total, frames, skip) + 1
  return (2 * tf.range(clips) + 1) * possible // (2 * clips)


def check_crop(split: Split, crop: int) -> None:
  """Raises RecordsError where a stored frame is smaller than the crop."""
  height, width = split.smallest_frame
  if min(height, width) < crop:
    raise RecordsError(f"{split.folder}: crop {crop} does not fit into the stored frames of split {split.split!r}, the smallest is "
                       f"{height} x {width}; build larger records or lower --crop")


def random_crop(parsed: dict[str, tf.Tensor], numbers: tf.Tensor, crop: int, draws: Draws, flip: bool,
                hidden: Obfuscation | None = None) -> tf.Tensor:
  """The same random window, and with `flip` the same mirroring, of the frames `numbers` [T] of a record -> uint8 [T, crop, crop, 3]."""
  top = uniform_integer(draws.top, parsed["height"] - crop + 1)
  left = uniform_integer(draws.left, parsed["width"] - crop + 1)
  pixels = _window(parsed, numbers, top, left, crop, hidden)
  return tf.cond(draws.flip < 0.5, lambda: tf.reverse(pixels, [2]), lambda: pixels) if flip else pixels


def centre_crop(parsed: dict[str, tf.Tensor], numbers: tf.Tensor, crop: int, hidden: Obfuscation | None = None) -> tf.Tensor:
  """The window in the middle of the frames `numbers` [T] of a record -> uint8 [T, crop, crop, 3]."""
  return _window(parsed, numbers, (parsed["height"] - crop) // 2, (parsed["width"] - crop) // 2, crop, hidden)


def _window(parsed, numbers, top, left, crop, hidden):
  pixels = decode(tf.gather(parsed["frames"], numbers), top, left, crop)  # [T, crop, crop, 3]
  return obfuscation.hide(pixels, tf.gather(parsed["regions"], numbers), hidden, parsed, top, left) if hidden else pixels


def decode(jpegs: tf.Tensor, top: tf.Tensor, left: tf.Tensor, crop: int) -> tf.Tensor:
  """Decodes the window [top, top + crop) x [left, left + crop) of each JPEG, without resizing; string [T] -> uint8 [T, crop, crop, 3]."""
  window = tf.stack([top, left, crop, crop])

  def one(jpeg):
    return tf.io.decode_and_crop_jpeg(jpeg, window, channels=3, dct_method="INTEGER_ACCURATE")

  if jpegs.shape[0] is not None and jpegs.shape[0] <= UNROLLED:
    pixels = tf.stack([one(jpeg) for jpeg in tf.unstack(jpegs)])
  else:
    pixels = tf.map_fn(one, jpegs, fn_output_signature=tf.TensorSpec([crop, crop, 3], tf.uint8))
  return tf.ensure_shape(pixels, [jpegs.shape[0], crop, crop, 3])


def pixels01(pixels: tf.Tensor) -> tf.Tensor:
  """uint8 -> float32 in [0, 1]."""
  return tf.cast(pixels, tf.float32) / 255.0


def with_options(dataset: tf.data.Dataset) -> tf.data.Dataset:
  """Deterministic, and never split by files between workers: order and positions are this package's own."""
  options = tf.data.Options()
  options.deterministic = True
  options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
  return dataset.with_options(options)
