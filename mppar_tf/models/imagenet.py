"""Attackers that start from the ImageNet weights of keras.applications, at size paper.

A file is looked for where Keras keeps its own (`KERAS_HOME`, else `~/.keras`, there in `models/`), else downloaded to that place by Keras.
It is read into the network of keras.applications and taken over layer by layer: all but the logits, whose classes are others. The network
then computes the features that keras.applications computes on its own `preprocess_input` (`tests/models/imagenet_test.py`). Nothing here
falls back on random weights.
"""

import contextlib
import functools
import hashlib
import os
import pathlib
import socket
import tempfile
from typing import Callable, Iterator, NamedTuple

import keras
import numpy as np

from mppar_tf.messages import one_line
from mppar_tf.models import transfer
from mppar_tf.models.transfer import WeightsError

ADDRESS = "https://storage.googleapis.com/tensorflow/keras-applications/"
SILENCE = 30.0  # seconds without a byte after which a download is given up; Keras alone waits for ever
CLASSIFIER = "logits"  # the layer that starts at random


class Published(NamedTuple):
  """One network of keras.applications with published weights, without its classifier."""
  build: Callable[..., keras.Model]  # takes `weights`, the path of a file
  folder: str  # of the file, below ADDRESS
  file: str
  md5: str | None = None  # where Keras publishes one


def _mobilenet_v1(width: float, told: str) -> Published:
  return Published(functools.partial(keras.applications.MobileNet, alpha=width), "mobilenet", f"mobilenet_{told}_224_tf_no_top.h5")


def _mobilenet_v2(width: float) -> Published:
  return Published(functools.partial(keras.applications.MobileNetV2, alpha=width), "mobilenet_v2",
                   f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{width}_224_no_top.h5")


def _resnet(build: Callable[..., keras.Model], name: str, md5: str) -> Published:
  return Published(build, "resnet", f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5", md5)


# Those of the table ATTACKERS that Keras offers ImageNet weights for. It has none of MobileNetV2 0.6 and 0.9 and no Inception-V1 or V2.
IMAGENET = {
    "mobilenet_v2_0.35": _mobilenet_v2(0.35),
    "mobilenet_v2_0.5": _mobilenet_v2(0.5),
    "mobilenet_v2_0.75": _mobilenet_v2(0.75),
    "mobilenet_v2_1.0": _mobilenet_v2(1.0),
    "mobilenet_v2_1.3": _mobilenet_v2(1.3),
    "mobilenet_v2_1.4": _mobilenet_v2(1.4),
    "mobilenet_v1_0.25": _mobilenet_v1(0.25, "2_5"),
    "mobilenet_v1_0.5": _mobilenet_v1(0.5, "5_0"),
    "mobilenet_v1_0.75": _mobilenet_v1(0.75, "7_5"),
    "mobilenet_v1_1.0": _mobilenet_v1(1.0, "1_0"),
    "resnet_v1_50": _resnet(keras.applications.ResNet50, "resnet50", "4d473c1dd8becc155b73f8504c6f6626"),
    "resnet_v1_101": _resnet(keras.applications.ResNet101, "resnet101", "88cf7a10940856eca736dc7b7e228a21"),
    "resnet_v2_50": _resnet(keras.applications.ResNet50V2, "resnet50v2", "fac2f116257151a9d068a22e544a4917"),
    "resnet_v2_101": _resnet(keras.applications.ResNet101V2, "resnet101v2", "c0ed64b8031c3730f411d2eb4eea35b5"),
}
CAFFE = ("resnet_v1_50", "resnet_v1_101")  # trained on blue, green, red in 0 to 255 less their mean; the others on -1 to 1


def cache() -> pathlib.Path:
  """Where Keras looks for the weights of its networks."""
  return pathlib.Path(os.environ.get("KERAS_HOME") or pathlib.Path.home() / ".keras") / "models"


def fetch(name: str) -> pathlib.Path:
  """The file of an attacker's weights, downloaded if it is not there yet.

  Raises:
    WeightsError: it is neither there nor to be had, or it is not the published one; says where it belongs and how to put it there.
  """
  found = IMAGENET[name]
  path, address = cache() / found.file, f"{ADDRESS}{found.folder}/{found.file}"
  if not path.is_file():
    _download(name, path, address, found.md5)
  elif found.md5 and _md5(path) != found.md5:
    raise WeightsError(f"{path}, the ImageNet weights of {name}, is damaged or another file (MD5 is not {found.md5}): remove it, or put "
                       f"{address} in its place")
  return path


def start(model: keras.Model, name: str) -> None:
  """Gives an attacker of size paper the ImageNet weights of `name`, all but its logits. Raises WeightsError, the model unchanged."""
  path, found = fetch(name), IMAGENET[name]
  try:
    theirs = found.build(weights=str(path), include_top=False, input_shape=(224, 224, 3))
  except (OSError, ValueError, KeyError, RuntimeError) as error:
    raise WeightsError(f"{path} does not hold the ImageNet weights of {name} (remove it to download it anew): "
                       f"{one_line(error, 200)}") from error
  stored = [[transfer.Stored(f"{layer.name}, weight {i}", value.shape, functools.partial(np.asarray, value))
             for i, value in enumerate(layer.get_weights())] for layer in theirs.layers if layer.weights]
  if name in CAFFE:
    stored[0][0] = stored[0][0]._replace(read=functools.partial(_for_rgb, stored[0][0].read()))
  transfer.assign([layer for layer in transfer.weighted(model) if layer.name != CLASSIFIER], stored, str(path))


def _for_rgb(kernel: np.ndarray) -> np.ndarray:
  """A first kernel [K, K, 3, C] for blue, green, red in 0 to 255 as one for red, green, blue in 0 to 2; both less their mean.

  The scale goes into the kernel, for Adam moves every weight by about its rate: one that is a hundredth of the others is lost at once.
  """
  return kernel[:, :, ::-1] * np.float32(127.5)


def _download(name: str, path: pathlib.Path, address: str, md5: str | None) -> None:
  # In a folder of its own: two programs may want the file, and none may see it before it is whole.
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-") as part, _bounded():
      os.replace(keras.utils.get_file(path.name, address, cache_dir=part, cache_subdir="", file_hash=md5), path)
  except Exception as error:  # Keras raises plain Exception
    why = one_line(str(error).rpartition(" -- ")[2], 200)
    raise WeightsError(f"no ImageNet weights of {name}: {path} is not there and cannot be downloaded ({why}); fetch {address} on another "
                       "machine and put it there, or choose other weights") from error


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
  before = socket.getdefaulttimeout()
  socket.setdefaulttimeout(SILENCE)
  try:
    yield
  finally:
    socket.setdefaulttimeout(before)


def _md5(path: pathlib.Path) -> str:
  return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
