"""The ordered map: order, bounded work ahead, and a worker that dies is told instead of waited for."""

import itertools
import operator
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tfrecord_tools import pool
from tfrecord_tools.readers.video import Undecodable


def test_results_come_in_order_from_other_processes():
  with pool.ordered_map(2) as parallel:
    assert list(parallel(operator.neg, range(50))) == [-n for n in range(50)]
    assert next(iter(parallel(eval, ["__import__('os').getpid()"]))) != os.getpid()


def test_one_worker_is_this_process():
  with pool.ordered_map(1) as parallel:
    assert list(parallel(eval, ["__import__('os').getpid()"])) == [os.getpid()]


def test_a_slow_reader_holds_the_workers_back():
  taken = itertools.count()
  with pool.ordered_map(2) as parallel:
    results = parallel(operator.neg, (next(taken) for _ in range(1000)))
    assert [next(results) for _ in range(3)] == [0, -1, -2]
    assert next(taken) <= 2 * pool.AHEAD + 3


def test_workers_do_not_load_tensorflow():
  with pool.ordered_map(2) as parallel:
    modules = "[m for m in __import__('sys').modules if m.split('.')[0] in ('tensorflow', 'keras')]"
    assert list(parallel(eval, [modules])) == [[]]


def test_a_worker_that_is_killed_is_told():
  with pool.ordered_map(2) as parallel:
    with pytest.raises(pool.WorkerLost, match="a worker process was killed.*--workers"):
      list(parallel(eval, ["__import__('os').kill(__import__('os').getpid(), 9)"] * 3))


CTRL_C = """
import operator, os, signal, threading, time
from tfrecord_tools import pool

def items():
  yield 1
  for _ in range(60):  # while the first worker starts
    time.sleep(0.02)
    os.killpg(0, signal.SIGINT)
  yield 2

def another():  # a thread that takes the signal where the main one is deaf
  signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
  os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, lambda *_: None)
with pool.ordered_map(2) as parallel:
  print(list(parallel(operator.neg, items())))
signal.signal(signal.SIGINT, signal.default_int_handler)
with pool.ordered_map(2) as parallel:
  print(list(parallel(operator.neg, [3])))
  try:
    with pool.deaf():
      for _ in range(2):
        threading.Thread(target=another).start()
        time.sleep(0.05)
      print("started")
  except KeyboardInterrupt:
    print("heard")
"""


def test_workers_hear_no_ctrl_c_not_even_while_they_start():
  root = pathlib.Path(__file__).resolve().parents[2]
  answer = subprocess.run([sys.executable, "-c", CTRL_C], capture_output=True, text=True, cwd=root, start_new_session=True, timeout=120,
                          check=False)
  assert (answer.returncode, answer.stdout, answer.stderr) == (0, "[-1, -2]\n[-3]\nstarted\nheard\n", "")


def test_an_unusable_item_is_an_answer_and_an_error_is_an_error():
  def undecodable(_):
    raise Undecodable("empty file")
  assert pool.make_one(undecodable, 95, None) == pool.LeftOut("empty file")
  with pytest.raises(ZeroDivisionError):
    pool.make_one(lambda work: 1 // work, 95, 0)


def test_pictures_travel_as_jpeg():
  frame = np.full((8, 8, 3), 99, np.uint8)
  fields = pool.make_one(lambda work: {"frames": [frame, b"jpeg already"]}, 95, None)
  assert fields["frames"][0].startswith(b"\xff\xd8") and fields["frames"][1] == b"jpeg already"
  assert pool.make_one(lambda work: {"pixels": frame}, 95, None)["pixels"].startswith(b"\xff\xd8")
