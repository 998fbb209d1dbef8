"""Records that live behind a URL (http, https, s3, az, hdfs, gs): the one room that imports tensorflow-io.

Every other room reads through `tf.io.gfile` and `tf.data`, which see remote files once their file system is registered here.
"""

import subprocess
import sys
import threading
from typing import Any, Callable
from urllib.parse import urlsplit

import tensorflow as tf

from mppar_tf.data.schema import RecordsError

NATIVE = ("", "file", "ram")  # schemes that TensorFlow serves by itself
UNLISTABLE = ("http", "https")  # a web server gives files by name but no listing of a folder
ANSWER_SECONDS = 30.0


def is_remote(path: str) -> bool:
  return _scheme(path) not in NATIVE


def can_list(path: str) -> bool:
  return _scheme(path) not in UNLISTABLE


def _scheme(path: str) -> str:
  return urlsplit(path).scheme if "://" in path else ""


def prepare(path: str) -> None:
  """Registers the file system of `path`; raises RecordsError where this installation has none for its scheme."""
  if not is_remote(path) or _scheme(path) in tf.io.gfile.get_registered_schemes():
    return
  advice = "copy the records here, or use tensorflow 2.17 with tensorflow-io 0.37.1"
  try:
    import tensorflow_io  # noqa: F401  its import loads the native library, which registers the file systems
  except (ImportError, NotImplementedError, AttributeError, tf.errors.OpError) as error:
    reason = " ".join(str(error).split())[:160]
    raise RecordsError(f"{path}: {_scheme(path)}:// needs tensorflow-io, which does not load on tensorflow {tf.__version__}; "
                       f"{advice} ({reason})") from None
  if _scheme(path) not in tf.io.gfile.get_registered_schemes():
    known = ", ".join(sorted(s for s in tf.io.gfile.get_registered_schemes() if s))
    raise RecordsError(f"{path}: {_scheme(path)}:// is not one of the file systems that loaded ({known}); {advice}")


_FETCH = """
import sys
import tensorflow as tf
if sys.argv[2] not in tf.io.gfile.get_registered_schemes():
  import tensorflow_io
try:
  content = tf.io.gfile.GFile(sys.argv[1], "rb").read()
except tf.errors.NotFoundError:
  sys.exit(3)
except tf.errors.OpError as error:
  sys.exit(" ".join(str(error.message).split())[:200])
sys.stdout.buffer.write(content)
"""
_START_SECONDS = 60.0  # importing TensorFlow, on a busy machine


def fetch(path: str) -> bytes | None:
  """A small file behind a URL, None where there is none: the first contact with an endpoint.

  A child process asks, since a thread that waits for a dead endpoint can be neither stopped nor, by its file system's library, left behind:
  the interpreter aborts at exit.

  Raises:
    RecordsError: no answer in time, or another error.
  """
  seconds = _START_SECONDS + ANSWER_SECONDS
  try:
    done = subprocess.run([sys.executable, "-c", _FETCH, path, _scheme(path)], capture_output=True, timeout=seconds, check=False)
  except subprocess.TimeoutExpired:
    raise RecordsError(f"{path}: no answer within {seconds:g} s") from None
  if done.returncode == 3:
    return None
  if done.returncode:
    reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
    raise RecordsError(f"{path}: cannot be read ({reason})")
  return done.stdout


def bounded(action: Callable[[], Any], path: str, seconds: float | None = None) -> Any:
  """Runs `action` on `path`; on a remote path it must answer in time, since a read from a dead endpoint never returns.

  Raises:
    RecordsError: no answer within `seconds` (default ANSWER_SECONDS).
  """
  if not is_remote(path):
    return action()
  outcome = {}

  def call():
    try:
      outcome["value"] = action()
    except Exception as error:  # carried over to the caller's thread
      outcome["error"] = error

  thread = threading.Thread(target=call, daemon=True)
  thread.start()
  seconds = ANSWER_SECONDS if seconds is None else seconds
  thread.join(seconds)
  if thread.is_alive():
    raise RecordsError(f"{path}: no answer within {seconds:g} s")
  if "error" in outcome:
    raise outcome["error"]
  return outcome["value"]
