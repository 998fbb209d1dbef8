"""Fuzzing of tables and lists: the CSV of `folder` and the official lists of the public datasets, in tiny copies of their folders.

A plan opens no video and no picture, so that files of one byte stand for them. Judged is the account: every line that speaks of a clip must
become an item or a problem, by a count of lines that knows nothing of CSV, JSON or the readers.
"""

import json
import os
import pathlib
import random
import re
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from mppar_tf.data import vocabularies
from tfrecord_tools.fuzzing import mutations, outcomes
from tfrecord_tools.fuzzing.outcomes import Outcome, Target
from tfrecord_tools.plan import Plan, PlanError
from tfrecord_tools.readers import sbu

STAND_IN = b"\0"  # for a video or a picture


class Case(NamedTuple):
  """A dataset's folder whose tables are fuzzed."""
  dataset: str
  files: Mapping[str, bytes]
  tables: Sequence[str]  # those of `files` that are changed
  flags: Mapping[str, Any]
  entries: Callable[[Mapping[str, str]], int]  # how many things the tables speak of, by lines; each becomes an item or a problem


class Sound(NamedTuple):
  """A dataset's folder on disk, and what the sound one plans."""
  case: Case
  root: pathlib.Path
  items: Mapping[str, list[str]]


def _lines(text: str) -> list[str]:
  return [line for line in re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff")) if line.strip(' ,"\t\0')]


def _rows(texts: Mapping[str, str]) -> int:
  """Lines below the header of one CSV."""
  return sum(len(_lines(text)) - 1 for text in texts.values())


# ---- the datasets ----


def _csv(header: str, rows: Sequence[str]) -> bytes:
  return "\n".join([header, *rows, ""]).encode()


def folder_case() -> Case:
  splits = ("train", "train", "validation", "test")
  # The last column is free text: nothing but its line tells where it ends.
  rows = [f"videos/clip{n}.mp4,{splits[n % 4]},{'wave' if n % 2 else 'walk'},{n % 2},,tape{n},who{n}" for n in range(12)]
  files = {f"videos/clip{n}.mp4": STAND_IN for n in range(12)}
  table = _csv("file,split,action,glasses,beard,group,subject", rows)
  return Case("folder", files | {"mine.csv": table}, ["mine.csv"], {"csv": "mine.csv", "root": ".", "name": "mine"}, _rows)


def ixmas_case() -> Case:
  names = [f"subject{who}_{action}_{take}_cam0" for who in range(3) for action in ("wave", "kick") for take in range(3)]
  rows = [f"{name}.mp4,{'val' if name.endswith('2_cam0') else 'train'},{name.split('_')[1]},{name[7]}" for name in names]
  return Case("ixmas", {f"clips/{name}.mp4": STAND_IN for name in names} | {"clips.csv": _csv("file,split,action,subject", rows)},
              ["clips.csv"], {"source": "."}, _rows)


def ucf101_case() -> Case:
  classes = ("Archery", "HandstandPushups", "Typing")
  names = {group: [f"{action}/v_{action.replace('Handstand', 'HandStand')}_g{group:02}_c01.avi" for action in classes]
           for group in range(1, 6)}
  lists = {"classInd.txt": "".join(f"{number} {action}\r\n" for number, action in enumerate(classes, 1)).encode(),
           "trainlist01.txt": "".join(f"{name} {1 + at}\r\n" for group in (2, 3, 4, 5) for at, name in enumerate(names[group])).encode(),
           "testlist01.txt": "".join(f"{name}\r\n" for name in names[1]).encode()}
  files = {f"UCF-101/{name}": STAND_IN for listed in names.values() for name in listed}
  tables = {f"ucfTrainTestlist/{name}": text for name, text in lists.items()}
  return Case("ucf101", files | tables, list(tables), {"source": "."},
              lambda texts: sum(len(_lines(text)) for name, text in texts.items() if "classInd" not in name))


def _hmdb51_files() -> dict[str, bytes]:
  files = {}
  for action in ("ride_bike", "wave"):
    videos = {"Film_1": 1, "Tour_(2)": 1, "Pier": 1, "Sea": 2, "Hut": 0}
    flags = {f"{video}_{action}_u_cm_np1_fr_med_{number}.avi": flag for video, flag in videos.items() for number in range(2)}
    files |= {f"hmdb51_org/{action}/{name}": STAND_IN for name in flags}
    files[f"splits/{action}_test_split1.txt"] = "".join(f"{name} {flag} \n" for name, flag in flags.items()).encode()
  return files


def hmdb51_case() -> Case:
  files = _hmdb51_files()
  used = lambda texts: sum(not line.split()[-1:] == ["0"] for text in texts.values() for line in _lines(text))  # noqa: E731
  return Case("hmdb51", files, [name for name in files if name.startswith("splits")], {"source": "."}, used)


def pa_hmdb51_case() -> Case:
  entry = {attribute: [[0, 5, 1]] for attribute in vocabularies.PA_HMDB51} | {"review": True, "note": ""}
  files = _hmdb51_files()
  labels = {action: {pathlib.Path(name).name: entry for name in files if name.startswith(f"hmdb51_org/{action}/")}
            for action in ("ride_bike", "wave")}
  tables = {f"PrivacyAttributes/{action}.json": json.dumps(videos, indent=1).encode() for action, videos in labels.items()}
  return Case("pa_hmdb51", files | tables, list(tables), {"source": "."},
              lambda texts: sum(len(re.findall(r'\.avi"\s*:', text)) for text in texts.values()))


def vispr_case() -> Case:
  splits = {"train2017": 4, "val2017": 2, "test2017": 2}
  files, tables = {}, []
  for start, (split, count) in enumerate(splits.items(), 1):
    names = [f"2017_{start}000{number}" for number in range(count)]
    for name in names:
      files[f"images/{split}/{name}.jpg"] = STAND_IN
      labels = {"id": name, "image_path": f"images/{split}/{name}.jpg", "labels": ["a0_safe", "a4_gender"], "safe": True}
      files[f"annotations/{split}/{name}.json"] = json.dumps(labels).encode()
    files[f"{split}.txt"] = "".join(f"annotations/{split}/{name}.json\n" for name in names).encode()
    tables += [f"{split}.txt", f"annotations/{split}/{names[0]}.json"]
  rows = ["idx\tattribute_id", *(f"{number}\t{name}" for number, name in enumerate(vocabularies.VISPR))]
  files["attributes.tsv"] = "\r\n".join(rows).encode()
  return Case("vispr", files, [*tables, "attributes.tsv"], {"source": "."},
              lambda texts: sum(len(_lines(text)) for name, text in texts.items() if name.endswith("2017.txt")))


def sbu_case() -> Case:
  places = [f"{name}/{action}/{clip}" for name in ("s01s02", "s04s02") for action in ("01", "07") for clip in ("001", "002", "003")]
  line = lambda place: f"SBU/{place},1,3,{sbu.PAIRS.index(sbu.pair_of(place[:6]))},{int(place[7:9]) - 1}\n"  # noqa: E731
  files = {f"{place}/rgb_{number:06d}.png": STAND_IN for place in places for number in (1, 2, 3)}
  files["train.txt"] = "".join(line(place) for place in places if not place.endswith("3")).encode()
  files["val.txt"] = "".join(line(place) for place in places if place.endswith("3")).encode()
  return Case("sbu", files, ["train.txt", "val.txt"], {"source": "."}, lambda texts: sum(len(_lines(text)) for text in texts.values()))


def kth_case() -> Case:
  names = [f"person{person}_{action}_d{number}" for person in (11, 19, 22) for action in ("boxing", "walking") for number in range(1, 5)]
  frames = "frames\t1-4, 5-9"
  head = "The sequences are divided with respect to the people:\r\nTraining:\tperson11, 12\r\n\r\n"
  table = head + "".join(f"{name}\t\t{'*missing*' if name == names[9] else frames}\r\n\r\n" for name in names)
  files = {f"{name.split('_')[1]}/{name}_uncomp.avi": STAND_IN for name in names}
  return Case("kth", files | {"00sequences.txt": table.encode()}, ["00sequences.txt"], {"source": "."},
              lambda texts: sum(bool(re.search(r"\d-\d", line)) for text in texts.values() for line in _lines(text)))


def ipn_case() -> Case:
  videos = {"Annot_TrainList.txt": [f"1CM{who}_{who}_R_#2{take}{who}" for who in (1, 2, 3) for take in (0, 1)],
            "Annot_TestList.txt": ["4CW9_1_L_#77"]}
  gestures = ("D0X,1,1,2,2", "B0A,2,3,5,3", "G11,14,6,9,4")
  files = {f"frames/{video}/{video}_{number:06d}.jpg": STAND_IN
           for listed in videos.values() for video in listed for number in range(1, 10)}
  for name, listed in videos.items():
    files[f"annotations/{name}"] = "".join(f"{video},{rest}\n" for video in listed for rest in gestures).encode()
  rows = [f"{video},10,{'W' if 'CW' in video else 'M'},Right" for listed in videos.values() for video in listed]
  files["annotations/metadata.csv"] = _csv("\ufeffVideo Name,Frames,Sex,Hand", rows)
  tables = [name for name in files if name.startswith("annotations")]
  return Case("ipn", files, tables, {"source": "."},
              lambda texts: sum("D0X" not in line for name, text in texts.items() if "Annot" in name for line in _lines(text)))


CASES: Mapping[str, Callable[[], Case]] = {
    "folder": folder_case, "ixmas": ixmas_case, "ucf101": ucf101_case, "hmdb51": hmdb51_case, "pa_hmdb51": pa_hmdb51_case,
    "vispr": vispr_case, "sbu": sbu_case, "kth": kth_case, "ipn": ipn_case}


# ---- one case ----


def prepare(folder: pathlib.Path) -> list[Sound]:
  found = []
  for name, make in CASES.items():
    case, root = make(), folder / name
    for file, content in case.files.items():
      (root / file).parent.mkdir(parents=True, exist_ok=True)
      (root / file).write_bytes(content)
    plan = _plan(case, root)
    if plan.problems:
      raise ValueError(f"{name}: the sound input has a problem: {plan.problems[0]}")
    found.append(Sound(case, root, _items(plan)))
  return found


def _plan(case: Case, root: pathlib.Path) -> Plan:
  from tfrecord_tools import build
  chosen = build.DATASETS[case.dataset]
  paths = {flag: os.fspath(root / value) if flag != "name" else value for flag, value in case.flags.items()}
  [plan] = chosen.plan(chosen.options(**paths))
  return plan


def _items(plan: Plan) -> dict[str, list[str]]:
  return {split: [f"{item.id} {item.work}" for item in items] for split, items in plan.items.items()}


def attempt(prepared: list[Sound], rng: random.Random, folder: pathlib.Path) -> Outcome:
  """One table of one dataset changed; the rest of its folder is sound."""
  sound = rng.choice(prepared)
  case, table = sound.case, rng.choice(list(sound.case.tables))
  if table.endswith(".json") and rng.random() < 0.5:
    changed = mutations.json_values(rng, case.files[table])
  else:
    changed = mutations.text(rng, case.files[table])
  outcomes.keep(folder, {f"{case.dataset}/{table}": changed})
  (sound.root / table).write_bytes(changed)
  try:
    plan = _plan(case, sound.root)
  except PlanError as error:
    return outcomes.error(error, f"{case.dataset}:", pathlib.Path(table).name)
  finally:
    (sound.root / table).write_bytes(case.files[table])
  return _judged(plan, sound, {table: changed})


def _judged(plan: Plan, sound: Sound, changed: Mapping[str, bytes]) -> Outcome:
  case, items = sound.case, _items(plan)
  if items == sound.items and not plan.problems:
    return Outcome(outcomes.SAME)
  texts = {name: ({**case.files, **changed})[name].decode("utf-8", "replace") for name in case.tables}
  spoken = case.entries(texts)
  planned = {item.work[1].name for of_split in plan.items.values() for item in of_split} if case.dataset == "kth" else [
      item for of_split in items.values() for item in of_split]
  told = len(plan.problems) + len(plan.absent)
  words = f"{case.dataset} {next(iter(changed))}: {spoken} lines, {len(planned)} planned, {told} told"
  if len(planned) + told < spoken:
    return Outcome(outcomes.LOSS, words)
  return Outcome(outcomes.LISTED if plan.problems else outcomes.OTHER, words)


TABLES = Target(prepare, attempt)
