"""mppar_tf.train in a process that sends itself a signal at a chosen moment: `python stopped_training.py MOMENT SIGNAL FLAGS...`.

Moments: `start` (networks are being built), `before:NAME` and `after:NAME` (the checkpoint NAME, written under another name, gets its
own), `batch:ROLE:N` (the N-th step of a role, counted from 0, reads its batch).
"""

import os
import pathlib
import signal
import sys


def arm(moment: str, number: signal.Signals) -> None:
  """Replaces the function that stands at `moment` by one that also sends the signal."""
  from mppar_tf import experiment, feeding
  kind, _, rest = moment.partition(":")
  owner, name = {"start": (experiment, "build"), "before": (os, "replace"), "after": (os, "replace"),
                 "batch": (feeding.Feeder, "batch")}[kind]
  original = getattr(owner, name)

  def now(*arguments) -> bool:
    if kind == "batch":
      return rest == f"{arguments[1]}:{arguments[2]}"
    return kind == "start" or pathlib.Path(arguments[1]).name == rest

  def replaced(*arguments, **settings):
    hit = now(*arguments)
    if hit and kind != "after":
      os.kill(os.getpid(), number)
    result = original(*arguments, **settings)
    if hit and kind == "after":
      os.kill(os.getpid(), number)
    return result
  setattr(owner, name, replaced)


if __name__ == "__main__":
  os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
  sys.path.insert(0, os.environ["PYTHONPATH"])
  from mppar_tf import train
  arm(sys.argv[1], signal.Signals[sys.argv[2]])
  sys.argv = ["train", *sys.argv[3:]]
  sys.exit(train.main())
