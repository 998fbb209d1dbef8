"""Files that appear whole or not at all: written beside their place under another name, then renamed. Loads no TensorFlow."""

import json
import os
import pathlib
from typing import Any, Callable


def write(path: pathlib.Path, fill: Callable[[pathlib.Path], Any]) -> None:
  """`fill` writes the file that it is handed, which then takes the name `path`; folders above are made. OSError as it comes."""
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(f".{path.name}.part")
  fill(part)
  os.replace(part, path)


def write_text(path: pathlib.Path, text: str) -> None:
  write(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_json(path: pathlib.Path, value: Any) -> None:
  """Raises ValueError on NaN or infinity, which JSON does not know."""
  write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def sync(path: pathlib.Path) -> None:
  """Waits until a file, or the names in a folder, are on the disk, so that a loss of power does not take them. OSError as it comes."""
  handle = os.open(path, os.O_RDONLY)
  try:
    os.fsync(handle)
  finally:
    os.close(handle)
