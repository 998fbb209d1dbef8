"""A whole-frame Gaussian blur with OpenCV, as anybody would write it: what `bench` holds camera and `deface` against.

  python -m mppar_tf.bench_blur SOURCE TARGET

SOURCE and TARGET are two videos or two folders; of a folder every image and video is blurred and keeps its name, whatever else lies there
stays out. Sigma is 8 % of a frame's height, as of the method strong_blur. Videos become H.264 with the camera's settings; images keep
their format (JPEG at quality 95). OpenCV takes a thread for each core.
"""

import pathlib
import shutil
import sys
from typing import Iterator

import av
import cv2
import numpy as np

from mppar_tf.messages import one_line
from mppar_tf.progress import progress_bar

SIGMA = 0.08  # of the frame's height
VIDEOS, IMAGES = (".avi", ".mp4", ".mov"), (".jpg", ".jpeg", ".png", ".bmp")
CODING = {"crf": "20", "preset": "veryfast", "bf": "0"}  # the camera's


def blurred(frame: np.ndarray) -> np.ndarray:
  """uint8 [H, W, 3] -> same."""
  return cv2.GaussianBlur(frame, (0, 0), SIGMA * frame.shape[0])


def blur_video(source: pathlib.Path, target: pathlib.Path) -> None:
  with av.open(str(source)) as read, av.open(str(target), "w") as written:
    rate = read.streams.video[0].average_rate or 25
    stream = written.add_stream("libx264", rate=rate, options=CODING)
    for number, frame in enumerate(read.decode(video=0)):
      pixels = blurred(frame.to_ndarray(format="rgb24"))
      if not number:
        stream.height, stream.width = pixels.shape[:2]
        stream.pix_fmt = "yuv444p" if pixels.shape[0] % 2 or pixels.shape[1] % 2 else "yuv420p"
      written.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
    written.mux(stream.encode(None))


def blur_image(source: pathlib.Path, target: pathlib.Path) -> None:
  """Raises OSError where the image cannot be read or written."""
  pixels = cv2.imread(str(source))
  if pixels is None or not cv2.imwrite(str(target), blurred(pixels)):
    raise OSError(f"{source}: cannot be blurred into {target}")


def pairs(source: pathlib.Path, target: pathlib.Path) -> Iterator[tuple[pathlib.Path, pathlib.Path]]:
  """Which file becomes which."""
  if not source.is_dir():
    return iter([(source, target)])
  target.mkdir(parents=True, exist_ok=True)
  return ((path, target / path.name) for path in of_folder(source))


def of_folder(folder: pathlib.Path) -> list[pathlib.Path]:
  """Its images and videos, by name."""
  return sorted(path for path in folder.iterdir() if path.suffix.lower() in (*VIDEOS, *IMAGES))


def copy_files(source: pathlib.Path, target: pathlib.Path) -> None:
  """Images and videos alone, writable whatever the source's are."""
  target.mkdir(parents=True)
  for path in of_folder(source):
    shutil.copyfile(path, target / path.name)


def main(arguments: list[str]) -> int:
  if len(arguments) != 2:
    print(f"bench_blur: SOURCE and TARGET are wanted, given: {' '.join(arguments) or 'nothing'}", file=sys.stderr)
    return 2
  try:
    for path, target in progress_bar(list(pairs(*map(pathlib.Path, arguments))), desc="bench_blur", unit=" files"):
      (blur_image if path.suffix.lower() in IMAGES else blur_video)(path, target)
  except (OSError, av.FFmpegError) as error:
    print(f"bench_blur: {one_line(error)}", file=sys.stderr)
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
