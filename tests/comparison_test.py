"""The table of a comparison against figures worked out by hand; the level on raw frames and the method `raw` are two rows."""

import pytest

from mppar_tf import comparison, methods


def result(method, seed, action, novel, raw_action=0.9):
  return {"method": method, "seed": seed, "action_top1": action, "privacy_cmap_novel": novel,
          "raw": {"action_top1": raw_action, "privacy": {"cmap_novel": 0.95, "cmap_known": None, "identity_accuracy": None}},
          "chance": {"action_top1": 0.1, "privacy_cmap_novel": 0.4}}


def rows(text):
  return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_mean_spread_and_paired_difference_are_those_worked_out_by_hand():
  results = [result("mppar", seed, 0.8 + gap, 0.6) for seed, gap in ((0, 0.01), (1, 0.03), (2, 0.02))]
  results += [result("basic_equal_data", seed, 0.8, 0.5) for seed in (0, 1, 2)]
  found = rows(comparison.table(results, order=["basic_equal_data", "mppar"]))
  names = ["method", "---", comparison.RAW, "basic_equal_data", "mppar", "chance", "method", "---", comparison.RAW, "mppar"]
  assert [row[0] for row in found] == names
  assert found[4][1:] == ["0.820 ± 0.010", "0.600 ± 0.000", "3"] and found[5][1:3] == ["0.100", "0.400"]
  # Gaps .01, .02, .03: mean .02, half width t(.975, 2) * .01 / sqrt(3) = 4.3027 * .0057735 = .02484.
  assert found[-1][1] == "+0.020 [-0.005, +0.045]"


@pytest.mark.parametrize("turned", [False, True])
def test_the_method_raw_and_the_level_on_raw_frames_do_not_mix(turned):
  results = [result("raw", 0, 0.7, 0.96), result("mppar", 0, 0.8, 0.6), result("mppar", 1, 0.8, 0.6, raw_action=0.8)]
  found = {row[0]: row[1:] for row in rows(comparison.table(results[::-1] if turned else results))}
  assert found["raw"] == ["0.700", "0.960", "1"]
  assert found[comparison.RAW] == ["0.850 ± 0.071", "0.950 ± 0.000", "2"]


def test_where_only_known_attributes_are_judged_no_novel_figure_is_shown():
  shown = result("mppar", 0, 0.8, 0.6)
  known = {"privacy_cmap_known": shown.pop("privacy_cmap_novel"), "chance": {"action_top1": 0.1, "privacy_cmap_known": 0.4},
           "raw": {"action_top1": 0.9, "privacy": {"cmap_novel": None, "cmap_known": 0.95, "identity_accuracy": None}}}
  found = rows(comparison.table([shown | known]))
  assert found[0] == ["method", "action top-1 ↑", "known cMAP ↓", "seeds"]
  assert found[2:] == [[comparison.RAW, "0.900", "0.950", "1"], ["mppar", "0.800", "0.600", "1"], ["chance", "0.100", "0.400", ""]]


def test_a_row_with_fewer_results_than_promised_says_so_and_has_no_mean_over_fewer_figures():
  results = [result("mppar", 0, 0.8, 0.6), result("basic_equal_data", 0, 0.8, 0.5), result("basic_equal_data", 1, 0.8, 0.5)]
  del results[2]["privacy_cmap_novel"]
  found = rows(comparison.table(results, ["spact", "mppar", "basic_equal_data"], seeds={"spact": 2, "mppar": 2, "basic_equal_data": 2},
                                beside={"paper": {"mppar": "action 67.0"}}))
  assert found[0][-2:] == ["seeds", "paper"]
  assert found[3:6] == [["spact", "-", "-", "0 of 2", ""], ["mppar", "0.800", "0.600", "1 of 2", "action 67.0"],
                        ["basic_equal_data", "0.800 ± 0.000", "-", "2", ""]]
  assert found[-2:] == [["spact", "-", "-"], ["mppar", "n/a (one seed)", "n/a (one seed)"]]


def test_of_one_seed_each_no_difference_is_shown():
  results = [result("mppar", 0, 0.8, 0.6), result("basic_equal_data", 0, 0.8, 0.5), result("basic_equal_data", 1, 0.8, 0.5)]
  told = "One seed of basic_equal_data beside others: no difference has a confidence interval."
  assert comparison.table(results[:2]).endswith(told) and comparison.table(results[:2], seeds={"mppar": 1, "spact": 1}).endswith(told)
  assert comparison.table(results[:1]).endswith("|") and comparison.table(results[1:]).count("Difference to") == 1


def test_no_method_bears_the_name_of_the_level_on_raw_frames():
  assert comparison.RAW not in methods.METHODS
