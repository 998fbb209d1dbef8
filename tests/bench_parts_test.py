"""The benchmark's parts beside updates and reading: profile, whole trainings, building of records, libjpeg as the limit."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
import tensorflow as tf
from bench_runs import run_bench

from mppar_tf import bench, bench_building, bench_jpeg, bench_precision, bench_profile, bench_scale, bench_tables, bench_videos

# Processes that import TensorFlow, one after the other, while other programs may use the machine.
pytestmark = pytest.mark.timeout(1200)


# ---- profile ----


def test_the_profile_knows_what_ran():
  matrix = tf.random.stateless_normal([600, 600], [1, 2])

  @tf.function
  def work():
    return tf.cond(tf.reduce_sum(matrix) < 1e9, lambda: tf.reduce_sum(tf.matmul(tf.matmul(matrix, matrix), matrix)), lambda: 0.0)
  work()
  found = bench_profile.profiled(work)
  assert found["op:MatMul"] > 0 and found["op:MatMul"] == max(found.values())
  assert not {f"op:{name}" for name in bench_profile.HOLDERS} & set(found)


def test_shares_of_ops_are_means_and_the_rest_is_told():
  rounds = [{"a": {"op:X": 1.0, "op:Y": 4.0, "seconds": 9.0}, "b": {"op:X": 2.0, "op:Z": 0.5}}, {"a": {"op:X": 3.0}}]
  assert bench_tables.shares(rounds, 1) == [("X", {"a": 2.0, "b": 2.0}), ("others", {"a": 2.0, "b": 0.5})]
  assert [name for name, _ in bench_tables.shares(rounds, 9)] == ["X", "Y", "Z"]


# ---- precision ----


def test_precision_is_measured_against_the_same_gradient(monkeypatch, tmp_path):
  real = bench.update_jobs

  def tiny(*given):
    tiny_model = {"anonymizer_size": "tiny", "recognizer_size": "tiny", "attacker_size": "tiny"}
    return {name: one._replace(arguments=one.arguments | {"model": dataclasses.replace(one.arguments["model"], **tiny_model)})
            for name, one in real(*given).items()}
  monkeypatch.setattr(bench, "update_jobs", tiny)
  code, out = run_bench("--bench_parts=precision_paper", "--bench_rounds=1", "--clip_frames=4", "--crop=16",
                        f"--bench_json={tmp_path / 'bench.json'}")
  part = json.loads((tmp_path / "bench.json").read_text())["parts"]["precision_paper"]
  assert code == 0 and part["failures"] == {} and part["facts"]["mixed_bfloat16"]["precision"] == "mixed_bfloat16"
  assert part["distances"]["float32"] == {name: {"relative_error": 0.0, "cosine": pytest.approx(1)} for name in bench_precision.PARTS}
  for name in bench_precision.PARTS:
    rounded = part["distances"]["mixed_bfloat16"][name]
    assert part["distances"]["float32, one thread"][name]["relative_error"] < 1e-3 < rounded["relative_error"] < 0.5
    assert 0.9 < rounded["cosine"] < 1
  assert "\n| mixed_bfloat16 | " in out and "support: error" in out


# ---- trainings ----


SCALE = """# A training as small as there is.
--benchmark=ucf101_vispr
--clip_frames=2
--frame_skip=1
--crop=16
--anonymizer_size=tiny
--recognizer_size=tiny
--attacker_size=tiny
--training_attackers=mobilenet_v2_0.35,mobilenet_v2_0.5
--action_batch=2
--privacy_batch=4
--recognizer_batch=2
--attacker_batch=4
--sets_every=2
"""


def test_whole_trainings_are_measured_and_a_failing_one_is_told(tmp_path):
  (tmp_path / "good.flags").write_text(SCALE)
  (tmp_path / "bad.flags").write_text(SCALE + "--crop=200\n")
  code, out = run_bench("--bench_parts=trainings_paper", f"--bench_trainings={tmp_path / 'good.flags'},{tmp_path / 'bad.flags'}",
                        f"--bench_json={tmp_path / 'bench.json'}")
  part = json.loads((tmp_path / "bench.json").read_text())["parts"]["trainings_paper"]
  good, bad = part["trainings"].values()
  assert code == bench.FAILED and [list(part["failures"])[0], bad["exit_code"]] == [str(tmp_path / "bad.flags"), 2]
  assert "crop 200 does not fit" in bad["last_line"] and "crop 200 does not fit" in out
  assert good["exit_code"] == 0 and good["peak_mib"] > 200 and good["seconds"] > 5
  roles = {role.partition("/")[0] for role in good["roles"]}
  assert roles == {"reconstruction", "action", "attacker", "recognizer", "validation", "anonymizer"}
  for figures in good["roles"].values():
    assert figures["first_seconds"] > figures["seconds"] > 0, "the first call traces"


def test_a_whole_training_is_compared_by_cpu_time(monkeypatch, tmp_path):
  def train(flags, data_dir):
    exact = "--method=mppar" in flags and "--meta_gradient=exact" in flags
    assert data_dir == "there" and "--flagfile=protocol_a.flags" in flags and "--seed=3" in flags
    return {"exit_code": 0, "seconds": 90.0, "cpu_seconds": 120.0 * (1 + exact), "peak_mib": 700.0, "last_line": "",
            "roles": {"anonymizer": {"steps": 300, "first_seconds": 9.0, "seconds": 0.1, "all_seconds": 39.0}}}
  monkeypatch.setattr(bench_scale, "train", train)
  code, out = run_bench("--bench_parts=training_small", "--data_dir=there", "--seed=3")
  assert code == 0 and "| mppar exact | 4.00 | 2.00 | 1.50 | 700 | 0.65 (300 updates) |" in out and "| basic | 2.00 | 1.00 |" in out


# ---- building ----


def test_pictures_are_found_again_by_video_and_frame(tmp_path):
  frames = [[np.full((8, 8, 3), 40 * video + 10 * number, np.uint8) for number in range(2)] for video in range(3)]
  encoded = [[cv2.imencode(".png", frame)[1].tobytes() for frame in video] for video in frames]
  assert bench_jpeg.save_pictures(str(tmp_path), encoded, 2) == sum(len(one) for video in encoded for one in video)
  bench_videos.save_plan(str(tmp_path), [bench_videos.Cut(2, 1, 0, 0, False)] * 2)
  turn, _ = bench_jpeg.prepare(folder=str(tmp_path), batch=1, lead=0, batches=1, threads=1, of_clip={"frames": 3, "skip": 1, "total": 2})
  assert turn(0)["clips"] == 1
  with pytest.raises(RuntimeError, match="video 0 has 2 frames of 3"):
    bench_jpeg.save_pictures(str(tmp_path), encoded, 3)


def test_a_picture_that_is_none_is_no_decoded_picture(tmp_path):
  bench_jpeg.save_pictures(str(tmp_path), [[b"no picture"]], 1)
  bench_videos.save_plan(str(tmp_path), [bench_videos.Cut(0, 0, 0, 0, False)])
  turn, _ = bench_jpeg.prepare(folder=str(tmp_path), batch=1, lead=0, batches=1, threads=1, of_clip={"frames": 1, "skip": 1, "total": 1})
  with pytest.raises(RuntimeError, match="pictures that are none"):
    turn(0)


def test_a_projection_leaves_the_start_of_the_program_out():
  one = {"building": {"seconds": 110.0, "frames": 1010, "bytes": 2020}, "starting": {"seconds": 10.0, "frames": 10, "bytes": 20}}
  slower = {"building": {"seconds": 210.0, "frames": 1010, "bytes": 2020}, "starting": {"seconds": 10.0, "frames": 10, "bytes": 20}}
  found = bench_building.projection([one, slower, slower, {"decoding": {"seconds": 1.0}}])
  assert set(found) == {"UCF101", "HMDB51"} and found["UCF101"]["frames"] == pytest.approx(13320 * 187.525, rel=1e-4)
  for dataset in found.values():
    assert dataset["hours"] == pytest.approx({"median": 0.2 * dataset["frames"] / 3600, "min": 0.1 * dataset["frames"] / 3600,
                                              "max": 0.2 * dataset["frames"] / 3600})
    assert dataset["gigabytes"] == pytest.approx(2e-9 * dataset["frames"])
  assert bench_building.projection([{"building": one["building"]}]) == {}


@pytest.mark.parametrize("real", [False, True])
def test_material_is_made_or_taken_in_turn(tmp_path, real):
  source, folder = tmp_path / "source" / "deep", tmp_path / "made"
  source.mkdir(parents=True)
  folder.mkdir()
  for number, frames in enumerate((5, 7)):
    bench_videos.write_video(str(source / f"{number}.avi"), bench_videos.pictures(number, frames, 48, 64), "mpeg4")
  (source / "notes.txt").write_text("no video")
  facts = bench_building.make(folder=str(folder), source=str(tmp_path / "source") if real else None, videos=10, video_frames=3, seed=0)[1]
  assert facts["frames"] == (5 * 5 + 5 * 7 if real else 30) and facts["few_frames"] == (17 if real else 9)
  assert facts["videos"] == 10 and facts["different"] == (2 if real else 10)
  lines = (folder / "all.csv").read_text().splitlines()
  assert len(lines) == 11 and {line.split(",")[1] for line in lines[1:]} == {"train", "validation", "test"}
  assert (folder / "few.csv").read_text().splitlines() == lines[:4]


def test_building_is_measured_beside_decoding_and_compressing(tmp_path):
  code, out = run_bench("--bench_parts=building", "--bench_rounds=1", "--bench_build_videos=10", "--bench_video_frames=6",
                        f"--bench_json={tmp_path / 'bench.json'}")
  part = json.loads((tmp_path / "bench.json").read_text())["parts"]["building"]
  assert code == 0 and part["variants"] == ["decoding", "compressing", "building", "starting"] and part["failures"] == {}
  [figures] = part["rounds"]
  assert [figures[name]["frames"] for name in part["variants"]] == [60, 60, 60, 18]
  assert figures["building"]["bytes"] > figures["starting"]["bytes"] > 18 * 4000, "records hold JPEGs"
  assert figures["building"]["cpu_seconds"] > figures["decoding"]["cpu_seconds"] > 0
  assert "\n| building | " in out and "| UCF101 | 13320 | 2.50 million (187.5 frames a video" in out
