"""Every flag of every program, declared once, as a field of a frozen dataclass with its default and its meaning.

Programs read them in `main` alone; nothing below sees a flag. Cross-checks run when a dataclass is built, so that a bad combination is
told before any work starts. Importing this room imports neither TensorFlow nor Keras: choices are looked up when flags are declared.
"""

import dataclasses
import os
import pathlib

from mppar_tf.flagfiles import OptionError, option


def _table(module: str, name: str):
  """Late look-up of a literal table's keys, the one source of a flag's choices."""
  def keys():
    import importlib
    return list(getattr(importlib.import_module(module), name))
  return keys


ANONYMIZERS = _table("mppar_tf.models.anonymizers", "ANONYMIZERS")
RECOGNIZERS = _table("mppar_tf.models.recognizers", "RECOGNIZERS")
ATTACKERS = _table("mppar_tf.models.attackers", "ATTACKERS")
BENCHMARKS = _table("mppar_tf.protocols.benchmarks", "BENCHMARKS")
PROTOCOLS = _table("mppar_tf.protocols", "PROTOCOLS")
METHODS = _table("mppar_tf.methods", "METHODS")
SIZES = ("tiny", "small", "paper")


def default_data_dir() -> str:
  return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.join(pathlib.Path.home(), ".cache"), "mppar_tf", "records")


@dataclasses.dataclass(frozen=True)
class RunOptions:
  """What is run, on what, and where its results go."""
  run_dir: str | None = option(None, "Folder of this run: flags.txt, checkpoints/, TensorBoard events, results.json.")
  data_dir: str = option(default_data_dir(), "Folder that holds one folder of records per dataset; may be remote (http://, s3://, gs://).")
  benchmark: str = option("twin", "Datasets and attributes.", choices=BENCHMARKS)
  protocol: str = option("a", "What is known and what is novel at test time.", choices=PROTOCOLS)
  method: str = option("mppar", "The anonymization method.", choices=METHODS)
  seed: int = option(0, "Seed of everything random: weights, order, crops, sets, draws of attackers.", low=0)
  virtual_devices: int = option(1, "Split the CPU into this many replicas (for trying data parallel training; GPUs are found by themselves).", low=1)
  on_corrupt: str = option("fail", "A corrupt record: stop, or count, report and skip the rest of its shard.",
                           choices=lambda: ("fail", "skip_shard_remainder"))
  deterministic: bool = option(True, "Deterministic ops and fixed thread counts: the same command gives bit-identical weights on one machine.")
  threads: int = option(0, "Threads of one op (0: one for each core).", low=0)


@dataclasses.dataclass(frozen=True)
class ClipOptions:
  """How clips are cut from videos."""
  clip_frames: int = option(16, "Frames of a clip.", low=1)
  frame_skip: int = option(2, "Distance between the frames of a clip, in frames of the video.", low=1)
  crop: int = option(112, "Height and width of the square crop in pixels: random in training, centre in evaluation.", low=8)
  flip: bool = option(True, "Mirror half of the training clips and images.")


@dataclasses.dataclass(frozen=True)
class ModelOptions:
  """Architectures. Sizes: tiny (tests), small (32-pixel benchmarks), paper."""
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
