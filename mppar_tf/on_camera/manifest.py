"""The manifest of an export: which files it has, what they eat, what was measured on them.

`manifest.json` holds
  format_version   FORMAT_VERSION
  files            {relative path: {"bytes": int, "sha256": hex}}, every file of the export but the manifest
  models           {variant: {"file", "parity", "built_in", "interface", "latency_ms", "forced", "metrics"}}: the TFLite files; the
                   camera reads "file" alone
  input, output    {"name", "shape" [1, H, W, 3], "layout", "dtype", "range" [low, high], "colour"}, as `engine.Engine` takes and gives
  reference        {"file"}: what Keras makes of judge.built_in_pictures, as an .npz of 16-bit integers; --check compares with it
and, for people: protocol, method, benchmark, flags, seeds, initial_weights (pretrained ones that training began with), trained (whether
f^D learned, whether from private labels, against whom), metrics, metrics_of_another_size (figures of frames of other pixels, which promise
nothing here), git_commit, versions, training_data, statement, identity, machine, calibration, left_out (variant -> why).

Hashes guard against damage and mix-ups. Whoever can replace a file can replace its manifest too: pin the manifest's own hash
(`pinned` here, --manifest_sha256 at the camera) where that matters.
"""

import hashlib
import json
import os
import pathlib
from typing import Any, Mapping

from mppar_tf.on_camera.errors import ModelRefused

FORMAT_VERSION = 1
NAME = "manifest.json"
VARIANTS = ("float32", "float16", "dynamic_int8", "int8")  # TFLite files that an export may have
_REQUIRED = ("format_version", "files", "models", "input", "output")
LARGEST = 16 << 20  # bytes of a manifest; more is none
LARGEST_SIDE = 8192  # pixels of a network's frames; more is no camera's, and its pictures would not fit into memory
_WORDS = {"method": str, "protocol": str, "statement": str, "left_out": dict}  # what is told to people, where it is there


def sha256(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()


def list_files(folder: pathlib.Path) -> dict[str, dict[str, Any]]:
  """{relative path: {"bytes", "sha256"}} of every file under `folder` but the manifest, sorted by path."""
  found = {}
  for path in sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / NAME):
    content = path.read_bytes()
    found[path.relative_to(folder).as_posix()] = {"bytes": len(content), "sha256": sha256(content)}
  return found


def write(folder: pathlib.Path, manifest: Mapping[str, Any]) -> None:
  """Writes `manifest` under a temporary name and renames it. Raises ValueError where a number is not finite (no strict JSON has it)."""
  temporary = folder / (NAME + ".part")
  temporary.write_text(json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
  os.replace(temporary, folder / NAME)


def read(folder: pathlib.Path, pinned: str | None = None) -> dict[str, Any]:
  """The manifest of an export folder.

  Args:
    folder: the export.
    pinned: the SHA-256 that the manifest itself must have, or None.
  Raises:
    ModelRefused: there is none, it is no manifest, its version is another one, or its own hash is not the pinned one.
  """
  path = folder / NAME
  try:
    content = _read(folder, NAME, LARGEST)
  except (OSError, ValueError) as error:
    raise ModelRefused(f"model {folder}: no readable {NAME} ({getattr(error, 'strerror', None) or error})") from None
  if pinned is not None and sha256(content) != pinned.lower():
    raise ModelRefused(f"model {path}: SHA-256 {sha256(content)} is not the pinned {pinned}")
  try:
    manifest = json.loads(content, parse_constant=_refused)
  except (ValueError, RecursionError):
    raise ModelRefused(f"model {path}: not a JSON file") from None
  missing = [key for key in _REQUIRED if not isinstance(manifest, dict) or key not in manifest]
  if missing:
    raise ModelRefused(f"model {path}: no field {missing[0]!r}, an export's manifest has {', '.join(_REQUIRED)}")
  wrong = [key for key in ("files", "models") if not isinstance(manifest[key], dict)]
  if wrong:
    raise ModelRefused(f"model {path}: {wrong[0]!r} is a {type(manifest[wrong[0]]).__name__}, not an object by name")
  wrong = [key for key, kind in _WORDS.items() if key in manifest and not isinstance(manifest[key], kind)]
  if wrong:
    raise ModelRefused(f"model {path}: {wrong[0]!r} is a {type(manifest[wrong[0]]).__name__}, not a {_WORDS[wrong[0]].__name__}")
  if manifest["format_version"] != FORMAT_VERSION:
    raise ModelRefused(f"model {path}: format version {manifest['format_version']!r}, this program reads {FORMAT_VERSION}")
  _check_shapes(path, manifest)
  return manifest


def _check_shapes(path: pathlib.Path, manifest: Mapping[str, Any]) -> None:
  for side in ("input", "output"):
    described = manifest[side]
    shape = described.get("shape") if isinstance(described, dict) else None
    if (not isinstance(shape, list) or len(shape) != 4 or not all(type(n) is int and 0 < n <= LARGEST_SIDE for n in shape)
        or shape[0] != 1 or shape[3] != 3):
      raise ModelRefused(f"model {path}: {side} shape {shape!r} is not [1, height, width, 3] of at most {LARGEST_SIDE} pixels a side")
    if described.get("range") != [0.0, 1.0] or described.get("dtype") != "float32":
      raise ModelRefused(f"model {path}: {side} is {described.get('dtype')!r} in {described.get('range')!r}, not 'float32' in [0.0, 1.0]")
  if manifest["input"]["shape"] != manifest["output"]["shape"]:
    raise ModelRefused(f"model {path}: output shape {manifest['output']['shape']} is not the input's {manifest['input']['shape']}")


def verified(folder: pathlib.Path, manifest: Mapping[str, Any], name: str) -> bytes:
  """The bytes of the export's file `name`, the very ones that were hashed. Raises ModelRefused where they are not what was exported."""
  expected = manifest["files"].get(name)
  if not isinstance(expected, dict) or pathlib.PurePosixPath(name).is_absolute() or ".." in pathlib.PurePosixPath(name).parts:
    raise ModelRefused(f"model {folder}: {name!r} is not listed in {NAME}, there: {', '.join(sorted(manifest['files'])) or 'nothing'}")
  try:
    size = (folder / name).stat().st_size
    if size != expected.get("bytes"):
      raise ModelRefused(f"model {folder / name}: {size} bytes, {NAME} says {expected.get('bytes')}")
    content = _read(folder, name, size)
  except (OSError, ValueError) as error:  # a name that no file can have is a ValueError
    raise ModelRefused(f"model {folder / name}: not readable ({getattr(error, 'strerror', None) or error})") from None
  if sha256(content) != expected.get("sha256"):
    raise ModelRefused(f"model {folder / name}: SHA-256 {sha256(content)}, {NAME} says {expected.get('sha256')}")
  return content


def _refused(constant: str):
  raise ValueError(f"{constant} is no number")  # one that is not finite passes every comparison


def _read(folder: pathlib.Path, name: str, most: int) -> bytes:
  """The bytes of a file of `folder`, at most `most`.

  Raises OSError, and ValueError for more, for a link out of the folder, and for a device or pipe, whose bytes may never end.
  """
  path = folder / name
  if not pathlib.Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):  # Path.resolve raises on links in a circle
    raise ValueError("a link out of the export")
  if not path.is_file() and path.exists():
    raise ValueError("no regular file")
  with open(path, "rb") as file:
    content = file.read(most + 1)
  if len(content) > most:
    raise ValueError(f"more than {most} bytes")
  return content


def problems(folder: pathlib.Path, manifest: Mapping[str, Any]) -> list[str]:
  """Every file that is missing, damaged or not listed, one line each; empty where the export is whole."""
  found = []
  for name in sorted(manifest["files"]):
    try:
      verified(folder, manifest, name)
    except ModelRefused as error:
      found.append(str(error))
  # A stray file inside saved_model/ is loaded with it; one beside it (a README, say) is nobody's business, and is not opened.
  for path in sorted((folder / "saved_model").rglob("*")):
    if path.relative_to(folder).as_posix() not in manifest["files"] and (path.is_symlink() or not path.is_dir()):
      found.append(f"model {path}: not listed in {NAME}")
  return found


def locate(model: str | os.PathLike) -> tuple[pathlib.Path, str | None]:
  """(export folder, file name or None) of what --model names: an export folder, or one of its .tflite files.

  Raises ModelRefused where it is neither, or the system does not let it be looked at.
  """
  path = pathlib.Path(os.path.expanduser(model))
  try:
    if path.is_dir():
      return path, None
    if path.suffix == ".tflite":
      return path.parent, path.name
    there = path.exists()
  except OSError as error:
    raise ModelRefused(f"model {path}: {error.strerror}") from None
  if not there:
    raise ModelRefused(f"model {path}: does not exist")
  raise ModelRefused(f"model {path}: neither an export folder nor one of its .tflite files")


def load(model: str | os.PathLike, variant: str, pinned: str | None = None) -> tuple[dict[str, Any], bytes]:
  """(manifest, TFLite bytes) of an export folder's `variant`, or of the .tflite file that `model` names.

  A .tflite file needs the manifest.json that was exported beside it: without one nothing says that it is an anonymizer.
  Raises ModelRefused: see `read` and `verified`; or the folder has no such variant.
  """
  folder, name = locate(model)
  manifest = read(folder, pinned)
  if name is None:
    entry = manifest["models"].get(variant)
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
      raise ModelRefused(f"model {folder}: no variant {variant!r}, there: {', '.join(sorted(manifest['models'])) or 'none'}")
    name = entry["file"]
  return manifest, verified(folder, manifest, name)
