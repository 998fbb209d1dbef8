"""Networks with known answers, in the forms that detectors read."""

import pathlib

import keras
import numpy as np
import tensorflow as tf

from tfrecord_tools.detectors import yolo as yolo_room

EAGER = 1  # the class that the tiny YOLO sees everywhere


def red_is_a_person(path: pathlib.Path) -> pathlib.Path:
  """A TFLite network in selfie segmentation's form that takes a red pixel for a person."""
  red = tf.function(lambda picture: picture[..., :1], input_signature=[tf.TensorSpec([1, 256, 256, 3])])
  path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([red.get_concrete_function()]).convert())
  return path


def yolo(path: pathlib.Path) -> pathlib.Path:
  """Weights of the smallest YOLOV8 with three classes, whose bias makes it sure of class EAGER wherever it looks."""
  keras.utils.set_random_seed(0)
  model = yolo_room.network("xs", 3)
  for layer in model._flatten_layers():
    if "class" in layer.name and getattr(layer, "filters", 0) == 3:
      layer.bias.assign(np.where(np.arange(3) == EAGER, 5.0, -5.0))
  model.save_weights(path)
  return path
