"""What an install brings: locks that fit the ranges, every package, and a camera that needs no TensorFlow."""

import ast
import functools
import os
import pathlib
import re
import subprocess
import sys
import tomllib
import venv
from importlib import metadata
from typing import Iterable, Iterator

import pytest
from packaging.requirements import Requirement

from mppar_tf.on_camera import preview
from tfrecord_tools.fuzzing import networks

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("mppar_tf", "tfrecord_tools")


@functools.cache
def project() -> dict:
  return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(name: str) -> dict[str, str]:
  lines = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
  wrong = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)]
  assert not wrong, f"{name}: exact pins only, no addresses: {wrong}"
  return {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower(): line.partition("==")[2] for line in lines}


def base() -> list[Requirement]:
  return [Requirement(text) for text in project()["project"]["dependencies"]]


def requirements(extra: str) -> Iterator[Requirement]:
  for text in project()["project"]["optional-dependencies"][extra]:
    requirement = Requirement(text)
    if requirement.name == "mppar-tf":
      for nested in requirement.extras:
        yield from requirements(nested)
    else:
      yield requirement


@pytest.mark.parametrize("lock, extras", [
    ("constraints.txt", ("train", "camera", "dev", "beam", "detectors", "s3-test")),
    ("constraints-latest.txt", ("latest", "camera", "dev", "detectors")),
])
def test_the_lock_pins_every_dependency_within_its_range(lock, extras):
  pinned = pins(lock)
  wanted = base() + [one for extra in extras for one in requirements(extra)]
  wrong = [str(one) for one in wanted if pinned.get(one.name.lower()) is None or not one.specifier.contains(pinned[one.name.lower()])]
  assert wrong == []


# Where a module's name is not its distribution's.
DISTRIBUTIONS = {"PIL": "pillow", "absl": "absl-py", "ai_edge_litert": "ai-edge-litert", "apache_beam": "apache-beam",
                 "cv2": "opencv-python-headless", "keras_cv": "keras-cv", "sklearn": "scikit-learn", "tensorflow_io": "tensorflow-io"}


def third_party(sources: Iterable[pathlib.Path]) -> set[str]:
  """Distributions that sources import, at whatever depth."""
  names = set()
  for path in sources:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
      if isinstance(node, ast.Import):
        names |= {alias.name.split(".")[0] for alias in node.names}
      elif isinstance(node, ast.ImportFrom):
        names.add(str(node.module).split(".")[0])
  return {DISTRIBUTIONS.get(name, name) for name in names - set(sys.stdlib_module_names) - set(PACKAGES)}


def test_every_import_of_the_packages_is_a_declared_dependency():
  extras = ("train", "beam", "s3", "detectors")
  declared = {one.name for one in [*base(), *(one for extra in extras for one in requirements(extra))]}
  assert third_party(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")) - declared == set()


def test_the_camera_imports_only_what_its_extra_brings():
  here = ROOT / "mppar_tf"
  own = ("__init__.py", "camera.py", "display_matrix.py", "flagfiles.py", "options.py", "whole_files.py")
  sources = [here / name for name in own] + list((here / "on_camera").rglob("*.py"))
  assert third_party(sources) <= {one.name for one in [*base(), *requirements("camera")]}


def test_every_package_is_installed_and_nothing_else():
  there = {".".join(path.parent.relative_to(ROOT).parts) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
  assert set(project()["tool"]["setuptools"]["packages"]) == there | {"mppar_tf.configs"}
  assert [name for name in there if not (ROOT / name.replace(".", "/") / "__init__.py").exists()] == []


def test_neither_a_bare_install_nor_the_camera_s_asks_for_tensorflow():
  named = [one.name for one in [*base(), *requirements("camera")]]
  assert [name for name in named if name.startswith(("tensorflow", "keras"))] == []


# ---- without TensorFlow ----

TENSORFLOW_FREE = ("mppar_tf", "mppar_tf.flagfiles", "mppar_tf.options", "mppar_tf.camera")
NOT_ON_A_CAMERA = ["tensorflow", "keras", "tensorflow_io", "keras_cv", "sklearn", "matplotlib", "cv2"]
WITHOUT = f"import sys; sys.modules.update(dict.fromkeys({NOT_ON_A_CAMERA}))\n"


def run_without_tensorflow(code: str) -> subprocess.CompletedProcess:
  """Runs code in a Python where TensorFlow, and all else that a camera lacks, cannot be imported."""
  return subprocess.run([sys.executable, "-c", WITHOUT + code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_a_python_without_tensorflow_is_one():
  assert "ImportError" in (told := run_without_tensorflow("import mppar_tf.types").stderr) or "ModuleNotFoundError" in told


@pytest.mark.parametrize("module", TENSORFLOW_FREE)
def test_starts_where_there_is_no_tensorflow(module):
  done = run_without_tensorflow(f"import {module}")
  assert done.returncode == 0, done.stderr


def test_the_camera_shows_its_help_where_there_is_no_tensorflow():
  done = run_without_tensorflow("import runpy; sys.argv = ['camera', '--help']; runpy.run_module('mppar_tf.camera', run_name='__main__')")
  assert done.returncode == 0 and "--source=" in done.stdout, done.stderr


# ---- with nothing but what the extra `camera` asks for ----


def closure(wanted: Iterable[Requirement]) -> set[str]:
  """Names of the distributions that `wanted` brings, with all that those ask for."""
  found, queue = set(), [one.name for one in wanted]
  while queue:
    name = re.sub(r"[-_.]+", "-", queue.pop()).lower()
    if name not in found:
      found.add(name)
      asked = [Requirement(text) for text in metadata.requires(name) or ()]
      queue += [one.name for one in asked if not one.marker or one.marker.evaluate({"extra": ""})]
  return found


@pytest.fixture(scope="module")
def camera_environment(tmp_path_factory) -> pathlib.Path:
  """The Python of a fresh environment that holds links to those distributions and to our packages, and to nothing else."""
  place = tmp_path_factory.mktemp("camera environment")
  venv.create(place, with_pip=False, symlinks=True)
  [site] = place.glob("lib/python*/site-packages")
  for name in closure([*base(), *requirements("camera")]):
    files = metadata.distribution(name)
    for top in {file.parts[0] for file in files.files or () if ".." not in file.parts and file.parts[0] != "__pycache__"}:
      if not (site / top).exists():
        (site / top).symlink_to(pathlib.Path(files.locate_file(top)).resolve())
  for package in PACKAGES:
    (site / package).symlink_to(ROOT / package)
  return place / "bin" / "python"


def run_in(environment: pathlib.Path, place: pathlib.Path, *arguments) -> subprocess.CompletedProcess:
  clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
  return subprocess.run([environment, *map(str, arguments)], cwd=place, env=clean, capture_output=True, text=True, timeout=120, check=False)


def test_the_fresh_environment_has_little(camera_environment, tmp_path):
  assert {"numpy", "av", "ai-edge-litert", "absl-py", "tqdm"} <= (names := closure([*base(), *requirements("camera")])) and len(names) < 15
  for module in (*NOT_ON_A_CAMERA, "scipy", "PIL", "h5py"):
    assert "ModuleNotFoundError" in run_in(camera_environment, tmp_path, "-c", f"import {module}").stderr
  found = run_in(camera_environment, tmp_path, "-c", "import numpy, av, ai_edge_litert.interpreter, mppar_tf; print(numpy.__file__)")
  assert str(camera_environment.parent.parent) in found.stdout, found.stderr


def test_the_camera_runs_in_it(camera_environment, tmp_path):
  networks.write(tmp_path / "model")
  for sink, more in (("safe.mp4", []), ("frames", ["--framing=tile", "--tile_scale=1"])):
    done = run_in(camera_environment, tmp_path, "-m", "mppar_tf.camera", "--model=model", "--source=test:64x48@25:frames=12",
                  f"--sink={sink}", *more)
    assert done.returncode == 0 and "12 frames" in done.stdout, done.stderr
  assert (tmp_path / "safe.mp4").stat().st_size > 500 and len(list((tmp_path / "frames").glob("*.png"))) == 12
  code = "import mppar_tf, numpy; c = mppar_tf.CameraAnonymizer('model'); print(c(numpy.zeros((48, 64, 3), numpy.uint8)).shape)"
  assert run_in(camera_environment, tmp_path, "-c", code).stdout == "(48, 64, 3)\n"
  with preview.Preview(0) as page:  # a port that is free afterwards
    port = page.port
  done = run_in(camera_environment, tmp_path, "-m", "mppar_tf.camera", "--model=model", "--source=test:64x48@25:frames=3", "--sink=null",
                f"--preview_port={port}")
  assert done.returncode == 0, done.stderr
