"""Fuzzing of what a training reads: shards of records, single records, and the manifest."""

import pathlib
import random
import struct
from typing import Any, Mapping, NamedTuple

import numpy as np

from tfrecord_tools.fuzzing import mutations, outcomes
from tfrecord_tools.fuzzing.outcomes import Outcome, Target

COUNTS = {"train": 5, "validation": 2, "test": 2}
SIDE, FRAMES = 16, 3  # pixels, frames of a video
ATTRIBUTES, CLASSES = ("beard", "glasses"), ("walk", "wave")


class Sound(NamedTuple):
  """A dataset's folder as it should be."""
  folder: pathlib.Path
  files: Mapping[str, bytes]
  records: Mapping[str, list[bytes]]  # by split, in storage order


def prepare(folder: pathlib.Path) -> list[Sound]:
  """A dataset of images and one of videos, two shards of train in each."""
  return [_write(folder / kind, kind) for kind in ("image", "video")]


def _write(folder: pathlib.Path, kind: str) -> Sound:
  from mppar_tf.data import records, schema
  writer = records.DatasetWriter(str(folder), schema.Header(folder.name, kind, CLASSES, ATTRIBUTES))
  for split, count in COUNTS.items():
    writer.write_split(split, [f"{split} {number}" for number in range(count)], lambda name: _item(name, kind),
                       shards=2 if split == "train" else 1, progress=False)
  manifest = writer.finish()
  read = {split: [data for _, data in records.read(records.open_split(str(folder), split)).as_numpy_iterator()]
          for split in manifest.splits}
  return Sound(folder, {path.name: path.read_bytes() for path in sorted(folder.iterdir())}, read)


def _item(name: str, kind: str) -> Any:
  from mppar_tf.data import schema
  rng = np.random.default_rng(list(name.encode()))
  frames = rng.integers(0, 256, (FRAMES, SIDE, SIDE, 3), np.uint8)
  shared = {"action": 1, "labels": {"beard": 1, "glasses": 0}, "subject": name, "group": "tape"}
  mask, boxes = np.full((SIDE, SIDE), 255, np.uint8), np.array([[0.1, 0.2, 0.5, 0.6]])
  if kind == "image":
    return schema.Image(name, frames[0], face_boxes=boxes, face_masks=mask, **shared)
  return schema.Video(name, frames, 25.0, frame_labels={"beard": [1, 0, 1]}, face_boxes=[boxes] * FRAMES, face_masks=[mask] * FRAMES,
                      **shared)


# ---- shards ----


def attempt_records(prepared: list[Sound], rng: random.Random, folder: pathlib.Path) -> Outcome:
  """A shard with other bytes, or one record with other bytes in a sound frame."""
  sound = rng.choice(prepared)
  if rng.random() < 0.25:
    return _attempt_body(sound, rng, folder)
  name = rng.choice([name for name in sound.files if name.endswith(".tfrecord")])
  whole = rng.random() < 0.3
  data = _reframed(rng, sound.files[name]) if whole else mutations.binary(rng, sound.files[name])
  outcomes.keep(folder, {name: data})
  if data == sound.files[name]:
    return Outcome(outcomes.SAME)
  (sound.folder / name).write_bytes(data)
  slow = (lambda: _read_by_size(sound, name, whole), lambda: _read_tolerant(sound, name, whole))  # each builds a graph
  checks = (lambda: _read_whole(sound, name), lambda: _verified(sound, name), *rng.sample(slow, rng.choice((0, 1, 1))))
  try:
    ends = [check() for check in checks]
    return next((end for end in ends if end.failed), ends[-1])
  finally:
    (sound.folder / name).write_bytes(sound.files[name])


def _attempt_body(sound: Sound, rng: random.Random, folder: pathlib.Path) -> Outcome:
  from mppar_tf.data import records, schema
  header, data = records.read_manifest(str(sound.folder)).header, rng.choice(sound.records["train"])
  changed = mutations.binary(rng, data)
  outcomes.keep(folder, {"record": changed})
  try:
    schema.check(changed, header)
    schema.decode(changed, header)
  except records.RecordsError as error:
    return outcomes.error(error, header.dataset)
  return Outcome(outcomes.SAME if changed == data else outcomes.OTHER)


def _reframed(rng: random.Random, data: bytes) -> bytes:
  """Whole records lost, repeated or exchanged, or a length that is wrong under a right checksum."""
  frames, place = [], 0
  while place < len(data):
    end = place + 16 + struct.unpack_from("<Q", data, place)[0]
    frames.append(data[place:end])
    place = end
  at, other = rng.randrange(len(frames)), rng.randrange(len(frames))
  match rng.randrange(4):
    case 0:
      del frames[at]
    case 1:
      frames.insert(other, frames[at])
    case 2:
      frames[at], frames[other] = frames[other], frames[at]
    case _:
      frames[at] = _length(rng.choice(mutations.NUMBERS)) + frames[at][12:]
  return b"".join(frames)


def _length(value: int) -> bytes:
  from mppar_tf.data import records
  packed = struct.pack("<Q", value)
  return packed + struct.pack("<I", records.masked_crc32c(packed))


def _split_of(name: str) -> str:
  return name.partition("-")[0]


def _read_whole(sound: Sound, name: str) -> Outcome:
  """As a training on local files reads: every digest is compared."""
  from mppar_tf.data import records
  try:
    records.open_split(str(sound.folder), _split_of(name))
  except records.RecordsError as error:
    return outcomes.error(error, name)
  return Outcome(outcomes.LOSS, f"{name} was opened although its bytes differ")


def _read_by_size(sound: Sound, name: str, whole: bool) -> Outcome:
  """As a training on remote files reads: sizes are compared, then each record's checksum. Exchanged whole records cannot be told."""
  import tensorflow as tf
  from mppar_tf.data import records
  try:
    opened = records.open_split(str(sound.folder), _split_of(name), check="size")
    got = [data for _, data in records.read(opened).as_numpy_iterator()]
  except records.RecordsError as error:
    return outcomes.error(error, name)
  except tf.errors.OpError as error:
    return outcomes.error(records.explain(error), name)
  wanted = sound.records[_split_of(name)]
  if len(got) != len(wanted) or (got != wanted and not whole):
    return Outcome(outcomes.LOSS, f"{name}: {len(got)} records read of {len(wanted)}, {sum(map(bytes.__ne__, got, wanted))} of them others")
  return Outcome(outcomes.OTHER)


def _read_tolerant(sound: Sound, name: str, whole: bool) -> Outcome:
  """Under skip_shard_remainder: what is read is what was written, and what is missing is counted."""
  import tensorflow as tf
  from mppar_tf.data import records
  try:
    opened = records.open_split(str(sound.folder), _split_of(name), on_corrupt="skip_shard_remainder")
    got = dict(records.read(opened, "skip_shard_remainder").as_numpy_iterator())
  except records.RecordsError as error:
    return outcomes.error(error, name, str(sound.folder))
  except tf.errors.OpError as error:
    return outcomes.error(records.explain(error), name)
  wanted = sound.records[_split_of(name)]
  if len(got) + sum(opened.lost.values()) != len(wanted) or sum(opened.present) != len(got):
    return Outcome(outcomes.LOSS, f"{name}: {len(got)} records read of {len(wanted)}, told as lost: {opened.lost}")
  strange = [index for index, data in got.items() if data != wanted[index]]
  return Outcome(outcomes.LOSS, f"{name}: records {strange} are others") if strange and not whole else Outcome(outcomes.LISTED)


def _verified(sound: Sound, name: str) -> Outcome:
  from mppar_tf.data import records
  told = records.verify(str(sound.folder))
  if not any(name in line for line in told):
    return Outcome(outcomes.LOSS, f"verify says nothing of {name}: {told}")
  return Outcome(outcomes.ERROR, name)


# ---- manifests ----


def attempt_manifests(prepared: list[Sound], rng: random.Random, folder: pathlib.Path) -> Outcome:
  """manifest.json changed as text, as bytes, or value by value."""
  import tensorflow as tf
  from mppar_tf.data import records
  sound = rng.choice(prepared)
  path, data = sound.folder / "manifest.json", sound.files["manifest.json"]
  changed = (mutations.json_values if rng.random() < 0.6 else mutations.text)(rng, data)
  outcomes.keep(folder, {path.name: changed})
  path.write_bytes(changed)
  try:
    told = records.verify(str(sound.folder))
    return _read_all(sound, told)
  except records.RecordsError as error:
    return outcomes.error(error, str(sound.folder))
  except tf.errors.OpError as error:  # `read` says so
    return outcomes.error(records.explain(error), *sound.files)
  finally:
    path.write_bytes(data)


def _read_all(sound: Sound, told: list[str]) -> Outcome:
  """Every split as a training reads it, its columns too."""
  from mppar_tf.data import records
  for split, wanted in sound.records.items():
    opened = records.open_split(str(sound.folder), split)
    got = [data for _, data in records.read(opened).as_numpy_iterator()]
    if got != wanted:
      # Two shards exchanged in the list: all records are there, and verify has nothing to say against another order.
      if sorted(got) == sorted(wanted):
        return Outcome(outcomes.OTHER, f"{split}: another order")
      return Outcome(outcomes.LOSS, f"{split}: {len(got)} records read of {len(wanted)}; verify: {told[:3]}")
    if split != "train":  # each column reads the split once more
      continue
    columns = (records.actions(opened), records.subjects(opened), records.ids(opened), opened.smallest_frame,
               records.labels(opened, opened.manifest.attributes) if opened.manifest.attributes else wanted)
    if any(len(column) != len(wanted) for column in (columns[0], columns[1], columns[2], columns[4])):
      return Outcome(outcomes.LOSS, f"{split}: columns of other lengths than {len(wanted)}")
  return Outcome(outcomes.LISTED if told else outcomes.OTHER, "; ".join(told[:3]))


RECORDS = Target(prepare, attempt_records)
MANIFESTS = Target(prepare, attempt_manifests)
