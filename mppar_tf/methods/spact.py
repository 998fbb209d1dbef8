"""SPAct (Dave et al., CVPR 2022): f^D against a self-supervised privacy budget.

No privacy label is read, not even to choose a checkpoint.

A budget network f^B maps frames to embeddings and minimises NT-Xent (temperature 0.1): the two views of a sample shall be alike, those of
different samples not. What tells samples apart is what f^D is to remove: f^D minimises L_action - weight * NT-Xent. After stages 1 and 2
(f^D reproduces, f^D and f^A learn actions) f^B learns on f^D's output, then the three alternate: f^A and f^B one step each, f^D one step.
f^A has as many as every other method's has at least, where a recipe asks for more (`--min_recognizer_steps`).

Decided here: the paper takes two frames of one video, the released code two views of one image. Records with several frames give two
different frames drawn at random, still images the same one twice; each is then viewed through a random resized crop, a mirroring and a
jitter of brightness, contrast and saturation of its own, AFTER f^D, so that f^D answers for what it lets out of either. Draws are a
function of (seed, role, the role's step), of the whole batch on every replica: a resumed run, and any number of replicas, sees the same.
"""

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from mppar_tf import learning_rates, metagrad, objectives, replica
from mppar_tf.methods import game, steps
from mppar_tf.methods.contract import EpisodePlan, Method, MethodError, Networks
from mppar_tf.schedule import Schedule, Turns
from mppar_tf.types import Episode, Private

BUDGET = "budget"
TEMPERATURE = 0.1
SMALLEST_SIDE, JITTER = 0.5, 0.4  # of a crop, as a share of the frame; largest change of brightness, contrast and saturation
NUMBERS = 7  # that a view draws, and one more for its frame


def build(networks: Networks, settings: Any) -> Method:
  """The method, with `settings` an `mppar_tf.options.TrainOptions`; training attackers are not used.

  Raises:
    MethodError: a batch of one sample has no other to be told from; no budget network.
  """
  if min(settings.privacy_batch, settings.attacker_batch) < 2:
    raise MethodError(f"--method=spact compares samples with one another: --privacy_batch={settings.privacy_batch} and "
                      f"--attacker_batch={settings.attacker_batch} must both be 2 or more")
  if networks.contrastive is None:
    raise MethodError("--method=spact needs a contrastive network, and was handed none")
  f_d, f_b = networks.anonymizer, networks.contrastive()
  optimizer = learning_rates.adam(learning_rates.Consecutive(
      learning_rates.one_cycle(settings.attacker_init_lr, settings.attacker_init_steps), settings.attacker_init_steps,
      learning_rates.shaped(settings.budget_lr, 0, "constant")), f_b.trainable_variables)
  plan = lambda update: EpisodePlan("single", 0, "all", "same", 0, 0)
  method = game.assemble(dataclasses.replace(networks, attackers={}), settings, plan,
                         lambda f_d_optimizer: _anonymizer(f_d, networks.recognizer, f_b, f_d_optimizer, settings))
  update = {role: one for role, one in method.update.items() if role != "validation"}  # the game does not ask for it
  recognizer = ("recognizer",) * max(1, settings.min_recognizer_steps)
  turns = Turns((*recognizer, f"attacker/{BUDGET}", "anonymizer"), settings.gate_smoothing, settings.max_steps)
  return dataclasses.replace(
      method, models=method.models | {BUDGET: f_b}, optimizers=method.optimizers | {BUDGET: optimizer},
      update=update | {f"attacker/{BUDGET}": _budget(method.anonymize, f_b, optimizer, settings)},
      schedule=Schedule(game.stages(settings, (BUDGET,)), (BUDGET,), turns), private_labels=False)


def _anonymizer(f_d: keras.Model, f_a: keras.Model, f_b: keras.Model, optimizer: keras.optimizers.Optimizer, settings: Any):
  pieces = settings.accumulation

  def update(episode: Episode):
    clips, private = episode.support
    frames, numbers = drawn(private.frames, 2 * settings.seed, optimizer.iterations)
    clip_count = steps.global_batch(clips.action)
    frozen = [v.value for v in f_d.non_trainable_variables]

    def seen(phi, flat):
      return f_d.stateless_call(phi, frozen, flat, training=False)[0]

    def embedded(phi, piece):
      """[B / pieces, 2, D]"""
      some, draws = steps.part(frames, piece, pieces), steps.part(numbers, piece, pieces)
      anonymized = tf.reshape(seen(phi, tf.reshape(some, [-1, *some.shape[2:]])), tf.shape(some))  # [b, V, H, W, 3]
      return embeddings(f_b, tf.ensure_shape(anonymized, some.shape), draws, training=False)

    variables = f_d.trainable_variables
    phi = [tf.convert_to_tensor(v.value) for v in variables]
    # NT-Xent couples all samples of all pieces and replicas. Its gradient at the embeddings is found first, outside of f^D's tape; with
    # it as a constant the loss is a sum over samples, which pieces and replicas add up exactly.
    found = embedded(phi, 0) if pieces == 1 else tf.map_fn(
        lambda piece: embedded(phi, piece), tf.range(pieces), fn_output_signature=frames.dtype, parallel_iterations=1)
    found = tf.reshape(found, [frames.shape[0], 2, f_b.output_shape[-1]])
    contrast, accuracy, slope = contrasted(found)

    def loss(phi, piece=0):
      clip_part, actions = steps.part(clips.frames, piece, pieces), steps.part(clips.action, piece, pieces)
      anonymized = tf.reshape(seen(phi, tf.reshape(clip_part, [-1, *clip_part.shape[2:]])), tf.shape(clip_part))  # [b, T, H, W, 3]
      logits = f_a(tf.ensure_shape(anonymized, clip_part.shape), training=False)
      action_loss = tf.reduce_sum(objectives.action_terms(logits, actions)) / clip_count
      log = {"action_loss": action_loss, "action_accuracy": objectives.action_hits(logits, actions) / clip_count}
      return action_loss - settings.budget_weight * tf.reduce_sum(steps.part(slope, piece, pieces) * embedded(phi, piece)), log

    gradients, _, log = metagrad.gradient(loss, phi, pieces)
    log = replica.total(log)
    norm = replica.apply(optimizer, gradients, variables, clip_norm=settings.clip_norm)
    return {"loss": log["action_loss"] - settings.budget_weight * contrast, "gradient_norm": norm, **log,
            "contrastive_loss": contrast, "contrastive_accuracy": accuracy}
  return update


def _budget(transform, f_b: keras.Model, optimizer: keras.optimizers.Optimizer, settings: Any):
  """f^B minimises NT-Xent on anonymized frames; f^D is left alone."""
  def update(private: Private):
    frames, numbers = drawn(private.frames, 2 * settings.seed + 1, optimizer.iterations)
    anonymized, rate = tf.stop_gradient(transform(frames)), tf.convert_to_tensor(optimizer.learning_rate)  # [B, V, H, W, 3]
    variables = f_b.trainable_variables
    with tf.GradientTape() as budget_tape:
      found = embeddings(f_b, anonymized, numbers, training=True)  # [B, 2, D]
    contrast, accuracy, slope = contrasted(found)
    norm = replica.apply(optimizer, budget_tape.gradient(found, variables, output_gradients=slope), variables, clip_norm=settings.clip_norm)
    # The gate logs an attacker's accuracy under this name; that of f^B is the share of views that find their sample's other one.
    return {"contrastive_loss": contrast, "privacy_accuracy": accuracy, "gradient_norm": norm, "learning_rate": rate}
  return update


def drawn(frames: tf.Tensor, seed: int, step: Any) -> tuple[tf.Tensor, tf.Tensor]:
  """What this replica's samples show at a step of a role: [B, T, H, W, 3] -> frames [B, V, H, W, 3], V = min(T, 2), draws [B, 2, NUMBERS].

  Args:
    step: the role's count of steps, from a variable that is saved with the run.
  """
  own, total = frames.shape[:2]
  key = tf.stack([tf.constant(seed, tf.int64), tf.cast(tf.convert_to_tensor(step), tf.int64)])
  uniform = tf.random.stateless_uniform([replica.count() * own, 2, NUMBERS + 1], key, alg="philox")
  uniform = tf.ensure_shape(uniform[replica.number() * own:][:own], [own, 2, NUMBERS + 1])
  if total > 1:
    first = tf.cast(uniform[:, 0, NUMBERS] * total, tf.int32)
    second = first + 1 + tf.cast(uniform[:, 1, NUMBERS] * (total - 1), tf.int32)
    frames = tf.gather(frames, tf.stack([first, second], axis=1) % total, axis=1, batch_dims=1)  # [B, 2, H, W, 3]
  return frames, tf.cast(uniform[..., :NUMBERS], frames.dtype)


def embeddings(f_b: keras.Model, frames: tf.Tensor, numbers: tf.Tensor, training: bool) -> tf.Tensor:
  """Both views of every sample, through f^B. [B, V, H, W, 3], [B, 2, NUMBERS] -> [B, 2, D]"""
  both = tf.broadcast_to(frames, [frames.shape[0], 2, *frames.shape[2:]])
  seen = views(tf.reshape(both, [-1, *frames.shape[2:]]), tf.reshape(numbers, [-1, NUMBERS]))  # [2B, H, W, 3]
  return tf.reshape(f_b(seen, training=training), [-1, 2, f_b.output_shape[-1]])


def contrasted(found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """NT-Xent over the GLOBAL batch: a replica's embeddings [B, 2, D] -> the loss, its accuracy, and the loss's gradient [B, 2, D] there."""
  everybody, own = replica.gathered(tf.stop_gradient(found)), tf.shape(found)[0]  # [replicas * B, 2, D]
  with tf.GradientTape() as contrast_tape:
    contrast_tape.watch(everybody)
    terms, hits = objectives.nt_xent_terms(everybody[:, 0], everybody[:, 1], TEMPERATURE)
    loss = tf.reduce_mean(terms)
  slope = contrast_tape.gradient(loss, everybody)[replica.number() * own:][:own]
  return loss, tf.reduce_mean(hits), tf.ensure_shape(slope, found.shape)


def views(frames: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
  """A random view of each frame: resized crop, mirroring, jitter. [N, H, W, 3] in [0, 1], [N, NUMBERS] in [0, 1) -> [N, H, W, 3] in [0, 1].

  The crop is two small matrices, one for each axis: differentiable at every order and deterministic on every device.
  """
  zoom, top, left, mirror, *colours = tf.unstack(numbers, axis=1)  # [N] each
  side = SMALLEST_SIDE + (1 - SMALLEST_SIDE) * zoom
  rows, columns = _sampled(side, top, frames.shape[1]), _sampled(side, left, frames.shape[2])  # [N, H, H], [N, W, W]
  columns = tf.where(mirror[:, None, None] < 0.5, columns[:, ::-1], columns)
  x = tf.einsum("njw,niwc->nijc", columns, tf.einsum("nih,nhwc->niwc", rows, frames))
  brightness, contrast, saturation = (1 + JITTER * (2 * u[:, None, None, None] - 1) for u in colours)
  x = brightness * x
  mean = tf.reduce_mean(x, axis=[1, 2, 3], keepdims=True)
  x = mean + contrast * (x - mean)
  grey = tf.reduce_mean(x, axis=3, keepdims=True)
  return tf.clip_by_value(grey + saturation * (x - grey), 0.0, 1.0)


def _sampled(side: tf.Tensor, start: tf.Tensor, pixels: int) -> tf.Tensor:
  """Bilinear sampling of a window on one axis, as matrices whose rows sum to 1: [N], [N] -> [N, pixels, pixels].

  Args:
    side: the window's share of the axis.
    start: where it lies, from 0 (at the start) to 1 (at the end).
  """
  grid = tf.range(pixels, dtype=side.dtype)
  places = (start * (1 - side))[:, None] * pixels + (grid + 0.5) * side[:, None] - 0.5  # [N, pixels]
  places = tf.clip_by_value(places, 0.0, pixels - 1.0)
  return tf.nn.relu(1 - tf.abs(places[:, :, None] - grid))
