"""Hidden is exactly what the records' boxes and masks say, in every window and mirroring; what they do not say is never passed over."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from mppar_tf import options
from mppar_tf.data import clips, images, obfuscation, parsing, records, schema
from mppar_tf.data.clips import ClipSpec
from mppar_tf.data.obfuscation import Obfuscation
from mppar_tf.data.schema import Header, Image, RecordsError, Video
from mppar_tf.methods import METHODS
from mppar_tf.methods.obfuscation import OBFUSCATIONS, obfuscation_of

SIZE, FRAMES, CROP = 48, 5, 32
RANDOM = np.random.default_rng(3)
# In steps of 16 pixels: an edge inside of one of JPEG's blocks would not come back sharp.
AREAS = [[[(0, 0, 1, 1)], [(1, 1, 3, 2), (0, 2, 1, 3)], [], [(2, 0, 3, 3)], [(0, 1, 2, 2)]], [[(1, 0, 2, 1)]] * FRAMES]
BLACK = {region: Obfuscation(region, "body", 0.0) for region in ("box", "segmentation")}


def area_mask(areas):
  mask = np.zeros([SIZE, SIZE], np.uint8)
  for top, left, bottom, right in areas:
    mask[16 * top:16 * bottom, 16 * left:16 * right] = 255
  return mask


def boxes(areas):
  return np.array(areas, np.float32).reshape(-1, 4) / 3


def video(name, pixels, areas):
  regions = {"body_boxes": [boxes(one) for one in areas], "body_masks": [area_mask(one) for one in areas]}
  return Video(name, list(pixels), 25.0, 0, {"a": 1}, **regions)


def image(name, pixels, areas):
  return Image(name, pixels, labels={"a": 1}, body_boxes=boxes(areas), body_masks=area_mask(areas))


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
  """(kind, what) -> a split; `truth` shows in white what `pictures` wants hidden, at the same places of the same records."""
  folder, found = tmp_path_factory.mktemp("obfuscation"), {}
  noise = ndimage.gaussian_filter(RANDOM.integers(0, 256, [len(AREAS), FRAMES, SIZE, SIZE, 3]).astype(float), [0, 0, 2, 2, 0])
  pictures = np.clip(noise * 3 - 250, 20, 235).astype(np.uint8)
  white = np.array([[area_mask(areas) for areas in one] for one in AREAS])[..., None].repeat(3, -1)
  for what, shown in (("pictures", pictures), ("truth", white)):
    for kind in schema.KINDS:
      header = Header(f"{kind}_{what}", kind, ("act",) if kind == "video" else (), ("a",))
      writer = records.DatasetWriter(str(folder / header.dataset), header)
      made = [video(f"v{n}", shown[n], at) if kind == "video" else image(f"i{n}", shown[n, 1], at[1]) for n, at in enumerate(AREAS)]
      writer.write_split("train", made, lambda one: one, progress=False)
      writer.finish()
      found[kind, what] = records.open_split(str(folder / header.dataset), "train")
  return found


def streams(split, hidden):
  """Every reader's first samples of a split, as arrays."""
  spec = ClipSpec(3, 1, CROP, True, hidden)
  private = {"batch_size": 6, "attributes": ["a"]}
  readers = [lambda: images.training_private(split, spec, seed=5, **private), lambda: images.evaluation_private(split, spec, **private)]
  if split.manifest.kind == "video":
    readers += [lambda: clips.training_clips(split, spec, batch_size=12, seed=4),
                lambda: clips.evaluation_clips(split, spec, batch_size=6, clips_per_video=3)]
  firsts = [next(iter(reader())) for reader in readers]
  return [(one if hasattr(one, "frames") else one[0]).frames.numpy() for one in firsts]


@pytest.mark.parametrize("kind", schema.KINDS)
@pytest.mark.parametrize("region", BLACK)
def test_every_reader_hides_exactly_the_regions(splits, kind, region):
  seen, hidden = (streams(splits[kind, "pictures"], one) for one in (None, BLACK[region]))
  truth = streams(splits[kind, "truth"], None)
  for raw, got, white in zip(seen, hidden, truth, strict=True):
    inside = white > 0.5
    assert 0.02 < inside.mean() < 0.9 and raw.min() > 0
    np.testing.assert_array_equal(got, np.where(inside, 0, raw))


def test_a_pixel_that_a_box_touches_is_hidden():
  random = np.random.default_rng(0)
  corners = np.sort(random.random([2, 4, 2, 2]), axis=2).reshape(2, 4, 4).astype(np.float32)  # [T, n, (y0, x0, y1, x1)]
  corners[1, 2:] = 0  # padding
  height, width, top, left = 30, 41, 3, 7
  pixels = np.full([2, 20, 20, 3], 9, np.uint8)
  parsed = {"height": tf.constant(height), "width": tf.constant(width)}
  got = obfuscation.hide(tf.constant(pixels), tf.constant(corners), BLACK["box"], parsed, tf.constant(top), tf.constant(left)).numpy()
  for frame in range(2):
    for row in range(20):
      for column in range(20):
        y, x = row + top, column + left
        touched = any(y0 * height < y + 1 and y < y1 * height and x0 * width < x + 1 and x < x1 * width
                      for y0, x0, y1, x1 in corners[frame])
        assert (got[frame, row, column] == (0 if touched else 9)).all()


@pytest.mark.parametrize("sigma", [0.02, 0.08])
def test_the_blur_is_scipys_gaussian_inside_and_nothing_outside(splits, sigma):
  chosen = Obfuscation("segmentation", "body", sigma)
  raw, got, truth = (streams(splits["video", what], hidden)[3] for what, hidden in
                     (("pictures", None), ("pictures", chosen), ("truth", None)))
  radius = max(1, int(np.ceil(2.5 * sigma * CROP)))
  blurred = ndimage.gaussian_filter(255 * raw, [0, 0, sigma * CROP, sigma * CROP, 0], mode="reflect", radius=[0, 0, radius, radius, 0])
  inside = truth > 0.5
  np.testing.assert_allclose(255 * got[inside], blurred[inside], atol=0.51)
  np.testing.assert_array_equal(got[~inside], raw[~inside])
  assert np.abs(got[inside] - raw[inside]).max() > 2 / 255


def test_frames_that_show_nobody_are_counted(splits):
  for region in BLACK:
    assert obfuscation.missed(splits["video", "pictures"], BLACK[region]) == (2, 10, 1)
    assert obfuscation.missed(splits["image", "pictures"], BLACK[region]) == (2, 2, 0)


@pytest.mark.parametrize("kind", schema.KINDS)
def test_records_that_do_not_tell_are_refused(splits, kind):
  split = splits[kind, "pictures"]
  face = Obfuscation("box", "face", 0.0)
  for look in (obfuscation.check, obfuscation.missed):
    with pytest.raises(RecordsError, match=r"a record of split 'train' does not tell where each face is \(face_boxes\).*--detector"):
      look(split, face)
  obfuscation.check(split, BLACK["box"])


def test_a_video_that_does_not_tell_is_not_one_that_shows_nobody():
  header = Header("v", "video", ("act",))
  frames = [np.zeros([8, 8, 3], np.uint8)] * 2
  nobody = schema.encode_video(Video("n", frames, 25.0, 0, body_boxes=[np.zeros([0, 4])] * 2), header)
  assert parsing.parse_video(nobody, regions="body_boxes")["regions"].shape == (2, 0, 4)
  untold = schema.encode_video(Video("u", frames, 25.0, 0), header)
  for feature in ("body_boxes", "body_masks"):
    with pytest.raises(tf.errors.InvalidArgumentError, match=feature):
      parsing.parse_video(untold, regions=feature)


def test_methods_hide_what_their_names_say():
  settings = options.TrainOptions(strong_blur_sigma=0.1, weak_blur_sigma=0.03)
  for name in OBFUSCATIONS:
    hidden = obfuscation_of(name, settings)
    assert name.startswith(hidden.region) and name.endswith(hidden.part) and name in METHODS
    assert hidden.sigma == (0.0 if "blackening" in name else 0.03 if "weak" in name else 0.1)
  assert {obfuscation_of(name, settings) for name in METHODS if name not in OBFUSCATIONS} == {None}


def test_a_blur_needs_a_width():
  with pytest.raises(ValueError, match="above 0 pixels, this is 0"):
    obfuscation.gaussian(0)
