"""How people look: what an actor keeps in every sample, and what is worn in one.

Random numbers are drawn before, whatever the labels say, and then used or not: an attribute changes its own cue alone.
"""

import colorsys
from typing import Mapping, NamedTuple

import numpy as np

from tfrecord_tools.twin.body import Build

Colour = tuple[int, int, int]  # red, green, blue in 0..255

ACTOR_NUMBERS, OUTFIT_NUMBERS = 10, 8  # random numbers that an actor and an outfit take
GREY_HAIR = (176, 178, 182)


def colour(hue: float, saturation: float, value: float) -> Colour:
  """RGB in 0..255 from hue (turns, any real number), saturation and value in [0, 1]."""
  red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
  return round(255 * red), round(255 * green), round(255 * blue)


class Actor(NamedTuple):
  """What a person keeps: colours, shape (half widths and thicknesses in body heights) and marks."""
  skin: Colour
  hair: Colour
  long_hair: bool
  skirted: bool
  brows: bool
  tattooed: bool
  aged: bool
  build: Build
  belly: float
  thigh: float
  arm: float
  head: float     # the head's radius over the usual one


class Outfit(NamedTuple):
  """What a person wears and shows in one sample."""
  top: Colour
  bottom: Colour
  stripe: Colour
  bare: bool
  striped: bool
  face: str            # complete, partial or hidden
  cap: Colour | None


def actor(u: np.ndarray, labels: Mapping[str, int]) -> Actor:
  """The person with the given labels (those of labels.OF_THE_ACTOR are read), from ACTOR_NUMBERS uniform numbers in [0, 1)."""
  u = u.tolist()  # plain floats: a figure does a thousand small sums with them

  def between(i, low, high):
    return low + (high - low) * u[i]

  skin_value = between(0, .36, .50) if labels["color"] else between(0, .84, .97)
  olive = labels["race"]
  skin_hue = between(1, .112, .132) if olive else between(1, .0, .025)
  skin_saturation = between(2, .50, .60) if olive else between(2, .42, .50)
  if labels["hair_color"]:
    hair = colour(between(3, .05, .135), between(4, .75, .92), between(5, .80, .95))
  else:
    hair = colour(between(3, .0, .09), between(4, .2, .5), between(5, .08, .20))
  if labels["age"]:
    hair = tuple(round(.4 * own + .6 * grey) for own, grey in zip(hair, GREY_HAIR))
  heavy, female = labels["weight"], labels["gender"]
  width = between(6, .145, .170) if heavy else between(6, .072, .088)
  limb = between(7, .092, .108) if heavy else between(7, .050, .060)
  return Actor(
      skin=colour(skin_hue, skin_saturation, skin_value), hair=hair, long_hair=bool(female), skirted=bool(female),
      brows=bool(labels["race"]), tattooed=bool(labels["tattoo"]), aged=bool(labels["age"]),
      build=Build(shoulder=width * (.88 if female else 1.12), hip=width * .95, stoop=between(8, .26, .36) * labels["age"]),
      belly=1.12 * width if heavy else 0.0, thigh=1.1 * limb, arm=.9 * limb, head=between(9, .95, 1.05))


def outfit(u: np.ndarray, labels: Mapping[str, int]) -> Outfit:
  """Clothes and face of a person in one sample with these labels, from OUTFIT_NUMBERS uniform numbers in [0, 1)."""
  u = u.tolist()
  face = "complete" if labels["complete_face"] else "partial" if labels["partial_face"] else "hidden"
  return Outfit(
      top=colour(u[0], .45 + .45 * u[1], .35 + .55 * u[2]), bottom=colour(u[3], .2 + .5 * u[4], .2 + .45 * u[5]),
      stripe=colour(u[6], .12 * u[7], .97), bare=bool(labels["semi_nudity"]), striped=bool(labels["sports"]), face=face, cap=None)


def uniform(worn: Colour) -> Outfit:
  """What each member of a group wears: one colour from cap to shoes, seen from behind, so that it tells nothing else."""
  return Outfit(top=worn, bottom=worn, stripe=worn, bare=False, striped=False, face="hidden", cap=worn)
