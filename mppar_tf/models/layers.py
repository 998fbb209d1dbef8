"""What Keras has wrongly for second order, or not at all; and the seeds that every architecture draws from.

Every layer here is exact at second order (the meta-gradient differentiates through f^D, f^A and f^P twice) and follows
`keras.config.floatx()`. Batch normalization is synchronized, so that its statistics are the same on every replica.
"""

import functools
import itertools
from typing import Any, Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops


def choose(table: Mapping[Any, Any], name: Any, what: str) -> Any:
  """`table[name]`. Raises ValueError that lists the choices."""
  if name not in table:
    raise ValueError(f"{what} is {name!r}; choices: {', '.join(map(str, table))}")
  return table[name]


def scaled(channels: int, width: float) -> int:
  """Channels after a width multiplier, at least one."""
  return max(1, round(channels * width))


def in_floatx(build: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
  """Makes a build function follow `keras.config.floatx()`.

  Keras reads floatx once, when the first layer of the process is built, and keeps it as the default policy: a later `set_floatx`
  changes nothing. A mixed policy whose variables have floatx is left as it is.
  """
  @functools.wraps(build)
  def build_in_floatx(*args, **kwargs):
    before = keras.config.dtype_policy()
    if before.variable_dtype == keras.config.floatx():
      return build(*args, **kwargs)
    keras.config.set_dtype_policy(keras.config.floatx())
    try:
      return build(*args, **kwargs)
    finally:
      keras.config.set_dtype_policy(before)
  return build_in_floatx


_scaled = functools.partial(keras.initializers.VarianceScaling, mode="fan_in", distribution="untruncated_normal")

INITIALIZERS = {
    "glorot": keras.initializers.GlorotUniform,
    "he": keras.initializers.HeNormal,
    # A kernel under a norm has no scale of its own; a short one only turns further in each step of Adam. On the 32-pixel twin, six
    # epochs from "he" leave MobileNetV2 1.4 at .63 cMAP (known attributes) and from "short" at .75; 400 steps leave C3D at .67 and .88.
    # A scale of 0.03 serves these two a little better still, but leaves R3D-18 at .27 where 0.1 leads it to .81.
    "short": functools.partial(_scaled, scale=0.1),
    # The same two rules with the nine inputs that a 3x3 depthwise output has; Keras counts those of all channels.
    "he_depthwise_3x3": functools.partial(keras.initializers.RandomNormal, stddev=(2 / 9) ** 0.5),
    "short_depthwise_3x3": functools.partial(keras.initializers.RandomNormal, stddev=(0.1 / 9) ** 0.5),
    "truncated_0.1": functools.partial(keras.initializers.TruncatedNormal, stddev=0.1),
}

InitializerSource = Callable[..., keras.initializers.Initializer]  # `init()` or `init(kind)`


def seed_stream(seed: int) -> Iterator[int]:
  """Endless seeds for the parts of one model, no two alike: two layers of one shape must not start equal.

  They step by an odd number modulo 2^31, which repeats none, from a start that is hashed from `seed`.
  """
  start = int(np.random.SeedSequence(seed).generate_state(1)[0])
  return ((start + 0x9E3779B1 * i) % 2**31 for i in itertools.count())


def initializers(seeds: Iterator[int], default: str) -> InitializerSource:
  """A source whose every call gives an initializer (of the kind `default`, or as asked) that takes the next seed."""
  return lambda kind=default: choose(INITIALIZERS, kind, "initializer")(seed=next(seeds))


def batch_norm(name: str, momentum: float = 0.9, epsilon: float = 1e-3) -> keras.layers.Layer:
  """Batch normalization over the global batch: with per-replica statistics the replicas' moving averages drift apart.

  `momentum` 0.9 and not Keras's 0.99: f^A and f^P follow a moving f^D in a few hundred updates, and f^D's updates read the moving
  statistics.
  """
  return keras.layers.BatchNormalization(momentum=momentum, epsilon=epsilon, synchronized=True, name=name)


@keras.saving.register_keras_serializable(package="mppar_tf")
class InstanceNorm(keras.layers.Layer):
  """Instance normalization with learned scale and shift: [B, ..., C] -> same, over all axes but the first and the last.

  The variance is the mean of squared deviations, written out: `tf.nn.moments` (and all that is built on it) stops the gradient of
  the mean, which leaves first derivatives right and makes second derivatives silently wrong. Under a mixed policy the statistics are
  taken in the variables' precision: a mean over ten thousand pixels has no digits left in bfloat16.

  `epsilon`: one, or one for each channel.
  """

  def __init__(self, epsilon: float | Sequence[float] = 1e-3, **kwargs):
    super().__init__(**kwargs)
    self.epsilon = epsilon

  def build(self, input_shape):
    self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")
    self.shift = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="shift")

  def call(self, x):
    axes = list(range(1, len(x.shape) - 1))
    x = ops.cast(x, self.variable_dtype)
    deviation = x - ops.mean(x, axis=axes, keepdims=True)
    variance = ops.mean(deviation * deviation, axis=axes, keepdims=True)
    normal = deviation * ops.rsqrt(variance + self.epsilon)
    return ops.cast(normal, self.compute_dtype) * self.scale + self.shift

  def get_config(self):
    return {**super().get_config(), "epsilon": self.epsilon}


def logits(outputs: int, initializer: keras.initializers.Initializer) -> keras.layers.Layer:
  """The last layer of a classifier. In the variables' precision also under a mixed policy, as Keras advises: losses are taken of it."""
  return keras.layers.Dense(outputs, kernel_initializer=initializer, dtype=keras.config.floatx(), name="logits")


def pixels(name: str) -> keras.layers.Layer:
  """Squashes the last map of an anonymizer to [0, 1], in the variables' precision too: bfloat16 knows 128 greys from half to white."""
  return keras.layers.Activation("sigmoid", dtype=keras.config.floatx(), name=name)


# A kernel under weight norm has a direction only, and a step of Adam turns it by the step over its elements' size. One size for all fan-ins
# turns all kernels at one pace; fan_in ** -0.5 would turn the widest five times faster.
WEIGHT_NORM_ELEMENT = 0.3

NORMS = {"batch": batch_norm, "instance": lambda name: InstanceNorm(name=name)}


def norm(kind: str, name: str) -> keras.layers.Layer:
  return choose(NORMS, kind, "norm")(name)


@keras.saving.register_keras_serializable(package="mppar_tf")
class WeightNormConv(keras.layers.Layer):
  """Convolution with a bias whose kernels have a learned length each (Salimans and Kingma 2016): [B, H, W, C] -> [B, H/s, W/s, filters].

  Weights are normalized, not what they meet: after training the kernels are constants, which an export folds. `centred`, the same paper's
  companion, takes each channel's mean over the picture away before the bias: linear, so that 8-bit integers can do it, where instance
  norm's variance and root lose their digits. Lengths and means are plain sums, exact at second order, in the variables' precision under a
  mixed policy.

  Args:
    filters: output channels, or None for a depthwise convolution.
    kernel: its side in pixels.
    stride: of both axes.
    gain: the length that every output's kernel starts with.
    seed: of the kernels.
    centred: whether channels have no mean over a picture but their bias.
  """

  def __init__(self, filters: int | None, kernel: int, stride: int = 1, *, gain: float, seed: int, centred: bool = False, **kwargs):
    super().__init__(**kwargs)
    self.given = {"filters": filters, "kernel": kernel, "stride": stride, "gain": gain, "seed": seed, "centred": centred}

  def build(self, input_shape):
    filters, side, channels = self.given["filters"], self.given["kernel"], input_shape[-1]
    start = keras.initializers.RandomNormal(stddev=WEIGHT_NORM_ELEMENT, seed=self.given["seed"])
    self.kernel = self.add_weight(shape=(side, side, channels, filters or 1), initializer=start, autocast=False, name="kernel")
    lengths = keras.initializers.Constant(self.given["gain"])
    self.gain = self.add_weight(shape=(filters or channels,), initializer=lengths, autocast=False, name="gain")
    self.bias = self.add_weight(shape=(filters or channels,), initializer="zeros", name="bias")

  def call(self, x):
    kernel, depthwise = ops.convert_to_tensor(self.kernel), self.given["filters"] is None
    axes = (0, 1) if depthwise else (0, 1, 2)
    gain = ops.reshape(self.gain, (1, 1, -1, 1) if depthwise else (1, 1, 1, -1))
    kernel = kernel * (gain * ops.rsqrt(ops.sum(kernel * kernel, axis=axes, keepdims=True) + 1e-6))
    conv = ops.depthwise_conv if depthwise else ops.conv
    before = self.given["centred"] and self.given["kernel"] == 1  # the same function, and sums of centred inputs have the smaller range
    x = self._less_mean(x) if before else x
    x = conv(x, ops.cast(kernel, self.compute_dtype), strides=self.given["stride"], padding="same")  # [B, H/s, W/s, filters]
    return (self._less_mean(x) if self.given["centred"] and not before else x) + self.bias

  def _less_mean(self, x):
    mean = ops.mean(ops.cast(x, self.variable_dtype), axis=(1, 2), keepdims=True)  # [B, 1, 1, C]
    return x - ops.cast(mean, self.compute_dtype)

  def get_config(self):
    return {**super().get_config(), **self.given}


@keras.saving.register_keras_serializable(package="mppar_tf")
class DepthToSpace(keras.layers.Layer):
  """Every pixel's channels become `block` x `block` pixels: [B, H, W, block^2 C] -> [B, block H, block W, C]. Moves, hence exact."""

  def __init__(self, block: int, **kwargs):
    super().__init__(**kwargs)
    self.block = block

  def call(self, x):
    return tf.nn.depth_to_space(x, self.block)

  def compute_output_shape(self, input_shape):
    batch, height, width, channels = input_shape
    return (batch, height and self.block * height, width and self.block * width, channels // self.block ** 2)

  def get_config(self):
    return {**super().get_config(), "block": self.block}


@keras.saving.register_keras_serializable(package="mppar_tf")
class NearestUp(keras.layers.Layer):
  """Nearest-neighbour up-sampling by two: [B, H, W, C] -> [B, 2H, 2W, C].

  Two concatenations and two reshapes: linear, hence exact at every order (bilinear resizing is not), and never more than four
  axes, which mobile delegates want (Keras's own repeats through five).
  """

  def call(self, x):
    channels = x.shape[-1]
    height, width = ops.shape(x)[1], ops.shape(x)[2]
    x = ops.reshape(ops.concatenate([x, x], axis=-1), (-1, height, 2 * width, channels))  # [B, H, 2W, C]
    return ops.reshape(ops.concatenate([x, x], axis=2), (-1, 2 * height, 2 * width, channels))  # [B, 2H, 2W, C]

  def compute_output_shape(self, input_shape):
    batch, height, width, channels = input_shape
    return (batch, height and 2 * height, width and 2 * width, channels)


@keras.saving.register_keras_serializable(package="mppar_tf")
class Multiple(keras.layers.Layer):
  """The identity on images [B, H, W, C] whose H and W are multiples of `stride`; ValueError otherwise.

  Without it a wrong crop comes out of the network at another size, or fails far below where it was given.
  """

  def __init__(self, stride: int, **kwargs):
    super().__init__(**kwargs)
    self.stride = stride

  def call(self, x):
    self.check(*x.shape[1:3])
    return x

  def check(self, height: int | None, width: int | None) -> None:
    """Raises ValueError where a side is known and no multiple."""
    for side, pixels in (("height", height), ("width", width)):
      if pixels is not None and pixels % self.stride:
        raise ValueError(f"{side} is {pixels} pixels; this anonymizer needs a multiple of {self.stride}")

  def get_config(self):
    return {**super().get_config(), "stride": self.stride}


@keras.saving.register_keras_serializable(package="mppar_tf")
class Dropout(keras.layers.Layer):
  """Inverted dropout whose mask is a function of (seed, step, replica), the step being a weight of the layer.

  Keras's dropout gives every replica the same mask, and under `stateless_call` every step too. Here the step is saved with the
  model, so that a resumed run draws the masks that the unbroken run would have drawn. `stateless_call(..., training=True)` returns
  the step plus one among the non-trainable variables: a caller that drops them repeats the mask.
  """

  def __init__(self, rate: float, seed: int, **kwargs):
    super().__init__(**kwargs)
    if not 0.0 <= rate < 1.0:
      raise ValueError(f"dropout rate is {rate}; it must lie in [0, 1)")
    self.rate = rate
    self.seed = seed

  def build(self, input_shape):
    # No aggregation: every replica counts its own copy, in step with the others. An aggregated variable would need a merge call,
    # which TensorFlow refuses inside control flow. int64, since GPUs have no kernel that adds to an int32 variable.
    self.step = self.add_weight(shape=(), initializer="zeros", dtype="int64", trainable=False, autocast=False, name="step")

  def call(self, x, training=False):
    if not training or self.rate == 0.0:
      return x
    context = tf.distribute.get_replica_context()
    replica = context.replica_id_in_sync_group if context else 0
    step = ops.convert_to_tensor(self.step)
    seed = tf.random.experimental.stateless_fold_in(tf.stack([tf.cast(self.seed, tf.int64), tf.cast(replica, tf.int64)]), step)
    keep = tf.random.stateless_uniform(tf.shape(x), seed, dtype=x.dtype) >= self.rate
    self.step.assign(step + 1)
    return tf.where(keep, x / (1.0 - self.rate), tf.zeros_like(x))

  def get_config(self):
    return {**super().get_config(), "rate": self.rate, "seed": self.seed}
