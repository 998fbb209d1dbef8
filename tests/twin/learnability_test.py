"""A linear model tells actions from how pixels change, far above chance, on actors that it never saw."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tfrecord_tools.twin import dataset

CELL = 4  # pixels


def _clips(split, count):
  drawn = [dataset.fields(dataset.Twin("video"), split, index) for index in range(count)]
  grey = np.stack([np.stack(sample["frames"]) for sample in drawn]).astype(np.float32).mean(axis=-1)  # [N, T, H, W]
  return grey, np.array([sample["action"] for sample in drawn])


def _in_cells(pictures):
  """Means over cells, [N, H, W] to [N, cells]."""
  count, height, width = pictures.shape
  return pictures.reshape(count, height // CELL, CELL, width // CELL, CELL).mean(axis=(2, 4)).reshape(count, -1)


def _motion(grey):
  """How much and how fast each part of the picture changes; noise of the sensor (about 2 grey levels here) is cut off."""
  change = np.maximum(np.abs(np.diff(grey, axis=1)) - 12, 0)  # [N, T - 1, H, W]
  bands = change.reshape(*change.shape[:2], -1, CELL, grey.shape[-1]).mean(axis=(3, 4))  # [N, T - 1, bands]
  rhythm = np.abs(np.fft.rfft(bands, axis=1)).reshape(len(grey), -1)
  return np.log1p(np.concatenate([_in_cells(change.mean(axis=1)), _in_cells(grey.std(axis=1)), rhythm], axis=1))


def test_motion_tells_actions():
  (train, actions), (test, truth) = _clips("train", 400), _clips("test", 160)
  features = np.concatenate([_motion(train), _motion(train[..., ::-1])])
  model = make_pipeline(StandardScaler(), LogisticRegression(C=.02, max_iter=500)).fit(features, np.tile(actions, 2))
  by_motion = model.score(_motion(test), truth)
  still = make_pipeline(StandardScaler(), LogisticRegression(C=.02, max_iter=500)).fit(_in_cells(train[:, 0]), actions)
  assert by_motion > .4, by_motion  # chance .1
  assert by_motion > still.score(_in_cells(test[:, 0]), truth) + .15
