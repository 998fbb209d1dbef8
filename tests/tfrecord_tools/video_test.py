"""Decoding videos: what is in the file comes out, and every broken file says how it is broken."""

import struct

import numpy as np
import pytest
import tiny_files

from tfrecord_tools.readers import video


@pytest.mark.parametrize("name, codec", [("a.avi", "mpeg4"), ("a.mp4", "libx264"), ("a.mkv", "libx264")])
def test_every_frame_comes_out_in_order(tmp_path, name, codec):
  frames = tiny_files.colours(13)
  footage = video.decode(tiny_files.video(tmp_path / name, frames, rate=10, codec=codec))
  assert footage.frames_per_second == pytest.approx(10)
  assert len(footage.frames) == 13
  # Lossy codecs and chroma planes of half size: colours are near, and each is nearest to its own frame.
  distance = np.abs(np.float32(footage.frames)[:, None] - np.float32(frames)[None]).mean((2, 3, 4))  # [decoded, written]
  assert (distance.argmin(1) == np.arange(13)).all()
  assert distance.diagonal().max() < 8


def test_convert_sees_one_frame_at_a_time(tmp_path):
  path = tiny_files.video(tmp_path / "a.avi", tiny_files.colours(5))
  seen = []
  footage = video.decode(path, lambda frame: seen.append((frame.shape, frame.dtype)) or len(seen))
  assert footage.frames == [1, 2, 3, 4, 5]
  assert set(seen) == {((tiny_files.HEIGHT, tiny_files.WIDTH, 3), np.dtype(np.uint8))}


def test_a_video_filmed_sideways_is_turned_upright(tmp_path):
  frames = np.repeat(tiny_files.gradient()[None], 4, 0)
  path = tiny_files.video(tmp_path / "phone.mp4", frames, codec="libx264")
  # The display matrix of the track header, as a phone held upright writes it: turn clockwise by 90 degrees.
  identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
  clockwise = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, tiny_files.HEIGHT << 16, 0, 1 << 30)
  data = path.read_bytes()
  track = data.index(b"tkhd")
  place = data.index(identity, track)
  path.write_bytes(data[:place] + clockwise + data[place + len(identity):])
  turned = video.decode(path).frames[0]
  assert turned.shape == (tiny_files.WIDTH, tiny_files.HEIGHT, 3)
  assert np.abs(np.float32(turned) - np.rot90(frames[0], -1)).mean() < 8


def _cut(path, share):
  data = path.read_bytes()
  path.write_bytes(data[:int(len(data) * share)])
  return path


def _overwritten(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 3:len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
  path.write_bytes(data)
  return path


def _glued(folder):
  """Two streams of different sizes, one behind the other, as a switching camera sends them."""
  small, large = (tiny_files.video(folder / f"{size}.h264", tiny_files.colours(3, size, size), codec="libx264") for size in (32, 48))
  return _written(folder / "both.h264", small.read_bytes() + large.read_bytes())


def _written(path, data):
  path.write_bytes(data)
  return path


@pytest.mark.parametrize("make, reason", [
    (lambda d: d / "none.avi", "no such file"),
    (lambda d: d, "not a regular file"),
    (lambda d: _written(d / "a.avi", b""), "empty file"),
    (lambda d: _written(d / "a.avi", b"these are words" * 50), "not a video that FFmpeg can open"),
    (lambda d: tiny_files.sound(d / "a.wav"), "no video stream"),
    (lambda d: _cut(tiny_files.noisy_video(d / "a.mp4", codec="libx264"), 0.5), "not a video that FFmpeg can open"),
    (lambda d: _cut(tiny_files.noisy_video(d / "a.avi"), 0.5), r"broken off: \d+ frames decoded of 30 declared|frame \d+ is damaged"),
    (lambda d: _cut(tiny_files.noisy_video(d / "a.mkv", codec="libx264"), 0.5),
     r"broken off: \d\.\d\d s decoded of 1\.20 s declared|frame \d+ is damaged|decoding fails"),
    (lambda d: _overwritten(tiny_files.noisy_video(d / "a.avi")), r"broken off: \d+ frames|frame \d+ is damaged|decoding fails after \d+"),
    (_glued, "frame 3 is 48x48, those before are 32x32"),
], ids=["missing", "folder", "empty", "garbage", "audio", "mp4 cut", "avi cut", "mkv cut", "overwritten", "changing size"])
def test_a_broken_file_says_how(tmp_path, make, reason):
  with pytest.raises(video.Undecodable, match=reason) as caught:
    video.decode(make(tmp_path))
  assert "\n" not in str(caught.value)


def test_a_frame_or_two_less_than_declared_is_no_break():
  video._check_complete(28, 30)
  video._check_complete(96, 100)
  with pytest.raises(video.Undecodable, match="broken off: 27 frames decoded of 30 declared"):
    video._check_complete(27, 30)
