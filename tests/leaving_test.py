"""A program that ends at once has shown what it printed and left no files behind."""

import subprocess
import sys

TRACES = """
import sys
import tensorflow as tf
from mppar_tf import leaving

@tf.function
def traced(x):
  if x > 0:
    return x
  return -x

print(float(traced(tf.constant(-3.0))))
print([name for name in sys.modules if name.startswith("__autograph_generated_file")] != [])
leaving.leave(7, "told")
"""


def test_what_autograph_has_written_is_gone(tmp_path):
  source = tmp_path / "traces.py"
  source.write_text(TRACES)
  place = tmp_path / "temporary"
  place.mkdir()
  ended = subprocess.run([sys.executable, str(source)], capture_output=True, text=True,
                         env={"TMPDIR": str(place), "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": "", "CUDA_VISIBLE_DEVICES": ""})
  assert (ended.returncode, ended.stdout) == (7, "3.0\nTrue\n") and ended.stderr.endswith("told\n"), ended.stderr
  assert [path.name for path in place.rglob("*") if path.is_file()] == []
