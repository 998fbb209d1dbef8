"""Runs a comparison of methods over seeds and writes its table: every cell is one resumable run, finished cells are never run again.

  python -m mppar_tf.reproduce --flagfile=reproduce_twin.flags
  python -m mppar_tf.reproduce --study=my_study --config=protocol_a.flags --methods=raw,basic,mppar --seeds=3

A cell is one method with one seed: `mppar_tf.train`, then `mppar_tf.evaluate`, each in a process of its own with its log in the cell's
folder. Learned methods of one seed start from one shared initialisation (stages 1 to 3), which the first of them computes. A failing cell
is reported and does not stop the others. Results are JSON, one file per cell, below --results_dir; the table with mean, spread and n, and
each method's difference to `basic_equal_data` paired by seed, is printed and written beside them, with the trade-off plot.

Exit codes: 0 all cells done; 1 a cell failed (named); 2 bad input.
"""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time

import tqdm

from mppar_tf import comparison, flagfiles, options
from mppar_tf.progress import progress_bar

FAILED = 1
MACHINE = ("--run_dir=", "--data_dir=", "--init_from=", "--raw_levels_dir=", "--compare=", "--recognizer_weights=")


@dataclasses.dataclass(frozen=True)
class Cell:
  """One run: a method, a seed, and its folders."""
  method: str
  seed: int
  run_dir: pathlib.Path
  result: pathlib.Path
  init_from: pathlib.Path | None


def main() -> int:
  return flagfiles.main(lambda: run(flagfiles.read(options.ReproduceOptions), flagfiles.read(options.StorageOptions)),
                        (options.ReproduceOptions, options.StorageOptions), __doc__)


def run(chosen, storage) -> int:
  """Runs what is missing, then writes the table; returns an exit code."""
  config = flagfiles.locate(chosen.config)
  cells = plan(chosen)
  todo = [cell for cell in cells if not cell.result.exists()]
  print(f"{len(cells)} cells, {len(cells) - len(todo)} done, {len(todo)} to run; logs in {pathlib.Path(chosen.cells_dir) / chosen.study}")
  failed = {}
  for cell in todo:  # before the first starts: a cell that waits must not take an earlier attempt's failure for its maker's
    (cell.run_dir / "failed.txt").unlink(missing_ok=True)
  with concurrent.futures.ThreadPoolExecutor(chosen.jobs) as pool, progress_bar(total=len(todo), unit="cell", desc=chosen.study) as bar:
    waiting = {}
    ready = [cell for cell in todo if cell.init_from is None]
    behind = [cell for cell in todo if cell.init_from is not None]
    # Cells that share an initialisation wait for it, not for the whole run that makes it: it is done when its folder is there.
    for cell in ready + sorted(behind, key=lambda c: c.seed):
      waiting[pool.submit(run_cell, cell, config, chosen, storage)] = cell
    for future in concurrent.futures.as_completed(waiting):
      cell, reason = waiting[future], future.result()
      if reason:
        failed[cell] = reason
        tqdm.tqdm.write(f"failed: {cell.method} seed {cell.seed}: {reason}")
      bar.update()
  write_table(chosen, cells)
  if failed:
    names = ", ".join(f"{c.method} seed {c.seed}" for c in failed)
    print(f"reproduce: {len(failed)} of {len(cells)} cells failed: {names}; the same command tries them again", file=sys.stderr)
    return FAILED
  return 0


def plan(chosen) -> list[Cell]:
  """All cells, those first whose initialisation others wait for."""
  base, results = pathlib.Path(chosen.cells_dir) / chosen.study, pathlib.Path(chosen.results_dir) / chosen.study
  from mppar_tf import methods
  learned = [m for m in chosen.methods if m not in (*methods.WITHOUT_LEARNING, *methods.OWN_INITIALISATION)]
  cells = []
  for seed in range(chosen.first_seed, chosen.first_seed + chosen.seeds):
    for method in chosen.methods:
      shared = base / f"{learned[0]}_seed{seed}" if method in learned[1:] else None
      cells.append(Cell(method, seed, base / f"{method}_seed{seed}", results / f"{method}_seed{seed}.json", shared))
  return cells


def run_cell(cell: Cell, config: str, chosen, storage) -> str:
  """Trains and judges one cell; returns "" or the reason why it failed."""
  initialisation = cell.init_from / "checkpoints" / "initialised" / "state.json" if cell.init_from else None
  while initialisation and not initialisation.exists() and not maker_is_done(cell):
    if (cell.init_from / "failed.txt").exists():
      return f"its initialisation failed ({cell.init_from / 'failed.txt'})"
    time.sleep(2.0)
  cell.run_dir.mkdir(parents=True, exist_ok=True)
  place = [f"--run_dir={cell.run_dir}", f"--data_dir={storage.data_dir}", f"--threads={chosen.cell_threads}"]
  training = [f"--flagfile={config}", f"--method={cell.method}", f"--seed={cell.seed}", *place]
  # Without the maker's run folder (a clone holds its result alone) the cell computes the same initialisation by itself.
  init = [f"--init_from={cell.init_from}"] if initialisation and initialisation.exists() else []
  for program, arguments in (("mppar_tf.train", training + init), ("mppar_tf.evaluate", place + _evaluation_flags(chosen))):
    with open(cell.run_dir / "log.txt", "a", encoding="utf-8") as log:
      code = subprocess.run([sys.executable, "-m", program, *arguments], stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    if code:
      reason = f"{program} ended with exit code {code}: {_last_line(cell.run_dir / 'log.txt')}"
      (cell.run_dir / "failed.txt").write_text(reason + "\n", encoding="utf-8")
      return reason
  if not (cell.run_dir / "results.json").exists():
    return f"{chosen.evaluation} judges under another name than results.json: another split or protocol than the run's own"
  cell.result.parent.mkdir(parents=True, exist_ok=True)
  part = cell.result.with_suffix(".part")
  results = json.loads((cell.run_dir / "results.json").read_text(encoding="utf-8"))
  part.write_text(json.dumps(published(results), indent=1) + "\n", encoding="utf-8")
  os.replace(part, cell.result)
  return ""


def maker_is_done(cell: Cell) -> bool:
  """Whether the cell whose initialisation this one would share has its result, so that nobody computes that initialisation any more."""
  return cell.result.with_name(f"{cell.init_from.name}.json").exists()


def published(results: dict) -> dict:
  """Results without the folders of the machine that they were made on."""
  return {**results, "flags": [flag for flag in results["flags"] if not flag.startswith(MACHINE)]}


def _evaluation_flags(chosen) -> list[str]:
  return [f"--flagfile={flagfiles.locate(chosen.evaluation)}"] if chosen.evaluation else []


def _last_line(path: pathlib.Path) -> str:
  lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
  return lines[-1][:300] if lines else "no output"


def write_table(chosen, cells: list[Cell]) -> None:
  """The comparison of all cells that have a result, as Markdown, on the screen and beside the results."""
  found = [json.loads(cell.result.read_text(encoding="utf-8")) for cell in cells if cell.result.exists()]
  if not found:
    return
  text = comparison.table(found, order=list(chosen.methods))
  from mppar_tf.evaluation import report
  folder = pathlib.Path(chosen.results_dir) / chosen.study
  (folder / "table.md").write_text(text + "\n", encoding="utf-8")
  report.trade_off(folder / "trade_off.png", found)
  print(text)
  print(f"written: {folder}/table.md, trade_off.png")


if __name__ == "__main__":
  sys.exit(main())
