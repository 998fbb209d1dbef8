"""Measures detectors of faces and people on your pictures, before records are built with them.

  python -m tfrecord_tools.detector_check --detector=centerface,selfie --source=FOLDER          images and videos, also in folders below
  python -m tfrecord_tools.detector_check --detector=centerface --records=records/twin_images   records that carry the true boxes
  python -m tfrecord_tools.detector_check --detector=centerface,selfie --source=FOLDER --sheet=seen.png       look at what was found

Each detector has its own lines. `frames with` is the share of frames with at least one box; `boxes` the boxes of a frame. With true boxes
also recall and precision at an intersection over union of 0.5 over all boxes, and the mean intersection over union of the masks. `ms` is
what a frame costs on one core, without decoding (median). Frames are spread evenly over files and their lengths, or over records (of a
video its middle). The detectors see what they would see in a build with the same --detector_side. On the sheet faces are red, people green.

Exit code: 0 measured, 1 the records cannot be read or no file can be decoded (a file that cannot is named, and left out), 2 a bad command
line, a --sheet that is another file or a detector that is not there, 130 interrupted by Ctrl-C.
"""

import os
import pathlib
import sys
import time
from typing import Any, Iterator, NamedTuple, Sequence

import numpy as np
import tqdm

from mppar_tf import flagfiles
from tfrecord_tools import options, sheet
from tfrecord_tools.detectors import DETECTORS, judging, watch
from tfrecord_tools.detectors.contract import Regions
from tfrecord_tools.plan import SPLITS, PlanError
from tfrecord_tools.readers import folder, still, video

COLOURS = {"face_boxes": (255, 0, 0), "body_boxes": (0, 160, 0)}
WHAT = {"face": "face_boxes", "person": "body_boxes"}


class Sample(NamedTuple):
  """One frame to look at."""
  name: str
  frame: np.ndarray  # uint8 [H, W, 3]
  true: Regions  # this frame's; all None where nobody knows


class Found(NamedTuple):
  """What one detector saw of it."""
  regions: Regions
  seconds: float


def of_files(root: pathlib.Path, count: int) -> Iterator[Sample | str]:
  """About `count` frames of the images and videos below `root`, or why one of them cannot be read."""
  suffixes = {suffix: kind for kind, listed in folder.KINDS.items() for suffix in listed}
  paths = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in suffixes]
  for path in _spread(paths, count):
    try:
      if suffixes[path.suffix.lower()] == "image":
        yield Sample(path.name, still.decode(path), Regions())
      else:
        frames = video.decode(path).frames
        yield from (Sample(path.name, frame, Regions()) for frame in _spread(frames, max(1, count // len(paths))))
    except video.Undecodable as error:
      yield f"{path}: {error}"


def of_records(root: str, count: int) -> Iterator[Sample]:
  """About `count` frames of a folder of records, with what they tell of faces and people. Raises RecordsError."""
  from mppar_tf.data import records, schema
  manifest = records.read_manifest(root)
  for split in (split for split in SPLITS if split in manifest.splits):
    opened = records.open_split(root, split)
    wanted = set(_spread(range(opened.total), max(1, count // len(manifest.splits))))
    for number, (_, serialized) in enumerate(records.read(opened).as_numpy_iterator()):
      if number in wanted:
        record = schema.decode(serialized, manifest.header)
        fields = {field: getattr(record, field) for field in Regions._fields}
        if manifest.kind == "video":
          middle = len(record.frames) // 2
          yield Sample(record.id, record.frames[middle], Regions(**{f: value and value[middle] for f, value in fields.items()}))
        else:
          yield Sample(record.id, record.pixels, Regions(**fields))


def _spread(everything: Sequence[Any], count: int) -> list[Any]:
  """At most `count`: the middles of as many equal parts."""
  count = min(count, len(everything))
  return [everything[(2 * number + 1) * len(everything) // (2 * count)] for number in range(count)]


def look(one: watch.Chosen, sample: Sample, side: int) -> Found:
  """As a build would that keeps the frame's own size."""
  height, width = sample.frame.shape[:2]
  alone = watch.Watch((one,), side)
  picture = still.stretch(sample.frame, *alone.size(height, width, max(height, width)))
  start = time.perf_counter()
  return Found(alone.look(picture, height, width), time.perf_counter() - start)


def table(samples: Sequence[Sample], found: dict[str, list[Found]]) -> Iterator[str]:
  """A line for each detector and what it looks for."""
  yield (f"{'detector':12} {'looks for':9} {'frames':>6} {'frames with':>11} {'boxes':>6} {'recall':>7} {'precision':>9} "
         f"{'mask IoU':>8} {'ms':>6}")
  for name, answers in found.items():
    for what, field in ((what, field) for what, field in WHAT.items() if field in DETECTORS[name].offers):
      cells = _cells(samples, answers, field)
      yield f"{name:12} {what:9} {len(samples):6} {cells}"


def _cells(samples: Sequence[Sample], answers: Sequence[Found], field: str) -> str:
  """The rest of one line. Recall and precision over the frames whose truth is known."""
  pairs = [(getattr(answer.regions, field), getattr(sample.true, field)) for sample, answer in zip(samples, answers)]
  every = sum((judging.tally(boxes, None) for boxes, _ in pairs), judging.Tally())
  known = sum((judging.tally(boxes, true) for boxes, true in pairs if true is not None), judging.Tally())
  field = field.replace("boxes", "masks")
  masks = [(getattr(answer.regions, field), getattr(sample.true, field)) for sample, answer in zip(samples, answers)]
  masks = [judging.mask_overlap(seen, true) for seen, true in masks if seen is not None and true is not None]
  recall, precision = _share(known.matched, known.true), _share(known.matched, known.found)
  milliseconds = 1000 * np.median([answer.seconds for answer in answers])
  return (f"{every.hit / every.frames:11.3f} {every.found / every.frames:6.2f} {recall:>7} {precision if known.true else '-':>9} "
          f"{f'{np.mean(masks):.3f}' if masks else '-':>8} {milliseconds:6.1f}")


def _share(part: int, whole: int) -> str:
  return f"{part / whole:.3f}" if whole else "-"


def drawn(sample: Sample, all_found: Sequence[Found]) -> sheet.Entry:
  """The frame with its boxes, and beside it what the masks cover."""
  factor = max(1, round(2 * sheet.THUMBNAIL / sample.frame.shape[0]))
  plain = frame = sample.frame.repeat(factor, 0).repeat(factor, 1)
  covered, (height, width) = plain // 4, plain.shape[:2]
  for regions in (found.regions for found in all_found):
    for field, colour in COLOURS.items():
      frame = outlined(frame, getattr(regions, field), colour)
      mask = getattr(regions, field.replace("boxes", "masks"))
      if mask is not None:
        inside = still.stretch(mask.repeat(3).reshape(*mask.shape, 3), height, width) > 127
        covered = np.where(inside, plain, covered)
  return sheet.Entry([frame, covered], [sample.name])


def outlined(frame: np.ndarray, boxes: np.ndarray | None, colour: tuple[int, int, int]) -> np.ndarray:
  """A copy with the boxes' outlines, two pixels wide."""
  frame, (height, width) = frame.copy(), frame.shape[:2]
  for y0, x0, y1, x1 in [] if boxes is None else boxes:
    top, left, bottom, right = round(y0 * height), round(x0 * width), round(y1 * height), round(x1 * width)
    for part in (np.s_[top:top + 2, left:right], np.s_[max(0, bottom - 2):bottom, left:right],
                 np.s_[top:bottom, left:left + 2], np.s_[top:bottom, max(0, right - 2):right]):
      frame[part] = colour
  return frame


def check(chosen: options.DetectorCheckOptions) -> int:
  """Measures, prints the table and draws the sheet; returns the exit code."""
  from mppar_tf.data import records
  samples: list[Sample] = []
  try:
    watching = watch.chosen(chosen)
    count = chosen.check_frames
    given = of_records(chosen.records, count) if chosen.records else of_files(pathlib.Path(chosen.source), count)
    found: dict[str, list[Found]] = {one.name: [] for one in watching.chosen}
    with tqdm.tqdm(desc="frames", unit=" frames", total=count, mininterval=0.5 if sys.stderr.isatty() else 10.0) as bar:
      for sample in given:
        if isinstance(sample, str):
          print(f"left out: {sample}", file=sys.stderr)
          continue
        for one in watching.chosen:
          found[one.name].append(look(one, sample, chosen.detector_side))
        samples.append(sample)
        bar.update(1)
  except PlanError as error:
    raise flagfiles.OptionError(str(error)) from error
  except (records.RecordsError, OSError) as error:
    print(f"detector_check: {error}", file=sys.stderr)
    return 1
  if not samples:
    print(f"detector_check: no image or video in {chosen.source or chosen.records} that can be read", file=sys.stderr)
    return 1
  print("\n".join(table(samples, found)))
  if chosen.sheet:
    numbers = _spread(range(len(samples)), chosen.sheet_records)
    entries = [drawn(samples[number], [answers[number] for answers in found.values()]) for number in numbers]
    sheet.save(chosen.sheet, sheet.draw([(f"{', '.join(found)}: {len(entries)} of {len(samples)} frames", entries)]))
    print(f"contact sheet: {chosen.sheet}")
  return 0


def main(arguments: Sequence[str] | None = None) -> int:
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  chosen = (options.DetectorCheckOptions,)
  return flagfiles.main(lambda: check(flagfiles.read(options.DetectorCheckOptions)), chosen, __doc__, arguments=arguments)


if __name__ == "__main__":
  sys.exit(main())
