"""KTH: every listed time becomes a record of its own frames; people are divided, or recordings where identity is the label."""

import collections
import itertools

import pytest
import tiny_files
import tiny_sets

from mppar_tf.data import records
from tfrecord_tools import options, split_check, verify
from tfrecord_tools.plan import PlanError
from tfrecord_tools.readers import kth

REAL = tiny_sets.ANNOTATIONS / "kth" / kth.TABLE
real = pytest.mark.skipif(not REAL.is_file(), reason="the sequences of KTH are not on this machine")

# A person of each split, all four recordings of two actions, one of them missing. As in the official file: tabs, CRLF, empty lines, a head.
PEOPLE, ACTIONS = (11, 19, 22), ("boxing", "walking")
ABSENT = "person19_walking_d3"
HEAD = "The sequences are divided with respect to the people:\r\nTraining:\tperson11, 12\r\nTest:\tperson22, 02\r\n\r\n"


def names():
  return [f"person{person}_{action}_d{number}" for person, action, number in itertools.product(PEOPLE, ACTIONS, range(1, 5))]


def table(root, **changed):
  """Writes the official table; changed: name -> what follows it."""
  rest = dict.fromkeys(names(), "frames\t1-4, 5-9, 8-10") | {ABSENT: kth.MISSING} | changed
  (root / kth.TABLE).write_bytes((HEAD + "".join(f"{name}\t\t{text}\r\n\r\n" for name, text in rest.items())).encode())


@pytest.fixture
def source(tmp_path):
  for number, name in enumerate(names()):
    folder = tmp_path / "kth" / (name.split("_")[1] if "boxing" in name else "")  # with and without the archive's folder
    if name != ABSENT:
      tiny_files.video(folder / f"{name}_uncomp.avi", tiny_files.colours(10) // 2 + 5 * number)
  table(tmp_path / "kth")
  return tmp_path / "kth"


def test_segments_become_records_and_people_do_not_cross(tmp_path, source, capsys):
  assert tiny_sets.built_twice("kth", source, tmp_path / "data") == 0
  told = f"00sequences.txt line 33 ({ABSENT}): called missing there"
  captured = capsys.readouterr()
  assert captured.err.count(f"left out: {told}\n") == 2  # once each build
  assert "69 video records" in captured.out and "1 left out" in captured.out
  folder = tmp_path / "data" / "kth"
  assert verify.verify([str(folder)]) == split_check.split_check([str(folder)]) == 0
  manifest, stored = records.read_manifest(str(folder)), tiny_sets.stored(folder)
  assert not manifest.closed_set_identity and manifest.settings["left_out"] == [told]
  assert {split: {one.subject for one in found.values()} for split, found in stored.items()} == {
      "train": {"person11"}, "validation": {"person19"}, "test": {"person22"}}
  first, last = (stored["test"][f"person22_walking_d4_{number}"] for number in (1, 3))
  assert (len(first.frames), len(last.frames), last.group, last.fps) == (4, 3, "person22_walking_d4", 25)
  assert manifest.classes[last.action] == "walking"
  # Frames count from 1, both ends included: 8-10 are the last three of ten.
  whole = kth.video.decode(source / "person22_walking_d4_uncomp.avi").frames
  for kept, frame in zip(last.frames, whole[7:10], strict=True):
    assert abs(kept.astype(int) - frame).mean() < 4


def test_identity_divides_recordings(tmp_path, source):
  assert tiny_sets.built("kth", source, tmp_path / "data", "--kth_split=recordings") == 0
  folder = tmp_path / "data" / "kth_identity"
  manifest, stored = records.read_manifest(str(folder)), tiny_sets.stored(folder)
  assert manifest.closed_set_identity and split_check.split_check([str(folder)]) == 0
  assert {split: {one.group[-2:] for one in found.values()} for split, found in stored.items()} == {
      "train": {"d1", "d2"}, "validation": {"d3"}, "test": {"d4"}}
  assert all(len({one.subject for one in found.values()}) == 3 for found in stored.values())


@pytest.mark.parametrize("rest, reason", [
    ("frames\t1-4, 5", "'5' where frames FIRST-LAST are expected"),
    ("frames\t1-4, ", "'nothing' where frames FIRST-LAST are expected"),
    ("frames", "'nothing' where frames FIRST-LAST are expected"),
    ("frames\t9-4", "'9-4' where frames FIRST-LAST are expected"),
    ("frames\t0-4", "'0-4' where frames FIRST-LAST are expected"),
    ("lost", "'lost' where frames FIRST-LAST are expected"),
])
def test_a_bad_line_is_told(source, rest, reason):
  table(source, person11_boxing_d2=rest)
  [plan] = kth.plan(options.KthOptions(source=str(source)))
  assert [str(problem) for problem in plan.problems] == [f"00sequences.txt line 7 (person11_boxing_d2): {reason}"]
  assert len(plan.items["train"]) == 3 * 7


@pytest.mark.parametrize("name", ["person26_boxing_d1", "person11_dancing_d1", "person11_boxing_d5", "person1_boxing_d1", "Walking"])
def test_a_name_of_another_dataset_is_told(source, name):
  (source / kth.TABLE).write_text(f"person11_boxing_d1 frames 1-4\n{name} frames 1-4\n")
  [plan] = kth.plan(options.KthOptions(source=str(source)))
  [problem] = plan.problems
  assert str(problem).startswith(f"00sequences.txt line 2 ({name}): not personNN_ACTION_dN with 01 to 25, one of boxing,")


def test_a_second_line_a_missing_video_and_a_time_beyond_its_end_are_told(tmp_path, source, capsys):
  table(source, person11_boxing_d1="frames 1-4, 9-11")
  with open(source / kth.TABLE, "ab") as file:
    file.write(b"person11_boxing_d2 frames 1-4\r\n")
  (source / "person22_walking_d1_uncomp.avi").unlink()
  assert tiny_sets.built("kth", source, tmp_path / "data", "--allow_errors=2") == 1
  error = capsys.readouterr().err
  for told in ("00sequences.txt line 53 (person11_boxing_d2): a second line for this sequence (first: line 7)",
               "00sequences.txt line 45 (person22_walking_d1_uncomp.avi): no such file",
               "person11_boxing_d1_2: frames 9-11 of a video of 10"):
    assert f"left out: {told}\n" in error
  assert "kth: 3 of 67 items cannot become records, --allow_errors=2" in error


def test_identity_needs_everybody_in_train(source):
  for number in (1, 2):
    for action in ACTIONS:
      (source / kth._file(source, kth._read_line(1, [f"person22_{action}_d{number}", "1-4"]))).unlink()
  with pytest.raises(PlanError, match=r"kth_identity: identity needs everybody in train, but person22 is only in validation \(4 left out"):
    kth.plan(options.KthOptions(source=str(source), kth_split="recordings"))


def test_a_folder_that_is_not_kth_is_told(tmp_path):
  with pytest.raises(PlanError, match="kth: --source is missing"):
    kth.plan(options.KthOptions())
  with pytest.raises(PlanError, match="kth: no 00sequences.txt in --source="):
    kth.plan(options.KthOptions(source=str(tmp_path)))


@real
def test_the_real_table():
  sequences, problems = kth.read_table(REAL.read_bytes())
  assert (len(sequences), problems, sum(len(one.segments) for one in sequences)) == (600, [], 2391)
  assert [one.name for one in sequences if not one.segments] == ["person13_handclapping_d3"]
  present = [one for one in sequences if one.segments]
  assert collections.Counter(kth.split_of(one, False) for one in present) == {"train": 191, "validation": 192, "test": 216}
  assert collections.Counter(kth.split_of(one, True) for one in present) == {"train": 300, "validation": 149, "test": 150}
  people = {split: {one.person for one in sequences if kth.split_of(one, False) == split} for split in kth.SUBJECTS}
  assert people == {split: set(numbers) for split, numbers in kth.SUBJECTS.items()} and set().union(*people.values()) == set(range(1, 26))
  # Typing slips of the official file, taken as they stand: overlapping times, and two in reverse order.
  assert {one.name: one.segments for one in sequences}["person21_handclapping_d1"] == ((1, 118), (119, 224), (225, 365), (266, 500))
  assert {one.name: one.segments for one in sequences}["person07_running_d4"][2:] == ((310, 358), (224, 274))


@real
def test_a_source_with_the_real_table(tmp_path):
  (tmp_path / kth.TABLE).write_bytes(REAL.read_bytes())
  for sequence in kth.read_table(REAL.read_bytes())[0][:-1]:
    if sequence.segments:
      (tmp_path / f"{sequence.name}_uncomp.avi").write_bytes(b"x")
  [plan] = kth.plan(options.KthOptions(source=str(tmp_path)))
  assert [str(problem) for problem in plan.problems] == ["00sequences.txt line 624 (person25_walking_d4_uncomp.avi): no such file"]
  assert [str(one) for one in plan.absent] == ["00sequences.txt line 307 (person13_handclapping_d3): called missing there"]
  assert {split: len(items) for split, items in plan.items.items()} == {"train": 760, "validation": 768 - 4, "test": 863}
