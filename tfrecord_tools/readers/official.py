"""What readers of public datasets share: where files and labels lie, a file by its listed name, the settings of stored frames."""

import pathlib
from typing import Any

from tfrecord_tools.plan import PlanError
from tfrecord_tools.readers import video
from tfrecord_tools.source import Tree


def settings(reader: str, options: Any, shard_records: int) -> dict[str, Any]:
  """What decides how frames are stored; `shard_records` where the user does not say."""
  return {"reader": reader, "jpeg_quality": options.jpeg_quality, "frame_height": options.frame_height, "frame_width": options.frame_width,
          "resize": options.resize, "shard_records": options.shard_records or shard_records}


def trees(dataset: str, options: Any) -> tuple[Tree, Tree]:
  """The files of --source, and those of --annotations, which may lie below --source. Raises PlanError where a folder is missing."""
  if not options.source:
    raise PlanError(f"{dataset}: --source is missing: the dataset's folder or archive")
  found = []
  for flag in ("source", "annotations"):
    try:
      found.append(Tree(getattr(options, flag)) if getattr(options, flag) else found[0])
    except PlanError as error:
      raise PlanError(f"{dataset}: {error} (--{flag})") from error
  return found[0], found[1]


def located(files: Tree, name: str) -> pathlib.Path:
  """The file of that name. Raises ValueError with what is wrong with it, PlanError where several have the name."""
  path = files.find(name)
  if path is None:
    raise ValueError("no such file")
  video.check_file(path)
  return path
