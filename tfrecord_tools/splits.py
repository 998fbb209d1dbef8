"""Who is held out, and who must not be."""

from typing import Iterable, Mapping, Sequence

from tfrecord_tools.plan import PlanError, Problem
from tfrecord_tools.source import draw


def held_out(names: Iterable[str], share: float, seed: int) -> set[str]:
  """`share` of the distinct names, by a seeded draw that depends on no order: whole people, or whole recordings, for validation.

  At least one where `share` is above 0, and never all of them.
  """
  ordered = sorted(set(names), key=lambda name: (draw(seed, name), name))
  count = min(max(round(share * len(ordered)), 1), len(ordered) - 1) if share else 0
  return set(ordered[:count])


def check_closed_set(dataset: str, subjects: Mapping[str, Iterable[str]], problems: Sequence[Problem]) -> None:
  """Raises PlanError unless everybody in any split is in train: nobody can recognise a stranger, who would flatter the anonymizer.

  Args:
    subjects: of every record to be, by split.
    problems: what was left out, in case it was somebody's only training record.
  """
  trained = set(subjects.get("train", ()))
  for split, found in subjects.items():
    strangers = sorted(set(found) - trained)
    if strangers:
      why = f" ({len(problems)} left out, the first: {problems[0]})" if problems else ""
      raise PlanError(f"{dataset}: identity needs everybody in train, but {strangers[0]} is only in {split}{why}")
