"""Fuzzes what reads files of others: changes small sound inputs and looks at what becomes of them.

  python -m tfrecord_tools.fuzz --fuzz_cases=10000
  python -m tfrecord_tools.fuzz --fuzz_cases=1000 --fuzz_targets=videos,archives --seed=1
  python -m tfrecord_tools.fuzz --fuzz_targets=videos --fuzz_case=271            one case again, with its words

Targets: `records` (shards, single records), `manifests`, `tables` (the CSV of `folder`, the official lists of public datasets), `videos`,
`archives`, `camera` (videos and folders of images, through the whole camera), `camera_models` (what it runs). A case is a function of
(seed, target, number). Each runs in a worker process under a limit of time and one of memory.

Allowed ends: `same` result as the sound input; `error`, one line of the project's own that names the file; `listed`, what is missing is
told; `other`, the changed input is sound in itself (other pixels, another table). Failures: `loss` without an error, `exception` of another
kind, `crash`, `hang`, `memory`, and the camera's `leak` of a raw picture. Failing inputs are kept in --fuzz_failures, a folder for each
case, and listed at the end.
Exit code: 0 no failure, 1 failures, 2 a bad command line, 130 interrupted by Ctrl-C (what was found is told).
"""

import collections
import os
import pathlib
import shutil
import sys
import time
from typing import Iterator, Mapping, NamedTuple, Sequence

import tqdm

from mppar_tf import flagfiles
from tfrecord_tools import options
from tfrecord_tools.fuzzing import outcomes, workers
from tfrecord_tools.fuzzing.outcomes import Outcome

TARGETS = {
    "records": "tfrecord_tools.fuzzing.stored:RECORDS", "manifests": "tfrecord_tools.fuzzing.stored:MANIFESTS",
    "tables": "tfrecord_tools.fuzzing.tables:TABLES", "videos": "tfrecord_tools.fuzzing.media:VIDEOS",
    "archives": "tfrecord_tools.fuzzing.packed:ARCHIVES", "camera": "tfrecord_tools.fuzzing.cameras:FILMS",
    "camera_models": "tfrecord_tools.fuzzing.cameras:MODELS"}


class Ended(NamedTuple):
  """How one case of a target ended."""
  target: str
  case: int
  outcome: Outcome


def shares(cases: int, targets: Sequence[str]) -> dict[str, range]:
  """The cases of each target, as even as they can be."""
  return {target: range(cases * at // len(targets), cases * (at + 1) // len(targets)) for at, target in enumerate(targets)}


def run(cases: Mapping[str, Sequence[int]], chosen: options.FuzzOptions, targets: Mapping[str, str] = TARGETS) -> Iterator[Ended]:
  """Every case with its end, target by target; keeps the inputs of failures."""
  limits = workers.Limits(chosen.fuzz_seconds, chosen.fuzz_megabytes)
  for target, numbers in cases.items():
    with workers.Worker(targets[target], chosen.seed, limits) as worker:
      for case in numbers:
        ended = Ended(target, case, worker.attempt(case))
        if ended.outcome.failed:
          _keep(ended, worker.case_folder, pathlib.Path(chosen.fuzz_failures), chosen.seed)
        yield ended


def _keep(ended: Ended, folder: pathlib.Path, failures: pathlib.Path, seed: int) -> None:
  kept = failures / f"{ended.target}-{seed}-{ended.case}"
  shutil.rmtree(kept, ignore_errors=True)
  shutil.copytree(folder / outcomes.INPUT, kept)
  (kept / "outcome.txt").write_text(f"{ended.outcome.kind}\n{ended.outcome.words}\n", encoding="utf-8", errors="backslashreplace")


def table(counts: Mapping[str, Mapping[str, int]]) -> str:
  """Cases by target and kind of end."""
  kinds = (*outcomes.ALLOWED, *outcomes.FAILURES)
  lines = [["target", "cases", *kinds]]
  lines += [[target, str(sum(found.values())), *(str(found[kind]) for kind in kinds)] for target, found in counts.items()]
  return "\n".join(" ".join(cell.ljust(10) if not at else cell.rjust(9) for at, cell in enumerate(line)) for line in lines)


def fuzz(chosen: options.FuzzOptions, targets: Mapping[str, str] = TARGETS) -> int:
  """Runs what the flags say, prints the table and every failure; returns the exit code."""
  one = chosen.fuzz_case >= 0
  cases = dict.fromkeys(chosen.fuzz_targets, [chosen.fuzz_case]) if one else shares(chosen.fuzz_cases, chosen.fuzz_targets)
  counts = {target: collections.Counter() for target in cases}
  failed: list[Ended] = []
  start, interrupted = time.monotonic(), False
  bar = tqdm.tqdm(total=sum(map(len, cases.values())), desc="fuzz", unit=" cases", mininterval=0.5 if sys.stderr.isatty() else 10.0)
  try:
    for ended in run(cases, chosen, targets):
      counts[ended.target][ended.outcome.kind] += 1
      failed += [ended] * ended.outcome.failed
      bar.update(1)
      bar.set_postfix_str(f"{ended.target}, {len(failed)} failures", refresh=False)
      if one:
        print(f"{ended.target} case {ended.case}: {ended.outcome.kind} {ended.outcome.words}")
  except KeyboardInterrupt:
    interrupted = True
  finally:
    bar.close()
  print(table(counts))
  print(f"seed {chosen.seed}, {time.monotonic() - start:.0f} s")
  for ended in failed:
    print(f"{ended.target} case {ended.case}: {ended.outcome.kind}: {ended.outcome.words.splitlines()[-1]}", file=sys.stderr)
  if failed:
    print(f"fuzz: {len(failed)} failures; their inputs: {chosen.fuzz_failures}", file=sys.stderr)
  return flagfiles.INTERRUPTED if interrupted else 1 if failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  return flagfiles.main(lambda: fuzz(flagfiles.read(options.FuzzOptions)), (options.FuzzOptions,), __doc__, arguments=arguments)


if __name__ == "__main__":
  sys.exit(main())
