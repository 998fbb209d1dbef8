"""What stops the camera. Each kind has its exit code; its message is one line and never quotes a pixel."""

import traceback

from mppar_tf.messages import one_line

LONGEST = 600  # letters of a message: names and numbers in it come from files of others


class CameraError(RuntimeError):
  """The camera stopped and gave out nothing more. Base of all reasons; by itself an error inside the program."""
  exit_code = 7

  def __init__(self, message: str):
    words = one_line(message)
    super().__init__(words if len(words) <= LONGEST else words[:LONGEST] + "...")


class ModelRefused(CameraError):
  """The model is missing, damaged, of another format, or does not anonymize."""
  exit_code = 3


class SourceFailed(CameraError):
  """Frames cannot be read, or end before they should."""
  exit_code = 4


class AnonymizationFailed(CameraError):
  """A frame could not be anonymized: an inference error, NaN, a constant or unchanged picture, another shape."""
  exit_code = 5


class SinkFailed(CameraError):
  """Anonymized frames cannot be written."""
  exit_code = 6


class Interrupted(CameraError):
  """Ctrl-C or SIGTERM before the source's end."""
  exit_code = 130


class FrameLost(Exception):
  """No failure of the camera: a live sink lost one anonymized frame with its connection, and takes the next one."""


def unexpected(error: BaseException, doing: str) -> CameraError:
  """A foreign exception as an internal error. Its text is left out: an exception's message may quote the array that upset it."""
  frames = traceback.extract_tb(error.__traceback__)
  where = f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
  return CameraError(f"{doing}: {type(error).__name__}{where}")
