"""Writes one record of a folder of records as a video, to look at it or to try the camera on it.

  python -m tfrecord_tools.extract FOLDER --video=clip.mp4 [--split=test --index=0 --enlarge=8]

The video is H.264 at the record's own frame rate. A still image is refused: it has no frame rate. So is a path that is taken already;
--overwrite replaces the file there.
Exit code: 0 written, 1 the records cannot be read or the video cannot be written, 2 a bad command line or a path that is taken,
130 interrupted by Ctrl-C (no video is left).
"""

import fractions
import os
import pathlib
import sys
from typing import Any, Sequence

import av
import numpy as np

from mppar_tf import flagfiles
from mppar_tf.messages import one_line
from tfrecord_tools import options, words

CONSTANT_RATE_FACTOR = "12"  # close to what is stored: the clip is looked at and fed to other programs
FINEST_RATE = 1001  # largest denominator of a frame rate; 30000/1001 and the like stay exact


def extract(folder: str, chosen: options.ExtractOptions) -> int:
  """Writes the record that `chosen` names; prints what it is. Returns the exit code."""
  from mppar_tf.data import records
  try:
    video, manifest = load(folder, chosen.split, chosen.index)
    save(chosen.video, video.frames, video.fps, chosen.enlarge)
  except (records.RecordsError, av.FFmpegError, OSError) as error:
    print(f"extract: {one_line(error)}", file=sys.stderr)
    return 1
  height, width = video.frames[0].shape[:2]
  action = manifest.classes[video.action] if video.action >= 0 else "no action"
  present = ", ".join(name for name in manifest.attributes if video.labels.get(name, 0) > 0) or "no attribute"
  print(f"{chosen.video}: {video.id} ({action}; {present}), {len(video.frames)} frames of "
        f"{width * chosen.enlarge}x{height * chosen.enlarge} at {video.fps:g} a second")
  return 0


def load(folder: str, split: str, index: int) -> tuple[Any, Any]:
  """(schema.Video, Manifest) of the record at place `index` of `split` in storage order.

  Raises:
    OptionError: the split has no such record, or the folder holds images.
    RecordsError: the records do not match their manifest.
  """
  from mppar_tf.data import records, schema
  opened = records.open_split(folder, split)
  if opened.manifest.kind != "video":
    raise flagfiles.OptionError(f"{folder}: holds {opened.manifest.kind} records; only a video record can become a video")
  if index >= opened.total:
    raise flagfiles.OptionError(f"--index={index}: split {split} of {folder} holds records 0 to {opened.total - 1}")
  [(_, serialized)] = records.read(opened).skip(index).take(1).as_numpy_iterator()
  return schema.decode_video(serialized, opened.manifest.header), opened.manifest


def save(path: str | os.PathLike, frames: Sequence[np.ndarray], fps: float, enlarge: int = 1) -> None:
  """Writes frames (uint8 RGB [H, W, 3]) as MP4, each pixel as a square of `enlarge` pixels; the file appears when it is whole.

  Raises:
    FFmpegError, OSError: it cannot be written; nothing is left then.
  """
  path = pathlib.Path(os.path.abspath(path))
  path.parent.mkdir(parents=True, exist_ok=True)
  unfinished = path.with_name(f".{path.name}.part")
  try:
    _encode(unfinished, frames, fps, enlarge)
    os.replace(unfinished, path)
  finally:
    unfinished.unlink(missing_ok=True)


def _encode(path: pathlib.Path, frames: Sequence[np.ndarray], fps: float, enlarge: int) -> None:
  height, width = (side * enlarge for side in frames[0].shape[:2])
  with av.open(str(path), "w", format="mp4") as container:
    rate = fractions.Fraction(fps).limit_denominator(FINEST_RATE)
    stream = container.add_stream("libx264", rate=rate, options={"crf": CONSTANT_RATE_FACTOR})
    stream.height, stream.width = height, width
    # H.264 halves the colour planes only of even sizes.
    stream.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
    for frame in frames:
      enlarged = np.repeat(np.repeat(frame, enlarge, axis=0), enlarge, axis=1)  # [H * enlarge, W * enlarge, 3]
      container.mux(stream.encode(av.VideoFrame.from_ndarray(enlarged, format="rgb24")))
    container.mux(stream.encode())


def main(arguments: Sequence[str] | None = None) -> int:
  folders, flags = words.split(sys.argv[1:] if arguments is None else arguments)

  def run() -> int:
    if len(folders) != 1:
      raise flagfiles.OptionError(f"one folder of records is needed, {len(folders)} given: "
                                  "python -m tfrecord_tools.extract FOLDER --video=clip.mp4")
    return extract(folders[0], flagfiles.read(options.ExtractOptions))
  return flagfiles.main(run, (options.ExtractOptions,), __doc__, arguments=flags)


if __name__ == "__main__":
  sys.exit(main())
