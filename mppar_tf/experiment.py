"""Puts a run together from options: devices, records, networks, method, streams.

Programs share it, so that what is judged is what was trained.
"""

import dataclasses
import functools
import math
from typing import Any, Callable

import keras
import tensorflow as tf

from mppar_tf import feeding, methods
from mppar_tf.data import clips, frames, images, obfuscation, order, records, sets
from mppar_tf.methods.contract import Method, MethodError, Networks
from mppar_tf.methods.obfuscation import obfuscation_of
from mppar_tf.models.anonymizers import ANONYMIZERS
from mppar_tf.models.attackers import ATTACKERS
from mppar_tf.models.contrastive import CONTRASTIVE
from mppar_tf.models.recognizers import RECOGNIZERS
from mppar_tf.protocols import PROTOCOLS, benchmarks
from mppar_tf.protocols.contract import Protocol

VALIDATION_SEED, STREAM_STRIDE = 7919, 104729  # offsets that keep the streams of one seed apart


class ExperimentError(ValueError):
  """Options and records that do not go together, told in one line."""


@dataclasses.dataclass(frozen=True)
class Experiment:
  """A run, put together but not started; `make_method` and `make_feeder` are the next two steps."""
  strategy: tf.distribute.Strategy
  benchmark: benchmarks.Benchmark
  protocol: Protocol
  clips: Any  # split name -> records.Split of the action clips
  private: Any  # split name -> records.Split of the privacy labels
  spec: clips.ClipSpec
  networks: Networks
  training_attackers: tuple[str, ...]
  test_attackers: tuple[str, ...]
  settings: Any  # TrainOptions with everything that depends on the records filled in
  on_corrupt: str  # policy towards damaged records

  @property
  def outputs(self) -> int:
    """Width of an attacker's output for the known labels."""
    return private_outputs(self.benchmark.known, self.private["train"])


def configure(*, virtual_devices: int = 1, deterministic: bool = True, threads: int = 0, seed: int = 0, precision: str = "float32",
              strategy: Callable[[list[str]], tf.distribute.Strategy] = tf.distribute.MirroredStrategy) -> tf.distribute.Strategy:
  """Devices, threads, determinism, quiet, precision and the strategy. Called once, before TensorFlow does any work.

  All visible GPUs are replicas; without one, the CPU is, split into `virtual_devices`. `strategy` makes the
  strategy from their names. `precision` is a policy of Keras for networks that are built later.
  """
  tf.get_logger().setLevel("ERROR")  # every role is traced once: warnings about many traces mislead
  gpus = tf.config.list_physical_devices("GPU")
  if virtual_devices > 1 and not gpus:
    [cpu, *_] = tf.config.list_physical_devices("CPU")
    existing = tf.config.get_logical_device_configuration(cpu)
    if not existing or len(existing) < virtual_devices:
      tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * virtual_devices)
  if threads:
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
  if precision != "float32":
    keras.config.set_dtype_policy(precision)
  keras.utils.set_random_seed(seed)
  if deterministic:
    tf.config.experimental.enable_op_determinism()
  devices = [f"GPU:{i}" for i in range(len(gpus))] or [f"CPU:{i}" for i in range(virtual_devices)]
  return strategy(devices)


def private_outputs(attributes: tuple[str, ...], split: records.Split) -> int:
  """Attributes, or subjects of a closed set."""
  return len(split.manifest.subjects) if attributes == benchmarks.SUBJECT else len(attributes)


def open_records(benchmark: benchmarks.Benchmark, data_dir: str, on_corrupt: str) -> tuple[dict, dict]:
  """The three splits of the action clips and of the private set; both test splits are `benchmark.test`'s where it has one.

  Raises:
    ExperimentError: something is missing or damaged; names every such folder and the command that builds it.
  """
  found, problems = [], {}
  for dataset in (benchmark.clips, benchmark.private):
    found.append({})
    for split in records.SPLITS:
      name = benchmark.test if split == "test" and benchmark.test else dataset
      try:
        if name not in problems:
          found[-1][split] = records.open_split(f"{data_dir.rstrip('/')}/{name}", split, on_corrupt=on_corrupt)
      except records.RecordsError as error:
        problems[name] = f"{error}; built by: {benchmark.builder(name)} --data_dir={data_dir}"
  if problems:
    raise ExperimentError(" ; and ".join(problems.values()))
  return found[0], found[1]


def build(run: Any, clip: Any, model: Any, train: Any, strategy: tf.distribute.Strategy, judged: str | None = None) -> Experiment:
  """Everything of a run that does not change while it runs.

  Args:
    run, clip, model, train: RunOptions, ClipOptions, ModelOptions, TrainOptions.
    strategy: from `configure`.
    judged: the protocol that the run is judged under, by default the one that it was trained under.
  Raises:
    ExperimentError: what does not go together, in one line.
  """
  try:
    protocol = PROTOCOLS[judged or run.protocol]
    benchmark = protocol.sees(benchmarks.chosen(run.benchmark, clips=run.clips_records, private=run.private_records,
                                                known=run.known_attributes, novel=run.novel_attributes), run.benchmark)
    if run.novel_attributes and not benchmark.novel:
      raise ValueError(f"--novel_attributes={','.join(run.novel_attributes)}: protocol {protocol.name} judges the known labels alone")
    training = model.training_attackers or PROTOCOLS[run.protocol].training_attackers
    test = model.test_attackers or protocol.test_attackers
    protocol.check(training, test)
  except ValueError as error:
    raise ExperimentError(str(error)) from error
  clip_splits, private_splits = open_records(benchmark, run.data_dir, run.on_corrupt)
  for split in ("train", "test"):
    _check_labels(benchmark, clip_splits[split], private_splits[split])
  if clip_splits["test"].manifest.classes != clip_splits["train"].manifest.classes:
    raise ExperimentError(f"{clip_splits['test'].folder} and {clip_splits['train'].folder} have different actions, or in another order")
  for split in (*clip_splits.values(), *private_splits.values()):
    frames.check_crop(split, clip.crop)
  for flag in ("action_batch", "privacy_batch", "recognizer_batch", "attacker_batch"):
    if getattr(train, flag) % strategy.num_replicas_in_sync:
      raise ExperimentError(f"--{flag}={getattr(train, flag)} cannot be split evenly over {strategy.num_replicas_in_sync} replicas")
  for flag in ("action_batch", "privacy_batch"):
    if getattr(train, flag) // strategy.num_replicas_in_sync % train.accumulation:
      raise ExperimentError(f"--{flag}={getattr(train, flag)} over {strategy.num_replicas_in_sync} replica(s) cannot be divided into "
                            f"--accumulation={train.accumulation} equal pieces")

  if train.ensemble > len(training):
    raise ExperimentError(f"--ensemble={train.ensemble} is more than the training attackers: {', '.join(training)}")
  every = train.sets_every or max(2, private_splits["train"].total // train.privacy_batch // 2 * 2)
  settings = dataclasses.replace(train, sets_every=every)
  outputs = private_outputs(benchmark.known, private_splits["train"])
  with strategy.scope():
    networks = Networks(
        anonymizer=ANONYMIZERS[model.anonymizer](size=model.anonymizer_size, width=model.anonymizer_width, seed=run.seed),
        recognizer=new_recognizer(model, clip_splits["train"], clip, run.seed),
        attackers={name: ATTACKERS[name](outputs=outputs, crop=clip.crop, size=model.attacker_size, seed=run.seed + 1000 * (i + 1))
                   for i, name in enumerate(training)},
        task=protocol.task,
        contrastive=functools.partial(CONTRASTIVE["resnet50_projection"], crop=clip.crop, size=model.attacker_size, seed=run.seed + 2))
  hidden = obfuscation_of(run.method, train)
  if hidden:
    for split in (*clip_splits.values(), *private_splits.values()):
      obfuscation.check(split, hidden, run.on_corrupt)
  spec = clips.ClipSpec(frames=clip.clip_frames, skip=clip.frame_skip, crop=clip.crop, flip=clip.flip, hidden=hidden)
  return Experiment(strategy, benchmark, protocol, clip_splits, private_splits, spec, networks, tuple(training), tuple(test), settings,
                    run.on_corrupt)


def new_recognizer(model: Any, split: records.Split, clip: Any, seed: int) -> keras.Model:
  """A fresh f^A for the classes of a split."""
  return RECOGNIZERS[model.recognizer](
      classes=len(split.manifest.classes), frames=clip.clip_frames, crop=clip.crop, size=model.recognizer_size,
      width=model.recognizer_width, dropout=model.recognizer_dropout, seed=seed + 1)


def _check_labels(benchmark: benchmarks.Benchmark, clip_split: records.Split, private_split: records.Split) -> None:
  if not clip_split.manifest.classes:
    raise ExperimentError(f"{clip_split.folder} has no action labels")
  if benchmark.identity:
    check_closed_set(private_split)
    return
  missing = [a for a in benchmark.known + benchmark.novel if a not in private_split.manifest.attributes]
  if missing:
    known = ", ".join(private_split.manifest.attributes) or "none"
    raise ExperimentError(f"{private_split.folder} has no attribute {', '.join(missing)}; it has {known}")


def check_closed_set(split: records.Split) -> None:
  """Whoever is judged must be somebody that attackers learned to name.

  Raises:
    ExperimentError: no subjects, records without one, subjects that training never shows, or a manifest that does not declare the set as
      closed.
  """
  people = {name: {subject for shard in shards for subject in shard.subjects} for name, shards in split.manifest.splits.items()}
  if not any(people.values()):
    raise ExperimentError(f"{split.folder} names no subjects")
  strangers = sorted(set().union(*people.values()) - people["train"])
  if strangers:
    raise ExperimentError(f"{split.folder}: identity is a closed set, but {len(strangers)} of {len(split.manifest.subjects)} subjects "
                          f"stand in no train record: {', '.join(strangers[:3])}{', ...' if len(strangers) > 3 else ''}")
  if not split.manifest.closed_set_identity:
    raise ExperimentError(f"{split.folder}: identity is a closed set, which its manifest does not declare; "
                          "build the records with --closed_set_identity")
  nobody = [name for name, subject in zip(records.ids(split), records.subjects(split)) if name and subject < 0]  # lost ones have no id
  if nobody:
    raise ExperimentError(f"{split.folder}: identity is who it is, but {len(nobody)} of {split.total} records name no subject, {nobody[0]} "
                          "among them")


def make_method(experiment: Experiment, name: str) -> Method:
  """The method, its optimizers built under the strategy. ExperimentError: it cannot be played with these options."""
  try:
    with experiment.strategy.scope():
      return methods.METHODS[name](experiment.networks, experiment.settings)
  except MethodError as error:
    raise ExperimentError(str(error)) from error


def check_game(experiment: Experiment, method: Method) -> None:
  """What the game will need of the labels, told before stages 1 to 3 and not after them.

  Raises:
    ExperimentError: too few training attackers, a known attribute without positives in validation, or records that cannot be divided as
      the updates want it.
  """
  if not method.plan:
    return
  try:
    plans = [method.plan(update) for update in range(2)]
  except ValueError as error:
    raise ExperimentError(f"--shift={experiment.settings.shift} needs at least two training attackers, got "
                          f"{', '.join(experiment.training_attackers)}") from error
  if not experiment.benchmark.identity:
    empty = [attribute for attribute in _without_positives(experiment, "validation") if attribute in experiment.benchmark.known]
    if empty:
      raise ExperimentError(f"{experiment.private['validation'].folder}: no validation record has {', '.join(empty)}, "
                            "so no checkpoint could be chosen")
  if {"first", "second"} & {source for plan in plans for source in (plan.support, plan.query)}:
    # All of them: one that fails after days could be mended by no flag that the run folder lets change.
    epochs = math.ceil(experiment.settings.max_steps / experiment.settings.sets_every)
    try:
      for epoch in range(epochs):
        _side_of_epoch(0, experiment, experiment.settings.seed, epoch)
    except ValueError as error:
      raise ExperimentError(f"support and query sets of {experiment.private['train'].folder}: {error}") from error


def not_judgeable(experiment: Experiment) -> str:
  """What evaluation will refuse after all the training, "" if nothing: attributes, known or novel, without positives in validation or test.

  No error, for training needs none of them and other novel attributes can be judged; counting is all that it does with test labels.
  """
  if experiment.benchmark.identity:
    return ""
  missing = {split: _without_positives(experiment, split) for split in ("validation", "test")}
  told = [f"no {split} record of {experiment.private[split].folder} has {', '.join(attributes)}"
          for split, attributes in missing.items() if attributes]
  return f"{' and '.join(told)}, so that evaluate cannot judge by them" if told else ""


def _without_positives(experiment: Experiment, split: str) -> list[str]:
  attributes = experiment.benchmark.known + experiment.benchmark.novel
  found = records.labels(experiment.private[split], attributes)  # [N, P]
  return [attribute for attribute, column in zip(attributes, found.T) if not (column == 1).any()]


def make_feeder(experiment: Experiment, method: Method, *, seed: int, on_corrupt: str,
                share: order.Share = order.Share()) -> feeding.Feeder:
  """All record streams of a run, each with a seed of its own; of every batch this process's share."""
  settings, benchmark, spec = experiment.settings, experiment.benchmark, experiment.spec
  still = dataclasses.replace(spec, flip=False)
  numbers = iter(range(100))

  def clip_stream(split, batch, clip_spec):
    own = seed + STREAM_STRIDE * next(numbers)
    return feeding.Stream(experiment.strategy, lambda position: clips.training_clips(
        experiment.clips[split], clip_spec, batch_size=batch, seed=own, start_batch=position, on_corrupt=on_corrupt,
        share=share))

  def private_stream(batch, side=None):
    own = seed + STREAM_STRIDE * next(numbers)
    epochs = None if side is None else functools.partial(_side_of_epoch, side, experiment, seed)
    alternating = settings.shift == "alternate"
    length = _batches_per_epoch(settings, alternating) if epochs else None
    return feeding.Stream(experiment.strategy, lambda position: images.training_private(
        experiment.private["train"], spec, benchmark.known, batch_size=batch, seed=own, start_batch=position,
        frames=benchmark.private_frames, epochs=epochs, batches_per_epoch=length, on_corrupt=on_corrupt,
        share=share))

  streams = {
      "clips/reconstruction": clip_stream("train", settings.action_batch, spec),
      "private/reconstruction": private_stream(settings.privacy_batch),
      "clips/recognizer": clip_stream("train", settings.recognizer_batch, spec),
      "clips/validation": clip_stream("validation", settings.recognizer_batch, still),
      "private/attacker": private_stream(settings.attacker_batch),
      "clips/anonymizer": clip_stream("train", settings.action_batch, spec),
      "private/all": private_stream(settings.privacy_batch), "private/first": private_stream(settings.privacy_batch, 0),
      "private/second": private_stream(settings.privacy_batch, 1)}
  return feeding.Feeder(streams, method.plan)


def _batches_per_epoch(settings: Any, alternating: bool) -> int:
  """Updates of one set construction that read X_1 and X_2: the odd ones, or, with random sets or another shift, all."""
  return settings.sets_every // 2 if alternating and settings.sets == "different" else settings.sets_every


def _side_of_epoch(side: int, experiment: Experiment, seed: int, epoch: int):
  """Members and label mask of one side of the sets of an epoch."""
  settings, split = experiment.settings, experiment.private["train"]
  if experiment.benchmark.identity:
    chosen = sets.identity_sets(records.subjects(split), ratio=settings.split_ratio, seed=seed, epoch=epoch, kind=settings.sets)
  else:
    labels = records.labels(split, experiment.benchmark.known)
    chosen = sets.attribute_sets(labels, ratio=settings.split_ratio, seed=seed, epoch=epoch, kind=settings.sets)
  return chosen.members[side], chosen.masks[side]
