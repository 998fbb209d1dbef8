"""Which frames and which window: TensorFlow against plain NumPy, and a window of a decoded frame against the whole frame."""

import numpy as np
import pytest
import tensorflow as tf

from mppar_tf.data import frames


def clip_by_hand(start, total, count, skip):
  return [(start + number * skip) % total for number in range(count)]


@pytest.mark.parametrize("total, count, skip", [(100, 16, 2), (31, 16, 2), (30, 16, 2), (6, 4, 2), (5, 16, 3), (1, 8, 1), (9, 1, 4)])
def test_indices_of_training_clips(total, count, skip):
  span = (count - 1) * skip + 1
  seen = set()
  for uniform in np.linspace(0, 1, 400, endpoint=False, dtype=np.float32):
    start = int(frames.uniform_integer(tf.constant(uniform), frames.last_start(total, count, skip) + 1))
    assert frames.clip_indices(tf.constant(start), total, count, skip).numpy().tolist() == clip_by_hand(start, total, count, skip)
    assert start + span <= total or start == 0, "a clip that fits runs out of its video"
    seen.add(start)
  assert seen == set(range(max(total - span, 0) + 1)), "not every start is possible"


def test_the_largest_uniform_number_stays_in_range():
  below_one = np.nextafter(np.float32(1), np.float32(0))
  for count in (1, 2, 3, 1000, 2 ** 24):
    assert int(frames.uniform_integer(tf.constant(below_one), count)) == count - 1


def test_short_videos_loop():
  assert frames.clip_indices(tf.constant(0), 3, 8, 1).numpy().tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


@pytest.mark.parametrize("total, count, skip, clips", [(100, 16, 2, 10), (40, 16, 2, 3), (31, 16, 2, 4), (20, 16, 2, 2), (50, 4, 1, 1)])
def test_evaluation_starts_are_even_inside_and_symmetric(total, count, skip, clips):
  last = max(total - ((count - 1) * skip + 1), 0)
  starts = frames.even_starts(total, count, skip, clips).numpy()
  assert starts.tolist() == [int((number + 0.5) * (last + 1) / clips) for number in range(clips)]
  gaps = np.diff(starts)
  assert starts.min() >= 0 and starts.max() <= last and (not gaps.size or gaps.max() - gaps.min() <= 1)
  assert abs((starts + starts[::-1] - last).max()) <= 1


def jpeg_of(height, width, seed):
  pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
  jpeg = tf.io.encode_jpeg(pixels, quality=95, chroma_downsampling=False)
  return jpeg, tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE").numpy()


@pytest.mark.parametrize("count", [2, frames.UNROLLED + 1])
def test_a_decoded_window_is_that_of_the_whole_frame(count):
  jpegs, whole = zip(*(jpeg_of(23, 37, seed) for seed in range(count)))
  for top, left, crop in ((0, 0, 23), (0, 14, 23), (5, 9, 16), (12, 26, 11), (3, 1, 8)):
    window = frames.decode(tf.stack(jpegs), tf.constant(top), tf.constant(left), crop)
    assert np.array_equal(window, np.stack(whole)[:, top:top + crop, left:left + crop])


def test_the_whole_frame_is_exact_and_nothing_is_resized():
  jpeg, whole = jpeg_of(16, 16, 0)
  assert np.array_equal(frames.decode(jpeg[None], 0, 0, 16)[0], whole)
  assert np.array_equal(frames.pixels01(tf.constant(whole)), whole.astype(np.float32) / np.float32(255))


def test_still_files_with_halved_chroma_or_grey_decode_too():
  pixels = np.full((16, 16, 3), 90, np.uint8)
  halved = tf.io.encode_jpeg(pixels, chroma_downsampling=True)
  grey = tf.io.encode_jpeg(pixels[..., :1])
  assert np.abs(frames.decode(tf.stack([halved, grey]), 2, 3, 8).numpy().astype(int) - 90).max() <= 1


def many_draws(seed, positions=200):
  one = lambda position: tf.stack(frames.draw(seed, position))
  return tf.function(lambda: tf.map_fn(one, tf.range(positions), fn_output_signature=tf.float32))().numpy()  # [positions, 4]


def test_draws_depend_on_seed_and_position_alone():
  many = np.concatenate([many_draws(seed) for seed in range(4)])  # [800, 4]
  assert np.array_equal(many[200:400], many_draws(1))
  assert np.array_equal(many[205], tf.stack(frames.draw(1, tf.constant(5))))
  tf.random.set_seed(5)
  assert np.array_equal(many[200:400], many_draws(1))
  assert len(np.unique(many.ravel())) > 0.99 * many.size and many.min() >= 0 and many.max() < 1
  assert np.abs(many.mean(0) - 0.5).max() < 0.05
  assert np.abs(np.corrcoef(many.T) - np.eye(4)).max() < 0.15, "start, window and mirroring hang together"
