"""What a table of a paper is made of: literal data, without any work."""

import dataclasses
from typing import Mapping

NO_FLAGS: Mapping[str, tuple[str, ...]] = {}


@dataclasses.dataclass(frozen=True)
class Row:
  """One row: a method with its flags."""
  label: str
  flags: tuple[str, ...] | None  # of mppar_tf.train, after the recipe's own; None: it cannot be played here, `lacking` says why
  paper: str | None = None  # the row's name in paper_figures.csv; None: the paper has no such row
  on: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=lambda: NO_FLAGS)  # benchmark -> more flags
  lacking: str = ""
  variant: str | None = None  # the TFLite file of the run's export that is judged in place of f^D; None: f^D itself


@dataclasses.dataclass(frozen=True)
class Table:
  """A table, or the data behind a figure, of a paper."""
  title: str
  source: str  # as in paper_figures.csv; "" for what is in no paper
  number: str | None  # the same; None: a figure, whose numbers are not at hand
  protocol: str
  benchmarks: tuple[str, ...]
  rows: tuple[Row, ...]
  on: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=lambda: NO_FLAGS)  # benchmark -> flags of all rows
  figures: tuple[str, ...] = ()  # columns, in place of action and leak
  judging: tuple[str, ...] = ()  # flags of mppar_tf.evaluate, after those of its flagfile
  reference: str | None = None  # row that the others are compared with; None: that of mppar_tf.comparison
  curves: tuple[str, ...] = ()  # losses of f^D's update that are drawn beside the table
  note: str = ""
