"""The parts of the live camera, each by itself: queues, times, rates, addresses, the built-in picture."""

import io
import itertools
import threading
import time
from fractions import Fraction

import av
import numpy as np
import pytest
import streams
import tiny_exports

from mppar_tf.on_camera import belts, links, pacing, source_live, sources, stats
from mppar_tf.on_camera.frames import Frame, Stream


@pytest.mark.parametrize("address, told", [
    ("rtsp://a:b@cam.example:554/x?y=z", "rtsp://cam.example"), ("RTSP://cam/x", "rtsp://cam"), ("udp://[::1]:5000", "udp://[::1]"),
    ("rtsp://a:b@c@host/x", "rtsp://host"), ("http://a:p/w@host/", "http://..."), ("http://a:p#w@host/", "http://..."),
    ("udp://:5000", "udp://..."), ("p w://x", "...://x"), ("http://", "http://...")])
def test_what_may_be_said_of_an_address(address, told):
  assert links.public(address) == told


@pytest.mark.parametrize("rate, most, kept", [(50, 10, 10), (30, 20, 20), (25, 25, 25), (25, 100, 25)])
def test_frames_over_the_highest_rate_are_left_out_evenly(rate, most, kept):
  stream = Stream(Fraction(1, rate), Fraction(rate), None, Fraction(1))
  left_out = []
  frames = (Frame(i, i, np.zeros((2, 2, 3), np.uint8)) for i in range(4 * rate))
  found = list(pacing.thinned(frames, stream, most, lambda: left_out.append(1)))
  assert abs(len(found) - 4 * kept) <= 1 and len(found) + len(left_out) == 4 * rate
  assert [frame.index for frame in found] == list(range(len(found)))
  gaps = np.diff([frame.ticks for frame in found]) / rate
  assert gaps.max() < 1 / most + 1.01 / rate


def test_a_full_belt_drops_its_oldest_or_waits():
  stop, dropped = threading.Event(), []
  belt = belts.Belt(3, stop, lambda: dropped.append(1))
  for item in range(8):
    belt.put(item)
  belt.put(belts.END)  # the end never falls, nor makes another fall
  assert list(belt) == [5, 6, 7] and len(dropped) == 5
  waiting = belts.Belt(1, stop)
  waiting.put(0)
  threading.Timer(0.2, stop.set).start()
  with pytest.raises(belts.Stopped):
    waiting.put(1)
  with pytest.raises(belts.Stopped):
    next(iter(waiting))


def test_times_of_a_live_stream_begin_at_0_and_increase_whatever_it_says():
  clock = source_live.LiveClock(Stream(Fraction(1, 1000), Fraction(25), None, Fraction(1)))
  millisecond = Fraction(1, 1000)
  given = [(5000, 10.0), (5040, 10.05), (None, 10.1), (5040, 10.1)]
  assert [clock.ticks(pts, millisecond, arrived) for pts, arrived in given] == [0, 40, 90, 91]
  assert clock.ticks(9_000_000, millisecond, 10.2) == 191  # another recording's time: the wall clock decides
  assert clock.ticks(9_000_040, millisecond, 10.3) == 231
  clock.jump()  # another connection
  assert clock.ticks(7, millisecond, 12.3) == 2231
  assert clock.ticks(90 * 47, Fraction(1, 90000), 12.4) == 2271  # in ticks of another length


def test_attempts_have_growing_pauses_and_an_end():
  patience, start = links.Patience(reconnect_seconds=1.0), time.monotonic()
  assert len(list(patience.attempts())) == 2 and time.monotonic() - start < 1.2  # after 0.25 and 0.75 s
  assert list(links.Patience(reconnect_seconds=0).attempts()) == []
  patience.stop.set()
  assert list(links.Patience(stop=patience.stop).attempts()) == []


def test_the_pattern_moves_and_has_the_size_and_rate_of_its_text():
  source = sources.find("test:32x16@12.5:frames=3")
  known, frames = source.open(), list(source.frames())
  assert known.rate == Fraction(25, 2) and known.frames == 3 and [frame.pixels.shape for frame in frames] == [(16, 32, 3)] * 3
  assert not np.array_equal(frames[0].pixels, frames[1].pixels) and not source.endless
  assert sources.find("test").endless and next(sources.find("test").frames()).pixels.shape == (480, 640, 3)


def test_a_camera_whose_figures_nobody_reads_ends_all_the_same(tmp_path, monkeypatch):
  monkeypatch.setattr(stats, "LEAVE_SECONDS", 0.2)
  stuck, free, tellers = threading.Event(), threading.Event(), []

  def tell(line):
    tellers.append(threading.current_thread())
    stuck.set()
    free.wait(30)  # a full pipe
  start = time.monotonic()
  with stats.Reporter(stats.Stats(), seconds=0.01, path=str(tmp_path / "stats.json"), tell=tell):
    assert stuck.wait(10)
  free.set()
  tellers[0].join(10)  # what it had to say comes late: the file goes on saying that the run has ended
  assert not tellers[0].is_alive()
  assert time.monotonic() - start < 15 and '"ended"' in (tmp_path / "stats.json").read_text()


def test_the_test_server_serves_what_it_is_given():
  """Else tests of left-out frames would prove nothing."""
  chunks = streams.transport_stream(tiny_exports.pictures(40, *streams.SIZE))
  assert len(streams.decoded(chunks)) == 40 and len(chunks) >= 40
  with av.open(io.BytesIO(b"".join(itertools.islice(chunks, 10))), format="mpegts") as container:
    assert 5 <= sum(1 for _ in container.decode(video=0)) <= 10
