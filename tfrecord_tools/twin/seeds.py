"""Random streams, each a pure function of what it decides, so that a sample needs no other sample."""

import numpy as np

KINDS = {"video": 0, "image": 1}
SPLITS = {"train": 0, "validation": 1, "test": 2}
# `scene` holds what neither the labels nor the size and number of frames may change, `texture` what is drawn per pixel and per frame.
_PURPOSES = {"actor": 0, "actor_labels": 1, "cast": 2, "actions": 3, "labels": 4, "scene": 5, "texture": 6}


def stream(seed: int, kind: str, split: str, purpose: str, index: int) -> np.random.Generator:
  """The generator of one decision about one item.

  Args:
    seed: the benchmark's seed, >= 0.
    kind: a key of KINDS.
    split: a key of SPLITS.
    purpose: what is decided.
    index: of the sample, the actor or the block that is decided upon.
  Raises:
    ValueError: naming the value and the choices.
  """
  if seed < 0:
    raise ValueError(f"seed {seed} is negative; a seed of the twin is 0 or more")
  for name, value, table in (("kind", kind, KINDS), ("split", split, SPLITS), ("purpose", purpose, _PURPOSES)):
    if value not in table:
      raise ValueError(f"{name} {value!r} is not one of {', '.join(table)}")
  return np.random.default_rng((seed, KINDS[kind], SPLITS[split], _PURPOSES[purpose], index))
