"""Records that live behind a URL (http, https, s3, az, hdfs, gs): the one room that imports tensorflow-io.

Every other room reads through `tf.io.gfile` and `tf.data`, which see remote files once their file system is registered here. Except s3:
there tensorflow-io 0.37.1 aborts the process at its end (exit code 134), so s3fs fetches the shards (`staging`) and the copies are read.
"""

import functools
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from typing import Any, Callable
from urllib.parse import urlsplit

import tensorflow as tf

from mppar_tf.data.schema import RecordsError
from mppar_tf.messages import one_line

NATIVE = ("", "file", "ram")  # schemes that TensorFlow serves by itself
UNLISTABLE = ("http", "https")  # a web server gives files by name but no listing of a folder
STAGED = ("s3",)
ANSWER_SECONDS = 30.0


def is_remote(path: str) -> bool:
  return _scheme(path) not in NATIVE


def is_staged(path: str) -> bool:
  """Whether files of this scheme are copied to this machine before they are read."""
  return _scheme(path) in STAGED


def names(folder: str) -> list[str]:
  """What lies in a folder, sorted; empty where its server cannot tell."""
  if _scheme(folder) in UNLISTABLE:
    return []
  if is_staged(folder):
    return sorted(os.path.basename(path) for path in answer(lambda: object_store(folder).ls(folder, detail=False), folder))
  return sorted(tf.io.gfile.listdir(folder))


def _scheme(path: str) -> str:
  return urlsplit(path).scheme if "://" in path else ""


def prepare(path: str) -> None:
  """Registers the file system of `path`; raises RecordsError where this installation has none for its scheme."""
  if is_staged(path):
    raise RecordsError(f"{path}: {_scheme(path)}:// is only read here; build on a local disk and copy the records there")
  if not is_remote(path) or _scheme(path) in tf.io.gfile.get_registered_schemes():
    return
  advice = "copy the records here, or use tensorflow 2.17 with tensorflow-io 0.37.1"
  try:
    import tensorflow_io  # noqa: F401  its import loads the native library, which registers the file systems
  except (ImportError, NotImplementedError, AttributeError, tf.errors.OpError) as error:
    reason = one_line(error, 160)
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
  sys.exit(one_line(error.message, 200))
sys.stdout.buffer.write(content)
"""
_START_SECONDS = 60.0  # importing TensorFlow, on a busy machine


def fetch(path: str) -> bytes | None:
  """A small file behind a URL, None where there is none: the first contact with an endpoint, once in a program for each file.

  Raises:
    RecordsError: no file system for it, no answer in time, or another error.
  """
  try:
    return _content(path)
  except FileNotFoundError:
    return None


@functools.lru_cache(maxsize=256)  # every split of a dataset is opened by its manifest; an absent one raises, so it is asked for again
def _content(path: str) -> bytes:
  if is_staged(path):
    return answer(lambda: object_store(path).cat_file(path), path)
  prepare(path)
  return answer(lambda: _download(path), path) if _scheme(path) in UNLISTABLE else _content_by_child(path)


def _download(url: str) -> bytes:
  try:
    with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as response:
      return response.read()
  except urllib.error.HTTPError as error:
    if error.code in (404, 410):
      raise FileNotFoundError(url) from None
    raise


def answer(action: Callable[[], Any], path: str) -> Any:
  """`bounded`, with every failure but a missing file as a RecordsError."""
  try:
    return bounded(action, path)
  except (FileNotFoundError, RecordsError):
    raise
  except TimeoutError:
    raise RecordsError(f"{path}: no answer within {ANSWER_SECONDS:g} s") from None
  except Exception as error:  # each client has its own kinds
    reason = one_line(error, 200)
    raise RecordsError(f"{path}: cannot be read ({type(error).__name__}: {reason})") from None


def _content_by_child(path: str) -> bytes:
  """A child process asks, since a thread that waits for a dead endpoint can be neither stopped nor, by its file system's library, left
  behind: the interpreter aborts at exit."""
  seconds = _START_SECONDS + ANSWER_SECONDS
  try:
    done = subprocess.run([sys.executable, "-c", _FETCH, path, _scheme(path)], capture_output=True, timeout=seconds, check=False)
  except subprocess.TimeoutExpired:
    raise RecordsError(f"{path}: no answer within {seconds:g} s") from None
  if done.returncode == 3:
    raise FileNotFoundError(path)
  if done.returncode:
    reason = (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
    raise RecordsError(f"{path}: cannot be read ({reason})")
  return done.stdout


def object_store(path: str) -> Any:
  """The client for a scheme of STAGED, which takes account and endpoint from the environment or the user's AWS files.

  Raises:
    RecordsError: it is not installed.
  """
  try:
    import s3fs
  except ImportError as error:
    raise RecordsError(f"{path}: {_scheme(path)}:// needs s3fs: pip install -c constraints.txt s3fs ({error})") from None
  # botocore tries again by itself, and s3fs on top of it: the end must come within ANSWER_SECONDS.
  config = {"connect_timeout": ANSWER_SECONDS / 4, "read_timeout": ANSWER_SECONDS / 4, "retries": {"total_max_attempts": 2}}
  return s3fs.S3FileSystem(config_kwargs=config, use_listings_cache=False)


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
