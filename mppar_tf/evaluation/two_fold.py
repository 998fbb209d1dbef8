"""The two-fold evaluation: what a cloud service still recognizes, and what the best of several fresh attackers still reads.

f^D is frozen and seen as a function alone. Beside every figure stand the same networks' figures on raw frames, attackers with equal
budgets, f^A with the least that a method's f^A has, and chance; no anonymizer can be judged without them. The raw level depends on no
method, so a table of methods computes it once per seed.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import time
from typing import Any, Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from mppar_tf.evaluation import actions, attackers, metrics
from mppar_tf.evaluation.fitting import Anonymize

RAW_LEVEL_VERSION = 1  # to be raised when a change of this room changes raw figures: it is part of the cache's key


@dataclasses.dataclass(frozen=True)
class Budget:
  """What every method gets alike. Steps are batches."""
  attack_steps: int
  attack_learning_rate: float
  attack_evaluate_every: int
  polish_steps: int
  polish_learning_rate: float
  raw_action_steps: int  # of a fresh recognizer on raw clips: what every recognizer of the game has at least, polish included
  raw_action_learning_rate: float
  clips_per_video: int
  save_every: int  # steps between two saves of a recognizer in training


@dataclasses.dataclass(frozen=True)
class ActionTask:
  """Where actions are learned and judged."""
  train: Callable[[int], tf.data.Dataset]  # start batch -> endless, of Clips
  test: Callable[[], tf.data.Dataset]      # finite, of (Clips, video index)
  build: Callable[..., keras.Model]        # the recognizer's builder, called with seed=


@dataclasses.dataclass(frozen=True)
class PrivacyTask:
  """Where attackers learn and are judged, and what they are after."""
  train: Callable[[int], tf.data.Dataset]     # start batch -> endless, of Private
  validation: Callable[[], tf.data.Dataset]   # finite, of (Private, record index): selects each attacker's best step
  test: Callable[[], tf.data.Dataset]         # finite, of (Private, record index)
  builders: Mapping[str, Callable[..., keras.Model]]  # the fresh attackers, called with seed=
  attributes: tuple[str, ...]  # columns of the labels; ("subject",) for identity
  known: tuple[str, ...] = ()  # those that were labelled in training
  novel: tuple[str, ...] = ()  # those that never were
  task: str = "attributes"     # or "identity"

  def __post_init__(self):
    stray = set(self.known + self.novel) ^ set(self.attributes)
    if self.task == "attributes" and (stray or not self.attributes):
      raise ValueError(f"attributes are {', '.join(self.attributes)}; known and novel must divide them up: {', '.join(sorted(stray))}")


@dataclasses.dataclass(frozen=True)
class PrivacyScores:
  """How much attackers read; lower is better. The leak is the largest figure over attackers, per figure."""
  cmap_known: float | None
  cmap_novel: float | None
  identity_accuracy: float | None
  average_precision: dict[str, float]  # by attribute, the largest over attackers
  attackers: dict[str, dict[str, Any]]  # every attacker's own figures, training accuracy included
  by_video: dict[str, float]  # the leaks with frames averaged to videos, where test items are frames of videos; else empty
  items: int  # judged images, clips or labelled frames


@dataclasses.dataclass(frozen=True)
class RawLevel:
  """What the same networks reach without any anonymizer."""
  action_top1: float
  action_training_accuracy: float
  privacy: PrivacyScores


@dataclasses.dataclass(frozen=True)
class Scores:
  """One method, one seed. Higher action, lower privacy is better."""
  action_top1: float
  action_top1_before_polish: float
  polish_training_accuracy: float | None
  privacy: PrivacyScores
  raw: RawLevel
  chance: dict[str, Any]  # as of `chance`, and action_top1
  videos: int
  wall_seconds: dict[str, float]


def evaluate(anonymize: Anonymize, recognizer: keras.Model, action: ActionTask, privacy: PrivacyTask, budget: Budget, *, seed: int,
             raw_cache: str | os.PathLike, raw_facts: Mapping[str, Any], raw_tasks: tuple[ActionTask, PrivacyTask] | None = None,
             work_dir: str | os.PathLike | None = None, progress: bool = True) -> Scores:
  """Judges one frozen anonymizer.

  Args:
    anonymize: [B, T, H, W, 3] in [0, 1] -> same.
    recognizer: f^A as the method left it; it is not changed.
    seed: of every network that is trained here.
    raw_cache: folder of raw levels, shared by methods.
    raw_facts: everything JSON-able, beside `budget`, `seed` and the attackers' names, that decides the raw level: the records' hashes,
      clip and crop settings, network sizes, batch sizes, library versions.
    raw_tasks: what `action` and `privacy` are on raw frames, for a method whose frames are obfuscated as they are read; None: the same.
    work_dir: where an interrupted evaluation finds its unfinished trainings again; must belong to this anonymizer and these settings.
  Raises:
    FittingError, MetricError: see `fitting.fit`, `attackers.train_attackers`, `actions.judge`.
  """
  clock, seconds = time.monotonic(), {}

  def lap(name):
    nonlocal clock
    seconds[name], clock = time.monotonic() - clock, time.monotonic()

  raw = raw_level(*(raw_tasks or (action, privacy)), budget, seed=seed, cache=raw_cache, facts=raw_facts, progress=progress)
  lap("raw")
  polished, polish_accuracy = actions.polished_copy(
      recognizer, action.build, anonymize, action.train, steps=budget.polish_steps, learning_rate=budget.polish_learning_rate,
      save_every=budget.save_every, checkpoint_dir=_inside(work_dir, "polish"), progress="polish" if progress else "")
  lap("polish")
  found = actions.judge({"before": recognizer, "after": polished}, anonymize, action.test(), clips_per_video=budget.clips_per_video,
                        progress="actions" if progress else "")
  lap("actions")
  leak, prevalence = attack(anonymize, privacy, budget, seed=seed, work_dir=_inside(work_dir, "attackers"),
                            progress="attackers" if progress else "")
  lap("attackers")
  return Scores(found.top1["after"], found.top1["before"], polish_accuracy, leak, raw, {"action_top1": found.chance} | prevalence,
                found.videos, seconds)


def attack(anonymize: Anonymize, privacy: PrivacyTask, budget: Budget, *, seed: int, work_dir: str | None = None,
           progress: str = "") -> tuple[PrivacyScores, dict[str, Any]]:
  """Trains fresh attackers on anonymized training data, judges each on anonymized test data; with the chance level of the same figures."""
  trained = attackers.train_attackers(
      privacy.builders, anonymize, privacy.train, privacy.validation, attributes=privacy.attributes, task=privacy.task,
      steps=budget.attack_steps, learning_rate=budget.attack_learning_rate, evaluate_every=budget.attack_evaluate_every, seed=seed,
      checkpoint_dir=work_dir, progress=progress)
  test = privacy.test()
  look = attackers.judge({name: attacker.model for name, attacker in trained.items()}, anonymize, test.element_spec[0].frames)
  found = look(test, progress and f"{progress}, test")
  return leaks(found, trained, privacy), chance(found, privacy)


def leaks(found: attackers.Predictions, trained: Mapping[str, attackers.TrainedAttacker], privacy: PrivacyTask) -> PrivacyScores:
  """Every attacker's figures, and over attackers the largest of each."""
  own = {}
  for name, logits in found.logits.items():
    best = trained[name].best
    own[name] = _figures(found.labels, logits, privacy) | {
        "training_accuracy": best.training_accuracy, "training_loss": best.loss, "validation": best.validation, "best_step": best.step}
  videos, labels = {}, _video_labels(found)
  if labels is not None:  # each frame weighs equally above; here a video's logits are averaged
    by_attacker = [_figures(labels, metrics.mean_by_group(logits, found.record)[1], privacy) for logits in found.logits.values()]
    videos = {key: max(f[key] for f in by_attacker) for key in by_attacker[0] if key != "average_precision"}
  largest = {key: max(figures[key] for figures in own.values()) for key in ("cmap_known", "cmap_novel", "identity_accuracy")
             if key in next(iter(own.values()))}
  precision = {a: max(figures["average_precision"][a] for figures in own.values()) for a in privacy.known + privacy.novel}
  return PrivacyScores(largest.get("cmap_known"), largest.get("cmap_novel"), largest.get("identity_accuracy"), precision, own, videos,
                       len(found.labels))


def chance(found: attackers.Predictions, privacy: PrivacyTask) -> dict[str, Any]:
  """What guessing reaches on these test items: prevalence for AP, the most frequent subject for identity.

  Returns:
    "cmap_known" and "cmap_novel", where there are such attributes, with "average_precision" by attribute; or "identity_accuracy". Where
    test items are frames of videos also "by_video": the chance of each figure of `PrivacyScores.by_video`; mostly higher, as a larger
    share of videos than of frames shows an attribute.
  Raises:
    MetricError: an attribute has no positive.
  """
  items, videos = _guessed(found.labels, privacy), _video_labels(found)
  if videos is None:
    return items
  return items | {"by_video": {key: value for key, value in _guessed(videos, privacy).items() if key != "average_precision"}}


def raw_level(action: ActionTask, privacy: PrivacyTask, budget: Budget, *, seed: int, cache: str | os.PathLike, facts: Mapping[str, Any],
              progress: bool = True) -> RawLevel:
  """The level without anonymizer, from `cache` if it was computed before with the very same data, networks, budget and seed."""
  decides = {"version": RAW_LEVEL_VERSION, "budget": dataclasses.asdict(budget), "seed": seed, "attackers": sorted(privacy.builders),
             "attributes": privacy.attributes, "known": privacy.known, "task": privacy.task, "facts": facts}
  key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:24]
  path, work = pathlib.Path(cache) / f"{key}.json", pathlib.Path(cache) / f"{key}.unfinished"
  with _alone(path.with_suffix(".lock")):
    if not path.exists():
      level = _train_raw_level(action, privacy, budget, seed, work, progress)
      partial = path.with_suffix(".part")
      partial.write_text(json.dumps({"decides": decides, "level": dataclasses.asdict(level)}, indent=1), encoding="utf-8")
      os.replace(partial, path)
      shutil.rmtree(work, ignore_errors=True)
  stored = json.loads(path.read_text(encoding="utf-8"))["level"]
  return RawLevel(**stored | {"privacy": PrivacyScores(**stored["privacy"])})


def _train_raw_level(action: ActionTask, privacy: PrivacyTask, budget: Budget, seed: int, work: pathlib.Path, progress: bool) -> RawLevel:
  leak, _ = attack(tf.identity, privacy, budget, seed=seed, work_dir=_inside(work, "attackers"),
                   progress="raw attackers" if progress else "")
  fresh = action.build(seed=attackers.own_seed(seed, "raw recognizer"))
  accuracy = actions.train_recognizer(
      fresh, tf.identity, action.train, steps=budget.raw_action_steps, learning_rate=budget.raw_action_learning_rate,
      save_every=budget.save_every, checkpoint_dir=_inside(work, "recognizer"), progress="raw recognizer" if progress else "")
  found = actions.judge({"raw": fresh}, tf.identity, action.test(), clips_per_video=budget.clips_per_video,
                        progress="raw actions" if progress else "")
  return RawLevel(found.top1["raw"], accuracy, leak)


@contextlib.contextmanager
def _alone(lock: pathlib.Path):
  """Holds `lock` against other processes: of two methods of a table that start together, the second waits and reads the first's level."""
  lock.parent.mkdir(parents=True, exist_ok=True)
  with open(lock, "w", encoding="utf-8") as handle:
    fcntl.flock(handle, fcntl.LOCK_EX)
    yield


def _figures(labels, logits, privacy: PrivacyTask) -> dict[str, Any]:
  if privacy.task == "identity":
    return {"identity_accuracy": metrics.top1(logits, labels[:, 0])}
  precision = metrics.average_precisions(labels, logits, privacy.attributes)
  return _macros(precision, privacy) | {"average_precision": precision}


def _guessed(labels, privacy: PrivacyTask) -> dict[str, Any]:
  """What `_figures` of these labels are without any information."""
  if privacy.task == "identity":
    return {"identity_accuracy": metrics.majority_share(labels[:, 0])}
  shares = metrics.prevalences(labels, privacy.attributes)
  return _macros(shares, privacy) | {"average_precision": shares}


def _video_labels(found: attackers.Predictions) -> np.ndarray | None:
  """Labels [V, P] of the videos whose frames were judged: what any frame shows counts as shown. None: no two items are of one record."""
  if len(set(found.record.tolist())) == len(found.record):
    return None
  return metrics.present_in_any(found.labels, found.record)


def _macros(by_attribute, privacy: PrivacyTask) -> dict[str, float]:
  groups = {"cmap_known": privacy.known, "cmap_novel": privacy.novel}
  return {name: metrics.macro_mean(by_attribute, group) for name, group in groups.items() if group}


def _inside(folder: str | os.PathLike | None, name: str) -> str | None:
  return None if folder is None else str(pathlib.Path(folder) / name)
