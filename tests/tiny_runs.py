"""Tiny trainings as programs of their own: started, stopped and killed from outside, and what they leave behind read back."""

import collections
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
from typing import Callable, Iterator, Mapping, NamedTuple

import fixtures
import tensorflow as tf
from tensorboard.backend.event_processing import event_file_loader

ROOT = pathlib.Path(__file__).resolve().parent.parent
ATTACKERS = ("mobilenet_v1_0.5", "mobilenet_v1_1.0")
# Steps 1-3 reconstruction, 4-6 action, 7-10 attackers in turn; then five a round: validation, f^A, both f^P, f^D.
WORLD = ("--benchmark=custom", "--clips_records=tiny_clips", "--private_records=tiny_images", "--known_attributes=a,b",
         "--novel_attributes=c,d", "--anonymizer_size=tiny", "--recognizer_size=tiny", "--attacker_size=tiny",
         f"--training_attackers={','.join(ATTACKERS)}",
         "--test_attackers=inception_v1", "--clip_frames=4", "--frame_skip=1", "--crop=12", "--action_batch=2", "--privacy_batch=4",
         "--recognizer_batch=4", "--attacker_batch=4", "--sets_every=2")
GAME = ("--reconstruction_steps=3", "--action_steps=3", "--attacker_init_steps=2", "--max_steps=3", "--min_recognizer_steps=1",
        "--max_recognizer_steps=1", "--max_attacker_rounds=1", "--action_threshold=1", "--attacker_threshold=1",
        "--alpha=0.01", "--beta=1e-3")
RHYTHM = ("--checkpoint_every=1", "--checkpoint_steps=1", "--validate_every=2", "--keep_checkpoints=100", "--threads=1")
PATIENCE = 1200  # seconds; a run takes half a minute on a core of its own


class Ended(NamedTuple):
  """A program that ended."""
  code: int  # negative: the signal that killed it
  out: str
  err: str

  @property
  def told(self) -> list[str]:
    """Lines on stderr, without progress bars and notes of level I, with which newer TensorFlow starts in spite of TF_CPP_MIN_LOG_LEVEL."""
    other = re.compile(r"\w+: +\d+%\||WARNING: All log messages before absl::InitializeLog|I\d{4} \d\d:\d\d:\d\d")
    return [line for line in re.split(r"[\r\n]", self.err) if line.strip() and not other.match(line.strip())]


class Program:
  """`python -m mppar_tf.train` on tiny records, with flags of its own; what it prints goes to files beside its run folder.

  Args:
    data: folder of the tiny records.
    run_dir: the run's folder.
    flags: beside WORLD, GAME and RHYTHM.
  """

  def __init__(self, data: pathlib.Path, run_dir: pathlib.Path, *flags: str):
    self.run_dir = run_dir
    self._flags = [*WORLD, *GAME, *RHYTHM, f"--data_dir={data}", f"--run_dir={run_dir}", *flags]

  def run(self, at: str | None = None, number: signal.Signals = signal.SIGKILL, *, meddle: Callable[[subprocess.Popen], None] | None = None,
          limit: Callable[[], None] | None = None) -> Ended:
    """Runs until it ends.

    Args:
      at: a moment of `stopped_training.py` at which it sends itself the signal `number`; None: the plain program.
      meddle: called with the running program.
      limit: called in the new process before the program starts.
    """
    with self._started(self.run_dir.name, {}, at, number, limit) as (process, ended):
      if meddle:
        meddle(process)
      process.wait(PATIENCE)
    return ended()

  @contextlib.contextmanager
  def _started(self, name: str, variables: Mapping[str, str], at: str | None = None, number: signal.Signals = signal.SIGKILL,
               limit: Callable[[], None] | None = None) -> Iterator[tuple[subprocess.Popen, Callable[[], Ended]]]:
    """The running program, and how it ended once it has; at the latest after this it has."""
    start = ["-m", "mppar_tf.train"] if at is None else [str(ROOT / "tests" / "stopped_training.py"), at, number.name]
    # What the program itself does against noise is what is tried; no GPU, so that replicas are the CPU's.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1", **variables}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    out, err = (self.run_dir.with_name(f"{name}.{stream}") for stream in ("out", "err"))
    with open(out, "wb") as out_file, open(err, "wb") as err_file:
      process = subprocess.Popen([sys.executable, *start, *self._flags], cwd=ROOT, env=environment, stdout=out_file, stderr=err_file,
                                 preexec_fn=limit)
    try:
      yield process, lambda: Ended(process.returncode, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))
    finally:
      process.kill()
      process.wait()

  def run_on_workers(self, at: str | None = None, number: signal.Signals = signal.SIGKILL) -> list[Ended]:
    """Runs as two workers on this machine until both have ended. `at`: a moment at which worker 1 sends itself the signal `number`."""
    with contextlib.ExitStack() as held:
      sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
      cluster = {"worker": [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]}
    with contextlib.ExitStack() as running:
      started = []
      for index, moment in enumerate((None, at)):
        config = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})}
        started.append(running.enter_context(self._started(f"{self.run_dir.name}.{index}", config, moment, number)))
      for process, _ in started:
        process.wait(PATIENCE)
    return [ended() for _, ended in started]

  def signalled_after(self, name: str, number: signal.Signals) -> Ended:
    """Runs, and is sent a signal as soon as the checkpoint `name` is there."""
    def meddle(process):
      _wait(process, lambda: (self.run_dir / "checkpoints" / name).exists())
      process.send_signal(number)
    return self.run(meddle=meddle)

  def killed_while_saving(self) -> Ended:
    """Runs, and is killed while a checkpoint's folder has only its temporary name."""
    def saving():
      return list((self.run_dir / "checkpoints").glob(".part-step-*"))

    def meddle(process):
      while True:
        _wait(process, saving)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if saving():
          break
        process.send_signal(signal.SIGCONT)  # that save was over: the next one
      process.kill()
    return self.run(meddle=meddle)


_undisturbed: list[tuple[pathlib.Path, pathlib.Path, Ended]] = []


def undisturbed(folders) -> tuple[pathlib.Path, pathlib.Path, Ended]:
  """`mppar` through all stages, run once a session for all modules: its records, its run folder, how it ended.

  Args:
    folders: pytest's `tmp_path_factory`.
  """
  if not _undisturbed:  # functools.cache does not take a TempPathFactory, which has no hash
    data = folders.mktemp("undisturbed") / "records"
    fixtures.write_tiny_datasets(data)
    program = Program(data, data.with_name("run"), "--method=mppar")
    _undisturbed.append((data, program.run_dir, program.run()))
  return _undisturbed[0]


def _wait(process: subprocess.Popen, happened: Callable[[], object]) -> None:
  end = time.monotonic() + PATIENCE
  while not happened():
    assert process.poll() is None, f"it ended by itself with {process.returncode}"
    assert time.monotonic() < end, "it takes too long"
    time.sleep(0.001)


def steps(run_dir: pathlib.Path) -> list[int]:
  """Steps of the whole checkpoints."""
  return sorted(int(path.name.removeprefix("step-")) for path in (run_dir / "checkpoints").glob("step-*"))


def variables(run_dir: pathlib.Path, step: int) -> dict[str, tuple[tuple[int, ...], bytes]]:
  """Every variable of a checkpoint, by its name there: shape and bytes."""
  return {name: (value.shape, value.tobytes()) for name, value in arrays(run_dir / "checkpoints" / f"step-{step:09d}").items()}


def arrays(folder: pathlib.Path) -> dict:
  reader = tf.train.load_checkpoint(str(folder / "variables"))
  return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if name.endswith("VARIABLE_VALUE")}


def state(run_dir: pathlib.Path, step: int) -> str:
  return (run_dir / "checkpoints" / f"step-{step:09d}" / "state.json").read_text(encoding="utf-8")


def logged(*run_dirs: pathlib.Path) -> dict[str, dict[tuple[str, int], list]]:
  """Everything in the event files, by TensorBoard's plugin: (tag, step) -> its values, one for each time that it was written."""
  found: dict = collections.defaultdict(lambda: collections.defaultdict(list))
  for path in sorted(path for run_dir in run_dirs for path in run_dir.glob("events.out.tfevents.*")):
    for event in event_file_loader.EventFileLoader(str(path)).Load():
      for value in event.summary.value:
        plugin = value.metadata.plugin_data.plugin_name
        found[plugin][value.tag, event.step].append(tf.make_ndarray(value.tensor))
  return found


def scalars(*run_dirs: pathlib.Path) -> dict[tuple[str, int], set[float]]:
  """(tag, step) -> different values; those of how fast it went are left out."""
  return {key: {float(v) for v in values} for key, values in logged(*run_dirs)["scalars"].items() if not key[0].startswith("throughput/")}
