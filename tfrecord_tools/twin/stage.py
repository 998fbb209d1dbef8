"""Where a sample takes place: wall, floor, clutter, and the landmark on the skyline."""

from typing import NamedTuple

import cv2
import numpy as np

from tfrecord_tools.twin.appearance import colour

_CLUTTER = 4  # boxes on the wall and the floor: not every structure is a landmark
_GROOVE = (70, 58, 44, 0)


class Layout(NamedTuple):
  """Random numbers in [0, 1) that lay out a stage, and the side of the landmark, -1 left or 1 right."""
  surfaces: np.ndarray   # [7]
  clutter: np.ndarray    # [_CLUTTER, 7]
  blotches: np.ndarray   # [5, 5, 3], standard normal instead
  landmark: np.ndarray   # [6]
  landmark_side: int


def layout(rng: np.random.Generator) -> Layout:
  return Layout(surfaces=rng.random(7), clutter=rng.random((_CLUTTER, 7)), blotches=rng.standard_normal((5, 5, 3), dtype=np.float32),
                landmark=rng.random(6), landmark_side=-1 if rng.random() < .5 else 1)


def backdrop(plan: Layout, texture: np.random.Generator, edge: int, margin: int, landmark: bool) -> np.ndarray:
  """The picture behind all people.

  Args:
    plan: the layout.
    texture: stream of the grain.
    edge: width and height of a frame in pixels.
    margin: pixels around it, for a camera that shakes.
    landmark: whether a tower or a dome stands there.
  Returns:
    uint8 [edge + 2 margin, edge + 2 margin, 4], the fourth channel 0: nobody.
  """
  whole = edge + 2 * margin
  u = plan.surfaces
  wall, floor = colour(u[0], .05 + .28 * u[1], .40 + .45 * u[2]), colour(u[3], .1 + .3 * u[4], .30 + .40 * u[5])
  horizon = margin + round(edge * (.64 + .14 * u[6]))
  relief = cv2.resize(13 * plan.blotches, (whole // 3, whole // 3), interpolation=cv2.INTER_CUBIC)
  relief += 6 * texture.standard_normal((whole // 3, whole // 3, 1), dtype=np.float32)
  picture = _surface(relief, wall, whole)
  picture[horizon:] = _surface(.5 * relief, floor, whole)[horizon:]
  for x, y, width, height, hue, saturation, value in plan.clutter:
    left, top = int(x * whole), int(y * whole)
    shade = colour(hue, .1 + .45 * saturation, .25 + .6 * value)
    picture[top:top + int((.08 + .16 * height) * edge), left:left + int((.08 + .16 * width) * edge)] = (*shade, 0)
  if landmark:
    _landmark(picture, plan, edge, margin, horizon)
  return picture


def _surface(relief, paint, whole):
  """A colour with some relief, uint8 [whole, whole, 4]."""
  coarse = np.zeros((*relief.shape[:2], 4), np.uint8)
  coarse[..., :3] = np.clip(relief + np.float32(paint), 0, 255)
  return cv2.resize(coarse, (whole, whole), interpolation=cv2.INTER_LINEAR)


def _landmark(picture, plan, edge, margin, foot):
  shape, place, height, hue, saturation, value = plan.landmark
  stone = (*colour(.07 + .08 * hue, .15 + .25 * saturation, .80 + .18 * value), 0)
  x = margin + edge * (.5 + plan.landmark_side * (.26 + .10 * place))
  draw = _tower if shape < .5 else _dome
  draw(picture, x, margin + edge * (.10 + .10 * height), foot, edge, stone)


def _tower(picture, x, top, foot, edge, stone):
  wide, narrow = .095 * edge, .025 * edge
  corners = [(x - wide, foot), (x - narrow, top), (x + narrow, top), (x + wide, foot)]
  cv2.fillConvexPoly(picture, np.int32(np.rint(corners)), stone, cv2.LINE_AA)
  for share in (.16, .35, .54, .73, .92):
    y, half = round(top + (foot - top) * share), narrow + (wide - narrow) * share
    cv2.line(picture, (round(x - half), y), (round(x + half), y), _GROOVE, max(1, edge // 40), cv2.LINE_AA)


def _dome(picture, x, top, foot, edge, stone):
  half = .135 * edge
  eaves = top + 1.15 * half
  cv2.line(picture, (round(x), round(top - .3 * half)), (round(x), round(top)), stone, max(1, edge // 32), cv2.LINE_AA)
  cv2.ellipse(picture, (round(x), round(eaves)), (round(half), round(1.15 * half)), 0, 180, 360, stone, -1, cv2.LINE_AA)
  cv2.rectangle(picture, (round(x - half), round(eaves)), (round(x + half), foot), stone, -1)
  for share in (-.72, -.24, .24, .72):
    column = round(x + share * half)
    cv2.line(picture, (column, round(eaves + .2 * half)), (column, foot), _GROOVE, max(1, edge // 36), cv2.LINE_AA)
