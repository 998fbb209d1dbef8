"""From record streams to what each role's update reads.

Every stream is a pure function of (seed, position), and positions are saved with the checkpoint.
"""

from typing import Any, Callable, Iterable, Iterator, Mapping

import tensorflow as tf

from mppar_tf.data import records
from mppar_tf.methods.contract import EpisodePlan
from mppar_tf.types import Batch, Episode


def elements(dataset: Iterable) -> Iterator:
  """What a dataset holds. Raises RecordsError of one line where TensorFlow raises while reading: a record damaged since the start, say."""
  iterator = iter(dataset)
  while True:
    try:
      element = next(iterator)
    except StopIteration:
      return
    except tf.errors.OpError as error:
      raise records.RecordsError(records.explain(error).partition(" Traceback ")[0]) from error
    yield element


class Stream:
  """Global batches, split over replicas, from any position on.

  Args:
    strategy: distributes each global batch.
    make: position -> an infinite `tf.data.Dataset` whose first element is the batch of that position, or where several processes train
      together this one's share of it.
  """

  def __init__(self, strategy: tf.distribute.Strategy, make: Callable[[int], tf.data.Dataset]):
    self._strategy, self._make, self._iterator = strategy, make, None
    self.position = 0

  def next(self) -> Any:
    """The next global batch, per replica. Raises RecordsError."""
    if self._iterator is None:
      options = tf.data.Options()
      options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
      options.deterministic = True
      options.autotune.enabled = False  # threads are fixed: a tuned parallelism would differ between a run and its resumption
      dataset = self._make(self.position).with_options(options)
      self._iterator = elements(self._strategy.distribute_datasets_from_function(lambda context: _by_replica(dataset, context)))
    batch = next(self._iterator)
    self.position += 1
    return batch

  def seek(self, position: int) -> None:
    """Makes `position` the next batch."""
    self.position, self._iterator = position, None


def _by_replica(dataset: tf.data.Dataset, context: tf.distribute.InputContext) -> tf.data.Dataset:
  """The batches of one process cut into one for each of its replicas, in order."""
  replicas = context.num_replicas_in_sync // context.num_input_pipelines
  if replicas > 1:
    dataset = dataset.rebatch(tf.nest.flatten(dataset.element_spec)[0].shape[0] // replicas)
  if context.num_input_pipelines > 1:
    # Of a dataset that could end, all workers would ask one another before every batch.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
  return dataset


class Feeder:
  """Knows which streams a role reads.

  Args:
    streams: "clips/ROLE" and "private/ROLE" for ROLE in reconstruction, recognizer, validation, attacker, and for anonymizer updates
      "clips/anonymizer", "private/all", "private/first", "private/second".
    plan: of an anonymizer update by its index.
  """

  def __init__(self, streams: Mapping[str, Stream], plan: Callable[[int], EpisodePlan] | None):
    self._streams, self._plan = streams, plan

  def batch(self, role: str, count: int) -> Any:
    """What the `count`-th step (from 0) of `role` reads: Clips, Private, Batch or Episode; a restart reads `count` alone."""
    streams = self._streams
    if role == "reconstruction":
      return Batch(streams["clips/reconstruction"].next(), streams["private/reconstruction"].next())
    if role in ("action", "recognizer", "joint"):
      return streams["clips/recognizer"].next()
    if role == "validation":
      return streams["clips/validation"].next()
    if role == "anonymizer":
      return self._episode(self._plan(count))
    if role == "restart":
      return tf.constant(count, tf.int32)
    return streams["private/attacker"].next()

  def _episode(self, plan: EpisodePlan) -> Episode:
    support = self._draw(plan.support)
    query = support if plan.query == "same" else self._draw(plan.query)
    return Episode(support, query, tf.constant(plan.support_attacker, tf.int32), tf.constant(plan.query_attacker, tf.int32))

  def _draw(self, source: str) -> Batch:
    return Batch(self._streams["clips/anonymizer"].next(), self._streams[f"private/{source}"].next())

  def positions(self) -> dict[str, int]:
    return {name: stream.position for name, stream in self._streams.items()}

  def seek(self, positions: Mapping[str, int]) -> None:
    for name, stream in self._streams.items():
      stream.seek(positions[name])
