"""The ten actions, told apart by motion: each is a cycle of key poses.

Angles are in radians on the picture plane: 0 hangs straight down, positive turns towards the side that the person faces ("front"), pi
points up. They are absolute, not relative to the parent limb. Most key poses resemble one of another action; the way between them does not.
"""

from typing import NamedTuple

import numpy as np


class Pose(NamedTuple):
  """Angles of one moment; `lean` of the torso is 0 upright and positive towards the front; `lift` off the ground is in body heights."""
  lean: float = 0.0
  lift: float = 0.0
  rear_arm: float = -.25
  rear_forearm: float = -.10
  front_arm: float = .25
  front_forearm: float = .10
  rear_thigh: float = -.13
  rear_shin: float = -.05
  front_thigh: float = .13
  front_shin: float = .05


STANDING = Pose()

ACTIONS = {
    "wave": (
        Pose(front_arm=1.9, front_forearm=2.2),
        Pose(front_arm=2.0, front_forearm=3.7)),
    "clap": (
        Pose(rear_arm=-1.2, rear_forearm=-2.0, front_arm=1.2, front_forearm=2.0),
        Pose(rear_arm=-.5, rear_forearm=-4.1, front_arm=.5, front_forearm=4.1)),
    "jump": (
        Pose(lean=.1, rear_arm=-.7, rear_forearm=-.6, front_arm=.1, front_forearm=.2,
             rear_thigh=-.8, rear_shin=.4, front_thigh=.8, front_shin=-.4),
        Pose(lift=.24, rear_arm=-1.2, rear_forearm=-1.3, front_arm=1.2, front_forearm=1.3,
             rear_thigh=-.1, rear_shin=-.4, front_thigh=.1, front_shin=.4)),
    "squat": (
        Pose(),
        Pose(lean=.15, rear_arm=-.9, rear_forearm=.2, front_arm=.9, front_forearm=-.2,
             rear_thigh=-1.35, rear_shin=.3, front_thigh=1.35, front_shin=-.3)),
    "walk": (
        Pose(lean=.06, rear_arm=.55, rear_forearm=.8, front_arm=-.55, front_forearm=-.3,
             rear_thigh=-.55, rear_shin=-.75, front_thigh=.55, front_shin=.4),
        Pose(lean=.06, rear_arm=0, rear_forearm=.3, front_arm=0, front_forearm=.3,
             rear_thigh=.35, rear_shin=-.7, front_thigh=0, front_shin=0),
        Pose(lean=.06, rear_arm=-.55, rear_forearm=-.3, front_arm=.55, front_forearm=.8,
             rear_thigh=.55, rear_shin=.4, front_thigh=-.55, front_shin=-.75),
        Pose(lean=.06, rear_arm=0, rear_forearm=.3, front_arm=0, front_forearm=.3,
             rear_thigh=0, rear_shin=0, front_thigh=.35, front_shin=-.7)),
    "kick": (
        Pose(lean=.1, rear_arm=-.4, rear_forearm=-.2, front_arm=.4, front_forearm=.7, front_thigh=-.35, front_shin=-1.0),
        Pose(lean=-.3, rear_arm=-.9, rear_forearm=-.7, front_arm=.2, front_forearm=.5, front_thigh=1.5, front_shin=1.55)),
    "punch": (
        Pose(lean=.1, rear_arm=.3, rear_forearm=2.6, front_arm=1.5, front_forearm=1.57,
             rear_thigh=-.35, rear_shin=-.3, front_thigh=.35, front_shin=.1),
        Pose(lean=.2, rear_arm=1.5, rear_forearm=1.57, front_arm=.4, front_forearm=2.7,
             rear_thigh=-.35, rear_shin=-.3, front_thigh=.35, front_shin=.1)),
    "bend": (
        Pose(),
        Pose(lean=1.4, rear_arm=.1, rear_forearm=.1, front_arm=.2, front_forearm=.2)),
    "jumping_jack": (
        Pose(rear_arm=-.2, rear_forearm=-.15, front_arm=.2, front_forearm=.15,
             rear_thigh=-.05, rear_shin=-.05, front_thigh=.05, front_shin=.05),
        Pose(lift=.04, rear_arm=-2.5, rear_forearm=-2.8, front_arm=2.5, front_forearm=2.8,
             rear_thigh=-.55, rear_shin=-.55, front_thigh=.55, front_shin=.55)),
    "sit_up": (
        Pose(lean=-1.45, rear_arm=-2.0, rear_forearm=-2.3, front_arm=-2.2, front_forearm=-2.5,
             rear_thigh=2.05, rear_shin=.65, front_thigh=2.2, front_shin=.8),
        Pose(lean=.05, rear_arm=-4.9, rear_forearm=-4.8, front_arm=-4.8, front_forearm=-4.7,
             rear_thigh=2.05, rear_shin=.65, front_thigh=2.2, front_shin=.8)),
}
CYCLES_PER_SECOND = (1.2, 1.9)  # slow enough that 8 frames a second show each key pose, fast enough that a second shows a whole cycle

_KEYS = {name: np.array(keys) for name, keys in ACTIONS.items()}  # [keys, angles]


def poses(action: str, phase: np.ndarray, amplitude: float = 1.0) -> np.ndarray:
  """The poses of an action at some moments of its cycle.

  Args:
    action: a key of ACTIONS.
    phase: [T] in cycles, any real number.
    amplitude: scales the way that each joint takes about its mean.
  Returns:
    [T, 10], fields as in Pose.
  """
  keys = _KEYS[action]
  position = phase * len(keys)
  before = np.floor(position).astype(int)
  weight = (.5 - .5 * np.cos(np.pi * (position - before)))[:, None]
  now = (1 - weight) * keys[before % len(keys)] + weight * keys[(before + 1) % len(keys)]
  centre = keys.mean(axis=0)
  return centre + amplitude * (now - centre)  # [T, 10]
