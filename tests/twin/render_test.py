"""What is drawn is what the labels, masks and boxes say."""

import cv2
import numpy as np
import pytest

from tfrecord_tools.twin import dataset, render
from tfrecord_tools.twin.labels import ATTRIBUTES
from tfrecord_tools.twin.sheet import with_label

LARGE = 96  # pixels; there a mask tells even a cane
IMAGES, CLIPS = dataset.Twin("image"), dataset.Twin("video")
ALONE = ("personal_relationship", "social_relationship", "sports", "landmark")


def _still(scene, size=LARGE):
  return render.render(scene, size, 1)


def _pair(index, attribute, size=LARGE):
  scene = dataset.take(IMAGES, "train", index)
  return [_still(with_label(scene, attribute, present), size) for present in (False, True)]


def _changed(absent, present, least=1):
  return (np.abs(absent.frames[0].astype(int) - present.frames[0]) >= least).any(axis=-1)  # [H, W]


def _grown(mask, pixels=2):
  return cv2.dilate(mask.astype(np.uint8), np.ones((2 * pixels + 1,) * 2, np.uint8)) > 0


def _seen_through(changed, shown):
  """The share of a body's inner pixels that changed: next to none where something changes behind it (gaps of half a pixel are masked)."""
  inside = cv2.erode(shown.body_masks[0], np.ones((5, 5), np.uint8)) > 0
  return changed[inside].mean()


def _alone(scene):
  for attribute in ALONE:
    scene = with_label(scene, attribute, False)
  return scene


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_an_attribute_is_seen_at_the_benchmarks_own_size(attribute):
  visible = [_changed(*_pair(index, attribute, 32), least=20).sum() >= 3 for index in range(20)]
  assert np.mean(visible) >= .9


@pytest.mark.parametrize("attribute", [name for name in ATTRIBUTES if name not in ("sports", "landmark")])
@pytest.mark.parametrize("index", (3, 8))
def test_an_attribute_of_people_changes_pixels_of_people_alone(attribute, index):
  absent, present = _pair(index, attribute)
  masks = "face_masks" if attribute.endswith("_face") else "body_masks"
  region = _grown((getattr(absent, masks)[0] | getattr(present, masks)[0]) > 0, 4)  # edges that cover less than half a pixel are no mask
  changed = _changed(absent, present)
  assert changed.any() and not (changed & ~region).any()


@pytest.mark.parametrize("index", range(4))
def test_a_landmark_stands_behind_the_people_on_one_side(index):
  absent, present = _pair(index, "landmark")
  changed = _changed(absent, present)
  assert changed.any() and _seen_through(changed, absent) < .01
  assert not (changed[:, :LARGE // 2].any() and changed[:, LARGE // 2:].any())


@pytest.mark.parametrize("index", range(4))
def test_sports_are_stripes_and_a_ball(index):
  absent, present = _pair(index, "sports")
  beside = _changed(absent, present) & ~_grown((absent.body_masks[0] | present.body_masks[0]) > 0)
  if beside.any():
    assert max(cv2.boundingRect(beside.astype(np.uint8))[2:]) <= .25 * LARGE
  assert (_changed(absent, present) & (present.body_masks[0] > 0)).any()


@pytest.mark.parametrize("attribute", ("personal_relationship", "social_relationship"))
def test_companions_are_counted_and_stay_behind_the_main_person(attribute):
  counts = []
  for index in range(6):
    scene = _alone(dataset.take(IMAGES, "train", index))
    absent, present = _still(scene), _still(with_label(scene, attribute, True))
    assert len(absent.body_boxes[0]) == 1
    assert _seen_through(_changed(absent, present), absent) < .01
    np.testing.assert_array_equal(present.body_boxes[0][0], absent.body_boxes[0][0])
    counts.append(len(present.body_boxes[0]) - 1)
  # A member of the group may stand wholly behind the main person.
  assert all(count == 1 for count in counts) if attribute == "personal_relationship" else (max(counts) >= 2 and max(counts) <= 3)


@pytest.mark.parametrize("action", dataset.CLASSES)
def test_masks_show_where_the_person_is_drawn(action, monkeypatch):
  scene = _alone(next(s for s in (dataset.take(CLIPS, "test", i) for i in range(99)) if s.action == action))
  shown = render.render(scene, LARGE, 4)
  with monkeypatch.context() as nobody:
    nobody.setattr(render, "paint", lambda *_: None)
    empty = render.render(scene, LARGE, 4)
  assert not empty.body_masks.any() and not empty.face_masks.any()
  drawn = (np.abs(shown.frames.astype(int) - empty.frames) > 12).any(axis=-1)  # [T, H, W]
  masked = shown.body_masks > 0
  assert (drawn & masked).sum() > .8 * (drawn | masked).sum()
  assert not (drawn & ~np.stack([_grown(mask) for mask in masked])).any()
  assert set(np.unique(shown.body_masks)) == {0, 255}


@pytest.mark.parametrize("face", ("complete_face", "partial_face", None))
def test_faces_are_masked_where_a_face_is_shown(face):
  scene = _alone(dataset.take(CLIPS, "train", 0))
  scene = with_label(with_label(scene, "complete_face", False), "partial_face", False)
  shown = render.render(with_label(scene, face, True) if face else scene, 32, 8)
  assert shown.face_masks.any(axis=(1, 2)).tolist() == [face is not None] * 8
  assert [len(boxes) for boxes in shown.face_boxes] == [int(face is not None)] * 8
  assert not (shown.face_masks & ~shown.body_masks).any()


def test_boxes_bound_the_masks():
  for index in range(10):
    shown = render.render(_alone(dataset.take(CLIPS, "validation", index)), 32, 8)
    for masks, boxes in ((shown.body_masks, shown.body_boxes), (shown.face_masks, shown.face_boxes)):
      for mask, rows in zip(masks, boxes):
        assert rows.dtype == np.float32 and len(rows) == mask.any()
        if len(rows):
          x, y, width, height = cv2.boundingRect(mask)
          np.testing.assert_allclose(rows[0] * 32, (y, x, y + height, x + width))


def test_with_company_the_boxes_together_bound_the_mask():
  scene = dataset.take(CLIPS, "train", 4)
  for attribute in ("personal_relationship", "social_relationship"):
    scene = with_label(scene, attribute, True)
  shown = render.render(scene, 64, 3)
  for mask, rows in zip(shown.body_masks, shown.body_boxes):
    x, y, width, height = cv2.boundingRect(mask)
    assert len(rows) >= 3 and (rows[:, :2] < rows[:, 2:]).all()
    np.testing.assert_allclose(np.r_[rows[:, :2].min(0), rows[:, 2:].max(0)] * 64, (y, x, y + height, x + width))


@pytest.mark.parametrize("action", dataset.CLASSES)
def test_the_main_person_moves_and_the_company_does_not(action, monkeypatch):
  monkeypatch.setattr(render, "_SENSOR_NOISE", 0.0)
  scene = next(s for s in (dataset.take(CLIPS, "train", i) for i in range(99)) if s.action == action)
  still = render.render(scene, 32, 8)
  steps = np.abs(np.diff(still.frames.astype(int), axis=0)).max(axis=-1)  # [7, H, W]
  assert (steps.max(axis=(1, 2)) > 20).all()
  assert (np.diff(still.body_masks.astype(int), axis=0) != 0).any()


@pytest.mark.parametrize("size,frames", ((48, 8), (64, 16), (112, 16)))
def test_other_sizes_and_lengths_show_the_same_scene(size, frames):
  scene = dataset.take(CLIPS, "test", 7)
  small, large = render.render(scene, 32, 8), render.render(scene, size, frames)
  assert large.frames.shape == (frames, size, size, 3) and large.frames.dtype == np.uint8
  assert large.body_masks.shape == large.face_masks.shape == (frames, size, size) and len(large.body_boxes) == frames
  other = render.render(dataset.take(CLIPS, "test", 8), size, frames)
  seen = [cv2.resize(clip.frames.mean(axis=0), (8, 8), interpolation=cv2.INTER_AREA).ravel() for clip in (small, large, other)]
  alike = np.corrcoef(seen)[0]
  assert alike[1] > .65 and alike[1] > alike[2] + .2


def test_images_are_framed_closer_and_keep_the_head_in_the_picture():
  tall = {"image": [], "video": []}
  for index in range(40):
    for twin, kind in ((IMAGES, "image"), (CLIPS, "video")):
      scene = with_label(dataset.take(twin, "train", index), "complete_face", True)
      shown = render.render(_alone(scene), 48, 1)
      box = shown.face_boxes[0][0]
      tall[kind].append(box[2] - box[0])
      if kind == "image":
        assert box.min() > 0 and box.max() < 1
  assert np.mean(tall["image"]) > 1.25 * np.mean(tall["video"])
