"""What a reader hands to the assembler: the dataset's description, its items in order, and the function that makes one of them.

Nothing here imports TensorFlow, because spawned workers import this room: they decode and compress, the parent alone writes records.
"""

import dataclasses
from typing import Any, Callable, Mapping, NamedTuple, Sequence

SPLITS = ("train", "validation", "test")


class PlanError(ValueError):
  """A dataset that cannot be built at all, told in one line that names the file or the value."""


class Item(NamedTuple):
  """One record to be: `work` is what `Plan.make` needs in a worker process, so it is small and can be pickled."""
  id: str
  work: Any


class Problem(NamedTuple):
  """Something of the source that cannot become a record."""
  where: str  # file, or table and line
  reason: str

  def __str__(self) -> str:
    return f"{self.where}: {self.reason}"


@dataclasses.dataclass(frozen=True)
class Plan:
  """One dataset folder to build.

  `make(work)` returns the fields of `schema.Video` or `schema.Image` as a dict, frames or pixels as JPEG bytes, or raises Undecodable with
  the reason why this item is left out; it is a function of a module, for it runs in a spawned process.
  """
  dataset: str
  kind: str  # video, image
  items: Mapping[str, Sequence[Item]]  # by split, in storage order
  make: Callable[[Any], Mapping[str, Any]]
  classes: tuple[str, ...]
  attributes: tuple[str, ...]
  subjects: tuple[str, ...]
  closed_set_identity: bool
  licence: str
  source_sha256: str
  settings: Mapping[str, Any]
  shard_records: int
  problems: tuple[Problem, ...] = ()  # found while planning
  absent: tuple[Problem, ...] = ()  # what the dataset's own table calls missing: told with the others, but no error

  def __post_init__(self):
    unknown = set(self.items) - set(SPLITS)
    if unknown:
      raise PlanError(f"{self.dataset}: split {sorted(unknown)[0]!r} is not one of {', '.join(SPLITS)}")
    if not any(self.items.values()):
      reasons = "; ".join(str(problem) for problem in self.problems[:3])
      raise PlanError(f"{self.dataset}: nothing to build{' (' + reasons + ')' if reasons else ''}")
