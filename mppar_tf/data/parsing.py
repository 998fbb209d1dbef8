"""One record in the training graph: bytes -> tensors, by the names that `mppar_tf.data.schema` gives its features."""

from typing import Sequence

import tensorflow as tf

from mppar_tf.data.schema import BOXES


def parse_context(serialized: tf.Tensor, kind: str, attributes: Sequence[str] = ()) -> dict[str, tf.Tensor]:
  """Everything but the frames, in the graph.

  Returns:
    id, subject, group: string []; action: int32 []; labels: int32 [P] as stored, -1 NA; height, width: int32 [];
    fps: float32 [] (videos only). A record that lacks one of `attributes` is an InvalidArgumentError.
  """
  spec = _context_spec(kind, attributes)
  if kind == "video":
    parsed, _ = tf.io.parse_single_sequence_example(serialized, context_features=spec)
  else:
    parsed = tf.io.parse_single_example(serialized, spec)
  return _renamed(parsed, attributes)


def parse_video(serialized: tf.Tensor, attributes: Sequence[str] = (), frame_wise: bool = False, regions: str = "") -> dict[str, tf.Tensor]:
  """What `parse_context` gives, and frames: string [T], JPEGs not decoded; with `frame_wise`, frame_labels: int32 [T, P].

  With `regions`, a name of BOXES or MASKS: regions, float32 [T, n, 4] boxes, all 0 where a frame has fewer than n, or string [T] PNGs. A
  record that lacks them is an InvalidArgumentError.
  """
  lists = {"frames": tf.io.FixedLenSequenceFeature([], tf.string)}
  if regions:
    lists[regions] = tf.io.VarLenFeature(tf.float32) if regions in BOXES else tf.io.FixedLenSequenceFeature([], tf.string)
  if frame_wise:
    lists |= {f"frame_label/{attribute}": tf.io.FixedLenSequenceFeature([], tf.int64) for attribute in attributes}
  context, sequences = tf.io.parse_single_sequence_example(
      serialized, context_features=_context_spec("video", attributes), sequence_features=lists)
  parsed = _renamed(context, attributes) | {"frames": sequences["frames"]}
  if frame_wise:
    columns = [sequences[f"frame_label/{attribute}"] for attribute in attributes]
    parsed["frame_labels"] = tf.cast(tf.stack(columns, axis=-1), tf.int32)  # [T, P]
  if regions:
    found = sequences[regions]
    if regions in BOXES:
      found = tf.sparse.to_dense(found)  # [T, 4 * n], or [0, 0] where the record has no such list
      # A record that does not tell where people are must not pass for one that shows nobody.
      told = tf.debugging.Assert(tf.shape(found)[0] == tf.size(parsed["frames"]), ["video", parsed["id"], f"has no {regions}"])
      with tf.control_dependencies([told] if told is not None else []):
        found = tf.reshape(found, [tf.shape(found)[0], tf.shape(found)[1] // 4, 4])  # [T, n, 4]
    parsed["regions"] = found
  return parsed


def parse_image(serialized: tf.Tensor, attributes: Sequence[str] = (), regions: str = "") -> dict[str, tf.Tensor]:
  """What `parse_context` gives, and frames: string [1], the JPEG not decoded (a still image is a clip of one frame).

  With `regions` as `parse_video`; but no boxes at all and boxes that are not told are the same here.
  """
  spec = _context_spec("image", attributes) | {"frames": tf.io.FixedLenFeature([1], tf.string)}
  if regions:
    spec[regions] = tf.io.VarLenFeature(tf.float32) if regions in BOXES else tf.io.FixedLenFeature([1], tf.string)
  parsed = tf.io.parse_single_example(serialized, spec)
  found = _renamed(parsed, attributes) | {"frames": parsed["frames"]}
  if regions:
    found["regions"] = tf.reshape(parsed[regions].values, [1, -1, 4]) if regions in BOXES else parsed[regions]  # [1, n, 4] or [1]
  return found


def _context_spec(kind: str, attributes: Sequence[str]) -> dict[str, tf.io.FixedLenFeature]:
  spec = {key: tf.io.FixedLenFeature([], tf.string) for key in ("id", "subject", "group")}
  spec |= {key: tf.io.FixedLenFeature([], tf.int64) for key in ("action", "height", "width")}
  spec |= {f"label/{attribute}": tf.io.FixedLenFeature([], tf.int64) for attribute in attributes}
  return spec | ({"fps": tf.io.FixedLenFeature([], tf.float32)} if kind == "video" else {})


def _renamed(parsed: dict[str, tf.Tensor], attributes: Sequence[str]) -> dict[str, tf.Tensor]:
  columns = [tf.cast(parsed[f"label/{attribute}"], tf.int32) for attribute in attributes]
  kept = {key: parsed[key] for key in ("id", "subject", "group", "fps") if key in parsed}
  kept |= {key: tf.cast(parsed[key], tf.int32) for key in ("action", "height", "width")}
  return kept | {"labels": tf.stack(columns) if columns else tf.zeros([0], tf.int32)}  # [P]
