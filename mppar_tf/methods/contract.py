"""The one contract of all methods: what the loop trains, evaluation judges and export writes."""

import dataclasses
from typing import Callable, Mapping, NamedTuple

import keras
import tensorflow as tf

from mppar_tf.schedule import Schedule


class MethodError(ValueError):
  """Options with which a method cannot be played, told in one line."""


class EpisodePlan(NamedTuple):
  """Where one anonymizer update takes its support and its query from.

  Sources: "all" (any record), "first" and "second" (X_1 and X_2 of the present sets), "same" (query only: the support's own batch).
  """
  kind: str  # "models", "attributes", "both" or "single": logged
  epoch: int  # index of the set construction
  support: str
  query: str
  support_attacker: int
  query_attacker: int


@dataclasses.dataclass(frozen=True)
class Networks:
  """The networks of the game and what the private label is."""
  anonymizer: keras.Model  # f^D
  recognizer: keras.Model  # f^A
  attackers: Mapping[str, keras.Model]  # the training f^P, by name
  task: str  # "attributes" or "identity"
  contrastive: Callable[[], keras.Model] | None = None  # makes f^B, frames -> embeddings; large, and few methods want one


@dataclasses.dataclass(frozen=True)
class Method:
  """A method as the loop sees it.

  `update` maps a role to one replica's update: a function of a batch in replica context that returns scalars which are equal on all
  replicas. Roles are "reconstruction" and "action" (initialisation), "recognizer", "attacker/NAME", "anonymizer", and "validation"
  (measures, changes nothing); VITA's also "joint" (f^A with f^D), "pick" (measures all f^P) and "restart" (new f^P).
  """
  models: Mapping[str, keras.Model]  # owned, all checkpointed; "anonymizer" and "recognizer" where there are such
  optimizers: Mapping[str, keras.optimizers.Optimizer]
  update: Mapping[str, Callable[..., dict[str, tf.Tensor]]]
  schedule: Schedule
  plan: Callable[[int], EpisodePlan] | None  # of an anonymizer update by its index; None: there are none
  anonymize: Callable[[tf.Tensor], tf.Tensor]  # what a camera runs: [B, T, H, W, 3] in [0, 1] -> same
  exportable: str | None  # None, or the reason why it cannot become a TFLite file
  opponents: tuple[str, ...] = ()  # the training attackers that the game plays; (): all
  learned: bool = True  # whether anything of f^D is
  private_labels: bool = True  # whether training reads them, be it only to train competitors of f^D

  @property
  def met(self) -> tuple[str, ...]:
    """The training attackers that f^D is trained against, by name."""
    trained = (role.removeprefix("attacker/") for role in self.models if role.startswith("attacker/"))
    return self.opponents or tuple(trained)
