"""Bars are redrawn often on a terminal and hardly ever in a log."""

import io
import sys
import time

import pytest

from mppar_tf import progress


class Stderr(io.StringIO):
  def __init__(self, terminal):
    super().__init__()
    self._terminal = terminal

  def isatty(self):
    return self._terminal


@pytest.mark.parametrize("terminal, drawings", [(True, 20), (False, 2)])
def test_a_log_gets_the_first_and_the_last_drawing(monkeypatch, terminal, drawings):
  """A terminal gets far more than two; there the time between two drawings is made short, so that the test is."""
  stderr = Stderr(terminal)
  monkeypatch.setattr(sys, "stderr", stderr)
  monkeypatch.setattr(progress, "TERMINAL_SECONDS", 0.01)
  with progress.progress_bar(total=50, desc="work", unit="step") as bar:
    for _ in range(50):
      time.sleep(0.02)
      bar.update()
  count = stderr.getvalue().count("work:")
  assert count >= drawings if terminal else count <= drawings, stderr.getvalue()
  assert "50/50" in stderr.getvalue()


def test_a_quiet_bar_shows_nothing(monkeypatch):
  stderr = Stderr(True)
  monkeypatch.setattr(sys, "stderr", stderr)
  assert list(progress.progress_bar(range(3), disable=True)) == [0, 1, 2]
  assert stderr.getvalue() == ""
