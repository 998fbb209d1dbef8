"""Poses cycle, bodies keep their lengths and stand on the ground, and each action moves in its own way."""

import itertools

import numpy as np
import pytest

from tfrecord_tools.twin import body
from tfrecord_tools.twin.actions import ACTIONS, poses

PHASES = np.linspace(0, 1, 24, endpoint=False)
BUILD = body.Build(shoulder=.1, hip=.1, stoop=0.0)


def _movement(action):
  """Joints over one cycle, [24, joints, 2]."""
  joints = body.joints(poses(action, PHASES), BUILD)
  return np.stack([getattr(joints, name) for name in joints._fields if name not in ("up", "side")], axis=1)


@pytest.mark.parametrize("action", ACTIONS)
def test_a_cycle_closes_and_is_continuous(action):
  np.testing.assert_allclose(poses(action, PHASES), poses(action, PHASES - 3), atol=1e-9)
  fine = poses(action, np.linspace(0, 1, 2001))
  assert np.abs(np.diff(fine, axis=0)).max() < .02


@pytest.mark.parametrize("action", ACTIONS)
def test_limbs_keep_their_lengths_and_something_stands_on_the_ground(action):
  joints = body.joints(poses(action, PHASES), BUILD)
  for start, end, length in (("rear_hip", "rear_knee", body.THIGH), ("front_knee", "front_foot", body.SHIN), ("hip", "neck", body.TORSO),
                             ("front_shoulder", "front_elbow", body.UPPER_ARM), ("rear_elbow", "rear_hand", body.FOREARM)):
    np.testing.assert_allclose(np.linalg.norm(getattr(joints, end) - getattr(joints, start), axis=1), length, rtol=1e-6)
  lowest = np.max([joints.rear_foot[:, 1], joints.front_foot[:, 1], joints.hip[:, 1] + body.SEAT], axis=0)  # [24], y downwards
  assert (lowest < 1e-9).all()
  lift = np.maximum(poses(action, PHASES)[:, 1], 0)
  np.testing.assert_allclose(lowest, -lift, atol=1e-9)


def test_every_action_moves_and_no_two_move_alike():
  travel = {action: _movement(action) for action in ACTIONS}
  # What a joint does apart from where it is: its way about its mean, as the size of its first two harmonics.
  harmonics = {action: np.abs(np.fft.rfft(way, axis=0)[1:3]).ravel() / len(PHASES) for action, way in travel.items()}
  for action, size in harmonics.items():
    assert size.max() > .04, action
  for one, other in itertools.combinations(ACTIONS, 2):
    assert np.linalg.norm(harmonics[one] - harmonics[other]) > .05, (one, other)
