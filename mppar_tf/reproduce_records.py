"""Whether results were judged on the same records: rows and seeds stand side by side only then, and flags alone do not say it."""

import pathlib
from typing import Any, Iterable, Mapping

from mppar_tf.flagfiles import OptionError

# Among the facts of a result: digests of all shards of the clips, of the private set, and of a test set of its own.
RECORDS = ("clips", "private", "test")
REMEDY = "move it away and its cell is run again, or give another --results_dir"


def check(finished: Mapping[pathlib.Path, Mapping[str, Any]], present: Mapping[str, str] | None = None) -> None:
  """Raises OptionError where results of one comparison were judged on different records.

  Args:
    finished: file -> its results.
    present: {one of RECORDS: digest} of the records that further cells will see; None where none is to be run.
  """
  seen = {name: (digest, "those in --data_dir") for name, digest in (present or {}).items()}
  for path, results in finished.items():
    for name, digest in digests(results).items():
      first, where = seen.setdefault(name, (digest, str(path)))
      if digest != first:
        raise OptionError(f"{path} was judged on other records ({name}: {digest}) than {where} ({first}): {REMEDY}")


def digests(results: Mapping[str, Any]) -> dict[str, str]:
  facts = results.get("facts") or {}
  return {name: facts[name] for name in RECORDS if name in facts}


def present(folders: Iterable[tuple[str, str]]) -> dict[str, str]:
  """{one of RECORDS: digest} of (one of RECORDS, folder of a dataset) pairs. Raises OptionError where one is no folder of records."""
  from mppar_tf.data import manifest, records
  try:
    return {name: manifest.read_manifest(folder).digest for name, folder in folders}
  except records.RecordsError as error:
    raise OptionError(str(error)) from error
