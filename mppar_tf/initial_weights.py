"""What networks start from where it is not chance: ImageNet weights of attackers, weights of f^A from a user's file.

Of a file of f^A weights alone are read, into the network that the options ask for: no configuration is looked at, nothing is unpickled,
no code of the file can run. A record of what was taken, with SHA-256, stands in the run folder.
"""

import collections
import contextlib
import hashlib
import json
import os
import pathlib
import re
import zipfile
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

import h5py
import keras
import tensorflow as tf

from mppar_tf import checkpoints, whole_files
from mppar_tf.data import manifest
from mppar_tf.messages import one_line
from mppar_tf.models import imagenet, transfer
from mppar_tf.models.attackers import ATTACKERS
from mppar_tf.models.transfer import Stored, WeightsError

RECORD = "initial_weights.json"
FORMS = "a .keras file, a .weights.h5 file, a run folder of mppar_tf.train or the folder of one of its checkpoints"
UNREADABLE = (OSError, LookupError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile, tf.errors.OpError)


# ---- attackers ----


def starts(names: Sequence[str], choice: str, flag: str) -> dict[str, str]:
  """What each attacker starts from: "imagenet" or "scratch".

  Args:
    choice: "scratch", "imagenet", or "imagenet_where_offered" (the rest from scratch).
    flag: told in errors.
  Raises:
    WeightsError: the choice is imagenet, and some have no such weights; lists them.
  """
  without = [name for name in names if name not in imagenet.IMAGENET]
  if choice == "imagenet" and without:
    raise WeightsError(f"--{flag}=imagenet: Keras offers no ImageNet weights of {', '.join(without)}; leave these out, or choose "
                       "imagenet_where_offered (these from scratch) or scratch")
  return {name: "scratch" if choice == "scratch" or name in without else "imagenet" for name in names}


def attacker(name: str, *, start: str, **build: Any) -> keras.Model:
  """A fresh attacker of the table ATTACKERS that starts as `starts` said. Raises WeightsError."""
  model = ATTACKERS[name](**build)
  if start == "imagenet":
    imagenet.start(model, name)
  return model


def fetched(chosen: Mapping[str, str]) -> dict[str, dict[str, str]]:
  """File and SHA-256 of the ImageNet weights of all that start from them, downloaded where need be. Raises WeightsError."""
  files = {name: imagenet.fetch(name) for name, start in chosen.items() if start == "imagenet"}
  return {name: {"file": path.name, "sha256": manifest.sha256_of(str(path))} for name, path in files.items()}


# ---- f^A ----


class Taken(NamedTuple):
  """What a file gave to f^A."""
  sha256: str
  left_out: str  # the last layer where the number of classes differs, with both numbers; else ""


def give_recognizer(model: keras.Model, path: str) -> Taken:
  """Gives f^A the weights of a file; of another number of classes all but the last layer.

  Raises:
    WeightsError: no such file, none of the known forms, damaged, or it does not fit (names the first layer); the model is unchanged.
  """
  try:
    with _opened(path, model) as stored:
      layers, left_out = transfer.weighted(model), ""
      if len(stored) == len(layers) and (classes := _other_classes(layers[-1], stored[-1])):
        left_out = f"{layers[-1].name} ({classes} classes there, {layers[-1].units} here)"
        layers, stored = layers[:-1], stored[:-1]
      transfer.assign(layers, stored, path)
    return Taken(digest(path), left_out)
  except WeightsError as error:
    raise WeightsError(f"--recognizer_weights: {error}") from error
  except UNREADABLE as error:
    raise WeightsError(f"--recognizer_weights={path} is damaged or holds no weights; it may be {FORMS} "
                       f"({one_line(error, 200)})") from error


def digest(path: str) -> str:
  """SHA-256 of a file, or over those of a checkpoint's variables. Raises WeightsError where nothing is there."""
  if os.path.isfile(path):
    return manifest.sha256_of(path)
  parts = sorted(_checkpoint(path).glob("variables.*"))
  return hashlib.sha256("".join(manifest.sha256_of(str(part)) for part in parts).encode()).hexdigest()


def _other_classes(layer: keras.layers.Layer, stored: Sequence[Stored]) -> int:
  """How many classes a stored last layer has, where that is all that it differs in; else 0."""
  wanted, given = [tuple(weight.shape) for weight in layer.weights], [tuple(array.shape) for array in stored]
  if not isinstance(layer, keras.layers.Dense) or len(given) != 2 or len(given[0]) != 2 or given[1] != given[0][1:]:
    return 0
  return given[0][1] if given != wanted and given[0][0] == wanted[0][0] else 0


@contextlib.contextmanager
def _opened(path: str, model: keras.Model) -> Iterator[list[list[Stored]]]:
  """Arrays of a file by layers of the model, those that belong to no layer at the end."""
  if not os.path.exists(path):
    raise WeightsError(f"{path} does not exist; it may be {FORMS}")
  if os.path.isdir(path):
    yield _of_checkpoint(_checkpoint(path), model)
  elif path.endswith(".keras"):
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as inner, h5py.File(inner, "r") as file:
      yield _of_h5(file, model)
  elif path.endswith(".weights.h5"):
    with h5py.File(path, "r") as file:
      yield _of_h5(file, model)
  else:
    raise WeightsError(f"{path} is none of the known forms; it may be {FORMS}")


def _of_h5(file: h5py.File, model: keras.Model) -> list[list[Stored]]:
  """Keras keeps a layer's weights under layers/CLASS_N/vars/, N counting the layers of a class."""
  counts, found, seen = collections.Counter(), [], set()
  for layer in model.layers:
    kind = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)).lower()  # Keras's rule
    address = f"layers/{kind}_{counts[kind]}" if counts[kind] else f"layers/{kind}"
    counts[kind] += 1
    if transfer.weights_of(layer):
      found.append(_arrays(file, f"{address}/vars"))
      seen.add(f"{address}/vars")
  extra = []

  def note(name, node):
    if isinstance(node, h5py.Dataset) and name.startswith("layers/") and os.path.dirname(name) not in seen and node.dtype.kind == "f":
      extra.append([_stored(node)])
  file.visititems(note)
  return found + extra


def _arrays(file: h5py.File, address: str) -> list[Stored]:
  group = file
  for part in address.split("/"):
    if part not in group:
      return []
    group = _plain(group, part)
  return [_stored(_plain(group, number)) for number in sorted(group, key=int)]


def _stored(array: h5py.Dataset) -> Stored:
  return Stored(array.name.removeprefix("/"), array.shape, lambda: array[()])


def _plain(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
  """A member that lies in this file: HDF5 can also point to any other file of the machine."""
  if not isinstance(group.get(name, getlink=True), h5py.HardLink):
    raise ValueError(f"{group.name}/{name} is a link")
  found = group[name]
  if isinstance(found, h5py.Dataset) and (found.external or found.is_virtual):
    raise ValueError(f"{found.name} lies in another file")
  return found


def _checkpoint(path: str) -> pathlib.Path:
  """The checkpoint's folder that a path means: itself, or a run's best, else last."""
  folder = pathlib.Path(path)
  if (folder / "variables.index").exists():
    return folder
  saved = checkpoints.Checkpoints(folder / "checkpoints", {})
  if not saved.steps():
    raise WeightsError(f"{path} holds no checkpoint; it may be {FORMS}")
  return saved.find("last" if saved.best() is None else "best")


def _of_checkpoint(folder: pathlib.Path, model: keras.Model) -> list[list[Stored]]:
  """A checkpoint of mppar_tf.train knows f^A's variables by their number alone (TensorFlow doubles the dot of a name)."""
  reader = tf.train.load_checkpoint(str(folder / "variables"))
  shapes, types = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
  pattern = re.compile(r"groups/model\.\.recognizer/(\d+)/\.ATTRIBUTES/VARIABLE_VALUE")
  named = {int(m.group(1)): m.group() for m in map(pattern.fullmatch, shapes) if m}
  if not named:
    raise WeightsError(f"{folder} holds no f^A")
  arrays = [Stored(f"variable {i}", tuple(shapes[name]), lambda name=name: reader.get_tensor(name))
            for i, name in sorted(named.items()) if types[name].is_floating]
  found = []
  for layer in transfer.weighted(model):
    count = len(transfer.weights_of(layer))
    found.append(arrays[:count])
    arrays = arrays[count:]
  return found + ([arrays] if arrays else [])


# ---- a run ----


def give(models: Mapping[str, keras.Model], chosen: Any) -> dict[str, Any]:
  """Gives a fresh run's networks the weights that its options ask for.

  Args:
    models: of a `Method`.
    chosen: ModelOptions.
  Returns:
    What was taken, for `write`; empty where all starts from scratch.
  Raises:
    WeightsError: something is missing, damaged or does not fit.
  """
  names = [name.removeprefix("attacker/") for name in models if name.startswith("attacker/")]
  begun = starts(names, chosen.training_attacker_weights, "training_attacker_weights")
  taken: dict[str, Any] = {"training_attackers": files} if (files := fetched(begun)) else {}
  if chosen.recognizer_weights is not None:
    found = give_recognizer(models["recognizer"], chosen.recognizer_weights)
    taken["recognizer"] = {"path": chosen.recognizer_weights, **found._asdict()}
  for name in files:
    imagenet.start(models[f"attacker/{name}"], name)
  return taken


def told(taken: Mapping[str, Any]) -> list[str]:
  """One line for each thing that was taken."""
  lines = [f"{', '.join(taken['training_attackers'])} start from ImageNet weights"] if "training_attackers" in taken else []
  if found := taken.get("recognizer"):
    but = f"all layers but the last, {found['left_out']}" if found["left_out"] else "all layers, the last included"
    lines.append(f"f^A starts from {found['path']}: {but}")
  return lines


def write(run_dir: pathlib.Path, taken: Mapping[str, Any]) -> None:
  """Keeps the record, where there is anything to keep."""
  if taken:
    whole_files.write_json(run_dir / RECORD, taken)


def read(run_dir: str | os.PathLike) -> dict[str, Any]:
  """A run's record; empty where it has none. Raises WeightsError where it is damaged."""
  path = pathlib.Path(run_dir) / RECORD
  try:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
  except ValueError as error:
    raise WeightsError(f"{path} is damaged: {error}") from error


def recognizer_of(run_dir: pathlib.Path, path: str | None) -> str | None:
  """SHA-256 of what a run's f^A started from, None for scratch; `path` must still be that file.

  Raises:
    WeightsError: it is gone, or another one: the level on raw frames needs it, where f^A has the same start.
  """
  if path is None:
    return None
  known = read(run_dir).get("recognizer", {}).get("sha256")
  if known is None:
    raise WeightsError(f"{run_dir / RECORD} does not say what f^A started from")
  if not os.path.exists(path) or digest(path) != known:
    raise WeightsError(f"--recognizer_weights={path} is gone or another file than {run_dir} began with (SHA-256 {known}); f^A on raw "
                       "frames starts from it too: give its new path")
  return known
