"""Pictures with EXIF, as phones and cameras write them, for the tests of the camera and of the record tools."""

import io
import pathlib
from fractions import Fraction
from typing import Sequence

import av
import numpy as np
from PIL import Image, ImageOps

ORIENTATION, DESCRIPTION = 0x112, 0x10E  # tags
SECRET = "birthday of Anna"
STORED = (48, 64)


def corners() -> np.ndarray:
  """uint8 [48, 64, 3] that no turn or mirror leaves as it is: each corner another colour."""
  pixels = np.full((*STORED, 3), 30, np.uint8)
  pixels[:16, :16], pixels[:16, -16:] = (220, 40, 40), (40, 220, 40)
  pixels[-16:, :16] = (60, 60, 220)
  return pixels


def encoded(pixels: np.ndarray, orientation: int | None, kind: str = "JPEG", mode: str = "RGB") -> bytes:
  """A picture file of `pixels` [H, W, 3] as stored, with a description in its EXIF, and an orientation where one is given."""
  exif = Image.Exif()
  exif[DESCRIPTION] = SECRET
  if orientation is not None:
    exif[ORIENTATION] = orientation
  quality = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {}) | ({"subsampling": 0} if kind == "JPEG" else {})
  content = io.BytesIO()
  Image.fromarray(pixels).convert(mode).save(content, kind, exif=exif, **quality)
  return content.getvalue()


def shown(content: bytes) -> np.ndarray:
  """uint8 RGB [H, W, 3] of a picture file, as Pillow puts it upright: another program than FFmpeg."""
  with Image.open(io.BytesIO(content)) as picture:
    return np.array(ImageOps.exif_transpose(picture).convert("RGB"))


def motion_jpeg(path: pathlib.Path, pictures: Sequence[bytes], rate: int = 25) -> pathlib.Path:
  """A video of JPEG files as they are, as many cameras write it; the container is the suffix's."""
  with av.open(str(path), "w") as container:
    stream = container.add_stream("mjpeg", rate=rate)
    stream.width, stream.height, stream.pix_fmt = STORED[1], STORED[0], "yuvj444p"
    for tick, content in enumerate(pictures):
      packet = av.Packet(content)
      packet.stream, packet.pts, packet.dts, packet.time_base, packet.is_keyframe = stream, tick, tick, Fraction(1, rate), True
      container.mux(packet)
  return path
