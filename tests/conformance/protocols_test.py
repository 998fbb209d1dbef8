"""Every protocol keeps what its name promises, with every benchmark: training sees nothing that should be novel at test time."""

import pytest

from mppar_tf import options
from mppar_tf.methods import mppar
from mppar_tf.models.attackers import ATTACKERS
from mppar_tf.protocols import PROTOCOLS
from mppar_tf.protocols.benchmarks import BENCHMARKS

# novel attributes, novel attackers, what training simulates (the paper's section 4), by protocol.
PAPER = {"a": (True, True, "alternate"), "b": (True, False, "attributes"), "c": (False, True, "models"), "d": (False, False, "attributes")}
protocols = pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_protocols_are_the_papers(name):
  found = PROTOCOLS[name]
  assert (found.novel_attributes, found.novel_attackers, found.shift) == PAPER[name] and found.task == "attributes"


@protocols
def test_a_protocol_s_own_attackers_exist_and_pass_its_own_check(protocol):
  assert PROTOCOLS[protocol.name] is protocol
  assert set(protocol.training_attackers) | set(protocol.test_attackers) <= set(ATTACKERS)
  protocol.check(protocol.training_attackers, protocol.test_attackers)
  assert set(protocol.training_attackers).isdisjoint(protocol.test_attackers) == protocol.novel_attackers


@protocols
def test_attackers_on_the_wrong_side_are_refused_by_name(protocol):
  first, wrong = protocol.training_attackers[0], "inception_v2"
  if protocol.novel_attackers:
    with pytest.raises(ValueError, match=f"protocol {protocol.name} .*{first} stand on both sides"):
      protocol.check(protocol.training_attackers, (wrong, first))
  else:
    with pytest.raises(ValueError, match=f"protocol {protocol.name} .*not {wrong}: give other --test_attackers"):
      protocol.check(protocol.training_attackers, (first, wrong))
    protocol.check((*protocol.training_attackers, "mobilenet_v2_1.0"), (first,))  # "full": more are trained against than judge


@protocols
def test_the_shift_is_the_protocol_s_where_it_is_left_to_it_and_can_be_played_with_its_attackers(protocol):
  assert protocol.shift_of(options.TrainOptions().shift) == protocol.shift
  assert [protocol.shift_of(shift) for shift in mppar.SHIFTS] == list(mppar.SHIFTS)
  for update in range(2):
    mppar.plan_update(update, shift=protocol.shift, kind_of_sets="different", sets_every=2, attackers=len(protocol.training_attackers),
                      ratio=0.6, seed=0)


@protocols
@pytest.mark.parametrize("name", sorted(set(BENCHMARKS) - {"custom"}))
def test_what_is_judged_of_a_benchmark_is_what_the_protocol_says(protocol, name):
  benchmark = BENCHMARKS[name]
  assert set(benchmark.known).isdisjoint(benchmark.novel)
  reasons = (["labels"] if benchmark.identity != (protocol.task == "identity") else
             ["has none"] if protocol.novel_attributes and not benchmark.novel else [])
  for reason in reasons:
    with pytest.raises(ValueError, match=f"{protocol.name} .*--benchmark={name} {reason}"):
      protocol.sees(benchmark, name)
  if not reasons:
    seen = protocol.sees(benchmark, name)
    assert seen.known == benchmark.known and seen.novel == (benchmark.novel if protocol.novel_attributes else ())


@pytest.mark.parametrize("name", sorted(set(BENCHMARKS) - {"custom"}))
def test_every_folder_of_a_benchmark_has_a_command_that_builds_it(name):
  benchmark = BENCHMARKS[name]
  assert set(benchmark.build) == {benchmark.clips, benchmark.private, *([benchmark.test] if benchmark.test else [])}


def test_the_flag_offers_the_shifts_that_there_are():
  [choices] = [field.metadata["choices"]() for field in options.dataclasses.fields(options.TrainOptions) if field.name == "shift"]
  assert list(choices) == ["protocol", *mppar.SHIFTS]
