"""SBU Kinect Interaction: two people, eight actions; the private label is which two people they are.

Source: a folder with the 21 sets `s01s02` ... `s07s03`, named after who acts and who reacts, each with folders `01` ... `08` (action),
`001` ... (clip) and pictures `rgb_000001.png` ... Sets with the same two people, `s01s02` and `s02s01`, are one pair: 13 pairs.

Two ways to split (--sbu_split):
- `pairs`: by clip, every pair on both sides, so the manifest declares closed-set identity. The lists `train.txt` and `val.txt` (also
  `bdq_train.txt`, `bdq_val.txt`; lines `PATH,FIRST,LAST,PAIR,ACTION`) come with the code of BDQ, not with the pictures. Its validation
  clips become test, and validation is cut out of train.
- `fold1` ... `fold5`: the official folds, for actions. They divide sets, not people: all seven act on both sides, and so do most pairs. Who
  is seen is therefore not recorded; a clip's group is its set, and validation is whole sets of the training side.
"""

import pathlib
import re
from typing import Any, NamedTuple

from tfrecord_tools import splits
from tfrecord_tools.plan import Item, Plan, PlanError, Problem
from tfrecord_tools.readers import ixmas, numbered, official, still
from tfrecord_tools.source import digest, inside, mixed

SETS = ("s01s02", "s01s03", "s01s07", "s02s01", "s02s03", "s02s06", "s02s07", "s03s02", "s03s04", "s03s05", "s03s06",
        "s04s02", "s04s03", "s04s06", "s05s02", "s05s03", "s06s02", "s06s03", "s06s04", "s07s01", "s07s03")
FOLDS = {"fold1": (1, 9, 15, 19), "fold2": (5, 7, 10, 16), "fold3": (2, 3, 20, 21), "fold4": (4, 6, 8, 11),
         "fold5": (12, 13, 14, 17, 18)}  # the test sets of each, counted from 1
SPLITS = ("pairs", *FOLDS)
ACTIONS = ("approaching", "departing", "kicking", "punching", "pushing", "hugging", "shaking_hands", "exchanging")
LISTS = {"train": ("train.txt", "bdq_train.txt"), "val": ("val.txt", "bdq_val.txt")}
FRAMES_PER_SECOND = 15.0  # of the Kinect; the files do not say
LICENCE = "SBU Kinect Interaction (Stony Brook University): published for research, no licence stated; research use only."
SHARD_RECORDS = 32


class Clip(NamedTuple):
  """One performance, and where it stands."""
  place: str  # list and line, or its folder
  set: str
  action: int
  number: str  # "001"
  first: int
  last: int

  @property
  def name(self) -> str:
    return f"{self.set}_{self.action + 1:02d}_{self.number}"

  @property
  def pictures(self) -> list[str]:
    return [f"rgb_{number:06d}.png" for number in range(self.first, self.last + 1)]


def pair_of(set_name: str) -> str:
  """`s02s01` -> `s01s02`: the two people, whoever begins."""
  return "".join(sorted((set_name[:3], set_name[3:])))


PAIRS = tuple(dict.fromkeys(map(pair_of, SETS)))  # in the numbering of the lists


def settings(options: Any) -> dict[str, dict[str, Any]]:
  """Everything that decides the records but the source itself, for each dataset folder."""
  name = "sbu" if options.sbu_split == "pairs" else f"sbu_{options.sbu_split}"
  return {name: official.settings("sbu", options, SHARD_RECORDS) | {
      "split": options.sbu_split, "split_seed": options.split_seed, "validation_share": options.validation_share}}


def plan(options: Any) -> list[Plan]:
  """Reads the lists, or looks through the sets, and cuts the splits; opens no picture. Raises PlanError where the folder is not SBU."""
  if not options.source:
    raise PlanError("sbu: --source is missing: the folder that holds the sets s01s02 ... s07s03")
  root = pathlib.Path(options.source)
  if not any(_set_folder(root, name) for name in SETS):
    raise PlanError(f"sbu: none of the sets {SETS[0]} ... {SETS[-1]} in --source={options.source}")
  [(name, chosen)] = settings(options).items()
  clips, tables, problems = _by_pairs(root, chosen) if options.sbu_split == "pairs" else _by_fold(root, chosen)
  closed = options.sbu_split == "pairs"
  if closed:
    splits.check_closed_set(name, {split: [pair_of(clip.set) for clip in found] for split, found in clips.items()}, problems)
  storage = still.Storage.of(options)
  items = {split: mixed(Item(clip.name, (str(_folder(root, clip)), clip, closed, storage)) for clip in found)
           for split, found in clips.items()}
  files = [f"{_folder(root, clip).relative_to(root)}/{file}" for found in clips.values() for clip in found for file in clip.pictures]
  return [Plan(name, "video", items, make, ACTIONS, (), PAIRS if closed else (), closed, LICENCE, digest(root, files, tables), chosen,
               chosen["shard_records"], tuple(problems))]


def make(work: tuple) -> dict[str, Any]:
  """One clip's record; runs in a worker."""
  folder, clip, closed, storage = work
  frames = numbered.decode(folder, clip.pictures, storage.jpeg)
  return {"id": clip.name, "frames": frames, "fps": FRAMES_PER_SECOND, "action": clip.action, "labels": {},
          "subject": pair_of(clip.set) if closed else "", "group": clip.name if closed else clip.set}


# ---- by clip ----


def _by_pairs(root: pathlib.Path, chosen: dict[str, Any]) -> tuple[dict[str, list[Clip]], list[bytes], list[Problem]]:
  listed: dict[str, list[Clip]] = {}
  tables, problems, seen = [], [], {}
  for split, files in LISTS.items():
    table = next((root / file for file in files if (root / file).is_file()), None)
    if table is None:
      raise PlanError(f"sbu: no {' or '.join(files)} in {root}: the clip lists of BDQ's code, which --sbu_split=fold1 does without")
    tables.append(table.read_bytes())
    listed[split] = []
    for line, text in enumerate(tables[-1].decode("utf-8-sig", "replace").splitlines(), 1):
      place = f"{table.name} line {line}"
      try:
        clip = read_line(place, text)
        if seen.setdefault(clip.name, place) != place:
          raise ValueError(f"a second line for this clip (first: {seen[clip.name]})")
        if not _folder(root, clip).is_dir():
          raise ValueError("no such folder")
        listed[split].append(clip)
      except ValueError as error:
        problems.append(Problem(f"{place} ({text.partition(',')[0]})", str(error)))
  rows = [{"file": clip.name, "subject": pair_of(clip.set), "action": str(clip.action), "split": split}
          for split, clips in listed.items() for clip in clips]
  cut = ixmas.cut_validation(rows, chosen["validation_share"], chosen["split_seed"])
  clips: dict[str, list[Clip]] = {"train": [], "validation": [], "test": []}
  for clip, split in zip([*listed["train"], *listed["val"]], cut):
    clips[split].append(clip)
  return clips, tables, problems


def read_line(place: str, text: str) -> Clip:
  """`SBU/s03s06/s03s06/01/002,1,26,8,0` -> Clip; raises ValueError with what is wrong."""
  cells = [cell.strip() for cell in text.split(",")]
  if len(cells) != 5:
    raise ValueError(f"{len(cells)} cells, not PATH,FIRST,LAST,PAIR,ACTION")
  parts = cells[0].split("/")[-3:]
  if len(parts) != 3 or parts[0] not in SETS or not re.fullmatch(r"0[1-8]", parts[1]) or not re.fullmatch(r"\d{3}", parts[2]):
    raise ValueError("its path does not end in SET/ACTION/CLIP, e.g. s01s02/03/001")
  if not all(cell.isascii() and cell.isdigit() for cell in cells[1:]):
    raise ValueError(f"{','.join(cells[1:])} are not four numbers")
  first, last, pair, action = map(int, cells[1:])
  if not 1 <= first <= last < first + numbered.LONGEST:
    raise ValueError(f"frames {first} to {last}")
  if pair != PAIRS.index(pair_of(parts[0])):
    raise ValueError(f"pair {pair}, but set {parts[0]} shows pair {PAIRS.index(pair_of(parts[0]))}")
  if action != int(parts[1]) - 1:
    raise ValueError(f"action {action}, but folder {parts[1]} holds action {int(parts[1]) - 1}")
  return Clip(place, parts[0], action, parts[2], first, last)


# ---- by set ----


def _by_fold(root: pathlib.Path, chosen: dict[str, Any]) -> tuple[dict[str, list[Clip]], list[bytes], list[Problem]]:
  problems: list[Problem] = []
  test = {SETS[number - 1] for number in FOLDS[chosen["split"]]}
  validation = splits.held_out(set(SETS) - test, chosen["validation_share"], chosen["split_seed"])
  clips: dict[str, list[Clip]] = {"train": [], "validation": [], "test": []}
  for name in SETS:
    split = "test" if name in test else "validation" if name in validation else "train"
    folder = _set_folder(root, name)
    if folder is None:
      problems.append(Problem(name, "no such folder"))
    for path in sorted(folder.glob("0[1-8]/[0-9][0-9][0-9]")) if folder else ():
      place = str(path.relative_to(root))
      numbers = [int(found[1]) for file in path.glob("rgb_*.png") if (found := re.fullmatch(r"rgb_(\d{6})\.png", file.name))]
      if numbers:
        # From the first to the last by number: a gap between them is a picture that is missing, which `make` tells.
        clips[split].append(Clip(place, name, int(path.parent.name) - 1, path.name, 1, max(numbers)))
      else:
        problems.append(Problem(place, "no picture rgb_000001.png in it"))
  return clips, [], problems


def _folder(root: pathlib.Path, clip: Clip) -> pathlib.Path:
  """The folder of a clip's pictures, existing or not."""
  return (_set_folder(root, clip.set) or inside(root, clip.set)) / f"{clip.action + 1:02d}" / clip.number


def _set_folder(root: pathlib.Path, name: str) -> pathlib.Path | None:
  """The folder of a set. Each set is an archive of its own, and unpacking it into a folder of its name nests the two."""
  return next((path for path in (inside(root, f"{name}/{name}"), inside(root, name)) if path.is_dir()), None)
