"""Regenerates the papers' tables and figures, or runs a comparison of one's own: methods over seeds, resumable, beside the papers' numbers.

  python -m mppar_tf.reproduce --table=1 --benchmark=twin --seeds=5
  python -m mppar_tf.reproduce --table=1 --benchmark=twin --seeds=5 --dry_run       what is done, what is not, how long
  python -m mppar_tf.reproduce --flagfile=reproduce_twin.flags
  python -m mppar_tf.reproduce --study=my_study --config=protocol_a.flags --methods=raw,basic,mppar --seeds=3

Tables are MPPAR's 1 to 4 (protocols A to D), 5 (with Figure 3), supp1 to supp4 and supp_figure1; vita; pilot1 to pilot4; our own: tuning,
anonymizers, anonymizers_frontier. A cell is one row with one seed: `mppar_tf.train`, then `mppar_tf.evaluate`, each in a process of its
own with its log in the cell's folder. It is named by a digest of the flags that decide its result, so that the same cell in two tables is
run once and a changed recipe is another one; a finished cell is never run again. Cells that differ in how they are judged alone share one
training (tables 3 and 1, 4 and 2, tuning and others; of a row that judges a file of an export, `mppar_tf.export` makes it in between), and
learned methods of one seed start from one shared initialisation (stages 1 to 3), which the first of them computes.
--adopt=results/twin_protocol_a takes over a comparison's finished results where their flags are a cell's.
A failing cell is reported at once and stops none of the others. Results are JSON, one file per cell, below --results_dir; the table with
mean, spread and n, the paper's numbers, each method's difference to `basic_equal_data` paired by seed, and plots stand below tables/ there
and, between markers, on the page of results; text outside of the markers stays as it is. Without --table it is a comparison of one's own.

Exit codes: 0 all cells done; 1 a cell failed (named); 2 bad input; 75 stopped by Ctrl-C or SIGTERM: the same command goes on.
"""

import contextlib
import json
import pathlib
import shlex
import signal
import sys
from typing import Any

import tqdm

from mppar_tf import flagfiles, options, reproduce_page, reproduce_plan, reproduce_records, reproduce_run
from mppar_tf.progress import progress_bar

FAILED, STOPPED = 1, 75


def main(arguments=None) -> int:
  """Reads the flags, then hands everything to `run`."""
  for number in (signal.SIGTERM, signal.SIGHUP):  # nohup has the latter ignored: so it stays
    if signal.getsignal(number) == signal.SIG_DFL:
      signal.signal(number, signal.default_int_handler)
  return flagfiles.main(lambda: run(flagfiles.read(options.ReproduceOptions), flagfiles.read(options.StorageOptions)),
                        (options.ReproduceOptions, options.StorageOptions), __doc__, arguments=arguments,
                        stopped=(STOPPED, "reproduce: stopped; the same command goes on: finished cells are kept, begun ones resume from "
                                          "their last checkpoint"))


def run(chosen, storage) -> int:
  """Runs what is missing, then writes the table; returns an exit code."""
  plan = plan_of(chosen)
  if chosen.adopt and not chosen.dry_run:
    for cell in reproduce_plan.adopt(plan.cells, adopted_folder(chosen.adopt)):
      print(f"adopted: {cell.told}")
  finished = {cell.result: found for cell in plan.cells if (found := reproduce_plan.read(cell))}
  reproduce_records.check(finished)
  results = list(finished.values())
  known = reproduce_run.seconds_of([*results, *others(plan)])
  todo = [cell for cell in plan.cells if not cell.done]
  jobs = reproduce_run.jobs(chosen.jobs, chosen.cell_threads, [cell.size for cell in todo])
  print(f"{len(plan.cells)} cells, {len(plan.cells) - len(todo)} done, {len(todo)} to run, {jobs} at a time: "
        f"{left(reproduce_run.minutes(todo, {}, known, jobs))}")
  if chosen.dry_run:
    print(reproduce_page.listing(plan, known))
    return 0
  failed = {}
  if todo:
    for seen in prepare(todo, storage.data_dir):
      reproduce_records.check(finished, seen)
  try:
    if todo:
      failed = run_all(todo, reproduce_run.Manner(jobs, chosen.cell_threads, chosen.nice, storage.data_dir), results, known)
  finally:  # also of a comparison that was stopped: what is finished is shown
    print(write(chosen, plan))
  if failed:
    print(f"reproduce: {len(failed)} of {len(plan.cells)} cells failed: {', '.join(cell.told for cell in failed)}; the same command tries "
          "them again", file=sys.stderr)
    return FAILED
  return 0


def plan_of(chosen) -> reproduce_plan.Plan:
  """The cells of a table or of one's own comparison. Raises OptionError."""
  seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
  places = pathlib.Path(chosen.cells_dir), pathlib.Path(chosen.results_dir)
  if chosen.table:
    return reproduce_plan.of_table(chosen.table, chosen.benchmark, seeds, chosen.evaluation, *places)
  return reproduce_plan.of_study(chosen.study, chosen.config, chosen.methods, seeds, chosen.evaluation, *places)


def adopted_folder(name: str) -> pathlib.Path:
  """Raises OptionError where there is no such folder."""
  folder = pathlib.Path(name)
  if not folder.is_dir():
    raise options.OptionError(f"--adopt={name}: no such folder; it must hold results, a comparison's own for example")
  return folder


def others(plan: reproduce_plan.Plan) -> list[dict[str, Any]]:
  """Results of other cells of the same kind, which tell how long one takes."""
  own = {cell.result for cell in plan.cells}
  paths = {path for folder in {path.parent for path in own} for path in folder.glob("*.json")} - own
  found = []
  for path in sorted(paths):
    with contextlib.suppress(ValueError):  # no results file, so it tells nothing
      found.append(json.loads(path.read_text(encoding="utf-8")))
  return [one for one in found if isinstance(one, dict) and "method" in one]


def prepare(todo, data_dir: str) -> list[dict[str, str]]:
  """Records, before cells start side by side: the embedded benchmark's are built, others must be there; digests of each set of them.

  Raises OptionError.
  """
  from mppar_tf import train
  from mppar_tf.data import records
  from mppar_tf.protocols.benchmarks import BENCHMARKS
  found = []
  for run_options in dict.fromkeys(reproduce_plan.parsed(
      [*cell.flags, f"--data_dir={data_dir}", "--seed=0", "--method=mppar"], train.PROGRAM_OPTIONS, cell.told)[0] for cell in todo):
    try:
      train.ensure_records(run_options)
    except records.RecordsError as error:
      raise options.OptionError(str(error)) from error
    benchmark = BENCHMARKS[run_options.benchmark]
    kinds = {"clips": run_options.clips_records or benchmark.clips, "private": run_options.private_records or benchmark.private,
             "test": benchmark.test}
    wanted = {*kinds.values()} - {""}
    missing = [name for name in sorted(wanted) if "://" not in data_dir and not (pathlib.Path(data_dir) / name / "manifest.json").exists()]
    if missing:  # once, and not by every cell
      raise options.OptionError("; ".join(f"{data_dir}/{name}: no records; built by: {benchmark.builder(name)} --data_dir={data_dir}"
                                          for name in missing))
    found.append(reproduce_records.present((kind, f"{data_dir}/{name}") for kind, name in kinds.items() if name))
  return found


def run_all(todo, manner, results, known) -> dict:
  """Runs cells behind one progress bar; returns those that failed, with reasons."""
  results = list(results)
  with progress_bar(total=len(todo), unit="cell", desc="cells") as bar:
    def ended(cell, reason, waiting, ages):
      nonlocal known
      if not reason:
        results.append(reproduce_plan.read(cell))
        known = {**known, **reproduce_run.seconds_of(results)}
      bar.update()
      rest = left(reproduce_run.minutes(waiting, ages, known, manner.jobs))
      bar.set_postfix_str(rest)
      tqdm.tqdm.write(f"{'failed' if reason else 'done'}: {cell.told}{f': {reason}' if reason else ''} ({bar.n} of {len(todo)}, {rest})")
    return reproduce_run.run(todo, manner, ended)


def left(minutes: float | None) -> str:
  return "no finished cell tells how long" if minutes is None else f"about {minutes:.0f} min left"


def write(chosen, plan) -> str:
  """Table, plots and, of a paper's table, its part of the page; returns what is shown."""
  results = pathlib.Path(chosen.results_dir)
  if not chosen.table:
    return f"{reproduce_page.write_study(plan, results / chosen.study)}\nwritten: {results / chosen.study}/table.md, trade_off.png"
  page = pathlib.Path(chosen.page) if chosen.page else (results.parent if results.name == "results" else results) / "RESULTS.md"
  command = ["python", "-m", "mppar_tf.reproduce", f"--table={chosen.table}", f"--benchmark={chosen.benchmark}", f"--seeds={chosen.seeds}",
             *([f"--first_seed={chosen.first_seed}"] if chosen.first_seed else []),
             *([f"--evaluation={chosen.evaluation}"] if chosen.evaluation else [])]
  text = reproduce_page.write_table(chosen.table, chosen.benchmark, shlex.join(command), plan, results, page)
  return f"{text}\nwritten: {results}/tables/{chosen.table}_{chosen.benchmark}.md, {page}"


if __name__ == "__main__":
  sys.exit(main())
