"""How a case can end."""

import pathlib
import random
from typing import Any, Callable, Mapping, NamedTuple

from mppar_tf.messages import one_line

# What is allowed. `same`: the result of the sound input. `error`: an error of the project's own that names the file. `listed`: the other
# results, with each that is missing told. `other`: another sound input, which nobody can tell from one that was meant.
SAME, ERROR, LISTED, OTHER = "same", "error", "listed", "other"
ALLOWED = (SAME, ERROR, LISTED, OTHER)

LOSS = "loss"  # fewer or other results, and no error
EXCEPTION = "exception"  # any other exception, or an error that does not name its file
CRASH, HANG, MEMORY = "crash", "hang", "memory"
LEAK = "leak"  # the camera alone: something raw got out
FAILURES = (LOSS, EXCEPTION, CRASH, HANG, MEMORY, LEAK)

INPUT = "input"  # folder of a case that holds what was changed


class Outcome(NamedTuple):
  """How one case ended."""
  kind: str  # one of ALLOWED or FAILURES
  words: str = ""

  @property
  def failed(self) -> bool:
    return self.kind in FAILURES


class Target(NamedTuple):
  """One kind of input, and the code that reads it.

  `prepare(folder)` makes the sound inputs there and returns what `attempt` needs. `attempt(prepared, rng, folder)` changes an input by what
  `rng` draws, leaves the changed file in `folder`/INPUT, reads it, and judges. What it raises is judged as EXCEPTION.
  """
  prepare: Callable[[pathlib.Path], Any]
  attempt: Callable[[Any, random.Random, pathlib.Path], Outcome]


def error(told: Exception | str, *names: str) -> Outcome:
  """ERROR, if it holds one of `names`."""
  words = one_line(told)  # as programs print it
  if not any(name in words for name in names):
    return Outcome(EXCEPTION, f"an error that names none of {', '.join(names)}: {words}")
  return Outcome(ERROR, words)


def keep(folder: pathlib.Path, files: Mapping[str, bytes]) -> None:
  """Leaves changed files where a failure is looked at afterwards, also by who finds this process dead."""
  for name, content in files.items():
    path = folder / INPUT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
