"""Paths that may not be looked at, or that no system takes: one clear line and the flag's exit code, whoever runs the camera."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import footage
import pytest
import tiny_exports

from mppar_tf import camera
from mppar_tf.on_camera import engine, errors, manifest

NOBODY = 65534  # a user to whom nothing belongs: to root every folder is open


@pytest.fixture
def public(model):
  """Folders that another user sees: model/ and source/ to read, out/ to write, closed/ for their owner alone, who has all of it there."""
  folder = pathlib.Path(tempfile.mkdtemp())  # pytest's own places are private, and every session makes them so again
  try:
    if any(parent.stat().st_mode & 0o001 == 0 for parent in folder.parents):
      pytest.skip("temporary files lie in a private folder")
    shutil.copytree(model, folder / "model")
    shutil.copytree(model, folder / "closed")
    for name in ("source", "closed/photos", "out"):
      (folder / name).mkdir()
    for name in ("source", "closed/photos"):
      footage.save(folder / name, tiny_exports.pictures(2, *footage.SIZE))
    footage.make_video(folder / "closed" / "x.mp4", tiny_exports.pictures(2, *footage.SIZE))
    for name, mode in {".": 0o755, "model": 0o755, "source": 0o755, "out": 0o777, "closed": 0o700}.items():
      (folder / name).chmod(mode)
    yield folder
  finally:
    shutil.rmtree(folder)


def as_nobody(public, *flags):
  """The program's exit code and the lines that it says, run by another user."""
  # Another one only after the imports: whoever tests may have an environment that others cannot read.
  code = ("import os, sys\nimport ai_edge_litert.interpreter, tqdm\nfrom mppar_tf import camera\nfrom mppar_tf.on_camera import preview\n"
          f"os.setgroups([])\nos.setgid({NOBODY})\nos.setuid({NOBODY})\nsys.argv[0] = 'camera'\nsys.exit(camera.main(sys.argv[1:]))")
  common = [f"--model={public / 'model'}", f"--source={public / 'source'}", "--sink=safe.mp4"]
  done = subprocess.run([sys.executable, "-c", code, *common, *flags], capture_output=True, text=True, timeout=120, cwd=public / "out",
                        env=os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)})
  return done.returncode, [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("INFO: ")]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("flags, code, said", [
    (["--model={closed}/x"], 3, "camera: model {closed}/x: Permission denied"),
    (["--model={closed}/x.tflite"], 3, "camera: model {closed}/x.tflite: Permission denied"),
    (["--model={closed}"], 3, "camera: model {closed}: no readable manifest.json (Permission denied)"),
    (["--model={closed}/photos/none"], 3, "camera: model {closed}/photos/none: Permission denied"),
    (["--source={closed}/x.mp4"], 4, "camera: source {closed}/x.mp4: Permission denied"),
    (["--source={closed}"], 4, "camera: source {closed}: cannot be listed: Permission denied"),
    (["--sink={closed}/y.mp4"], 6, "camera: sink {closed}/y.mp4: Permission denied"),
    (["--sink={closed}/x.mp4", "--overwrite"], 6, "camera: sink {closed}/x.mp4: Permission denied"),
    (["--sink={closed}/frames"], 6, "camera: sink {closed}/frames: Permission denied"),
    (["--stats_json={closed}/s.json"], 2, "camera: --stats_json={closed}/s.json: no file can be written there"),
    (["--stats_json={closed}/photos/s.json"], 2, "camera: --stats_json={closed}/photos/s.json: no file can be written there"),
    ([], 0, "camera: 2 frames")])
def test_a_folder_without_permission_is_told_in_one_line(public, flags, code, said):
  found, told = as_nobody(public, *(flag.format(closed=public / "closed") for flag in flags))
  assert found == code and len(told) == 1 and told[0].startswith(said.format(closed=public / "closed")), told
  assert [path.name for path in (public / "out").iterdir()] == ["safe.mp4"] * (code == 0)


@pytest.mark.parametrize("name, said", [("n" * 300, "File name too long"), ("~nobody_of_this_name/x", "does not exist"),
                                        ("a\0b", "does not exist"), ("loop/x", "does not exist")])
def test_a_model_of_a_name_that_no_file_has_is_refused(place, capsys, name, said):
  (place / "out" / "loop").symlink_to("loop")
  for model in (name, f"{name}.tflite"):
    assert camera.run(footage.chosen(model, place / "source", "null")) == 3
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith("camera: model ") and (said in told[0] or model.endswith(".tflite"))


def test_a_model_that_may_not_be_looked_at_is_refused(monkeypatch):
  """As above, for whoever does not test as root."""
  def forbidden(path):
    raise PermissionError(13, "Permission denied")
  monkeypatch.setattr(manifest.pathlib.Path, "is_dir", forbidden)
  with pytest.raises(errors.ModelRefused, match="^model here/x: Permission denied$"):
    engine.CameraAnonymizer("here/x")
