"""UTKFace: faces whose file names tell age, gender and race: `age_gender_race_date.jpg`.

Binary attributes: gender_female, four races (the fifth, Others, is absent from all four) and four age groups. The races exclude one
another, and so do the age groups: a "novel" one shares its mechanism with a known one, which results on this set must say.
"""

import pathlib
import re
from typing import Any, NamedTuple

from tfrecord_tools.plan import Item, Plan, PlanError, Problem
from tfrecord_tools.readers import still
from tfrecord_tools.source import digest, draw, inside, mixed

RACES = ("white", "black", "asian", "indian")  # the file name's number; 4 is Others
AGE_GROUPS = {"child": (0, 12), "young": (13, 29), "adult": (30, 59), "senior": (60, 116)}  # years, both ends included
ATTRIBUTES = ("gender_female", *(f"race_{race}" for race in RACES), *(f"age_{group}" for group in AGE_GROUPS))
SHARES = {"train": 0.6, "validation": 0.1, "test": 0.3}
SUFFIXES = (".jpg", ".jpeg", ".png")
LICENCE = "UTKFace: non-commercial research use only; the images belong to their owners."
SHARD_RECORDS = 500
STORED_SIZE = 64  # pixels; half of a 112-pixel frame, and a 48-pixel crop still moves by 16


class Person(NamedTuple):
  """What a file name tells."""
  age: int
  gender: int  # 0 male, 1 female
  race: int  # 0 to 4


def settings(options: Any) -> dict[str, dict[str, Any]]:
  """Everything that decides the records but the source itself, for each dataset folder."""
  return {"utkface": {"reader": "utkface", "jpeg_quality": options.jpeg_quality, "size": options.size, "split_seed": options.split_seed,
                      "shard_records": options.shard_records or SHARD_RECORDS}}


def plan(options: Any) -> list[Plan]:
  """Lists the folder and splits by a seeded hash of the names; opens no image. Raises PlanError where there are none."""
  if not options.source:
    raise PlanError("utkface: --source is missing: the folder of UTKFace images, or the one that holds images/")
  root = pathlib.Path(options.source)
  root = root / "images" if (root / "images").is_dir() else root
  if not root.is_dir():
    raise PlanError(f"utkface: no folder {options.source!r} (--source)")
  names = sorted(path.name for path in root.iterdir() if path.suffix.lower() in SUFFIXES)
  if not names:
    raise PlanError(f"utkface: no {', '.join(SUFFIXES)} file in --source={options.source}")
  items: dict[str, list[Item]] = {split: [] for split in SHARES}
  problems, storage = [], still.Storage.sized(options, options.size, options.size)
  for name in names:
    try:
      work = (str(inside(root, name)), name, read_name(name), storage)
    except ValueError as error:
      problems.append(Problem(name, str(error)))
    else:
      items[split_of(name, options.split_seed)].append(Item(name, work))
  chosen = settings(options)["utkface"]
  return [Plan("utkface", "image", {split: mixed(listed) for split, listed in items.items()}, make, (), ATTRIBUTES, (), False, LICENCE,
               digest(root, names), chosen, chosen["shard_records"], tuple(problems))]


def make(work: tuple) -> dict[str, Any]:
  """One face's record; runs in a worker."""
  path, name, person, storage = work
  return {"id": name, "pixels": storage.jpeg(still.decode(path)), "labels": labels(person), "subject": "", "group": ""}


def read_name(name: str) -> Person:
  """`25_1_0_20170109.jpg` -> Person(25, 1, 0); raises ValueError with what is wrong (the full set holds a few names without a race)."""
  match = re.match(r"(\d+)_(\d+)_(\d+)_(\d+)\.", name)
  if not match:
    raise ValueError("name is not age_gender_race_date")
  person = Person(*(int(part) for part in match.groups()[:3]))
  oldest = AGE_GROUPS["senior"][1]
  if person.age > oldest:
    raise ValueError(f"age {person.age} in the name is not within 0 to {oldest}")
  if person.gender > 1:
    raise ValueError(f"gender {person.gender} in the name is not 0 or 1")
  if person.race > len(RACES):
    raise ValueError(f"race {person.race} in the name is not within 0 to {len(RACES)}")
  return person


def labels(person: Person) -> dict[str, int]:
  """1 present, 0 absent, for each of ATTRIBUTES."""
  known = {"gender_female": person.gender}
  known |= {f"race_{race}": int(person.race == index) for index, race in enumerate(RACES)}
  return known | {f"age_{group}": int(low <= person.age <= high) for group, (low, high) in AGE_GROUPS.items()}


def split_of(name: str, seed: int) -> str:
  """The split of a file: SHARES of the unit interval, in which a seeded hash of the name falls."""
  place, edge = draw(seed, name), 0.0
  for split, share in SHARES.items():
    edge += share
    if place < edge:
      return split
  return list(SHARES)[-1]
