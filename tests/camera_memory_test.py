"""Memory stays flat over a long run through the real engine, with tiles, a video sink and a watched preview page.

MPPAR_CAMERA_MEMORY_FRAMES makes it longer (45000 are half an hour at 25 frames per second), MPPAR_CAMERA_MEMORY_MODEL takes another export.
"""

import contextlib
import http.client
import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import footage
import pytest
import tiny_exports

from mppar_tf.on_camera import preview

ROOT = pathlib.Path(__file__).resolve().parents[1]
FRAMES = int(os.environ.get("MPPAR_CAMERA_MEMORY_FRAMES", "1200"))
SETTLED = 0.25           # of the samples: until then queues fill, the encoder starts, caches warm
GROWTH_MIB = 6           # beyond what each frame may leave
BYTES_A_FRAME = 200      # an MP4's index is written at its end, a row for each frame


def sampled(process, read):
  """[(frames written, MiB resident)] of a running process."""
  found = []
  while process.poll() is None:
    time.sleep(0.02)
    with contextlib.suppress(OSError, ValueError, StopIteration):
      status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
      resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024
      found.append((read(), resident))
  return found


def watch(port, process):
  """A viewer that reads as fast as it can. The bytes that it has seen."""
  seen = [0]

  def look():
    while process.poll() is None:
      with contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        connection.request("GET", "/frames.mjpeg")
        answer = connection.getresponse()
        while chunk := answer.read1(1 << 16):
          seen[0] += len(chunk)
      time.sleep(0.05)
  threading.Thread(target=look, daemon=True).start()
  return seen


@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_memory_stays_flat(tmp_path):
  model = os.environ.get("MPPAR_CAMERA_MEMORY_MODEL") or tiny_exports.write(tmp_path / "model", tiny_exports.anonymizer())
  with preview.Preview(0) as probe:
    port = probe.port
  figures = tmp_path / "stats.json"
  command = [sys.executable, "-m", "mppar_tf.camera", f"--model={model}", f"--source=test:96x64@25:frames={FRAMES}", "--framing=tile",
             "--tile_scale=3", f"--sink={tmp_path / 'safe.mp4'}", f"--preview_port={port}", f"--stats_json={figures}",
             "--stats_seconds=0.25"]
  start = time.monotonic()
  with open(tmp_path / "said", "wb") as said:  # a pipe that nobody reads would be full of figures after a while
    process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said)
  seen = watch(port, process)
  samples = sampled(process, lambda: json.loads(figures.read_text())["frames"]["written"])
  assert process.returncode == 0, (tmp_path / "said").read_text()[-2000:]
  assert len(footage.read_video(tmp_path / "safe.mp4")) == FRAMES and seen[0] > 10_000
  settled = [sample for sample in samples if sample[0] > SETTLED * FRAMES]
  assert len(settled) > 10
  fourth = len(settled) // 4
  first, last = (sorted(mib for _, mib in part)[fourth // 2] for part in (settled[:fourth], settled[-fourth:]))  # medians
  print(json.dumps({"frames": FRAMES, "seconds": round(time.monotonic() - start), "samples": len(samples), "first_mib": round(first, 1),
                    "last_mib": round(last, 1), "peak_mib": round(max(mib for _, mib in samples), 1),
                    "preview_mb": round(seen[0] / 1e6, 1)}))
  assert last - first < GROWTH_MIB + BYTES_A_FRAME * FRAMES / 2**20
