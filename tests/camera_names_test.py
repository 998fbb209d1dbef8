"""Names of sources and sinks that are no addresses and no files: nothing of what may be a password is told, and each has its exit code."""

import pathlib

import footage
import pytest
import tiny_exports

from mppar_tf import camera

MISTYPED = [
    "anna:s3cr3t@10.0.0.1/stream1", "rtsp:/anna:s3cr3t@10.0.0.1/stream1", "rtsp:anna:s3cr3t", "anna:s3cr3t@10.0.0.1", "rtsp//anna:s3cr3t@x",
    "v4l2:rtsp:/anna:s3cr3t@x", "//anna:s3cr3t@10.0.0.1", "test:s3cr3t@x", "anna:" + 300 * "s3cr3t", "rtsp;//anna:s3cr3t@x/y.mp4"]


def told(capfd):
  output, error = capfd.readouterr()
  assert output == "" and len(error.splitlines()) == 1
  return error


@pytest.mark.parametrize("text", MISTYPED)
def test_of_a_mistyped_address_nothing_is_told(model, place, capfd, text):
  assert camera.run(footage.chosen(model, text, "null")) == 4
  error = told(capfd)
  assert "anna" not in error and "s3cr3t" not in error and error.startswith("camera: source")
  if not text.startswith("test:"):
    assert camera.run(footage.chosen(model, "test:64x48:frames=2", text)) == 6
    error = told(capfd)
    assert "anna" not in error and "s3cr3t" not in error and error.startswith("camera: sink")
  assert list((place / "out").iterdir()) == []


def test_files_may_have_such_names(model, place):
  video = footage.make_video(place / "anna@home.mp4", tiny_exports.pictures(3, *footage.SIZE))
  assert camera.run(footage.chosen(model, video, "to@home.mp4")) == 0 and camera.run(footage.chosen(model, "../anna@home.mp4", "null")) == 0
  (place / "out" / "me@work").mkdir()
  for sink in ("me@work", "me@work/frames", place / "out" / "me@work" / "x.mp4"):
    assert camera.run(footage.chosen(model, video, sink, overwrite=True)) == 0
    assert (place / "out" / sink).exists()
    if sink == "me@work":
      for path in (place / "out" / sink).iterdir():
        path.unlink()


@pytest.mark.parametrize("name", [300 * "x", 300 * "x" + ".mp4", 200 * "y" + "/" + 300 * "x" + ".mp4", "~nobody-of-that-name/x.mp4",
                                  247 * "x" + ".mp4"])
def test_names_that_no_file_can_have(model, place, capfd, name):
  assert camera.run(footage.chosen(model, name, "null")) == 4
  assert told(capfd).startswith("camera: source ")
  assert camera.run(footage.chosen(model, place / "source", name)) == 6
  assert told(capfd).startswith("camera: sink ") and list((place / "out").iterdir()) == []


def test_folders_that_cannot_be_listed(model, place, capfd, monkeypatch):
  def forbidden(self):
    raise PermissionError(13, "Permission denied")
  (place / "out" / "frames").mkdir()
  monkeypatch.setattr(pathlib.Path, "iterdir", forbidden)
  assert camera.run(footage.chosen(model, place / "source", "null")) == 4
  assert "source: cannot be listed: Permission denied" in told(capfd)
  for more in ({}, {"overwrite": True}):
    assert camera.run(footage.chosen(model, "test:64x48:frames=2", "frames", **more)) == 6
    assert "sink " in (error := told(capfd)) and "Permission denied" in error
