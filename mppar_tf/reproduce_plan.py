"""Which cells a comparison consists of: one run each, named by a digest of the flags that decide its result.

Two rows, of one table or of two, whose flags come to the same are one cell; a changed recipe is another one. What decides nothing (where
data lies, threads, what is logged) is not in the digest. Nor is a value that is the option's default, so that a new option changes no name.
Cells that differ in how they are judged alone (tuning and a table, protocols A and C) are judged from one training.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
from typing import Any, Iterable, Mapping, Sequence

from absl import flags

from mppar_tf import evaluate, flagfiles, train, whole_files
from mppar_tf.flagfiles import OptionError
from mppar_tf.messages import one_line

# They decide nothing of a result, but for rounding.
MACHINE = ("run_dir", "data_dir", "init_from", "threads", "deterministic", "virtual_devices", "strategy", "log_every", "keep_checkpoints",
           "checkpoint_every", "checkpoint_steps", "raw_levels_dir", "compare", "judged_export", "sheet_frames", "evaluation_batch")
# What is trained does not hang on which attributes the test asks for: a table of C judges the trainings of A its own way, D those of B.
TRAINED_UNDER = {"c": "a", "d": "b"}
JUDGING = evaluate.PROGRAM_OPTIONS[:1]  # how it is judged; all else belongs to the run
FILE = "recognizer_weights"  # a file of this machine whose content decides


@dataclasses.dataclass(frozen=True)
class Cell:
  """One run, judged one way: a method with its flags, a seed, and its folders. Several cells may judge one run."""
  name: str
  method: str
  seed: int
  flags: tuple[str, ...]  # of mppar_tf.train, without those of the machine; no flagfile, which could be edited before the cell starts
  evaluation: tuple[str, ...]  # of mppar_tf.evaluate
  settings: tuple[str, ...]  # every flag of both that decides the result, its value written out; the seed among them
  group: str | None  # cells of one group can share an initialisation; None: neither takes nor gives one
  size: str  # the largest preset of its networks
  run_dir: pathlib.Path
  result: pathlib.Path
  variant: str | None = None  # of the run's export, judged in place of f^D

  @property
  def done(self) -> bool:
    return self.result.exists()

  @property
  def told(self) -> str:
    return f"{self.name} seed {self.seed}"


@dataclasses.dataclass(frozen=True)
class Wanted:
  """A row of a comparison before it has cells."""
  label: str
  flags: Sequence[str] | None  # of training; None: it cannot be played, so it has no cells
  variant: str | None = None  # the TFLite file of each run's export that is judged in place of f^D


@dataclasses.dataclass(frozen=True)
class Plan:
  """The cells of a comparison, row by row."""
  rows: Mapping[str, tuple[Cell, ...]]  # label -> one cell a seed; none where it cannot be played

  @property
  def cells(self) -> list[Cell]:
    """Every cell once."""
    return list(dict.fromkeys(cell for cells in self.rows.values() for cell in cells))


def of_table(name: str, benchmark: str, seeds: Iterable[int], evaluation: str | None, runs: pathlib.Path, results: pathlib.Path) -> Plan:
  """The plan of one of the papers' tables.

  Args:
    evaluation: flagfile of every cell's evaluation in place of the benchmark's.
    runs, results: folders of all cells' runs and results.
  Raises:
    OptionError: the table is not for this benchmark, or there is no flagfile for it.
  """
  from mppar_tf.tables import TABLES, recipes
  table = TABLES[name]
  if benchmark not in table.benchmarks:
    others = ", ".join(other for other, one in TABLES.items() if benchmark in one.benchmarks) or "none"
    raise OptionError(f"--table={name} is not for --benchmark={benchmark}, but for {', '.join(table.benchmarks)}; tables for {benchmark}: "
                      f"{others}")
  training = training_flagfile(table.protocol, benchmark)
  judging = evaluation or recipes.EVALUATION[benchmark]
  given = (*training, *table.on.get(benchmark, ()))
  rows = [Wanted(row.label, None if row.flags is None else (*given, *row.flags, *row.on.get(benchmark, ())), row.variant)
          for row in table.rows]
  return plan(rows, judging, tuple(seeds), lambda chosen, key, seed: f"{chosen[0].protocol}_{chosen[0].method}-{key}",
              runs / "cells" / benchmark, results / "cells" / benchmark, table.judging, shared=True)


def training_flagfile(protocol: str, benchmark: str) -> tuple[str, ...]:
  """The flag that names it. Raises OptionError that lists the benchmarks of the protocol."""
  from mppar_tf.tables import recipes
  if (protocol, benchmark) not in recipes.TRAINING:
    known = ", ".join(of for what, of in recipes.TRAINING if what == protocol) or "none"
    raise OptionError(f"no flagfile trains protocol {protocol} on {benchmark}; there are those for {known}")
  return (f"--flagfile={recipes.TRAINING[protocol, benchmark]}",)


def of_study(study: str, config: str, methods: Sequence[str], seeds: Iterable[int], evaluation: str | None, runs: pathlib.Path,
             results: pathlib.Path) -> Plan:
  """The plan of one's own comparison: methods under one flagfile, cells named after their methods, in folders of the study."""
  rows = [Wanted(method, (f"--flagfile={config}", f"--method={method}")) for method in methods]
  return plan(rows, evaluation, tuple(seeds), lambda chosen, key, seed: chosen[0].method, runs / study, results / study)


def plan(rows: Iterable[Wanted], evaluation: str | None, seeds: Sequence[int], name, runs: pathlib.Path, results: pathlib.Path,
         judging: Sequence[str] = (), shared: bool = False) -> Plan:
  """Cells of rows, one a seed.

  Args:
    name: (settings of training, digest, seed) -> the cell's name.
    judging: flags of evaluation after those of its flagfile.
    shared: cells of one training share its run folder, which then bears the training's digest and not the cell's.
  Raises:
    OptionError: flags that training or evaluation would refuse; names the row.
  """
  judging = (*(flagfiles.expand([f"--flagfile={evaluation}"]) if evaluation else ()), *judging)
  found: dict[str, list[Cell]] = {}
  same: dict[pathlib.Path, Cell] = {}
  for row in rows:
    found[row.label] = []
    row_judging = (*judging, *([f"--judged_variant={row.variant}"] if row.variant else []))
    judged = deciding(parsed(row_judging, JUDGING, "--evaluation"))
    for seed in () if row.flags is None else seeds:
      given = (*flagfiles.expand(row.flags), f"--seed={seed}")
      chosen = parsed(given, train.PROGRAM_OPTIONS, f"row {row.label!r}")
      key = digest([*without_defaults(deciding(chosen), train.PROGRAM_OPTIONS), "evaluation",
                    *without_defaults(judged, JUDGING), *(["exported"] if row.variant else [])])
      named, models, of_cell = name(chosen, key, seed), chosen[2], row_judging
      folder = named
      if shared:
        given, trained, of_cell = as_trained(given, chosen, row_judging)
        folder = name(trained, digest(without_defaults(deciding(trained), train.PROGRAM_OPTIONS)), seed)
      size = max((models.anonymizer_size, models.recognizer_size, models.attacker_size), key=("tiny", "small", "paper").index)
      read_lines = [line for line in deciding(chosen) if name_of(line) not in unread(chosen[0].method)]
      settings = (*read_lines, f"--seed={seed}", *judged)
      cell = Cell(named, chosen[0].method, seed, given, of_cell, settings, initialisation(chosen), size,
                  runs / f"{folder}_seed{seed}", results / f"{named}_seed{seed}.json", row.variant)
      found[row.label].append(same.setdefault(cell.result, cell))
  return Plan({label: tuple(cells) for label, cells in found.items()})


def as_trained(given: Sequence[str], chosen: tuple[Any, ...], judging: Sequence[str]) -> tuple[Any, ...]:
  """(flags of training, what they come to, flags of evaluation) of a cell, trained under the protocol that others train the same under."""
  from mppar_tf import methods
  from mppar_tf.protocols import benchmarks
  run = chosen[0]
  under = TRAINED_UNDER.get(run.protocol)
  # Without novel attributes the other protocol refuses to start.
  if not under or not benchmarks.chosen(run.benchmark, known=run.known_attributes, novel=run.novel_attributes).novel:
    return tuple(given), chosen, tuple(judging)
  given = (*given, f"--protocol={under}", f"--shift={chosen[3].shift if run.method in methods.SHIFTING else 'protocol'}")
  return given, parsed(given, train.PROGRAM_OPTIONS, run.method), (*judging, f"--protocol={run.protocol}")


def parsed(arguments: Sequence[str], option_classes: Sequence[type], what: str) -> tuple[Any, ...]:
  """The options that a program would read, the shift settled as training does. Raises OptionError that names `what`."""
  values = flagfiles.define(*option_classes)
  try:
    values(["reproduce", *flagfiles.expand(list(arguments))])
    chosen = [flagfiles.read(cls, values) for cls in option_classes]
  except (flags.Error, OptionError) as error:
    raise OptionError(f"{what}: {one_line(error)}") from error
  if option_classes is train.PROGRAM_OPTIONS:
    chosen[3] = train.settled(chosen[0], chosen[3])
  return tuple(chosen)


def deciding(chosen: Sequence[Any]) -> list[str]:
  """The flags that decide a result, as lines; the seed is told apart."""
  return [line for line in flagfiles.lines(*chosen) if name_of(line) not in (*MACHINE, "seed")]


def unread(method: str) -> tuple[str, ...]:
  """Deciding flags that a method never reads: the shift where it has none. Trained under another protocol, it says that one's."""
  from mppar_tf import methods
  return () if method in methods.SHIFTING else ("shift",)


def defaults(option_classes: Sequence[type]) -> list[str]:
  """Every flag with its default, as lines."""
  return flagfiles.lines(*(cls() for cls in option_classes))


def without_defaults(lines: Sequence[str], option_classes: Sequence[type]) -> list[str]:
  return sorted(set(lines) - set(defaults(option_classes)))


def digest(lines: Sequence[str]) -> str:
  return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]


def name_of(line: str) -> str:
  return line.lstrip("-").partition("=")[0]


def initialisation(chosen: Sequence[Any]) -> str | None:
  """What stages 1 to 3 hang on, the seed among it; None where a method has none that others could share."""
  from mppar_tf import methods
  from mppar_tf.protocols import PROTOCOLS
  run, _, models = chosen[:3]
  if run.method in (*methods.WITHOUT_LEARNING, *methods.OWN_INITIALISATION):
    return None
  lines = [line for line in flagfiles.lines(*chosen) if line.startswith(train.INITIALISATION_FLAGS)]
  attackers = models.training_attackers or PROTOCOLS[run.protocol].training_attackers  # left to protocols, their flags look alike
  return digest([*sorted(lines), *attackers, run.precision])


def initialised(folders: Iterable[pathlib.Path]) -> dict[str, pathlib.Path]:
  """Group -> a run folder whose initialisation is finished; runs of other versions are passed over."""
  found: dict[str, pathlib.Path] = {}
  for folder in folders:
    if is_initialised(folder) and (folder / "flags.txt").exists():
      try:
        group = initialisation(parsed([f"--flagfile={folder / 'flags.txt'}"], train.PROGRAM_OPTIONS, str(folder)))
      except OptionError:
        continue
      if group:
        found.setdefault(group, folder)
  return found


def is_initialised(folder: pathlib.Path) -> bool:
  return (folder / "checkpoints" / "initialised" / "state.json").exists()


def read(cell: Cell) -> dict[str, Any] | None:
  """A finished cell's results, None where it is not finished.

  Raises:
    OptionError: what lies there is no results file, or was made with other flags: a default has changed since, or it is somebody else's.
  """
  if not cell.done:
    return None
  try:
    results = json.loads(cell.result.read_text(encoding="utf-8"))
    changed = differences(cell, results)
  except (ValueError, LookupError, TypeError, AttributeError) as error:
    raise OptionError(f"{cell.result} is no results file: {error}") from error
  if changed:
    raise OptionError(f"{cell.result} was made with other flags ({shortened(changed)}): move it away, or give another --results_dir")
  return results


def differences(cell: Cell, results: Mapping[str, Any]) -> list[str]:
  """Flags that decide a result and are others than the cell's, as lines; none: the result is the cell's.

  A flag that a result does not know, for it is older than the flag, had its default. A result's protocol is the one that it was judged
  under. Of weights that f^A began with the content counts, not the path. Raises LookupError: it is no result.
  """
  classes = (*train.PROGRAM_OPTIONS, *JUDGING)
  then = {name_of(line): line for line in (*defaults(classes), *results["flags"], f"--protocol={results['protocol']}")}
  now = {name_of(line): line for line in cell.settings}
  names = {field.name for cls in classes for field in dataclasses.fields(cls)} - {*MACHINE, FILE, *unread(cell.method)}
  absent = lambda name: f"no --{name}"
  changed = [f"{then.get(name, absent(name))} then, {now.get(name, absent(name))} now" for name in sorted(names)
             if then.get(name) != now.get(name)]
  begun = (results.get("initial_weights") or {}).get("recognizer", {}).get("sha256")
  if begun != _content(now.get(FILE)):
    changed.append(f"--{FILE} of SHA-256 {begun} then, {now.get(FILE, absent(FILE))} now")
  return changed


def shortened(changed: Sequence[str], most: int = 6) -> str:
  more = f"; and {len(changed) - most} more" if len(changed) > most else ""
  return "; ".join(changed[:most]) + more


def _content(line: str | None) -> str | None:
  """SHA-256 of what --recognizer_weights names; None without it, or where it is gone."""
  if line is None:
    return None
  from mppar_tf import initial_weights  # late, as it loads Keras
  with contextlib.suppress(initial_weights.WeightsError):
    return initial_weights.digest(line.partition("=")[2])
  return None


def adopt(cells: Sequence[Cell], folder: pathlib.Path) -> list[Cell]:
  """Takes over finished results of another folder, a study's say, that were made with a cell's very flags; returns those cells."""
  taken = []
  for path in sorted(folder.glob("*.json")):
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError):  # no results file
      results = json.loads(path.read_text(encoding="utf-8"))
      for cell in cells:
        if not cell.done and bool(cell.variant) == ("judged_file" in results) and not differences(cell, results):
          whole_files.write_json(cell.result, results | {"cell": cell.name})
          taken.append(cell)
  return taken
