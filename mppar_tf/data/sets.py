"""Support and query construction (MPPAR supplementary, section 4): which attributes, samples and attackers stand on which side.

Everything is a pure function of (labels, seed, epoch), so that a resumed run sees the sets of the uninterrupted one.
"""

from typing import NamedTuple

import numpy as np

KINDS = ("different", "random")


class DataSets(NamedTuple):
  """The two sides of one epoch. A sample stands on exactly one side."""
  members: tuple[np.ndarray, np.ndarray]  # two bool [N]
  masks: tuple[np.ndarray, np.ndarray]  # two bool [P]: attributes whose labels are kept on that side, the others become NA


def share(count: int, ratio: float) -> int:
  """Size of the first part of `count` things: nearest to count * ratio, at least one on each side (8 -> 5, 7 -> 4, 3 -> 2 at 0.6).

  Raises:
    ValueError: fewer than two things cannot be split.
  """
  if count < 2:
    raise ValueError(f"{count} cannot be split into a support and a query part; at least 2 are needed")
  return min(max(int(np.floor(count * ratio + 0.5)), 1), count - 1)


def _generator(seed: int, epoch: int, purpose: int) -> np.random.Generator:
  return np.random.default_rng([seed, epoch, purpose])


def _split_at_random(members: np.ndarray, ratio: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
  shuffled = rng.permutation(members)
  cut = int(np.floor(len(shuffled) * ratio + 0.5))
  return shuffled[:cut], shuffled[cut:]


def attribute_sets(labels: np.ndarray, *, ratio: float, seed: int, epoch: int, kind: str = "different") -> DataSets:
  """X_1 and X_2 of one epoch.

  "different": attributes are split into Attr_1 (`ratio`) and Attr_2. Samples whose positives lie only in Attr_1 go to X_1, only in Attr_2
  to X_2; mixed ones, and samples without any positive (needed as negatives), are dealt `ratio` to the first side at random. In X_1 the
  labels of Attr_2 become NA and the reverse.
  "random": samples are dealt at random, all labels are kept (the ablation of the supplementary's table 1).

  Args:
    labels: [N, P] int, 1 present, 0 absent, -1 NA.
    ratio: share of the first side.
    seed, epoch: what the sets are a function of.
    kind: one of KINDS.
  Raises:
    ValueError: unknown kind; fewer than two attributes; a side that nobody stands on.
  """
  if kind not in KINDS:
    raise ValueError(f"sets {kind!r} is not one of {', '.join(KINDS)}")
  samples, attributes = labels.shape
  rng = _generator(seed, epoch, 1)
  if kind == "random":
    first, _ = _split_at_random(np.arange(samples), ratio, rng)
    masks = (np.ones(attributes, bool), np.ones(attributes, bool))
  else:
    order = rng.permutation(attributes)
    masks = (np.isin(np.arange(attributes), order[:share(attributes, ratio)]), np.zeros(attributes, bool))
    masks = (masks[0], ~masks[0])
    positive = labels == 1
    in_first, in_second = positive[:, masks[0]].any(axis=1), positive[:, masks[1]].any(axis=1)
    mixed, _ = _split_at_random(np.flatnonzero(in_first & in_second), ratio, rng)
    blank, _ = _split_at_random(np.flatnonzero(~in_first & ~in_second), ratio, rng)
    first = np.concatenate([np.flatnonzero(in_first & ~in_second), mixed, blank])
  side = np.zeros(samples, bool)
  side[first] = True
  return _both_inhabited(DataSets((side, ~side), masks), epoch)


def identity_sets(subjects: np.ndarray, *, ratio: float, seed: int, epoch: int, kind: str = "different") -> DataSets:
  """X_1 and X_2 where the private label is who it is: the two sides share no subject ("different") or are dealt at random ("random").

  Args:
    subjects: [N] int; -1 nobody, of records that are lost: these stand on no side.
  """
  if kind not in KINDS:
    raise ValueError(f"sets {kind!r} is not one of {', '.join(KINDS)}")
  rng = _generator(seed, epoch, 1)
  named = subjects >= 0
  if kind == "random":
    first, _ = _split_at_random(np.flatnonzero(named), ratio, rng)
    side = np.isin(np.arange(len(subjects)), first)
  else:
    people = rng.permutation(np.unique(subjects[named]))
    side = np.isin(subjects, people[:share(len(people), ratio)])
  keep = np.ones(1, bool)
  return _both_inhabited(DataSets((side, named & ~side), (keep, keep)), epoch)


def _both_inhabited(sets: DataSets, epoch: int) -> DataSets:
  sizes = [int(m.sum()) for m in sets.members]
  if min(sizes) == 0:
    raise ValueError(f"epoch {epoch}: a side of the support/query split is empty (sizes {sizes[0]} and {sizes[1]}); "
                     "use more data or another --split_ratio")
  return sets


def attacker_sets(attackers: int, *, ratio: float, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
  """The training attackers split for model-wise updates: indices of the first part (`ratio`) and of the second."""
  order = _generator(seed, epoch, 2).permutation(attackers)
  cut = share(attackers, ratio)
  return np.sort(order[:cut]), np.sort(order[cut:])


def draw_attackers(update: int, epoch: int, *, attackers: int, different: bool, ratio: float, seed: int) -> tuple[int, int]:
  """The support's and the query's attacker of one anonymizer update.

  Args:
    update: index of the anonymizer update, from 0.
    epoch: index of the set construction that the update falls into.
    attackers: how many training attackers there are.
    different: one from each part of `attacker_sets` (model-wise), else one of all for both (attribute-wise).
  """
  rng = _generator(seed, update, 3)
  if not different:
    chosen = int(rng.integers(attackers))
    return chosen, chosen
  first, second = attacker_sets(attackers, ratio=ratio, seed=seed, epoch=epoch)
  return int(rng.choice(first)), int(rng.choice(second))
