"""One training at a time works in a run folder; a lock that somebody left, or a file system without locks, stops nobody."""

import errno
import fcntl
import os
import threading
import types

import fixtures
import pytest
import tiny_runs

from mppar_tf import flagfiles, loop, options, train, train_lock

RAW = "--method=raw"  # learns next to nothing, and quickly


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  folder = tmp_path_factory.mktemp("records")
  fixtures.write_tiny_datasets(folder)
  return folder


def run_here(data, *flags) -> int:
  """Trains in this process, whose TensorFlow is set up already; returns the exit code."""
  arguments = [*tiny_runs.WORLD, *tiny_runs.GAME, "--nodeterministic", f"--data_dir={data}", *flags]
  program = lambda: train.run(*(flagfiles.read(cls) for cls in train.PROGRAM_OPTIONS))
  return flagfiles.main(program, train.PROGRAM_OPTIONS, "", arguments=arguments)


@pytest.fixture
def held(tmp_path):
  """A run folder in which somebody works: its lock, which is free once it is closed."""
  (tmp_path / "run").mkdir()
  with open(tmp_path / "run" / train_lock.LOCK, "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield lock


def test_a_second_training_in_a_folder_is_refused_and_the_first_goes_on(capsys, data, tmp_path, monkeypatch):
  """With the first one's flags and with others; both before anything is read or written."""
  run_dir, second, original = tmp_path / "run", [], loop.run

  def at_work(*arguments, **settings):
    if second:
      pytest.fail("a second one trains")
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}
    for flags in ([RAW], [RAW, "--seed=1"]):
      capsys.readouterr()
      second.append(None)
      second[-1] = run_here(data, f"--run_dir={run_dir}", *flags), capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")} == before
    original(*arguments, **settings)
  monkeypatch.setattr(loop, "run", at_work)
  assert run_here(data, f"--run_dir={run_dir}", RAW) == 0
  for code, told in second:
    [line] = told.splitlines()
    assert code == train.BAD_INPUT == 2 and f"another training is at work in {run_dir}: " in line and "another --run_dir" in line
  assert len(second) == 2 and tiny_runs.steps(run_dir) and not (run_dir / train_lock.LOCK).exists()
  monkeypatch.setattr(loop, "run", original)
  assert run_here(data, f"--run_dir={run_dir}", RAW) == 0, "it was not let go"


def test_a_lock_file_that_a_killed_training_left_stops_nobody(data, tmp_path):
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / train_lock.LOCK).touch()
  assert run_here(data, f"--run_dir={tmp_path / 'run'}", RAW) == 0
  assert not (tmp_path / "run" / train_lock.LOCK).exists()


def test_the_folder_is_let_go_before_the_process_ends_itself(tmp_path, monkeypatch):
  """As `leaving.leave` does, which runs nothing after it."""
  seen = []
  monkeypatch.setattr(train, "train_in", lambda run_dir, *_, end: seen.append((run_dir / train_lock.LOCK).exists()) or end(75))
  task = types.SimpleNamespace(name="", chief=True)
  end = lambda code: seen.append((tmp_path / "run" / train_lock.LOCK).exists()) or code
  assert train.train(task, options.RunOptions(run_dir=str(tmp_path / "run")), end=end) == 75
  assert seen == [True, False]


def test_of_several_workers_the_chief_alone_holds_the_folder(held, tmp_path, monkeypatch):
  monkeypatch.setattr(train, "train_in", lambda *_, end: end(0))
  monkeypatch.setattr(train.workers, "PORT_PATIENCE", 0.1)
  run = options.RunOptions(run_dir=str(tmp_path / "run"), strategy="multi_worker")
  assert train.train(types.SimpleNamespace(name="worker 1", chief=False), run, end=int) == 0
  with pytest.raises(options.OptionError, match="another training is at work"):
    train.train(types.SimpleNamespace(name="worker 0", chief=True), run, end=int)


def test_a_predecessor_that_is_about_to_end_is_waited_for(held, tmp_path):
  threading.Timer(0.3, held.close).start()
  with train_lock.alone_in(tmp_path / "run", patience=60.0):
    assert (tmp_path / "run" / train_lock.LOCK).exists()


def test_what_nobody_wrote_into_is_gone_again(tmp_path):
  (tmp_path / "runs").mkdir()
  with train_lock.alone_in(tmp_path / "runs" / "a" / "b"):
    assert (tmp_path / "runs" / "a" / "b").is_dir()
  assert (tmp_path / "runs").is_dir() and not (tmp_path / "runs" / "a").exists()
  with train_lock.alone_in(tmp_path / "runs" / "a" / "b"):
    (tmp_path / "runs" / "a" / "b" / "flags.txt").touch()
  assert [path.name for path in (tmp_path / "runs" / "a" / "b").iterdir()] == ["flags.txt"]


def test_a_lock_whose_file_is_gone_by_now_is_no_lock(tmp_path, monkeypatch):
  """Somebody opened it, then its owner ended: the next one would lock another file of that name, and both would train."""
  flock, taken = fcntl.flock, []

  def slow(handle, how):
    if not taken:
      (tmp_path / train_lock.LOCK).unlink()
    taken.append(os.fstat(handle).st_ino)
    flock(handle, how)
  monkeypatch.setattr(fcntl, "flock", slow)
  with train_lock.alone_in(tmp_path):
    assert len(taken) == 2 and (tmp_path / train_lock.LOCK).stat().st_ino == taken[1]
    with pytest.raises(options.OptionError, match="another training is at work"), train_lock.alone_in(tmp_path):
      pytest.fail("two at a time")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_stops_nobody(tmp_path, monkeypatch, number):
  def none_here(*_):
    raise OSError(number, os.strerror(number))
  monkeypatch.setattr(fcntl, "flock", none_here)
  entered = []
  with train_lock.alone_in(tmp_path / "run"):
    entered.append(number)
  assert entered and not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_one_line(capsys, data, tmp_path):
  (tmp_path / "file").touch()
  capsys.readouterr()
  assert run_here(data, f"--run_dir={tmp_path / 'file' / 'run'}", RAW) == 2
  [line] = capsys.readouterr().err.splitlines()
  assert f"{tmp_path / 'file' / 'run'} cannot be written: " in line


def test_a_damaged_mark_of_the_best_is_told_before_training(capsys, data, tmp_path):
  flags = [f"--run_dir={tmp_path}", "--method=basic", "--reconstruction_steps=0", "--action_steps=0", "--attacker_init_steps=0",
           "--max_steps=1", "--min_recognizer_steps=0", "--max_recognizer_steps=0", "--max_attacker_rounds=0"]
  assert run_here(data, *flags) == 0
  (tmp_path / "checkpoints" / "best.json").write_text("")
  capsys.readouterr()
  assert run_here(data, *flags) == 2
  [line] = [line for line in capsys.readouterr().err.splitlines() if line.strip() and "%|" not in line]
  assert f"{tmp_path / 'checkpoints' / 'best.json'} is damaged" in line
