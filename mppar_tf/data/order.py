"""In which order records are seen: a pure function of (seed, epoch), joined at any position without decoding anything.

A pass over the records permutes the shards, reads a few of them interleaved and draws through a shuffle buffer, all seeded by (seed, epoch,
pass). Whole passes before the start are not read at all; what is left to skip is read but not decoded.
"""

import itertools
from typing import Any, Callable, Iterator, NamedTuple

import numpy as np
import tensorflow as tf

from mppar_tf.data.records import Split, shard_records
from mppar_tf.data.schema import RecordsError

SHUFFLE_RECORDS = 4096
SHUFFLE_BYTES = 512 << 20  # a buffer of 4096 whole videos would not fit into memory, and a training has several streams
SHARDS_AT_ONCE = 4

Epochs = Callable[[int], tuple[np.ndarray, np.ndarray]]


class Drawn(NamedTuple):
  """A record at its place in the stream."""
  position: tf.Tensor  # int64 [], counts records from the stream's very start: the seed of its augmentation
  index: tf.Tensor  # int64 [], storage index
  serialized: tf.Tensor  # string []
  mask: tf.Tensor  # bool [P]: the attributes whose labels may be seen


class Share(NamedTuple):
  """Part `index` of `count` equal parts of every batch: what one of `count` processes reads of the global batches."""
  index: int = 0
  count: int = 1


class _Pass(NamedTuple):
  shards: np.ndarray  # int64 [S], their order
  seed: np.int64  # of the shuffle buffer
  members: np.ndarray  # bool [N]
  mask: np.ndarray  # bool [P]
  skip: np.int64
  take: np.int64


def shuffled(split: Split, *, seed: int, start: int = 0, attributes: int = 0, epochs: Epochs | None = None,
             epoch_records: int | None = None) -> tf.data.Dataset:
  """An infinite dataset of Drawn, from position `start` on.

  Args:
    split: its readable records are drawn.
    seed: not negative.
    attributes: P, the length of the masks.
    epochs: epoch -> (members bool [N] by storage index, mask bool [P]); None: everything.
    epoch_records: length of an epoch; needed with `epochs`. Where the members run out they are drawn again in another order. None: one
      pass.
  Raises:
    RecordsError (as soon as the epoch is reached): members or a mask of a wrong shape, or an epoch without members.
  """
  buffer = shuffle_buffer(split)

  def one_pass(shards, shuffle_seed, members, mask, skip, take):
    # Dataset.shuffle mixes TensorFlow's global seed into its own; in this function's graph that seed is a constant (0 would mean none).
    tf.compat.v1.get_default_graph().seed = 1
    stream = tf.data.Dataset.from_tensor_slices(shards).interleave(
        lambda shard: shard_records(split, shard), cycle_length=min(SHARDS_AT_ONCE, len(split.files)), block_length=1,
        num_parallel_calls=min(SHARDS_AT_ONCE, len(split.files)), deterministic=True)
    if epochs is not None:
      stream = stream.filter(lambda index, _: members[index])
    stream = stream.shuffle(buffer, seed=shuffle_seed, reshuffle_each_iteration=False).skip(skip).take(take)
    return stream.map(lambda index, serialized: (index, serialized, mask))

  passes = tf.data.Dataset.from_generator(
      lambda: _passes(split, seed, start, attributes, epochs, epoch_records),
      output_signature=(tf.TensorSpec([len(split.files)], tf.int64), tf.TensorSpec([], tf.int64), tf.TensorSpec([split.total], tf.bool),
                        tf.TensorSpec([attributes], tf.bool), tf.TensorSpec([], tf.int64), tf.TensorSpec([], tf.int64)))
  return passes.flat_map(one_pass).enumerate(start).map(lambda position, rest: Drawn(position, *rest))


def batches_of(stream: tf.data.Dataset, cut: Callable[[Drawn], Any], batch_size: int, share: Share) -> tf.data.Dataset:
  """Batches of what `cut` makes of each Drawn: of every `batch_size` records in a row those of the share, and no others are decoded.

  Raises:
    RecordsError: a batch that cannot be divided so.
  """
  own, rest = divmod(batch_size, share.count)
  if rest:
    raise RecordsError(f"batches of {batch_size} cannot be divided among {share.count}")
  if share.count > 1:
    stream = stream.filter(lambda drawn: drawn.position % batch_size // own == share.index)
  return stream.map(cut, num_parallel_calls=tf.data.AUTOTUNE).batch(own, drop_remainder=True)


def shuffle_buffer(split: Split) -> int:
  """Records in the shuffle buffer: SHUFFLE_RECORDS, at most the split, and no more than fit into SHUFFLE_BYTES."""
  mean_bytes = sum(shard.bytes for shard in split.manifest.splits[split.split]) / split.total
  return int(max(1, min(SHUFFLE_RECORDS, split.total, SHUFFLE_BYTES / mean_bytes)))


def _passes(split: Split, seed: int, start: int, attributes: int, epochs: Epochs | None, epoch_records: int | None) -> Iterator[_Pass]:
  present = split.present
  length = epoch_records or int(present.sum())
  epoch, offset = divmod(start, length)
  while True:
    members, mask = (present, np.ones(attributes, bool)) if epochs is None else _checked(split, epoch, attributes, *epochs(epoch))
    count = int(np.sum(members & present))
    if not count:
      raise RecordsError(f"{split.folder}: epoch {epoch} has no members in split {split.split!r}")
    first, skip = divmod(offset, count)
    left = length - offset
    for number in itertools.count(first):
      take = min(left, count - skip)
      random = np.random.default_rng((seed, epoch, number))
      yield _Pass(random.permutation(len(split.files)).astype(np.int64), random.integers(1, 2 ** 31 - 1), members, mask, skip, take)
      left, skip = left - take, 0
      if not left:
        break
    epoch, offset = epoch + 1, 0


def _checked(split: Split, epoch: int, attributes: int, members: Any, mask: Any) -> tuple[np.ndarray, np.ndarray]:
  members, mask = np.asarray(members, bool), np.asarray(mask, bool)
  for name, values, shape in (("members", members, (split.total,)), ("mask", mask, (attributes,))):
    if values.shape != shape:
      raise RecordsError(f"{split.folder}: {name} of epoch {epoch} have shape {values.shape}, {shape} is needed")
  return members, mask
