"""Shows what a folder of records holds: counts, label statistics of every split, a contact sheet.

  python -m tfrecord_tools.inspect FOLDER [--sheet=sheet.png]

Prevalence is the share of records in which an attribute is present, among those where it is annotated; NA counts the others. Where records
carry boxes of faces and people, frames without any are counted. Frames are told as width x height.
Exit code: 0 shown, 1 the records cannot be trusted or read, 2 a bad command line or a --sheet that is another file, 130 interrupted by
Ctrl-C.
"""

import os
import sys
from typing import Any, Iterator, Sequence

from mppar_tf import flagfiles
from tfrecord_tools import coverage, options, words
from tfrecord_tools.plan import SPLITS


def report(folder: str) -> Iterator[str]:
  """Lines that describe the dataset in `folder`; raises RecordsError where its records do not match its manifest."""
  from mppar_tf.data import records
  manifest = records.read_manifest(folder)
  yield f"{manifest.dataset}: {manifest.kind} records, schema version {manifest.schema_version}, built by version {manifest.tool_version}"
  yield f"licence: {manifest.licence or 'not stated'}"
  yield "settings: " + ", ".join(f"{name}={value}" for name, value in manifest.settings.items() if name != "left_out")
  yield f"closed-set identity: {'yes, the same subjects in every split' if manifest.closed_set_identity else 'no'}"
  left_out = [*manifest.settings.get("left_out", ()), *(text for shards in manifest.splits.values() for s in shards for text in s.skipped)]
  yield f"left out when built: {len(left_out)}"
  yield from (f"  {text}" for text in left_out)
  opened = {split: records.open_split(folder, split) for split in SPLITS if split in manifest.splits}
  yield from _table(["split", "records", "shards", "MB", "smallest frame"], [
      [split, one.total, len(one.files), f"{sum(shard.bytes for shard in manifest.splits[split]) / 1e6:.1f}",
       "{1}x{0}".format(*one.smallest_frame)] for split, one in opened.items()])
  if manifest.classes:
    yield from _table(["action", *opened], _action_rows(manifest, opened))
  if manifest.attributes:
    header = ["attribute", *(f"{split} {what}" for split in opened for what in ("prevalence", "NA"))]
    yield from _table(header, _label_rows(manifest, opened))
  if manifest.subjects:
    yield from _table(["subjects", *opened], _subject_rows(manifest, opened))
  if boxes := _coverage_rows(opened):
    yield from _table(["boxes", "frames", "without a face", "without a person"], boxes)


def _action_rows(manifest: Any, opened: dict[str, Any]) -> list[list[Any]]:
  from mppar_tf.data import records
  actions = {split: records.actions(one) for split, one in opened.items()}  # [N]
  rows = [[name, *(int((values == index).sum()) for values in actions.values())] for index, name in enumerate(manifest.classes)]
  if any((values < 0).any() for values in actions.values()):
    rows.append(["(none)", *(int((values < 0).sum()) for values in actions.values())])
  return rows


def _label_rows(manifest: Any, opened: dict[str, Any]) -> list[list[Any]]:
  from mppar_tf.data import records
  labels = [records.labels(one, manifest.attributes) for one in opened.values()]  # each [N, P]
  rows = []
  for index, name in enumerate(manifest.attributes):
    row: list[Any] = [name]
    for column in (table[:, index] for table in labels):
      known = column[column >= 0]
      row += [f"{(known > 0).mean():.3f}" if len(known) else "-", int((column < 0).sum())]
    rows.append(row)
  return rows


def _subject_rows(manifest: Any, opened: dict[str, Any]) -> list[list[Any]]:
  from mppar_tf.data import records
  here = {split: set(records.subjects(one).tolist()) - {-1} for split, one in opened.items()}
  rows: list[list[Any]] = [["distinct", *(len(found) for found in here.values())]]
  if "train" in here:
    rows.append(["also in train", *(len(found & here["train"]) for found in here.values())])
  return rows


def _coverage_rows(opened: dict[str, Any]) -> list[list[Any]]:
  found, kinds = {split: coverage.coverage(one) for split, one in opened.items()}, coverage.NAMES
  return [[split, max(one.frames for one in of_split.values()), *(str(of_split[key].without) if key in of_split else "-" for key in kinds)]
          for split, of_split in found.items() if of_split]


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterator[str]:
  cells = [[str(cell) for cell in row] for row in (header, *rows)]
  widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
  yield ""
  for row in cells:
    yield "  ".join(cell.ljust(width) if number == 0 else cell.rjust(width) for number, (cell, width) in enumerate(zip(row, widths)))


def inspect(folder: str, chosen: options.SheetOptions) -> int:
  """Prints the report and draws the sheet; returns the exit code."""
  from mppar_tf.data import records
  from tfrecord_tools import sheet
  try:
    for line in report(folder):
      print(line)
    if chosen.sheet:
      sheet.save(chosen.sheet, sheet.of_records([folder], chosen.sheet_records))
      print(f"\ncontact sheet: {chosen.sheet}")
  except (records.RecordsError, OSError) as error:
    print(f"inspect: {error}", file=sys.stderr)
    return 1
  return 0


def main(arguments: Sequence[str] | None = None) -> int:
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow greets with lines of errors that are none
  folders, flags = words.split(sys.argv[1:] if arguments is None else arguments)

  def run() -> int:
    if len(folders) != 1:
      raise flagfiles.OptionError(f"one folder of records is needed, {len(folders)} given: python -m tfrecord_tools.inspect FOLDER")
    return inspect(folders[0], flagfiles.read(options.SheetOptions))
  return flagfiles.main(run, (options.SheetOptions,), __doc__, arguments=flags)


if __name__ == "__main__":
  sys.exit(main())
