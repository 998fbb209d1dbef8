"""A record becomes a video that holds the record's own frames, enlarged by whole pixels, at its own rate."""

import av
import numpy as np
import pytest

from mppar_tf.data import records, schema
from tfrecord_tools import extract


def clip(number, frames=5, height=12, width=16):
  """Frames of flat quarters whose colours tell record and frame; flat areas survive JPEG and H.264 nearly unchanged."""
  def frame(time):
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (40 * number + 20, 10, 200)
    pixels[height // 2:, width // 2:] = (20, 40 * time + 20, 90)
    return pixels
  return schema.Video(f"clip{number}", [frame(time) for time in range(frames)], 12.5, action=number % 2, labels={"tattoo": number % 2})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("records") / "clips"
  writer = records.DatasetWriter(folder, schema.Header("clips", "video", ("wave", "jump"), ("tattoo",)), shuffle_seed=None)
  writer.write_split("test", range(5), clip, shards=2, progress=False)
  writer.finish()
  return folder


def decoded(path):
  with av.open(str(path)) as container:
    stream = container.streams.video[0]
    return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)], stream.average_rate, stream.codec_context.name


@pytest.mark.parametrize("index", [0, 2, 4])
@pytest.mark.parametrize("enlarge", [1, 6])
def test_the_video_holds_the_record_s_frames(folder, tmp_path, index, enlarge, capsys):
  path = tmp_path / "new" / "clip.mp4"
  assert extract.main([str(folder), f"--video={path}", f"--index={index}", f"--enlarge={enlarge}"]) == 0
  frames, rate, codec = decoded(path)
  assert (len(frames), rate, codec) == (5, 12.5, "h264")
  for seen, stored in zip(frames, clip(index).frames):
    wanted = stored.repeat(enlarge, 0).repeat(enlarge, 1)
    assert seen.shape == wanted.shape
    difference = np.abs(seen.astype(int) - wanted)
    if enlarge > 1:  # at 1 the codec's halved colour planes blur the quarters' borders
      assert difference.mean() < 4
    flat = (slice(2 * enlarge, 4 * enlarge), slice(2 * enlarge, 6 * enlarge))
    assert difference[flat].max() < 12
  told = capsys.readouterr().out
  assert all(word in told for word in (f"clip{index}", ("wave", "jump")[index % 2], f"{16 * enlarge}x{12 * enlarge}", "12.5"))
  assert ("tattoo" in told) == bool(index % 2)
  assert [one.name for one in path.parent.iterdir()] == ["clip.mp4"]


def test_odd_sizes_keep_every_row_and_column(tmp_path):
  extract.save(tmp_path / "odd.mp4", clip(0, height=15, width=17).frames, 30000 / 1001)
  frames, rate, _ = decoded(tmp_path / "odd.mp4")
  assert frames[0].shape == (15, 17, 3) and (rate.numerator, rate.denominator) == (30000, 1001)


@pytest.mark.parametrize("arguments, code, told", [
    (["--index=5"], 2, ["--index=5", "0 to 4"]),
    (["--split=train"], 1, ["train", "test"]),
    (["--split=holdout"], 2, ["holdout", "train", "validation", "test"]),
    (["--enlarge=0"], 2, ["--enlarge", "0"]),
    (["--video=clip.avi"], 2, ["clip.avi", ".mp4"]),
    (["--video="], 2, ["--video", ".mp4"]),
    (["another_folder"], 2, ["one folder", "2"]),
])
def test_bad_requests_are_one_line_and_leave_nothing(folder, tmp_path, arguments, code, told, capsys):
  path = tmp_path / "clip.mp4"
  assert extract.main([str(folder), f"--video={path}", *arguments]) == code
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 1 and [word for word in told if word not in lines[0]] == []
  assert not path.exists()


def test_what_is_there_is_replaced_on_request_alone(folder, tmp_path, capsys):
  path, part = tmp_path / "precious.mp4", tmp_path / "precious.mp4.part"
  path.write_bytes(b"the only copy")
  part.write_bytes(b"somebody's")
  assert extract.main([str(folder), f"--video={path}"]) == 2
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 1 and lines[0].endswith(f"--video={path}: exists already; --overwrite replaces it")
  assert path.read_bytes() == b"the only copy"
  assert extract.main([str(folder), f"--video={path}", "--overwrite"]) == 0
  assert len(decoded(path)[0]) == 5 and part.read_bytes() == b"somebody's"


def test_a_folder_is_never_replaced(folder, tmp_path, capsys):
  path = tmp_path / "clips.mp4"
  path.mkdir()
  assert extract.main([str(folder), f"--video={path}", "--overwrite"]) == 2
  assert f"--video={path}: is a folder" in capsys.readouterr().err and [one.name for one in tmp_path.iterdir()] == ["clips.mp4"]


def test_a_video_that_fails_leaves_nothing(tmp_path):
  frames = [*clip(0, frames=120).frames, np.zeros((3, 3), np.uint8)]  # the encoder has written some by then
  with pytest.raises((ValueError, IndexError)):
    extract.save(tmp_path / "clip.mp4", frames, 25)
  assert list(tmp_path.iterdir()) == []


def test_images_are_refused(tmp_path, capsys):
  writer = records.DatasetWriter(tmp_path / "faces", schema.Header("faces", "image"))
  writer.write_split("test", [0], lambda _: schema.Image("face", np.zeros((8, 8, 3), np.uint8)), progress=False)
  writer.finish()
  assert extract.main([str(tmp_path / "faces"), f"--video={tmp_path / 'clip.mp4'}"]) == 2
  assert "image records" in capsys.readouterr().err


def test_a_folder_without_records_is_told(tmp_path, capsys):
  assert extract.main([str(tmp_path), f"--video={tmp_path / 'clip.mp4'}"]) == 1
  assert "manifest.json" in capsys.readouterr().err
