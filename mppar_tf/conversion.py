"""A Keras anonymizer -> frozen graph -> TFLite files. The converter runs in a process of its own, because it may abort the one it runs in.

Only the path that was seen to work on TensorFlow 2.17 and 2.21 is taken: constants frozen into the graph at one fixed shape. A converter
that meets variables can return a file that looks whole and answers NaN.
"""

import os
import pathlib
import subprocess
import sys
from typing import Any, Callable, Mapping

import keras

INPUT, OUTPUT = "frames", "anonymized"
TIMEOUT_SECONDS = 1800


class ConversionError(RuntimeError):
  """The converter raised, died or gave nothing; one line that says which."""


def _float32(converter: Any) -> None:
  """Weights and arithmetic as trained."""


def _float16(converter: Any) -> None:
  """Weights stored in 16 bits, half the file; arithmetic stays in 32 bits where the device has no better."""
  import tensorflow as tf
  converter.optimizations = [tf.lite.Optimize.DEFAULT]
  converter.target_spec.supported_types = [tf.float16]


VARIANTS: Mapping[str, Callable[[Any], None]] = {"float32": _float32, "float16": _float16}


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


def convert(graph: bytes, height: int, width: int, variant: str) -> bytes:
  """TFLite bytes of a graph of `freeze`, with TFLite's builtin operations alone. May abort the process: see `convert_apart`."""
  import tensorflow as tf
  definition = tf.compat.v1.GraphDef.FromString(graph)

  def anonymize(frames):
    return tf.graph_util.import_graph_def(definition, input_map={f"{INPUT}:0": frames}, return_elements=[f"{OUTPUT}:0"], name="")[0]

  concrete = tf.compat.v1.wrap_function(anonymize, [tf.TensorSpec([1, height, width, 3], tf.float32, name=INPUT)])
  converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
  converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
  VARIANTS[variant](converter)
  return converter.convert()


def convert_apart(graph: bytes, height: int, width: int, folder: pathlib.Path) -> list[pathlib.Path]:
  """Writes every variant of the graph into `folder`, converted in a child process. Returns the files, in the order of VARIANTS.

  Raises ConversionError with the last line that the child said, or the signal that ended it.
  """
  source = folder / "frozen.graph"
  source.write_bytes(graph)
  root = str(pathlib.Path(__file__).resolve().parent.parent)
  environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1",
                              "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}
  code = "import sys; from mppar_tf.conversion import child; child(*sys.argv[1:])"
  command = [sys.executable, "-c", code, str(source), str(height), str(width)]
  try:
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                          timeout=TIMEOUT_SECONDS, check=False)
  except subprocess.TimeoutExpired:
    raise ConversionError(f"the TFLite converter did not end within {TIMEOUT_SECONDS} s") from None
  finally:
    source.unlink()
  if done.returncode:
    said = [line for line in done.stderr.splitlines() if line.strip()]
    reason = f"died of signal {-done.returncode}" if done.returncode < 0 else f"failed with exit code {done.returncode}"
    raise ConversionError(f"the TFLite converter {reason}: {said[-1].strip() if said else 'it said nothing'}")
  files = [folder / file_name(variant) for variant in VARIANTS]
  missing = [file.name for file in files if not file.exists()]
  if missing:
    raise ConversionError(f"the TFLite converter ended well but wrote no {missing[0]}")
  return files


def child(source: str, height: str, width: str) -> None:
  """What the child process runs: every variant of the graph in file `source`, written beside it."""
  graph = pathlib.Path(source).read_bytes()
  for variant in VARIANTS:
    content = convert(graph, int(height), int(width), variant)
    pathlib.Path(source).with_name(file_name(variant)).write_bytes(content)
