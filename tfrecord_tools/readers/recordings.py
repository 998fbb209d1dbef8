"""What datasets of action clips share whose clips were cut from longer recordings: official lists, and validation by whole recordings.

Clips of one recording show the same people in the same place. A validation set that shares recordings with training would praise a
network for remembering them, so validation is cut out of the official training part by recordings ("groups").
"""

import collections
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

from tfrecord_tools.plan import SPLITS, Item, Plan, PlanError, Problem
from tfrecord_tools.readers import official, still, video
from tfrecord_tools.source import Tree, digest_of, draw, mixed

SHARD_RECORDS = 64


class Clip(NamedTuple):
  """One line of an official list."""
  name: str  # CLASS/FILE
  action: str
  group: str  # the recording it was cut from
  split: str  # one of SPLITS


def settings(reader: str, options: Any) -> dict[str, Any]:
  """Everything that decides the records but the source itself."""
  return official.settings(reader, options, SHARD_RECORDS) | {
      "official_split": options.official_split, "validation_groups": options.validation_groups, "split_seed": options.split_seed}


def cut_validation(clips: Sequence[Clip], share: float, seed: int) -> list[Clip]:
  """Moves recordings from training to validation.

  In a seeded order, every recording moves that takes no class above `share` of its training clips. A class that gave nothing then gives the
  recording that overshoots least. No class loses its last training clip. What moves depends on names and seed, not on the order of `clips`.
  """
  clips_of: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)  # recording -> class -> clips
  for clip in clips:
    if clip.split == "train":
      clips_of[clip.group][clip.action] += 1
  total = sum(clips_of.values(), collections.Counter())
  moved, taken = set(), collections.Counter()

  def move_if(group: str, limits: Mapping[str, float]) -> bool:
    fits = all(taken[action] + count <= limits[action] for action, count in clips_of[group].items())
    if fits:
      moved.add(group)
      taken.update(clips_of[group])
    return fits

  ordered = sorted(clips_of, key=lambda group: draw(seed, group))
  for group in ordered:
    move_if(group, {action: share * count for action, count in total.items()})
  for action in sorted(total) if share else ():
    for group in sorted((group for group in ordered if clips_of[group][action]), key=lambda group: clips_of[group].total()):
      if taken[action] or move_if(group, {action: count - 1 for action, count in total.items()}):
        break
  return [clip._replace(split="validation") if clip.split == "train" and clip.group in moved else clip for clip in clips]


def check_lists(clips: Iterable[tuple[str, Clip]], apart: bool = True) -> tuple[list[Clip], list[Problem]]:
  """Clips without those listed twice, and with `apart` without those whose recording stands on both sides of the official split.

  Args:
    clips: (place in a list, clip).
  """
  kept, problems, seen, split_of = [], [], {}, {}
  for place, clip in clips:
    if clip.name in seen:
      problems.append(Problem(f"{place} ({clip.name})", f"listed already ({seen[clip.name]})"))
    elif apart and split_of.setdefault(clip.group, clip.split) != clip.split:
      problems.append(Problem(f"{place} ({clip.name})", f"recording {clip.group!r} is in {split_of[clip.group]} already"))
    else:
      kept.append(clip)
    seen.setdefault(clip.name, place)
  return kept, problems


def plan(dataset: str, clips: Sequence[Clip], problems: Sequence[Problem], files: Tree, classes: Sequence[str], options: Any, *,
         chosen: Mapping[str, Any], licence: str, tables: Sequence[bytes]) -> Plan:
  """The plan of listed clips; a clip without a file is a problem, and so is a class folder without a list. Opens no video.

  Args:
    clips: with their official splits; validation is cut here.
    chosen: the settings.
    tables: content of the lists, for the digest of the source.
  """
  problems, storage, paths = [*problems, *_unlisted(files, classes)], still.Storage.of(options), {}
  items: dict[str, list[Item]] = {split: [] for split in SPLITS}
  for clip in cut_validation(clips, options.validation_groups, options.split_seed):
    try:
      paths[clip.name] = official.located(files, clip.name)
      work = (str(paths[clip.name]), clip, classes.index(clip.action), storage)
      items[clip.split].append(Item(clip.name, work))
    except PlanError:
      raise
    except ValueError as error:
      problems.append(Problem(clip.name, str(error)))
  return Plan(dataset, "video", {split: mixed(listed) for split, listed in items.items()}, make, tuple(classes), (), (), False, licence,
              digest_of(paths, tables), chosen, chosen["shard_records"], tuple(problems))


def _unlisted(files: Tree, classes: Sequence[str]) -> list[Problem]:
  """Class folders that the lists do not know: a list that got lost would cost its class in silence."""
  known = {action.casefold() for action in classes}
  there = collections.Counter(path.parent.name for path in files.paths() if path.suffix == ".avi" and len(path.parts) > 1)
  return [Problem(f"{folder}/", f"{count} videos of a class that is in no list") for folder, count in sorted(there.items())
          if folder.casefold() not in known]


def make(work: tuple) -> dict[str, Any]:
  """One clip's record; runs in a worker."""
  path, clip, action, storage = work
  footage = video.decode(path, storage.jpeg)
  return {"id": clip.name, "frames": footage.frames, "fps": footage.frames_per_second, "action": action, "labels": {}, "subject": "",
          "group": clip.group}
