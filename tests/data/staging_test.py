"""Records on s3, read through verified copies on this machine: tried against a real S3 server, and against endpoints that fail."""

import importlib.util
import os
import pathlib
import socket
import subprocess
import sys
import time

import pytest

import fixtures
from mppar_tf.data import clips, records, remote, schema, staging
from mppar_tf.data.records import RecordsError

ROOT = pathlib.Path(__file__).resolve().parents[2]
URL = "s3://bucket/records"
needs_server = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("s3fs", "moto", "flask_cors"))), reason="s3fs and moto, the extra s3-test, are not installed")
needs_s3fs = pytest.mark.skipif(not importlib.util.find_spec("s3fs"), reason="s3fs, the extra s3, is not installed")


@pytest.fixture
def endpoint(tmp_path, monkeypatch):
  """A function that makes s3:// mean this server; copies go to a folder of the test's own."""
  def at(port):
    for name, value in {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none",
                        "AWS_DEFAULT_REGION": "us-east-1", "XDG_CACHE_HOME": str(tmp_path / "cache")}.items():
      monkeypatch.setenv(name, value)
    remote._content.cache_clear()
    remote.object_store(URL).clear_instance_cache()  # fsspec keeps clients, and these know their endpoint
  return at


@pytest.fixture(scope="module")
def server(tmp_path_factory):
  """(port of an S3 server that holds the tiny datasets, the folder that they were copied from)."""
  from moto.server import ThreadedMotoServer
  folder = tmp_path_factory.mktemp("local")
  fixtures.write_tiny_datasets(str(folder))
  running = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
  running.start()
  client = _client(port := running.get_host_and_port()[1])
  client.create_bucket(Bucket="bucket")
  for path in folder.glob("*/*"):
    client.upload_file(str(path), "bucket", f"records/{path.relative_to(folder)}")
  yield port, folder
  running.stop()


def _client(port):
  import boto3
  return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", aws_access_key_id="none", aws_secret_access_key="none",
                      region_name="us-east-1")


@needs_server
def test_s3_gives_the_same_clips_as_the_disk_and_is_asked_once(server, endpoint, monkeypatch):
  port, folder = server
  endpoint(port)
  here, there = (records.open_split(f"{base}/tiny_clips", "train") for base in (folder, URL))
  one, other = (next(iter(clips.training_clips(split, clips.ClipSpec(2, 1, 12, True), batch_size=6, seed=0))) for split in (here, there))
  assert one.frames.numpy().tobytes() == other.frames.numpy().tobytes()
  assert records.verify(f"{URL}/tiny_clips") == []
  monkeypatch.setattr(staging, "_copy", None)  # a second copy would fail here
  again = records.open_split(f"{URL}/tiny_clips", "train", on_corrupt="skip_shard_remainder")
  assert again.files == there.files and again.lost == {}
  assert again.folder == f"{URL}/tiny_clips"


@needs_server
def test_what_differs_from_the_manifest_or_is_missing_is_named_and_leaves_no_copy(server, endpoint, tmp_path):
  port, folder = server
  endpoint(port)
  names = sorted(path.name for path in (folder / "tiny_images").glob("train-*"))
  whole = (folder / "tiny_images" / names[0]).read_bytes()
  key, client = f"records/tiny_images/{names[0]}", _client(port)
  flipped = bytes([whole[0] ^ 1]) + whole[1:]
  cases = (flipped, "its SHA-256 is not the manifest's"), (whole[:-1], f"{len(whole) - 1} bytes where"), (None, "is missing")
  for content, told in cases:
    client.delete_object(Bucket="bucket", Key=key) if content is None else client.put_object(Bucket="bucket", Key=key, Body=content)
    with pytest.raises(RecordsError, match=f"{names[0]}:? {told}"):
      records.open_split(f"{URL}/tiny_images", "train")
    assert any(told in line for line in records.verify(f"{URL}/tiny_images"))
  assert not list((tmp_path / "cache").rglob(f"{names[0]}*"))
  client.put_object(Bucket="bucket", Key=key, Body=whole)
  copy = records.open_split(f"{URL}/tiny_images", "train").files[0]
  pathlib.Path(copy).write_bytes(flipped)  # a disk that rots
  assert pathlib.Path(records.open_split(f"{URL}/tiny_images", "train").files[0]).read_bytes() == whole


@needs_server
def test_a_program_that_read_s3_ends_as_it_should(server, endpoint):
  endpoint(server[0])
  program = ("import sys\nfrom mppar_tf.data import records\n"
             f"print(records.open_split('{URL}/tiny_clips', 'test').total, 'tensorflow_io' in sys.modules)\nsys.exit(7)")
  done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=os.environ, capture_output=True, timeout=120, check=False)
  expected = records.open_split(f"{URL}/tiny_clips", "test").total
  assert (done.returncode, done.stdout.decode().split()) == (7, [str(expected), "False"]), done.stderr.decode()[-800:]


@needs_s3fs
def test_a_dead_endpoint_is_told_and_the_program_ends(endpoint):
  with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts and never answers
    endpoint(silent.getsockname()[1])
    program = ("from mppar_tf.data import records, remote\nremote.ANSWER_SECONDS = 1.0\n"
               "try:\n  records.read_manifest('s3://bucket/data')\nexcept records.RecordsError as error:\n  raise SystemExit(str(error))")
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=os.environ, capture_output=True, timeout=120, check=False)
  assert (done.returncode, done.stderr.decode().strip().splitlines()[-1]) == (1, "s3://bucket/data/manifest.json: no answer within 1 s")
  assert time.monotonic() - started < 100


@needs_s3fs
def test_a_refusing_endpoint_and_a_missing_manifest_are_told(endpoint):
  with socket.create_server(("127.0.0.1", 0)) as taken:
    port = taken.getsockname()[1]
  endpoint(port)
  with pytest.raises(RecordsError, match=r"s3://bucket/data/manifest.json: cannot be read \(\w+: Could not connect"):
    records.read_manifest("s3://bucket/data")


@needs_server
def test_a_folder_without_records(server, endpoint):
  endpoint(server[0])
  with pytest.raises(RecordsError, match="s3://bucket/nothing: no manifest.json"):
    records.read_manifest("s3://bucket/nothing")


def test_without_s3fs_one_line_tells_what_to_install(monkeypatch):
  monkeypatch.setitem(sys.modules, "s3fs", None)
  with pytest.raises(RecordsError, match="manifest.json: s3:// needs s3fs: pip install -c constraints.txt s3fs ") as caught:
    records.read_manifest("s3://bucket/data")
  assert "\n" not in str(caught.value)


def test_nothing_is_built_on_s3():
  with pytest.raises(RecordsError, match="s3://bucket/data: s3:// is only read here; build on a local disk and copy the records there"):
    records.DatasetWriter("s3://bucket/data", schema.Header("tiny", "image"))
