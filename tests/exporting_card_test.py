"""Model cards: what a camera maker reads is what the manifest holds, worst things first."""

import pytest

from mppar_tf import exporting_card
from mppar_tf.on_camera import manifest


def described(**more):
  """A judged export of two files, as its manifest has it."""
  side = lambda action, novel: {"action_top1": action, "privacy_cmap_novel": novel}
  metrics = {
      "anonymized": side(0.8, 0.55) | {"action_top1_before_polish": 0.7}, "raw": side(0.9, 0.75), "chance": side(0.1, 0.5),
      "budget": {"attack_steps": 400, "polish_steps": 300},
      "judged": {"split": "test", "protocol": "a", "videos": 600, "items": 1000, "pixels": [32, 48]},
      "attackers": {"weak_net": {"cmap_novel": 0.52, "training_accuracy": 0.6},
                    "strong_net": {"cmap_novel": 0.55, "training_accuracy": 0.9}},
      "average_precision": {
          "hidden": {"anonymized": 0.52, "raw": 0.9, "chance": 0.5, "known": True},
          "leaking": {"anonymized": 0.68, "raw": 0.7, "chance": 0.5, "known": False},
          "untold": {"anonymized": 0.4, "raw": 0.4, "chance": 0.4, "known": False}}}
  entry = lambda name: {"file": f"anonymizer_{name}.tflite", "bytes": 123456, "parity": {"psnr_db": 47.25, "max_abs_error": 0.03},
                        "latency_ms": {"1": 1.5, "2": 0.9}, "interface": {"input": {"dtype": "float32"}}}
  return {
      "method": "mppar", "protocol": "a", "benchmark": "twin", "seeds": [3], "metrics": metrics, "parameters": 4242,
      "anonymizer": {"name": "johnson", "size": "small"}, "input": {"shape": [1, 32, 48, 3]},
      "trained": {"anonymizer": True, "private_labels": True, "attackers": ["met_net"]}, "flags": {"training_attackers": ["flag_net"]},
      "known_attributes": ["hidden"], "novel_attributes": ["leaking", "untold"],
      "models": {"float32": entry("float32"), "int8": entry("int8")}, "machine": {"cpu": "A Processor", "cores": 2},
      "files": {"anonymizer_int8.tflite": {"bytes": 123456, "sha256": "ab" * 32}}, "statement": "Trained on twin: CC0.",
      "training_data": [{"dataset": "twin", "licence": "CC0"}]} | more


def section(card, title):
  return card.split(f"## {title}")[1].split("\n## ")[0]


def rows(text):
  return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_first_lines_name_the_leak_the_worst_attacker_and_what_nobody_judged():
  card = exporting_card.card(described())
  first = card.split("## ")[0] if not card.startswith("## ") else ""
  assert first.startswith("# Model card: mppar anonymizer, protocol a, twin\n")
  assert "the worst attacker (strong_net) reads novel attributes at 55.0 % (raw frames 75.0 %, chance 50.0 %) cMAP" in first
  assert "actions are recognized at 80.0 % (raw frames 90.0 %, chance 10.0 %)" in first and "seed 3" in first
  assert "**NOT JUDGED as files:** float32, int8." in first and "Trained on twin: CC0. On other people" in first


@pytest.mark.parametrize("metrics", [None, {"privacy_cmap": 0.6}])
def test_an_export_that_nobody_judged_says_so_first_and_claims_nothing(metrics):
  card = exporting_card.card(described(metrics=metrics))
  assert "**NOT JUDGED.**" in card.splitlines()[2] and "**Judged**" not in card
  assert "assume that it protects nothing" in section(card, "What it does not protect")
  assert "%" not in section(card, "What remains of actions")


def test_attributes_are_sorted_by_what_is_left_of_them():
  text = section(exporting_card.card(described()), "What it does not protect")
  assert "left of: **leaking**." in text
  assert rows(text)[2:] == [["leaking", "novel", "68.0", "70.0", "50.0", "90"], ["hidden", "known", "52.0", "90.0", "50.0", "5"],
                            ["untold", "novel", "40.0", "40.0", "40.0", "-"]]


def test_a_file_shows_its_own_figures_and_never_the_networks():
  judged = described()
  judged["models"] = dict(reversed(judged["models"].items()))
  judged["models"]["int8"]["metrics"] = judged["metrics"] | {"anonymized": {"action_top1": 0.6, "privacy_cmap_novel": 0.58}}
  table = rows(section(exporting_card.card(judged), "Files"))
  by_file = {row[0]: row for row in table[2:]}
  assert list(by_file) == ["anonymizer_float32.tflite", "anonymizer_int8.tflite"]  # in this order also from a file, which sorts by name
  assert by_file["anonymizer_float32.tflite"][-2:] == ["not judged", "not judged"]
  assert by_file["anonymizer_int8.tflite"][-2:] == ["60.0", "58.0"]
  assert by_file["anonymizer_int8.tflite"][1:7] == ["123456", "float32", "47.2", "0.03", "1.5", "0.9"]
  assert "ab" * 32 in section(exporting_card.card(judged), "Check it")


def test_tells_what_was_forced_and_what_was_left_out():
  forced = described(left_out={"float16": "the float16 file differs"})
  forced["models"]["int8"]["forced"] = "the int8 file differs from Keras: PSNR 20.0 dB (at least 30)"
  card = exporting_card.card(forced)
  assert "PSNR 20.0 dB" in card.split("## ")[0] and "- float16: the float16 file differs" in section(card, "Files")


def test_identity_is_told_by_accuracy():
  side = {"action_top1": 0.5, "identity_accuracy": 0.2}
  metrics = {"anonymized": side, "raw": side | {"identity_accuracy": 0.9}, "chance": side, "budget": {}, "judged": {"pixels": [32, 48]},
             "attackers": {"one": {"identity_accuracy": 0.2}}, "average_precision": {}}
  card = exporting_card.card(described(metrics=metrics))
  assert "(one) reads identity at 20.0 % (raw frames 90.0 %, chance 20.0 %) accuracy" in card.split("## ")[0]
  assert "Identity, read by the worst attacker (one)" in section(card, "What it does not protect")


def of_size(height, width):
  return {"input": {"shape": [1, height, width, 3]}}


def without_pixels(**more):
  """An export whose figures say nothing of their size, as older ones do not."""
  one = described(**more)
  return one | {"metrics": one["metrics"] | {"judged": {"split": "test"}}}


@pytest.mark.parametrize("one", [
    described(**of_size(96, 128)), without_pixels(**of_size(96, 128), flags={"crop": 32}), without_pixels(flags={"crop": 32}),
    without_pixels(flags=["--seed=3"]), described(metrics=None, metrics_of_another_size=described()["metrics"], **of_size(96, 128))],
                         ids=["other size", "older of other size", "older of other width", "older of unknown size", "named so"])
def test_figures_of_another_size_promise_nothing(one, tmp_path):
  card, size = exporting_card.card(one), "{1}x{2} pixels".format(*one["input"]["shape"])
  first = card.split("## ")[0]
  assert "**Judged**" not in card and f"**NOT JUDGED at {size}.**" in first.splitlines()[2]
  assert "Treat its output as raw video" in first and "actions are recognized at 80.0 %" in first  # they may stand, under their own name
  judged = {"crop": "32x32 pixels"}.get(next(iter(one["flags"])), "32x48 pixels")
  assert f"On frames of {'an unknown size' if one['flags'] == ['--seed=3'] else judged} it was judged" in first
  for title in ("What it protects against", "What it does not protect", "What remains of actions"):
    assert f"NOT JUDGED at {size}" in section(card, title)
  assert "%" not in card.split("## What it is")[1].split("## Files")[0]
  written = exporting_card.write(tmp_path, one)
  assert written["metrics"] is None and written["metrics_of_another_size"]["anonymized"]["action_top1"] == 0.8
  assert (tmp_path / "model_card.md").read_text() == card == exporting_card.card(written)
  assert exporting_card.write(tmp_path, written) == written


@pytest.mark.parametrize("one", [described(), without_pixels(**of_size(32, 32), flags={"crop": 32})], ids=["told", "older"])
def test_figures_of_its_own_size_are_its_own(one, tmp_path):
  card, written = exporting_card.card(one), exporting_card.write(tmp_path, one)
  assert card.splitlines()[2].startswith("**Judged**") and "NOT JUDGED at" not in card
  assert "frames of {1}x{2} pixels;".format(*one["input"]["shape"]) in section(card, "What it protects against")
  assert written["metrics"] == one["metrics"] and "metrics_of_another_size" not in written


CLAIMS = ("remove what tells private attributes", "training worked against them", "met_net", "flag_net", "network that was trained")


@pytest.mark.parametrize("trained, claims, told", [
    ({"anonymizer": True, "private_labels": True, "attackers": ["met_net"]}, (0, 1, 2, 4), ["Training had met met_net."]),
    ({"anonymizer": True, "private_labels": False, "attackers": []}, (4,),
     ["No private label was read", "Training had met no attacker.", "(nothing was trained against them)"]),
    ({"anonymizer": False, "private_labels": False, "attackers": []}, (),
     ["A fixed transform (johnson, 4242 parameters, none of them learned)", "No training taught it", "No weight comes from these data",
      "Training had met no attacker.", "(nothing was trained against them)"]),
    (None, (4,), ["What training taught it is not told.", "Which attackers training had met is not told.", "- Known attributes: hidden."])])
def test_what_training_did_is_what_the_method_declares(trained, claims, told):
  one = described(trained=trained) if trained else {key: value for key, value in described().items() if key != "trained"}
  card = exporting_card.card(one)
  assert {claim for claim in CLAIMS if claim in card} == {CLAIMS[index] for index in claims}
  assert all(words in card for words in told)


def test_the_manifest_lists_the_card_and_keeps_other_hashes(tmp_path):
  written = exporting_card.write(tmp_path, described())
  assert manifest.list_files(tmp_path) == {"model_card.md": written["files"]["model_card.md"]}
  assert written["files"]["anonymizer_int8.tflite"] == described()["files"]["anonymizer_int8.tflite"]
  assert (tmp_path / "model_card.md").read_text() == exporting_card.card(written) == exporting_card.card(described())
  assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "model_card.md"]
