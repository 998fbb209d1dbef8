"""What goes wrong inside of a camera, on purpose; as a program, a camera in a process of its own that something goes wrong in.

  python saboteur.py FAULT AT FLAG...      a fault of FAULTS at the frame of number AT, and the camera's flags
"""

import os
import pathlib
import resource
import signal
import sys
import time
from typing import Any, Callable

if __name__ == "__main__":
  sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np

from mppar_tf import camera
from mppar_tf.on_camera import core_dumps, engine, manifest, sink_files, source_files
from mppar_tf.on_camera.errors import SinkFailed

READY = "ready"  # a file that says: in mid-frame now
MEGABYTES = 1 << 20
MAKE_INTERPRETER = engine.make_interpreter


class Interpreter:
  """LiteRT's, whose answers from frame `at` on are `change(input, output)`, both [1, H, W, 3]. It first sees the two built-in pictures."""

  def __init__(self, content: bytes, threads: int, at: int, change: Callable[[np.ndarray, np.ndarray], Any]):
    self._real, self._left, self._change = MAKE_INTERPRETER(content, threads), at + 2, change

  def __getattr__(self, name: str) -> Any:
    return getattr(self._real, name)

  def set_tensor(self, index: int, pixels: np.ndarray) -> None:
    self._pixels = pixels
    self._real.set_tensor(index, pixels)

  def get_tensor(self, index: int) -> Any:
    output, self._left = self._real.get_tensor(index), self._left - 1
    return output if self._left >= 0 else self._change(self._pixels, output)


def half(pixels: np.ndarray, output: np.ndarray) -> np.ndarray:
  output[:, :, :output.shape[2] // 2] = pixels[:, :, :output.shape[2] // 2]
  return output


def one_pixel_changed(pixels: np.ndarray, output: np.ndarray) -> np.ndarray:
  pixels = pixels.copy()
  pixels[0, 0, 0] = 1 - pixels[0, 0, 0]
  return pixels


def quote(error: type[BaseException]) -> Callable[[np.ndarray, np.ndarray], Any]:
  """Raises an error that quotes the frame, as some engines do."""
  def fail(pixels: np.ndarray, output: np.ndarray) -> Any:
    raise error(f"cannot take {pixels.tolist()} {(255 * pixels).astype(np.uint8).tobytes()!r}")
  return fail


def wait(pixels: np.ndarray, output: np.ndarray) -> np.ndarray:
  pathlib.Path(READY).write_text("", encoding="utf-8")
  time.sleep(2.5)
  return output


def die(number: int) -> Callable[[np.ndarray, np.ndarray], Any]:
  def end(pixels: np.ndarray, output: np.ndarray) -> np.ndarray:
    resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)  # as a library might
    os.kill(os.getpid(), number)
    return output
  return end


# Of the interpreter's answer, from one frame on.
ANSWERS: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "nearly identity": lambda pixels, output: 0.98 * pixels + 0.01, "one pixel changed": one_pixel_changed, "half identity": half,
    "transposed": lambda pixels, output: output.transpose(0, 2, 1, 3), "too deep": lambda pixels, output: output[..., None],
    "no array": lambda pixels, output: None, "text": lambda pixels, output: np.full(output.shape, "0.5"),
    "infinite": lambda pixels, output: np.where(pixels > 0.5, np.inf, output),
    "one NaN": lambda pixels, output: np.where(np.arange(output.size).reshape(output.shape) == 7, np.nan, output),
    "out of memory": quote(MemoryError), "interrupt in a thread": quote(KeyboardInterrupt), "exit in a thread": quote(SystemExit),
    "stops for long": wait, "killed": die(signal.SIGKILL), "quit": die(signal.SIGQUIT), "segmentation": die(signal.SIGSEGV),
    "aborted": die(signal.SIGABRT)}


def answer(patch: Callable[[Any, str, Any], None], fault: str, at: int) -> None:
  patch(engine, "make_interpreter", lambda content, threads: Interpreter(content, threads, at, ANSWERS[fault]))


def decoder(patch: Callable[[Any, str, Any], None], error: type[BaseException], at: int) -> None:
  """From frame `at` on the decoder fails with an error that quotes the frame."""
  def fail(pixels: np.ndarray) -> None:
    raise error(f"cannot take {pixels.tolist()}")
  decoding(patch, fail, at)


def decoding(patch: Callable[[Any, str, Any], None], do: Callable[[np.ndarray], None], at: int) -> None:
  """Does something to each raw frame of a file from frame `at` on."""
  real = source_files.upright

  def upright(*arguments: Any) -> np.ndarray:
    pixels = real(*arguments)
    seen.append(1)
    if len(seen) > at:
      do(pixels)
    return pixels
  seen: list[int] = []
  patch(source_files, "upright", upright)


def leak(patch: Callable[[Any, str, Any], None], fault: str, at: int) -> None:
  """No fault: the camera as its enemy would build it. Frames come back as they went in, as a copy that no check of the pipeline knows."""
  patch(engine.CameraAnonymizer, "_anonymize", lambda self, frame: frame.copy())


def little_memory(patch: Callable[[Any, str, Any], None], fault: str, at: int) -> None:
  """Once the model is loaded, so many megabytes of address space are left as `at` says."""
  real = engine.CameraAnonymizer.__init__

  def init(self: Any, *arguments: Any, **named: Any) -> None:
    real(self, *arguments, **named)
    with open("/proc/self/statm", encoding="ascii") as facts:
      mapped = int(facts.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + at * MEGABYTES,) * 2)
  patch(engine.CameraAnonymizer, "__init__", init)


def small_files(patch: Callable[[Any, str, Any], None], fault: str, at: int) -> None:
  """No file grows beyond `at` kilobytes."""
  resource.setrlimit(resource.RLIMIT_FSIZE, (at << 10, at << 10))


def slow_loading(patch: Callable[[Any, str, Any], None], fault: str, at: int) -> None:
  real = manifest.load

  def load(*arguments: Any) -> Any:
    wait(np.zeros(0), np.zeros(0))
    return real(*arguments)
  patch(manifest, "load", load)


def dumping(patch: Callable[[Any, str, Any], None], fault: str, at: int) -> None:
  """A camera that does not forbid core dumps."""
  patch(core_dumps, "forbid", lambda: None)
  answer(patch, "aborted", at)


def late(patch: Callable[[Any, str, Any], None], fault: str, at: int) -> None:
  """The interpreter, or the sink, fails at frame `at`, but only after four seconds: whoever reads the source is far ahead by then."""
  def wait_and(fail: Callable[..., Any]) -> Callable[..., Any]:
    def slowly(*arguments: Any) -> Any:
      time.sleep(4)
      return fail(*arguments)
    return slowly

  def write(self: Any, ticks: int, pixels: np.ndarray) -> None:
    if len(self._rows) == at:
      wait_and(lambda: None)()
      raise SinkFailed("no space left for a frame")
    real(self, ticks, pixels)
  real = sink_files.FolderSink.write
  if fault.startswith("full disk"):
    patch(sink_files.FolderSink, "write", write)
  else:
    ANSWERS[fault] = wait_and(ANSWERS[fault.removesuffix(", late")])
    answer(patch, fault, at)


def stuck_source(patch: Callable[[Any, str, Any], None], fault: str, at: int) -> None:
  """At frame `at` the decoder is in a call that does not come back."""
  def stuck(pixels: np.ndarray) -> None:
    pathlib.Path(READY).write_text("", encoding="utf-8")
    time.sleep(600)
  decoding(patch, stuck, at)


FAULTS: dict[str, Callable[[Callable[[Any, str, Any], None], str, int], None]] = {
    **dict.fromkeys(ANSWERS, answer), "leak": leak, "little memory": little_memory, "small files": small_files,
    "slow loading": slow_loading, "dumping": dumping, "none": lambda patch, fault, at: None, "out of memory, late": late,
    "full disk, late": late, "stuck source": stuck_source}


if __name__ == "__main__":
  FAULTS[sys.argv[1]](setattr, sys.argv[1], int(sys.argv[2]))
  sys.exit(camera.main(sys.argv[3:]))
