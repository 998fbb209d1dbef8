"""Files through the camera program keep count, order and every frame's time; sound, titles and places stay behind."""

import itertools
from fractions import Fraction

import av
import footage
import numpy as np
import pytest
import tiny_exports

from mppar_tf import camera
from mppar_tf.on_camera import judge

COUNT = 24
VARIABLE = list(itertools.accumulate(np.random.default_rng(5).integers(400, 9000, COUNT).tolist()))
RATES = {  # -> seconds per tick, ticks
    "23.976": (Fraction(1001, 24000), range(COUNT)), "25": (Fraction(1, 25), range(COUNT)), "29.97": (Fraction(1001, 30000), range(COUNT)),
    "60": (Fraction(1, 60), range(COUNT)), "29.97 by 90 kHz": (Fraction(1, 90000), [3003 * i for i in range(COUNT)]),
    "variable": (Fraction(1, 90000), VARIABLE), "half as slow midway": (Fraction(1, 60), [*range(12), *range(13, 37, 2)]),
    "one a minute": (Fraction(1, 25), [1500 * i for i in range(COUNT)])}
SECRETS = {"title": "birthday of Anna", "comment": "at Anna's", "location": "+48.1374+011.5755/", "artist": "Anna",
           "creation_time": "2020-02-02T02:02:02.000000Z"}


@pytest.fixture(scope="module")
def frames(model):
  """(raw, anonymized)"""
  raw = tiny_exports.pictures(COUNT, *footage.SIZE)
  with camera.CameraAnonymizer(model) as anonymize:
    return raw, np.stack([anonymize(frame) for frame in raw])


def numbers_of(shown, safe):
  """Which of the anonymized frames each shown one is."""
  return [int(np.argmax([judge.psnr_db(one / 255, pixels / 255) for one in safe])) for pixels in shown]


@pytest.mark.parametrize("sound", [False, True])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("rate", RATES)
def test_a_file_keeps_count_order_and_times(tmp_path, model, frames, rate, suffix, sound):
  raw, safe = frames
  time_base, ticks = RATES[rate]
  source = footage.make_video(tmp_path / f"in{suffix}", raw, ticks=list(ticks), time_base=time_base, audio=sound)
  before = [seconds for seconds, _ in footage.read_video(source)]
  assert before == [tick * time_base for tick in ticks]  # else the test is about another file
  assert camera.run(footage.chosen(model, source, tmp_path / f"safe{suffix}")) == 0
  after = footage.read_video(tmp_path / f"safe{suffix}")
  assert [seconds for seconds, _ in after] == before
  assert numbers_of([pixels for _, pixels in after], safe) == list(range(COUNT))
  with av.open(str(source)) as first, av.open(str(tmp_path / f"safe{suffix}")) as second:
    assert len(first.streams.audio) == sound and [stream.type for stream in second.streams] == ["video"]
    assert second.streams.video[0].average_rate == pytest.approx(first.streams.video[0].average_rate, rel=0.05)


@pytest.mark.parametrize("rate", ["23.976", "variable"])
def test_a_folder_of_frames_tells_their_times(tmp_path, model, frames, rate):
  raw, safe = frames
  time_base, ticks = RATES[rate]
  source = footage.make_video(tmp_path / "in.mp4", raw, ticks=list(ticks), time_base=time_base)
  assert camera.run(footage.chosen(model, source, tmp_path / "frames")) == 0
  rows = [line.split(",") for line in (tmp_path / "frames" / "times.csv").read_text().split()[1:]]
  assert [name for name, _ in rows] == [f"{number:08d}.png" for number in range(COUNT)]
  assert np.allclose([float(seconds) for _, seconds in rows], [float(tick * time_base) for tick in ticks], rtol=1e-8)
  shown = [footage.read_video(tmp_path / "frames" / name)[0][1] for name, _ in rows]
  assert numbers_of(shown, safe) == list(range(COUNT))


@pytest.mark.parametrize("codec, suffix", [("mpeg4", ".mkv"), ("libx264", ".mkv"), ("mpeg4", ".avi"), ("libx264", ".mov")])
def test_other_containers_keep_the_times_that_they_have(tmp_path, model, frames, codec, suffix):
  raw, safe = frames
  source = footage.make_video(tmp_path / f"in{suffix}", raw, codec=codec)
  before = [seconds for seconds, _ in footage.read_video(source)]
  assert camera.run(footage.chosen(model, source, tmp_path / "safe.mp4")) == 0
  after = footage.read_video(tmp_path / "safe.mp4")
  assert len(after) == COUNT and numbers_of([pixels for _, pixels in after], safe) == list(range(COUNT))
  assert np.allclose([float(a - b) for (a, _), b in zip(after, before)], 0, atol=1e-9)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_nothing_but_pictures_gets_through(tmp_path, model, frames, suffix):
  plain = footage.make_video(tmp_path / f"plain{suffix}", frames[0], audio=True)
  source = tmp_path / f"in{suffix}"
  with av.open(str(plain)) as given, av.open(str(source), "w", options={"movflags": "use_metadata_tags"}) as written:
    written.metadata.update(SECRETS)
    copies = {stream.index: written.add_stream_from_template(stream) for stream in given.streams}
    for copy in copies.values():
      copy.metadata["language"], copy.metadata["handler_name"] = "fin", "Anna's telephone"
    for packet in given.demux():
      if packet.dts is not None:
        packet.stream = copies[packet.stream.index]
        written.mux(packet)
  there = source.read_bytes()
  assert all(secret.encode() in there for secret in ("birthday of Anna", "Anna's telephone", "48.1374"))  # else the test proves nothing
  for sink in ("safe.mp4", "safe.mov"):
    assert camera.run(footage.chosen(model, source, tmp_path / sink)) == 0
    left = (tmp_path / sink).read_bytes()
    assert not any(word in left for word in (b"Anna", b"48.1374", b"2020-02-02", b"fin\0", b"mp4a", str(source).encode()))
    with av.open(str(tmp_path / sink)) as container:
      told = {**container.metadata, **container.streams[0].metadata}
      assert set(told) <= {"major_brand", "minor_version", "compatible_brands", "encoder", "language", "handler_name", "vendor_id"}
      assert told.get("language", "und") == "und" and len(container.streams) == 1
