"""Runs cells side by side, each step in a process of its own: `mppar_tf.train`, then `mppar_tf.evaluate`; `mppar_tf.export` between them
where it is a file of the export that is judged.

Every cell is resumable by itself, so that a stopped comparison goes on where it stood. Cells of one initialisation wait for the first of
them to have it (not for that run's end); where that one fails, the next makes it. No two processes work in one run folder.
"""

import contextlib
import dataclasses
import fcntl
import glob
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any, Callable, Mapping, Sequence

from mppar_tf import curves, evaluate, reproduce_plan, whole_files
from mppar_tf.reproduce_plan import Cell
from mppar_tf.tables import recipes

PROGRAMS = {name: ("-m", f"mppar_tf.{name}") for name in ("train", "export", "evaluate")}  # in this order
LOOK_SECONDS = 1.0  # between two looks at what runs
AUTOGROUP = pathlib.Path("/proc/self/autogroup")
PATIENCE = 600.0  # seconds in which a stopped training finishes its step and saves
ESSENTIAL = "float32"  # every export has this file
MACHINE = tuple(f"--{name}=" for name in (
    "run_dir", "data_dir", "init_from", "raw_levels_dir", "compare", "recognizer_weights", "judged_export"))


@dataclasses.dataclass(frozen=True)
class Manner:
  """How cells are run."""
  jobs: int  # at a time
  threads: int  # of each
  nice: int
  data_dir: str


@dataclasses.dataclass
class Running:
  """A cell at work."""
  cell: Cell
  program: str
  process: subprocess.Popen
  log: Any  # locked for as long as anybody works in the run folder
  since: float


def run(cells: Sequence[Cell], manner: Manner, ended: Callable[[Cell, str, list[Cell], dict[Cell, float]], None]) -> dict[Cell, str]:
  """Runs all cells; a failure stops none of the others.

  Args:
    ended: called when a cell ends: with it, the reason why it failed or "", the cells that still wait, and those at work with
      the seconds since they began.
  Returns:
    Failed cells, each with its reason.
  """
  waiting, running, failed = list(cells), [], {}
  ready = reproduce_plan.initialised(sorted({folder for cell in cells for folder in cell.run_dir.parent.glob(f"*_seed{cell.seed}")}))
  try:
    while waiting or running:
      while len(running) < manner.jobs and (cell := _next(waiting, running, ready)):
        waiting.remove(cell)
        try:
          running.append(_begin(cell, manner, ready))
        except (OSError, ValueError) as error:
          failed[cell] = str(error)
          ended(cell, failed[cell], waiting, _ages(running))
      time.sleep(LOOK_SECONDS)
      for one in list(running):
        if one.cell.group and one.cell.group not in ready and reproduce_plan.is_initialised(one.cell.run_dir):
          ready[one.cell.group] = one.cell.run_dir
        if one.process.poll() is None:
          continue
        reason = _step_on(one, manner)
        if reason is None:
          continue
        running.remove(one)
        one.log.close()
        if reason:
          failed[one.cell] = reason
        ended(one.cell, reason, waiting, _ages(running))
  except BaseException:  # Ctrl-C, a full disk: no child is left behind
    stop(running)
    raise
  return failed


def _ages(running: Sequence[Running]) -> dict[Cell, float]:
  return {one.cell: time.monotonic() - one.since + sum(_spent(one.cell).values()) for one in running}


def _next(waiting: Sequence[Cell], running: Sequence[Running], ready: Mapping[str, pathlib.Path]) -> Cell | None:
  """The first cell that need wait neither for another one's initialisation nor for its run folder."""
  in_the_making = {one.cell.group for one in running} - {None} - set(ready)
  taken = {one.cell.run_dir for one in running}
  return next((cell for cell in waiting if cell.run_dir not in taken and (cell.group not in in_the_making or _begun(cell))), None)


def _begun(cell: Cell) -> bool:
  return any(cell.run_dir.glob("checkpoints/step-*"))


def _begin(cell: Cell, manner: Manner, ready: Mapping[str, pathlib.Path]) -> Running:
  """Starts a cell's training. Raises OSError: its folder cannot be written, or somebody else works in it."""
  cell.run_dir.mkdir(parents=True, exist_ok=True)
  log = open(cell.run_dir / "log.txt", "a", encoding="utf-8")
  try:
    # Children inherit the lock: it holds while any of them lives, even where this program was killed.
    fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    log.close()
    raise OSError(f"another process works in {cell.run_dir}") from None
  one = Running(cell, "", None, log, time.monotonic())
  _start(one, "train", [*cell.flags, *_initialisation(cell, ready)], manner)
  return one


def _initialisation(cell: Cell, ready: Mapping[str, pathlib.Path]) -> list[str]:
  """--init_from, where there is one to take: a run that was begun goes on with the flag that it was begun with."""
  flags = cell.run_dir / "flags.txt"
  if _begun(cell) and flags.exists():
    return [line for line in flags.read_text(encoding="utf-8").splitlines() if line.startswith("--init_from=")]
  flags.unlink(missing_ok=True)  # of a run that has saved nothing; another one may give its initialisation by now
  made = ready.get(cell.group) if cell.group else None
  return [f"--init_from={made}"] if made else []


def _start(one: Running, program: str, arguments: Sequence[str], manner: Manner) -> None:
  place = [f"--run_dir={one.cell.run_dir}", f"--data_dir={manner.data_dir}", f"--threads={manner.threads}"]
  # A session of its own: Ctrl-C reaches this program alone, which then stops its children one way.
  one.process = subprocess.Popen(
      [sys.executable, *PROGRAMS[program], *arguments, *place], stdin=subprocess.DEVNULL, stdout=one.log, stderr=subprocess.STDOUT,
      start_new_session=True, preexec_fn=(lambda: _give_way(manner.nice)) if manner.nice else None)
  one.program, one.since = program, time.monotonic()


def _give_way(nice: int) -> None:
  """Lowers this process's priority, and its session's: with Linux's autogroups that one alone counts against other sessions."""
  lowered = os.nice(nice)
  for _ in range(10):
    try:
      AUTOGROUP.write_text(str(lowered), encoding="ascii")
      return
    except BlockingIOError:  # the kernel takes ten such changes a second from all users together
      time.sleep(0.1)
    except OSError:  # a system without autogroups
      return


def _step_on(one: Running, manner: Manner) -> str | None:
  """What follows on a process that ended: None where the cell goes on, else the reason of its failure, "" where it is done."""
  cell, code = one.cell, one.process.returncode
  _keep_seconds(one)
  if code:
    return f"mppar_tf.{one.program} ended with exit code {code}: {last_line(cell.run_dir / 'log.txt')} (log: {cell.run_dir / 'log.txt'})"
  follows = _following(cell, one.program)
  if follows:
    _start(one, *follows, manner)
    return None
  try:
    publish(cell)
  except (OSError, ValueError) as error:
    return str(error)
  return ""


def _following(cell: Cell, program: str) -> tuple[str, list[str]] | None:
  """(the program after `program`, its flags); None behind the last."""
  exported = cell.run_dir / "export"
  if program == "train" and cell.variant:
    variants, checkpoint = dict.fromkeys((ESSENTIAL, cell.variant)), evaluate.value_of([*cell.settings], "checkpoint")
    # A poor file is judged all the same: how poor is what the comparison asks.
    force = [f"--force_variants={cell.variant}"] if cell.variant != ESSENTIAL else []
    return "export", [f"--export_dir={exported}", f"--export_variants={','.join(variants)}", *force, "--overwrite",
                      f"--checkpoint={checkpoint}"]
  if program != "evaluate":
    return "evaluate", [*cell.evaluation, *([f"--judged_export={exported}"] if cell.variant else [])]
  return None


def publish(cell: Cell) -> None:
  """Puts a judged cell's results, with the losses of its training, where the comparison keeps them, whole or not at all.

  Raises:
    ValueError: the evaluation left no such file, or one that was made with other flags.
  """
  split, protocol = (evaluate.value_of([*cell.settings], name) for name in ("judged_split", "protocol"))
  found = evaluate.results_path(str(cell.run_dir), split, protocol, cell.variant)
  if not found.exists():
    raise ValueError(f"its evaluation judges under another name than {found.name}: another protocol than the run's own")
  results = json.loads(found.read_text(encoding="utf-8"))
  results["flags"] = [flag for flag in results["flags"] if not flag.startswith(MACHINE)]
  if changed := reproduce_plan.differences(cell, results):
    raise ValueError(f"{found} was made with other flags: {reproduce_plan.shortened(changed)}")
  kept = results | {"cell": cell.name, "cell_seconds": _spent(cell), **curves.read(cell.run_dir)}
  whole_files.write_json(cell.result, kept)


def _spent(cell: Cell) -> dict[str, float]:
  """Seconds by program, over all attempts so far."""
  path = _seconds_path(cell)
  return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _keep_seconds(one: Running) -> None:
  spent = _spent(one.cell)
  spent[one.program] = round(spent.get(one.program, 0.0) + time.monotonic() - one.since, 1)
  whole_files.write_json(_seconds_path(one.cell), spent)


def _seconds_path(cell: Cell) -> pathlib.Path:
  """Of each cell its own: one that judges what another has trained does not count that training again."""
  return cell.run_dir / f"seconds_{cell.name}.json"


def last_line(path: pathlib.Path) -> str:
  lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
  return lines[-1].split("\r")[-1][:300] if lines else "no output"


def stop(running: Sequence[Running]) -> None:
  """Ends all children: a training finishes and saves the step that it is in; a second Ctrl-C ends them at once."""
  if running:
    print(f"\nreproduce: stopping; {len(running)} cells at work save their step first, Ctrl-C once more ends them at once", file=sys.stderr)
  for one in running:
    with contextlib.suppress(ProcessLookupError):
      one.process.send_signal(signal.SIGTERM)
  end = time.monotonic() + PATIENCE
  try:
    for one in running:
      with contextlib.suppress(subprocess.TimeoutExpired):
        one.process.wait(max(0.0, end - time.monotonic()))
  finally:
    for one in running:
      if one.process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
          os.killpg(one.process.pid, signal.SIGKILL)
        one.process.wait()
      _keep_seconds(one)
      one.log.close()


# ---- how many, how long ----


def jobs(asked: int, threads: int, sizes: Sequence[str]) -> int:
  """Cells at a time: as asked, or as many as cores and free memory allow (one where there are GPUs: a run takes all of them)."""
  if asked:
    return asked
  if glob.glob("/proc/driver/nvidia/gpus/*"):
    return 1
  cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
  largest = max((recipes.GIB[size] for size in sizes), default=1.0)
  return max(1, min(cores // (threads or cores), int(free_gib() / largest)))


def free_gib() -> float:
  """Memory that new processes may take, GiB."""
  with contextlib.suppress(OSError, ValueError, IndexError):
    told = pathlib.Path("/proc/meminfo").read_text(encoding="ascii")
    return int(told.partition("MemAvailable:")[2].split()[0]) / 2 ** 20
  return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2 ** 30


def seconds_of(results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  """Method -> mean seconds of a finished cell, both programs; "" -> of all. Older results do not tell them."""
  found: dict[str, list[float]] = {}
  for result in results:
    if result.get("cell_seconds"):
      for key in (result["method"], ""):
        found.setdefault(key, []).append(sum(result["cell_seconds"].values()))
  return {key: sum(values) / len(values) for key, values in found.items()}


def minutes(cells: Sequence[Cell], ages: Mapping[Cell, float], known: Mapping[str, float], at_a_time: int) -> float | None:
  """What is left, in minutes; None where no finished cell tells.

  Args:
    cells: those that wait.
    ages: those at work -> seconds since they began.
    known: from `seconds_of`.
  """
  if "" not in known:
    return None
  expected = lambda cell: known.get(cell.method, known[""])
  left = [expected(cell) for cell in cells] + [max(0.0, expected(cell) - age) for cell, age in ages.items()]
  return max(sum(left) / at_a_time, max(left, default=0.0)) / 60
