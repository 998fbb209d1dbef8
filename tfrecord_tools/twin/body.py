"""From poses to joints: in body heights, x towards the side that the person faces, y downwards, the origin on the ground under the hips."""

from typing import NamedTuple

import numpy as np

from tfrecord_tools.twin.actions import Pose

THIGH = SHIN = .225
TORSO = .27
UPPER_ARM = FOREARM = .165
NECK = .12       # from the neck's base to the centre of the head
HEAD = .10       # radius; large for a person, since at 32 pixels a face must keep some
SEAT = .05       # radius of what a sitting or lying person rests upon

_LIMBS = Pose._fields[2:]
_LENGTHS = np.array([{"arm": UPPER_ARM, "forearm": FOREARM, "thigh": THIGH, "shin": SHIN}[name.split("_")[1]] for name in _LIMBS])


class Build(NamedTuple):
  """What of a person's shape moves joints: half widths in body heights, and the stoop in radians."""
  shoulder: float
  hip: float
  stoop: float


class Joints(NamedTuple):
  """Each [T, 2]; `up` and `side` are the torso's unit vectors (side points to the front)."""
  hip: np.ndarray
  neck: np.ndarray
  head: np.ndarray
  up: np.ndarray
  side: np.ndarray
  rear_shoulder: np.ndarray
  rear_elbow: np.ndarray
  rear_hand: np.ndarray
  front_shoulder: np.ndarray
  front_elbow: np.ndarray
  front_hand: np.ndarray
  rear_hip: np.ndarray
  rear_knee: np.ndarray
  rear_foot: np.ndarray
  front_hip: np.ndarray
  front_knee: np.ndarray
  front_foot: np.ndarray


def joints(poses: np.ndarray, build: Build) -> Joints:
  """Joints of poses [T, 10]. Feet, or the seat of one who sits, touch the ground, unless the pose is lifted."""
  lean, lift, angles = poses[:, 0] + build.stoop, poses[:, 1], poses[:, 2:]
  side = np.stack([np.cos(lean), np.sin(lean)], axis=1)  # [T, 2]
  up = np.stack([side[:, 1], -side[:, 0]], axis=1)
  limbs = np.stack([np.sin(angles), np.cos(angles)], axis=2) * _LENGTHS[:, None]  # [T, 8, 2], order of _LIMBS
  rear_arm, rear_forearm, front_arm, front_forearm, rear_thigh, rear_shin, front_thigh, front_shin = limbs.swapaxes(0, 1)
  lowest = np.maximum(np.maximum((rear_thigh + rear_shin)[:, 1], (front_thigh + front_shin)[:, 1]), SEAT)
  hip = np.stack([np.zeros(len(poses)), -lowest - np.maximum(lift, 0)], axis=1)
  neck = hip + TORSO * up
  spread = np.array([.6 * build.hip, 0.0])
  rear_shoulder, front_shoulder = (neck - .03 * up + sign * build.shoulder * side for sign in (-1, 1))
  rear_elbow, front_elbow = rear_shoulder + rear_arm, front_shoulder + front_arm
  return Joints(
      hip=hip, neck=neck, head=neck + NECK * up + .12 * build.stoop * side, up=up, side=side,
      rear_shoulder=rear_shoulder, rear_elbow=rear_elbow, rear_hand=rear_elbow + rear_forearm,
      front_shoulder=front_shoulder, front_elbow=front_elbow, front_hand=front_elbow + front_forearm,
      rear_hip=hip - spread, rear_knee=hip - spread + rear_thigh, rear_foot=hip - spread + rear_thigh + rear_shin,
      front_hip=hip + spread, front_knee=hip + spread + front_thigh, front_foot=hip + spread + front_thigh + front_shin)
