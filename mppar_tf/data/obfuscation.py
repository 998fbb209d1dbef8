"""Obfuscation of people or faces where a record says that they are: in boxes or in masks, blurred or blackened.

The regions come with the records (the twin's renderer knows them, a detector finds them while records are built). What they miss stays
visible; `missed` counts it.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mppar_tf.data import records, schema
from mppar_tf.data.records import Split
from mppar_tf.data.schema import RecordsError
from mppar_tf.progress import progress_bar

REACH = 2.5  # of a blur's kernel, in standard deviations


@dataclasses.dataclass(frozen=True)
class Obfuscation:
  """What is hidden, and how."""
  region: str  # "box" or "segmentation"
  part: str  # "face" or "body"
  sigma: float  # of the Gaussian blur, as a share of the window's height; 0: black

  @property
  def feature(self) -> str:
    """The records' feature that tells where: a key of `schema.BOXES` or `schema.MASKS`."""
    return f"{self.part}_{'boxes' if self.region == 'box' else 'masks'}"


class Missed(NamedTuple):
  """How often there was nothing to hide, though there may have been somebody."""
  records: int
  frames: int
  frames_without: int  # no box, or an empty mask


def gaussian(sigma: float) -> np.ndarray:
  """A normalised Gaussian of `sigma` pixels, cut off at 2.5 of them: [2 * radius + 1]. Raises ValueError where sigma is not above 0."""
  if not sigma > 0:
    raise ValueError(f"a blur's sigma is above 0 pixels, this is {sigma}")
  radius = max(1, int(np.ceil(REACH * sigma)))
  weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
  return weights / weights.sum()


def hide(pixels: tf.Tensor, regions: tf.Tensor, chosen: Obfuscation, parsed: dict[str, tf.Tensor], top: tf.Tensor,
         left: tf.Tensor) -> tf.Tensor:
  """Hides the regions in a window of a record's frames.

  Args:
    pixels: uint8 [T, crop, crop, 3], the window whose upper left corner is (top, left) in the frames.
    regions: of each frame, as `parsing.parse_video` gives them: float [T, n, 4] boxes, or string [T] masks.
    parsed: the record's height and width.
  Returns:
    uint8 [T, crop, crop, 3]; a pixel that a region touches anywhere is hidden.
  """
  crop = pixels.shape[1]
  if chosen.region == "box":
    inside = _in_boxes(regions, crop, parsed, top, left)  # [T, crop, crop, 1]
  else:
    inside = _in_masks(regions, crop, top, left)  # [T, crop, crop, 1]
  return tf.where(inside, _blurred(pixels, chosen.sigma * crop) if chosen.sigma else tf.zeros_like(pixels), pixels)


def _in_boxes(boxes, crop, parsed, top, left):
  height, width = (tf.cast(parsed[name], tf.float32) for name in ("height", "width"))
  y0, x0, y1, x1 = (side[:, :, None] for side in tf.unstack(boxes, axis=-1))  # each [T, n, 1]
  rows, columns = (tf.cast(first + tf.range(crop), tf.float32) for first in (top, left))  # each [crop]: upper and left borders of pixels
  rows_inside = (rows + 1 > y0 * height) & (rows < y1 * height)  # [T, n, crop]
  columns_inside = (columns + 1 > x0 * width) & (columns < x1 * width)  # [T, n, crop]
  return tf.reduce_any(rows_inside[..., :, None] & columns_inside[..., None, :], axis=1)[..., None]  # [T, crop, crop, 1]


def _in_masks(masks, crop, top, left):
  def one(png):
    return tf.io.decode_png(png, channels=1)[top:top + crop, left:left + crop] > 0
  inside = tf.map_fn(one, masks, fn_output_signature=tf.TensorSpec([None, None, 1], tf.bool))
  return tf.ensure_shape(inside, [masks.shape[0], crop, crop, 1])


def _blurred(pixels, sigma):
  weights = gaussian(sigma)
  radius = len(weights) // 2
  x = tf.cast(pixels, tf.float32)
  for axis, shape in ((1, [-1, 1, 1, 1]), (2, [1, -1, 1, 1])):
    kernel = np.tile(weights.reshape(shape), [1, 1, 3, 1]).astype(np.float32)
    beyond = [[radius, radius] if number == axis else [0, 0] for number in range(4)]
    x = tf.nn.depthwise_conv2d(tf.pad(x, beyond, "SYMMETRIC"), kernel, [1, 1, 1, 1], "VALID")  # [T, crop, crop, 3]
  return tf.cast(tf.round(tf.clip_by_value(x, 0.0, 255.0)), tf.uint8)


def check(split: Split, chosen: Obfuscation, on_corrupt: str = "fail") -> None:
  """Raises RecordsError where the split's first record does not tell where people are."""
  for _, serialized in records.read(split, on_corrupt).take(1).as_numpy_iterator():
    _regions(serialized, split, chosen)


def missed(split: Split, chosen: Obfuscation, *, on_corrupt: str = "fail", progress: str = "") -> Missed:
  """Counts frames in which the records show nobody to hide.

  Raises:
    RecordsError: a record that does not tell.
  """
  counted = np.zeros(3, int)
  every = records.read(split, on_corrupt).as_numpy_iterator()
  for _, serialized in progress_bar(every, total=split.total, desc=progress, unit="record") if progress else every:
    found = _regions(serialized, split, chosen)
    counted += 1, len(found), sum(not np.any(region) for region in found)
  return Missed(*counted.tolist())


def _regions(serialized: bytes, split: Split, chosen: Obfuscation) -> list[np.ndarray]:
  """The regions of every frame of a record; raises RecordsError where they are not known."""
  found = schema.regions(serialized, split.manifest.header, chosen.feature)
  if found is None:
    raise RecordsError(f"{split.folder}: a record of split {split.split!r} does not tell where each {chosen.part} is ({chosen.feature}); "
                       "build the records anew with --detector")
  return found
