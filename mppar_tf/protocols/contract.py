"""What a protocol fixes."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Protocol:
  """Attackers on both sides, the shifts that training may simulate, and the figure that counts."""
  name: str
  meaning: str
  training_attackers: tuple[str, ...]
  test_attackers: tuple[str, ...]
  novel_attackers: bool  # test attackers must be of architectures that training never saw
  shifts: tuple[str, ...]  # values of --shift that the protocol knows
  task: str  # "attributes" (cMAP) or "identity" (accuracy)

  def check(self, training: tuple[str, ...], test: tuple[str, ...], shift: str | None = None) -> None:
    """Raises ValueError where attackers or the shift break the protocol."""
    both = sorted(set(training) & set(test))
    if self.novel_attackers and both:
      raise ValueError(f"protocol {self.name} wants attackers that training never saw, but {', '.join(both)} stand on both sides")
    if shift is not None and shift not in self.shifts:
      raise ValueError(f"protocol {self.name} knows the shifts {', '.join(self.shifts)}, not {shift!r}")
    if shift in ("alternate", "models", "both") and len(training) < 2:
      raise ValueError(f"--shift={shift} needs at least two training attackers, got {', '.join(training) or 'none'}")
