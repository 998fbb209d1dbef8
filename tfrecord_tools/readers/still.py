"""Decodes image files, fits frames to a stored size, and writes JPEG: pixels in, pixels out, without TensorFlow.

Pillow decodes: it refuses a truncated JPEG where OpenCV fills the rest with grey. OpenCV shrinks: its area averages weigh pixels that a
border cuts, Pillow's box does not.
"""

import io
import os
from typing import Any, Callable, NamedTuple

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from mppar_tf.messages import one_line
from tfrecord_tools.detectors import watch
from tfrecord_tools.readers.video import Undecodable, check_file


def decode(path: str | os.PathLike) -> np.ndarray:
  """The pixels of an image file, upright, uint8 RGB [H, W, 3]; transparency lies on black.

  Raises:
    Undecodable: missing, empty, not an image, truncated, or animated.
  """
  check_file(path)
  try:
    with Pillow.open(path) as picture:
      # MPO is how phones write a JPEG with a second view or a depth map behind it: the first picture is the photograph.
      if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
        raise Undecodable(f"{picture.n_frames} frames in one image; give it as a video")
      upright = ImageOps.exif_transpose(picture)
      if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        upright = upright.convert("RGBA")
        upright = Pillow.alpha_composite(Pillow.new("RGBA", upright.size, (0, 0, 0, 255)), upright)
      return np.array(upright.convert("RGB"))  # [H, W, 3]
  except Undecodable:
    raise
  except Pillow.UnidentifiedImageError as error:
    raise Undecodable("not an image that Pillow can open") from error
  # Pillow's decoders raise OSError, SyntaxError, ValueError and their own kinds on damaged files.
  except Exception as error:
    raise Undecodable(f"decoding fails ({one_line(error) or type(error).__name__})") from error


def stretch(frame: np.ndarray, height: int, width: int) -> np.ndarray:
  """Resizes to [height, width, 3] whatever the aspect ratio: area averages to shrink, bilinear to enlarge."""
  tall, wide = frame.shape[:2]
  if (tall, wide) == (height, width):
    return frame
  shrink = height <= tall and width <= wide
  return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)


def crop(frame: np.ndarray, height: int, width: int) -> np.ndarray:
  """Keeps the aspect ratio, covers [height, width, 3] and cuts off what juts out on both sides."""
  tall, wide = frame.shape[:2]
  scale = max(height / tall, width / wide)
  covering = stretch(frame, max(height, round(tall * scale)), max(width, round(wide * scale)))
  top, left = (covering.shape[0] - height) // 2, (covering.shape[1] - width) // 2
  return np.ascontiguousarray(covering[top:top + height, left:left + width])


def pad(frame: np.ndarray, height: int, width: int) -> np.ndarray:
  """Keeps the aspect ratio and the whole picture in [height, width, 3], between black bars."""
  tall, wide = frame.shape[:2]
  scale = min(height / tall, width / wide)
  inside = stretch(frame, max(1, min(height, round(tall * scale))), max(1, min(width, round(wide * scale))))
  top, left = (height - inside.shape[0]) // 2, (width - inside.shape[1]) // 2
  framed = np.zeros((height, width, 3), np.uint8)
  framed[top:top + inside.shape[0], left:left + inside.shape[1]] = inside
  return framed


RESIZES: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {"stretch": stretch, "crop": crop, "pad": pad}


def fit(frame: np.ndarray, height: int, width: int, resize: str) -> np.ndarray:
  """uint8 [H, W, 3] -> [height, width, 3] by one of RESIZES; a height or width of 0 keeps the frame as it is."""
  return RESIZES[resize](frame, height, width) if height and width else frame


def jpeg(frame: np.ndarray, quality: int) -> bytes:
  """JPEG bytes of uint8 RGB [H, W, 3]. Colour is kept at full resolution: at 32 to 64 pixels, halving it smears faces."""
  buffer = io.BytesIO()
  Pillow.fromarray(frame).save(buffer, "JPEG", quality=quality, subsampling=0)
  return buffer.getvalue()


class Storage(NamedTuple):
  """How frames are stored; small, so that it travels to workers."""
  height: int  # pixels; 0 with width 0 keeps each file's own size
  width: int
  resize: str  # one of RESIZES
  quality: int  # of JPEG
  watching: watch.Watch | None = None  # detectors that look at each frame

  @classmethod
  def of(cls, options: Any) -> "Storage":
    """As the flags of stored frames say; raises PlanError where a detector cannot be had."""
    return cls.sized(options, options.frame_height, options.frame_width, options.resize)

  @classmethod
  def sized(cls, options: Any, height: int, width: int, resize: str = "stretch") -> "Storage":
    """For readers with a size of their own; raises PlanError where a detector cannot be had."""
    return cls(height, width, resize, options.jpeg_quality, watch.chosen(options))

  def jpeg(self, frame: np.ndarray) -> bytes:
    """JPEG bytes of uint8 RGB [H, W, 3], brought to the stored size; `watch.Watched` where detectors look on."""
    stored = fit(frame, self.height, self.width, self.resize)
    if self.watching is None:
      return jpeg(stored, self.quality)
    watched = watch.Watched(jpeg(stored, self.quality))
    height, width = stored.shape[:2]
    # No larger than the source: detectors enlarge in their own way.
    picture = fit(frame, *self.watching.size(height, width, max(frame.shape[:2])), self.resize)
    watched.regions = self.watching.look_and_pack(picture, height, width)
    return watched
