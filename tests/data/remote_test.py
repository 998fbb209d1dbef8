"""Records behind a URL: read as local ones where tensorflow-io loads, a clear line where it does not, and no waiting for ever."""

import functools
import http.server
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import pytest
import tensorflow as tf

import fixtures
from mppar_tf.data import clips, records, remote
from mppar_tf.data.records import RecordsError

ROOT = pathlib.Path(__file__).resolve().parents[2]
SUPPORTED = tf.__version__.startswith("2.17.")


class Ranged(http.server.SimpleHTTPRequestHandler):
  """Serves byte ranges, as object stores do and the standard library's server does not."""

  def do_GET(self):
    path = pathlib.Path(self.translate_path(self.path))
    if not path.is_file():
      self.send_error(404)
      return
    content, wanted = path.read_bytes(), self.headers.get("Range")
    first, last = 0, len(content) - 1
    if wanted:
      low, _, high = wanted.partition("=")[2].partition("-")
      first, last = int(low), min(int(high or last), last)
    if first > last:
      self.send_error(416)
      return
    self.send_response(206 if wanted else 200)
    self.send_header("Content-Length", str(last + 1 - first))
    self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
    self.end_headers()
    self.wfile.write(content[first:last + 1])

  def log_message(self, *_):
    """Quiet."""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
  folder = tmp_path_factory.mktemp("served")
  fixtures.write_tiny_datasets(str(folder))
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Ranged, directory=str(folder)))
  threading.Thread(target=server.serve_forever, daemon=True).start()
  yield folder, f"http://127.0.0.1:{server.server_port}"
  server.shutdown()


@pytest.mark.skipif(not SUPPORTED, reason=f"tensorflow-io's file systems load on tensorflow 2.17, this is {tf.__version__}")
def test_http_gives_the_same_clips_as_the_disk(served):
  folder, url = served
  spec = clips.ClipSpec(2, 1, 12, True)
  here, there = (records.open_split(f"{base}/tiny_clips", "train") for base in (folder, url))
  for split in (here, there):
    assert records.ids(split)[0].startswith("train")
  one, other = (next(iter(clips.training_clips(split, spec, batch_size=6, seed=0))) for split in (here, there))
  assert one.frames.numpy().tobytes() == other.frames.numpy().tobytes()
  assert records.verify(f"{url}/tiny_clips") == []


@pytest.mark.skipif(not SUPPORTED, reason=f"tensorflow-io's file systems load on tensorflow 2.17, this is {tf.__version__}")
def test_http_folder_without_records_and_scheme_without_file_system(served):
  with pytest.raises(RecordsError, match="nothing_here"):
    records.read_manifest(f"{served[1]}/nothing_here")
  with pytest.raises(RecordsError, match="gopher:// is not one of the file systems that loaded"):
    records.read_manifest("gopher://host/data")


@pytest.mark.skipif(SUPPORTED, reason="here tensorflow-io loads")
def test_without_tensorflow_io_a_remote_path_is_told_in_one_line():
  told = r"http:// needs tensorflow-io, which does not load on tensorflow .*; copy the records here"
  with pytest.raises(RecordsError, match=told) as caught:
    records.read_manifest("http://127.0.0.1:9/data")
  assert "\n" not in str(caught.value)


def test_local_paths_import_nothing():
  program = ("import sys; from mppar_tf.data import records, remote; remote.prepare('/some/where'); remote.prepare('relative'); "
             "sys.exit('tensorflow_io' in sys.modules)")
  assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_an_answer_is_waited_for_so_long_and_not_longer():
  started, release = time.monotonic(), threading.Event()
  with pytest.raises(RecordsError, match="http://dead/x: no answer within 0.2 s"):
    remote.bounded(release.wait, "http://dead/x", seconds=0.2)
  assert time.monotonic() - started < 5
  release.set()
  assert remote.bounded(lambda: 7, "http://alive/x") == 7 and remote.bounded(lambda: 8, "/here") == 8
  with pytest.raises(ZeroDivisionError):
    remote.bounded(lambda: 1 // 0, "http://alive/x")


DEAD = """
import sys
from mppar_tf.data import records, remote
remote._START_SECONDS, remote.ANSWER_SECONDS = 9.0, 1.0
try:
  records.read_manifest("s3://bucket/data")
except records.RecordsError as error:
  print(error, flush=True)
  sys.exit(2)
"""


@pytest.mark.skipif(not SUPPORTED, reason=f"tensorflow-io's file systems load on tensorflow 2.17, this is {tf.__version__}")
def test_a_dead_s3_endpoint_is_told_and_the_program_ends():
  with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts and never answers
    environment = os.environ | {"S3_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}", "AWS_ACCESS_KEY_ID": "none",
                                "AWS_SECRET_ACCESS_KEY": "none", "AWS_REGION": "eu-west-1", "S3_USE_HTTPS": "0"}
    done = subprocess.run([sys.executable, "-c", DEAD], cwd=ROOT, env=environment, capture_output=True, timeout=120, check=False)
  told = done.stdout.decode().strip()
  assert (told, done.returncode) == ("s3://bucket/data/manifest.json: no answer within 10 s", 2), done.stderr.decode()[-800:]
