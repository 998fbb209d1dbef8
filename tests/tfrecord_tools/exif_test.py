"""Videos of pictures with EXIF (MJPEG, as many cameras write it) become records, upright."""

import exif_footage
import numpy as np
import pytest

from mppar_tf.data import records, schema
from tfrecord_tools import build
from tfrecord_tools.readers import video


@pytest.mark.parametrize("suffix", [".avi", ".mov"])
@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_a_video_of_pictures_with_exif_is_decoded_upright(tmp_path, suffix, orientation):
  content = exif_footage.encoded(exif_footage.corners(), orientation)
  found = video.decode(exif_footage.motion_jpeg(tmp_path / f"x{suffix}", 4 * [content])).frames
  expected = exif_footage.shown(content)
  assert len(found) == 4 and all(frame.shape == expected.shape and np.abs(frame.astype(int) - expected).mean() < 3 for frame in found)


def test_records_are_built_of_them(tmp_path, capsys):
  pictures = {orientation: exif_footage.encoded(exif_footage.corners(), orientation) for orientation in (1, 3, 6)}
  for orientation, content in pictures.items():
    (tmp_path / "files").mkdir(exist_ok=True)
    exif_footage.motion_jpeg(tmp_path / "files" / f"v{orientation}.avi", 4 * [content])
  (tmp_path / "table.csv").write_text("file,split,action\nv1.avi,train,wave\nv3.avi,train,clap\nv6.avi,test,wave\n")
  assert build.main(["folder", f"--csv={tmp_path / 'table.csv'}", f"--root={tmp_path / 'files'}", "--name=mine",
                     f"--data_dir={tmp_path / 'data'}", "--frame_height=0", "--frame_width=0", "--workers=1"]) == 0, capsys.readouterr()
  header = records.read_manifest(str(tmp_path / "data" / "mine")).header
  stored = {}
  for split in ("train", "test"):
    opened = records.open_split(str(tmp_path / "data" / "mine"), split)
    for _, data in records.read(opened).as_numpy_iterator():
      assert exif_footage.SECRET.encode() not in data
      clip = schema.decode(data, header)
      stored[clip.id] = clip.frames
  for orientation, content in pictures.items():
    expected = exif_footage.shown(content)
    assert stored[f"v{orientation}.avi"][0].shape == expected.shape
    assert len(stored[f"v{orientation}.avi"]) == 4 and np.abs(stored[f"v{orientation}.avi"][0].astype(int) - expected).mean() < 6
