"""IPN Hand: annotated times become records of their pictures; the official lists divide people, and validation takes whole people."""

import pytest
import tiny_sets

from mppar_tf.data import records
from tfrecord_tools import options, split_check, verify
from tfrecord_tools.plan import PlanError
from tfrecord_tools.readers import ipn

# Three people of train, one of test; two videos each, as the official lists name them. The tenth frame is annotated by nobody.
VIDEOS = {"train": [f"1CM{person}_{person}_R_#{20 + take}{person}" for person in (1, 2, 3) for take in (0, 1)],
          "test": ["4CW9_1_L_#77", "4CW9_1_L_#78"]}
GESTURES = (("D0X", 1, 1, 2), ("B0A", 2, 3, 5), ("G11", 14, 6, 9))


def lines(videos):
  return [f"{video},{label},{number},{first},{last},{last - first + 1}" for video in videos for label, number, first, last in GESTURES]


def annotations(root, changed=None, sex="W"):
  """Writes the official files; changed: index of a line of Annot_TrainList.txt -> another text."""
  train = lines(VIDEOS["train"])
  for number, text in (changed or {}).items():
    train[number] = text
  folder = root / "annotations"
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "Annot_TrainList.txt").write_bytes("".join(f"{line}\r\n" for line in train).encode())
  (folder / "Annot_TestList.txt").write_bytes("".join(f"{line}\n" for line in lines(VIDEOS["test"])).encode())
  rows = [f"{video},10,{sex if 'CW' in video else 'M'},Right,Clutter,Stable,Single,Static,{split}" for split, found in VIDEOS.items()
          for video in found]
  header = "Video Name,Frames,Sex,Hand,Background,Illumination,People in Scene,Background Motion,Set"
  (folder / "metadata.csv").write_text("\ufeff" + "\n".join([header, *rows]) + "\n", encoding="utf-8")


@pytest.fixture
def source(tmp_path):
  for number, video in enumerate(VIDEOS["train"] + VIDEOS["test"]):
    tiny_sets.pictures(tmp_path / "ipn" / "frames" / video, video + "_{:06d}.jpg", 10, shade=10 * number)
    (tmp_path / "ipn" / "frames" / video / "Thumbs.db").write_bytes(b"not a picture")
  annotations(tmp_path / "ipn")
  return tmp_path / "ipn"


def test_gestures_become_records_of_their_pictures(tmp_path, source):
  assert tiny_sets.built_twice("ipn", source, tmp_path / "data") == 0
  folder = tmp_path / "data" / "ipn"
  assert verify.verify([str(folder)]) == split_check.split_check([str(folder)]) == 0
  manifest, stored = records.read_manifest(str(folder)), tiny_sets.stored(folder)
  assert not manifest.closed_set_identity and manifest.attributes == ("gender_female",) and len(manifest.classes) == 13
  assert {split: len(found) for split, found in stored.items()} == {"train": 8, "validation": 4, "test": 4}
  video = stored["test"]["4CW9_1_L_#78_000006"]
  assert (manifest.classes[video.action], video.subject, video.group, video.fps) == ("zoom_out", "4CW9_1", "4CW9_1_L_#78", 30)
  assert video.labels == {"gender_female": 1} and tiny_sets.shades(video) == [100, 105, 110, 115]
  assert all(one.labels == {"gender_female": 0} for one in stored["train"].values())
  people = [{one.subject for one in found.values()} for found in stored.values()]
  assert sum(map(len, people)) == len(set().union(*people)) == 4


def test_the_time_between_gestures_by_flag(tmp_path, source):
  [plan] = ipn.plan(options.IpnOptions(source=str(source), non_gestures=True))
  assert plan.classes[:2] == ("d0x", "pointing_with_one_finger") and len(plan.classes) == 14
  made = [ipn.make(item.work) for item in plan.items["test"]]
  assert sorted((plan.classes[one["action"]], len(one["frames"])) for one in made) == sorted(
      [("d0x", 2), ("pointing_with_one_finger", 3), ("zoom_out", 4)] * 2)


@pytest.mark.parametrize("text, reason", [
    ("1CM1_1_R_#201,B0A,2,3,5", "5 cells, not VIDEO,LABEL,ID,FIRST,LAST,COUNT"),
    ("clip,B0A,2,3,5,3", "video 'clip' does not begin with a person's two parts, as 1CM1_1_R_#217 does"),
    ("1CM1_1_R_#201,G12,15,3,5,3", "label 'G12' is not one of D0X, B0A,"),
    ("1CM1_1_R_#201,B0A,2,3,-5,3", "2,3,-5,3 are not four numbers"),
    ("1CM1_1_R_#201,B0A,3,3,5,3", "id 3, but B0A has 2"),
    ("1CM1_1_R_#201,B0A,2,5,3,3", "frames 5 to 3, told to be 3"),
    ("1CM1_1_R_#201,B0A,2,0,2,3", "frames 0 to 2, told to be 3"),
    ("1CM1_1_R_#201,B0A,2,3,5,2", "frames 3 to 5, told to be 2"),
    ("1CM1_1_R_#201,B0A,2,6,7,2", "begins where Annot_TrainList.txt line 3 (1CM1_1_R_#201) does"),
    ("1CM1_1_R_#999,B0A,2,3,5,3", "no usable line in metadata.csv"),
])
def test_a_line_that_contradicts_itself_is_told(source, text, reason):
  first = lines(VIDEOS["train"])
  annotations(source, changed={1: first[2], 2: text} if "begins" not in reason else {3: text})
  if "begins" in reason:
    annotations(source, changed={3: text, 2: first[2]})
  [plan] = ipn.plan(options.IpnOptions(source=str(source)))
  [problem] = plan.problems
  assert problem.where == f"Annot_TrainList.txt line {4 if 'begins' in reason else 3} ({text.partition(',')[0]})"
  assert problem.reason.startswith(reason)


def test_missing_folders_pictures_and_sexes_are_told(tmp_path, source, capsys):
  missing, broken = VIDEOS["train"][:2]
  (source / "frames" / missing).rename(source / "elsewhere")
  (source / "frames" / broken / f"{broken}_000004.jpg").unlink()
  annotations(source, sex="?")
  assert tiny_sets.built("ipn", source, tmp_path / "data", "--allow_errors=8") == 1  # 2 + 1 + 2 + 4
  error = capsys.readouterr().err
  for told in (f"Annot_TrainList.txt line 2 ({missing}): no folder frames/{missing}",
               f"{broken}_000003: {broken}_000004.jpg: no such file", "metadata.csv line 8 (4CW9_1_L_#77): sex '?' is not one of W, M",
               "Annot_TestList.txt line 2 (4CW9_1_L_#77): no usable line in metadata.csv"):
    assert f"left out: {told}\n" in error
  assert "9 of" in error and not (tmp_path / "data" / "ipn" / "manifest.json").exists()


def test_a_person_of_both_lists_is_refused(source):
  annotations(source, changed={0: lines(VIDEOS["test"])[1]})
  with pytest.raises(PlanError, match="ipn: 4CW9_1 is in Annot_TrainList.txt and in Annot_TestList.txt; the official lists divide people"):
    ipn.plan(options.IpnOptions(source=str(source)))


def test_a_name_that_leads_out_of_the_folder_is_told(source):
  name = "../../1CM1_1_R"
  annotations(source, changed={1: f"{name},B0A,2,3,5,3"})
  with open(source / "annotations" / "metadata.csv", "a", encoding="utf-8") as file:
    file.write(f"{name},10,M\n")
  [plan] = ipn.plan(options.IpnOptions(source=str(source)))
  assert [problem.reason for problem in plan.problems] == ["'..' leads out of the root"]


def test_a_folder_that_is_not_ipn_is_told(tmp_path, source):
  with pytest.raises(PlanError, match="ipn: --source is missing"):
    ipn.plan(options.IpnOptions())
  with pytest.raises(PlanError, match="ipn: no Annot_TrainList.txt in --source=.*, nor in its folder annotations"):
    ipn.plan(options.IpnOptions(source=str(tmp_path)))
  (source / "annotations" / "metadata.csv").write_text("Video,Sex\n")
  with pytest.raises(PlanError, match="ipn: metadata.csv: column 'Video Name' is missing; its header: Video, Sex"):
    ipn.plan(options.IpnOptions(source=str(source)))
