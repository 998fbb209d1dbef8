"""Contact sheets: what a dataset looks like, on one picture."""

import itertools
import os
import stat
from typing import Any, Iterator, NamedTuple, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from tfrecord_tools.plan import SPLITS
from tfrecord_tools.readers import still

FRAMES = 8  # shown of one video
THUMBNAIL = 96  # pixels, height of a frame on the sheet
GAP = 6
TEXT = 12  # pixels
WIDTH = 1600  # pixels of a row of records, at most
MARK = ("Software", "tfrecord_tools contact sheet")  # a PNG's own word for what wrote it, and ours
HEAD = 256  # bytes within which the mark stands


class Entry(NamedTuple):
  """One record on the sheet."""
  frames: Sequence[np.ndarray]  # uint8 [H, W, 3]; one for a still image
  caption: Sequence[str]  # lines


def draw(sections: Sequence[tuple[str, Sequence[Entry]]]) -> np.ndarray:
  """Headed sections of records, filled from left to right, as uint8 RGB [H, W, 3]."""
  font = ImageFont.load_default(TEXT)
  rows: list[Image.Image] = []
  for heading, entries in sections:
    rows.append(_text_block([heading], font, WIDTH))
    tiles = [_tile(entry, font) for entry in entries]
    while tiles:
      line, width = [], 0
      while tiles and (not line or width + tiles[0].width <= WIDTH):
        line.append(tiles.pop(0))
        width += line[-1].width + GAP
      rows.append(_beside(line))
  sheet = Image.new("RGB", (max(row.width for row in rows) + 2 * GAP, sum(row.height + GAP for row in rows) + GAP), "white")
  top = GAP
  for row in rows:
    sheet.paste(row, (GAP, top))
    top += row.height + GAP
  return np.asarray(sheet)


def save(path: str | os.PathLike, sheet: np.ndarray) -> None:
  """Writes a sheet as PNG, in a folder that is made if absent."""
  os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
  marks = PngImagePlugin.PngInfo()
  marks.add_text(*MARK)
  Image.fromarray(sheet).save(path, "PNG", pnginfo=marks)


def is_ours(path: str | os.PathLike) -> bool:
  """Whether `save` wrote what stands there, which it may then replace."""
  try:
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for
      return False
    with open(path, "rb") as file:
      head = file.read(HEAD)
  except OSError:
    return False
  return head.startswith(b"\x89PNG") and "\0".join(MARK).encode() in head


def of_records(folders: Sequence[str | os.PathLike], count: int) -> np.ndarray:
  """The first `count` records of every split of every folder, with their labels; uint8 RGB [H, W, 3]. Raises RecordsError."""
  from mppar_tf.data import records, schema
  sections = []
  for folder in folders:
    manifest = records.read_manifest(folder)
    for split in (split for split in SPLITS if split in manifest.splits):
      opened = records.open_split(folder, split)
      stored = records.read(opened).as_numpy_iterator()
      entries = [_entry(schema.decode(serialized, manifest.header), manifest) for _, serialized in itertools.islice(stored, count)]
      sections.append((f"{manifest.dataset} {split}: {len(entries)} of {opened.total} {manifest.kind}s", entries))
  return draw(sections)


def _entry(record: Any, manifest: Any) -> Entry:
  frames = record.frames if manifest.kind == "video" else [record.pixels]
  return Entry(frames, [line for line in (record.id, *_words(record, manifest)) if line])


def _words(record: Any, manifest: Any) -> Iterator[str]:
  if record.action >= 0:
    yield manifest.classes[record.action]
  if record.subject:
    yield f"subject {record.subject}"
  yield ", ".join(name for name in manifest.attributes if record.labels.get(name, 0) > 0)
  unknown = [name for name in manifest.attributes if name not in record.labels]
  yield f"not annotated: {', '.join(unknown)}" if unknown else ""


def shown(count: int) -> list[int]:
  """Indices of the frames of a video that are shown: evenly spaced, first and last among them."""
  return sorted({round(index) for index in np.linspace(0, count - 1, min(count, FRAMES))})


def _tile(entry: Entry, font: ImageFont.ImageFont) -> Image.Image:
  frames = [entry.frames[index] for index in shown(len(entry.frames))]
  tall, wide = frames[0].shape[:2]
  if tall < THUMBNAIL:
    # Whole pixels, so that what the networks see is what the sheet shows.
    factor = max(1, round(THUMBNAIL / tall))
    frames = [frame.repeat(factor, 0).repeat(factor, 1) for frame in frames]
  else:
    frames = [still.stretch(frame, THUMBNAIL, max(1, round(wide * THUMBNAIL / tall))) for frame in frames]
  strip = Image.fromarray(np.concatenate(frames, axis=1))  # [H, n W, 3]
  words = _text_block(entry.caption, font, max(strip.width, 2 * THUMBNAIL))
  tile = Image.new("RGB", (max(strip.width, words.width), strip.height + words.height), "white")
  tile.paste(strip, (0, 0))
  tile.paste(words, (0, strip.height))
  return tile


def _text_block(lines: Sequence[str], font: ImageFont.ImageFont, width: int) -> Image.Image:
  wrapped = [part for line in lines for part in _wrap(line, font, width)]
  block = Image.new("RGB", (width, (TEXT + 3) * len(wrapped)), "white")
  pen = ImageDraw.Draw(block)
  for number, line in enumerate(wrapped):
    pen.text((0, number * (TEXT + 3)), line, fill="black", font=font)
  return block


def _wrap(line: str, font: ImageFont.ImageFont, width: int) -> list[str]:
  lines = [""]
  for word in line.split():
    if lines[-1] and font.getlength(f"{lines[-1]} {word}") > width:
      lines.append("")
    lines[-1] = f"{lines[-1]} {word}".strip()
    while font.getlength(lines[-1]) > width and len(lines[-1]) > 1:  # an id is one long word
      fits = next(end for end in range(len(lines[-1]) - 1, 0, -1) if end == 1 or font.getlength(lines[-1][:end]) <= width)
      lines[-1:] = [lines[-1][:fits], lines[-1][fits:]]
  return lines


def _beside(tiles: Sequence[Image.Image]) -> Image.Image:
  row = Image.new("RGB", (sum(tile.width + GAP for tile in tiles) - GAP, max(tile.height for tile in tiles)), "white")
  left = 0
  for tile in tiles:
    row.paste(tile, (left, 0))
    left += tile.width + GAP
  return row
