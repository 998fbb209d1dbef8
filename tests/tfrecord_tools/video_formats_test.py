"""What a video file may have or lack, and what comes of it: all its frames, or one line that says why not; never a crash, never half of it.

The table of outcomes heads tfrecord_tools/readers/video.py; here is a file for each of its rows.
"""

import fractions
import struct

import av
import numpy as np
import pytest
import tiny_files

from tfrecord_tools import options
from tfrecord_tools.readers import folder, timing, video

COUNT, RATE = 13, 25
FRAMES = tiny_files.colours(COUNT)


def write(path, frames=FRAMES, codec="libx264", layout="yuv420p", *, times=None, base=1000, source="rgb24", sound=0.0, codec_options=None,
          **muxer):
  """A video of `frames`; times: of each, in ticks of 1/base s; sound: seconds of a tone beside it; muxer: options of the container."""
  with av.open(str(path), "w", options=muxer) as container:
    quality = {"crf": "5"} if codec == "libx264" else {}
    stream = container.add_stream(codec, rate=RATE, options=quality | (codec_options or {}))
    stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], layout
    if codec in ("mpeg4", "mpeg2video", "wmv2"):
      stream.bit_rate = 2_000_000
    if times:
      stream.codec_context.time_base = fractions.Fraction(1, base)
    tone = container.add_stream("aac", rate=16000) if sound else None
    for number, frame in enumerate(frames):
      picture = av.VideoFrame.from_ndarray(frame, format=source)
      if times:
        picture.pts, picture.time_base = times[number], fractions.Fraction(1, base)
      container.mux(stream.encode(picture))
      if tone and number == len(frames) // 2:
        beep(container, tone, sound)
    container.mux(stream.encode())
    if tone:
      container.mux(tone.encode())
  return path


def beep(container, stream, seconds):
  for number in range(int(seconds * 16000 / 1024)):
    samples = av.AudioFrame.from_ndarray(np.sin(np.arange(1024) / 5)[None].astype(np.float32), format="fltp", layout="mono")
    samples.sample_rate, samples.pts = 16000, 1024 * number
    container.mux(stream.encode(samples))


def patch(path, old, new, after=b""):
  """Overwrites the first `old` behind `after` in the file by `new`, of the same length."""
  data = path.read_bytes()
  place = data.index(old, data.index(after))
  assert len(old) == len(new)
  path.write_bytes(data[:place] + new + data[place + len(old):])
  return path


def which(decoded, written=FRAMES):
  """For each decoded frame the number of the written one that it resembles most."""
  distance = np.abs(np.float32(decoded)[:, None] - np.float32(written)[None]).mean((2, 3, 4))  # [decoded, written]
  assert distance.min(1).max() < 8
  return distance.argmin(1).tolist()


# ---- times ----

UNEVEN = [0, 40, 80, 160, 200, 400, 440, 480, 520, 800, 840, 880, 920]  # ms: 40 is the usual distance


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_a_variable_frame_rate_becomes_a_steady_one_that_shows_the_same(tmp_path, name):
  footage = video.decode(write(tmp_path / name, times=UNEVEN))
  assert footage.frames_per_second == pytest.approx(25, rel=1e-3)
  # What a player shows at each 25th of a second: the last picture that has begun.
  assert which(footage.frames) == [max(i for i, time in enumerate(UNEVEN) if time <= 40 * tick) for tick in range(920 // 40 + 1)]


def test_avi_stores_no_times_and_gives_every_picture_once(tmp_path):
  frames = tiny_files.colours(40)
  footage = video.decode(write(tmp_path / "a.avi", frames, "mpeg4", times=[*range(20), *range(21, 41)], base=RATE))
  assert (len(footage.frames), footage.frames_per_second) == (40, RATE)
  assert which(footage.frames, frames) == list(range(40))
  with pytest.raises(video.Undecodable, match="broken off: 13 frames decoded of 24 declared"):
    video.decode(write(tmp_path / "b.avi", codec="mpeg4", times=[time // 40 for time in UNEVEN], base=RATE))


def test_gaps_that_no_rate_fits_are_refused(tmp_path):
  path = write(tmp_path / "a.mp4", times=[40 * i for i in range(12)] + [3_600_000])
  with pytest.raises(video.Undecodable, match=r"13 pictures within 3600.0 s, one of them 3599.6 s long: no steady frame rate fits"):
    video.decode(path)


@pytest.mark.parametrize("times, rates, indices, rate", [
    ([0, 1, 2, 3], [1.0], [0, 1, 2, 3], 1.0),
    ([5.0, 5.033, 5.067, 5.1, 5.133], [30.0], [0, 1, 2, 3, 4], 30.0),  # milliseconds of 1/30 s are even
    ([0, .04, .08], [29.97, 25.0], [0, 1, 2], 25.0),  # the header's first choice is another rate than the times'
    ([0, .1, .2], [25.0], [0, 1, 2], 10.0),  # a header that is wrong
    ([0, 1, 2, 5], [1.0], [0, 1, 2, 2, 2, 3], 1.0),
    ([0, .1, .2, .21, .22, .3, .4], [10.0], [0, 1, 4, 5, 6], 10.0),  # of several within one tick the last
    ([0, 1, 1, 2], [7.0], [0, 1, 2, 3], 7.0),  # times that stand still tell nothing
    ([3], [25.0], [0], 25.0),
])
def test_steady(times, rates, indices, rate):
  found, found_rate = timing.steady(times, rates)
  assert (found.tolist(), found_rate) == (indices, pytest.approx(rate))


def test_frames_hidden_by_an_edit_list_stay_hidden_and_are_not_missed(tmp_path):
  times = [40 * (i - 5) for i in range(COUNT)]
  path = write(tmp_path / "trimmed.mp4", times=times, use_editlist="1", avoid_negative_ts="disabled", codec_options={"bf": "0"})
  assert which(video.decode(path).frames) == list(range(5, COUNT))


@pytest.mark.parametrize("name, codec", [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "libx264"), ("a.avi", "mpeg4")])
def test_b_frames_come_in_order_of_display(tmp_path, name, codec):
  path = write(tmp_path / name, codec=codec, codec_options={"bf": "2", "g": "12"})
  with av.open(str(path)) as container:
    assert container.streams.video[0].codec_context.has_b_frames
  assert which(video.decode(path).frames) == list(range(COUNT))


# ---- pictures ----

UPRIGHT = np.repeat(tiny_files.gradient()[None], 3, 0)


@pytest.mark.parametrize("matrix, shown", [
    ((0, 1, -1, 0), lambda frame: np.rot90(frame, -1)),
    ((-1, 0, 0, -1), lambda frame: np.rot90(frame, 2)),
    ((0, -1, 1, 0), np.rot90),
    ((-1, 0, 0, 1), np.fliplr),
    ((1, 0, 0, -1), np.flipud),
    ((0, 1, 1, 0), lambda frame: frame.transpose(1, 0, 2)),
    ((1, 0, 0, 1), lambda frame: frame),
], ids=["clockwise", "upside down", "counterclockwise", "mirrored", "flipped", "transposed", "as it is"])
def test_turned_and_mirrored_frames_come_upright(tmp_path, matrix, shown):
  [frame, *_] = video.decode(with_matrix(tmp_path / "a.mp4", matrix)).frames
  wanted = shown(UPRIGHT[0])
  assert frame.shape == wanted.shape and np.abs(np.float32(frame) - wanted).mean() < 4


def test_other_angles_are_refused(tmp_path):
  with pytest.raises(video.Undecodable, match="to be shown turned by -45 degrees; quarters and mirrors are possible"):
    video.decode(with_matrix(tmp_path / "a.mp4", (.7071, .7071, -.7071, .7071)))


def with_matrix(path, matrix):
  a, b, c, d = (round(65536 * entry) for entry in matrix)
  identity, wanted = (struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) for a, b, c, d in ((65536, 0, 0, 65536), (a, b, c, d)))
  return patch(write(path, UPRIGHT), identity, wanted, after=b"tkhd")


@pytest.mark.parametrize("name, codec, layout", [
    ("a.mp4", "libx264", "yuv444p"), ("a.avi", "mpeg4", "yuv420p"), ("a.mkv", "ffv1", "yuv420p")])
def test_odd_sizes(tmp_path, name, codec, layout):
  frames = tiny_files.colours(5, 33, 47)
  footage = video.decode(write(tmp_path / name, frames, codec, layout))
  assert footage.frames[0].shape == (33, 47, 3) and which(footage.frames, frames) == list(range(5))


@pytest.mark.parametrize("name, codec, layout", [("a.mp4", "libx264", "yuv420p10le"), ("a.mkv", "ffv1", "yuv422p10le")])
def test_ten_bits_become_eight(tmp_path, name, codec, layout):
  footage = video.decode(write(tmp_path / name, codec=codec, layout=layout))
  assert footage.frames[0].dtype == np.uint8 and which(footage.frames) == list(range(COUNT))


@pytest.mark.parametrize("layout", ["gray", "gray10le", "gray16le"])
def test_grey_comes_as_rgb(tmp_path, layout):
  footage = video.decode(write(tmp_path / "a.mkv", codec="ffv1", layout=layout))
  grey = np.float32(FRAMES) @ [.299, .587, .114]  # [T, H, W]
  assert np.abs(np.float32(footage.frames) - grey[..., None]).max() < 2


def test_what_is_transparent_becomes_black(tmp_path):
  alpha = np.full((*FRAMES.shape[:3], 1), 255, np.uint8)
  alpha[:, :, :16], alpha[:, :, 16:20] = 0, 128
  path = write(tmp_path / "a.mov", np.concatenate([FRAMES, alpha], -1), "png", "rgba", source="rgba")
  decoded = np.float32(video.decode(path).frames)
  assert np.abs(decoded - np.float32(FRAMES) * alpha / 255).max() <= 1


# ---- what is missing ----


def test_mkv_without_cues_is_read_to_its_end(tmp_path):
  path = write(tmp_path / "a.mkv")
  data = path.read_bytes()
  start = data.rindex(b"\x1c\x53\xbb\x6b")
  width = 9 - data[start + 4].bit_length()  # of the length that follows, EBML's variable number
  length = int.from_bytes(data[start + 4:start + 4 + width], "big") - (1 << 7 * width)
  void = b"\xec\x01" + (4 + width + length - 9).to_bytes(7, "big")  # an element that says nothing, just as long
  path.write_bytes(data[:start] + void + data[start + len(void):])
  assert which(video.decode(path).frames) == list(range(COUNT))


def test_mp4_without_moov_is_refused(tmp_path):
  with pytest.raises(video.Undecodable, match="not a video that FFmpeg can open"):
    video.decode(patch(write(tmp_path / "a.mp4"), b"moov", b"none"))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_a_file_without_frames_is_refused(tmp_path, name):
  with av.open(str(tmp_path / name), "w") as container:
    stream = container.add_stream("mpeg4", rate=RATE)
    stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
    container.start_encoding()
  with pytest.raises(video.Undecodable, match="no frame in its video stream|no video stream in it|not a video that FFmpeg can open"):
    video.decode(tmp_path / name)


def test_sound_with_a_cover_picture_is_no_video(tmp_path):
  with av.open(str(tmp_path / "song.m4a"), "w", format="mp4") as container:
    tone, cover = container.add_stream("aac", rate=16000), container.add_stream("mjpeg", rate=1)
    cover.height, cover.width, cover.pix_fmt, cover.disposition = 24, 32, "yuvj420p", av.stream.Disposition.attached_pic
    beep(container, tone, 1.0)
    container.mux(cover.encode(av.VideoFrame.from_ndarray(FRAMES[0], format="rgb24")))
    container.mux(cover.encode() + tone.encode())
  with pytest.raises(video.Undecodable, match="no video stream in it, only a cover picture"):
    video.decode(tmp_path / "song.m4a")


def test_a_codec_without_decoder_is_refused(tmp_path):
  with pytest.raises(video.Undecodable, match="no decoder for its video stream"):
    video.decode(patch(write(tmp_path / "a.mp4"), b"avc1", b"none", after=b"stsd"))


def test_a_title_in_an_old_encoding_does_no_harm(tmp_path):
  with av.open(str(tmp_path / "a.avi"), "w") as container:
    container.metadata["title"] = "Gefuehle"
    stream = container.add_stream("mpeg4", rate=RATE)
    stream.height, stream.width, stream.pix_fmt, stream.bit_rate = *FRAMES.shape[1:3], "yuv420p", 2_000_000
    for frame in FRAMES:
      container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
    container.mux(stream.encode())
  path = patch(tmp_path / "a.avi", b"Gefuehle", "Gefühle ".encode("latin-1"))
  assert which(video.decode(path).frames) == list(range(COUNT))


# ---- what broke off ----

CONTAINERS = {
    "mp4": ("a.mp4", "libx264", {}, 0.0), "mp4, index first": ("a.mp4", "libx264", {"movflags": "faststart"}, 0.0),
    "mkv": ("a.mkv", "libx264", {}, 0.0), "mkv with longer sound": ("a.mkv", "libx264", {}, 2.0), "avi": ("a.avi", "mpeg4", {}, 0.0),
    "wmv": ("a.wmv", "wmv2", {}, 0.0), "wmv with longer sound": ("a.wmv", "wmv2", {}, 2.0), "flv": ("a.flv", "libx264", {}, 0.0),
    "fragments": ("a.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}, 0.0)}
UNDECLARED = {
    "live mkv": ("a.mkv", "libx264", {"live": "1"}, 0.0), "live webm": ("a.webm", "libvpx-vp9", {"live": "1"}, 0.0),
    "ts": ("a.ts", "libx264", {}, 0.0), "mpg": ("a.mpg", "mpeg2video", {}, 0.0), "h264": ("a.h264", "libx264", {}, 0.0)}


def made(folder_path, kind):
  name, codec, muxer, sound = (CONTAINERS | UNDECLARED)[kind]
  keyframes = {"g": "5"} if codec == "libx264" else {}
  return write(folder_path / name, tiny_files.colours(30, 64, 64), codec, sound=sound, codec_options=keyframes, **muxer)


@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_whole_file_is_taken_and_one_that_was_cut_is_never_half_taken(tmp_path, kind):
  path = made(tmp_path, kind)
  assert len(video.decode(path).frames) == 30
  data, refused = path.read_bytes(), 0
  fragments = [place - 4 for place in range(len(data)) if data[place:place + 4] == b"moof"][1:]
  for end in [len(data) * tenth // 10 for tenth in range(1, 10)] + fragments:
    path.write_bytes(data[:end])
    try:
      assert len(video.decode(path).frames) >= 30 - video.MISSING_FRAMES
    except video.Undecodable:
      refused += 1
  assert refused >= 5


@pytest.mark.parametrize("kind", UNDECLARED)
def test_a_file_that_declares_no_length_is_refused_or_taken_at_its_word(tmp_path, kind):
  path = made(tmp_path, kind)
  with pytest.raises(video.Undecodable, match=r"its container \(.*\) declares no length, so whether it broke off cannot be told"):
    video.decode(path)
  assert len(video.decode(path, undeclared_length=True).frames) == 30


def test_your_own_videos_without_a_length_are_taken_by_flag(tmp_path):
  made(tmp_path, "ts")
  table = tiny_files.table(tmp_path / "t.csv", [{"file": "a.ts", "split": "train", "nude": "1"}])
  for wanted in (False, True):
    [plan] = folder.plan(options.FolderOptions(csv=str(table), root=str(tmp_path), name="mine", undeclared_length=wanted))
    [item] = plan.items["train"]
    assert plan.settings["undeclared_length"] is wanted
    if wanted:
      assert len(folder.make_video(item.work)["frames"]) == 30
    else:
      with pytest.raises(video.Undecodable, match="declares no length"):
        folder.make_video(item.work)
