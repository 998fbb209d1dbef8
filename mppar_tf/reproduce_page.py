"""What a comparison leaves behind: the table with the paper's numbers beside it, plots, and its place on the page of results."""

import os
import pathlib
from typing import Any, Mapping, Sequence

from mppar_tf import comparison, curves, tables, whole_files
from mppar_tf.flagfiles import OptionError
from mppar_tf.reproduce_plan import Cell, Plan, name_of, read
from mppar_tf.tables import paper
from mppar_tf.tables.contract import Table

END = "<!-- end -->"
Found = Mapping[str, Sequence[Mapping[str, Any]]]  # label of a row -> results of its finished cells


def found(plan: Plan) -> dict[str, list[dict[str, Any]]]:
  """Row by row, the results that there are, under the row's name. Raises OptionError: one cannot be used."""
  read_once = {cell.result: read(cell) for cell in plan.cells}
  # A row's name says already what file was judged.
  named = lambda label, results: {**results, "method": label, "judged_file": None, **times(results)}
  return {label: [named(label, results) for cell in cells if (results := read_once[cell.result])]
          for label, cells in plan.rows.items()}


def times(results: Mapping[str, Any]) -> dict[str, float]:
  """Figures of time, of those that a cell's results tell."""
  told: dict[str, float] = {}
  flags = {name_of(line): line.partition("=")[2] for line in results["flags"]}
  if "update_seconds" in results and "max_steps" in flags:
    told["game_minutes"] = results["update_seconds"] * int(flags["max_steps"]) / 60
  clips = results.get("judged_videos", 0) * results.get("budget", {}).get("clips_per_video", 0)
  if clips:
    told["clip_milliseconds"] = 1000 * results["wall_seconds"]["actions"] / clips
  return told


# ---- one of the papers' tables ----


def write_table(name: str, benchmark: str, command: str, plan: Plan, results: pathlib.Path, page: pathlib.Path) -> str:
  """Writes table, plots and the page's part; returns the table.

  Raises:
    OptionError: a result cannot be used, or the page's markers are broken.
  """
  table, rows = tables.TABLES[name], found(plan)
  folder, stem = results / "tables", f"{name}_{benchmark}"
  text = body(table, benchmark, command, plan, rows)
  pictures = [path for path, drawn in (
      (folder / f"{stem}_trade_off.png", trade_off(folder / f"{stem}_trade_off.png", table, rows)),
      (folder / f"{stem}_curves.png", bool(table.curves) and curves.draw(
          folder / f"{stem}_curves.png", rows, table.curves, f"{table.title}, {benchmark}"))) if drawn]

  def linked(where: pathlib.Path) -> str:
    links = [f"![{path.stem.replace('_', ' ')}]({os.path.relpath(path, where).replace(os.sep, '/')})" for path in pictures]
    return "\n\n".join([text, *links]) + "\n"
  whole_files.write_text(folder / f"{stem}.md", linked(folder))
  there = page.read_text(encoding="utf-8") if page.exists() else "# Results\n"
  whole_files.write_text(page, placed(there, name, benchmark, f"{heading(table, name)}, {benchmark}: {table.title}", linked(page.parent)))
  return text


def heading(table: Table, name: str) -> str:
  return f"{table.source}, {'table' if name[0].isdigit() else ''} {name}".replace("  ", " ") if table.source else name.capitalize()


def trade_off(path: pathlib.Path, table: Table, rows: Found) -> bool:
  """The plot of action against leak, where the table is of that; False where there is nothing to draw. Raises OptionError, see `draw`."""
  results = [result for found in rows.values() for result in found]
  if table.figures or not results:
    return False
  draw(path, results)
  return True


def draw(path: pathlib.Path, results: Sequence[Mapping[str, Any]]) -> None:
  """Raises OptionError where results cannot stand in one plot."""
  from mppar_tf.evaluation import report  # late, as it loads TensorFlow: its start-up notes are silenced by now
  try:
    report.trade_off(path, results)
  except report.ReportError as error:
    raise OptionError(str(error)) from error


def body(table: Table, benchmark: str, command: str, plan: Plan, rows: Found) -> str:
  """The table in Markdown: command, rows, what is unfinished, the paper's figures and where they are from."""
  results = [result for found in rows.values() for result in found]
  done = sum(cell.done for cell in plan.cells)
  promised = {label: len(cells) for label, cells in plan.rows.items()}
  beside = {f"paper, {name}": {row.label: paper.told(table, row, name) for row in table.rows} for name in paper.shown(table, benchmark)}
  if not beside and table.source:
    beside = {"paper": {row.label: paper.told(table, row, benchmark) for row in table.rows}}
  head = [f"    {command}", f"{done} of {len(plan.cells)} cells are finished{commits(results)}."]
  parts = [*head, comparison.table(results, list(plan.rows), columns=table.figures, seeds=promised, beside=beside,
                                   reference=table.reference or comparison.REFERENCE)]
  parts += by_attacker(table, benchmark, rows)
  parts += [f"{', '.join(row.label for row in table.rows if row.lacking == why)}: not played, {why}."
            for why in dict.fromkeys(row.lacking for row in table.rows if row.lacking)]
  parts += [text for text in (source(table, benchmark), table.note) if text]
  return "\n\n".join(parts)


def commits(results: Sequence[Mapping[str, Any]]) -> str:
  named = sorted({str(result["code_commit"])[:7] + ("-dirty" if str(result["code_commit"]).endswith("-dirty") else "")
                  for result in results if "code_commit" in result})
  return f" (code: {', '.join(named)})" if named else ""


def source(table: Table, benchmark: str) -> str:
  """Where the paper's columns come from, and that they are of other data where they are."""
  if not table.source:
    return ""
  if table.number is None:
    return f"{table.source} shows curves here; their numbers are not at hand."
  told = f"The paper's columns: {table.source}, table {table.number}, percent where no unit stands, as printed"
  other = "" if benchmark in paper.shown(table, benchmark) else "; on other records, with other networks and budgets than ours"
  return f"{told}{other}."


def by_attacker(table: Table, benchmark: str, rows: Found) -> list[str]:
  """Every attacker's own figure, ours beside the paper's, where the paper prints them."""
  parts = []
  for name in paper.shown(table, benchmark):
    printed = paper.attackers(table, name)
    if not printed:
      continue
    measure = "identity_accuracy" if table.protocol == "identity" else "cmap_known"
    lines = ["| attacker | " + " | ".join(row.label for row in table.rows) + " |", "|---" * (len(table.rows) + 1) + "|"]
    for attacker, of_paper in printed.items():
      cells = []
      for row in table.rows:
        ours = [r["privacy"]["attackers"][attacker][measure] for r in rows[row.label] if attacker in r["privacy"]["attackers"]]
        cells.append(f"{comparison.spread(ours)}; {of_paper.get(row.paper, paper.NOT_PRINTED)}")
      lines.append(f"| {attacker} | " + " | ".join(cells) + " |")
    parts += [f"Every attacker's own figure, ours; the paper's on {name}, percent:", "\n".join(lines)]
  return parts


# ---- the page ----


def placed(page: str, name: str, benchmark: str, title: str, text: str) -> str:
  """The page with `text` between the markers of a table; appended under a heading where it has none. All else stays as it is.

  Raises:
    OptionError: a marker without its end, or one that stands twice.
  """
  start = f"<!-- table {name} {benchmark} -->"
  if start not in page:
    return f"{page.rstrip()}\n\n## {title}\n\n{start}\n{text}{END}\n"
  before, _, rest = page.partition(start)
  inside, end, after = rest.partition(END)
  if not end or "<!-- table " in inside or start in after:
    raise OptionError(f"the page of results: {start} has no {END}, or stands twice")
  return f"{before}{start}\n{text}{END}{after}"


# ---- one's own comparison ----


def write_study(plan: Plan, results: pathlib.Path) -> str:
  """Table and plot of methods over seeds, in the study's folder; returns the table. Raises OptionError: a result cannot be used."""
  rows = found(plan)
  finished = [result for found in rows.values() for result in found]
  text = comparison.table(finished, list(plan.rows), seeds={label: len(cells) for label, cells in plan.rows.items()})
  whole_files.write_text(results / "table.md", text + "\n")
  if finished:
    draw(results / "trade_off.png", finished)
  return text


# ---- what would be run ----


def listing(plan: Plan, expected: Mapping[str, float]) -> str:
  """Every cell with its rows, how it stands, and its minutes: spent where they are told, else expected."""
  rows: dict[Cell, list[str]] = {cell: [label for label, cells in plan.rows.items() if cell in cells] for cell in plan.cells}
  lines = []
  for cell, labels in rows.items():
    state = "done" if cell.done else "begun" if (cell.run_dir / "flags.txt").exists() else "to do"
    results = read(cell) or {}
    seconds = sum(results.get("cell_seconds", {}).values()) or (None if cell.done else expected.get(cell.method, expected.get("")))
    lines.append(f"{state:6} {cell.told:44} {'' if seconds is None else f'{seconds / 60:6.1f} min':12} {'; '.join(labels)}")
  return "\n".join(lines)
