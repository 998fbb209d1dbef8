"""People by MediaPipe's selfie segmentation (Apache 2.0): a network of 256x256, run by LiteRT.

Its weights ship with the package `mediapipe` up to 0.10.21. That is no dependency here: it brings in jax, which TensorFlow then imports
whenever it starts. A wheel is a zip archive; the one file out of it is enough.

It tells foreground persons from all else and knows no individuals: a box is the rectangle around one connected part of the mask, so people
who overlap share one.
"""

import cv2
import numpy as np

from mppar_tf.messages import one_line
from tfrecord_tools.detectors.contract import Detector, Find, Regions, Shipped, clipped
from tfrecord_tools.plan import PlanError

THRESHOLD = 0.5
SMALLEST = 0.002  # share of the frame; a smaller part is a speck
SHAPE = [1, 256, 256, 3]


def build(weights: str) -> Find:
  """Raises PlanError where `weights` is no such network."""
  from ai_edge_litert.interpreter import Interpreter
  try:
    interpreter = Interpreter(weights, num_threads=1)
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
  except (ValueError, RuntimeError) as error:
    raise PlanError(f"{weights}: not a TFLite network ({one_line(error, 150)})") from None
  if taken["shape"].tolist() != SHAPE:
    raise PlanError(f"{weights}: takes {taken['shape'].tolist()}, not {SHAPE}: another network")

  def mask(frame: np.ndarray) -> np.ndarray:
    small = cv2.resize(frame, SHAPE[1:3], interpolation=cv2.INTER_AREA if min(frame.shape[:2]) > SHAPE[1] else cv2.INTER_LINEAR)
    interpreter.set_tensor(taken["index"], small[None].astype(np.float32) / 255)  # [1, 256, 256, 3]
    interpreter.invoke()
    person = interpreter.get_tensor(given["index"])[0, ..., 0]  # [256, 256]
    return (cv2.resize(person, frame.shape[1::-1]) > THRESHOLD).astype(np.uint8) * 255

  def find(frames: np.ndarray) -> Regions:
    parts = [without_specks(mask(frame)) for frame in frames]
    return Regions(body_boxes=[boxes for _, boxes in parts], body_masks=[cleaned for cleaned, _ in parts])
  return find


def without_specks(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """(mask without parts below SMALLEST, boxes of the others float32 [n, 4]): a mask and its boxes tell of the same people."""
  height, width = mask.shape
  count, numbers, table, _ = cv2.connectedComponentsWithStats(mask)
  large = [part for part in range(1, count) if table[part, cv2.CC_STAT_AREA] >= SMALLEST * height * width]
  left, top, wide, tall, _ = table[large].T
  cleaned = np.isin(numbers, large).astype(np.uint8) * 255
  return cleaned, clipped(np.stack([top, left, top + tall, left + wide], 1), height, width)


DETECTOR = Detector(
    ("body_boxes", "body_masks"), ("ai-edge-litert", "opencv-python-headless"), ".tflite",
    Shipped("mediapipe", "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
            "pip download --no-deps mediapipe==0.10.21, unzip that file out of the wheel, give it as --detector_weights"),
    lambda options: {}, build)
