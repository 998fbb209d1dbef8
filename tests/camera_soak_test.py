"""The live camera while source and receiver go and come back in turn: it goes on, grows no memory, and sends no raw picture.

MPPAR_CAMERA_SOAK_SECONDS makes it longer.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest
import streams
import tiny_exports

from mppar_tf import camera

ROOT = pathlib.Path(__file__).resolve().parents[1]
SECONDS = float(os.environ.get("MPPAR_CAMERA_SOAK_SECONDS", "4"))
CYCLE_SECONDS = 1.6  # of a connection; then it is lost for half as long
GROWTH_MIB = 24


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  return tiny_exports.write(tmp_path_factory.mktemp("models") / "good", tiny_exports.anonymizer())


def test_source_and_receiver_go_and_come_back(model, tmp_path):
  raw = tiny_exports.pictures(50, 240, 320)
  chunks = streams.transport_stream(raw)
  with camera.CameraAnonymizer(model) as anonymize:
    safe = [anonymize(picture) for picture in streams.decoded(chunks)]
  ports, figures = (streams.free_port(), streams.free_port()), tmp_path / "stats.json"
  server = streams.HttpServer(chunks * 50, rate=25, port=ports[0])
  receiver = streams.Receiver(f"tcp://127.0.0.1:{ports[1]}", silence=1.0)
  command = [sys.executable, "-m", "mppar_tf.camera", f"--model={model}", f"--source=http://127.0.0.1:{ports[0]}/",
             f"--sink=tcp://127.0.0.1:{ports[1]}", f"--max_seconds={SECONDS}", f"--stats_json={figures}", "--stats_seconds=0.5",
             "--source_options=analyzeduration=200000", "--timeout_seconds=2"]
  log = tmp_path / "log.txt"
  with open(log, "w", encoding="utf-8") as told:  # no pipe, which a long run would fill
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=told)
  turns, received, memory, pictures = 0, 0, [], []
  streams.until(figures.exists)
  while run.poll() is None:
    time.sleep(CYCLE_SECONDS)
    memory.append(json.loads(figures.read_text())["rss_mib"])
    turns += 1
    if turns % 2:
      receiver.stop()
      pictures += [receiver.frames[i][1] for i in range(0, len(receiver.frames), 10)]
      received += len(receiver.frames)
      time.sleep(CYCLE_SECONDS / 2)
      receiver = streams.Receiver(f"tcp://127.0.0.1:{ports[1]}", silence=1.0)
    else:
      server.__exit__()
      time.sleep(CYCLE_SECONDS / 2)
      server = streams.HttpServer(chunks * 50, rate=25, port=ports[0])
  server.__exit__()
  receiver.stop()
  assert run.returncode == 0, log.read_text()
  found = json.loads(figures.read_text())
  frames = found["frames"]
  assert frames["source_reconnects"] >= turns // 2 - 1 and frames["sink_reconnects"] >= turns // 2 - 1 and turns >= 2
  assert frames["decoded"] == frames["written"] + frames["dropped_raw"] + frames["dropped_anonymized"]
  assert received > 10 and len(pictures) > 1
  levels = [(streams.likest(one, safe)[1], streams.likest(one, raw)[1]) for one in pictures]
  assert min(level for level, _ in levels) > 25 and max(level for _, level in levels) < 20
  assert memory[-1] - memory[len(memory) // 4] < GROWTH_MIB, memory
  print(json.dumps({"turns": turns, "received": received, "first_rss_mib": memory[len(memory) // 4], **found}))
