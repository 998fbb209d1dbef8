"""Raw footage that cannot be mistaken, and a search for it by content, whole or in part, in whatever a camera left behind.

Frames are noise: any run of 15 bytes of one, in any of the forms that a frame takes on its way, is in no other file by chance. Pictures and
videos are decoded, cut-off ones too, and compared with the frames block by block.
"""

import base64
import contextlib
import pathlib
import re
import struct
import zlib
from typing import Iterator

import av
import numpy as np

from mppar_tf.on_camera import framing

HEIGHT, WIDTH = 64, 96
WINDOW = 8        # bytes that are looked up; windows start at every byte of a file and at every 8th of a frame
VARIED = 6        # different values that a window must hold: runs of one value are in every file
BLOCK = 16        # side of the blocks of decoded pictures that are compared one by one
SAME_BLOCK = 0.6  # correlation of a block's luma with the raw one; that of unlike noise has a standard deviation of 0.06
SAME_SMALL = 0.9  # correlation of scaled-down pictures: the network's input


def noise(count: int, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
  """uint8 [count, height, width, 3], every byte drawn by itself, and light and dark squares, for networks that see no noise."""
  random = np.random.default_rng(seed)
  coarse = random.integers(0, 2, (count, -(-height // 16), -(-width // 16), 1)).repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width]
  return (random.integers(0, 156, (count, height, width, 3)) + 100 * coarse).astype(np.uint8)


class Search:
  """Looks for given raw frames, uint8 [N, H, W, 3]."""

  def __init__(self, raw: np.ndarray, *, network: tuple[int, int], h264_header: bytes = b""):
    """network: (height, width) of what the network sees. h264_header: of the camera's own videos, to decode one that was cut off."""
    self._raw, self._network, self._header = raw, network, h264_header
    windows = np.concatenate([np.frombuffer(form, np.uint8)[:len(form) // WINDOW * WINDOW].reshape(-1, WINDOW)
                              for frame in raw for form in forms(frame)])
    values = np.sort(windows, axis=1)
    windows = windows[1 + np.sum(np.diff(values, axis=1) > 0, axis=1) >= VARIED]
    self._windows = np.unique(np.ascontiguousarray(windows).view("<u8"))
    self._blocks = np.stack([normal(blocks(frame)) for frame in raw])  # [N, n, BLOCK * BLOCK]
    self._small = normal(np.stack([framing.resize(frame, *network, "AREA").reshape(-1) for frame in raw]))  # [N, h * w * 3]

  def folder(self, *folders: pathlib.Path) -> list[str]:
    """Where raw pixels are, in any file below the folders."""
    files = sorted({path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()})
    return [f"{told} in {path.name}" for path in files for told in self.file(path)]

  def file(self, path: pathlib.Path) -> list[str]:
    content = path.read_bytes()
    return self.content(content) + [f"picture {number}: {told}" for number, pixels in enumerate(self._pictures(path, content))
                                    for told in self.picture(pixels)]

  def content(self, content: bytes) -> list[str]:
    """Forms in which raw bytes lie in `content`: as they are, packed, or written as text."""
    return [name for name, inner in readings(content) if self._holds(inner)]

  def _holds(self, content: bytes) -> bool:
    padded = np.frombuffer(content + b"\0" * (-len(content) % WINDOW + WINDOW), np.uint8)
    for start in range(WINDOW):
      looked_up = padded[start:len(padded) - WINDOW + start].view("<u8")
      nearest = np.minimum(np.searchsorted(self._windows, looked_up), len(self._windows) - 1)
      if np.any(self._windows[nearest] == looked_up):
        return True
    return False

  def picture(self, pixels: np.ndarray) -> list[str]:
    """Whether a decoded picture [H, W, 3] shows a raw frame, a block of one, or what the network was given."""
    found = []
    if pixels.shape == self._raw.shape[1:]:
      best = np.max(np.abs(np.sum(self._blocks * normal(blocks(pixels)), axis=-1)))
      found += [f"a block correlates {best:.2f}"] if best > SAME_BLOCK else []
    small = normal(framing.resize(pixels, *self._network, "AREA").reshape(1, -1))
    best = np.max(np.abs(self._small @ small[0]))
    return found + ([f"scaled down it correlates {best:.2f}"] if best > SAME_SMALL else [])

  def _pictures(self, path: pathlib.Path, content: bytes) -> Iterator[np.ndarray]:
    count = 0
    with contextlib.suppress(av.FFmpegError, ValueError, IndexError):
      with av.open(str(path)) as container:
        for frame in container.decode(video=0):
          count += 1
          yield frame.to_ndarray(format="rgb24")
    if not count and self._header:
      yield from cut_off_video(content, self._header)


def forms(frame: np.ndarray) -> Iterator[bytes]:
  """What a raw frame [H, W, 3] looks like in memory on its way: packed colours, planes, what the decoder had, floats of the network."""
  yield frame.tobytes()
  yield frame[..., ::-1].tobytes()
  yield frame.transpose(2, 0, 1).tobytes()
  yield (frame.astype(np.float32) / 255).tobytes()
  picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
  for form in ("gray", "yuv420p", "yuv444p"):
    yield picture.reformat(format=form).to_ndarray().tobytes()


def readings(content: bytes) -> Iterator[tuple[str, bytes]]:
  """(name, bytes) of every way in which `content` may hold other bytes."""
  yield "bytes", content
  for start in (match.start() for match in re.finditer(rb"\x89PNG\r\n\x1a\n", content)):
    yield "PNG", unfiltered(content[start:])
  numbers = [float(number) for number in re.findall(rb"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?", content)]
  whole, shares = [n for n in numbers if n <= 255 and n == int(n)], [n for n in numbers if n <= 1]
  yield "numbers", bytes(map(int, whole))
  yield "shares", bytes(round(255 * n) for n in shares)
  yield "hex", b"".join(bytes.fromhex(run[:len(run) // 2 * 2].decode()) for run in re.findall(rb"[0-9a-fA-F]{16,}", content))
  for run in re.findall(rb"[A-Za-z0-9+/]{24,}", content):
    yield "base64", base64.b64decode(run[:len(run) // 4 * 4])
  escaped = re.findall(rb"(?:\\x[0-9a-f]{2}|[ -\[\]-~]){16,}", content)
  yield "escapes", b"".join(re.sub(rb"\\x([0-9a-f]{2})", lambda hit: bytes([int(hit[1], 16)]), run) for run in escaped if b"\\x" in run)


def unfiltered(png: bytes) -> bytes:
  """The rows of a PNG of 8-bit RGB, also of one that is cut off."""
  data, at, width = b"", 8, 0
  while at + 8 <= len(png):
    length, kind = struct.unpack(">I4s", png[at:at + 8])
    body = png[at + 8:at + 8 + length]
    if kind == b"IHDR" and len(body) == 13:
      width = struct.unpack(">I", body[:4])[0]
    data += body if kind == b"IDAT" else b""
    at += length + 12
  packed = zlib.decompressobj()
  rows = bytearray()
  with contextlib.suppress(zlib.error):
    rows += packed.decompress(data)
  return _rows(bytes(rows), 3 * width) if 0 < width < 10_000 else bytes(rows)


def _rows(filtered: bytes, length: int) -> bytes:
  before, found = bytes(length), []
  for start in range(0, len(filtered) - length, length + 1):
    before = _row(filtered[start], filtered[start + 1:start + 1 + length], before)
    found.append(before)
  return b"".join(found)


def _row(kind: int, row: bytes, above: bytes) -> bytes:
  """One row without its filter, whose number is `kind`."""
  if kind not in (1, 2, 3, 4):
    return row
  done = bytearray(3) + row  # three zeros at the left
  for i, (x, b, c) in enumerate(zip(row, above, bytes(3) + above), 3):
    a = done[i - 3]
    if kind == 4:
      p = a + b - c
      guess = a if abs(p - a) <= abs(p - b) and abs(p - a) <= abs(p - c) else b if abs(p - b) <= abs(p - c) else c
    else:
      guess = (a, b, (a + b) // 2)[kind - 1]
    done[i] = (x + guess) & 255
  return bytes(done[3:])


def blocks(pixels: np.ndarray) -> np.ndarray:
  """[H, W, 3] -> luma [n, BLOCK * BLOCK]: a video keeps little of the colours of noise."""
  height, width = (side // BLOCK for side in pixels.shape[:2])
  luma = pixels[:height * BLOCK, :width * BLOCK] @ np.array([0.299, 0.587, 0.114])  # [H, W]
  return luma.reshape(height, BLOCK, width, BLOCK).transpose(0, 2, 1, 3).reshape(height * width, -1)


def normal(values: np.ndarray) -> np.ndarray:
  """[..., k] -> float [..., k] of mean 0 and length 1: the product of two is their correlation."""
  values = values - values.mean(axis=-1, keepdims=True)
  return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-9)


def h264_header(video: pathlib.Path) -> bytes:
  """What a decoder must know of a whole video, and a cut-off one of the same size and settings does not hold yet."""
  with av.open(str(video)) as container:
    return bytes(container.streams.video[0].codec_context.extradata)


def cut_off_video(content: bytes, header: bytes) -> Iterator[np.ndarray]:
  """Pictures of an MP4 that was never finished: its data is there, its index is not."""
  at = content.find(b"mdat") + 4
  if at < 4:
    return
  decoder = av.CodecContext.create("h264", "r")
  decoder.extradata = header
  with contextlib.suppress(av.FFmpegError):
    while at + 4 < len(content):
      length = int.from_bytes(content[at:at + 4], "big")
      if not 0 < length <= len(content) - at - 4:
        break
      for frame in decoder.decode(av.Packet(content[at:at + 4 + length])):
        yield frame.to_ndarray(format="rgb24")
      at += 4 + length
    yield from (frame.to_ndarray(format="rgb24") for frame in decoder.decode(None))
