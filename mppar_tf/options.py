"""Every flag of every program, declared once, as a field of a frozen dataclass with its default and its meaning.

Programs read them in `main` alone; nothing below sees a flag. Cross-checks run when a dataclass is built, so that a bad combination is
told before any work starts. Importing this room imports neither TensorFlow nor Keras: choices are looked up when flags are declared.
"""

import dataclasses
import os
import pathlib

from mppar_tf.flagfiles import OptionError, option


def table_keys(module: str, name: str):
  """Late look-up of a literal table's keys, the one source of a flag's choices."""
  def keys():
    import importlib
    return list(getattr(importlib.import_module(module), name))
  return keys


ANONYMIZERS = table_keys("mppar_tf.models.anonymizers", "ANONYMIZERS")
RECOGNIZERS = table_keys("mppar_tf.models.recognizers", "RECOGNIZERS")
ATTACKERS = table_keys("mppar_tf.models.attackers", "ATTACKERS")
BENCHMARKS = table_keys("mppar_tf.protocols.benchmarks", "BENCHMARKS")
PROTOCOLS = table_keys("mppar_tf.protocols", "PROTOCOLS")
METHODS = table_keys("mppar_tf.methods", "METHODS")
TABLES = table_keys("mppar_tf.tables", "TABLES")
VARIANTS = table_keys("mppar_tf.on_camera.manifest", "VARIANTS")
SIZES = ("tiny", "small", "paper")
BENCH_PARTS = table_keys("mppar_tf.bench", "PARTS")
ATTACKER_WEIGHTS = ("scratch", "imagenet", "imagenet_where_offered")


def default_data_dir() -> str:
  return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.join(pathlib.Path.home(), ".cache"), "mppar_tf", "records")


@dataclasses.dataclass(frozen=True)
class StorageOptions:
  """Where records lie."""
  data_dir: str = option(default_data_dir(), "Folder that holds one folder of records per dataset; read from http(s)://, s3:// and gs://, "
                                                 "too, but records are built on a local disk or gs:// alone.")


@dataclasses.dataclass(frozen=True)
class SourceOptions:
  """What is read."""
  source: str | None = option(
      None, "What is read: a public dataset's folder or archive (build); a video file, a folder of images, a device, an address or "
            "test (camera).")


@dataclasses.dataclass(frozen=True)
class SeedOptions:
  """Repeatability."""
  seed: int = option(0, "Seed of everything random: weights, order, crops, sets, draws of attackers.", low=0)


@dataclasses.dataclass(frozen=True)
class MachineOptions:
  """How the machine is used."""
  deterministic: bool = option(True, "Deterministic ops: the same command gives bit-identical weights on one machine.")
  precision: str = option("float32", "Arithmetic of training: float32, or bfloat16 inside the networks with weights, norms, losses and "
                                     "outputs in float32. Evaluation and export work in float32.",
                          choices=lambda: ("float32", "mixed_bfloat16"))
  threads: int = option(0, "Threads of one op (0: one for each core); weights are bit-identical under the same number only.", low=0)


STRATEGIES = ("mirrored", "multi_worker")


@dataclasses.dataclass(frozen=True)
class BenchmarkOptions:
  """On what."""
  benchmark: str = option("twin", "Datasets and attributes.", choices=BENCHMARKS)


@dataclasses.dataclass(frozen=True)
class RunOptions(StorageOptions, SeedOptions, MachineOptions, BenchmarkOptions):
  """What is run, on what, and where its results go."""
  run_dir: str | None = option(None, "Folder of this run: flags.txt, checkpoints/, TensorBoard events, results.json.")
  clips_records: str | None = option(None, "Dataset folder of the action clips below --data_dir, in place of the benchmark's.")
  private_records: str | None = option(None, "Dataset folder that carries the privacy labels, in place of the benchmark's.")
  known_attributes: tuple[str, ...] = option(
      (), "Attributes of training, in place of the benchmark's; the one word subject means identity.")
  novel_attributes: tuple[str, ...] = option(
      (), "Attributes of test time only, in place of the benchmark's; protocols a and b alone judge such.")
  protocol: str = option("a", "What is novel at test time. a: attributes and attackers; b: attributes; c: attackers; d: neither, attackers "
                              "have fresh weights; identity: attackers, and the label is who it is.", choices=PROTOCOLS)
  method: str = option("mppar", "The anonymization method.", choices=METHODS)
  virtual_devices: int = option(
      1, "Split the CPU into this many replicas, in training alone (for trying data parallelism; GPUs are found by themselves).", low=1)
  strategy: str = option(
      "mirrored", "Training on this machine, or on all machines that TF_CONFIG names; evaluate and export take one machine under both.",
      choices=lambda: STRATEGIES)
  on_corrupt: str = option("fail", "A corrupt record: stop, or count, report and skip the rest of its shard.",
                           choices=lambda: ("fail", "skip_shard_remainder"))

  def __post_init__(self):
    if self.strategy == "multi_worker" and self.virtual_devices > 1:
      raise OptionError(f"--virtual_devices={self.virtual_devices} divides the CPU for --strategy=mirrored alone; with multi_worker "
                        "each worker without a GPU is one replica")


@dataclasses.dataclass(frozen=True)
class ClipOptions:
  """How clips are cut from videos."""
  clip_frames: int = option(16, "Frames of a clip.", low=1)
  frame_skip: int = option(2, "Distance between the frames of a clip, in frames of the video.", low=1)
  crop: int = option(112, "Height and width of the square crop in pixels: random in training, centre in evaluation.", low=8)
  flip: bool = option(True, "Mirror half of the training clips and images.")


@dataclasses.dataclass(frozen=True)
class ModelOptions:
  """Architectures and what they start from. Sizes: tiny (tests), small (32-pixel benchmarks), paper."""
  anonymizer: str = option("johnson", "f^D, the network that runs on the camera.", choices=ANONYMIZERS)
  anonymizer_size: str = option("paper", "Size preset of f^D.", choices=lambda: SIZES)
  anonymizer_width: float = option(1.0, "Multiplies the channels of f^D.", low=0.05)
  recognizer: str = option("c3d", "f^A, the action recognizer.", choices=RECOGNIZERS)
  recognizer_size: str = option("paper", "Size preset of f^A.", choices=lambda: SIZES)
  recognizer_width: float = option(1.0, "Multiplies the channels of f^A.", low=0.05)
  recognizer_dropout: float = option(0.0, "Dropout before the last layer(s) of f^A.", low=0.0, high=0.95)
  training_attackers: tuple[str, ...] = option((), "f^P seen in training; empty: the protocol's.", choices=ATTACKERS)
  test_attackers: tuple[str, ...] = option((), "f^P trained afresh by evaluate; empty: the protocol's.", choices=ATTACKERS)
  attacker_size: str = option("paper", "Size preset of every f^P.", choices=lambda: SIZES)
  recognizer_weights: str | None = option(
      None, "What f^A starts from: a .keras or .weights.h5 file, or a run folder or checkpoint of mppar_tf.train; all but the last layer "
            "where the number of classes differs. None: from scratch.")
  training_attacker_weights: str = option(
      "scratch", "What f^P of training starts from: ImageNet's weights by keras.applications at size paper (an error names attackers "
                 "that have none), or those where they are offered and the rest from scratch.", choices=lambda: ATTACKER_WEIGHTS)
  test_attacker_weights: str = option("scratch", "The same for the fresh f^P of evaluate, on anonymized and on raw frames.",
                                      choices=lambda: ATTACKER_WEIGHTS)

  def __post_init__(self):
    for flag in ("training_attacker_weights", "test_attacker_weights"):
      if getattr(self, flag) != "scratch" and self.attacker_size != "paper":
        raise OptionError(f"--{flag}={getattr(self, flag)} needs --attacker_size=paper, not {self.attacker_size}: ImageNet weights are of "
                          "that size alone")


@dataclasses.dataclass(frozen=True)
class TrainOptions(SeedOptions):
  """How the game is played. Defaults are the paper's; thresholds that a benchmark cannot reach are set in its flagfile."""
  max_steps: int = option(2000, "Anonymizer updates (other stages have their own lengths).", low=1)
  reconstruction_steps: int = option(1000, "Stage 1: steps in which f^D learns to reproduce its input.", low=0)
  reconstruction_lr: float = option(1e-3, "Its peak learning rate (one cycle).", low=0.0)
  action_steps: int = option(2000, "Stage 2: steps in which f^A learns actions on f^D's output.", low=0)
  action_lr: float = option(1e-3, "f^A's peak learning rate there (one cycle).", low=0.0)
  action_anonymizer_lr: float = option(1e-4, "f^D's peak learning rate in stage 2; 0 leaves it alone.", low=0.0)
  attacker_init_steps: int = option(1000, "Stage 3: steps of each training attacker on f^D's output.", low=0)
  attacker_init_lr: float = option(1e-3, "Its peak learning rate (one cycle).", low=0.0)
  gamma: float = option(0.4, "Weight of the privacy loss in Eq. 1; its meaning depends on --privacy_reduction.", low=0.0)
  privacy_reduction: str = option("mean", "Privacy loss averaged over labelled attributes, or summed over a sample's attributes.",
                                  choices=lambda: ("mean", "sum"))
  entropy_weight: float = option(2.0, "bdq: weight of the attackers' entropy in f^D's loss; its paper: 2 on SBU, 1 on KTH, 8 on IPN Hand.",
                                 low=0.0)
  budget_weight: float = option(1.0, "spact: weight of the contrastive budget (NT-Xent) in f^D's loss.", low=0.0)
  budget_lr: float = option(1e-4, "spact: learning rate of the budget network in the game.", low=0.0)
  alpha: float = option(5e-4, "Learning rate of the virtual step (Eq. 5).", low=0.0)
  beta: float = option(1e-4, "Learning rate of f^D (Eq. 8, Adam).", low=0.0)
  beta_shape: str = option("constant", "beta over the run: constant, or from half way on linearly down to 5 %.",
                           choices=lambda: ("constant", "linear_tail"))
  clip_norm: float = option(0.0, "Largest global norm of any gradient, measured after summing over replicas; 0: none.", low=0.0)
  meta_gradient: str = option("exact", "Second order exact, first order, or both losses at the same parameters (Joint Training).",
                              choices=lambda: ("exact", "first_order", "joint"))
  shift: str = option("protocol", "What support and query differ in: models on even and attributes on odd updates, one of them always, or "
                                  "both in every update; protocol: alternate in a and identity, attributes in b and d, models in c.",
                      choices=lambda: ("protocol", "alternate", "attributes", "models", "both"))
  sets: str = option("different", "Support and query differ by construction, or are dealt at random (ablation).",
                     choices=lambda: ("different", "random"))
  split_ratio: float = option(0.6, "Share of the support side of attributes, samples and attackers.", low=0.05, high=0.95)
  sets_every: int = option(0, "Anonymizer updates between set constructions; 0: one pass over the privacy records.", low=0)
  l1_weight: float = option(0.0, "Weight of the mean difference between f^D's output and its input, added to Eq. 1 in every update of "
                                 "f^D (VITA's pilot does so on SBU); 0: none.", low=0.0)
  ensemble: int = option(0, "entropy and k_beam play the first so many training attackers (VITA: M and K of 1, 2, 4, 8); 0: all. The "
                            "others are initialised and play no part.", low=0)
  restart_every: int = option(0, "grl, entropy and k_beam: updates of f^D between restarts, at which attackers get new random weights and "
                                 "learn for --attacker_init_steps while f^D and f^A stand still; 0: never (VITA: 100).", low=0)
  beam_steps: int = option(30, "k_beam: updates of f^D in a row against the attacker of least loss; each counts in --max_steps.", low=1)
  recognizer_lr: float = option(1e-4, "f^A's learning rate in the game, and f^D's where entropy and k_beam train both on actions.", low=0.0)
  attacker_lr: float = option(1e-4, "f^P's learning rate in the game.", low=0.0)
  fixed_recognizer_steps: int = option(
      0, "Steps of f^A under a method without learning (raw, blurs, downsampling, obfuscation); 0: as many as the game's f^A has at least.",
      low=0)
  strong_blur_sigma: float = option(0.08, "Strong blurs, of frames, boxes or masks: the Gaussian's standard deviation as a share of the "
                                          "frame's height.", low=1e-3, high=1.0)
  weak_blur_sigma: float = option(0.02, "The same of weak blurs.", low=1e-3, high=1.0)
  action_threshold: float = option(0.70, "T1: f^A is updated while its validation accuracy is below (grl, entropy, k_beam: at most this).",
                                   low=0.0, high=1.0)
  attacker_threshold: float = option(0.95, "T2: an attacker is updated while its training accuracy is below (grl, entropy, k_beam: at "
                                           "most this).", low=0.0, high=1.0)
  min_recognizer_steps: int = option(0, "f^A steps per anonymizer update, at least (k_beam: --beam_steps times as many, in a row).", low=0)
  max_recognizer_steps: int = option(10, "The same, at most (Algorithm 1's and VITA's loops are unbounded and can hang).", low=0)
  max_attacker_rounds: int = option(10, "Rounds over the attackers per anonymizer update, at most: the first over all, others over those "
                                       "below T2.", low=0)
  gate_smoothing: float = option(0.9, "Weight of the past in the accuracies that the gate compares.", low=0.0, high=0.999)
  action_batch: int = option(8, "Clips of one loss in an anonymizer update (global, over all replicas).", low=1)
  privacy_batch: int = option(32, "Images (or clips, where clips carry the labels) of one loss in an anonymizer update (global).", low=1)
  accumulation: int = option(1, "Equal pieces in which an anonymizer update works through its batches, one after the other: the same "
                                "gradient in less memory; the exact meta-gradient then takes 40 % more time.", low=1)
  recognizer_batch: int = option(16, "Clips of one f^A update, and of a look at validation clips (global).", low=1)
  attacker_batch: int = option(64, "Images or clips of one f^P update (global).", low=1)

  def __post_init__(self):
    if self.min_recognizer_steps > self.max_recognizer_steps:
      raise OptionError(f"--min_recognizer_steps={self.min_recognizer_steps} is above --max_recognizer_steps={self.max_recognizer_steps}")
    if self.shift == "alternate" and self.sets_every % 2:
      raise OptionError(f"--sets_every={self.sets_every} must be even with --shift=alternate, which needs as many model-wise "
                        "as attribute-wise updates")


@dataclasses.dataclass(frozen=True)
class LoopOptions:
  """What is written while training: checkpoints, TensorBoard."""
  checkpoint_every: int = option(50, "Anonymizer updates between checkpoints.", low=1)
  checkpoint_steps: int = option(500, "Steps of whatever roles between two checkpoints, at most, in every stage.", low=1)
  keep_checkpoints: int = option(3, "How many of the last checkpoints are kept, beside the best by validation.", low=1)
  validate_every: int = option(
      50, "Anonymizer updates between full looks at the validation split (which choose the best checkpoint).", low=1)
  log_every: int = option(1, "Steps of a role between its scalars in TensorBoard.", low=1)
  init_from: str | None = option(None, "Run folder whose initialisation (stages 1 to 3: same seed, networks and their options) is used "
                                       "instead of training one.")


@dataclasses.dataclass(frozen=True)
class CheckpointOptions:
  """Which state of a run is taken."""
  checkpoint: str = option("best", "The best by validation (spact and methods without learning have none: their last), or the last.",
                           choices=lambda: ("best", "last"))
  allow_unfinished: bool = option(False, "Take a run whose training has not reached its end.")


@dataclasses.dataclass(frozen=True)
class EvaluationOptions(CheckpointOptions):
  """How an anonymizer is judged; every method of a comparison must get the same budget. Defaults are the full one."""
  judged_split: str = option("test", "What is judged. validation is for tuning: fresh attackers of the training architectures, known "
                                     "attributes, and nothing of test.",
                             choices=lambda: ("test", "validation"))
  attack_steps: int = option(4000, "Updates of each fresh attacker, all side by side on the same batches.", low=1)
  attack_batch: int = option(64, "Images (or clips, where clips carry the labels) of one such update.", low=1)
  attack_lr: float = option(1e-3, "Peak learning rate of the attackers (Adam, one cycle).", low=0.0)
  attack_looks: int = option(10, "Looks at validation data while attackers train; each attacker is kept as it was at its best.", low=1)
  polish_steps: int = option(
      2000, "Steps in which f^A is trained on with f^D frozen; figures before and after are reported. 0: none.", low=0)
  polish_batch: int = option(16, "Clips of one such step, and of a step of the recognizer on raw frames.", low=1)
  polish_lr: float = option(5e-4, "Peak learning rate of the polish (Adam, one cycle).", low=0.0)
  raw_action_steps: int = option(
      0, "Steps of the recognizer on raw frames, at --action_lr (0: what the run's f^A had at least, and --polish_steps).", low=0)
  clips_per_video: int = option(5, "Evenly spaced clips of each test video, whose softmax is averaged.", low=1)
  evaluation_batch: int = option(32, "Clips or images of one forward pass.", low=1)
  raw_levels_dir: str | None = option(None, "Where levels on raw frames are kept and found again; none: raw_levels beside --data_dir.")
  compare: tuple[str, ...] = option((), "results.json files, or run folders, whose points are drawn beside this run's in trade_off.png.")
  sheet_frames: int = option(8, "Test frames of each kind on before_after.png (0: no sheet).", low=0)
  judged_export: str | None = option(None, "Judge a TFLite file of this export of the run in place of f^D, by LiteRT on the CPU; "
                                           "results are then called results_VARIANT.json and so on.")
  judged_variant: str = option("float32", "Which file of --judged_export.", choices=VARIANTS)


@dataclasses.dataclass(frozen=True)
class OverwriteOptions:
  """What stands in the way."""
  overwrite: bool = option(
      False, "Replace what the output's name holds already: a video, frames of the camera, an export; nothing else ever.")


@dataclasses.dataclass(frozen=True)
class ExportOptions(CheckpointOptions, OverwriteOptions):
  """What is exported, and where to."""
  export_dir: str | None = option(None, "Folder of the export; none: saved_models/<protocol>/<method>.")
  check: str | None = option(None, "Verify this export folder, and do nothing else.")
  add_metrics: bool = option(False, "Bring what mppar_tf.evaluate has found since, with and without --judged_export, into the manifest and "
                                    "the model card of an export that is there; nothing else of it is touched.")
  export_variants: tuple[str, ...] = option(("float32", "float16", "dynamic_int8", "int8"), "TFLite files to write; float32 is always one.",
                                            choices=VARIANTS)
  force_variants: tuple[str, ...] = option((), "Write these even where they differ from Keras by more than their parity; the manifest says "
                                               "so. float32 is never forced.", choices=VARIANTS)
  export_frames: int = option(
      16, "Training frames on which every file is compared with Keras, half from the clips, half from the private set.", low=2)
  calibration_frames: int = option(
      128, "Further training frames, half and half, on which the ranges of int8 are measured; fewer where there are no more.", low=1)
  export_height: int = option(0, "Height of the exported network's input in pixels (0: --crop).", low=0)
  export_width: int = option(0, "Width of the exported network's input in pixels (0: --crop).", low=0)

  def __post_init__(self):
    if self.check is not None and self.add_metrics:
      raise OptionError("--check and --add_metrics are two commands: give one of them")
    if "float32" not in self.export_variants:
      raise OptionError(f"--export_variants={','.join(self.export_variants)}: float32 must be one, the others are measured by it")
    if unknown := [name for name in self.force_variants if name == "float32" or name not in self.export_variants]:
      raise OptionError(f"--force_variants={','.join(unknown)}: only variants of --export_variants other than float32 can be forced")


@dataclasses.dataclass(frozen=True)
class CameraOptions(SourceOptions, OverwriteOptions):
  """What the camera reads, anonymizes with, and writes."""
  model: str | None = option(None, "Export folder (its manifest.json is checked), or one of its .tflite files.")
  sink: str | None = option(None, "FILE.mp4 or FILE.mov, a folder for PNG frames, an address (rtsp, rtmp, udp, tcp, http), - for raw "
                                  "frames on standard output, or null.")
  variant: str = option("float32", "Which TFLite file of the export folder.", choices=VARIANTS)
  inference_threads: int = option(1, "Threads of the network's interpreter.", low=1)
  queue_frames: int = option(4, "Frames that wait at most between decoding, anonymizing and encoding.", low=1)
  image_rate: float = option(25.0, "Frames per second given to a folder of images.", low=0.01)
  quality: int = option(20, "H.264's constant rate factor: 0 lossless, 51 worst.", low=0, high=51)
  framing: str = option("scale", "How a frame goes through the network: scaled as a whole, as evaluate judged it, or in overlapping tiles, "
                                 "which show finer detail.", choices=table_keys("mppar_tf.on_camera.framing", "FRAMINGS"))
  tile_scale: float = option(4.0, "Tile: pixels of the frame along a tile's side for each one that the network sees; smaller shows more.",
                             low=1.0)
  preview_port: int = option(0, "Port of a page at 127.0.0.1 that shows the anonymized frames, to this machine alone; 0: none.", low=0,
                             high=65535)
  keep_partial: bool = option(False, "After a failure keep the anonymized frames written so far, as NAME.partial.")
  manifest_sha256: str | None = option(None, "SHA-256 that the model's manifest.json must have: pins one export, not just a whole one.")

  live: str = option("auto", "Where a thread is slow, the oldest frame that waits for it is dropped (on), or waited for (off: every frame "
                             "counts; an address is then a file on a server). auto: on for addresses, devices and an endless test.",
                     choices=lambda: ("auto", "on", "off"))
  max_fps: float = option(0.0, "More frames of a second are left out before the network; 0: none.", low=0.0)
  max_seconds: float = option(0.0, "The run ends well after so much of the stream; 0: at its end.", low=0.0)
  rtsp_transport: str = option("tcp", "What carries RTSP, in and out.", choices=lambda: ("tcp", "udp"))
  source_options: tuple[str, ...] = option((), "FFmpeg's options for opening the source, NAME=VALUE, as video_size=1280x720,framerate=30 "
                                               "of a V4L2 device.")
  sink_options: tuple[str, ...] = option((), "FFmpeg's options for pushing to an address, NAME=VALUE.")
  timeout_seconds: float = option(5.0, "How long an address or a device may show no life before it counts as lost.", low=0.1)
  reconnect_seconds: float = option(30.0, "How long a lost connection is tried again, in and out; 0: not at all.", low=0.0)
  stats_seconds: float = option(10.0, "Seconds between two lines of figures on standard error; 0: none.", low=0.0)
  stats_json: str | None = option(None, "JSON file of the latest figures, written anew with each line and at the end.")

  def __post_init__(self):
    for flag in ("model", "source", "sink"):
      if not getattr(self, flag):
        raise OptionError(f"--{flag} is required; --help tells what it may be")
    # An empty one is no pin: a script whose variable is not set must not switch it off.
    pin = self.manifest_sha256
    if pin is not None and (len(pin) != 64 or not set(pin) <= set("0123456789abcdefABCDEF")):
      raise OptionError(f"--manifest_sha256={pin[:80]!r} is no SHA-256: 64 hexadecimal digits")
    for flag in ("source_options", "sink_options"):
      for number, pair in enumerate(getattr(self, flag)):
        if not pair.partition("=")[0] or "=" not in pair:  # told without the text, which may be part of a password
          raise OptionError(f"--{flag}: item {number + 1} is not NAME=VALUE")
    if self.stats_json is not None:
      path = pathlib.Path(self.stats_json).absolute()
      if os.path.isdir(path) or not os.access(path.parent, os.W_OK | os.X_OK):
        raise OptionError(f"--stats_json={self.stats_json}: no file can be written there")


@dataclasses.dataclass(frozen=True)
class ReproduceOptions(BenchmarkOptions):
  """Which table or comparison is run, and how."""
  table: str | None = option(None, "A paper's table or figure, on --benchmark; none: a comparison of one's own, by --study, --config and "
                                   "--methods.", choices=TABLES)
  study: str = option("twin_protocol_a", "Name of one's own comparison: a folder below --cells_dir and --results_dir.")
  config: str = option("protocol_a.flags", "Flagfile of every cell's training in one's own comparison.")
  evaluation: str | None = option(None, "Flagfile of every cell's evaluation; none: the benchmark's with --table, else the full budget.")
  methods: tuple[str, ...] = option(("strong_blur", "basic", "basic_equal_data", "mppar"), "Methods of one's own comparison, one row each.",
                                    choices=METHODS)
  seeds: int = option(3, "Seeds of each row.", low=1)
  first_seed: int = option(0, "The first of them.", low=0)
  dry_run: bool = option(False, "List the cells, which are done, and how long the others will take; run and write nothing.")
  jobs: int = option(0, "Cells at a time; 0: as many as cores and free memory allow, one where there are GPUs.", low=0)
  cell_threads: int = option(1, "Threads of each cell; 0: one for each core.", low=0)
  nice: int = option(0, "Lowers the priority of cells: 19 gives way to everything else.", low=0, high=19)
  cells_dir: str = option("runs", "Where runs go.")
  results_dir: str = option("results", "Where results and tables go.")
  adopt: str | None = option(None, "Folder of finished results, of a comparison of one's own say: those made with a cell's very flags "
                                   "become that cell's and are not run again.")
  page: str | None = option(None, "Markdown page whose part between a table's markers is written anew, appended where there is none; none: "
                                  "RESULTS.md, beside a --results_dir called results, else inside of it.")


@dataclasses.dataclass(frozen=True)
class BenchOptions:
  """What is measured, and how often."""
  bench_parts: tuple[str, ...] = option(("updates_small", "updates_paper", "input", "building"), "What is measured.",
                                        choices=BENCH_PARTS)
  bench_rounds: int = option(10, "Rounds; in each, every variant is measured once.", low=1)
  bench_json: str | None = option(None, "Path of a JSON file that keeps every figure of every round.")
  bench_config: str = option("protocol_a.flags", "Flagfile of the training whose networks and batches updates_small measures.")
  bench_paper_batch: int = option(1, "Clips of one loss in updates_paper; twice as many images.", low=1)
  bench_videos: int = option(40, "Videos that input makes (160x120, H.264) in a temporary folder, and records from them.", low=1)
  bench_video_frames: int = option(64, "Frames of each video that is made; of a real one tools takes as many at most.", low=1)
  bench_build_videos: int = option(120, "Videos of building (made at 320x240, MPEG-4), of which every build makes records.", low=10)
  bench_trainings: tuple[str, ...] = option((*(f"protocol_{name}_ucf101_vispr.flags" for name in "abcd"), "identity_sbu.flags"),
                                            "Flagfiles that trainings_paper starts.")
  bench_anonymizers: tuple[str, ...] = option(
      ("johnson", "johnson:0.5", "unet", "unet/small", "johnson/small", "johnson/small:2", "compact", "compact/small"),
      "What anonymizers measures: NAME, NAME/SIZE, NAME:WIDTH or NAME/SIZE:WIDTH each.")
  bench_anonymizer_size: str = option("paper", "Size preset of those that name none.", choices=lambda: SIZES)
  bench_anonymizer_steps: int = option(150, "Steps in which each learns to reproduce its input before it is converted.", low=0)
  bench_source: str | None = option(None, "Folder of real videos that building and tools take in place of made ones.")
  bench_model: str = option("saved_models/a/mppar", "Export folder with which tools runs the camera.")
  bench_faces: int = option(60, "Frames of each kind in which tools looks for faces, raw and behind each tool.", low=1)
  bench_real: str | None = option(None, "Folder that holds ixmas/ and utkface/, for tools_attacked; tools takes faces of UTKFace there.")
  bench_run: str | None = option(None, "Finished run (or its results.json) that stands beside the tools, with its level on raw frames; "
                                       "none: raw frames are trained on, too.")
  bench_work_dir: str | None = option(None, "Where what tools_attacked trains stays: what is finished there is not done again.")
  bench_real_config: str = option("protocol_a_ixmas_utkface.flags", "Flagfile of these trainings.")
  bench_real_evaluation: str = option("evaluation_small.flags", "Flagfile of their evaluation.")
  bench_clips: int = option(160, "Clips that each side of input reads in one turn, rounded up to whole batches.", low=1)

  def __post_init__(self):
    if not self.bench_parts:
      raise OptionError(f"--bench_parts= names no part; there are {', '.join(BENCH_PARTS())}")
    for flag in ("bench_source", "bench_real"):
      folder = getattr(self, flag)
      if folder is not None and not os.path.isdir(folder):
        raise OptionError(f"--{flag}={folder}: no such folder")
    if self.bench_json is not None:
      path = pathlib.Path(self.bench_json).absolute()
      if os.path.isdir(path) or not os.access(path.parent, os.W_OK | os.X_OK):  # told now, not after an hour of measuring
        raise OptionError(f"--bench_json={self.bench_json}: no file can be written there")
