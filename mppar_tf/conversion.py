"""A Keras anonymizer -> frozen graph -> TFLite files. The converter runs in a process of its own, because it may abort the one it runs in.

Only the path that was seen to work on TensorFlow 2.17 and 2.21 is taken: constants frozen into the graph at one fixed shape. A converter
that meets variables can return a file that looks whole and answers NaN.
"""

import os
import pathlib
import re
import subprocess
import sys
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import keras
import numpy as np

from mppar_tf import whole_files

INPUT, OUTPUT = "frames", "anonymized"
TIMEOUT_SECONDS = 1800


class ConversionError(RuntimeError):
  """The network cannot be frozen as it must be; one line."""


class Converted(NamedTuple):
  """What the converter made of each variant."""
  files: dict[str, pathlib.Path]
  failed: dict[str, str]  # variant -> why there is no file, in one line


def _float32(converter: Any, calibration: np.ndarray) -> None:
  """Weights and arithmetic as trained."""


def _float16(converter: Any, calibration: np.ndarray) -> None:
  """Weights stored in 16 bits, half the file; arithmetic stays in 32 bits where the device has no better."""
  import tensorflow as tf
  converter.optimizations = [tf.lite.Optimize.DEFAULT]
  converter.target_spec.supported_types = [tf.float16]


def _dynamic_int8(converter: Any, calibration: np.ndarray) -> None:
  """Weights in 8 bits; what flows between layers stays float, and is brought to 8 bits by its own range where a kernel wants that."""
  import tensorflow as tf
  converter.optimizations = [tf.lite.Optimize.DEFAULT]


def _int8(converter: Any, calibration: np.ndarray) -> None:
  """Everything in 8 bits, ranges fixed by calibration. uint8 outside, as a camera's pixels are and integer-only accelerators want it."""
  import tensorflow as tf
  converter.optimizations = [tf.lite.Optimize.DEFAULT]
  converter.representative_dataset = lambda: ([frame[None]] for frame in calibration)  # [1, H, W, 3]
  converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
  converter.inference_input_type = converter.inference_output_type = tf.uint8


VARIANTS: Mapping[str, Callable[[Any, np.ndarray], None]] = {
    "float32": _float32, "float16": _float16, "dynamic_int8": _dynamic_int8, "int8": _int8}


def file_name(variant: str) -> str:
  return f"anonymizer_{variant}.tflite"


def serving_function(model: keras.Model) -> Callable:
  """frames -> {"anonymized": frames} in float32, inference mode, for [B, H, W, 3]."""
  import tensorflow as tf

  def anonymize(frames):
    return {OUTPUT: tf.cast(model(frames, training=False), tf.float32)}  # [B, H, W, 3]

  return anonymize


def freeze(model: keras.Model, height: int, width: int) -> bytes:
  """The network at [1, height, width, 3] as a serialized GraphDef without variables; its input and output are INPUT and OUTPUT.

  Raises ConversionError where an operation still reads a variable, or where the output's shape is not the input's.
  """
  import tensorflow as tf
  from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

  def anonymize(frames):
    return tf.identity(serving_function(model)(frames)[OUTPUT], name=OUTPUT)

  concrete = tf.function(anonymize).get_concrete_function(tf.TensorSpec([1, height, width, 3], tf.float32, name=INPUT))
  frozen = convert_variables_to_constants_v2(concrete)
  graph = frozen.graph.as_graph_def()
  left = sorted({node.op for node in graph.node if "Variable" in node.op or "PartitionedCall" in node.op})
  if left:
    raise ConversionError(f"the frozen graph still holds {', '.join(left)}")
  if frozen.outputs[0].shape.as_list() != [1, height, width, 3]:
    raise ConversionError(f"the anonymizer turns {[1, height, width, 3]} into {frozen.outputs[0].shape.as_list()}")
  return graph.SerializeToString()


def convert(graph: bytes, height: int, width: int, variant: str, calibration: np.ndarray | None = None) -> bytes:
  """TFLite bytes of a graph of `freeze`, with TFLite's builtin operations alone. May abort the process: see `convert_apart`.

  `calibration`, frames [N, height, width, 3] float32 in [0, 1], fixes the ranges of "int8"; no other variant looks at it.
  """
  import tensorflow as tf
  definition = tf.compat.v1.GraphDef.FromString(graph)

  def anonymize(frames):
    if variant == "int8":
      # Calibration would give the input the range of its brightest pixel: frames of a dim room, and every brighter pixel is cut off.
      frames = tf.quantization.fake_quant_with_min_max_args(frames, 0.0, 1.0)
    return tf.graph_util.import_graph_def(definition, input_map={f"{INPUT}:0": frames}, return_elements=[f"{OUTPUT}:0"], name="")[0]

  concrete = tf.compat.v1.wrap_function(anonymize, [tf.TensorSpec([1, height, width, 3], tf.float32, name=INPUT)])
  converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
  converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
  VARIANTS[variant](converter, calibration)
  return converter.convert()


def convert_apart(graph: bytes, height: int, width: int, folder: pathlib.Path, variants: Sequence[str],
                  calibration: np.ndarray) -> Converted:
  """Writes variants of the graph into `folder`, converted in a child process; one that fails or kills the child stops no other."""
  source, frames = folder / "frozen.graph", folder / "calibration.npy"
  source.write_bytes(graph)
  np.save(frames, calibration)
  done = Converted({}, {})
  try:
    while left := [variant for variant in variants if variant not in {**done.files, **done.failed}]:
      ended = _child(source, height, width, frames, left)
      for variant in left:
        file, refused = folder / file_name(variant), folder / f"{variant}.refused"
        if file.exists():
          done.files[variant] = file
        elif refused.exists():
          done.failed[variant] = f"the TFLite converter failed: {refused.read_text(encoding='utf-8')}"
          refused.unlink()
        else:
          done.failed[variant] = ended  # it fell to this one; the next child goes on behind it
          break
  finally:
    for path in (source, frames, *folder.glob("*.part")):
      path.unlink()
  return done


def _child(source: pathlib.Path, height: int, width: int, frames: pathlib.Path, variants: Sequence[str]) -> str:
  """Runs `child` in a process of its own; what ended it before its last variant, in words."""
  root = str(pathlib.Path(__file__).resolve().parent.parent)
  environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1",
                              "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}
  code = "import sys; from mppar_tf.conversion import child; child(*sys.argv[1:])"
  command = [sys.executable, "-c", code, str(source), str(height), str(width), str(frames), *variants]
  try:
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                          timeout=TIMEOUT_SECONDS, check=False)
  except subprocess.TimeoutExpired:
    return f"the TFLite converter did not end within {TIMEOUT_SECONDS} s"
  if not done.returncode:
    return "the TFLite converter ended well but wrote nothing"
  said = [line for line in done.stderr.splitlines() if line.strip()]
  reason = f"died of signal {-done.returncode}" if done.returncode < 0 else f"failed with exit code {done.returncode}"
  return f"the TFLite converter {reason}: {without_folders(said[-1])[:300] if said else 'it said nothing'}"


def without_folders(told: str) -> str:
  """Words of an error for the manifest, which must not tell this machine's folders."""
  return re.sub(r"(?:/[\w.+-]+)+/", "", " ".join(told.split()))


def child(source: str, height: str, width: str, frames: str, *variants: str) -> None:
  """What the child process runs: variants of the graph in file `source`, written beside it; for one that raises, VARIANT.refused."""
  path = pathlib.Path(source)
  graph, calibration = path.read_bytes(), np.load(frames, allow_pickle=False)
  for variant in variants:
    try:
      content = convert(graph, int(height), int(width), variant, calibration)
    except Exception as error:  # whatever the converter raises: the other variants do not hang on it
      told = without_folders(str(error))
      path.with_name(f"{variant}.refused").write_text(f"{type(error).__name__}: {told[:300]}", encoding="utf-8")
      continue
    whole_files.write(path.with_name(file_name(variant)), lambda part, content=content: part.write_bytes(content))
