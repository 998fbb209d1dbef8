"""Learning rates over a role's own steps. Everything that Keras has is Keras's; the two shapes below it has not."""

from typing import Sequence

import keras
import tensorflow as tf

SHAPES = ("constant", "linear_tail")


def one_cycle(peak: float, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
  """Warm-up from peak / 25 over the first 30 % of `steps`, then a cosine down to peak / 1000."""
  warmup = max(1, int(0.3 * steps))
  return keras.optimizers.schedules.CosineDecay(
      initial_learning_rate=peak / 25, warmup_target=peak, warmup_steps=warmup, decay_steps=max(1, steps - warmup), alpha=1e-3)


def shaped(peak: float, steps: int, shape: str) -> keras.optimizers.schedules.LearningRateSchedule:
  """`constant`, or `linear_tail`: constant for half of `steps`, then linearly down to 5 %."""
  if shape not in SHAPES:
    raise ValueError(f"learning rate shape {shape!r} is not one of {', '.join(SHAPES)}")
  return LinearTail(peak, steps if shape == "linear_tail" else 0)


class LinearTail(keras.optimizers.schedules.LearningRateSchedule):
  """`peak`, and from half of `steps` on linearly down to 5 % of it; `steps` = 0 keeps it constant."""

  def __init__(self, peak: float, steps: int):
    self.peak, self.steps = peak, steps

  def __call__(self, step):
    if not self.steps:
      return tf.constant(self.peak, tf.float32)
    done = tf.cast(step, tf.float32) / self.steps
    return self.peak * tf.clip_by_value(2.0 * (1.0 - done), 0.05, 1.0)

  def get_config(self):
    return {"peak": self.peak, "steps": self.steps}


class Consecutive(keras.optimizers.schedules.LearningRateSchedule):
  """One schedule for its number of steps, then another, whose steps count from there: a network is first initialised, then a competitor."""

  def __init__(self, first: keras.optimizers.schedules.LearningRateSchedule, steps: int,
               then: keras.optimizers.schedules.LearningRateSchedule):
    self.first, self.steps, self.then = first, steps, then

  def __call__(self, step):
    step = tf.cast(step, tf.float32)
    first, then = self.first(step), self.then(tf.maximum(step - self.steps, 0.0))
    return tf.where(step < self.steps, tf.cast(first, tf.float32), tf.cast(then, tf.float32))

  def get_config(self):
    return {"first": self.first, "steps": self.steps, "then": self.then}


def values(optimizers: dict[str, keras.optimizers.Optimizer]) -> dict[str, float]:
  """The present learning rate of each optimizer, for the log."""
  return {name: float(keras.ops.convert_to_numpy(o.learning_rate)) for name, o in optimizers.items()}


def adam(schedule, variables: Sequence) -> keras.optimizers.Adam:
  """A built Adam: its slots exist before the first step, so that a checkpoint can be restored into it."""
  optimizer = keras.optimizers.Adam(schedule)
  optimizer.build(list(variables))
  return optimizer
