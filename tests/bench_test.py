"""Ratios come from interleaved rounds, each variant has its own memory, one that dies is told, and the program gives every figure."""

import dataclasses
import json
import random
import statistics

import numpy as np
import pytest
from bench_runs import run_bench

from mppar_tf import bench, bench_input, bench_videos, options, side_by_side
from mppar_tf.data import records
from mppar_tf.side_by_side import Job

TINY = """# Networks of a few hundred parameters.
--clip_frames=2
--frame_skip=1
--crop=8
--anonymizer_size=tiny
--recognizer_size=tiny
--attacker_size=tiny
--training_attackers=mobilenet_v2_0.35
--action_batch=2
--privacy_batch=4
"""
# Processes that import TensorFlow, one after the other, while other programs may use the machine.
pytestmark = pytest.mark.timeout(1200)
MEASURED = ["basic", "mppar exact"]
CLIP = options.ClipOptions(clip_frames=4, frame_skip=2, crop=48)


def job(function, **arguments):
  return Job("bench_jobs", function, arguments)


# ---- ratios and rounds ----


def test_a_ratio_is_the_median_over_rounds_not_that_of_two_medians():
  found = side_by_side.summary([{"a": 1.0, "b": 3.0}, {"a": 10.0, "b": 20.0}, {"a": 2.0, "b": 8.0}], "a")
  assert found["b"] == {"median": 8.0, "min": 3.0, "max": 20.0, "count": 3, "ratio": 3.0, "ratio_min": 2.0, "ratio_max": 4.0}
  assert found["a"]["ratio"] == found["a"]["ratio_min"] == found["a"]["ratio_max"] == 1.0


def test_a_machine_whose_speed_changes_between_rounds_leaves_ratios_alone():
  draw = random.Random(0)
  rounds = [{name: draw.uniform(1, 2) for name in "abc"} for _ in range(9)]
  slowed = [{name: value * factor for name, value in one.items()} for one, factor in zip(rounds, (draw.uniform(0.1, 10) for _ in rounds))]
  quiet, busy = side_by_side.summary(rounds, "a"), side_by_side.summary(slowed, "a")
  for name in "abc":
    for key in ("ratio", "ratio_min", "ratio_max"):
      assert busy[name][key] == pytest.approx(quiet[name][key])
    assert busy[name]["median"] != pytest.approx(quiet[name]["median"])


def test_rounds_without_the_reference_or_the_variant_count_for_no_ratio():
  found = side_by_side.summary([{"a": 1.0, "b": 4.0}, {"b": 9.0}, {"a": 2.0}], "a")
  assert found["b"]["count"] == 2 and found["b"]["median"] == 6.5 and found["b"]["ratio"] == found["b"]["ratio_max"] == 4.0
  assert "ratio" not in side_by_side.summary([{"b": 9.0}], "a")["b"]


def test_every_round_holds_every_variant_once_one_at_a_time_and_begins_with_another(tmp_path):
  names = ["x", "y", "z"]
  log, seen = tmp_path / "log.txt", []
  found = side_by_side.measure({name: job("logged", path=str(log), name=name) for name in names}, 4, seen.append)
  lines = [line.split() for line in log.read_text().splitlines()]
  assert [[name for name, number, *_ in lines if int(number) == r] for r in range(5)] == [
      ["x", "y", "z"], ["y", "z", "x"], ["z", "x", "y"], ["x", "y", "z"], ["y", "z", "x"]]
  times = [(float(begin), float(end)) for *_, begin, end in lines]
  assert all(end <= begin for (_, end), (begin, _) in zip(times, times[1:])), "two worked at the same time"
  assert found.facts["y"]["name"] == "y" and set(found.first) == set(names) and not found.failures
  assert len(found.rounds) == 4 and all(set(one) == set(names) for one in found.rounds)
  assert len(seen) == 15 and seen[0] == "x, first" and seen[-1] == "x, round 4"


def test_cpu_seconds_are_those_of_the_work():
  found = side_by_side.measure({"long": job("works", seconds=0.3), "short": job("works", seconds=0.1)}, 1)
  [figures] = found.rounds
  assert figures["long"]["cpu_seconds"] == pytest.approx(0.3, abs=0.08) and figures["short"]["cpu_seconds"] == pytest.approx(0.1, abs=0.08)
  assert figures["long"]["seconds"] >= 0.9 * figures["long"]["cpu_seconds"]


# ---- processes ----


def test_peak_memory_is_the_variant_s_own_and_not_its_parent_s():
  ballast = bytearray(600 * 2 ** 20)
  found = side_by_side.measure({"small": job("holds", mib=1), "large": job("holds", mib=300)}, 2)
  small, large = ([one[name]["peak_mib"] for one in found.rounds] for name in ("small", "large"))
  assert side_by_side.peak_mib() > len(ballast) / 2 ** 20 > 500
  assert max(small) < 150, "TensorFlow, or the parent's memory, is counted"
  assert 300 < large[0] < 450 and large[1] == large[0], "a peak stays"


@pytest.mark.parametrize("function, arguments, reason, measured", [
    ("killed", {"at": 2}, "killed by SIGKILL in round 2 (out of memory?)", [True, False, False]),
    ("killed", {"at": 0}, "killed by SIGKILL in its first turn (out of memory?)", [False] * 3),
    ("raises", {"at": 3}, "failed in round 3: MemoryError: cannot allocate 16 GiB", [True, True, False]),
    ("leaves", {}, "ended preparing with exit code 3", [False] * 3),
    ("nowhere", {}, "failed preparing: AttributeError: module 'bench_jobs' has no attribute 'nowhere'", [False] * 3)])
def test_a_variant_that_dies_is_told_and_the_others_go_on(function, arguments, reason, measured):
  found = side_by_side.measure({"bad": job(function, **arguments), "good": job("steady")}, 3)
  assert found.failures == {"bad": reason}
  assert ["bad" in one for one in found.rounds] == measured
  assert [one["good"]["seconds"] for one in found.rounds] == [2.0, 3.0, 4.0]


# ---- clips ----


@pytest.fixture(scope="module")
def video(tmp_path_factory):
  path = str(tmp_path_factory.mktemp("videos") / "video.mp4")
  bench_videos.write_video(path, bench_videos.pictures(3, 30))
  return path


@pytest.mark.parametrize("start, skip, flip", [(0, 1, False), (11, 2, False), (22, 2, True), (28, 3, False)])
def test_a_clip_holds_the_frames_of_a_whole_decoding(video, start, skip, flip):
  whole = bench_videos.read_all(video)
  assert len(whole) == 30 and whole[0].shape == (120, 160, 3)
  cut = bench_videos.Cut(0, start, 7, 31, flip)
  clip = bench_videos.read_clip(video, cut, frames=4, skip=skip, crop=48, total=30)
  expected = np.stack([whole[(start + i * skip) % 30][7:55, 31:79] for i in range(4)])
  np.testing.assert_array_equal(clip, expected[:, :, ::-1] if flip else expected)


def test_a_video_that_lacks_a_frame_is_no_clip(video):
  with pytest.raises(RuntimeError, match="frame 30 of 40"):
    bench_videos.read_clip(video, bench_videos.Cut(0, 28, 0, 0, False), frames=4, skip=1, crop=8, total=40)


def test_a_plan_comes_back_as_it_was(tmp_path):
  plan = [bench_videos.Cut(1, 2, 3, 4, True), bench_videos.Cut(5, 0, 0, 0, False)]
  bench_videos.save_plan(str(tmp_path), plan)
  assert bench_videos.load_plan(str(tmp_path)) == plan


def _made(folder):
  return bench_input.make(folder=str(folder), videos=3, video_frames=16, plan_clips=14, batch=4, clip=CLIP, seed=5)[1]


@pytest.fixture(scope="module")
def material(tmp_path_factory):
  """Folder, facts and plan of three short videos and their records."""
  folder = tmp_path_factory.mktemp("material")
  facts = _made(folder)
  return str(folder), facts, bench_videos.load_plan(str(folder))


def test_the_plan_is_what_the_pipeline_draws(material):
  _, facts, plan = material
  assert 0.1 < facts["mean_difference_of_255"] < 2 and facts["records_bytes"] > facts["videos_bytes"] > 0
  assert len(plan) == 14 and all({cut.video for cut in plan[first:first + 3]} == {0, 1, 2} for first in (0, 3, 6, 9))
  assert len({cut.start for cut in plan}) > 3 and {cut.flip for cut in plan} == {False, True}


@pytest.mark.parametrize("other", [
    lambda cut: cut._replace(start=cut.start + 2), lambda cut: cut._replace(left=(cut.left + 3) % 100),
    lambda cut: cut._replace(flip=not cut.flip), lambda cut: cut._replace(video=(cut.video + 1) % 3)],
    ids=["start", "window", "mirror", "video"])
def test_clips_that_are_others_are_seen_as_such(material, other):
  folder, _, plan = material
  split = records.open_split(bench_input.records_folder(folder), "train")
  assert bench_input._difference(split, folder, [other(cut) for cut in plan[:4]], CLIP, 5, 16) > bench_input.LARGEST_DIFFERENCE


def test_sides_that_read_other_clips_are_not_compared(tmp_path, monkeypatch):
  monkeypatch.setattr(bench_input, "_plan", lambda *_: [bench_videos.Cut(0, 0, 0, 0, False)] * 4)
  with pytest.raises(RuntimeError, match="do not give the same clips"):
    _made(tmp_path)


# ---- the program ----


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
  """The whole program on the smallest networks and videos there are."""
  folder = tmp_path_factory.mktemp("bench")
  (folder / "tiny.flags").write_text(TINY)
  with pytest.MonkeyPatch.context() as patch:
    # Tracing takes most of the time: the cheapest and the dearest stand for all four.
    patch.setattr(bench, "UPDATES", {name: bench.UPDATES[name] for name in MEASURED})
    code, out = run_bench("--bench_parts=updates_small,input", f"--bench_config={folder / 'tiny.flags'}", "--bench_rounds=3", "--threads=1",
                          f"--bench_json={folder / 'bench.json'}", "--bench_videos=3", "--bench_video_frames=16", "--bench_clips=9",
                          "--clip_frames=4", "--crop=48")
  assert code == 0
  return json.loads((folder / "bench.json").read_text()), out


def test_every_variant_of_an_update_has_every_figure(measured):
  report, out = measured
  part = report["parts"]["updates_small"]
  assert part["variants"] == MEASURED and part["failures"] == {}
  assert len(part["rounds"]) == 3
  for name in part["variants"]:
    seconds = part["summary"]["seconds"][name]
    assert 0 < seconds["min"] <= seconds["median"] <= seconds["max"] and seconds["count"] == 3
    assert seconds["ratio"] == pytest.approx(statistics.median(one[name]["seconds"] / one["basic"]["seconds"] for one in part["rounds"]))
    assert part["first"][name]["cpu_seconds"] > 5 * part["summary"]["cpu_seconds"][name]["median"], "the first call traces"
    assert part["rounds"][-1][name]["peak_mib"] >= part["facts"][name]["ready_mib"] > 100
    assert part["facts"][name]["replicas"] == 1
    assert set(part["facts"][name]["parameters"]) == {"anonymizer", "recognizer", "mobilenet_v2_0.35"}
    assert f"\n| {name} | {seconds['median']:.3g} |" in out and f"{seconds['ratio']:.2f} ({seconds['ratio_min']:.2f} to" in out
  assert part["first"]["mppar exact"]["cpu_seconds"] > part["first"]["basic"]["cpu_seconds"], "second order has the larger graph"
  assert part["sizes"]["clips"] == 2 and part["sizes"]["images"] == 4 and "2 clips of 2x8x8 and 4 images; johnson (tiny)" in out


def test_both_sources_of_clips_have_every_figure(measured):
  report, out = measured
  part = report["parts"]["input"]
  assert part["variants"] == ["videos", "records", "libjpeg"] and part["failures"] == {}
  assert part["material"]["mean_difference_of_255"] < 2.5
  assert {one[name]["clips"] for one in part["rounds"] for name in one} == {16}, "nine clips are two batches"
  rates = part["summary"]["clips_per_second"]
  assert rates["records"]["ratio"] == pytest.approx(
      statistics.median(one["videos"]["seconds"] / one["records"]["seconds"] for one in part["rounds"]))
  for name in part["variants"]:
    assert rates[name]["median"] == pytest.approx(statistics.median(16 / one[name]["seconds"] for one in part["rounds"]))
    assert f"\n| {name} | {rates[name]['median']:.3g} |" in out and f"| {rates[name]['median'] * 4 * 48 * 48 * 3 / 1e6:.3g} |" in out
    assert part["facts"][name]["threads"] == 1


def test_the_report_says_where_it_was_measured(measured):
  report, out = measured
  machine = report["machine"]
  assert machine["cpu"] in out and machine["cores"] >= 1 and machine["memory_gib"] > 0.5
  assert {"python", "tensorflow", "keras", "numpy", "av"} <= set(machine["versions"]) and "--bench_rounds=3" in report["flags"]
  assert not [line for line in report["flags"] if line.startswith("--bench_json=")], "where the report lies is no fact of it"
  assert all("load_average_after" in part for part in report["parts"].values())


def test_the_variants_are_the_methods_with_their_meta_gradients_at_both_sizes():
  for part, batch, crop, size in (("updates_small", (6, 32), 32, "small"), ("updates_paper", (3, 6), 112, "paper")):
    jobs = bench.update_jobs(part, options.BenchOptions(bench_paper_batch=3), options.ClipOptions(), options.MachineOptions(), 0)
    assert list(jobs) == ["basic", "basic_equal_data", "mppar first_order", "mppar exact"]
    assert [one.arguments["method"] for one in jobs.values()] == ["basic", "basic_equal_data", "mppar", "mppar"]
    assert [one.arguments["train"].meta_gradient for one in jobs.values()][2:] == ["first_order", "exact"]
    for one in jobs.values():
      train, model, clip = (one.arguments[key] for key in ("train", "model", "clip"))
      assert (train.action_batch, train.privacy_batch) == batch and clip.crop == crop
      assert {model.anonymizer_size, model.recognizer_size, model.attacker_size} == {size} and len(model.training_attackers) >= 2


def test_a_dead_variant_is_named_in_table_json_and_exit_code(tmp_path, monkeypatch, capsys):
  real = bench.update_jobs

  def jobs(*given):
    found = real(*given)
    functions = {name: "killed" if name == "mppar exact" else "steady" for name in found}
    return {name: one._replace(module="bench_jobs", function=functions[name]) for name, one in found.items()}
  monkeypatch.setattr(bench, "update_jobs", jobs)
  code, out = run_bench("--bench_parts=updates_paper", "--bench_rounds=3", f"--bench_json={tmp_path / 'b.json'}")
  part = json.loads((tmp_path / "b.json").read_text())["parts"]["updates_paper"]
  assert code == bench.FAILED and part["failures"] == {"mppar exact": "killed by SIGKILL in round 2 (out of memory?)"}
  assert "\n| mppar exact | killed by SIGKILL in round 2 (out of memory?) |" in out and "\n| basic | 3 | 2 | 4 |" in out
  assert "bench: updates_paper: mppar exact killed by SIGKILL" in capsys.readouterr().err


def test_without_material_the_reason_is_told(monkeypatch, tmp_path):
  def full(_):
    raise side_by_side.Lost("failed preparing: OSError: No space left on device")
  monkeypatch.setattr(side_by_side.Child, "ready", full)
  code, out = run_bench("--bench_parts=input", f"--bench_json={tmp_path / 'b.json'}")
  part = json.loads((tmp_path / "b.json").read_text())["parts"]["input"]
  assert code == bench.FAILED and "Not measured: making the material failed preparing: OSError: No space left" in out
  assert part["rounds"] == [] and list(part["failures"]) == ["material"]


@pytest.mark.parametrize("arguments, words", [
    (["--bench_parts="], ["--bench_parts", "updates_small", "updates_paper", "input"]),
    (["--bench_parts=speed"], ["'speed'", "updates_small"]),
    (["--bench_rounds=0"], ["--bench_rounds", "0"]),
    (["--crop=140"], ["--crop=140", "160x120"]),
    (["--bench_json=nowhere/b.json"], ["--bench_json=nowhere/b.json"]),
    (["--bench_json=."], ["--bench_json=."]),
    (["--bench_parts=trainings_paper", "--bench_trainings=none.flags"], ["none.flags", "protocol_a.flags"]),
    (["--bench_source=nowhere"], ["--bench_source=nowhere", "no such folder"]),
    (["--bench_parts=building", "--bench_source=configs"], ["--bench_source=configs", "no video file", ".avi"]),
    (["--bench_config=none.flags"], ["none.flags", "protocol_a.flags"])])
def test_bad_flags_are_told_in_one_line_before_anything_runs(arguments, words, capsys, monkeypatch):
  monkeypatch.setattr(side_by_side, "measure", lambda *_: pytest.fail("something ran"))
  assert bench.main(arguments) == 2
  [line] = capsys.readouterr().err.splitlines()
  assert [word for word in words if word not in line] == []


def test_ctrl_c_is_one_line(monkeypatch, capsys):
  def interrupted(*_):
    raise KeyboardInterrupt
  monkeypatch.setattr(side_by_side, "measure", interrupted)
  assert bench.main(["--bench_parts=updates_paper"]) == bench.INTERRUPTED
  assert capsys.readouterr().err.splitlines()[-1].startswith("bench: interrupted")


def test_help_teaches_parts_and_exit_codes(capsys):
  assert bench.main(["--help"]) == 0
  text = capsys.readouterr().out
  for field in dataclasses.fields(options.BenchOptions):
    assert f"--{field.name}=" in text
  assert "updates_paper" in text and "Exit codes" in text and "ratio" in text
