"""Decoding images and fitting frames: upright RGB comes out, damage is told, and sizes are met by the arithmetic that was asked for."""

import cv2
import numpy as np
import pytest
import tiny_files
from PIL import Image

from tfrecord_tools.readers import still
from tfrecord_tools.readers.video import Undecodable


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_lossless_files_come_out_exactly(tmp_path, suffix):
  pixels = tiny_files.gradient()
  np.testing.assert_array_equal(still.decode(tiny_files.image(tmp_path / f"a{suffix}", pixels)), pixels)


def test_grey_palette_and_transparency_become_rgb(tmp_path):
  grey = tiny_files.gradient()[..., 0]
  np.testing.assert_array_equal(still.decode(tiny_files.image(tmp_path / "grey.png", grey)), np.repeat(grey[..., None], 3, -1))
  seen = np.dstack([tiny_files.gradient(), np.full((tiny_files.HEIGHT, tiny_files.WIDTH), 255, np.uint8)])  # [H, W, 4]
  seen[:5, :, 3] = 0
  expected = seen[..., :3].copy()
  expected[:5] = 0
  np.testing.assert_array_equal(still.decode(tiny_files.image(tmp_path / "clear.png", seen)), expected)


def test_a_photograph_taken_sideways_is_turned_upright(tmp_path):
  pixels, exif = tiny_files.gradient(), Image.Exif()
  exif[0x0112] = 6  # the camera was turned: show it rotated clockwise
  turned = still.decode(tiny_files.image(tmp_path / "a.jpg", pixels, exif=exif, quality=95))
  assert turned.shape == (tiny_files.WIDTH, tiny_files.HEIGHT, 3)
  assert np.abs(np.float32(turned) - np.rot90(pixels, -1)).mean() < 4


@pytest.mark.parametrize("make, reason", [
    (lambda d: d / "none.jpg", "no such file"),
    (lambda d: _cut(d / "a.jpg", 0), "empty file"),
    (lambda d: _cut(d / "a.jpg", 0.6), "truncated"),
    (lambda d: _cut(d / "a.png", 0.6), "decoding fails"),
    (lambda d: _words(d / "a.jpg"), "not an image that Pillow can open"),
    (lambda d: _animated(d / "a.webp"), "3 frames in one image"),
], ids=["missing", "empty", "jpeg cut", "png cut", "words", "animated"])
def test_a_broken_image_says_how(tmp_path, make, reason):
  with pytest.raises(Undecodable, match=reason):
    still.decode(make(tmp_path))


def _cut(path, share):
  noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
  data = tiny_files.image(path, noise).read_bytes()
  path.write_bytes(data[:int(len(data) * share)])
  return path


def _words(path):
  path.write_text("these are words")
  return path


def _animated(path):
  frames = [Image.fromarray(frame) for frame in tiny_files.colours(3)]
  frames[0].save(path, save_all=True, append_images=frames[1:])
  return path


def _overlaps(long, short):
  """[short, long]: the share of each long cell in each short cell, both laid over the unit interval."""
  low, high = np.arange(long) / long, np.arange(1, long + 1) / long
  starts, ends = (np.arange(short) / short)[:, None], (np.arange(1, short + 1) / short)[:, None]
  return np.clip(np.minimum(high, ends) - np.maximum(low, starts), 0, None) * short


@pytest.mark.parametrize("height, width", [(12, 16), (10, 11), (7, 32)])
def test_shrinking_averages_areas(height, width):
  noise = np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)
  expected = np.einsum("hy,wx,yxc->hwc", _overlaps(24, height), _overlaps(32, width), noise)
  assert np.abs(still.stretch(noise, height, width) - expected).max() <= 1


def test_crop_keeps_the_middle_and_the_aspect_ratio():
  frame = np.zeros((20, 60, 3), np.uint8)
  frame[:, 20:40] = 255  # a white square in the middle third
  cut = still.crop(frame, 10, 10)
  assert cut.shape == (10, 10, 3) and (cut == 255).all()


def test_pad_keeps_everything_between_black_bars():
  framed = still.pad(np.full((20, 60, 3), 200, np.uint8), 30, 30)
  assert framed.shape == (30, 30, 3)
  assert (framed[10:20] == 200).all() and not framed[:10].any() and not framed[20:].any()


@pytest.mark.parametrize("resize", still.RESIZES)
@pytest.mark.parametrize("shape", [(5, 90), (90, 5), (33, 47), (16, 16)])
def test_every_resize_meets_the_size(resize, shape):
  frame = np.random.default_rng(2).integers(0, 256, (*shape, 3), np.uint8)
  assert still.fit(frame, 16, 24, resize).shape == (16, 24, 3)
  assert still.fit(frame, 0, 0, resize) is frame


def test_jpeg_keeps_colour_at_full_resolution():
  stripes = np.zeros((32, 32, 3), np.uint8)
  stripes[:, ::2], stripes[:, 1::2] = (200, 60, 60), (60, 60, 200)
  data = np.frombuffer(still.jpeg(stripes, 95), np.uint8)
  back = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
  # With halved chroma planes red and blue columns would melt into one purple: an error near 70.
  assert np.abs(np.int32(back) - stripes).mean() < 6
