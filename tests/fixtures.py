"""Tiny datasets for tests: every clip and image is told apart by its pixels, so that a mix-up cannot pass."""

import os

import numpy as np

from mppar_tf.data.records import SPLITS, DatasetWriter
from mppar_tf.data.schema import Header, Image, Video


def write_tiny_datasets(folder, seed=0, size=16, frames=6, videos=(12, 6, 6), images=(24, 12, 12), classes=3,
                        attributes=("a", "b", "c", "d"), shards=2, body_boxes=None):
  """Writes `<folder>/tiny_clips` and `<folder>/tiny_images`; returns their two folders.

  Args:
    size: height and width of the square frames, pixels.
    frames: of each video.
    videos, images: how many in train, validation and test.
    classes: number of actions; an action shows as the way in which a bright bar moves.
    body_boxes: [n, 4], of every frame; None: records do not tell.
    attributes: privacy attributes; each shows as a coloured corner patch, one label in ten is NA (missing).
  """
  random = np.random.default_rng(seed)
  names = tuple(f"action{number}" for number in range(classes))
  clips, stills = os.path.join(folder, "tiny_clips"), os.path.join(folder, "tiny_images")
  settings, attributes = {"seed": seed, "size": size}, tuple(attributes)
  writer = DatasetWriter(clips, Header("tiny_clips", "video", names, attributes), settings=settings, closed_set_identity=True,
                         licence="made up")
  for split, count in zip(SPLITS, videos):
    made = [_video(f"{split}{number}", number % classes, f"person{number % 3}", attributes, frames, size, random)
            ._replace(body_boxes=None if body_boxes is None else [body_boxes] * frames) for number in range(count)]
    writer.write_split(split, made, lambda video: video, shards=shards, progress=False)
  writer.finish()
  writer = DatasetWriter(stills, Header("tiny_images", "image", (), attributes), settings=settings, licence="made up")
  for split, count in zip(SPLITS, images):
    made = [_image(f"{split}{number}", attributes, size, random)._replace(body_boxes=body_boxes) for number in range(count)]
    writer.write_split(split, made, lambda image: image, shards=shards, progress=False)
  writer.finish()
  return clips, stills


def _draw_labels(attributes, random):
  truth = {attribute: int(random.random() < 0.5) for attribute in attributes}
  known = {attribute: value for attribute, value in truth.items() if random.random() > 0.1}
  return truth, known


def _background(truth, size, random):
  pixels = np.full((size, size, 3), random.integers(40, 120, 3), np.uint8)
  patch = max(size // 8, 1)
  for number, present in enumerate(truth.values()):
    if present:
      pixels[:patch, number * patch:(number + 1) * patch] = (255, 40 * (number % 4), 0)
  return pixels


def _video(name, action, subject, attributes, frames, size, random):
  truth, known = _draw_labels(attributes, random)
  still, pictures = _background(truth, size, random), []
  for number in range(frames):
    picture, place = still.copy(), (2 + (number * (action + 1))) % (size - 2)
    picture[size // 2:, place:place + 2] = 255 - 10 * number
    pictures.append(picture)
  return Video(name, pictures, 25.0, action, known, subject)


def _image(name, attributes, size, random):
  truth, known = _draw_labels(attributes, random)
  return Image(name, _background(truth, size, random), labels=known)
