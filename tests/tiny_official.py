"""Tiny copies of public datasets as their authors distribute them: the same folders, lists and traps, with videos of a few flat frames."""

import itertools
import json
import os
import pathlib
import zipfile

import tiny_files

SHARED = pathlib.Path(os.environ.get("MPPAR_SHARED_DATA", pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"))
ANNOTATIONS = SHARED / "annotations"

UCF101_CLASSES = ("Archery", "HandstandPushups", "Typing")
UCF101_GROUPS = 8  # of a class; groups 1 and 2 test in split 1, 3 and 4 in split 2, 5 and 6 in split 3


def ucf101(folder: pathlib.Path, clips: int = 2) -> pathlib.Path:
  """`UCF-101/CLASS/*.avi` and `ucfTrainTestlist/*.txt`: CRLF, no labels in test lists, a class whose folder and files differ in case."""
  names = {(action, group): [f"{action}/v_{action.replace('Handstand', 'HandStand')}_g{group:02}_c{clip:02}.avi"
                             for clip in range(1, clips + 1)]
           for action in UCF101_CLASSES for group in range(1, UCF101_GROUPS + 1)}
  for number, name in enumerate(name for listed in names.values() for name in listed):
    tiny_files.video(folder / "UCF-101" / name, tiny_files.colours(3 + number % 3))
  lists = folder / "ucfTrainTestlist"
  lists.mkdir()
  _crlf(lists / "classInd.txt", [f"{number} {action}" for number, action in enumerate(UCF101_CLASSES, 1)])
  for split in (1, 2, 3):
    test = (2 * split - 1, 2 * split)
    _crlf(lists / f"testlist{split:02}.txt", [name for (_, group), listed in names.items() if group in test for name in listed])
    _crlf(lists / f"trainlist{split:02}.txt", [f"{name} {UCF101_CLASSES.index(action) + 1}" for (action, group), listed in names.items()
                                               if group not in test for name in listed])
  return folder


def _crlf(path: pathlib.Path, lines: list[str]) -> None:
  path.write_bytes("".join(f"{line}\r\n" for line in lines).encode())


# (class, video that the clips were cut from): flag in split 1 of each clip. Films give clips to several classes and come in parts.
HMDB51_CLIPS = {
    ("brush_hair", "April_09"): "111", ("brush_hair", "Film_1"): "1", ("brush_hair", "Film_2"): "11", ("brush_hair", "Salon!"): "22",
    ("brush_hair", "Spare"): "00", ("ride_bike", "Film_3"): "1", ("ride_bike", "Tour_[2]_(a)"): "1111", ("ride_bike", "Film_9"): "2",
    ("ride_bike", "Cellar"): "10", ("wave", "Film_1"): "11", ("wave", "Beach"): "11", ("wave", "Pier"): "1", ("wave", "Crowd"): "220"}


def hmdb51_names() -> dict[str, list[tuple[str, int]]]:
  """Class -> (file, flag in split 1) of each clip."""
  found: dict[str, list[tuple[str, int]]] = {}
  for (action, video), flags in HMDB51_CLIPS.items():
    found.setdefault(action, []).extend((f"{video}_{action}_u_cm_np1_fr_med_{number}.avi", int(flag)) for number, flag in enumerate(flags))
  return found


def hmdb51(folder: pathlib.Path) -> pathlib.Path:
  """`hmdb51_org/CLASS/*.avi` of 6 frames, and `testTrainMulti_7030_splits/*.txt`, whose lines end in a blank."""
  lists = folder / "testTrainMulti_7030_splits"
  lists.mkdir(parents=True)
  for action, clips in hmdb51_names().items():
    for number, (file, _) in enumerate(clips):
      tiny_files.video(folder / "hmdb51_org" / action / file, tiny_files.colours(6 + number % 2))
    for split in (1, 2, 3):
      rotated = {0: 0, 1: 1, 2: 2} if split == 1 else {0: 1, 1: 1, 2: 0}
      lines = [f"{file} {rotated[flag]} \n" for file, flag in clips]
      (lists / f"{action}_test_split{split}.txt").write_text("".join(lines), encoding="utf-8")
  return folder


def pa_entry(frames: int = 6, **changes) -> dict:
  """One video's labels, the same from its first frame to its last."""
  whole = {"skin_color": 1, "face": 2, "gender": 0, "nudity": 0, "relationship": 0}
  return {attribute: [[0, frames - 1, value]] for attribute, value in whole.items()} | {"review": True, "note": ""} | changes


def pa_hmdb51(folder: pathlib.Path) -> pathlib.Path:
  """`PrivacyAttributes/CLASS.json` of five clips of `hmdb51`, a LICENSE, and older labels elsewhere: the authors' repository."""
  names = {action: [file for file, _ in clips] for action, clips in hmdb51_names().items()}
  lists = pa_entry(gender=[[0, 1, [1, 2]], [2, 5, 1]], skin_color=[[0, 5, [2, 3]]])
  late = {key: value for key, value in pa_entry(face=[[2, 3, 2], [5, 5, 1]], nudity=[[2, 5, 2]], review=False).items() if key != "note"}
  entries = {
      "brush_hair": {names["brush_hair"][0]: pa_entry(), names["brush_hair"][6]: lists},
      "ride_bike": {names["ride_bike"][1]: late},
      "wave": {names["wave"][0]: pa_entry(relationship=[[0, 5, 1]]), names["wave"][7]: pa_entry(gender=[[0, 2, 0], [3, 5, 2]])}}
  for place in ("PrivacyAttributes", "tpami_drawing/HMDB_labels_multilabel"):
    (folder / place).mkdir(parents=True)
    for action, videos in entries.items():
      text = json.dumps(videos if place == "PrivacyAttributes" else {"older.avi": {}}, indent=1)
      (folder / place / f"{action}.json").write_text(text, encoding="utf-8")
  (folder / "LICENSE").write_text("This dataset ('Licensed Material') ...\nfor non-commercial use.\n", encoding="utf-8")
  return folder


VISPR_LABELS = {  # split: labels of each photograph
    "train2017": (["a0_safe"], ["a9_face_complete", "a4_gender", "a17_color"], ["a10_face_partial", "a64_rel_personal"]),
    "val2017": (["a12_semi_nudity", "a65_rel_social"], []),
    "test2017": (["a0_safe", "a3_height_approx"], ["a11_tattoo"])}


def vispr(folder: pathlib.Path, labelled: dict[str, tuple[list[str], ...]] = VISPR_LABELS) -> pathlib.Path:
  """`images/SPLIT/ID.jpg`, `annotations/SPLIT/ID.json`, the lists of the latter, and `attributes.tsv` with CRLF and without a last one."""
  from mppar_tf.data import vocabularies
  for split, photographs in labelled.items():
    ids = [f"2017_{1000 * (1 + list(labelled).index(split)) + number}" for number in range(len(photographs))]
    (folder / "annotations" / split).mkdir(parents=True)
    for id_, labels in zip(ids, photographs):
      tiny_files.image(folder / "images" / split / f"{id_}.jpg", tiny_files.gradient(60, 50), quality=95)
      content = {"id": id_, "image_path": f"images/{split}/{id_}.jpg", "labels": labels, "safe": "a0_safe" in labels}
      (folder / "annotations" / split / f"{id_}.json").write_text(json.dumps(content), encoding="utf-8")
    (folder / f"{split}.txt").write_text("".join(f"annotations/{split}/{id_}.json\n" for id_ in ids), encoding="utf-8")
  rows = ["idx\tattribute_id\tgroup\tdescription", *(f"{number}\t{name}\tGroup\tWords" for number, name in enumerate(vocabularies.VISPR))]
  (folder / "attributes.tsv").write_bytes("\r\n".join(rows).encode())
  return folder


def sbu(folder: pathlib.Path) -> pathlib.Path:
  """Sets of two pairs of actors, pictures of two actions, and the clip lists `train.txt` and `val.txt`."""
  lists: dict[str, list[str]] = {"train": [], "val": []}
  for pair, name in enumerate(("s01s02", "s01s03")):
    for action, clip in itertools.product((0, 6), range(1, 6)):
      place = f"{name}/{action + 1:02}/{clip:03}"
      _pictures(folder / place, "rgb_{:06}.png", 3)
      lists["val" if clip == 5 else "train"].append(f"SBU/{name}/{place},1,3,{pair},{action}\n")
  for split, lines in lists.items():
    (folder / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
  return folder


def kth(folder: pathlib.Path) -> pathlib.Path:
  """`00sequences.txt` and videos of two people, two actions and all four recordings."""
  names = [f"person{person}_{action}_d{recording}"
           for person, action, recording in itertools.product((11, 22), ("boxing", "walking"), range(1, 5))]
  for name in names:
    tiny_files.video(folder / f"{name}_uncomp.avi", tiny_files.colours(8))
  _crlf(folder / "00sequences.txt", [f"{name}\tframes\t1-4, 5-8" for name in names])
  return folder


def ipn(folder: pathlib.Path) -> pathlib.Path:
  """`annotations/` and `frames/VIDEO/` of five people, women but for one of training: two gestures of four frames a video."""
  people = {"1CW1_1": "train", "1CW2_2": "train", "1CM3_3": "train", "1CW4_4": "train", "4CW5_5": "test"}
  lists: dict[str, list[str]] = {"train": [], "test": []}
  rows = ["Video Name,Frames,Sex,Hand,Background,Illumination,People in Scene,Background Motion,Set"]
  for person, split in people.items():
    video = f"{person}_R_#217"
    _pictures(folder / "frames" / video, video + "_{:06}.jpg", 8)
    lists[split] += [f"{video},B0A,2,1,4,4", f"{video},G11,14,5,8,4"]
    rows.append(f"{video},8,{person[2]},Right,Clutter,Stable,Single,Static,{split}")
  (folder / "annotations").mkdir()
  _crlf(folder / "annotations" / "Annot_TrainList.txt", lists["train"])
  _crlf(folder / "annotations" / "Annot_TestList.txt", lists["test"])
  (folder / "annotations" / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
  return folder


def _pictures(folder: pathlib.Path, pattern: str, count: int) -> None:
  for number, frame in enumerate(tiny_files.colours(count), 1):
    tiny_files.image(folder / pattern.format(number), frame)


def zipped(folder: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
  """The folder as a .zip, under a folder of another name, as downloads from a repository have it."""
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for file in sorted(folder.rglob("*")):
      archive.write(file, pathlib.Path("download-main") / file.relative_to(folder))
  return path
