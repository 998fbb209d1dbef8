"""What fresh attackers read behind each tool, on the small real benchmark: IXMAS clips' actions and UTKFace's attributes.

A tool works on the source files, at their own size; records are built of what it leaves, `--method=raw` is trained on them and judged.
So the attackers know the tool, as the evaluation's attackers know an anonymizer. Losses of a tool's own coding count as the tool's.
"""

import functools
import json
import os
import pathlib
import shutil
import sys
import tempfile
from typing import Any, Callable, Mapping, NamedTuple

from mppar_tf import bench_blur, bench_faces, bench_programs, flagfiles, side_by_side, whole_files
from mppar_tf.bench_programs import BLUR, DEFACE
from mppar_tf.messages import one_line
from mppar_tf.progress import progress_bar

RAW = bench_faces.RAW
FIGURES = ("action_top1", "privacy_cmap_known", "privacy_cmap_novel")
LOOKED = 240  # clips of IXMAS whose middle frame deface is asked about


class Settings(NamedTuple):
  """What the part was asked for."""
  real: str  # folder that holds ixmas/ and utkface/
  run: str | None  # finished run, or its results file
  work_dir: str | None  # where trainings stay
  config: str  # flagfile of the trainings
  evaluation: str  # flagfile of their evaluation
  seed: int


def part(chosen: Any, seed: int) -> Callable[[], dict[str, Any]]:
  """What measures the part as `chosen`, the program's BenchOptions, says.

  Raises OptionError where a package, a folder, a flagfile or the run is not there.
  """
  if not chosen.bench_real:
    raise flagfiles.OptionError("--bench_parts=tools_attacked needs --bench_real=FOLDER, which holds ixmas/ and utkface/")
  asked = Settings(real=chosen.bench_real, run=chosen.bench_run, work_dir=chosen.bench_work_dir, config=chosen.bench_real_config,
                   evaluation=chosen.bench_real_evaluation, seed=seed)
  for name in (asked.config, asked.evaluation):
    flagfiles.expand([f"--flagfile={name}"])
  with bench_programs.as_option_errors():
    check(asked)
  return lambda: measure(asked)


def check(asked: Settings) -> None:
  """Raises ValueError where a package, a folder of the benchmark, or the results of the run are not there."""
  bench_programs.installed("deface")
  for dataset in ("ixmas", "utkface"):
    if not source_of(asked.real, dataset).is_dir():
      raise ValueError(f"--bench_real={asked.real}: no folder {source_of(asked.real, dataset)}")
  if asked.run:
    read_run(asked.run)


def source_of(real: str, dataset: str) -> pathlib.Path:
  """The folder of files that a tool works on."""
  return pathlib.Path(real, dataset, {"ixmas": "clips", "utkface": "images"}[dataset])


def read_run(path: str) -> dict[str, Any]:
  """The results of a finished run, or of its results file. Raises ValueError."""
  file = pathlib.Path(path, "results.json") if os.path.isdir(path) else pathlib.Path(path)
  try:
    found = json.loads(file.read_text(encoding="utf-8"))
    if any(name not in part for part in (found, found["raw"], found["chance"]) for name in FIGURES):
      raise KeyError("figures")
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise ValueError(f"--bench_run={path}: no results of an evaluation of attributes ({type(error).__name__})") from None
  return found


def measure(asked: Settings) -> dict[str, Any]:
  """Row by row; a row that stands in the work folder is not measured again.

  Returns:
    "variants": the rows that were tried; "failures": row -> why; "rows": name -> FIGURES; "chance"; "budget"; "deface_sees": frames, hit.
  """
  given = read_run(asked.run) if asked.run else None
  tried = [DEFACE, BLUR] if given else [RAW, DEFACE, BLUR]
  failures: dict[str, str] = {}
  with tempfile.TemporaryDirectory(prefix="mppar_tf_bench_") as temporary:
    work = pathlib.Path(asked.work_dir or temporary)
    all_results = {}
    try:
      _same_settings(work / "settings.json", asked)
    except (ValueError, OSError) as error:
      failures = dict.fromkeys(tried, str(error))
    for tool in (tool for tool in tried if tool not in failures):
      try:
        all_results[tool] = _row(asked, tool, work / tool.replace(" ", "_"))
      except (bench_programs.Failed, OSError) as error:
        failures[tool] = one_line(error)
  found = _gathered(given, all_results, failures) | {"deface_sees": _deface_sees(asked.real, failures)}
  return {"variants": tried, "rounds": [], "failures": failures} | found


def _same_settings(path: pathlib.Path, asked: Settings) -> None:
  """Rows of a work folder are of one benchmark and one budget. Raises ValueError."""
  wanted = {"real": os.path.realpath(asked.real), "seed": asked.seed,
            **{name: flagfiles.expand([f"--flagfile={getattr(asked, name)}"]) for name in ("config", "evaluation")}}
  if path.exists():
    stored = json.loads(path.read_text(encoding="utf-8"))
    others = [name for name, value in wanted.items() if stored.get(name) != value]
    if others:
      raise ValueError(f"--bench_work_dir={path.parent} was made with another {', '.join(others)}: name another one")
  whole_files.write_json(path, wanted)


def _row(asked: Settings, tool: str, work: pathlib.Path) -> dict[str, Any]:
  """Files, records, training, evaluation of one tool. Raises Failed, OSError."""
  results, run_dir, data_dir = work / "run" / "results.json", f"--run_dir={work / 'run'}", f"--data_dir={work / 'records'}"

  def program(module: str, *arguments: str) -> Callable[[], Any]:
    return lambda: bench_programs.execute([sys.executable, "-m", module, *arguments, data_dir])
  datasets = ("ixmas", "utkface")
  steps: dict[str, Callable[[], Any]] = {
      **{f"files of {dataset}": functools.partial(_files, asked.real, dataset, tool, work / "files") for dataset in datasets},
      **{f"records of {dataset}": program("tfrecord_tools.build", dataset, f"--source={work / 'files' / dataset}") for dataset in datasets},
      "training": program("mppar_tf.train", f"--flagfile={asked.config}", "--method=raw", f"--seed={asked.seed}", run_dir),
      "attackers": program("mppar_tf.evaluate", run_dir, f"--flagfile={asked.evaluation}")}
  if not results.exists():
    with progress_bar(steps.items(), unit=" steps") as bar:
      for name, step in bar:
        bar.set_description(f"{tool}, {name}")
        step()
  return json.loads(results.read_text(encoding="utf-8"))


def _files(real: str, dataset: str, tool: str, folder: pathlib.Path) -> None:
  """`folder`/DATASET as the reader of the dataset wants it, of what the tool makes of the source; whole or absent."""
  source, target = source_of(real, dataset), folder / dataset
  if target.exists():
    return
  part = folder / f".{dataset}.part"
  shutil.rmtree(part, ignore_errors=True)
  part.mkdir(parents=True)
  if tool == DEFACE:
    bench_programs.deface_folder(source, part / source.name)
  elif tool == BLUR:
    bench_programs.execute([sys.executable, "-m", "mppar_tf.bench_blur", str(source), str(part / source.name)])
  else:
    bench_blur.copy_files(source, part / source.name)
  for table in source.parent.glob("*.csv"):
    shutil.copyfile(table, part / table.name)
  part.rename(target)


def _gathered(given: Mapping[str, Any] | None, all_results: Mapping[str, Mapping[str, Any]], failures: dict[str, str]) -> dict[str, Any]:
  """The rows; raw frames and the anonymizer of a run that is given stand beside them only where they were judged alike."""
  rows = {tool: _figures(results) for tool, results in all_results.items()}
  chance, budget = next(((results["chance"], results["budget"]) for results in all_results.values()), (None, None))
  if given:
    unlike = [name for results in all_results.values() for name in ("budget", "known", "novel", "judged_items", "judged_videos")
              if results.get(name) != given.get(name)]
    if unlike:
      failures["--bench_run"] = f"was judged with another {', '.join(dict.fromkeys(unlike))}: its figures are left out"
    else:
      name = f"{given['method']}, trained on {given['benchmark']} (seed {given['seed']})"
      rows = {RAW: _figures(given["raw"]), **rows, name: _figures(given)}
      chance, budget = given["chance"], given["budget"]
  return {"rows": rows, "chance": chance and _figures(chance), "budget": budget}


def _figures(results: Mapping[str, Any]) -> dict[str, float]:
  return {name: results[name] for name in FIGURES}


def _deface_sees(real: str, failures: dict[str, str]) -> dict[str, Any] | None:
  job = side_by_side.Job("mppar_tf.bench_faces", "seen_by_deface", {"source": str(source_of(real, "ixmas")), "frames": LOOKED})
  try:
    with side_by_side.Child(job) as child:
      return child.ready()
  except side_by_side.Lost as lost:
    failures["faces of ixmas"] = str(lost)
    return None
