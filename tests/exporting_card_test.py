"""Model cards: what a camera maker reads is what the manifest holds, worst things first."""

import pytest

from mppar_tf import exporting_card
from mppar_tf.on_camera import manifest


def described(**more):
  """A judged export of two files, as its manifest has it."""
  side = lambda action, novel: {"action_top1": action, "privacy_cmap_novel": novel}
  metrics = {
      "anonymized": side(0.8, 0.55) | {"action_top1_before_polish": 0.7}, "raw": side(0.9, 0.75), "chance": side(0.1, 0.5),
      "budget": {"attack_steps": 400, "polish_steps": 300}, "judged": {"split": "test", "protocol": "a", "videos": 600, "items": 1000},
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
      "anonymizer": {"name": "johnson", "size": "small"}, "input": {"shape": [1, 32, 48, 3]}, "flags": {"training_attackers": ["met_net"]},
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
  metrics = {"anonymized": side, "raw": side | {"identity_accuracy": 0.9}, "chance": side, "budget": {},
             "attackers": {"one": {"identity_accuracy": 0.2}}, "average_precision": {}}
  card = exporting_card.card(described(metrics=metrics))
  assert "(one) reads identity at 20.0 % (raw frames 90.0 %, chance 20.0 %) accuracy" in card.split("## ")[0]
  assert "Identity, read by the worst attacker (one)" in section(card, "What it does not protect")


def test_the_manifest_lists_the_card_and_keeps_other_hashes(tmp_path):
  written = exporting_card.write(tmp_path, described())
  assert manifest.list_files(tmp_path) == {"model_card.md": written["files"]["model_card.md"]}
  assert written["files"]["anonymizer_int8.tflite"] == described()["files"]["anonymizer_int8.tflite"]
  assert (tmp_path / "model_card.md").read_text() == exporting_card.card(written) == exporting_card.card(described())
  assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "model_card.md"]
