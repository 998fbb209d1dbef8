"""A small anonymizer's export, written without TensorFlow: one convolution with random positive weights, which blurs and mixes colours."""

import pathlib
from typing import Any

import numpy as np

from mppar_tf.on_camera import manifest

HEIGHT, WIDTH, SIDE = 16, 24, 7
FILE = "anonymizer_float32.tflite"


def write(folder: pathlib.Path) -> pathlib.Path:
  """Writes FILE and its manifest into `folder`."""
  folder.mkdir(parents=True, exist_ok=True)
  (folder / FILE).write_bytes(tflite())
  describe(folder)
  return folder


def describe(folder: pathlib.Path) -> None:
  """Writes the manifest that fits the files of `folder`."""
  side = {"shape": [1, HEIGHT, WIDTH, 3], "dtype": "float32", "range": [0.0, 1.0]}
  manifest.write(folder, {"format_version": manifest.FORMAT_VERSION, "input": side, "output": side, "models": {"float32": {"file": FILE}},
                          "files": manifest.list_files(folder)})


def tflite() -> bytes:
  """[1, HEIGHT, WIDTH, 3] float32 -> the same; outputs are means of inputs, and so in [0, 1] too."""
  from ai_edge_litert import schema_py_generated as schema
  weights = np.random.default_rng(0).uniform(0, 1, (3, SIDE, SIDE, 3)) ** 4
  weights = (weights / weights.sum(axis=(1, 2, 3), keepdims=True)).astype("<f4")
  tensors = [_tensor(schema, shape, buffer) for shape, buffer in (
      ([1, HEIGHT, WIDTH, 3], 0), (list(weights.shape), 1), ([3], 2), ([1, HEIGHT, WIDTH, 3], 0))]
  convolution = schema.OperatorT()
  convolution.opcodeIndex, convolution.inputs, convolution.outputs = 0, [0, 1, 2], [3]
  convolution.builtinOptionsType, convolution.builtinOptions = schema.BuiltinOptions.Conv2DOptions, schema.Conv2DOptionsT()
  convolution.builtinOptions.padding = schema.Padding.SAME
  convolution.builtinOptions.strideH = convolution.builtinOptions.strideW = 1
  convolution.builtinOptions.dilationHFactor = convolution.builtinOptions.dilationWFactor = 1
  graph = schema.SubGraphT()
  graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, [0], [3], [convolution]
  code = schema.OperatorCodeT()
  code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
  code.version = 1
  model = schema.ModelT()
  model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
  model.buffers = [_buffer(schema, content) for content in (b"", weights.tobytes(), np.zeros(3, "<f4").tobytes())]
  builder = schema.flatbuffers.Builder(4096)
  builder.Finish(model.Pack(builder), b"TFL3")
  return bytes(builder.Output())


def _tensor(schema: Any, shape: list[int], buffer: int) -> Any:
  tensor = schema.TensorT()
  tensor.shape, tensor.buffer, tensor.type, tensor.name = shape, buffer, schema.TensorType.FLOAT32, f"t{len(shape)}{buffer}"
  return tensor


def _buffer(schema: Any, content: bytes) -> Any:
  buffer = schema.BufferT()
  buffer.data = np.frombuffer(content, np.uint8) if content else None
  return buffer
