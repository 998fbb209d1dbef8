"""How far the meta-gradient in bfloat16 lies from that in float32, and what it saves: the same networks, weights and batches in both."""

import os
import pathlib
from typing import Any, Mapping

import numpy as np
import tensorflow as tf

from mppar_tf import bench_updates, bench_videos, experiment, metagrad, side_by_side
from mppar_tf.methods import steps
from mppar_tf.types import Batch, Clips, Private

PARTS = ("meta", "support", "query")  # Eq. 8's gradient, and those of its two losses


def prepare(*, precision: str, name: str, folder: str, clip: Any, model: Any, train: Any, classes: int, attributes: int, threads: int,
            deterministic: bool, seed: int) -> tuple[side_by_side.Turn, dict[str, Any]]:
  """A turn computes the exact meta-gradient at the networks' first weights; the first turn's is written to `folder`/`name`.npz.

  Pictures are those of the input benchmark: rounding matters where neighbouring pixels are alike, which they are not in noise.
  """
  strategy = experiment.configure(deterministic=deterministic, threads=threads, seed=seed, precision=precision)
  with strategy.scope():
    networks = bench_updates.networks_of(clip, model, classes, attributes, seed)
  attackers = list(networks.attackers.values())
  loss = steps.eq1_loss(networks.anonymizer, networks.recognizer, attackers, task=networks.task, gamma=train.gamma,
                        reduction=train.privacy_reduction)
  support, query = (_batch(np.random.default_rng(seed + side), clip, train, classes, attributes) for side in range(2))

  @tf.function
  def gradients(support_batch, query_batch):
    phi = [tf.convert_to_tensor(v.value) for v in networks.anonymizer.trainable_variables]
    meta = metagrad.meta_gradient(loss(support_batch, tf.constant(0)), loss(query_batch, tf.constant(len(attackers) - 1)), phi,
                                  alpha=train.alpha)
    return meta.gradients, meta.support_gradients, meta.query_gradients

  def turn(number: int) -> side_by_side.Figures:
    found = []
    figures = side_by_side.timed(lambda: found.extend([tensor.numpy() for tensor in part] for part in gradients(support, query)))
    if not number:
      np.savez(os.path.join(folder, f"{name}.npz"), **{part: np.concatenate([one.ravel() for one in tensors])
                                                     for part, tensors in zip(PARTS, found)})
    return figures

  return turn, {"precision": precision, "threads": threads}


def _batch(random: np.random.Generator, clip: Any, train: Any, classes: int, attributes: int) -> Batch:
  def film(frames):
    made = list(bench_videos.pictures(int(random.integers(2 ** 31)), frames, clip.crop, clip.crop))
    return np.stack(made).astype(np.float32) / np.float32(255)  # [T, H, W, 3]
  clips = Clips(np.stack([film(clip.clip_frames) for _ in range(train.action_batch)]),
                random.integers(0, classes, train.action_batch).astype(np.int32))
  private = Private(np.stack([film(1) for _ in range(train.privacy_batch)]),
                    random.integers(0, 2, (train.privacy_batch, attributes)).astype(np.int32))
  return tf.nest.map_structure(tf.constant, Batch(clips, private))


def distances(folder: str, reference: str, names: list[str]) -> dict[str, Mapping[str, Mapping[str, float]]]:
  """Name -> part -> relative_error (norm of the difference by the reference's norm) and cosine, against the reference's gradients."""
  with np.load(pathlib.Path(folder, f"{reference}.npz"), allow_pickle=False) as stored:
    wanted = {part: stored[part].astype(np.float64) for part in PARTS}
  found: dict[str, dict[str, dict[str, float]]] = {}
  for name in names:
    with np.load(pathlib.Path(folder, f"{name}.npz"), allow_pickle=False) as stored:
      ours = {part: stored[part].astype(np.float64) for part in PARTS}
    found[name] = {part: {
        "relative_error": float(np.linalg.norm(ours[part] - wanted[part]) / np.linalg.norm(wanted[part])),
        "cosine": float(ours[part] @ wanted[part] / np.linalg.norm(ours[part]) / np.linalg.norm(wanted[part]))} for part in PARTS}
  return found
