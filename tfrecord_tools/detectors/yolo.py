"""People by keras-cv's YOLOV8Detector with the user's weights; the network is built from numbers, so nothing is downloaded.

`--detector_weights=FILE.weights.h5` comes from `model.save_weights`. Pascal VOC in keras-cv's order has 20 classes, a person is number 14
(the defaults, those of its preset yolo_v8_m_pascalvoc); COCO has 80, a person is number 0. Each worker loads TensorFlow.
"""

import os
import tempfile
import warnings
from typing import Any

import h5py
import numpy as np

from mppar_tf.messages import one_line
from tfrecord_tools.detectors.contract import Detector, Find, Regions, clipped
from tfrecord_tools.plan import PlanError

# As in keras-cv's presets: channels and blocks of the backbone's stages, blocks of the feature pyramid.
SIZES = {
    "xs": ([32, 64, 128, 256], [1, 2, 2, 1], 1),
    "s": ([64, 128, 256, 512], [1, 2, 2, 1], 1),
    "m": ([96, 192, 384, 576], [2, 4, 4, 2], 2),
    "l": ([128, 256, 512, 512], [3, 6, 6, 3], 3),
    "xl": ([160, 320, 640, 640], [3, 6, 6, 3], 3),
}
MULTIPLE = 32  # sides that the network takes


def network(size: str, classes: int) -> Any:
  """A YOLOV8Detector with fresh weights: float RGB [B, H, W, 3] of 0 to 255 -> boxes, classes, confidence."""
  import keras_cv
  channels, depth, pyramid = SIZES[size]
  backbone = keras_cv.models.YOLOV8Backbone(stackwise_channels=channels, stackwise_depth=depth, include_rescaling=True, activation="swish")
  return keras_cv.models.YOLOV8Detector(backbone=backbone, num_classes=classes, bounding_box_format="xyxy", fpn_depth=pyramid)


def build(weights: str, *, size: str, classes: int, person: int) -> Find:
  """Raises PlanError where `weights` does not fit this network."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  import tensorflow as tf
  model = network(size, classes)
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # of containers without weights, too; what counts is asked below
      model.load_weights(weights)
    _check_loaded(model, weights)
  except (ValueError, OSError, KeyError) as error:
    raise PlanError(f"--detector_weights={weights}: does not fit --yolo_size={size} --yolo_classes={classes} "
                    f"({one_line(error, 150)})") from None

  @tf.function
  def answer(images: tf.Tensor) -> dict[str, tf.Tensor]:
    return model.decode_predictions(model(images, training=False), images)

  def find(frames: np.ndarray) -> Regions:
    _, height, width, _ = frames.shape
    padded = np.pad(frames, [(0, 0), (0, -height % MULTIPLE), (0, -width % MULTIPLE), (0, 0)])
    answers = {key: value.numpy() for key, value in answer(tf.constant(padded, tf.float32)).items()}
    # Beyond what was found, classes are filled with -1.
    people = [boxes[found == person] for boxes, found in zip(answers["boxes"], answers["classes"])]  # each [n, 4] of x0, y0, x1, y1
    return Regions(body_boxes=[clipped(boxes[:, [1, 0, 3, 2]], height, width) for boxes in people])
  return find


def _check_loaded(model: Any, path: str) -> None:
  """Raises ValueError where a variable did not come out of the file: Keras leaves one that it does not find there as it was."""
  with tempfile.TemporaryDirectory() as folder:
    model.save_weights(os.path.join(folder, "again.weights.h5"))
    with h5py.File(path) as given, h5py.File(os.path.join(folder, "again.weights.h5")) as again:
      names: list[str] = []
      again.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
      lost = [name for name in names if name not in given or not np.array_equal(given[name][()], again[name][()])]
  if lost:
    raise ValueError(f"{len(lost)} of {len(names)} variables are not in it, e.g. {lost[0]}")


DETECTOR = Detector(("body_boxes",), ("keras-cv", "keras", "tensorflow"), ".weights.h5", None,
                    lambda options: {"size": options.yolo_size, "classes": options.yolo_classes, "person": options.yolo_person}, build)
