"""Public datasets in miniature, in the form of the real ones, and what tests of their readers look at afterwards."""

import os
import pathlib

import numpy as np
import tiny_files

from mppar_tf.data import records, schema
from tfrecord_tools import build

SHARED = os.environ.get("MPPAR_SHARED_DATA", pathlib.Path(__file__).resolve().parents[2] / "shared" / "data")
ANNOTATIONS = pathlib.Path(SHARED) / "annotations"


def pictures(folder: pathlib.Path, pattern: str, count: int, shade: int = 0) -> None:
  """Numbered pictures from 1, the n-th of brightness `shade` + 5 n, 8 x 12 pixels."""
  for number in range(1, count + 1):
    tiny_files.image(folder / pattern.format(number), np.full((8, 12, 3), shade + 5 * number, np.uint8))


def built(dataset: str, source: pathlib.Path, data_dir: pathlib.Path, *flags: str) -> int:
  """The exit code of the build program, with small frames in this process."""
  small = ["--frame_height=0", "--frame_width=0", "--workers=1"]
  return build.main([dataset, f"--source={source}", f"--data_dir={data_dir}", *small, *flags])


def built_twice(dataset: str, source: pathlib.Path, data_dir: pathlib.Path, *flags: str) -> int:
  """The exit code of the second of two builds into two places, which must have given the same bytes."""
  places = (data_dir, data_dir.with_name("again"))
  codes = [built(dataset, source, place, *flags) for place in places]
  files = [{path.relative_to(place): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()} for place in places]
  assert codes[0] == codes[1] and files[0] == files[1] and len(files[0]) >= 4
  return codes[1]


def stored(folder: pathlib.Path) -> dict[str, dict[str, schema.Video]]:
  """Every record of every split, by its id."""
  found: dict[str, dict[str, schema.Video]] = {}
  for split in records.read_manifest(str(folder)).splits:
    opened = records.open_split(str(folder), split)
    read = [schema.decode(data, opened.manifest.header) for _, data in records.read(opened).as_numpy_iterator()]
    found[split] = {one.id: one for one in read}
  return found


def shades(video: schema.Video) -> list[int]:
  """The brightness of each frame."""
  return [round(float(frame.mean())) for frame in video.frames]
