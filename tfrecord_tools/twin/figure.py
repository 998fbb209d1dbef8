"""A person as a list of shapes in body heights, back to front. Nothing is drawn here, so one list serves all frames of a clip."""

from typing import NamedTuple

import numpy as np

from tfrecord_tools.twin import body
from tfrecord_tools.twin.appearance import Actor, Colour, Outfit

INK = (22, 34, 120)         # tattoos
SHOE, PUPIL, BROW, BAND = (38, 34, 36), (12, 12, 20), (34, 20, 12), (14, 14, 24)
EYE, MOUTH, CROWN, WOOD = (246, 246, 246), (176, 26, 44), (236, 236, 232), (104, 62, 22)


NOBODY, BODY, FACE = 0, 128, 255  # whose pixel a shape makes; far enough apart that anti-aliased edges stay between them


class Shape(NamedTuple):
  """A stroke (two points), a disc (one) or a filled polygon (three or more).

  Each of `points` is [T, 2] in body heights; `width` is a stroke's thickness or a disc's radius in body heights; `owner` is NOBODY, BODY
  or FACE.
  """
  points: tuple[np.ndarray, ...]
  width: float
  colour: Colour
  owner: int = BODY


def stroke(start: np.ndarray, end: np.ndarray, width: float, colour: Colour, owner: int = BODY) -> Shape:
  return Shape((start, end), width, colour, owner)


def disc(centre: np.ndarray, radius: float, colour: Colour, owner: int = BODY) -> Shape:
  return Shape((centre,), radius, colour, owner)


def patch(*corners: np.ndarray, colour: Colour) -> Shape:
  return Shape(corners, 0.0, colour)


def figure(joints: body.Joints, actor: Actor, outfit: Outfit) -> list[Shape]:
  """All shapes of one person in T poses."""
  shapes = []
  if actor.aged and outfit.cap is None:
    shapes += _cane(joints)
  if actor.long_hair and outfit.cap is None:
    shapes.append(stroke(joints.head + .02 * joints.up, joints.neck - .09 * joints.up, .20, actor.hair))
  shapes += _legs(joints, actor, outfit)
  shapes += _torso(joints, actor, outfit)
  shapes += _arms(joints, actor, outfit)
  if actor.long_hair and outfit.cap is None:
    shapes += _locks(joints, actor)
  return shapes + _head(joints, actor, outfit)


def _locks(joints, actor):
  """Long hair falls over both shoulders."""
  return [stroke(joints.head + reach * joints.side, joints.neck + 1.1 * reach * joints.side - .07 * joints.up, .055, actor.hair)
          for reach in (-.075, .075)]


def _cane(joints):
  ground = np.zeros_like(joints.hip)
  top, tip = ground + (-.21, -.47), ground + (-.28, .0)
  return [stroke(top, tip, .030, WOOD), stroke(top, top + (.07, -.01), .030, WOOD)]


def _legs(joints, actor, outfit):
  shapes = []
  shin_colour = actor.skin if outfit.bare else outfit.bottom
  for hip, knee, foot in ((joints.rear_hip, joints.rear_knee, joints.rear_foot), (joints.front_hip, joints.front_knee, joints.front_foot)):
    shapes.append(stroke(hip, knee, actor.thigh, shin_colour))
    shapes.append(stroke(knee, foot, .85 * actor.thigh, shin_colour))
    shapes.append(stroke(foot, foot + (.03, 0.0), .05, SHOE))
    if outfit.bare:
      shapes.append(stroke(hip, .6 * hip + .4 * knee, actor.thigh, outfit.bottom))
  if actor.skirted and outfit.cap is None:
    shapes.append(_skirt(joints, actor, outfit))
  return shapes


def _skirt(joints, actor, outfit):
  hem = .35 * joints.hip + .325 * (joints.rear_knee + joints.front_knee)
  fall = hem - joints.hip
  across = np.stack([-fall[:, 1], fall[:, 0]], axis=1) / np.maximum(np.linalg.norm(fall, axis=1, keepdims=True), 1e-6)
  waist, flare = actor.build.hip, actor.build.hip + .07
  return patch(joints.hip - waist * across, joints.hip + waist * across, hem + flare * across, hem - flare * across, colour=outfit.bottom)


def _torso(joints, actor, outfit):
  hip, neck, up, side = joints.hip, joints.neck, joints.up, joints.side
  shoulder, waist = actor.build.shoulder, actor.build.hip
  cloth = actor.skin if outfit.bare else outfit.top
  shapes = [stroke(neck - .02 * up, joints.head, .07, actor.skin),
            patch(hip - waist * side, hip + waist * side, neck + shoulder * side, neck - shoulder * side, colour=cloth)]
  if actor.belly:
    shapes.append(disc(hip + .40 * body.TORSO * up + .02 * side, actor.belly, cloth))
  if outfit.bare:
    shapes.append(stroke(hip - .7 * waist * side, hip + .7 * waist * side, .06, outfit.bottom))
    if actor.skirted:
      shapes.append(stroke(hip + .19 * up - .75 * shoulder * side, hip + .19 * up + .75 * shoulder * side, .045, outfit.top))
  if outfit.striped:
    reach = .62 if outfit.bare else .95
    for height in (.06, .135, .21):
      shapes.append(stroke(hip + height * up - reach * waist * side, hip + height * up + reach * waist * side, .032, outfit.stripe))
  if actor.tattooed and outfit.bare:
    chest, x = hip + .15 * up, .6 * shoulder
    shapes += [stroke(chest - x * side - .05 * up, chest + x * side + .05 * up, .03, INK),
               stroke(chest - x * side + .05 * up, chest + x * side - .05 * up, .03, INK)]
  elif actor.tattooed:
    shapes.append(stroke(neck - .015 * up - .05 * side, neck - .015 * up + .05 * side, .035, INK))
  return shapes


def _arms(joints, actor, outfit):
  shapes = []
  for shoulder, elbow, hand in ((joints.rear_shoulder, joints.rear_elbow, joints.rear_hand),
                                (joints.front_shoulder, joints.front_elbow, joints.front_hand)):
    shapes += [stroke(shoulder, elbow, 1.1 * actor.arm, actor.skin), stroke(elbow, hand, actor.arm, actor.skin),
               disc(hand, .60 * actor.arm, actor.skin)]
    if not outfit.bare:
      shapes.append(stroke(shoulder, .55 * shoulder + .45 * elbow, 1.15 * actor.arm, outfit.top))
    if actor.tattooed:
      shapes += [_ring(shoulder, elbow, .72, actor.arm), _ring(elbow, hand, .18, actor.arm), _ring(elbow, hand, .62, actor.arm)]
  return shapes


def _ring(start, end, place, thickness):
  """A band of ink across a limb."""
  along = (end - start) / np.linalg.norm(end - start, axis=1, keepdims=True)
  across = .5 * thickness * np.stack([-along[:, 1], along[:, 0]], axis=1)
  centre = (1 - place) * start + place * end
  return stroke(centre - across, centre + across, .034, INK)


def _head(joints, actor, outfit):
  radius = body.HEAD * actor.head
  up, side, centre = radius * joints.up, radius * joints.side, joints.head
  shapes = [disc(centre, radius, outfit.cap or actor.hair)]
  if outfit.cap is not None:
    return shapes
  if actor.aged:
    shapes.append(disc(centre + .62 * up, .50 * radius, CROWN))
  if outfit.face == "complete":
    shapes += _complete_face(centre, up, side, radius, actor)
  elif outfit.face == "partial":
    shapes += _profile(centre, up, side, radius, actor)
  return shapes


def _complete_face(centre, up, side, radius, actor):
  shapes = [disc(centre - .14 * up, .82 * radius, actor.skin, FACE)]
  for eye in (centre - .36 * side, centre + .36 * side):
    shapes += [disc(eye, .25 * radius, EYE, FACE), disc(eye, .14 * radius, PUPIL, FACE)]
    if actor.brows:
      shapes.append(stroke(eye + .36 * up - .22 * side, eye + .36 * up + .22 * side, .17 * radius, BROW, FACE))
  return shapes + [stroke(centre - .56 * up - .28 * side, centre - .56 * up + .28 * side, .22 * radius, MOUTH, FACE)]


def _profile(centre, up, side, radius, actor):
  """Seen from the side, the eyes behind a dark band, a nose before the face."""
  shapes = [disc(centre - .12 * up + .34 * side, .74 * radius, actor.skin, FACE),
            disc(centre - .18 * up + 1.05 * side, .24 * radius, actor.skin, FACE),
            stroke(centre + .12 * up - .1 * side, centre + .12 * up + .98 * side, .40 * radius, BAND, FACE)]
  if actor.brows:
    shapes.append(stroke(centre + .50 * up + .25 * side, centre + .50 * up + .75 * side, .17 * radius, BROW, FACE))
  return shapes
