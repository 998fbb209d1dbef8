"""The choke point: a frame gets out of here anonymized or not at all."""

import os
import threading
from typing import Any

import numpy as np

from mppar_tf.on_camera import framing as framings
from mppar_tf.on_camera import judge, manifest
from mppar_tf.on_camera.errors import AnonymizationFailed, ModelRefused

ENDS = ("float32", "uint8", "int8")  # what a model's input and output may be


def make_interpreter(content: bytes, threads: int) -> Any:
  """A LiteRT interpreter with tensors allocated. Raises ModelRefused where LiteRT is absent or does not take the file."""
  try:
    from ai_edge_litert.interpreter import Interpreter
  except ImportError as error:
    raise ModelRefused(f"ai-edge-litert cannot be imported ({error}); pip install ai-edge-litert") from None
  try:
    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
  except (RuntimeError, ValueError) as error:
    raise ModelRefused(f"LiteRT does not take the model: {str(error)[:200]}") from None
  return interpreter


class Engine:
  """One TFLite file: [H, W, 3] float32 in [0, 1] -> the same.

  A file with 8-bit ends is fed and read through their scales; pixels of a camera, multiples of 1/255, lose nothing on their way in.

  Attributes:
    shape: (H, W, 3).
    interface: {"input", "output"} -> {"dtype"} and, where that is an integer, {"scale", "zero_point"}.
  """

  def __init__(self, content: bytes, *, threads: int = 1):
    self._interpreter = make_interpreter(content, threads)
    inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
    self.interface = {}
    for side, details in (("input", inputs), ("output", outputs)):
      shape, dtype = (list(details[0]["shape"]), np.dtype(details[0]["dtype"])) if details else ([], np.dtype("V"))
      if len(details) != 1 or dtype.name not in ENDS or len(shape) != 4 or shape[0] != 1 or shape[3] != 3:
        kind = f"{dtype.name} {[int(n) for n in shape]}" if details else "none"
        raise ModelRefused(f"the model has {len(details)} {side}(s), the first {kind}, not one {' or '.join(ENDS)} [1, height, width, 3]")
      scale, zero_point = details[0]["quantization"]
      if dtype.kind in "iu" and not (np.isfinite(scale) and scale > 0):
        raise ModelRefused(f"the model's {side} is {dtype.name} without a scale")
      self.interface[side] = {"dtype": dtype.name} | ({"scale": float(scale), "zero_point": int(zero_point)} if dtype.kind in "iu" else {})
    self._input, self._output = inputs[0]["index"], outputs[0]["index"]
    self.shape = tuple(int(n) for n in inputs[0]["shape"][1:])  # (H, W, 3)

  def __call__(self, pixels01: np.ndarray) -> np.ndarray:
    """Runs one picture [H, W, 3]; the result is a copy, no view of the interpreter's memory."""
    self._interpreter.set_tensor(self._input, np.ascontiguousarray(_stored(pixels01[None], self.interface["input"])))  # [1, H, W, 3]
    self._interpreter.invoke()
    output, side = self._interpreter.get_tensor(self._output)[0], self.interface["output"]  # [H, W, 3]
    return output if "scale" not in side else (output.astype(np.float32) - side["zero_point"]) * np.float32(side["scale"])

  def run_all(self, pictures01: np.ndarray) -> np.ndarray:
    """[N, H, W, 3] -> [N, H, W, 3], one after the other: a batch is no faster, and this is what a camera does."""
    return np.stack([self(picture) for picture in pictures01])


def _stored(pixels01: np.ndarray, side: dict[str, Any]) -> np.ndarray:
  """Pixels as a model's end holds them."""
  if "scale" not in side:
    return np.asarray(pixels01, np.float32)
  if not np.all(np.isfinite(pixels01)):
    raise ValueError("pixels that are not finite have no 8-bit value")  # NaN would turn into some grey and be answered as a picture
  limits = np.iinfo(side["dtype"])
  return np.clip(np.rint(pixels01 / side["scale"]) + side["zero_point"], limits.min, limits.max).astype(side["dtype"])


class CameraAnonymizer:
  """Turns camera frames into anonymized ones of the same size; stops for good at the first doubt.

  ```
  with CameraAnonymizer("saved_models/a/mppar") as camera:
    safe = camera(frame)  # uint8 RGB [H, W, 3] -> uint8 RGB [H, W, 3]
  ```
  The whole frame goes through the model, scaled or in tiles (see the room `framing`): nothing outside of a crop escapes it. Not a
  coroutine: calls from several threads take turns.

  Args:
    model: an export folder, or one of its .tflite files with manifest.json beside it.
    variant: which TFLite file of the folder, one of `manifest.VARIANTS`.
    threads: of the interpreter.
    manifest_sha256: the hash that the manifest itself must have, or None.
    framing: "scale" or "tile".
    tile_scale: pixels of the frame along a side of a tile for each one that the network sees.
  Raises:
    ModelRefused: the model is missing, damaged or does not anonymize the built-in pictures.
    ValueError: an unknown framing.
  """

  def __init__(self, model: str | os.PathLike, *, variant: str = "float32", threads: int = 1, manifest_sha256: str | None = None,
               framing: str = "scale", tile_scale: float = 4.0):
    if framing not in framings.FRAMINGS or not tile_scale > 0:
      raise ValueError(f"framing {framing!r} by {tile_scale}: it is one of {', '.join(framings.FRAMINGS)}, by a number above 0")
    self._framing, self._tile_scale = framings.FRAMINGS[framing], tile_scale
    self.manifest, content = manifest.load(model, variant, manifest_sha256)
    engine = Engine(content, threads=threads)
    if list(engine.shape) != self.manifest["input"]["shape"][1:]:
      raise ModelRefused(f"model {model}: input {list(engine.shape)} is not the manifest's {self.manifest['input']['shape'][1:]}")
    pictures = judge.built_in_pictures(*engine.shape[:2])
    try:
      outputs = engine.run_all(pictures)
    except (RuntimeError, ValueError) as error:
      raise ModelRefused(f"model {model}: {type(error).__name__} on the built-in pictures") from None
    fault = judge.fault(pictures, outputs)
    if fault:
      raise ModelRefused(f"model {model}: on the built-in pictures: {fault}")
    self._engine, self._turn, self._closed = engine, threading.Lock(), ""

  @property
  def shape(self) -> tuple[int, int, int]:
    """(height, width, 3) that the network sees."""
    return self._engine.shape if self._engine else tuple(self.manifest["input"]["shape"][1:])

  def __enter__(self) -> "CameraAnonymizer":
    return self

  def __exit__(self, *_: Any) -> None:
    self.close()

  def close(self) -> None:
    """Frees the interpreter; every later call raises."""
    with self._turn:
      self._engine, self._closed = None, self._closed or "the camera is closed"

  def __call__(self, frame: np.ndarray) -> np.ndarray:
    """One frame.

    Args:
      frame: uint8 RGB [H, W, 3]; it is read only and not kept.
    Returns:
      A new uint8 RGB [H, W, 3] of the same size.
    Raises:
      AnonymizationFailed: inference failed, or the result is NaN, constant, unchanged or of another shape. Every later call raises it too.
    """
    with self._turn:
      if self._closed:
        raise AnonymizationFailed(self._closed)
      try:
        return self._anonymize(frame)
      except AnonymizationFailed as error:
        self._engine, self._closed = None, f"stopped after an earlier failure: {error}"
        raise
      except Exception as error:  # whatever it is, the frame must not get out; its text may quote pixels, so only its type is told
        self._engine, self._closed = None, f"stopped after an earlier failure: {type(error).__name__}"
        raise AnonymizationFailed(f"inference failed: {type(error).__name__}") from None

  def _anonymize(self, frame: np.ndarray) -> np.ndarray:
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
      kind = f"{frame.dtype} {list(frame.shape)}" if isinstance(frame, np.ndarray) else type(frame).__name__
      raise AnonymizationFailed(f"a frame is uint8 [height, width, 3], not {kind}")
    safe = self._framing(frame, self._network, self._engine.shape[:2], self._tile_scale)  # [H, W, 3]
    if safe.shape != frame.shape or np.may_share_memory(safe, frame):
      raise AnonymizationFailed(f"the anonymized frame {list(safe.shape)} is not a new frame of {list(frame.shape)}")
    return safe

  def _network(self, picture: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] of the network's size -> the same, anonymized and judged."""
    pixels01 = picture.astype(np.float32) / 255  # [h, w, 3]
    output = self._engine(pixels01)  # [h, w, 3]
    fault = judge.frame_fault(pixels01, output)
    if fault:
      raise AnonymizationFailed(fault)
    return np.rint(np.clip(output, 0, 1) * 255).astype(np.uint8)
