"""VISPR: 22,167 photographs from the web, each with those of 68 privacy attributes that it shows; official train, validation and test.

Source: the folder or archive with `train2017/*.jpg`, `val2017/` and `test2017/`. Annotations, below it or as --annotations: the lists
`train2017.txt` and so on (a line a photograph: `annotations/train2017/2017_10001018.json`), those JSON files
(`{"id", "image_path", "labels": ["a0_safe", ...], "safe"}`), and `attributes.tsv`, which must name the 68 attributes that are known here.

What a photograph's labels do not name is absent. Beside the 68 stand PA-HMDB51's five, merged from them (`vocabularies.MERGED`), so that
attackers trained here can be judged there.
"""

import json
import pathlib
from typing import Any, NamedTuple

from mppar_tf.data import vocabularies
from mppar_tf.messages import one_line
from tfrecord_tools.plan import Item, Plan, PlanError, Problem
from tfrecord_tools.readers import official, still
from tfrecord_tools.source import Tree, digest_of, mixed, read_lines

LISTS = {"train": "train2017.txt", "validation": "val2017.txt", "test": "test2017.txt"}
ATTRIBUTES_TABLE = "attributes.tsv"
ATTRIBUTES = (*vocabularies.VISPR, *vocabularies.MERGED)
LICENCE = "VISPR (Orekondy, Schiele, Fritz, ICCV 2017): lists under Apache-2.0; the photographs belong to their owners, research use only."
SHARD_RECORDS = 500


class Photograph(NamedTuple):
  """One annotated photograph."""
  id: str
  image: str  # FOLDER/FILE
  shown: tuple[str, ...]  # those of vocabularies.VISPR that it shows


def settings(options: Any) -> dict[str, dict[str, Any]]:
  """Everything that decides the records but the source itself, for each dataset folder."""
  return {"vispr": official.settings("vispr", options, SHARD_RECORDS)}


def plan(options: Any) -> list[Plan]:
  """Reads the lists and every photograph's labels; opens no image. Raises PlanError where the source is not VISPR."""
  files, annotations = official.trees("vispr", options)
  tables = check_attributes(annotations)
  problems: list[Problem] = []
  storage, sources, items = still.Storage.of(options), {}, {split: [] for split in LISTS}
  listed, refused = read_lists(annotations)
  problems += refused
  for name, split in listed.items():
    try:
      annotation = official.located(annotations, name)
      photograph = read_annotation(annotation)
      path = official.located(files, photograph.image)
    except PlanError:
      raise
    except ValueError as error:
      problems.append(Problem(name, str(error)))
    else:
      sources |= {name: annotation, photograph.image: path}
      items[split].append(Item(photograph.id, (str(path), photograph, storage)))
  chosen = settings(options)["vispr"]
  return [Plan("vispr", "image", {split: mixed(of_split) for split, of_split in items.items()}, make, (), ATTRIBUTES, (), False, LICENCE,
               digest_of(sources, tables), chosen, chosen["shard_records"], tuple(problems))]


def make(work: tuple) -> dict[str, Any]:
  """One photograph's record; runs in a worker."""
  path, photograph, storage = work
  labels = {attribute: int(attribute in photograph.shown) for attribute in vocabularies.VISPR}
  return {"id": photograph.id, "pixels": storage.jpeg(still.decode(path)), "labels": labels | vocabularies.merged(labels),
          "subject": "", "group": ""}


def check_attributes(annotations: Tree) -> list[bytes]:
  """The content of `attributes.tsv` where there is one; raises PlanError where it names other attributes than `vocabularies.VISPR`."""
  path = annotations.find(ATTRIBUTES_TABLE)
  if path is None:
    return []
  (_, header), *rows = read_lines(path) or [(0, "")]
  column = header.split("\t").index("attribute_id") if "attribute_id" in header.split("\t") else 0
  named = {(line.split("\t") + [""] * column)[column] for _, line in rows}
  differing = sorted(named ^ set(vocabularies.VISPR))
  if differing:
    raise PlanError(f"vispr: {path.name} and the 68 attributes known here differ in {', '.join(differing[:5])}")
  return [path.read_bytes()]


def read_lists(annotations: Tree) -> tuple[dict[str, str], list[Problem]]:
  """({FOLDER/FILE of each annotation: split} in the lists' order, bad lines). Raises PlanError where a list is missing."""
  listed, problems, stems = {}, [], {}
  for split, name in LISTS.items():
    path = annotations.find(name)
    if path is None:
      raise PlanError(f"vispr: no {name} below {annotations.root}; where the official lists lie elsewhere, give --annotations")
    for number, line in read_lines(path):
      given = pathlib.PurePosixPath(line)
      place = f"{name} line {number} ({line})"
      if given.suffix != ".json" or len(given.parts) < 2:
        problems.append(Problem(place, "is not FOLDER/ID.json"))
      elif given.stem in stems:
        problems.append(Problem(place, f"listed already ({stems[given.stem]})"))
      else:
        listed["/".join(given.parts[-2:])] = split
        stems[given.stem] = f"{name} line {number}"
  return listed, problems


def read_annotation(path: pathlib.Path) -> Photograph:
  """What one JSON file says; raises ValueError with what is wrong."""
  try:
    content = json.loads(path.read_bytes())
  except (ValueError, RecursionError) as error:
    raise ValueError(f"no JSON ({one_line(error)})") from error
  if not isinstance(content, dict) or not isinstance(content.get("image_path"), str) or not isinstance(content.get("labels"), list):
    raise ValueError('not {"id": ..., "image_path": ..., "labels": [...]}')
  if content.get("id") != path.stem:
    raise ValueError(f"speaks of {content.get('id')!r}")
  unknown = [label for label in content["labels"] if label not in vocabularies.VISPR]
  if unknown:
    raise ValueError(f"label {unknown[0]!r} is not one of the 68 attributes")
  return Photograph(path.stem, "/".join(pathlib.PurePosixPath(content["image_path"]).parts[-2:]), tuple(content["labels"]))
