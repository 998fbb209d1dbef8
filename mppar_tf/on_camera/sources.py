"""Where frames come from. A source is opened, iterated once, and closed; what it yields stays in memory."""

import os
import pathlib
import stat
from typing import Iterator, Protocol, Sequence

from mppar_tf.on_camera import links, source_pattern
from mppar_tf.on_camera.errors import SourceFailed
from mppar_tf.on_camera.ffmpeg_errors import told
from mppar_tf.on_camera.frames import Frame, Stream
from mppar_tf.on_camera.source_files import ImageFolder, VideoFile
from mppar_tf.on_camera.source_live import LiveSource

V4L2 = "v4l2:"
KINDS = ("a video file, a folder of images, a V4L2 device (/dev/video0), an address (" + ", ".join(links.SOURCE_SCHEMES)
         + f"), or {source_pattern.FORM}")


class Source(Protocol):
  """Attributes: endless (it has no end of its own, so that who is slow must miss frames), paced (its frames come when their time has
  come, whoever reads), path (of a file or folder)."""
  endless: bool
  paced: bool
  path: pathlib.Path | None
  def open(self) -> Stream: ...
  def frames(self) -> Iterator[Frame]: ...
  def close(self) -> None: ...


def find(text: str, *, image_rate: float = 25.0, live: bool | None = None, rtsp_transport: str = "tcp", options: Sequence[str] = (),
         patience: links.Patience = links.Patience()) -> Source:
  """The source that --source names.

  Args:
    text: see KINDS.
    image_rate: frames per second of a folder of images.
    live: whether an address is a stream, or (False) a file on a server, which has an end and every frame of which counts; None: a
      stream, and what has an end is refused.
    rtsp_transport: "tcp" or "udp".
    options: FFmpeg's, for opening, as NAME=VALUE; they win over ours.
    patience: of live sources.
  Raises:
    SourceFailed: there is no such file, folder or kind of source. Of a name that may be a mistyped address nothing is told.
  """
  chosen = links.options(options)
  if links.is_address(text):
    return _remote(text, live, {"rtsp_transport": rtsp_transport} if links.scheme(text).startswith("rtsp") else {}, chosen, patience)
  if source_pattern.is_pattern(text) and not pathlib.Path(text).exists():
    return source_pattern.Pattern(text)
  path = pathlib.Path(os.path.expanduser(text.removeprefix(V4L2)))
  secret = links.may_be_address(text.removeprefix(V4L2))
  with told(SourceFailed, "source ..." if secret else f"source {path}"):
    if not path.exists():
      if secret:
        raise SourceFailed(f"source: {links.NO_ADDRESS}; a source is {KINDS}")
      raise SourceFailed(f"source {path}: " + ("there is no such device" if text.startswith(V4L2) else
                                               f"does not exist; a source is {KINDS}"))
    if text.startswith(V4L2) or stat.S_ISCHR(path.stat().st_mode):
      return LiveSource(str(path), str(path), container="v4l2", options=chosen, patience=patience)
    return ImageFolder(path, rate=image_rate) if path.is_dir() else VideoFile(path, options=chosen)


def _remote(address: str, live: bool | None, ours: dict[str, str], chosen: dict[str, str], patience: links.Patience) -> Source:
  name = links.public(address)
  if links.scheme(address) not in links.SOURCE_SCHEMES:
    raise SourceFailed(f"source {name}: its scheme is not one of {', '.join(links.SOURCE_SCHEMES)}")
  if live is False:
    return VideoFile(None, address=address, name=name, options=ours | chosen, timeout_seconds=patience.timeout_seconds)
  return LiveSource(address, name, options=ours | chosen, patience=patience, refuse_files=live is None)
