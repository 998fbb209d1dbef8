"""Performance, as ratios measured side by side.

  python -m mppar_tf.bench
  python -m mppar_tf.bench --bench_parts=updates_small,input --bench_rounds=20 --bench_json=bench.json

Parts:
  updates_small  one anonymizer update of basic, basic_equal_data, mppar first_order and mppar exact at the benchmark's size
                 (--bench_config)
  updates_paper  the same with the paper's networks (Johnson, C3D, two MobileNetV2) on 16x112x112 clips (--bench_paper_batch);
                 needs about 14 GB of memory
  profile_paper  where the time of one such update goes, basic and mppar exact, by kinds of ops
  precision_paper  the exact meta-gradient in float32 and in bfloat16: seconds, and how far apart the gradients are; one thread instead of
                 several shows what mere rounding does in float32
  training_small  the training of --bench_config from its start to its end, method by method (records: --data_dir); --bench_rounds does
                 not apply; about five minutes each
  trainings_paper  whole trainings from --bench_trainings, three anonymizer updates and a handful of steps in every stage, on made-up
                 records: seconds of each role's updates, peak memory. --bench_rounds does not apply; 10 to 30 minutes each on two cores
  input          clips read from records, against the same clips decoded from H.264 files by PyAV (same frames, same windows, as
                 many threads), and against libjpeg alone on the same pictures, which no reader of records can outrun
  anonymizers    --bench_anonymizers as a camera runs them, at --crop (112x112): multiply-adds, file sizes, milliseconds a frame with one
                 and two threads in float32 and in 8-bit integers, and the PSNR of the latter against Keras, after
                 --bench_anonymizer_steps of reconstruction on made-up films. All are trained at the same time, minutes for the large ones
  building       records built from video files by tfrecord_tools.build, against decoding the same files and against compressing
                 as many frames; and what these rates mean for all of UCF101 and HMDB51. --bench_source=FOLDER takes real videos
  tools          the camera (--bench_model) beside the package deface and a blur with OpenCV, from file to file: frames/s, and faces that
                 MTCNN still finds, in --bench_source=FOLDER and in UTKFace below --bench_real=FOLDER. Needs the extra detectors
  tools_attacked  what attackers read behind these tools, and the action that is left: IXMAS and UTKFace below --bench_real go through
                 each, are trained on and judged, beside --bench_run; --bench_work_dir=FOLDER keeps what is done

Each variant lives in a process of its own and does one turn in each round while the others wait. A ratio is the median over rounds
of what was measured in the same round, so a machine that is busy now and idle then does not tilt it. Seconds are wall-clock; CPU
seconds count all threads. Updates are those of training: the methods' own, their optimizers, under MirroredStrategy, in a traced
function; the data is random. Peak memory is the process's (host memory; TensorFlow itself takes some hundred MiB of it).
--clip_frames, --frame_skip, --crop and --flip apply to updates_paper and input, --crop to anonymizers too.

The tables are Markdown on stdout; --bench_json keeps every single figure, written anew after each part.
Exit codes: 0 all measured; 1 a variant failed or died (named in the table; the others are measured); 2 bad input; 130 interrupted.
"""

import contextlib
import dataclasses
import datetime
import functools
import importlib.metadata
import os
import pathlib
import platform
import sys
import tempfile
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import mppar_tf
from mppar_tf import bench_tables, flagfiles, options, side_by_side, whole_files
from mppar_tf.progress import progress_bar
from mppar_tf.side_by_side import Job

FAILED, INTERRUPTED = 1, flagfiles.INTERRUPTED
PROGRAM_OPTIONS = (options.BenchOptions, options.ClipOptions, options.MachineOptions, options.SeedOptions, options.StorageOptions)

UPDATES = {  # variant -> method, meta gradient
    "basic": ("basic", "exact"),
    "basic_equal_data": ("basic_equal_data", "exact"),
    "mppar first_order": ("mppar", "first_order"),
    "mppar exact": ("mppar", "exact"),
}
REFERENCE = {"updates_small": "basic", "updates_paper": "basic", "profile_paper": "basic", "precision_paper": "float32",
             "training_small": "basic", "trainings_paper": "", "input": "videos", "building": "decoding", "anonymizers": "",
             "tools": "camera, float32", "tools_attacked": ""}
PRECISIONS = {  # variant -> how its arithmetic differs
    "float32": {"precision": "float32"},
    "float32, one thread": {"precision": "float32", "threads": 1},
    "mixed_bfloat16": {"precision": "mixed_bfloat16"},
}
PROFILED = ("basic", "mppar exact")
ATTRIBUTES = 7  # known ones of UCF101-VISPR, and of its twin
SMALL_CLASSES, PAPER_CLASSES = 10, 101  # of the twin, and of UCF101
PAPER_ATTACKERS = ("mobilenet_v2_0.5", "mobilenet_v2_1.0")
INPUT_BATCH = 8  # clips
LEAD_BATCHES = 8  # more than the pipeline prepares ahead


Measure = Callable[[], dict[str, Any]]


class Asked(NamedTuple):
  """The options of one call."""
  bench: options.BenchOptions
  clip: options.ClipOptions
  machine: options.MachineOptions
  seed: options.SeedOptions
  storage: options.StorageOptions


def main(arguments: Sequence[str] | None = None) -> int:
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # variants inherit it; their start-up notes would break the progress bar
  return flagfiles.main(lambda: run(*(flagfiles.read(cls) for cls in PROGRAM_OPTIONS)), PROGRAM_OPTIONS, __doc__, arguments=arguments,
                        stopped=(INTERRUPTED, "bench: interrupted; finished parts are printed above, and stand in --bench_json where it is "
                                              "given"))


def run(bench: options.BenchOptions, clip: options.ClipOptions, machine_options: options.MachineOptions, seed: options.SeedOptions,
        storage: options.StorageOptions) -> int:
  """Measures the chosen parts; returns an exit code."""
  # All that can be wrong with the flags is found before the first minute is spent.
  chosen, asked = list(dict.fromkeys(bench.bench_parts)), Asked(bench, clip, machine_options, seed, storage)
  measures = {part: PARTS[part](part, asked) for part in chosen}
  lines = [line for line in flagfiles.lines(bench, clip, machine_options, seed) if not line.startswith("--bench_json=")]
  report = {"machine": machine(), "flags": lines, "parts": {}}
  print(bench_tables.machine_line(report["machine"]), flush=True)
  for part, measure in measures.items():
    report["parts"][part] = measure() | {"reference": REFERENCE[part], "load_average_after": _load()}
    report["parts"][part]["summary"] = bench_tables.summaries(report["parts"][part])
    print("\n" + bench_tables.table(part, report["parts"][part]), flush=True)
    save(bench.bench_json, report)
  failed = [f"{part}: {name} {reason}" for part, found in report["parts"].items() for name, reason in found["failures"].items()]
  for line in failed:
    print(f"bench: {line}", file=sys.stderr)
  return FAILED if failed else 0


def measured(part: str, jobs: Mapping[str, Job], rounds: int) -> side_by_side.Measured:
  """`side_by_side.measure` with a progress bar."""
  with progress_bar(total=len(jobs) * (rounds + 1), desc=f"{part}, starting", unit=" turns") as bar:
    def progress(words: str) -> None:
      bar.set_description(f"{part}, {words}", refresh=False)
      bar.update()
    return side_by_side.measure(jobs, rounds, progress)


# ---- updates ----


def updates(part: str, asked: Asked) -> Measure:
  """Rounds of one anonymizer update. Raises OptionError."""
  jobs = update_jobs(part, asked.bench, asked.clip, asked.machine, asked.seed.seed)
  return lambda: dataclasses.asdict(measured(part, jobs, asked.bench.bench_rounds)) | {"sizes": sizes(jobs)}


def precision(part: str, asked: Asked) -> Measure:
  """Rounds of one meta-gradient, and how far apart those of several precisions are. Raises OptionError."""
  jobs = update_jobs(part, asked.bench, asked.clip, asked.machine, asked.seed.seed)
  return lambda: measure_precision(jobs, asked.bench.bench_rounds)


def update_jobs(part: str, bench: options.BenchOptions, clip: options.ClipOptions, machine_options: options.MachineOptions,
                seed: int) -> dict[str, Job]:
  """Variant -> the process that measures one anonymizer update of it. Raises OptionError."""
  if part == "updates_small":
    clip, model, train, classes = *_configured(bench.bench_config), SMALL_CLASSES
  else:
    model = options.ModelOptions(training_attackers=PAPER_ATTACKERS)
    train = options.TrainOptions(action_batch=bench.bench_paper_batch, privacy_batch=2 * bench.bench_paper_batch)
    classes = PAPER_CLASSES
  common = {"clip": clip, "model": model, "classes": classes, "attributes": ATTRIBUTES, "threads": machine_options.threads,
            "deterministic": machine_options.deterministic, "seed": seed}
  if part == "precision_paper":
    common["train"] = train
    return {name: Job("mppar_tf.bench_precision", "prepare", common | {"name": name} | changes) for name, changes in PRECISIONS.items()}
  common["precision"] = machine_options.precision
  profiled = part == "profile_paper"
  return {name: Job("mppar_tf.bench_updates", "prepare", common | {
      "method": method, "train": dataclasses.replace(train, meta_gradient=meta_gradient), "profiled": profiled})
          for name, (method, meta_gradient) in UPDATES.items() if not profiled or name in PROFILED}


def _configured(config: str) -> tuple[options.ClipOptions, options.ModelOptions, options.TrainOptions]:
  """The sizes that a training's flagfile sets."""
  from mppar_tf.protocols import PROTOCOLS
  classes = (options.ClipOptions, options.ModelOptions, options.TrainOptions, options.RunOptions, options.LoopOptions)
  values = flagfiles.define(*classes)
  values(["bench", *flagfiles.expand([f"--flagfile={config}"])])
  clip, model, train, run_options, _ = (flagfiles.read(cls, values) for cls in classes)
  attackers = model.training_attackers or PROTOCOLS[run_options.protocol].training_attackers
  return clip, dataclasses.replace(model, training_attackers=attackers), train


def sizes(jobs: Mapping[str, Job]) -> dict[str, Any]:
  """What one update reads, and with which networks."""
  of_job = next(iter(jobs.values())).arguments
  clip, model, train = of_job["clip"], of_job["model"], of_job["train"]
  return {"clips": train.action_batch, "clip_frames": clip.clip_frames, "crop": clip.crop, "images": train.privacy_batch,
          "anonymizer": f"{model.anonymizer} ({model.anonymizer_size})", "recognizer": f"{model.recognizer} ({model.recognizer_size})",
          "attackers": [f"{name} ({model.attacker_size})" for name in model.training_attackers]}


def measure_precision(jobs: Mapping[str, Job], rounds: int) -> dict[str, Any]:
  """Rounds as for updates, and the distances of the gradients that the variants' first turns left."""
  from mppar_tf import bench_precision
  with tempfile.TemporaryDirectory(prefix="mppar_tf_bench_") as folder:
    placed = {name: job._replace(arguments={**job.arguments, "folder": folder}) for name, job in jobs.items()}
    found = dataclasses.asdict(measured("precision_paper", placed, rounds)) | {"sizes": sizes(jobs)}
    reference, whole = REFERENCE["precision_paper"], [name for name in jobs if name in found["first"]]
    return found | {"distances": bench_precision.distances(folder, reference, whole) if reference in whole else {}}


# ---- input ----


def reading(_: str, asked: Asked) -> Measure:
  """Raises OptionError where the crop does not fit into the videos that are made."""
  from mppar_tf import bench_videos
  height, width = bench_videos.HEIGHT, bench_videos.WIDTH
  if asked.clip.crop > min(height, width):
    raise options.OptionError(f"--crop={asked.clip.crop} does not fit into the benchmark's videos of {width}x{height} pixels")
  return functools.partial(measure_input, asked.bench, asked.clip, asked.machine, asked.seed.seed)


def measure_input(bench: options.BenchOptions, clip: options.ClipOptions, machine_options: options.MachineOptions,
                  seed: int) -> dict[str, Any]:
  """Makes videos and records in a temporary folder, reads both round by round, and removes them."""
  batches = -(-bench.bench_clips // INPUT_BATCH)
  turns = {"batch": INPUT_BATCH, "lead": LEAD_BATCHES, "batches": batches, "threads": machine_options.threads}
  with tempfile.TemporaryDirectory(prefix="mppar_tf_bench_") as folder:
    made = {"folder": folder, "videos": bench.bench_videos, "video_frames": bench.bench_video_frames, "batch": INPUT_BATCH, "clip": clip,
            "seed": seed, "plan_clips": (bench.bench_rounds + 1) * (LEAD_BATCHES + batches) * INPUT_BATCH}
    try:
      material = _material(Job("mppar_tf.bench_input", "make", made))
    except side_by_side.Lost as lost:
      return _nothing(lost)
    of_clip = {"frames": clip.clip_frames, "skip": clip.frame_skip, "crop": clip.crop, "total": bench.bench_video_frames}
    jobs = {"videos": Job("mppar_tf.bench_videos", "prepare", turns | {"folder": folder, "of_clip": of_clip}),
            "records": Job("mppar_tf.bench_input", "prepare", turns | {
                "folder": folder, "clip": clip, "seed": seed, "deterministic": machine_options.deterministic}),
            "libjpeg": Job("mppar_tf.bench_jpeg", "prepare", turns | {"folder": folder, "of_clip": of_clip})}
    found = dataclasses.asdict(measured("input", jobs, bench.bench_rounds))
  sizes_of_turn = {"videos": bench.bench_videos, "clips": batches * INPUT_BATCH, "bytes_of_clip": 3 * clip.clip_frames * clip.crop ** 2}
  return found | {"material": material, "sizes": of_clip | sizes_of_turn}


def _material(job: Job) -> dict[str, Any]:
  """Lets a process make what is measured; its facts. Raises Lost."""
  with side_by_side.Child(job) as child:
    return child.ready()


def _nothing(lost: side_by_side.Lost) -> dict[str, Any]:
  return dataclasses.asdict(side_by_side.Measured([], {}, {}, [], {"material": str(lost)}))


# ---- trainings ----


def trainings(_: str, asked: Asked) -> Measure:
  """Raises OptionError where a flagfile is missing, or none is named."""
  if not asked.bench.bench_trainings:
    raise options.OptionError("--bench_trainings= names no flagfile")
  for name in asked.bench.bench_trainings:
    flagfiles.expand([f"--flagfile={name}"])
  return functools.partial(measure_trainings, asked.bench, asked.machine, asked.seed.seed)


def training(_: str, asked: Asked) -> Measure:
  return functools.partial(measure_training, asked.bench, asked.machine, asked.seed, asked.storage)


def measure_trainings(bench: options.BenchOptions, machine_options: options.MachineOptions, seed: int) -> dict[str, Any]:
  """One training after the other, each with the machine to itself."""
  from mppar_tf import bench_scale
  found: dict[str, Any] = {"variants": list(bench.bench_trainings), "rounds": [], "failures": {}, "trainings": {}}
  with tempfile.TemporaryDirectory(prefix="mppar_tf_bench_") as folder:
    bench_scale.make_records(folder, seed)
    for name in progress_bar(bench.bench_trainings, desc="trainings_paper", unit=" trainings"):
      flags = [f"--flagfile={name}", *bench_scale.HANDFUL, *flagfiles.lines(machine_options)]
      _add_training(found, name, bench_scale.train(flags, folder))
  return found


def measure_training(bench: options.BenchOptions, machine_options: options.MachineOptions, seed: options.SeedOptions,
                     storage: options.StorageOptions) -> dict[str, Any]:
  """The training of --bench_config from its start to its end, method by method, one after the other."""
  from mppar_tf import bench_scale
  found: dict[str, Any] = {"variants": list(UPDATES), "rounds": [], "failures": {}, "trainings": {}}
  for name, (method, meta_gradient) in progress_bar(UPDATES.items(), desc="training_small", unit=" trainings"):
    flags = [f"--flagfile={bench.bench_config}", *flagfiles.lines(machine_options, seed), f"--method={method}",
             f"--meta_gradient={meta_gradient}"]
    _add_training(found, name, bench_scale.train(flags, storage.data_dir))
  return found


def _add_training(found: dict[str, Any], name: str, one: dict[str, Any]) -> None:
  found["trainings"][name] = one
  if one["exit_code"]:
    found["failures"][name] = f"ended with exit code {one['exit_code']}: {one['last_line']}"


# ---- building ----


def building(_: str, asked: Asked) -> Measure:
  """Raises OptionError where no video lies below the source that was named."""
  from mppar_tf import bench_building
  try:
    if asked.bench.bench_source:
      bench_building.real_videos(asked.bench.bench_source)
  except ValueError as error:
    raise options.OptionError(f"--bench_source={error}") from error
  return functools.partial(measure_building, asked.bench, asked.machine, asked.seed.seed)


def measure_building(bench: options.BenchOptions, machine_options: options.MachineOptions, seed: int) -> dict[str, Any]:
  """Makes or copies videos into a temporary folder, builds records of them round by round, and removes everything."""
  from mppar_tf import bench_building
  with tempfile.TemporaryDirectory(prefix="mppar_tf_bench_") as folder:
    made = {"folder": folder, "source": bench.bench_source, "videos": bench.bench_build_videos,
            "video_frames": bench.bench_video_frames, "seed": seed}
    try:
      material = _material(Job("mppar_tf.bench_building", "make", made))
    except side_by_side.Lost as lost:
      return _nothing(lost)
    common = {"folder": folder, "threads": machine_options.threads, "frames": material["frames"]}
    jobs = {"decoding": Job("mppar_tf.bench_building", "decoding", common),
            "compressing": Job("mppar_tf.bench_building", "compressing", common),
            "building": Job("mppar_tf.bench_building", "building", common | {"table": "all"}),
            "starting": Job("mppar_tf.bench_building", "building", common | {"table": "few", "frames": material["few_frames"]})}
    found = dataclasses.asdict(measured("building", jobs, bench.bench_rounds))
  found |= {"material": material | {"real": bool(bench.bench_source)}}
  return found | {"projection": bench_building.projection(found["rounds"])}


# ---- anonymizers, and other tools ----


def anonymizers(part: str, asked: Asked) -> Measure:
  """Raises OptionError where an anonymizer is not known, or none is named."""
  from mppar_tf import bench_anonymizers
  try:
    chosen = {name: bench_anonymizers.parsed(name, options.SIZES) for name in asked.bench.bench_anonymizers}
  except ValueError as error:
    raise options.OptionError(f"--bench_anonymizers={error}") from error
  if not chosen:
    raise options.OptionError("--bench_anonymizers= names no anonymizer")
  common = {"size": asked.bench.bench_anonymizer_size, "pixels": asked.clip.crop, "steps": asked.bench.bench_anonymizer_steps,
            "seed": asked.seed.seed}
  jobs = {name: Job("mppar_tf.bench_anonymizers", "prepare", common | {"anonymizer": anonymizer, "size": size or common["size"],
                                                                      "width": width})
          for name, (anonymizer, size, width) in chosen.items()}
  return lambda: dataclasses.asdict(measured(part, jobs, asked.bench.bench_rounds)) | {"sizes": common}


def tools(part: str, asked: Asked) -> Measure:
  """Raises OptionError where a package, a folder or the export is not there."""
  from mppar_tf import bench_tools
  return bench_tools.part(asked.bench, asked.seed.seed, functools.partial(measured, part))


def tools_attacked(_: str, asked: Asked) -> Measure:
  """Raises OptionError where a package, a folder, a flagfile or the run is not there."""
  from mppar_tf import bench_attacked
  return bench_attacked.part(asked.bench, asked.seed.seed)


# ---- parts ----


PARTS: dict[str, Callable[[str, Asked], Measure]] = {  # part -> looks at its flags, and gives what measures it
    "updates_small": updates, "updates_paper": updates, "profile_paper": updates, "precision_paper": precision,
    "training_small": training, "trainings_paper": trainings, "input": reading, "building": building,
    "anonymizers": anonymizers, "tools": tools, "tools_attacked": tools_attacked,
}


# ---- facts ----


def machine() -> dict[str, Any]:
  """Where this was measured."""
  versions = {"mppar_tf": mppar_tf.__version__, "python": platform.python_version()}
  for package in ("tensorflow", "keras", "numpy", "av"):
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      versions[package] = importlib.metadata.version(package)
  pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if "SC_PHYS_PAGES" in os.sysconf_names else None
  return {"cpu": _cpu(), "cores": side_by_side.cores(), "memory_gib": round(pages / 2 ** 30, 1) if pages else None,
          "system": platform.platform(), "versions": versions, "load_average_before": _load(),
          "utc": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")}


def _load() -> float | None:
  """Of the last minute; a busy machine explains a wide spread."""
  return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _cpu() -> str:
  with contextlib.suppress(OSError):
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
      if line.startswith("model name"):
        return line.partition(":")[2].strip()
  return platform.processor() or platform.machine()


def save(path: str | None, report: Mapping[str, Any]) -> None:
  """Writes the report whole or not at all."""
  if path:
    whole_files.write_json(pathlib.Path(path), report)


if __name__ == "__main__":
  sys.exit(main())
