"""Progress bars: lively on a terminal, rare in a log."""

import sys

import tqdm

TERMINAL_SECONDS, LOG_SECONDS = 0.5, 10.0  # between two drawings; a log keeps every one of them


def progress_bar(*args, **settings) -> tqdm.tqdm:
  """`tqdm.tqdm` with a rhythm that suits where stderr goes; arguments are tqdm's own."""
  seconds = TERMINAL_SECONDS if sys.stderr.isatty() else LOG_SECONDS
  return tqdm.tqdm(*args, mininterval=seconds, maxinterval=LOG_SECONDS, **settings)
