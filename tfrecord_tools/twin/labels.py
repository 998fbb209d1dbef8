"""What is private in the twin: 14 binary attributes, their prevalences and correlations, and the groupings of the two benchmarks.

An attribute hangs on at most one other, so that the asked correlation is met exactly in expectation. None hangs on the action.
"""

import math
from typing import Mapping, NamedTuple

import numpy as np


class Attribute(NamedTuple):
  """How often an attribute is present, and its correlation (phi coefficient) with the one that it hangs on."""
  prevalence: float
  parent: str | None = None
  correlation: float = 0.0


def _exclusion(first: float, second: float) -> float:
  """The correlation of two attributes that never occur together."""
  return -math.sqrt(first * second / ((1 - first) * (1 - second)))


ATTRIBUTES = {
    "color": Attribute(.50),
    "gender": Attribute(.50),
    "complete_face": Attribute(.45),
    "partial_face": Attribute(.35, "complete_face", _exclusion(.45, .35)),
    "semi_nudity": Attribute(.40, "tattoo", .2),
    "personal_relationship": Attribute(.40),
    "social_relationship": Attribute(.40),
    "race": Attribute(.45, "color", .3),
    "hair_color": Attribute(.45, "color", -.3),
    "age": Attribute(.40),
    "tattoo": Attribute(.40),
    "weight": Attribute(.45),
    "sports": Attribute(.40),
    "landmark": Attribute(.40),
}

# An actor keeps these in every sample; the others are drawn for each sample. Parents stand before their children.
OF_THE_ACTOR = ("color", "gender", "race", "hair_color", "age", "tattoo", "weight")
OF_THE_SAMPLE = ("complete_face", "partial_face", "semi_nudity", "personal_relationship", "social_relationship", "sports", "landmark")


class Grouping(NamedTuple):
  """A benchmark's attributes: each is present where any of the rendered attributes beside its name is."""
  known: Mapping[str, tuple[str, ...]]
  novel: Mapping[str, tuple[str, ...]]

  @property
  def attributes(self) -> tuple[str, ...]:
    return tuple(self.known) + tuple(self.novel)


def _as_rendered(*names: str) -> dict[str, tuple[str, ...]]:
  return {name: (name,) for name in names}


GROUPINGS = {
    "vispr": Grouping(
        known=_as_rendered("color", "gender", "complete_face", "partial_face", "semi_nudity", "personal_relationship",
                           "social_relationship"),
        novel=_as_rendered("race", "hair_color", "age", "tattoo", "weight", "sports", "landmark")),
    "hmdb51": Grouping(
        known={"skin_color": ("color",), "nudity": ("semi_nudity",), "relationship": ("personal_relationship", "social_relationship")},
        novel={"gender": ("gender",), "face": ("complete_face", "partial_face")}),
}


def grouping(name: str) -> Grouping:
  """The grouping `name`; raises ValueError that lists the choices."""
  if name not in GROUPINGS:
    raise ValueError(f"grouping {name!r} is not one of {', '.join(GROUPINGS)}")
  return GROUPINGS[name]


def regroup(labels: Mapping[str, int], into: Grouping) -> dict[str, int]:
  """The labels (0 or 1) of a grouping's attributes, known ones first, from those of all rendered attributes."""
  parts = {**into.known, **into.novel}
  return {name: max(labels[part] for part in parts[name]) for name in into.attributes}


def probability(name: str, labels: Mapping[str, int]) -> float:
  """P(attribute present | its parent's label) that gives both the prevalence and the correlation of the table.

  For binary a, b with prevalences p, q and correlation r: P(b | a) = q + r * sqrt(q (1 - q) / (p (1 - p))) * (a - p).
  """
  q, parent, correlation = ATTRIBUTES[name]
  if parent is None:
    return q
  p = ATTRIBUTES[parent].prevalence
  return min(1.0, max(0.0, q + correlation * math.sqrt(q * (1 - q) / (p * (1 - p))) * (labels[parent] - p)))


def actor_labels(rng: np.random.Generator) -> dict[str, int]:
  """Labels of an actor, 0 or 1 for each name of OF_THE_ACTOR."""
  return _draw(rng, OF_THE_ACTOR, {})


def sample_labels(rng: np.random.Generator, actor: Mapping[str, int]) -> dict[str, int]:
  """Labels of one sample of an actor, 0 or 1 for every attribute, in the order of ATTRIBUTES."""
  labels = _draw(rng, OF_THE_SAMPLE, actor)
  return {name: labels[name] for name in ATTRIBUTES}


def _draw(rng: np.random.Generator, names: tuple[str, ...], known: Mapping[str, int]) -> dict[str, int]:
  labels = dict(known)
  for name, uniform in zip(names, rng.random(len(names))):
    labels[name] = int(uniform < probability(name, labels))
  return labels
