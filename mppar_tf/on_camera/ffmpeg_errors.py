"""FFmpeg's errors as the camera's own: one line with the kind of error alone."""

import contextlib
from typing import Iterator, Type

import av

from mppar_tf.on_camera.errors import CameraError


@contextlib.contextmanager
def told(failed: Type[CameraError], what: str) -> Iterator[None]:
  """Errors of FFmpeg, and of the system below it, are raised as `failed`."""
  try:
    yield
  except (av.FFmpegError, OSError, ValueError) as error:
    raise failed(f"{what}: {kind_of(error)}") from None


def kind_of(error: Exception) -> str:
  """What went wrong in FFmpeg's words, which never hold an address."""
  return "no answer in time" if isinstance(error, av.ExitError) else getattr(error, "strerror", None) or type(error).__name__
