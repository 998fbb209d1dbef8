"""The on-camera anonymizer: reads frames, anonymizes every one, writes only anonymized ones. Needs no TensorFlow.

  python -m mppar_tf.camera --model=saved_models/a/mppar --source=clip.avi --sink=safe.mp4
  python -m mppar_tf.camera --flagfile=stream.flags      # --source=rtsp://user:password@camera/1, --sink=rtsp://server/safe
  python -m mppar_tf.camera --model=saved_models/a/mppar --source=/dev/video0 --sink=- | ffplay -f rawvideo -pix_fmt rgb24 -s 640x480 -
  python -m mppar_tf.camera --model=saved_models/a/mppar --source=test:640x480@25:frames=250 --sink=null

Sources: a video file; a folder of images; a V4L2 device (/dev/video0, v4l2:PATH); an address (rtsp, http, https, udp, tcp, rtmp); test, a
built-in moving picture (test:WIDTHxHEIGHT@RATE:frames=COUNT). Sinks: FILE.mp4 or FILE.mov (H.264); a folder (PNG frames and times.csv);
an address (rtsp, rtmp: FLV, http, udp, tcp: MPEG-TS), to which H.264 is pushed with a key frame each second and no frame held back; -,
raw frames on standard output (rgb24, rows from the top, height * width * 3 bytes a frame, nothing in between; text goes to standard
error); or null. Each frame is scaled to the model's input as a whole and back, or goes through it in tiles (--framing=tile), and keeps
its size, turned upright where the file says so. Audio and metadata, EXIF too, are dropped. --preview_port=8080 shows the anonymized
frames at http://127.0.0.1:8080/, on this machine alone.

Files lose no frame: they keep their number, order and times. A live source (--live) cannot wait: where model or sink are slower, the
oldest frame that waits is dropped, and counted. A connection that is lost, in or out, is opened again for --reconnect_seconds; nothing
is sent meanwhile, what was in hand is dropped, and times go on. Only the first connection is never tried twice: the address may be
wrong. Frames of another size than the first end the run. Of an address only scheme and host are ever told; keep one with a password in a
flagfile that only you may read, since others can see a command line.

It fails closed. Whatever goes wrong, it stops with a one-line message, no raw pixel in output, logs or temporary files, and a file
sink's name shows nothing new. Such a sink is written as .NAME.part and renamed when complete; what is left of an incomplete one is
removed, or kept with --keep_partial as NAME.partial, with a number where that is taken (it holds anonymized frames only). No core dump
is written. A live source has no end of its own: --max_seconds gives it one; Ctrl-C counts as an interruption. A process that is killed
outright, or by a crash inside a library, ends with the system's code (137, 134, 139) and leaves .NAME.part, which holds anonymized
frames only, too.

Exit codes:
  0    all frames anonymized and written, but for those that the flags let drop
  2    a flag is wrong
  3    model refused: missing, not as its manifest says, or it does not anonymize the built-in pictures (identity-like, constant, NaN)
  4    source: missing, undecodable, corrupt, truncated, its frames change size, or it is lost and does not come back
  5    a frame could not be anonymized: inference error, NaN, constant or unchanged picture, another shape
  6    sink: exists already (with --overwrite: and is neither a video nor a folder of frames), not writable, disk full, no connection, or
       it is lost and does not come back
  7    an error inside the program
  130  interrupted (Ctrl-C, SIGTERM)

In Python:
  with mppar_tf.CameraAnonymizer("saved_models/a/mppar") as camera:
    safe = camera(frame)  # uint8 RGB [H, W, 3] -> the same
"""

import contextlib
import signal
import sys
import threading
from typing import Sequence

from mppar_tf import flagfiles, leaving
from mppar_tf.on_camera import core_dumps, frames, links, pipeline, sinks, sources, stats
from mppar_tf.on_camera.engine import CameraAnonymizer
from mppar_tf.on_camera.errors import CameraError, Interrupted, unexpected
from mppar_tf.options import CameraOptions

__all__ = ["CameraAnonymizer", "run"]

SLACK_SECONDS = 1.0  # a source that still gives up by its own time limit is closed in good order


def run(options: CameraOptions) -> int:
  """Runs the camera to the source's end; prints one line. Returns the exit code."""
  core_dumps.forbid()
  try:
    with _sigterm_as_interrupt():
      summary = _run(options)
  except CameraError as error:
    return _told(error)
  except KeyboardInterrupt:
    return _told(Interrupted("interrupted before the first frame"))
  except Exception as error:  # a traceback's last line may quote what upset it
    return _told(unexpected(error, "camera"))
  dropped = f", {summary.dropped} dropped" if summary.dropped else ""
  print(f"camera: {summary.frames} frames in {summary.seconds:.2f} s{dropped}, {summary.anonymize_milliseconds:.2f} ms to anonymize one; "
        f"{links.public(options.sink) if links.is_address(options.sink) else options.sink}",
        file=sys.stderr if options.sink == sinks.STDOUT else sys.stdout)
  return 0


def _told(error: CameraError) -> int:
  print(f"camera: {error}", file=sys.stderr)
  return error.exit_code


def _run(options: CameraOptions) -> pipeline.Summary:
  from tqdm import tqdm
  tqdm.monitor_interval = 0  # no thread of its own, which on a small device could not be had

  def tell(line: str) -> None:
    tqdm.write(f"camera: {line}", file=sys.stderr)

  figures = stats.Stats()
  patience = links.Patience(timeout_seconds=options.timeout_seconds, reconnect_seconds=options.reconnect_seconds, tell=tell,
                            count=figures.add)
  chosen = {"auto": None, "on": True, "off": False}[options.live]
  source = sources.find(options.source, image_rate=options.image_rate, live=chosen, rtsp_transport=options.rtsp_transport,
                        options=options.source_options, patience=patience)
  live = source.endless if chosen is None else chosen
  sink = sinks.find(options.sink, quality=options.quality, overwrite=options.overwrite, source=source.path, lossless=not live,
                    rtsp_transport=options.rtsp_transport, options=options.sink_options, patience=patience)
  rules = pipeline.Rules(live=live, paced=not source.paced and (live or sink.paced), max_fps=options.max_fps,
                         max_seconds=options.max_seconds)
  with contextlib.ExitStack() as open_ones:
    camera = open_ones.enter_context(CameraAnonymizer(
        options.model, variant=options.variant, threads=options.inference_threads, manifest_sha256=options.manifest_sha256,
        framing=options.framing, tile_scale=options.tile_scale))
    taps = []
    if options.preview_port:
      from mppar_tf.on_camera.preview import Preview
      taps.append(open_ones.enter_context(Preview(options.preview_port)).show)
    bar = open_ones.enter_context(tqdm(unit="frame", disable=None))
    open_ones.enter_context(stats.Reporter(figures, seconds=options.stats_seconds, path=options.stats_json, tell=tell))

    def started(stream: frames.Stream) -> None:
      bar.reset(total=stream.frames)
    return pipeline.run(source, camera, sink, queue_frames=options.queue_frames, keep_partial=options.keep_partial,
                        started=started, progress=bar.update, taps=taps, rules=rules, stats=figures, stop=patience.stop,
                        source_seconds=options.timeout_seconds + SLACK_SECONDS)


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


def main(arguments: Sequence[str] | None = None) -> int:
  """The program; `arguments` are its flags, by default those of the command line. Returns the exit code, if at all (see `leaving`)."""
  code = flagfiles.main(lambda: run(flagfiles.read(CameraOptions)), (CameraOptions,), __doc__, arguments=arguments)
  if pipeline.is_reading():
    leaving.leave(code)
  return code


if __name__ == "__main__":
  sys.exit(main())
