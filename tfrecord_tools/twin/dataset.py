"""The embedded benchmark as a dataset: any sample of any split, each a pure function of (seed, split, index).

So samples can be made in any order, by any number of processes, and again after an interruption, always with the same bytes. TensorFlow is
imported only by `sample`: processes that render for a build do without it.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Iterator

import numpy as np

from tfrecord_tools.twin import labels as privacy
from tfrecord_tools.twin.actions import ACTIONS
from tfrecord_tools.twin.render import FRAMES_PER_SECOND, Take, render
from tfrecord_tools.twin.seeds import KINDS, SPLITS, stream

if TYPE_CHECKING:
  from mppar_tf.data.schema import Image, Video

CLASSES = tuple(ACTIONS)
SAMPLES = {
    "video": {"train": 1600, "validation": 300, "test": 600},
    "image": {"train": 4000, "validation": 600, "test": 1200},
}
# An actor brings seven labels along, so few actors would correlate them by accident (standard deviation 1 / sqrt(actors)): one is in four
# clips, about as in UCF101's groups, and in two images, for photographs show somebody else nearly every time.
SAMPLES_PER_ACTOR = {"video": 4, "image": 2}


@dataclasses.dataclass(frozen=True)
class Twin:
  """What decides every byte of one half of the benchmark.

  Attributes:
    kind: video (clips, each with an action) or image.
    seed: 0 or more.
    size: height and width of a frame in pixels, 16 or more.
    frames: of a clip, at FRAMES_PER_SECOND; an image has one whatever it says.
    grouping: which attributes are annotated, a key of labels.GROUPINGS.
  Raises:
    ValueError: a value outside these, named with the choices.
  """
  kind: str
  seed: int = 0
  size: int = 32
  frames: int = 8
  grouping: str = "vispr"

  def __post_init__(self):
    _one_of("kind", self.kind, KINDS)
    privacy.grouping(self.grouping)
    for name, lowest in (("seed", 0), ("size", 16), ("frames", 1)):
      if getattr(self, name) < lowest:
        raise ValueError(f"{name} {getattr(self, name)} of the twin is less than {lowest}")

  @property
  def attributes(self) -> tuple[str, ...]:
    """Names of the annotated attributes, known ones first."""
    return privacy.grouping(self.grouping).attributes


def count(twin: Twin, split: str) -> int:
  """Samples of a split."""
  return SAMPLES[twin.kind][_one_of("split", split, SPLITS)]


def actors(twin: Twin, split: str) -> tuple[str, ...]:
  """Names of a split's actors; no two splits or kinds share one."""
  return tuple(_actor_name(twin, split, actor) for actor in range(_cast_size(twin, split)))


def take(twin: Twin, split: str, index: int) -> Take:
  """Who does what in sample `index` of a split, and what is to be seen of it.

  Each run of as many samples as there are actors shows every actor once, each run of ten every action once, both in random order.
  Raises:
    ValueError: the split is unknown or the index is outside of it.
  """
  if not 0 <= index < count(twin, split):
    raise ValueError(f"index {index} is not within 0 to {count(twin, split) - 1}, the {twin.kind}s of {split}")
  actor = _turn(twin, split, "cast", index, _cast_size(twin, split))
  action = CLASSES[_turn(twin, split, "actions", index, len(CLASSES))]
  of_the_actor = privacy.actor_labels(stream(twin.seed, twin.kind, split, "actor_labels", actor))
  labels = privacy.sample_labels(stream(twin.seed, twin.kind, split, "labels", index), of_the_actor)
  return Take(twin.seed, twin.kind, split, index, actor, action, labels)


def fields(twin: Twin, split: str, index: int) -> dict[str, Any]:
  """Sample `index` of a split as the fields of `schema.Video` or `schema.Image`; frames are uint8 RGB [size, size, 3].

  An image's action is not annotated, as in VISPR.
  """
  scene = take(twin, split, index)
  shown = render(scene, twin.size, 1 if twin.kind == "image" else twin.frames)
  subject = _actor_name(twin, split, scene.actor)
  shared = {"id": f"{twin.kind}_{split}_{index:05d}", "labels": privacy.regroup(scene.labels, privacy.grouping(twin.grouping)),
            "subject": subject, "group": subject}
  truth = {"face_boxes": shown.face_boxes, "body_boxes": shown.body_boxes,
           "face_masks": list(shown.face_masks), "body_masks": list(shown.body_masks)}
  if twin.kind == "image":
    return {**shared, "pixels": shown.frames[0], **{name: values[0] for name, values in truth.items()}}
  return {**shared, "frames": list(shown.frames), "fps": FRAMES_PER_SECOND, "action": CLASSES.index(scene.action), **truth}


def sample(twin: Twin, split: str, index: int) -> Video | Image:
  """Sample `index` of a split as a record to be."""
  from mppar_tf.data import schema
  return (schema.Image if twin.kind == "image" else schema.Video)(**fields(twin, split, index))


def samples(twin: Twin, split: str, start: int = 0) -> Iterator[Video | Image]:
  """A split's samples in storage order, from the one at `start`."""
  return (sample(twin, split, index) for index in range(start, count(twin, split)))


def _cast_size(twin, split):
  return count(twin, split) // SAMPLES_PER_ACTOR[twin.kind]


def _actor_name(twin, split, actor):
  return f"{twin.kind}_{split}_actor_{actor:04d}"


def _turn(twin, split, purpose, index, choices):
  """Whose turn it is at `index`, when all `choices` have theirs in random order before any has a second one."""
  return int(_shuffled(twin.seed, twin.kind, split, purpose, index // choices, choices)[index % choices])


@functools.lru_cache(maxsize=64)
def _shuffled(seed, kind, split, purpose, block, choices) -> np.ndarray:
  return stream(seed, kind, split, purpose, block).permutation(choices)


def _one_of(name, value, choices):
  if value not in choices:
    raise ValueError(f"{name} {value!r} is not one of {', '.join(choices)}")
  return value
