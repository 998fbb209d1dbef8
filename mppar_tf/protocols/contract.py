"""What a protocol fixes."""

import dataclasses

from mppar_tf.protocols.benchmarks import Benchmark


@dataclasses.dataclass(frozen=True)
class Protocol:
  """Attackers on both sides, which attributes count, what training simulates, and the figure that counts."""
  name: str
  meaning: str
  training_attackers: tuple[str, ...]
  test_attackers: tuple[str, ...]
  novel_attackers: bool  # test attackers are of architectures that training never saw; else of those that it saw, with fresh weights
  novel_attributes: bool  # attributes that training never saw are judged beside the known ones; else the known ones alone
  shift: str  # what --shift=protocol means
  task: str  # "attributes" (cMAP) or "identity" (accuracy)

  def shift_of(self, asked: str) -> str:
    """A value of --shift that training can play: the protocol's own where it is left to the protocol."""
    return self.shift if asked == "protocol" else asked

  def sees(self, benchmark: Benchmark, name: str) -> Benchmark:
    """The benchmark `name` with the attributes that count here.

    Raises:
      ValueError: it labels identity where attributes are judged or the reverse, or there are no novel attributes to judge.
    """
    labelled = "identity" if benchmark.identity else "attributes"
    if labelled != self.task:
      raise ValueError(f"--protocol={self.name} judges {self.task}, but --benchmark={name} labels {labelled}")
    if self.novel_attributes and not benchmark.novel:
      raise ValueError(f"protocol {self.name} judges novel attributes, and --benchmark={name} has none: give --novel_attributes, or a "
                       "--protocol that judges the known ones, c or d")
    return benchmark if self.novel_attributes else dataclasses.replace(benchmark, novel=())

  def check(self, training: tuple[str, ...], test: tuple[str, ...]) -> None:
    """Raises ValueError where attackers break the protocol."""
    both = sorted(set(training) & set(test))
    if self.novel_attackers and both:
      raise ValueError(f"protocol {self.name} wants attackers that training never saw, but {', '.join(both)} stand on both sides "
                       "(--training_attackers, --test_attackers)")
    strange = sorted(set(test) - set(training))
    if strange and not self.novel_attackers:
      raise ValueError(f"protocol {self.name} wants attackers of training's own architectures, {', '.join(training)}, but not "
                       f"{', '.join(strange)}: give other --test_attackers")
