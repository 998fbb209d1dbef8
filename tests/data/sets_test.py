"""Support and query construction: properties over random labels, and sizes from the paper's rule."""

import numpy as np
import pytest

from mppar_tf.data import sets


def random_labels(seed, samples=400):
  """Labels with NA, with blank rows, with rows of one positive and of many."""
  rng = np.random.default_rng(seed)
  attributes = int(rng.integers(2, 12))
  labels = rng.choice([-1, 0, 1], p=[0.1, 0.6, 0.3], size=[samples, attributes]).astype(np.int8)
  labels[:20] = np.minimum(labels[:20], 0)
  return labels


SEEDS = pytest.mark.parametrize("seed", range(20))


@pytest.mark.parametrize("count, first", [(8, 5), (7, 4), (3, 2), (2, 1), (10, 6), (5, 3), (100, 60)])
def test_sixty_percent_is_rounded_to_the_nearest(count, first):
  assert sets.share(count, 0.6) == first


@pytest.mark.parametrize("count", range(2, 40))
@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.5, 0.6, 0.7, 0.95])
def test_both_parts_have_something_and_lie_within_a_half_of_the_ratio(count, ratio):
  first = sets.share(count, ratio)
  assert 1 <= first <= count - 1
  assert abs(first - count * ratio) <= 0.5 + 1e-9 or first in (1, count - 1)


@SEEDS
@pytest.mark.parametrize("kind", sets.KINDS)
def test_each_sample_stands_on_exactly_one_side(seed, kind):
  labels = random_labels(seed)
  first, second = sets.attribute_sets(labels, ratio=0.6, seed=seed, epoch=3, kind=kind).members
  assert first.dtype == second.dtype == bool and first.shape == (len(labels),)
  assert (first ^ second).all()


@SEEDS
def test_masks_share_out_the_attributes(seed):
  labels = random_labels(seed)
  first, second = sets.attribute_sets(labels, ratio=0.6, seed=seed, epoch=0).masks
  assert (first ^ second).all()
  assert first.sum() == sets.share(labels.shape[1], 0.6)


@SEEDS
def test_positives_of_one_side_alone_decide_and_the_others_are_dealt_by_the_ratio(seed):
  labels = random_labels(seed)
  chosen = sets.attribute_sets(labels, ratio=0.6, seed=seed, epoch=1)
  side, (mask, other) = chosen.members[0], chosen.masks
  in_first, in_second = (labels == 1)[:, mask].any(axis=1), (labels == 1)[:, other].any(axis=1)
  assert side[in_first & ~in_second].all()
  assert not side[in_second & ~in_first].any()
  for dealt in (in_first & in_second, ~in_first & ~in_second):
    assert side[dealt].sum() == int(0.6 * dealt.sum() + 0.5)
  assert (~in_first & ~in_second).sum() >= 20, "nothing was blank: the property was not tried"


def test_a_label_that_is_not_annotated_is_no_positive():
  labels = np.array([[1, -1], [-1, 1]] * 30, np.int8)
  chosen = sets.attribute_sets(labels, ratio=0.6, seed=0, epoch=0)
  np.testing.assert_array_equal(chosen.members[0], (labels[:, chosen.masks[0]] == 1)[:, 0])


@SEEDS
def test_random_sets_keep_every_label_and_deal_by_the_ratio(seed):
  labels = random_labels(seed)
  chosen = sets.attribute_sets(labels, ratio=0.7, seed=seed, epoch=0, kind="random")
  assert chosen.masks[0].all() and chosen.masks[1].all()
  assert chosen.members[0].sum() == round(0.7 * len(labels))


def key(chosen):
  return b"".join(part.tobytes() for part in (*chosen.members, *chosen.masks))


@pytest.mark.parametrize("kind", sets.KINDS)
@pytest.mark.parametrize("function", ["attributes", "identity"])
def test_sets_are_a_function_of_seed_and_epoch(kind, function):
  labels, subjects = random_labels(1), np.random.default_rng(1).integers(0, 10, 400)

  def make(seed, epoch):
    if function == "identity":
      return key(sets.identity_sets(subjects, ratio=0.6, seed=seed, epoch=epoch, kind=kind))
    return key(sets.attribute_sets(labels, ratio=0.6, seed=seed, epoch=epoch, kind=kind))
  np.random.seed(0)
  before = make(4, 2)
  np.random.seed(1)
  assert make(4, 2) == before
  assert len({make(seed, epoch) for seed in range(3) for epoch in range(3)}) == 9


@SEEDS
def test_identity_sets_share_no_subject(seed):
  subjects = np.random.default_rng(seed).choice([3, 5, 8, 11, 20, 21, 40], size=300)
  chosen = sets.identity_sets(subjects, ratio=0.6, seed=seed, epoch=0)
  sides = [set(subjects[members]) for members in chosen.members]
  assert not sides[0] & sides[1] and sides[0] | sides[1] == set(subjects)
  assert len(sides[0]) == 4
  assert (chosen.members[0] ^ chosen.members[1]).all()
  assert all(mask.tolist() == [True] for mask in chosen.masks)


def test_random_identity_sets_share_subjects():
  subjects = np.arange(300) % 5
  chosen = sets.identity_sets(subjects, ratio=0.6, seed=0, epoch=0, kind="random")
  assert all(set(subjects[members]) == set(range(5)) for members in chosen.members)
  assert chosen.members[0].sum() == 180 and (chosen.members[0] ^ chosen.members[1]).all()


@SEEDS
def test_attackers_parts_are_disjoint_and_complete(seed):
  first, second = sets.attacker_sets(8, ratio=0.6, seed=seed, epoch=seed)
  assert (len(first), len(second)) == (5, 3)
  assert sorted([*first, *second]) == list(range(8))


@SEEDS
def test_different_attackers_come_from_the_two_parts_of_the_epoch(seed):
  first, second = sets.attacker_sets(8, ratio=0.6, seed=seed, epoch=2)
  drawn = [sets.draw_attackers(update, 2, attackers=8, different=True, ratio=0.6, seed=seed) for update in range(80)]
  assert {s for s, _ in drawn} == set(first) and {q for _, q in drawn} == set(second)


def test_one_attacker_of_all_for_both_sides_where_they_do_not_differ():
  drawn = [sets.draw_attackers(update, 0, attackers=8, different=False, ratio=0.6, seed=0) for update in range(200)]
  assert all(support == query for support, query in drawn)
  assert np.bincount([support for support, _ in drawn], minlength=8).min() >= 10


@pytest.mark.parametrize("call, message", [
    (lambda: sets.share(1, 0.6), "1 cannot be split into a support and a query part; at least 2"),
    (lambda: sets.attribute_sets(random_labels(0), ratio=0.6, seed=0, epoch=0, kind="same"), "'same' is not one of different, random"),
    (lambda: sets.identity_sets(np.arange(9), ratio=0.6, seed=0, epoch=0, kind="same"), "'same' is not one of different, random"),
    (lambda: sets.attribute_sets(random_labels(0)[:, :1], ratio=0.6, seed=0, epoch=0), "1 cannot be split"),
    (lambda: sets.identity_sets(np.zeros(9, int), ratio=0.6, seed=0, epoch=0), "1 cannot be split"),
    (lambda: sets.attacker_sets(1, ratio=0.6, seed=0, epoch=0), "1 cannot be split"),
    (lambda: sets.attribute_sets(np.zeros([1, 4], np.int8), ratio=0.6, seed=0, epoch=5),
     "epoch 5: a side .* is empty .sizes 1 and 0.*--split_ratio"),
])
def test_what_cannot_be_split_is_told(call, message):
  with pytest.raises(ValueError, match=message):
    call()
