"""Labels follow the stated prevalences and correlations, and groupings are exact."""

import itertools

import numpy as np
import pytest

from tfrecord_tools.twin import labels as privacy

DRAWS = 12000  # standard deviation of a prevalence or correlation: below .01


@pytest.fixture(scope="module")
def drawn():
  rng = np.random.default_rng(5)
  rows = [list(privacy.sample_labels(rng, privacy.actor_labels(rng)).values()) for _ in range(DRAWS)]
  return dict(zip(privacy.ATTRIBUTES, np.array(rows).T))  # each [DRAWS]


def test_two_groups_of_seven_in_the_benchmarks_order():
  known, novel = privacy.GROUPINGS["vispr"]
  assert len(known) == len(novel) == 7
  assert privacy.GROUPINGS["vispr"].attributes == tuple(privacy.ATTRIBUTES) == tuple(known) + tuple(novel)
  assert sorted(privacy.OF_THE_ACTOR + privacy.OF_THE_SAMPLE) == sorted(privacy.ATTRIBUTES)


def test_prevalences(drawn):
  for name, attribute in privacy.ATTRIBUTES.items():
    assert .35 <= attribute.prevalence <= .5
    assert drawn[name].mean() == pytest.approx(attribute.prevalence, abs=.025), name


def test_correlations_are_the_stated_ones_and_no_others(drawn):
  stated = {frozenset(("color", "race")): .3, frozenset(("color", "hair_color")): -.3, frozenset(("semi_nudity", "tattoo")): .2,
            frozenset(("complete_face", "partial_face")): -.664,
            frozenset(("race", "hair_color")): -.09}  # through colour, on which both hang
  for pair in itertools.combinations(privacy.ATTRIBUTES, 2):
    found = np.corrcoef(drawn[pair[0]], drawn[pair[1]])[0, 1]
    assert found == pytest.approx(stated.get(frozenset(pair), 0), abs=.045), pair


def test_the_two_faces_exclude_each_other(drawn):
  assert not (drawn["complete_face"] & drawn["partial_face"]).any()
  assert ((drawn["complete_face"] | drawn["partial_face"]) == 0).any()


def test_hmdb51_has_three_known_and_two_novel_attributes_and_any_part_makes_one_present():
  into = privacy.grouping("hmdb51")
  assert tuple(into.known) == ("skin_color", "nudity", "relationship") and tuple(into.novel) == ("gender", "face")
  nothing = dict.fromkeys(privacy.ATTRIBUTES, 0)
  assert privacy.regroup(nothing, into) == dict.fromkeys(into.attributes, 0)
  for part, whole in (("color", "skin_color"), ("semi_nudity", "nudity"), ("personal_relationship", "relationship"),
                      ("social_relationship", "relationship"), ("gender", "gender"), ("complete_face", "face"), ("partial_face", "face")):
    assert privacy.regroup({**nothing, part: 1}, into) == {name: int(name == whole) for name in into.attributes}


def test_an_unknown_grouping_is_an_error_that_lists_the_choices():
  with pytest.raises(ValueError, match="'ucf'.*vispr, hmdb51"):
    privacy.grouping("ucf")
