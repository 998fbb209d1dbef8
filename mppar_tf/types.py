"""The shape vocabulary: what flows between the rooms.

B batch, T frames, H height, W width, P privacy attributes. Pixels are float32 in [0, 1] ("pixels01").
"""

from typing import NamedTuple

import tensorflow as tf

NOT_ANNOTATED = -1  # a privacy label that says nothing (NA): masked out of every loss and metric


class Clips(NamedTuple):
  """Action clips."""
  frames: tf.Tensor  # [B, T, H, W, 3] float32 in [0, 1]
  action: tf.Tensor  # [B] int32, class index


class Private(NamedTuple):
  """Frames with privacy labels. A still image is a clip of one frame (T = 1)."""
  frames: tf.Tensor  # [B, T, H, W, 3] float32 in [0, 1]
  labels: tf.Tensor  # [B, P] int32: 1 present, 0 absent, -1 NA; identity: [B, 1], the class index


class Batch(NamedTuple):
  """What one loss of the anonymizer (Eq. 1) reads."""
  clips: Clips
  private: Private


class Episode(NamedTuple):
  """What one anonymizer update reads: a support set and a query set, each with its attacker (Eq. 4-8).

  Methods without virtual training read `support` alone.
  """
  support: Batch
  query: Batch
  support_attacker: tf.Tensor  # [] int32, index into the training attackers
  query_attacker: tf.Tensor  # [] int32
