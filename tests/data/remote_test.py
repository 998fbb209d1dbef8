"""Records behind a URL: read as local ones where tensorflow-io loads, a clear line where it does not, and no waiting for ever."""

import functools
import http.server
import pathlib
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


class Dropping(Ranged):
  """Breaks off in the middle of every shard, once a test says so."""
  drops = threading.Event()

  def do_GET(self):
    if not self.drops.is_set() or not self.path.endswith(".tfrecord"):
      return super().do_GET()
    self.send_response(206)
    self.send_header("Content-Length", "5000")
    self.send_header("Content-Range", "bytes 0-4999/9999")
    self.end_headers()
    self.wfile.write(bytes(100))
    self.close_connection = True


def _serve(folder, handler):
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
  threading.Thread(target=server.serve_forever, daemon=True).start()
  return server


@pytest.fixture(scope="module")
def served(tmp_path_factory):
  folder = tmp_path_factory.mktemp("served")
  fixtures.write_tiny_datasets(str(folder))
  server = _serve(folder, Ranged)
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


@pytest.mark.skipif(not SUPPORTED, reason=f"tensorflow-io's file systems load on tensorflow 2.17, this is {tf.__version__}")
def test_a_connection_that_drops_and_a_server_that_is_gone_are_told(tmp_path):
  fixtures.write_tiny_datasets(str(tmp_path))
  server = _serve(tmp_path, Dropping)
  split = records.open_split(f"http://127.0.0.1:{server.server_port}/tiny_clips", "train")
  Dropping.drops.set()
  with pytest.raises(RecordsError, match=r"shard http://\S+/tiny_clips/train-\S+ is damaged, or its connection failed: the manifest says"):
    records.ids(split)
  server.shutdown()
  server.server_close()
  with pytest.raises(RecordsError, match=r"train-\S+: cannot be read \(.*connect"):
    records.open_split(split.folder, "train")  # the manifest is known, its shards cannot be reached
  with pytest.raises(RecordsError, match=r"other/manifest.json: cannot be read \(.*refused"):
    records.read_manifest(f"http://127.0.0.1:{server.server_port}/other")


def test_a_manifest_is_fetched_once_by_a_program_and_an_absent_one_asked_for_again(served, monkeypatch):
  asked = []
  monkeypatch.setattr(remote, "prepare", asked.append)
  for _ in range(3):
    assert records.manifest_exists(f"{served[1]}/tiny_images")
    assert not records.manifest_exists(f"{served[1]}/not_yet")
  assert [path.split("/")[3] for path in asked] == ["tiny_images", "not_yet", "not_yet", "not_yet"]


def test_an_endpoint_that_a_child_asks_is_given_up_in_time(monkeypatch):
  monkeypatch.setattr(remote, "prepare", lambda path: None)
  monkeypatch.setattr(remote, "ANSWER_SECONDS", 0.5)
  monkeypatch.setattr(remote, "_START_SECONDS", 0.5)
  monkeypatch.setattr(remote, "_FETCH", "import time; time.sleep(60)")
  with pytest.raises(RecordsError, match="gs://bucket/data/manifest.json: no answer within 1 s"):
    records.read_manifest("gs://bucket/data")
  monkeypatch.setattr(remote, "_START_SECONDS", 60)
  monkeypatch.setattr(remote, "_FETCH", "import sys; sys.exit(3)")
  with pytest.raises(RecordsError, match="gs://bucket/data: no manifest.json"):
    records.read_manifest("gs://bucket/data")
  monkeypatch.setattr(remote, "_FETCH", "raise SystemExit('permission denied')")
  with pytest.raises(RecordsError, match=r"gs://bucket/data/manifest.json: cannot be read \(permission denied\)"):
    records.read_manifest("gs://bucket/data")
