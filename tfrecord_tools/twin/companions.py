"""Who and what else is there: a group, a partner, a ball. They stand still, so that motion is the main person's alone.

Companions show no attribute that the main person lacks: the partner shares the labels, the group is uniformed and seen from behind. So a
label holds for the picture as a whole, as in VISPR, and not for one person whom nobody points out.
"""

from typing import Mapping, NamedTuple

import numpy as np

from tfrecord_tools.twin import appearance, body, figure
from tfrecord_tools.twin.actions import STANDING, Pose
from tfrecord_tools.twin.labels import OF_THE_ACTOR

_EMBRACING = STANDING._replace(front_arm=1.45, front_forearm=1.75)
_GROUP_PLACES = np.array([.07, .25, .75, .93])  # of the frame's width
_BALL, _SEAM, _BALL_RADIUS = (240, 106, 20), (40, 24, 18), .085


class Placed(NamedTuple):
  """A still figure, ready to be painted: `scale` in pixels of a body height, `origin` [2] in pixels (x, y), `facing` 1 or -1."""
  shapes: list[figure.Shape]
  scale: float
  origin: np.ndarray
  facing: int


class Company(NamedTuple):
  """Random numbers in [0, 1) that settle who is there, how they look and where they stand."""
  actors: np.ndarray   # [4, ACTOR_NUMBERS]: the partner, then the group
  outfit: np.ndarray   # [OUTFIT_NUMBERS], the partner's
  partner: np.ndarray  # [2]
  group: np.ndarray    # [3]
  places: np.ndarray   # [4]
  ball: np.ndarray     # [2]


def company(rng: np.random.Generator) -> Company:
  return Company(*(rng.random(shape) for shape in ((4, appearance.ACTOR_NUMBERS), appearance.OUTFIT_NUMBERS, 2, 3, 4, 2)))


def companions(numbers: Company, labels: Mapping[str, int], edge: int, scale: float, centre: np.ndarray, facing: int) -> list[Placed]:
  """Everybody and everything beside the main person, the farthest first.

  Args:
    numbers: of this sample's company.
    labels: of the sample, all attributes.
    edge: width and height of a frame in pixels.
    scale: pixels of the main person's height.
    centre: [2] pixels (x, y) of the main person's place on the ground.
    facing: 1 where the main person faces larger x, else -1.
  """
  group = _group(numbers, labels, edge, scale) if labels["social_relationship"] else []
  partner = [_partner(numbers, labels, edge, scale, centre, facing)] if labels["personal_relationship"] else []
  return group + partner + ([_ball(numbers, edge, scale, centre)] if labels["sports"] else [])


def _still(pose: Pose, actor: appearance.Actor, outfit: appearance.Outfit) -> list[figure.Shape]:
  return figure.figure(body.joints(np.array([pose]), actor.build), actor, outfit)


def _group(numbers, labels, edge, scale):
  hue, count, depth = numbers.group
  cloth = appearance.uniform(appearance.colour(hue, .75, .80))
  seen = {**dict.fromkeys(OF_THE_ACTOR, 0), "color": labels["color"], "race": labels["race"]}
  places = _GROUP_PLACES[np.argsort(numbers.places)][:2 if count < .5 else 3]
  height, ground = min(.46 * scale, .36 * edge), edge * (.74 + .08 * depth)
  return [Placed(_still(STANDING, appearance.actor(own, seen), cloth), height, np.array([edge * place, ground]), 1)
          for own, place in zip(numbers.actors[1:], places)]


def _partner(numbers, labels, edge, scale, centre, facing):
  actor, outfit = appearance.actor(numbers.actors[0], labels), appearance.outfit(numbers.outfit, labels)
  gap, share = .30 + .06 * numbers.partner[0], .92 + .08 * numbers.partner[1]
  x = centre[0] - facing * scale * (gap + .6 * actor.build.shoulder)  # behind the back: most actions need the room in front
  y = max(centre[1], share * scale)  # the partner's head stays in the picture when the main person lies low
  return Placed(_still(_EMBRACING, actor, outfit), share * scale, np.array([min(max(x, .12 * edge), .88 * edge), y]), facing)


def _ball(numbers, edge, scale, centre):
  side, gap = -1 if numbers.ball[0] < .5 else 1, .34 + .08 * numbers.ball[1]
  spot, across, upwards = np.zeros((1, 2)), np.array([_BALL_RADIUS, 0]), np.array([0, _BALL_RADIUS])
  shapes = [figure.disc(spot, _BALL_RADIUS, _BALL, figure.NOBODY), figure.stroke(spot - across, spot + across, .022, _SEAM, figure.NOBODY),
            figure.stroke(spot - upwards, spot + upwards, .022, _SEAM, figure.NOBODY)]
  room = 1.1 * _BALL_RADIUS * scale
  x, y = min(max(centre[0] + side * gap * scale, room), edge - room), min(centre[1] - _BALL_RADIUS * scale, edge - room)
  return Placed(shapes, scale, np.array([x, y]), 1)
