"""Every flag of the programs that make and look at records, declared once; those shared with the other programs are of mppar_tf.options.

Programs read them in `main` alone. Choices are looked up when flags are declared, so that importing this room imports no reader.
"""

import dataclasses
import importlib
import os

from mppar_tf.flagfiles import OptionError, option
from mppar_tf.options import OverwriteOptions, SourceOptions, StorageOptions, table_keys

RESIZES = table_keys("tfrecord_tools.readers.still", "RESIZES")
DETECTORS = table_keys("tfrecord_tools.detectors", "DETECTORS")
YOLO_SIZES = table_keys("tfrecord_tools.detectors.yolo", "SIZES")
TWIN_GROUPINGS = table_keys("tfrecord_tools.twin.labels", "GROUPINGS")


def _is_sheet(path: str) -> bool:
  return importlib.import_module("tfrecord_tools.sheet").is_ours(path)  # late, as choices are looked up


def _nearest(path: str) -> str:
  """What stands on the way to a file that is to be made: its folder, or the nearest above that is there."""
  place = os.path.dirname(os.path.abspath(path))
  while not os.path.lexists(place):
    place = os.path.dirname(place)
  return place


@dataclasses.dataclass(frozen=True)
class SheetOptions:
  """A contact sheet."""
  sheet: str | None = option(None, "Path of a contact sheet (PNG) to draw; it replaces another contact sheet, and nothing else.")
  sheet_records: int = option(8, "Records of each split on a contact sheet.", low=1)

  def __post_init__(self):
    if self.sheet is None:
      return
    if not self.sheet.endswith(".png"):
      raise OptionError(f"--sheet: {self.sheet!r} does not end in .png")
    if os.path.lexists(self.sheet) and not _is_sheet(self.sheet):
      raise OptionError(f"--sheet={self.sheet}: is there, and no contact sheet of these programs; it is not replaced")
    place = _nearest(self.sheet)  # told now: the sheet is drawn last, after a build of hours
    if not os.path.isdir(place):
      raise OptionError(f"--sheet={self.sheet}: cannot be written: {place} is no folder")
    if not os.access(place, os.W_OK | os.X_OK):
      raise OptionError(f"--sheet={self.sheet}: cannot be written: no permission to write in {place}")


@dataclasses.dataclass(frozen=True)
class ExtractOptions(OverwriteOptions):
  """One record as a video file."""
  video: str | None = option(None, "Path of the video to write (.mp4).")
  split: str = option("test", "Split that holds the record.", choices=table_keys("mppar_tf.data.records", "SPLITS"))
  index: int = option(0, "The record's place in its split, in storage order.", low=0)
  enlarge: int = option(1, "Each stored pixel becomes a square of this many pixels on a side.", low=1, high=64)

  def __post_init__(self):
    if self.video is None or not self.video.endswith(".mp4"):
      raise OptionError(f"--video={self.video or ''}: the path of the video to write is needed, ending in .mp4")
    if os.path.isdir(self.video):
      raise OptionError(f"--video={self.video}: is a folder")
    if os.path.lexists(self.video) and not self.overwrite:
      raise OptionError(f"--video={self.video}: exists already; --overwrite replaces it")


@dataclasses.dataclass(frozen=True)
class DetectorOptions:
  """Detectors of faces and people, whose boxes and masks the records get."""
  detector: tuple[str, ...] = option((), "What finds faces and people in each frame; of two that find the same, the first counts.",
                                     choices=DETECTORS)
  detector_weights: tuple[str, ...] = option((), "Files of weights, told apart by suffix: .weights.h5 for keras_cv, .tflite for selfie, "
                                             ".onnx for centerface; the last two also ship with packages.")
  detector_side: int = option(
      320, "What detectors see of a frame has as many pixels as a 4:3 picture of this width; twice the width costs four times.",
      low=64, high=4096)
  yolo_size: str = option("m", "Size of the YOLOv8 that --detector_weights belong to.", choices=YOLO_SIZES)
  yolo_classes: int = option(20, "Its classes: 20 for Pascal VOC, 80 for COCO.", low=1)
  yolo_person: int = option(14, "Number of the class of people, from 0: 14 in Pascal VOC as keras-cv numbers it, 0 in COCO.", low=0)

  def __post_init__(self):
    if self.detector_weights and not self.detector:
      raise OptionError(f"--detector_weights={','.join(self.detector_weights)}: name the --detector that it is for")
    if self.yolo_person >= self.yolo_classes:
      raise OptionError(f"--yolo_person={self.yolo_person}: is not one of the --yolo_classes={self.yolo_classes}, numbered from 0")


@dataclasses.dataclass(frozen=True)
class DetectorCheckOptions(SheetOptions, DetectorOptions, SourceOptions):
  """What detectors are measured on."""
  records: str | None = option(None, "Folder of records, perhaps with true boxes, in place of --source.")
  check_frames: int = option(200, "Frames to look at, about.", low=1)

  def __post_init__(self):
    SheetOptions.__post_init__(self)
    DetectorOptions.__post_init__(self)
    if not self.detector:
      raise OptionError(f"--detector: name at least one of {', '.join(DETECTORS())}")
    if bool(self.source) == bool(self.records):
      raise OptionError(f"--source={self.source or ''} --records={self.records or ''}: one of them is needed")
    if self.source and not os.path.isdir(self.source):
      raise OptionError(f"--source={self.source}: no such folder")


@dataclasses.dataclass(frozen=True)
class BuildOptions(SheetOptions, DetectorOptions, StorageOptions):
  """How records are built, whatever the dataset."""
  workers: int = option(0, "Processes that decode and compress (0: one for each core); for --runner=local.", low=0)
  runner: str = option("local", "What makes and writes shards: processes of this machine, or a runner of Apache Beam (same bytes).",
                       choices=table_keys("tfrecord_tools.beam", "RUNNERS"))
  beam_options: str = option("", "Flags of Beam and its runner in one string, e.g. \"--region=europe-west1 --project=mine\".")
  allow_errors: int = option(0, "Bad items of the source that may be left out (each is listed); one more, and the build fails.", low=0)
  jpeg_quality: int = option(95, "JPEG quality of stored frames.", low=1, high=100)
  split_seed: int = option(0, "Seed of the splits that a reader cuts itself.", low=0)
  shard_records: int = option(0, "Records of one shard (0: the reader's choice); a killed build redoes one shard at most.", low=0)

  def __post_init__(self):
    SheetOptions.__post_init__(self)
    DetectorOptions.__post_init__(self)
    if self.runner == "local" and self.beam_options:
      raise OptionError(f"--beam_options={self.beam_options}: --runner=local has none; name a runner of Beam")
    if self.runner != "local" and self.workers:
      raise OptionError(f"--workers={self.workers}: is for --runner=local; --runner={self.runner} takes what --beam_options says")


@dataclasses.dataclass(frozen=True)
class StoredFrameOptions(BuildOptions):
  """The size of stored frames."""
  frame_height: int = option(120, "Stored height in pixels; 0 with --frame_width=0 keeps each file's own size.", low=0)
  frame_width: int = option(160, "Stored width in pixels.", low=0)
  resize: str = option("stretch", "How a frame is brought to the stored size: stretched, cut, or between black bars.", choices=RESIZES)

  def __post_init__(self):
    super().__post_init__()
    if bool(self.frame_height) != bool(self.frame_width):
      raise OptionError(f"--frame_height={self.frame_height} --frame_width={self.frame_width}: give both or neither (0)")


@dataclasses.dataclass(frozen=True)
class FolderOptions(StoredFrameOptions):
  """Your own videos or images (dataset `folder`)."""
  csv: str | None = option(
      None, "Table: columns file, split; perhaps action, subject, group; any other is an attribute (1, 0, empty = NA).")
  root: str | None = option(None, "Folder under which the table's files lie.")
  name: str | None = option(None, "The dataset's name: its records go to data_dir/name.")
  closed_set_identity: bool = option(False, "The same subjects stand in every split by definition: identity is the privacy label.")
  undeclared_length: bool = option(False, "Take videos whose container declares no length (MPEG-TS, recordings never closed), "
                                   "though whether one broke off cannot be told.")
  licence: str = option("not stated", "Licence of the source, kept in the manifest.")


@dataclasses.dataclass(frozen=True)
class TwinOptions:
  """The embedded benchmark, rendered (dataset `twin`)."""
  twin_seed: int = option(0, "Seed of the whole benchmark; another one is another benchmark of the same kind.", low=0)
  twin_size: int = option(32, "Height and width of a frame in pixels.", low=16)
  twin_frames: int = option(8, "Frames of a clip.", low=1)
  twin_grouping: str = option("vispr", "Which attributes are annotated: those of UCF101-VISPR or of HMDB51-VISPR.", choices=TWIN_GROUPINGS)


@dataclasses.dataclass(frozen=True)
class TwinBuildOptions(BuildOptions, TwinOptions):
  """The embedded benchmark's records (dataset `twin`)."""
  twin_share: float = option(1.0, "Share of each split's samples that is rendered, from the first on; less than 1 for quick trials.",
                             low=0.001, high=1.0)

  def __post_init__(self):
    super().__post_init__()
    if self.detector:
      raise OptionError(f"--detector={','.join(self.detector)}: the twin's records carry the true boxes and masks")


@dataclasses.dataclass(frozen=True)
class ValidationOptions:
  """Validation where a dataset has none of its own."""
  validation_share: float = option(
      0.2, "Share of the official training clips (of its people or sets, where those divide it) that become validation.", low=0.0, high=0.5)


@dataclasses.dataclass(frozen=True)
class IxmasOptions(BuildOptions, ValidationOptions, SourceOptions):
  """IXMAS clips (dataset `ixmas`)."""


@dataclasses.dataclass(frozen=True)
class UtkfaceOptions(BuildOptions, SourceOptions):
  """UTKFace faces (dataset `utkface`)."""
  size: int = option(64, "Height and width of stored images in pixels, by area averages; 0 keeps each file's own size.", low=0)


@dataclasses.dataclass(frozen=True)
class OfficialSourceOptions(StoredFrameOptions, SourceOptions):
  """A dataset as its authors distribute it, unpacked or as .zip, .tar(.gz) or .rar (datasets `vispr`, `pa_hmdb51` have no other flags)."""
  annotations: str | None = option(None, "Folder or archive of the official lists or labels; none: they lie below --source.")


@dataclasses.dataclass(frozen=True)
class OfficialSplitOptions:
  """Which official split, and what of its training part becomes validation."""
  official_split: int = option(1, "Number of the official split: 1, 2 or 3.", low=1, high=3)
  validation_groups: float = option(0.1, "Share of the training videos that becomes validation, by recordings.", low=0.0, high=0.5)


@dataclasses.dataclass(frozen=True)
class Ucf101Options(OfficialSourceOptions, OfficialSplitOptions):
  """UCF101 (dataset `ucf101`)."""


@dataclasses.dataclass(frozen=True)
class Hmdb51Options(OfficialSourceOptions, OfficialSplitOptions):
  """HMDB51 (dataset `hmdb51`)."""
  without_pa_hmdb51: str | None = option(None, "Folder or archive of PA-HMDB51's labels: all videos but its own train, none tests.")

  def __post_init__(self):
    super().__post_init__()
    if self.without_pa_hmdb51 and self.official_split != 1:
      raise OptionError(f"--official_split={self.official_split}: with --without_pa_hmdb51 all videos but those train, whatever the split")


@dataclasses.dataclass(frozen=True)
class SbuOptions(StoredFrameOptions, ValidationOptions, SourceOptions):
  """SBU Kinect Interaction (dataset `sbu`)."""
  sbu_split: str = option("pairs", "By clip, with every pair of actors on both sides (identity), or one of the official folds (actions).",
                          choices=table_keys("tfrecord_tools.readers.sbu", "SPLITS"))


@dataclasses.dataclass(frozen=True)
class KthOptions(StoredFrameOptions, SourceOptions):
  """KTH actions (dataset `kth`)."""
  kth_split: str = option("subjects", "The official split of the people, or by recording, with everybody on both sides (identity).",
                          choices=table_keys("tfrecord_tools.readers.kth", "SPLITS"))


@dataclasses.dataclass(frozen=True)
class IpnOptions(StoredFrameOptions, ValidationOptions, SourceOptions):
  """IPN Hand gestures (dataset `ipn`)."""
  non_gestures: bool = option(False, "The time between gestures as one more class, D0X.")


@dataclasses.dataclass(frozen=True)
class FuzzOptions:
  """Fuzzing of everything that reads files."""
  fuzz_cases: int = option(1000, "Cases in all, shared evenly among the targets.", low=1)
  fuzz_targets: tuple[str, ...] = option(("records", "manifests", "tables", "videos", "archives", "camera", "camera_models"),
                                         "What is fuzzed.", choices=table_keys("tfrecord_tools.fuzz", "TARGETS"))
  fuzz_case: int = option(-1, "One case alone, of each target (-1: all).", low=-1)
  fuzz_failures: str = option("fuzz_failures", "Folder that the inputs of failing cases are kept in.")
  fuzz_seconds: float = option(60.0, "Seconds that one case may take.", low=0.1)
  fuzz_megabytes: int = option(1024, "Megabytes by which one case may raise its process's peak of memory.", low=1)
  seed: int = option(0, "Seed of the changes.", low=0)

  def __post_init__(self):
    if not self.fuzz_targets:
      raise OptionError("--fuzz_targets: name at least one")
