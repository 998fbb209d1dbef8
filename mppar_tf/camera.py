"""The on-camera anonymizer: reads frames, anonymizes every one, writes only anonymized ones. Needs no TensorFlow.

  python -m mppar_tf.camera --model=saved_models/a/mppar --source=clip.avi --sink=safe.mp4

Sources: a video file, or a folder of images. Sinks: FILE.mp4 or FILE.mov (H.264), a folder (PNG frames and times.csv), or null.
Frames keep their number, order, times and size; each is scaled to the model's input as a whole and back. Audio and metadata are dropped.

It fails closed. Whatever goes wrong, it stops with a one-line message, no raw pixel in output, logs or temporary files, and the sink's
name shows nothing new. A sink is written as .NAME.part and renamed when complete; what is left of an incomplete one is removed, or kept
with --keep_partial as NAME.partial (it holds anonymized frames only). No core dump is written.

Exit codes:
  0    all frames anonymized and written
  2    a flag is wrong
  3    model refused: missing, not as its manifest says, or it does not anonymize the built-in pictures (identity-like, constant, NaN)
  4    source: missing, undecodable, corrupt, truncated, or its frames change size
  5    a frame could not be anonymized: inference error, NaN, constant or unchanged picture, another shape
  6    sink: exists already, not writable, disk full
  7    an error inside the program
  130  interrupted (Ctrl-C, SIGTERM)

In Python:
  with mppar_tf.CameraAnonymizer("saved_models/a/mppar") as camera:
    safe = camera(frame)  # uint8 RGB [H, W, 3] -> the same
"""

import resource
import signal
import sys
import threading

from mppar_tf import flagfiles
from mppar_tf.on_camera import pipeline, sinks, sources
from mppar_tf.on_camera.engine import CameraAnonymizer
from mppar_tf.on_camera.errors import CameraError
from mppar_tf.options import CameraOptions

__all__ = ["CameraAnonymizer", "run"]


def run(options: CameraOptions) -> int:
  """Runs the camera to the source's end; prints one line. Returns the exit code."""
  resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))  # a core dump would hold raw frames
  try:
    summary = _run(options)
  except CameraError as error:
    print(f"camera: {error}", file=sys.stderr)
    return error.exit_code
  print(f"camera: {summary.frames} frames in {summary.seconds:.2f} s, {summary.anonymize_milliseconds:.2f} ms to anonymize one; "
        f"{options.sink}")
  return 0


def _run(options: CameraOptions) -> pipeline.Summary:
  from tqdm import tqdm
  source = sources.find(options.source, image_rate=options.image_rate)
  sink = sinks.find(options.sink, quality=options.quality, overwrite=options.overwrite, source=source.path)
  with CameraAnonymizer(options.model, variant=options.variant, threads=options.inference_threads,
                        manifest_sha256=options.manifest_sha256) as camera, _sigterm_as_interrupt():
    with tqdm(unit="frame", disable=None) as bar:
      def started(stream: sources.Stream) -> None:
        bar.reset(total=stream.frames)
      return pipeline.run(source, camera, sink, queue_frames=options.queue_frames, keep_partial=options.keep_partial,
                          started=started, progress=bar.update)


class _sigterm_as_interrupt:
  """Within it SIGTERM is KeyboardInterrupt, so that a service manager's stop also removes the incomplete output."""

  def __enter__(self):
    self._before = None
    if threading.current_thread() is threading.main_thread():
      self._before = signal.signal(signal.SIGTERM, _interrupt)

  def __exit__(self, *_):
    if self._before is not None:
      signal.signal(signal.SIGTERM, self._before)


def _interrupt(*_) -> None:
  raise KeyboardInterrupt


if __name__ == "__main__":
  sys.exit(flagfiles.main(lambda: run(flagfiles.read(CameraOptions)), (CameraOptions,), __doc__))
