"""The processes that train together, seen from one of them: one strategy over all, words between hosts, and how a lost one is told.

Every scalar that decides something (losses, accuracies of the gate, norms) is a sum over replicas and hence the same everywhere, so hosts
take the same turns without asking. What one host alone knows, a signal say, goes through `Team.gather`.
"""

import contextlib
import signal
from typing import Callable, Iterator, Sequence

import tensorflow as tf

from mppar_tf import workers

START_PATIENCE = 180  # seconds for TensorFlow's servers to connect once all workers have met
SIGNS = ("Collective ops is aborted", "CoordinationService", "heartbeat")  # in an error's text: another worker is gone


class Team:
  """This process among those that train together.

  Args:
    task: which it is.
    strategy: over all; None: it is alone.
  """

  def __init__(self, task: workers.Task = workers.ALONE, strategy: tf.distribute.Strategy | None = None):
    self.names, self.chief, self._index, self._strategy = task.names, task.chief, task.index, strategy
    self._exchange = self._traced() if len(task.names) > 1 else None

  def gather(self, value: int) -> list[int]:
    """Everybody's value (from 0 to 2^24), by place; all must call it at the same point of the run, and wait there for each other."""
    if not self._exchange:
      return [value]
    mine = tf.one_hot(self._index, len(self.names), on_value=float(value), off_value=0.0)
    return [round(v) for v in self._strategy.experimental_local_results(self._exchange(mine))[0].numpy().tolist()]

  def _traced(self) -> Callable[[tf.Tensor], tf.Tensor]:
    strategy = self._strategy

    def of_replica(mine):
      context = tf.distribute.get_replica_context()
      local = context.num_replicas_in_sync // len(self.names)
      # An argument handed on untouched has no device, and TensorFlow then finds no place for the sum.
      return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(mine)) / local
    return tf.function(lambda mine: strategy.run(of_replica, args=(mine,)))


def strategy(task: workers.Task, devices: Sequence[str]) -> tf.distribute.Strategy:
  """The strategy over this machine's `devices`, or over all machines that TF_CONFIG names, whose workers have met.

  Called before TensorFlow does any work.
  """
  if task is workers.ALONE:
    return tf.distribute.MirroredStrategy(devices)
  # TensorFlow waits in code of its own for an hour, holding Python still: nothing but the kernel can end it, should a worker die just now.
  before = signal.signal(signal.SIGALRM, signal.SIG_DFL)
  signal.alarm(START_PATIENCE)
  try:
    return tf.distribute.MultiWorkerMirroredStrategy()
  finally:
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    # TensorFlow has put a handler of its own in place of Python's, and SIGTERM would stop nothing any more.
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


@contextlib.contextmanager
def losses_told() -> Iterator[None]:
  """Turns what TensorFlow raises when another worker is gone into PeerLost. The service that coordinates workers misses one after 10 s."""
  try:
    yield
  except tf.errors.OpError as error:
    text = " ".join(error.message.split())
    if not any(sign in text for sign in SIGNS):
      raise
    raise workers.PeerLost(f"another worker is gone ({text[:200]})") from error
