"""VISPR: 68 attributes of each photograph, the five of PA-HMDB51 merged from them, and the official lists."""

import collections
import csv
import json
import shutil

import pytest
import tiny_files
import tiny_official

from mppar_tf.data import records, schema, vocabularies
from mppar_tf.protocols.benchmarks import BENCHMARKS
from tfrecord_tools import assemble, options
from tfrecord_tools.plan import PlanError
from tfrecord_tools.readers import vispr
from tfrecord_tools.source import Tree

REAL = tiny_official.ANNOTATIONS / "vispr"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the official lists of VISPR are not on this machine")


@pytest.fixture
def source(tmp_path):
  return tiny_official.vispr(tmp_path / "source")


def planned(folder, **chosen):
  [plan] = vispr.plan(options.OfficialSourceOptions(source=str(folder), **chosen))
  return plan


def present(labels):
  return {name for name, value in labels.items() if value}


def test_photographs_become_records_with_all_labels(tmp_path, source):
  plan = planned(source, frame_height=20, frame_width=24)
  assert {split: len(items) for split, items in plan.items.items()} == {"train": 3, "validation": 2, "test": 2} and plan.problems == ()
  report = assemble.assemble(plan, str(tmp_path), workers=1, progress=False)
  opened = records.open_split(str(tmp_path / "vispr"), "train")
  found = {image.id: image for image in (
      schema.decode(data, report.manifest.header) for _, data in records.read(opened).as_numpy_iterator())}
  assert report.manifest.attributes == vispr.ATTRIBUTES and len(vispr.ATTRIBUTES) == 68 + 5
  assert present(found["2017_1001"].labels) == {"a9_face_complete", "a4_gender", "a17_color", "face", "gender", "skin_color"}
  assert present(found["2017_1002"].labels) == {"a10_face_partial", "a64_rel_personal", "face", "relationship"}
  assert all(set(image.labels) == set(vispr.ATTRIBUTES) and image.pixels.shape == (20, 24, 3) for image in found.values())


def test_a_merged_attribute_is_present_where_any_of_its_parts_is():
  nothing = dict.fromkeys(vocabularies.VISPR, 0)
  assert vocabularies.merged(nothing) == dict.fromkeys(vocabularies.PA_HMDB51, 0)
  for attribute, parts in vocabularies.MERGED.items():
    for part in parts:
      assert present(vocabularies.merged(nothing | {part: 1})) == {attribute}


def test_archives_of_photographs_and_labels_may_lie_apart(tmp_path, source):
  shutil.move(source / "images", tmp_path / "photographs")  # the authors' archives hold train2017/ and so on at their top
  assert planned(tmp_path / "photographs", annotations=str(source)).problems == ()


@pytest.mark.parametrize("change, reason", [
    ({"labels": ["a0_safe", "a14_age"]}, "label 'a14_age' is not one of the 68 attributes"),
    ({"labels": [["a0_safe"]]}, "label ['a0_safe'] is not one of the 68 attributes"),
    ({"labels": "a0_safe"}, 'not {"id": ..., "image_path": ..., "labels": [...]}'),
    ({"image_path": None}, 'not {"id": ..., "image_path": ..., "labels": [...]}'),
    ({"image_path": "images/test2017/none.jpg"}, "no such file"),
    ({"image_path": "../../out.jpg"}, "no such file"),
    ({"id": "2017_9"}, "speaks of '2017_9'"),
])
def test_bad_labels_are_told_with_their_file(source, change, reason):
  tiny_files.image(source.parent / "out.jpg", tiny_files.gradient())
  path = source / "annotations" / "test2017" / "2017_3000.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | change))
  assert [str(problem) for problem in planned(source).problems] == [f"test2017/2017_3000.json: {reason}"]


@pytest.mark.parametrize("line, reason", [
    ("annotations/test2017/2017_9.json", "test2017/2017_9.json: no such file"),
    ("2017_9.json", "test2017.txt line 3 (2017_9.json): is not FOLDER/ID.json"),
    ("annotations/train2017/2017_1000.json",
     "test2017.txt line 3 (annotations/train2017/2017_1000.json): listed already (train2017.txt line 1)"),
])
def test_a_bad_line_is_told(source, line, reason):
  path = source / "test2017.txt"
  path.write_text(path.read_text() + line + "\r\n\r\n")
  assert [str(problem) for problem in planned(source).problems] == [reason]


def test_no_json_and_no_picture_are_told(tmp_path, source):
  (source / "annotations" / "val2017" / "2017_2000.json").write_text("{")
  (source / "images" / "val2017" / "2017_2001.jpg").write_bytes(b"no picture")
  plan = planned(source)
  assert [problem.where for problem in plan.problems] == ["val2017/2017_2000.json"] and plan.problems[0].reason.startswith("no JSON (")
  with pytest.raises(assemble.TooManyErrors) as caught:
    assemble.assemble(plan, str(tmp_path / "records"), workers=1, allow_errors=1, progress=False)
  assert caught.value.problems[1] == "2017_2001: not an image that Pillow can open"


def test_a_source_that_is_not_vispr_is_told(source):
  rows = (source / "attributes.tsv").read_text().replace("a11_tattoo", "a11_tatoo")
  (source / "attributes.tsv").write_text(rows)
  with pytest.raises(PlanError, match="attributes.tsv and the 68 attributes known here differ in a11_tatoo, a11_tattoo"):
    planned(source)
  (source / "attributes.tsv").unlink()
  assert planned(source).problems == ()
  (source / "val2017.txt").unlink()
  with pytest.raises(PlanError, match="vispr: no val2017.txt below "):
    planned(source)


# ---- vocabularies ----


def test_the_papers_lists_are_of_known_names_and_sizes():
  lists = {"UCF101_KNOWN": 7, "UCF101_NOVEL": 7, "VISPR_17": 17, "VISPR_7": 7}
  for name, count in lists.items():
    chosen = getattr(vocabularies, name)
    assert len(set(chosen)) == len(chosen) == count and set(chosen) <= set(vocabularies.VISPR)
  five = set(vocabularies.HMDB51_KNOWN) | set(vocabularies.HMDB51_NOVEL)
  assert (len(vocabularies.HMDB51_KNOWN), len(vocabularies.HMDB51_NOVEL)) == (3, 2)
  assert five == set(vocabularies.PA_HMDB51) == set(vocabularies.MERGED)
  assert len(set(vocabularies.VISPR)) == 68
  assert {part for parts in vocabularies.MERGED.values() for part in parts} <= set(vocabularies.VISPR)


@pytest.mark.parametrize("name", ["ucf101_vispr", "hmdb51_vispr"])
def test_the_papers_benchmarks_name_attributes_that_records_have(name):
  benchmark = BENCHMARKS[name]
  assert set(benchmark.known + benchmark.novel) <= set(vispr.ATTRIBUTES) and not set(benchmark.known) & set(benchmark.novel)
  if benchmark.test:
    assert set(benchmark.known + benchmark.novel) == set(vocabularies.PA_HMDB51)


# ---- the real lists ----


@real
def test_real_lists_and_attributes():
  listed, problems = vispr.read_lists(Tree(REAL))
  assert problems == [] and collections.Counter(listed.values()) == {"train": 10000, "validation": 4167, "test": 8000}
  [table] = vispr.check_attributes(Tree(REAL))
  assert table.count(b"\r\n") == 68 and not table.endswith(b"\r\n")  # 68 rows under a header, the last without an end
  rows = [line.split("\t") for line in table.decode().split("\r\n")]
  assert tuple(row[1] for row in rows[1:]) == vocabularies.VISPR


@real
@pytest.mark.parametrize("split, file", [("train", "train_labels.csv"), ("test", "test_labels.csv")])
def test_the_known_attributes_are_those_that_a_paper_labels(split, file):
  rows = list(csv.DictReader((REAL / file).read_text(encoding="utf-8").splitlines()))
  listed = vispr.read_lists(Tree(REAL))[0]
  assert set(rows[0]) == {"image_id", *vocabularies.UCF101_KNOWN}
  assert {row["image_id"] for row in rows} <= {name.partition("/")[2].removesuffix(".json") for name, of in listed.items() if of == split}
