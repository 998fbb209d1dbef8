"""Frames with privacy labels, from image sets (T = 1) and from video sets (a clip of T frames)."""

from typing import Sequence

import tensorflow as tf

from mppar_tf.data import frames as pictures
from mppar_tf.data import order, records
from mppar_tf.data.clips import ClipSpec
from mppar_tf.data.parsing import parse_image, parse_video
from mppar_tf.data.records import Split
from mppar_tf.data.schema import RecordsError
from mppar_tf.types import NOT_ANNOTATED, Private

IDENTITY = ("subject",)  # in place of attributes: the one label is the subject's index


def training_private(split: Split, spec: ClipSpec, attributes: Sequence[str], *, batch_size: int, seed: int, start_batch: int = 0,
                     frames: int = 1, epochs: order.Epochs | None = None, batches_per_epoch: int | None = None,
                     on_corrupt: str = "fail", share: order.Share = order.Share()) -> tf.data.Dataset:
  """An infinite dataset of Private: frames [B, T, crop, crop, 3] in [0, 1] with a random window and mirroring, labels int32 [B, P].

  From `start_batch` on it is bit for bit what an uninterrupted stream gives there.

  Args:
    spec: `skip`, `crop`, `flip` and `hidden` are used; its `frames` are not.
    attributes: P names (any stored value above 0 is 1), or IDENTITY: labels [B, 1] are indices into the manifest's subjects.
    frames: T; a clip of so many frames, `spec.skip` apart, from each video; 1 for images.
    epochs: epoch -> (members bool [N] by storage index, mask bool [P]): in this epoch only members are drawn, and labels of attributes
      whose mask is False become NA. A pure function; it may be called some batches ahead. None: everything.
    batches_per_epoch: needed with `epochs`; where the members run out within an epoch they are drawn again in another order. None: an
      epoch is one pass, and batches run across the border.
    share: batches are this part of those, [B / count, ...].
  Raises:
    RecordsError: an unknown attribute, no subjects, frames smaller than the crop, T above 1 for images, damage under `fail` that is
      known at the start. Damage met later is an InvalidArgumentError that names the shard.
  """
  if epochs is not None and not batches_per_epoch:
    raise RecordsError(f"{split.folder}: epochs with members of their own need batches_per_epoch, this is {batches_per_epoch}")
  split, attributes = _checked(split, spec, attributes, frames, on_corrupt)

  def cut(drawn: order.Drawn):
    parsed, draws = _parse(split, drawn.serialized, attributes, spec), pictures.draw(seed, drawn.position)
    total = tf.size(parsed["frames"])
    start = pictures.uniform_integer(draws.start, pictures.last_start(total, frames, spec.skip) + 1)
    numbers = pictures.clip_indices(start, total, frames, spec.skip)  # [T]
    labels = tf.where(drawn.mask, _labels(split, parsed, attributes), NOT_ANNOTATED)  # [P]
    return pictures.random_crop(parsed, numbers, spec.crop, draws, spec.flip, spec.hidden), labels

  stream = order.shuffled(split, seed=seed, start=start_batch * batch_size, attributes=len(attributes), epochs=epochs,
                          epoch_records=batches_per_epoch * batch_size if batches_per_epoch else None)
  stream = order.batches_of(stream, cut, batch_size, share).map(lambda pixels, labels: Private(pictures.pixels01(pixels), labels))
  return pictures.with_options(stream.prefetch(2))


def evaluation_private(split: Split, spec: ClipSpec, attributes: Sequence[str], *, batch_size: int, frames: int = 1,
                       on_corrupt: str = "fail") -> tf.data.Dataset:
  """A finite dataset of (Private, storage index int64 [B]): the middle clip, centre window, storage order, partial last batch.

  Args and errors as `training_private`; under skip_shard_remainder the records in `records.tolerant(split).lost` do not appear.
  """
  split, attributes = _checked(split, spec, attributes, frames, on_corrupt)

  def cut(index, serialized):
    parsed = _parse(split, serialized, attributes, spec)
    total = tf.size(parsed["frames"])
    start = pictures.even_starts(total, frames, spec.skip, 1)[0]
    numbers = pictures.clip_indices(start, total, frames, spec.skip)  # [T]
    return pictures.centre_crop(parsed, numbers, spec.crop, spec.hidden), _labels(split, parsed, attributes), index

  stream = records.read(split, on_corrupt).map(cut, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)
  return pictures.with_options(stream.map(lambda pixels, labels, index: (Private(pictures.pixels01(pixels), labels), index)).prefetch(2))


def evaluation_frames(split: Split, spec: ClipSpec, attributes: Sequence[str], *, batch_size: int, stride: int = 1,
                      on_corrupt: str = "fail") -> tf.data.Dataset:
  """Every `stride`-th frame of every video with its frame-wise labels, for figures that weight frames equally (PA-HMDB51).

  Returns:
    A finite dataset of (Private with T = 1, storage index of the video int64 [B], number of the frame int32 [B]), centre window.
  Raises:
    RecordsError: as `training_private`, or an image set. A video without frame-wise labels is an InvalidArgumentError.
  """
  if split.manifest.kind != "video":
    raise RecordsError(f"{split.folder}: frame-wise labels belong to videos, this is kind {split.manifest.kind!r}")
  split, attributes = _checked(split, spec, attributes, 1, on_corrupt)

  def cut(index, serialized):
    parsed = parse_video(serialized, attributes, frame_wise=True, regions=spec.regions)
    numbers = tf.range(0, tf.size(parsed["frames"]), stride)  # [F]
    pixels = pictures.centre_crop(parsed, numbers, spec.crop, spec.hidden)  # [F, crop, crop, 3]
    labels = tf.minimum(tf.gather(parsed["frame_labels"], numbers), 1)  # [F, P]
    return pixels[:, None], labels, tf.fill(tf.shape(numbers), index), numbers  # [F, 1, crop, crop, 3]

  stream = records.read(split, on_corrupt).map(cut, num_parallel_calls=2).unbatch().batch(batch_size)
  return pictures.with_options(stream.map(
      lambda pixels, labels, index, number: (Private(pictures.pixels01(pixels), labels), index, number)).prefetch(2))


def _checked(split: Split, spec: ClipSpec, attributes: Sequence[str], frames: int, on_corrupt: str) -> tuple[Split, tuple[str, ...]]:
  attributes = tuple(attributes)
  if attributes == IDENTITY:
    if not split.manifest.subjects:
      raise RecordsError(f"{split.folder}: names no subjects, so it has no identity labels")
  elif attributes:
    records.checked_attributes(split, attributes)
  else:
    raise RecordsError(f"{split.folder}: no attributes asked for; it has {', '.join(split.manifest.attributes) or 'none'}")
  if split.manifest.kind == "image" and frames != 1:
    raise RecordsError(f"{split.folder}: {frames} frames of a still image; image sets have one")
  pictures.check_crop(split, spec.crop)
  return records.settled(split, on_corrupt), attributes


def _parse(split: Split, serialized: tf.Tensor, attributes: tuple[str, ...], spec: ClipSpec) -> dict[str, tf.Tensor]:
  names = () if attributes == IDENTITY else attributes
  parse = parse_video if split.manifest.kind == "video" else parse_image
  return parse(serialized, names, regions=spec.regions)


def _labels(split: Split, parsed: dict[str, tf.Tensor], attributes: tuple[str, ...]) -> tf.Tensor:
  """int32 [P]: 1 present, 0 absent, -1 NA; for IDENTITY [1], the subject's index or -1."""
  if attributes != IDENTITY:
    return tf.minimum(parsed["labels"], 1)
  same = tf.cast(tf.equal(tf.constant(split.manifest.subjects), parsed["subject"]), tf.int32)  # [subjects]
  return tf.where(tf.reduce_max(same) > 0, tf.argmax(same, output_type=tf.int32), NOT_ANNOTATED)[None]  # [1]
