"""PA-HMDB51: what each segment says of each frame, coexisting values, frames that nobody annotated, and a test set alone."""

import collections
import json
import shutil

import numpy as np
import pytest
import tiny_official

from mppar_tf.data import clips, images, records, schema
from mppar_tf.data.vocabularies import PA_HMDB51
from tfrecord_tools import assemble, options
from tfrecord_tools.plan import PlanError
from tfrecord_tools.readers import pa_annotations, pa_hmdb51
from tfrecord_tools.source import Tree

REAL = tiny_official.ANNOTATIONS / "pa_hmdb51"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the labels of PA-HMDB51 are not on this machine")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
  return tiny_official.hmdb51(tmp_path_factory.mktemp("hmdb51"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  return tiny_official.pa_hmdb51(tmp_path_factory.mktemp("pa_hmdb51"))


@pytest.fixture
def labels(tmp_path, made):
  return shutil.copytree(made, tmp_path / "labels")


def planned(videos, labels, **chosen):
  [plan] = pa_hmdb51.plan(options.OfficialSourceOptions(source=str(videos), annotations=str(labels), **chosen))
  return plan


@pytest.fixture(scope="module")
def stored(tmp_path_factory, videos, made):
  """Every record, by its file."""
  folder = tmp_path_factory.mktemp("records")
  plan = planned(videos, made, frame_height=16, frame_width=16)
  assert plan.problems == () and list(plan.items) == ["test"]
  report = assemble.assemble(plan, str(folder), workers=1, progress=False)
  opened = records.open_split(str(folder / "pa_hmdb51"), "test")
  found = {video.id: video for video in (
      schema.decode(data, report.manifest.header) for _, data in records.read(opened).as_numpy_iterator())}
  return report.manifest, opened, found


def test_it_is_a_test_set_of_hmdb51_s_classes_with_the_authors_notice(stored):
  manifest, _, found = stored
  assert (manifest.classes, manifest.attributes) == (("brush_hair", "ride_bike", "wave"), tuple(PA_HMDB51))
  assert list(manifest.splits) == ["test"] and len(found) == 5
  assert "non-commercial" in manifest.licence and "Their notice: This dataset ('Licensed Material') ... for" in manifest.licence


def test_frames_have_the_value_of_their_segment_and_ends_are_inclusive(stored):
  video = stored[2]["wave/Crowd_wave_u_cm_np1_fr_med_2.avi"]
  assert (video.action, video.group) == (2, "Crowd")
  # Seven frames, labels of six: nobody said anything of the last.
  assert video.frame_labels["gender"] == (0, 0, 0, 2, 2, 2, -1) and video.frame_labels["face"] == (2,) * 6 + (-1,)
  assert (video.labels["gender"], video.labels["face"], video.labels["nudity"]) == (2, 2, 0)


def test_coexisting_values_are_kept_and_count_as_present(stored):
  manifest, opened, found = stored
  video = found["brush_hair/Salon!_brush_hair_u_cm_np1_fr_med_0.avi"]
  assert [pa_annotations.values(code) for code in video.frame_labels["gender"]] == [(2, 1), (2, 1), (1,), (1,), (1,), (1,)]
  assert {pa_annotations.values(code) for code in video.frame_labels["skin_color"]} == {(3, 2)}
  assert (video.labels["gender"], video.labels["skin_color"]) == (2, 3)
  table = dict(zip(records.ids(opened), records.labels(opened, ("gender", "skin_color", "relationship")).tolist()))
  assert table[video.id] == [1, 1, 0]


def test_a_late_start_and_a_gap_are_not_annotated(stored):
  video = stored[2]["ride_bike/Tour_[2]_(a)_ride_bike_u_cm_np1_fr_med_0.avi"]
  assert video.frame_labels["face"] == (-1, -1, 2, 2, -1, 1, -1) and video.frame_labels["nudity"] == (-1, -1, 2, 2, 2, 2, -1)


def test_evaluation_sees_every_frame_with_binary_labels(stored):
  spec = clips.ClipSpec(crop=16)
  batches = list(images.evaluation_frames(stored[1], spec, tuple(PA_HMDB51), batch_size=100).as_numpy_iterator())
  labels = np.concatenate([private.labels for private, _, _ in batches])
  assert len(labels) == sum(len(video.frames) for video in stored[2].values())
  assert set(np.unique(labels)) == {-1, 0, 1}
  by_hand = collections.Counter(min(code, 1) for video in stored[2].values() for code in video.frame_labels["gender"])
  assert collections.Counter(labels[:, list(PA_HMDB51).index("gender")].tolist()) == by_hand


@pytest.mark.parametrize("values, code", [
    ([0], 0), ([3], 3), ([1, 2], 9), ([2, 1], 9), ([0, 1], 4), ([2, 3], 14), ([1, 2, 3], 57), ([1, 1], 1)])
def test_a_stored_value_gives_back_what_it_was_made_of(values, code):
  assert pa_annotations.stored(values) == code <= schema.LARGEST_LABEL
  assert pa_annotations.values(code) == tuple(sorted(set(values), reverse=True))
  assert (code > 0) == (max(values) > 0)


def test_the_first_of_two_segments_speaks_for_a_frame_of_both():
  assert pa_annotations.per_frame(((0, 2, 1), (2, 4, 2)), 6).tolist() == [1, 1, 1, 2, 2, -1]
  assert pa_annotations.per_frame(((1, 10 ** 15, 1),), 3).tolist() == [-1, 1, 1]


@pytest.mark.parametrize("change, reason", [
    ({"gender": [[0, 5, 3]]}, "gender [0, 5, 3]: values are 0 to 2"),
    ({"gender": [[0, 5, [1, 5]]]}, "gender [0, 5, [1, 5]]: values are 0 to 2"),
    ({"gender": [[0, 5, []]]}, "gender [0, 5, []]: values are 0 to 2"),
    ({"gender": [[0, 5, True]]}, "gender [0, 5, True]: values are 0 to 2"),
    ({"gender": [[0, 5, "1"]]}, "gender [0, 5, '1']: values are 0 to 2"),
    ({"skin_color": [[0, 5, [0, 1, 2, 3]]]}, "4 coexisting values cannot be stored, at most 3"),
    ({"face": [[5, 0, 1]]}, "face [5, 0, 1] ends before it starts or starts before 0"),
    ({"face": [[-1, 5, 1]]}, "face [-1, 5, 1] ends before it starts or starts before 0"),
    ({"face": [[0, 5]]}, "face [0, 5] is not [start, end, value]"),
    ({"face": [[0, 5.5, 1]]}, "face [0, 5.5, 1] is not [start, end, value]"),
    ({"face": "all"}, "no list of segments for face"),
    ({"age": [[0, 5, 1]]}, "attribute 'age' is not one of skin_color, face, gender, nudity, relationship"),
])
def test_labels_that_cannot_be_used_are_told_with_their_video(videos, labels, change, reason):
  _rewrite(labels, "Beach_wave_u_cm_np1_fr_med_0.avi", tiny_official.pa_entry(**change))
  plan = planned(videos, labels)
  assert [str(problem) for problem in plan.problems] == [f"wave.json (Beach_wave_u_cm_np1_fr_med_0.avi): {reason}"]
  assert len(plan.items["test"]) == 5


def _rewrite(labels, file, entry):
  path = labels / "PrivacyAttributes" / "wave.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | {file: entry}))


@pytest.mark.parametrize("file, reason", [
    ("Lake_wave_u_cm_np1_fr_med_0.avi", "no such file"),
    ("../wave/Beach_wave_u_cm_np1_fr_med_0.avi", "no such file"),
    ("Beach.avi", "'Beach.avi' is not VIDEO_wave_TAGS.avi"),
])
def test_a_video_that_is_not_there_is_told(videos, labels, file, reason):
  _rewrite(labels, file, tiny_official.pa_entry())
  assert [str(problem) for problem in planned(videos, labels).problems] == [f"wave/{file}: {reason}"]


def test_labels_far_beyond_the_video_s_end_are_those_of_another(tmp_path, videos, labels):
  _rewrite(labels, "Beach_wave_u_cm_np1_fr_med_0.avi", tiny_official.pa_entry(frames=30))
  with pytest.raises(assemble.TooManyErrors) as caught:
    assemble.assemble(planned(videos, labels), str(tmp_path / "records"), workers=1, progress=False)
  assert caught.value.problems == ("wave/Beach_wave_u_cm_np1_fr_med_0.avi: labels reach to frame 29, the video has 6 frames",)


def test_a_folder_without_usable_labels_is_told(tmp_path, videos, labels):
  with pytest.raises(PlanError, match=r"pa_hmdb51: no PrivacyAttributes/\*.json of PA-HMDB51 in "):
    planned(videos, videos)
  path = labels / "PrivacyAttributes" / "wave.json"
  for text, reason in (("{", "wave.json is no JSON"), ("[]", "wave.json holds no object of videos"), ("[" * 99999, "wave.json is no JSON")):
    path.write_text(text)
    with pytest.raises(PlanError, match=reason):
      planned(videos, labels)


# ---- the real labels ----


@real
def test_real_labels_are_read_whole():
  files = pa_annotations.read_files("test", Tree(REAL))
  found, problems = pa_annotations.read_videos(files)
  assert (len(files), len(found), problems) == (51, 515, []) and len({video.name for video in found}) == 515
  entries = [entry for content in files.values() for entry in content.values()]
  assert sum("note" not in entry for entry in entries) == 10 and sum(entry["review"] is False for entry in entries) == 39
  coexisting = collections.Counter(attribute for entry in entries for attribute in PA_HMDB51 for _, _, value in entry[attribute]
                                   if isinstance(value, list))
  assert coexisting == {"gender": 33, "skin_color": 13}
  kept = collections.Counter(attribute for video in found for attribute, segments in video.segments.items() for _, _, code in segments
                             if code >= pa_annotations.RADIX)
  assert kept == coexisting
  assert max(code for video in found for segments in video.segments.values() for _, _, code in segments) <= schema.LARGEST_LABEL


@real
def test_real_late_starts_gaps_and_an_overlap_are_seen_by_frame():
  found, _ = pa_annotations.read_videos(pa_annotations.read_files("test", Tree(REAL)))
  late, gaps, overlaps = set(), [], []
  for video in found:
    end = max(last for segments in video.segments.values() for _, last, _ in segments)
    table = {attribute: pa_annotations.per_frame(segments, end + 1) for attribute, segments in video.segments.items()}
    assert all(of_frames[-1] >= 0 for of_frames in table.values())  # inclusive ends: nobody is left out at the end
    if all(of_frames[0] < 0 for of_frames in table.values()):
      late.add(video.name)
    for attribute, segments in video.segments.items():
      first = min(start for start, _, _ in segments)
      gaps += [(video.name, attribute)] * bool((table[attribute][first:] < 0).any())
      overlaps += [(video.name, attribute)] * (sum(last - start + 1 for start, last, _ in segments) > end + 1 - first)
  assert len(late) == 14
  assert [(name.partition("/")[0], attribute) for name, attribute in gaps] == [("kick_ball", "face")]
  assert [(name.partition("/")[0], attribute) for name, attribute in overlaps] == [("hug", "face")]
