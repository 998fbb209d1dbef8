"""Fuzzing of the camera: videos, folders of images, models and manifests, each through the whole way from source to sink.

A film's case changes one file of a source; the model is sound. A model's case changes the manifest or the TFLite file of an export, half of
the latter with a manifest that fits the change, as only a forger makes one. Allowed: an error with an exit code for its kind that names the
file, and nothing left under the sink's name or beside it; or anonymized frames, as many as the source declares. LEAK: a raw one got out.
"""

import pathlib
import random
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np

from mppar_tf.on_camera import engine, manifest, pipeline, sinks, source_files, sources
from mppar_tf.on_camera.errors import CameraError, ModelRefused
from tfrecord_tools.fuzzing import media, mutations, networks, outcomes
from tfrecord_tools.fuzzing.outcomes import Outcome, Target

IMAGES = ("0.png", "1.jpg", "2.bmp", "3.png")
SINKS = ("safe.mp4", "safe.mov", "frames")
SIMILAR = 0.5    # correlation of an output's fine detail with that of its raw frame; an anonymizer here leaves less than 0.1
DETAIL = 2.0     # grey levels (standard deviation) of a raw frame's fine detail, below which it has none
LINE = 16        # bytes of a raw row that no file left behind may hold
LONGEST = 700    # letters of a message


class Sound(NamedTuple):
  """What is whole: the model, and sources with what comes of them."""
  model: pathlib.Path
  sources: dict[str, dict[str, bytes]]  # name -> {file: content}; a folder of images has several
  frames: dict[str, int]
  declared: dict[str, float]


class Recorded:
  """A source that remembers the raw frames which it gave out."""

  def __init__(self, source: Any):
    self._source, self.raw = source, []

  def __getattr__(self, name: str) -> Any:
    return getattr(self._source, name)

  def frames(self) -> Any:
    for frame in self._source.frames():
      self.raw.append(frame.pixels)
      yield frame


def prepare(folder: pathlib.Path) -> Sound:
  model = networks.write(folder / "model")
  found = {sound.name: {sound.name: sound.data} for sound in media.prepare(folder / "videos")}
  found["images"] = _images(folder / "images")
  declared = {name: media.declared(folder / "videos" / name) for name in found if name != "images"}
  frames = {name: len(found[name]) if name == "images" else media.FRAMES for name in found}
  return Sound(model, found, frames, {**declared, "images": len(IMAGES)})


def _images(folder: pathlib.Path) -> dict[str, bytes]:
  folder.mkdir(parents=True, exist_ok=True)
  noise = np.random.default_rng(1)
  for name in IMAGES:
    frame = av.VideoFrame.from_ndarray(noise.integers(0, 256, (media.HEIGHT, media.WIDTH, 3), np.uint8), format="rgb24")
    frame.save(str(folder / name)) if name.endswith((".png", ".jpg")) else (folder / name).write_bytes(_bmp(frame))
  return {name: (folder / name).read_bytes() for name in IMAGES}


def _bmp(frame: av.VideoFrame) -> bytes:
  codec: Any = av.CodecContext.create("bmp", "w")
  codec.height, codec.width, codec.pix_fmt, codec.time_base = frame.height, frame.width, "bgr24", Fraction(1, 25)
  return b"".join(bytes(packet) for packet in codec.encode(frame.reformat(format="bgr24")))


# ---- one case ----


def attempt_film(prepared: Sound, rng: random.Random, folder: pathlib.Path) -> Outcome:
  name, sink = rng.choice(list(prepared.sources)), rng.choice(SINKS)
  files = dict(prepared.sources[name])
  changed = rng.choice(list(files))
  files[changed] = mutations.binary(rng, files[changed])
  place = f"{name}/" if name == "images" else ""
  outcomes.keep(folder, {place + file: content for file, content in files.items()})
  source = folder / outcomes.INPUT / name
  ended = _through(prepared.model, source, folder / "out", sink)
  if isinstance(ended, Outcome):
    return ended if ended.failed or changed in ended.words else outcomes.error(ended.words, name, "one video has one size")
  if files == prepared.sources[name]:
    return Outcome(outcomes.SAME)
  declared = len(IMAGES) if name == "images" else media.declared(source)
  words = f"{name}: {ended} frames of {prepared.frames[name]}, declared {declared:g} of {prepared.declared[name]:g}"
  # A gap in a file that stores times looks like a picture that stayed: the frames after it come at their times, up to the end.
  gap = name.endswith((".mp4", ".mkv", ".mov")) and _reaches(source, declared)
  if ended < prepared.frames[name] - source_files.MISSING_FRAMES and declared > prepared.declared[name] - 1 and not gap:
    return Outcome(outcomes.LOSS, words)
  return Outcome(outcomes.OTHER, words)


def _reaches(source: pathlib.Path, declared: float) -> bool:
  """Whether a video's first frame begins in time and its last one ends `declared` frames after 0, both as near as the camera asks."""
  times = sorted(float(frame.pts * frame.time_base) for frame in _decoded(source) if frame.pts is not None)
  slack = (source_files.MISSING_FRAMES + 1) / media.RATE
  return bool(times) and times[0] <= slack and times[-1] >= declared / media.RATE - slack


def attempt_model(prepared: Sound, rng: random.Random, folder: pathlib.Path) -> Outcome:
  content = {path.name: path.read_bytes() for path in prepared.model.iterdir()}
  sound = dict(content)
  way = rng.choice(("manifest's text", "manifest's values", "file", "forged"))
  if way.startswith("manifest"):
    edit = mutations.text if way.endswith("text") else mutations.json_values
    content[manifest.NAME] = edit(rng, content[manifest.NAME])
  else:
    content[networks.FILE] = mutations.binary(rng, content[networks.FILE])
  outcomes.keep(folder, content)
  model = folder / outcomes.INPUT
  if way == "forged":
    networks.describe(model)
  source = folder / "images"
  source.mkdir()
  for name, image in prepared.sources["images"].items():
    (source / name).write_bytes(image)
  ended = _through(model, source, folder / "out", "frames")
  if isinstance(ended, Outcome):
    return ended
  if ended != len(IMAGES):
    return Outcome(outcomes.LOSS, f"{ended} frames of {len(IMAGES)}")
  if content == sound:
    return Outcome(outcomes.SAME)
  if way == "file":
    return Outcome(outcomes.LOSS, "the model's file was changed, and taken")
  return Outcome(outcomes.OTHER, f"{way}: another model that anonymizes, or a change beside what the camera reads")


def _through(model: pathlib.Path, source: pathlib.Path, out: pathlib.Path, name: str) -> Outcome | int:
  """The frames that came out, or how it ended otherwise."""
  out.mkdir()
  recorded = None
  try:
    sink = sinks.find(str(out / name), source=source)
    recorded = Recorded(sources.find(str(source)))
    with engine.CameraAnonymizer(model) as camera:
      frames = pipeline.run(recorded, camera, sink, queue_frames=1).frames
  except CameraError as error:
    return _refused(error, model, recorded, out)
  return _judged(frames, recorded.raw, out / name)


def _refused(error: CameraError, model: pathlib.Path, recorded: Recorded | None, out: pathlib.Path) -> Outcome:
  words = f"{error.exit_code}: {error}"
  left = [path.name for path in out.rglob("*")]
  if left:
    leaks = _lines_in(out, recorded.raw) if recorded else []
    return Outcome(outcomes.LEAK if leaks else outcomes.LOSS, f"left behind: {', '.join(left[:5])}; {words}")
  if type(error) is CameraError or len(words) > LONGEST or "\n" in words:
    return Outcome(outcomes.EXCEPTION, words[:LONGEST])
  if isinstance(error, ModelRefused):
    return outcomes.error(words, str(model), "LiteRT", "the model has")
  return Outcome(outcomes.ERROR, words)


def _judged(count: int, raw: list[np.ndarray], written: pathlib.Path) -> Outcome | int:
  """Whether `written` holds `count` pictures, none of which shows the raw frame of its number."""
  files = [written] if written.is_file() else sorted(written.glob("*.png"))
  shown = [frame.to_ndarray(format="rgb24") for file in files for frame in _decoded(file)]
  if not len(shown) == count == len(raw):
    return Outcome(outcomes.LOSS, f"{count} frames written, {len(shown)} found, {len(raw)} read")
  worst = max((_similarity(before, after) for before, after in zip(raw, shown)), default=0.0)
  lines = _lines_in(written.parent, raw)
  if worst > SIMILAR or lines:
    return Outcome(outcomes.LEAK, f"a frame's detail correlates {worst:.2f} with the raw one's; {', '.join(lines[:3])}")
  return count


def _decoded(path: pathlib.Path) -> list[av.VideoFrame]:
  with av.open(str(path), metadata_errors="ignore") as container:
    return list(container.decode(video=0))


def _similarity(raw: np.ndarray, shown: np.ndarray) -> float:
  """Correlation of two pictures' fine detail, which no anonymizer here keeps; 0 where the raw one has none. 1 for another size."""
  if raw.shape != shown.shape:
    return 1.0
  first, second = _detail(raw), _detail(shown)
  if first.std() < DETAIL or second.std() == 0:
    return 0.0
  return float(abs(np.mean((first - first.mean()) * (second - second.mean()))) / (first.std() * second.std()))


def _detail(pixels: np.ndarray) -> np.ndarray:
  """What the green of [H, W, 3] has beside the mean of four neighbours."""
  green = np.pad(pixels[..., 1].astype(np.float32), 1, mode="edge")
  return green[1:-1, 1:-1] - (green[:-2, 1:-1] + green[2:, 1:-1] + green[1:-1, :-2] + green[1:-1, 2:]) / 4


def _lines_in(folder: pathlib.Path, raw: list[np.ndarray]) -> list[str]:
  """Names of files that hold raw bytes as they are."""
  lines = {line for frame in raw for row in frame[::8] if len(set(line := row.tobytes()[:LINE])) >= LINE // 2}
  contents = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
  return [name for name, content in contents.items() if any(line in content for line in lines)]


FILMS = Target(prepare, attempt_film)
MODELS = Target(prepare, attempt_model)
