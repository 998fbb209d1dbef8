"""Files as cameras and editors leave them: times that begin anew, beginnings within a group, edit lists, names with a sense for FFmpeg."""

import types
from fractions import Fraction

import av
import footage
import numpy as np
import pytest
import tiny_exports

from mppar_tf import camera
from mppar_tf.on_camera import errors, pipeline, sinks, source_files, sources
from mppar_tf.on_camera.frames import Stream

COUNT = 40
GROUP = 10
B_FRAMES = f"keyint={GROUP}:min-keyint={GROUP}:scenecut=0:bframes=3:b-adapt=0"


def encoded(path, pictures, *, options, container=None, rate=Fraction(25), codec="libx264"):
  with av.open(str(path), "w", format=container) as written:
    stream = written.add_stream(codec, rate=rate, options=options)
    stream.height, stream.width = pictures[0].shape[:2]
    stream.pix_fmt = "yuv420p"
    for tick, picture in enumerate(pictures):
      frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
      frame.pts, frame.time_base = tick, 1 / rate
      written.mux(stream.encode(frame))
    written.mux(stream.encode(None))
  return path


def cut(source, target, skip, *, container=None, shift=0):
  """A copy without its first packets, its times moved by so many seconds."""
  with av.open(str(source)) as given, av.open(str(target), "w", format=container) as written:
    copy = written.add_stream_from_template(given.streams.video[0])
    for number, packet in enumerate(packet for packet in given.demux(video=0) if packet.dts is not None):
      if number >= skip:
        packet.pts, packet.dts = (round(t + shift / packet.time_base) for t in (packet.pts, packet.dts))
        packet.stream = copy
        written.mux(packet)
  return target


def read(path):
  """[(seconds, pixels)] that the camera takes of a file."""
  source = sources.find(str(path))
  known = source.open()
  try:
    return [(frame.ticks * known.time_base, frame.pixels) for frame in source.frames()]
  finally:
    source.close()


@pytest.fixture(scope="module")
def pictures():
  return tiny_exports.pictures(COUNT, *footage.SIZE)


# Times.


def test_a_stream_put_behind_itself_goes_on_behind_its_end(tmp_path, pictures):
  once = encoded(tmp_path / "once.ts", pictures, options={"x264-params": B_FRAMES}, container="mpegts")
  (tmp_path / "twice.ts").write_bytes(2 * once.read_bytes())
  first, both = read(once), read(tmp_path / "twice.ts")
  assert len(first) == COUNT and len(both) == 2 * COUNT
  assert np.diff([float(t) for t, _ in both]) == pytest.approx(1 / 25, abs=1e-9)
  assert all(np.array_equal(pixels, first[i % COUNT][1]) for i, (_, pixels) in enumerate(both))


@pytest.mark.parametrize("times, gaps", [
    ([0, 3600, 1000, 1001, 1002, 7200], [3600, 1, 1, 1, 3597]),  # a small step back
    ([360_000, 363_600, 180_000, 183_600, 187_199], [3600, 3600, 3600, 3599]),  # by two seconds
    ([900_000, 700_000, 400_000, 0, 3600], [3600] * 4),  # again and again
    ([360_000, 0, None, 7200], [3600] * 3)])
def test_times_that_step_back(times, gaps):
  clock = source_files.Clock("mpegts", Stream(Fraction(1, 90000), Fraction(25), None, Fraction(1)))
  found = [clock.ticks(types.SimpleNamespace(pts=pts, dts=pts, duration=3600)) for pts in times]
  assert np.diff(found).tolist() == gaps and clock.end == found[-1] + 3600


# Beginnings.


@pytest.mark.parametrize("suffix, container", [(".mp4", None), (".mov", None), (".ts", "mpegts"), (".mkv", None)])
@pytest.mark.parametrize("skip", [1, 3, 10])
def test_a_file_that_begins_within_a_group_is_refused(tmp_path, pictures, suffix, container, skip):
  whole = encoded(tmp_path / "whole.mp4", pictures, options={"x264-params": B_FRAMES})
  assert len(read(cut(whole, tmp_path / f"copy{suffix}", 0, container=container))) == COUNT
  late = cut(whole, tmp_path / f"late{suffix}", skip, container=container, shift=-(skip // GROUP) * Fraction(GROUP, 25))
  if skip % GROUP:
    with pytest.raises(errors.SourceFailed, match="begins (between two key frames: its first [0-9]+ frames|0.* late)"):
      read(late)
  else:
    assert len(read(late)) == COUNT - skip


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(24000, 1001)])
@pytest.mark.parametrize("options", [{"x264-params": B_FRAMES}, {"x264-params": B_FRAMES + ":open-gop=1"}, {"bf": "0", "g": "10"},
                                     {"x264-params": "intra-refresh=1:keyint=10:bframes=0"}])
@pytest.mark.parametrize("suffix, container", [(".mp4", None), (".ts", "mpegts")])
def test_whole_files_keep_every_frame(tmp_path, pictures, rate, options, suffix, container):
  assert len(read(encoded(tmp_path / f"x{suffix}", pictures, options=options, rate=rate, container=container))) == COUNT


def test_leading_pictures_of_a_group_that_was_cut_off_are_no_error(tmp_path, pictures):
  whole = encoded(tmp_path / "whole.ts", pictures, options={"x264-params": B_FRAMES + ":open-gop=1"}, container="mpegts")
  with av.open(str(whole)) as container:
    packets = [packet for packet in container.demux(video=0) if packet.dts is not None]
  keys = [number for number, packet in enumerate(packets) if packet.is_keyframe]
  leading = sum(packet.pts < packets[keys[1]].pts for packet in packets[keys[1]:])
  assert leading  # else the test proves nothing
  found = read(cut(whole, tmp_path / "cut.ts", keys[1], container="mpegts"))
  assert len(found) == COUNT - keys[1] - leading


def test_what_an_edit_list_hides_is_no_lost_beginning(tmp_path, pictures):
  """A file cut by an editor: it keeps the group from its key frame on, and an edit list that begins within it."""
  whole = encoded(tmp_path / "whole.mp4", pictures, options={"x264-params": B_FRAMES})
  edited = cut(whole, tmp_path / "edited.mp4", 0, shift=Fraction(-4, 25))
  with av.open(str(edited)) as container:
    shown = [frame.pts * frame.time_base for frame in container.decode(video=0)]
  assert len(shown) == COUNT - 4 and shown[0] == 0
  assert [seconds for seconds, _ in read(edited)] == shown


# Names.


@pytest.mark.parametrize("name", ["10:30.mp4", "a%d.mp4", "http:x.mp4", "a b.mp4", "concat:a|b.mp4", "-x.mp4", "#1?.mp4", "%41.mp4"])
def test_a_video_s_name_is_a_name(model, place, pictures, name):
  video = footage.make_video(place / "in.mp4", pictures[:5]).rename(place / "out" / name)
  assert len(footage.read_video(f"file:{video}")) == 5
  assert camera.run(footage.chosen(model, video, "null")) == 0
  assert camera.run(footage.chosen(model, name, "safe.mp4")) == 0 and len(footage.read_video("safe.mp4")) == 5


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_names_of_images_are_no_patterns(place, pictures, suffix):
  names = [name + suffix for name in ("a%d", "a*", "a1", "a2", "b:c", "b[1-2]", "b{1,2}", "http:x")]
  (place / "images").mkdir()
  for name, picture in zip(names, pictures):
    av.VideoFrame.from_ndarray(picture, format="rgb24").save(str(place / f"x{suffix}"))
    (place / f"x{suffix}").rename(place / "images" / name)
  assert [path.name for path in sorted((place / "images").iterdir())] == sorted(names)
  seen = []
  pipeline.run(sources.find(str(place / "images")), lambda frame: seen.append(frame) or 255 - frame, sinks.find("null"))
  numbers = [int(np.argmin([np.abs(pixels.astype(int) - picture).mean() for picture in pictures])) for pixels in seen]
  assert [names[number] for number in numbers] == sorted(names)
  for name, picture in zip(names, pictures):
    (_, pixels), = read(place / "images" / name)
    assert np.abs(pixels.astype(int) - picture).mean() < 15


def test_a_sink_s_folder_is_no_pattern(place):
  (place / "out" / "a%d*").mkdir()
  pipeline.run(sources.find("test:64x48:frames=3"), lambda frame: 255 - frame, sinks.find(str(place / "out" / "a%d*" / "b%03d")))
  assert len(list((place / "out" / "a%d*" / "b%03d").glob("*.png"))) == 3
