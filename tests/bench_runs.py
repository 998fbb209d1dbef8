"""The benchmark's program, run in the process of its tests."""

import contextlib
import io

from mppar_tf import bench


def run_bench(*arguments):
  """Its exit code and what it printed."""
  out = io.StringIO()
  with contextlib.redirect_stdout(out):
    code = bench.main(list(arguments))
  return code, out.getvalue()
