"""What records a run was begun on: gone on with on others it would be neither the one training nor the other."""

import json
import pathlib
from typing import Any

from mppar_tf import whole_files
from mppar_tf.flagfiles import OptionError
from mppar_tf.messages import one_line

RECORD = "records.json"  # in the run folder


def seen_by(built: Any) -> dict[str, str]:
  """{"clips": digest, "private": digest} of an experiment.Experiment: of all splits, for what was test may be training elsewhere."""
  return {"clips": built.clips["train"].manifest.digest, "private": built.private["train"].manifest.digest}


def others(run_dir: pathlib.Path, present: dict[str, str]) -> str:
  """Which of the sets are others than the run's; empty where none is, or where the run is older than this record.

  Raises:
    OptionError: the record is damaged.
  """
  path = run_dir / RECORD
  if not path.exists():
    return ""
  try:
    then = json.loads(path.read_text(encoding="utf-8"))
    return ", ".join(f"{name} {then[name]} there, {digest} here" for name, digest in present.items() if then[name] != digest)
  except (OSError, ValueError, LookupError, TypeError) as error:
    raise OptionError(f"{path} is damaged ({one_line(error, 100)}); remove it where the records are surely the run's own") from error


def check(run_dir: pathlib.Path, init_from: str | None, present: dict[str, str]) -> None:
  """Raises OptionError where this run, or the one whose initialisation it takes, was begun on other records."""
  if apart := others(run_dir, present):
    raise OptionError(f"{run_dir} was begun on other records ({apart}): give their --data_dir, or choose another --run_dir")
  if init_from and (apart := others(pathlib.Path(init_from), present)):
    raise OptionError(f"--init_from={init_from}: that run was initialised on other records ({apart})")


def write(run_dir: pathlib.Path, present: dict[str, str]) -> None:
  whole_files.write_json(run_dir / RECORD, present)
