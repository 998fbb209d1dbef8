"""Records built with a detector, through the programs: what is stored, counted, refused; and that nothing changes without one."""

import importlib.util
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tiny_detectors
import tiny_files

from mppar_tf.data import records, schema
from tfrecord_tools import build, detector_check, inspect, verify
from tfrecord_tools.detectors import contract, judging

REGIONS = (*schema.BOXES, *schema.MASKS)
SQUARE = (0.25, 0.125, 0.75, 0.5)  # of the frame: the red one
needs_beam = pytest.mark.skipif(not importlib.util.find_spec("apache_beam"), reason="Apache Beam, the extra beam, is not installed")


def picture(red: bool) -> np.ndarray:
  frame = np.full((96, 128, 3), 20, np.uint8)
  if red:
    frame[24:72, 16:64] = (250, 20, 20)
  return frame


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  """Videos of six frames and images: one of each split with somebody, and one of train without; and the red network."""
  folder = tmp_path_factory.mktemp("source")
  lines = {kind: ["file,split,action,glasses"] for kind in ("video", "image")}
  for number, (split, red) in enumerate([("train", True), ("train", False), ("validation", True), ("test", True)]):
    tiny_files.video(folder / f"clip{number}.mp4", np.stack([picture(red)] * 6))
    tf.io.write_file(str(folder / f"photo{number}.png"), tf.io.encode_png(picture(red)))
    lines["video"].append(f"clip{number}.mp4,{split},wave,1")
    lines["image"].append(f"photo{number}.png,{split},,0")
  lines["image"] = [line.replace(",,", ",").replace(",action", "") for line in lines["image"]]
  for kind, of_kind in lines.items():
    (folder / f"{kind}.csv").write_text("\n".join(of_kind) + "\n")
  tiny_detectors.red_is_a_person(folder / "red.tflite")
  return folder


def flags(source, data, kind="video", detector="selfie", **others):
  given = {"csv": source / f"{kind}.csv", "root": source, "name": "mine", "data_dir": data, "frame_height": 48, "frame_width": 64, **others}
  watched = [f"--detector={detector}", f"--detector_weights={source / 'red.tflite'}", "--detector_side=128"] if detector else []
  return ["folder", *(f"--{name}={value}" for name, value in given.items()), *watched]


@pytest.fixture(scope="module")
def built(source, tmp_path_factory):
  """Folders of the same videos with and without the detector, by one process."""
  data = tmp_path_factory.mktemp("built")
  for name, detector in (("with", "selfie"), ("without", "")):
    assert build.main(flags(source, data / name, detector=detector, workers=1)) == 0
  return data


def stored(folder, split="train"):
  return [serialized.numpy() for _, serialized in records.read(records.open_split(str(folder), split))]


@pytest.mark.parametrize("kind", ["video", "image"])
def test_records_carry_what_the_detector_saw(source, tmp_path, kind, capsys):
  assert build.main(flags(source, tmp_path, kind, workers=1)) == 0
  told = capsys.readouterr().out
  frames = 6 if kind == "video" else 1
  assert f"boxes: {frames} of {2 * frames} frames without a person" in told and f"boxes: 0 of {frames} frames without a person" in told
  header = records.read_manifest(str(tmp_path / "mine")).header
  for record in (schema.decode(serialized, header) for serialized in stored(tmp_path / "mine")):
    boxes, masks = (record.body_boxes, record.body_masks) if kind == "video" else ([record.body_boxes], [record.body_masks])
    red = "0." in record.id
    assert len(boxes) == len(masks) == frames and record.face_boxes is None and record.face_masks is None
    for box, mask in zip(boxes, masks):
      assert len(box) == red and mask.shape == (48, 64) and mask.any() == red
      if red:
        assert judging.overlaps(box, np.array([SQUARE])).max() > 0.9
        assert judging.mask_overlap(mask, np.pad(np.full((24, 24), 255, np.uint8), [(12, 12), (8, 32)])) > 0.9
  assert verify.main([str(tmp_path / "mine")]) == 0


def test_other_shapes_of_stored_frames_move_boxes_along(source, tmp_path):
  # Cut to a square, the frame loses an eighth on both sides: the box from 1/8 to 1/2 of the width begins at the very left.
  assert build.main(flags(source, tmp_path, "image", workers=1, frame_height=48, frame_width=48, resize="crop")) == 0
  header = records.read_manifest(str(tmp_path / "mine")).header
  record = next(one for one in (schema.decode(each, header) for each in stored(tmp_path / "mine")) if "0." in one.id)
  assert judging.overlaps(record.body_boxes, np.array([[0.25, 0.0, 0.75, 0.5]])).max() > 0.9


def test_without_a_detector_bytes_and_settings_are_those_of_records_that_know_no_detectors(built):
  with_one, without = built / "with" / "mine", built / "without" / "mine"
  settings = [json.loads((folder / "manifest.json").read_text())["settings"] for folder in (with_one, without)]
  added = {name: settings[0].pop(name) for name in ("detector", "detector_side")}
  assert settings[0] == settings[1] and not any("detector" in name for name in settings[1])
  assert added["detector_side"] == 128 and added["detector"][0]["name"] == "selfie" and len(added["detector"][0]["weights_sha256"]) == 64
  for split in records.SPLITS:
    stripped = []
    for serialized in stored(with_one, split):
      message = tf.train.SequenceExample.FromString(serialized)
      assert {name for name in REGIONS if name in message.feature_lists.feature_list} == {"body_boxes", "body_masks"}
      for name in ("body_boxes", "body_masks"):
        del message.feature_lists.feature_list[name]
      stripped.append(message.SerializeToString(deterministic=True))
    assert stripped == stored(without, split)


def test_processes_give_the_bytes_of_one(source, built, tmp_path):
  assert build.main(flags(source, tmp_path, workers=2)) == 0
  assert content(tmp_path) == content(built / "with")


@needs_beam
def test_beam_gives_the_bytes_of_the_local_build(source, built, tmp_path):
  assert build.main(flags(source, tmp_path, runner="DirectRunner")) == 0
  assert content(tmp_path) == content(built / "with")


def content(data: pathlib.Path) -> dict[str, bytes]:
  return {path.name: path.read_bytes() for path in sorted((data / "mine").iterdir())}


def test_records_without_regions_are_not_taken_for_those_with(source, built, capsys):
  assert build.main(flags(source, built / "without", workers=1)) == 1
  assert "mine" in capsys.readouterr().err
  assert not list((built / "without" / "mine").glob("*.writing"))


def test_inspect_counts_frames_without_anybody(built, capsys):
  assert inspect.main([str(built / "with" / "mine")]) == 0
  told = capsys.readouterr().out
  assert [line.split() for line in told.splitlines() if line.startswith("train ")][-1] == ["train", "12", "-", "6"]
  assert inspect.main([str(built / "without" / "mine")]) == 0
  assert "without a person" not in capsys.readouterr().out


@pytest.mark.parametrize("given, told", [
    (["twin", "--detector=centerface"], "--detector=centerface: the twin's records carry the true boxes and masks"),
    (["kth", "--source=x", "--detector=eye"], "--detector: 'eye' is not one of centerface, selfie, keras_cv"),
    (["kth", "--source=x", "--detector_weights=a.tflite"], "--detector_weights=a.tflite: name the --detector that it is for"),
    (["kth", "--source=x", "--detector=keras_cv"], "--detector=keras_cv: --detector_weights=FILE.weights.h5 is missing"),
    (["kth", "--source=x", "--detector=keras_cv", "--yolo_person=20"], "--yolo_person=20: is not one of the --yolo_classes=20"),
])
def test_flags_that_cannot_be_used_are_told_before_anything_is_built(given, told, tmp_path, capsys):
  assert build.main([*given, f"--data_dir={tmp_path}"]) == 2
  assert told in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_a_mask_that_is_no_png_of_the_frame_s_size_is_refused(tmp_path):
  header = schema.Header("mine", "image")
  good = tf.io.encode_png(np.full((4, 6, 1), 255, np.uint8)).numpy()
  image = schema.Image("a", np.zeros((4, 6, 3), np.uint8), body_masks=good)
  assert np.all(schema.decode_image(schema.encode_image(image, header), header).body_masks == 255)
  other_shapes = [tf.io.encode_png(np.zeros(shape, np.uint8)).numpy() for shape in ((6, 4, 1), (4, 6, 3))]
  for bad in (*other_shapes, b"", b"no PNG"):
    with pytest.raises(schema.RecordsError, match=r"'a': body_masks: \d+ bytes that are no grey PNG of \[4, 6\]"):
      schema.encode_image(image._replace(body_masks=bad), header)


# ---- detector_check ----


def measured(capsys) -> dict[str, str]:
  """Header -> cell of the table's one line."""
  header, line = [one for one in capsys.readouterr().out.splitlines() if one.startswith(("detector ", "selfie "))]
  names = ("detector", "looks for", "frames", "frames with", "boxes", "recall", "precision", "mask IoU", "ms")
  assert all(name in header for name in names)
  return dict(zip(names, line.split()))


def test_check_measures_files_and_draws_what_it_saw(source, tmp_path, capsys):
  sheet = tmp_path / "seen.png"
  common = [f"--detector_weights={source / 'red.tflite'}", "--detector=selfie"]
  assert detector_check.main([*common, f"--source={source}", "--check_frames=16", f"--sheet={sheet}"]) == 0
  told = measured(capsys)
  assert (told["looks for"], told["frames"], told["frames with"], told["boxes"], told["recall"]) == ("person", "12", "0.750", "0.75", "-")
  assert sheet.stat().st_size > 1000


def test_check_measures_against_true_boxes(source, built, capsys):
  common = [f"--detector_weights={source / 'red.tflite'}", "--detector=selfie"]
  assert detector_check.main([*common, f"--records={built / 'with' / 'mine'}"]) == 0
  told = measured(capsys)
  assert (told["frames"], told["recall"], told["precision"]) == ("4", "1.000", "1.000") and float(told["mask IoU"]) > 0.95


@pytest.mark.parametrize("given, code, told", [
    (["--detector=selfie"], 2, "--source= --records=: one of them is needed"),
    (["--source=."], 2, "--detector: name at least one of centerface, selfie, keras_cv"),
    (["--detector=selfie", "--source=nowhere"], 2, "--source=nowhere: no such folder"),
    (["--detector=keras_cv", "--source=."], 2, "--detector_weights=FILE.weights.h5 is missing"),
    (["--detector=selfie", "--records=nowhere"], 1, "nowhere"),
    (["--detector=selfie", "--source=."], 1, "no image or video in ."),
])
def test_check_refuses_in_one_line(given, code, told, source, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  weights = [f"--detector_weights={source / 'red.tflite'}"] if "--detector=selfie" in given else []
  assert detector_check.main([*given, *weights]) == code
  assert told in capsys.readouterr().err.splitlines()[-1]


def test_check_names_what_it_cannot_decode_and_goes_on(source, tmp_path, capsys):
  (tmp_path / "broken.png").write_bytes(b"no picture")
  tf.io.write_file(str(tmp_path / "below" / "sound.png"), tf.io.encode_png(picture(True)))
  assert detector_check.main(["--detector=selfie", f"--detector_weights={source / 'red.tflite'}", f"--source={tmp_path}"]) == 0
  said = capsys.readouterr()
  assert "broken.png: not an image that Pillow can open" in said.err and " 1       1.000" in said.out


def test_boxes_are_clipped_and_empty_ones_dropped():
  boxes = contract.clipped(np.array([[-5, 10, 50, 300], [120, 0, 130, 10], [10, 10, 10, 20]]), 100, 200)
  np.testing.assert_allclose(boxes, [[0, 0.05, 0.5, 1]])
  assert boxes.dtype == np.float32 and contract.clipped(np.zeros((0, 4)), 5, 5).shape == (0, 4)
