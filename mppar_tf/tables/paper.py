"""The numbers that the papers print, from paper_figures.csv; none is invented, and a missing one says so."""

import csv
import functools
import pathlib
from typing import Mapping

from mppar_tf.tables.contract import Row, Table

FILE = pathlib.Path(__file__).with_name("paper_figures.csv")
COLUMNS = ("source", "table", "benchmark", "method", "metric", "value")
WORDS = {"action_top1": "action {}", "privacy_cmap": "cMAP {}", "identity_accuracy": "identity {}", "training_days": "{} days",
         "inference_ms": "{} ms"}  # percent, days, milliseconds; in this order
NOT_IN_PAPER, NOT_PRINTED, UNAVAILABLE = "not in the paper", "not printed", "unavailable"
Figures = Mapping[str, Mapping[str, Mapping[str, str]]]  # benchmark -> method, or METHOD/ATTACKER -> metric -> value as printed


@functools.cache
def figures(source: str, number: str | None) -> Figures:
  """All figures of one table; empty where the paper prints none."""
  found: dict[str, dict[str, dict[str, str]]] = {}
  with open(FILE, newline="", encoding="utf-8") as file:
    for line in csv.DictReader(file):
      if (line["source"], line["table"]) == (source, number):
        found.setdefault(line["benchmark"], {}).setdefault(line["method"], {})[line["metric"]] = line["value"]
  return found


def shown(table: Table, benchmark: str) -> list[str]:
  """Benchmarks of the paper that stand beside a table on `benchmark`: the same where the paper has it, else all."""
  there = list(figures(table.source, table.number))
  same = [name for name in there if name == benchmark]
  return same or there


def told(table: Table, row: Row, benchmark: str) -> str:
  """One row's figures on one of the paper's benchmarks, in words; of several attackers the largest is the leak."""
  if table.number is None:
    return UNAVAILABLE
  if row.paper is None:
    return NOT_IN_PAPER
  of_row = {name: metrics for name, metrics in figures(table.source, table.number)[benchmark].items() if name.split("/")[0] == row.paper}
  words = []
  for metric, text in WORDS.items():
    values = [metrics[metric] for metrics in of_row.values() if metric in metrics]
    if values:
      words.append(text.format(max(values, key=float)) + (f" (largest of {len(values)})" if len(values) > 1 else ""))
  return ", ".join(words) or NOT_PRINTED


def attackers(table: Table, benchmark: str) -> dict[str, dict[str, str]]:
  """Where the paper tells every attacker's own figure: our attacker's name -> row's name -> value; else empty."""
  found: dict[str, dict[str, str]] = {}
  for name, metrics in figures(table.source, table.number).get(benchmark, {}).items():
    method, _, attacker = name.partition("/")
    for metric in ("identity_accuracy", "privacy_cmap"):
      if attacker and metric in metrics:
        found.setdefault(ours(attacker), {})[method] = metrics[metric]
  return found


def ours(attacker: str) -> str:
  """mobilenet_v1_075 -> mobilenet_v1_0.75."""
  family, _, width = attacker.rpartition("_")
  return f"{family}_{int(width) / 100:.2f}".removesuffix("0") if family == "mobilenet_v1" else attacker
