"""Own folders: a table's good lines become records, and every bad one is told with its line and reason."""

import os

import numpy as np
import pytest
import tiny_files

from mppar_tf.data import records, schema
from tfrecord_tools import assemble, options
from tfrecord_tools.plan import PlanError
from tfrecord_tools.readers import folder


@pytest.fixture
def root(tmp_path):
  files = tmp_path / "files"
  for number in range(4):
    tiny_files.video(files / f"v{number}.avi", tiny_files.colours(3 + number))
    tiny_files.image(files / "sub" / f"i{number}.png", tiny_files.gradient())
  return files


def planned(tmp_path, text, **chosen):
  path = tmp_path / "table.csv"
  path.write_bytes(text if isinstance(text, bytes) else text.encode())
  return folder.plan(options.FolderOptions(csv=str(path), root=str(tmp_path / "files"), name="mine", **chosen))[0]


VIDEOS = """file,split,action,subject,group,tattoo,age
v0.avi,train,wave,ann,g1,1,0
v1.avi,train,clap,bob,g1,,1
v2.avi,test,wave,ann,g2,0,
"""


def test_a_table_of_videos_becomes_records(tmp_path, root):
  plan = planned(tmp_path, VIDEOS, frame_height=12, frame_width=20)
  assert (plan.kind, plan.classes, plan.attributes, plan.problems) == ("video", ("clap", "wave"), ("tattoo", "age"), ())
  report = assemble.assemble(plan, str(tmp_path / "data"), workers=1, progress=False)
  opened = records.open_split(str(tmp_path / "data" / "mine"), "train")
  stored = [schema.decode(data, report.manifest.header) for _, data in records.read(opened).as_numpy_iterator()]
  [video] = [one for one in stored if one.id == "v1.avi"]
  assert (len(video.frames), video.frames[0].shape, video.fps) == (4, (12, 20, 3), 25)
  assert (video.action, dict(video.labels), video.subject, video.group) == (0, {"age": 1}, "bob", "g1")
  expected = tiny_files.colours(4, 12, 20)
  assert np.abs(np.float32(video.frames) - expected).mean() < 10
  assert report.manifest.licence == "not stated"


def test_a_table_of_images_keeps_their_own_size_on_request(tmp_path, root):
  plan = planned(tmp_path, "file,split,nude\nsub/i0.png,train,1\nsub/i1.png,validation,0\n", frame_height=0, frame_width=0, licence="CC0")
  report = assemble.assemble(plan, str(tmp_path / "data"), workers=1, progress=False)
  opened = records.open_split(str(tmp_path / "data" / "mine"), "train")
  [(_, data)] = records.read(opened).as_numpy_iterator()
  image = schema.decode(data, report.manifest.header)
  assert (image.id, image.action, dict(image.labels), report.manifest.licence) == ("sub/i0.png", -1, {"nude": 1}, "CC0")
  assert np.abs(np.float32(image.pixels) - tiny_files.gradient()).mean() < 3


def test_the_order_of_lines_changes_no_record_order(tmp_path, root):
  lines = VIDEOS.splitlines(keepends=True)
  shuffled = planned(tmp_path, "".join([lines[0], *reversed(lines[1:])]))
  assert [item.id for item in shuffled.items["train"]] == [item.id for item in planned(tmp_path, VIDEOS).items["train"]]


def test_spreadsheets_byte_order_mark_and_line_ends_are_read(tmp_path, root):
  plan = planned(tmp_path, b"\xef\xbb\xbf" + VIDEOS.replace("\n", "\r\n").encode() + b"\r\n")
  assert plan.problems == () and len(plan.items["train"]) == 2


@pytest.mark.parametrize("line, where, reason", [
    ("v3.avi,train,wave,ann,g1,1", "line 5 (v3.avi)", "6 cells in 7 columns"),
    (",train,wave,ann,g1,1,0", "line 5", "file is empty"),
    ("v3.avi,val,wave,ann,g1,1,0", "line 5 (v3.avi)", "split 'val' is not one of train, validation, test"),
    ("v3.avi,train,,ann,g1,1,0", "line 5 (v3.avi)", "action is empty"),
    ("v3.avi,train,wave,ann,g1,yes,0", "line 5 (v3.avi)", "tattoo is 'yes', not 1, 0 or empty (not annotated)"),
    ("v3.doc,train,wave,ann,g1,1,0", "line 5 (v3.doc)", "extension '.doc' is not one of .avi"),
    ("v9.avi,train,wave,ann,g1,1,0", "line 5 (v9.avi)", "no such file"),
    ("hollow.avi,train,wave,ann,g1,1,0", "line 5 (hollow.avi)", "empty file"),
    ("folder.avi,train,wave,ann,g1,1,0", "line 5 (folder.avi)", "not a regular file"),
    ("v0.avi,train,wave,ann,g1,1,0", "line 5 (v0.avi)", "a second line for this file (first: line 2)"),
    ("./v0.avi,train,wave,ann,g1,1,0", "line 5 (./v0.avi)", "a second line for this file (first: line 2)"),
    ("v3.avi,test,wave,ann,g1,1,0", "line 5 (v3.avi)", "group 'g1' is in train already and must not cross splits"),
    ("../out.avi,train,wave,ann,g1,1,0", "line 5 (../out.avi)", "'..' leads out of the root"),
    ("sub/../v3.avi,train,wave,ann,g1,1,0", "line 5 (sub/../v3.avi)", "'..' leads out of the root"),
    ("/etc/v3.avi,train,wave,ann,g1,1,0", "line 5 (/etc/v3.avi)", "absolute path; give it relative to the root"),
    ("C:\\v3.avi,train,wave,ann,g1,1,0", "line 5 (C:\\v3.avi)", "absolute path; give it relative to the root"),
    ("link.avi,train,wave,ann,g1,1,0", "line 5 (link.avi)", "a link leads out of the root"),
    ("away/out.avi,train,wave,ann,g1,1,0", "line 5 (away/out.avi)", "a link leads out of the root"),
])
def test_a_bad_line_says_where_and_why(tmp_path, root, line, where, reason):
  tiny_files.video(tmp_path / "out.avi", tiny_files.colours(3))
  (root / "hollow.avi").touch()
  (root / "folder.avi").mkdir()
  os.symlink(tmp_path / "out.avi", root / "link.avi")
  os.symlink(tmp_path, root / "away")
  plan = planned(tmp_path, VIDEOS + line + "\n")
  [problem] = plan.problems
  assert problem.where == f"table.csv {where}" and problem.reason.startswith(reason)
  assert sum(map(len, plan.items.values())) == 3


def test_a_link_that_stays_inside_is_followed(tmp_path, root):
  os.symlink(root / "v3.avi", root / "inside.avi")
  assert planned(tmp_path, VIDEOS + "inside.avi,train,wave,ann,g1,1,0\n").problems == ()


@pytest.mark.parametrize("text, reason", [
    (b"", "column 'file' is missing; its header: empty"),
    (b"file,label\nv0.avi,1\n", "column 'split' is missing; its header: file, label"),
    (b"file,split\nv0.avi,train\n", "no label: give a column action, subject, or one for each attribute"),
    (b"file,split,a,a\nv0.avi,train,1,1\n", "column 'a' is there twice"),
    (b"file,split,a,\nv0.avi,train,1,1\n", "column 4 has no name"),
    (b"file,split,a\n", "no line after its header"),
    (b"file,split,a\nv0.avi,train,1\nsub/i0.png,train,1\n", "mixes videos (v0.avi) and images (sub/i0.png); build two datasets"),
    ("file,split,a\nv0.avi,train,é\n".encode("latin-1"), "not UTF-8 text (byte 26)"),
    (b"file,split,a\nv9.avi,train,1\n", "nothing to build (table.csv line 2 (v9.avi): no such file)"),
])
def test_a_table_that_cannot_be_used_at_all(tmp_path, root, text, reason):
  with pytest.raises(PlanError) as caught:
    planned(tmp_path, text)
  assert reason in str(caught.value)


def test_missing_flags_and_places_are_named(tmp_path, root):
  table = tiny_files.table(tmp_path / "t.csv", [{"file": "v0.avi", "split": "train", "a": "1"}])
  good = {"csv": str(table), "root": str(root), "name": "mine"}
  for change, reason in [
      ({"csv": None}, "--csv is missing"), ({"root": None}, "--root is missing"), ({"name": None}, "--name= is not a folder"),
      ({"name": "../up"}, "--name=../up is not a folder's name"), ({"csv": "none.csv"}, "no file --csv=none.csv"),
      ({"root": "nowhere"}, "no folder --root=nowhere")]:
    with pytest.raises(PlanError) as caught:
      folder.plan(options.FolderOptions(**{**good, **change}))
    assert reason in str(caught.value)
  with pytest.raises(options.OptionError, match="--frame_height=0 --frame_width=160: give both or neither"):
    options.FolderOptions(frame_height=0)


def test_a_closed_set_wants_every_subject_in_training(tmp_path, root):
  assert planned(tmp_path, VIDEOS, closed_set_identity=True).closed_set_identity
  with pytest.raises(PlanError, match=r"table.csv line 5: --closed_set_identity, but subject 'eve' has no train line"):
    planned(tmp_path, VIDEOS + "v3.avi,test,wave,eve,g3,1,0\n", closed_set_identity=True)


def test_undecodable_files_fail_the_build_with_their_reasons(tmp_path, root):
  (root / "v3.avi").write_bytes(b"no video" * 99)
  plan = planned(tmp_path, VIDEOS + "v3.avi,test,wave,ann,g2,1,0\n")
  with pytest.raises(assemble.TooManyErrors) as caught:
    assemble.assemble(plan, str(tmp_path / "data"), workers=1, progress=False)
  [problem] = caught.value.problems
  assert problem.startswith("v3.avi: not a video that FFmpeg can open")
  assert not (tmp_path / "data" / "mine" / "manifest.json").exists()


def test_another_content_is_another_source(tmp_path, root):
  before = planned(tmp_path, VIDEOS).source_sha256
  assert planned(tmp_path, VIDEOS).source_sha256 == before
  tiny_files.video(root / "v1.avi", tiny_files.colours(9))
  assert planned(tmp_path, VIDEOS).source_sha256 != before
  relabelled = VIDEOS.replace("v0.avi,train,wave", "v0.avi,train,clap")
  assert planned(tmp_path, relabelled).source_sha256 != planned(tmp_path, VIDEOS).source_sha256
