"""The embedded benchmark as two dataset folders: `twin_clips` (videos with actions) and `twin_images` (photographs); both carry the privacy
labels, boxes and masks. Nothing is downloaded: every sample is rendered from (seed, split, index).
"""

import hashlib
from typing import Any

import numpy as np

from tfrecord_tools.plan import Item, Plan, PlanError
from tfrecord_tools.twin import dataset

FOLDERS = {"twin_clips": "video", "twin_images": "image"}
SPLITS = ("train", "validation", "test")
LICENCE = "Synthetic: rendered by this program, shows no real person; free to use like the program itself."
SHARD_RECORDS = {"video": 200, "image": 500}
PROBES = 2  # samples of each split whose pixels stand for the renderer in the source digest


def settings(options: Any) -> dict[str, dict[str, Any]]:
  """Everything that decides the records but the renderer itself, for each dataset folder."""
  shared = {"reader": "twin", "jpeg_quality": options.jpeg_quality, "seed": options.twin_seed, "size": options.twin_size,
            "grouping": options.twin_grouping, "share": options.twin_share}
  return {name: {**shared, **({"frames": options.twin_frames} if kind == "video" else {}),
                 "shard_records": options.shard_records or SHARD_RECORDS[kind]} for name, kind in FOLDERS.items()}


def plan(options: Any) -> list[Plan]:
  """Both halves of the benchmark. Raises PlanError where an option is outside of what the twin can render."""
  plans = []
  for name, chosen in settings(options).items():
    kind = FOLDERS[name]
    try:
      twin = dataset.Twin(kind, options.twin_seed, options.twin_size, options.twin_frames, options.twin_grouping)
    except ValueError as error:
      raise PlanError(f"twin: {error}") from error
    numbers = {split: range(max(1, round(dataset.count(twin, split) * options.twin_share))) for split in SPLITS}
    # In order of rendering: each run of samples holds every action and every actor already.
    items = {split: [Item(f"{kind}_{split}_{index:05d}", (twin, split, index)) for index in numbers[split]] for split in SPLITS}
    subjects = sorted({actor for split in SPLITS for actor in dataset.actors(twin, split)})
    classes = dataset.CLASSES if kind == "video" else ()
    plans.append(Plan(name, kind, items, make, classes, twin.attributes, tuple(subjects), False, LICENCE, _renderer(twin), chosen,
                      chosen["shard_records"]))
  return plans


def make(work: tuple) -> dict[str, Any]:
  """One sample's record; runs in a worker."""
  return dataset.fields(*work)


def _renderer(twin: dataset.Twin) -> str:
  """A digest of what the renderer draws, not of its text: a reworded comment makes no other dataset, a moved limb does."""
  value = hashlib.sha256(repr(twin).encode())
  for split in SPLITS:
    for index in range(PROBES):
      drawn = dataset.fields(twin, split, index)
      value.update(np.asarray(drawn["frames"] if twin.kind == "video" else drawn["pixels"]).tobytes())
      value.update(repr(sorted(drawn["labels"].items())).encode())
  return value.hexdigest()
