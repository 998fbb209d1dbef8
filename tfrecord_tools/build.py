"""Builds records from a dataset.

  python -m tfrecord_tools.build twin                       the embedded benchmark: folders twin_clips and twin_images
  python -m tfrecord_tools.build folder --csv=labels.csv --root=files --name=mine      your own videos or images
  python -m tfrecord_tools.build ixmas --source=FOLDER      (also --dataset=ixmas)
  python -m tfrecord_tools.build utkface --source=FOLDER
  python -m tfrecord_tools.build ucf101 --source=UCF101.rar --annotations=UCF101TrainTestSplits-RecognitionTask.zip [--official_split=2]
  python -m tfrecord_tools.build hmdb51 --source=hmdb51_org.rar --annotations=test_train_splits.rar
  python -m tfrecord_tools.build hmdb51 --source=FOLDER --annotations=FOLDER --without_pa_hmdb51=PA-HMDB51/PrivacyAttributes
  python -m tfrecord_tools.build pa_hmdb51 --source=hmdb51_org.rar --annotations=PA-HMDB51/PrivacyAttributes
  python -m tfrecord_tools.build vispr --source=FOLDER
  python -m tfrecord_tools.build sbu --source=FOLDER        sets s01s02 ... s07s03 of pictures, and train.txt, val.txt
  python -m tfrecord_tools.build kth --source=FOLDER        00sequences.txt and the videos
  python -m tfrecord_tools.build ipn --source=FOLDER        annotations/ and frames/
  python -m tfrecord_tools.build ... --detector=centerface,selfie        any of them but twin, with boxes and masks of faces and people

A source is a folder or an archive (.zip, .tar, .tar.gz, .rar), which is unpacked beside the records and removed when they are built; .rar
needs the program unrar, bsdtar or 7z.

--runner=DirectRunner|FlinkRunner|SparkRunner|DataflowRunner has the shards written by Apache Beam instead of processes of this machine
(its flags: --beam_options); its workers must see sources and --data_dir under the same names.

Records go to --data_dir, a folder for each dataset, on this machine or on gs://; http(s):// and s3:// are for reading alone. An interrupted
build resumes when the same command is given again; the same source and flags give the same bytes. At the end comes a report: what was
built, what was left out and why, counts, bytes, seconds.
Exit code: 0 built, 1 the build failed (bad items, a folder that holds other records, a lost worker), 2 a bad command line or source,
130 interrupted by Ctrl-C.
"""

import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from mppar_tf import flagfiles
from mppar_tf.messages import one_line
from tfrecord_tools import archives, assemble, beam, options, words
from tfrecord_tools.detectors import watch
from tfrecord_tools.plan import SPLITS, Plan, PlanError
from tfrecord_tools.pool import WorkerLost
from tfrecord_tools.readers import folder, hmdb51, ipn, ixmas, kth, pa_hmdb51, sbu, twin, ucf101, utkface, vispr


READ_ONLY = ("http", "https", "s3")  # schemes of --data_dir
SOURCES = ("source", "annotations", "without_pa_hmdb51")  # flags that may name an archive
UNPACKED = ".unpacked"  # beside the records, while a build from archives runs


class Dataset(NamedTuple):
  """How a dataset is built."""
  options: type  # the dataclass of its flags
  settings: Callable[[Any], Mapping[str, Mapping[str, Any]]]  # folder name -> what decides its records, without a look at the source
  plan: Callable[[Any], list[Plan]]


DATASETS = {
    "twin": Dataset(options.TwinBuildOptions, twin.settings, twin.plan),
    "folder": Dataset(options.FolderOptions, folder.settings, folder.plan),
    "ixmas": Dataset(options.IxmasOptions, ixmas.settings, ixmas.plan),
    "utkface": Dataset(options.UtkfaceOptions, utkface.settings, utkface.plan),
    "vispr": Dataset(options.OfficialSourceOptions, vispr.settings, vispr.plan),
    "pa_hmdb51": Dataset(options.OfficialSourceOptions, pa_hmdb51.settings, pa_hmdb51.plan),
    "ucf101": Dataset(options.Ucf101Options, ucf101.settings, ucf101.plan),
    "hmdb51": Dataset(options.Hmdb51Options, hmdb51.settings, hmdb51.plan),
    "sbu": Dataset(options.SbuOptions, sbu.settings, sbu.plan),
    "kth": Dataset(options.KthOptions, kth.settings, kth.plan),
    "ipn": Dataset(options.IpnOptions, ipn.settings, ipn.plan),
}


def ensure(dataset: str, data_dir: str, *, way_out: str = "", **flags: Any) -> None:
  """Builds what is missing of `dataset` under `data_dir`; does nothing where its manifests stand with the same settings.

  The build runs in a process of its own, so that its workers start without what this process has loaded. Progress goes to standard error.

  Args:
    dataset: a key of DATASETS.
    data_dir: folder of datasets; a remote one is only looked at.
    way_out: what else the caller offers where records of other settings stand.
    **flags: other fields of the dataset's options, e.g. twin_size=48.
  Raises:
    OptionError: an unknown dataset, or a value that its options refuse.
    RecordsError: the folder holds records made with other settings, it is remote and has none, or the build failed.
  """
  from mppar_tf.data import records
  chosen = _dataset(dataset).options(data_dir=data_dir, **flags)
  missing = [name for name, wanted in _dataset(dataset).settings(chosen).items()
             if not _is_built(os.path.join(data_dir, name), wanted, way_out)]
  if not missing:
    return
  if "://" in data_dir:
    raise records.RecordsError(f"{data_dir}: no records of {', '.join(missing)}; build them on a local disk and copy them there")
  command = [sys.executable, "-m", "tfrecord_tools.build", dataset, *flagfiles.lines(chosen)]
  root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
  path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
  # The report of a build nobody asked for by name must not mix with what the caller prints.
  code = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, stdout=sys.stderr.fileno(), check=False).returncode
  if code:
    raise records.RecordsError(f"{data_dir}: building {dataset} failed with exit code {code} (its reasons stand above)")


def _is_built(folder_path: str, wanted: Mapping[str, Any], way_out: str) -> bool:
  from mppar_tf.data import records
  if not records.manifest_exists(folder_path):
    return False
  stored = records.read_manifest(folder_path).settings
  others = [name for name, value in wanted.items() if stored.get(name) != value]
  if others:
    raise records.RecordsError(f"{folder_path}: {assemble.apart(stored, wanted, others)}: "
                               + ", ".join(filter(None, ["remove the folder", "choose another --data_dir", way_out])))
  return True


def _dataset(name: str) -> Dataset:
  if name not in DATASETS:
    raise flagfiles.OptionError(f"dataset {name!r} is not one of {', '.join(DATASETS)}")
  return DATASETS[name]


def build(dataset: str, chosen: Any) -> int:
  """Builds every folder of `dataset` as `chosen` says, its archives unpacked first; prints the report; returns the exit code."""
  import tensorflow as tf
  from mppar_tf.data import records
  try:
    _check_place(chosen.data_dir)
    beam.check(chosen.runner)
    sources = {flag: getattr(chosen, flag) for flag in SOURCES if hasattr(chosen, flag)}
    packed = [source for source in sources.values() if source and archives.format_of(source)]
    if packed and "://" in chosen.data_dir and chosen.runner not in (beam.LOCAL, "DirectRunner"):
      raise PlanError(f"{packed[0]}: workers of --runner={chosen.runner} cannot see what this machine unpacks; give the unpacked folder")
    if packed:
      with assemble.lock(chosen.data_dir, f"{dataset}.unpacked"):
        place = os.path.join(tempfile.gettempdir() if "://" in chosen.data_dir else chosen.data_dir, UNPACKED, dataset)
        _build_folders(dataset, dataclasses.replace(chosen, **archives.as_folders(sources, place)))
        shutil.rmtree(place)  # after a failure it stays: the same command need not unpack again
    else:
      _build_folders(dataset, chosen)
  except PlanError as error:
    raise flagfiles.OptionError(str(error)) from error
  except assemble.TooManyErrors as error:
    _list_problems(error.problems)
    print(f"build: {error}", file=sys.stderr)
    return 1
  except (records.RecordsError, WorkerLost, beam.BeamFailed, OSError, tf.errors.OpError) as error:
    print(f"build: {one_line(error)}", file=sys.stderr)
    return 1
  return 0


def _check_place(data_dir: str) -> None:
  scheme, address, _ = data_dir.partition("://")
  if address and scheme.lower() in READ_ONLY:  # told without what follows, which may hold a password
    raise PlanError(f"--data_dir: {scheme.lower()}:// can be read and not written: build on a local disk and copy the records there, or "
                    "build to gs://")


def _build_folders(dataset: str, chosen: Any) -> None:
  watching = watch.chosen(chosen)
  plans = DATASETS[dataset].plan(chosen)
  if watching:
    plans = [dataclasses.replace(plan, settings={**plan.settings, **watching.settings()}) for plan in plans]
  for plan in plans:
    report = assemble.assemble(plan, chosen.data_dir, workers=chosen.workers, allow_errors=chosen.allow_errors,
                               jpeg_quality=chosen.jpeg_quality, runner=chosen.runner, beam_options=chosen.beam_options)
    _list_problems(report.problems)
    print(assemble.describe(report, os.path.join(chosen.data_dir, plan.dataset)), flush=True)
  if chosen.sheet:
    from tfrecord_tools import sheet
    sheet.save(chosen.sheet, sheet.of_records([os.path.join(chosen.data_dir, plan.dataset) for plan in plans], chosen.sheet_records))
    print(f"contact sheet: {chosen.sheet}")
  if dataset == "folder":  # a public dataset has the splits that its authors made: PA-HMDB51 is a test set
    _tell_missing(report.manifest)


def _tell_missing(manifest: Any) -> None:
  missing = [f"no {split}" for split in SPLITS if split not in manifest.splits]
  if missing:
    print(f"build: {manifest.dataset}: {' and '.join(missing)} records; training needs train and validation, evaluation test",
          file=sys.stderr)


def _list_problems(problems: Sequence[str]) -> None:
  for problem in problems:
    print(f"left out: {problem}", file=sys.stderr)


def take_dataset(arguments: Sequence[str]) -> tuple[str, list[str]]:
  """(dataset, flags) from a command line that names it as its one word or as --dataset=; raises OptionError."""
  given, flags = words.split(arguments)
  named = [flag.partition("=")[2] for flag in flags if flag.lstrip("-").startswith("dataset=")]
  given += named[-1:]
  if not given:
    raise flagfiles.OptionError(f"which dataset? One of {', '.join(DATASETS)}: python -m tfrecord_tools.build twin")
  if len(given) > 1:
    raise flagfiles.OptionError(f"one dataset at a time; given: {', '.join(given)}")
  _dataset(given[0])
  return given[0], [flag for flag in flags if not flag.lstrip("-").startswith("dataset=")]


def main(arguments: Sequence[str] | None = None) -> int:
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow greets with lines of errors that are none
  arguments = sys.argv[1:] if arguments is None else list(arguments)
  every = tuple(dict.fromkeys(dataset.options for dataset in DATASETS.values()))
  if not words.split(arguments)[0] and any(argument.lstrip("-").startswith("help") for argument in arguments):
    return flagfiles.main(lambda: 0, every, __doc__, arguments=arguments)
  try:
    dataset, flags = take_dataset(flagfiles.expand(arguments))
  except flagfiles.OptionError as error:
    print(f"build: {error}", file=sys.stderr)
    return 2
  cls = DATASETS[dataset].options
  return flagfiles.main(lambda: build(dataset, flagfiles.read(cls)), (cls,), __doc__, arguments=flags,
                        stopped=(flagfiles.INTERRUPTED, "build: interrupted; the same command resumes it"))


if __name__ == "__main__":
  sys.exit(main())
