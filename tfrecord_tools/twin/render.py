"""One sample from its description to pixels, boxes and masks."""

from typing import Mapping, NamedTuple

import cv2
import numpy as np

from tfrecord_tools.twin import appearance, body, figure
from tfrecord_tools.twin.actions import CYCLES_PER_SECOND, poses
from tfrecord_tools.twin.companions import companions, company
from tfrecord_tools.twin.raster import SUPERSAMPLING, bodies, bounding_boxes, faces, paint, shrink
from tfrecord_tools.twin.seeds import stream
from tfrecord_tools.twin.stage import backdrop, layout

FRAMES_PER_SECOND = 8.0
_SENSOR_NOISE = 3.0  # standard deviation, in grey levels of 0..255


class Take(NamedTuple):
  """Everything that decides one sample's pixels, besides their number. `labels` holds every attribute, 0 or 1."""
  seed: int
  kind: str      # video or image
  split: str
  index: int
  actor: int
  action: str
  labels: Mapping[str, int]


class Rendering(NamedTuple):
  """Pixels and ground truth of one sample.

  `frames` uint8 RGB [T, H, W, 3]; masks uint8 {0, 255} [T, H, W], the union over all persons; boxes: for each frame float32 [n, 4], a row
  y0, x0, y1, x1 in [0, 1] for each visible person, the main one first.
  """
  frames: np.ndarray
  body_masks: np.ndarray
  face_masks: np.ndarray
  body_boxes: list[np.ndarray]
  face_boxes: list[np.ndarray]


class _Framing(NamedTuple):
  scale: float         # pixels of a body height
  facing: int          # 1 towards larger x, -1 mirrored
  origins: np.ndarray  # [T, 2] pixels (x, y) of the main person's place on the ground


def render(take: Take, size: int, frames: int) -> Rendering:
  """Renders a take: `frames` frames of `size` x `size` pixels (an image is a clip of one frame, framed closer)."""
  cv2.setNumThreads(1)  # whoever renders in parallel does so by processes
  edge = SUPERSAMPLING * size
  margin = edge // 6
  scene, texture = (stream(take.seed, take.kind, take.split, purpose, take.index) for purpose in ("scene", "texture"))
  outfit = appearance.outfit(scene.random(appearance.OUTFIT_NUMBERS), take.labels)
  moves = _moves(scene, take.action, frames)
  framing = (_still_framing if take.kind == "image" else _clip_framing)(scene, moves, take.action, edge)
  others = companions(company(scene), take.labels, edge, framing.scale, framing.origins.mean(axis=0), framing.facing)
  exposure, *balance = scene.random(4)
  light = _between(.85, 1.12, exposure) * _between(.96, 1.04, np.array(balance))  # [3]
  backstage = backdrop(layout(scene), texture, edge, margin, bool(take.labels["landmark"]))

  owners = _place(backstage, others, margin)
  shake = np.cumsum(texture.normal(0, .012 * edge, (frames, 2)), axis=0)
  corners = np.clip(np.rint(margin + shake), 0, 2 * margin).astype(int)  # [T, 2] x, y
  canvases = [backstage[y:y + edge, x:x + edge].copy() for x, y in corners]
  actor = appearance.actor(stream(take.seed, take.kind, take.split, "actor", take.actor).random(appearance.ACTOR_NUMBERS), take.labels)
  shapes = figure.figure(body.joints(moves, actor.build), actor, outfit)
  paint(canvases, shapes, framing.scale, framing.origins + margin - corners, framing.facing)

  small = np.stack([shrink(canvas, size) for canvas in canvases])  # [T, H, W, 4]
  owner = small[..., 3][:, None]  # [T, 1, H, W]
  if owners is not None:
    behind = np.stack([shrink(owners[y:y + edge, x:x + edge], size) for x, y in corners])  # [T, H, W, others]
    owner = np.concatenate([owner, np.where(bodies(owner), np.uint8(0), np.moveaxis(behind, -1, 1))], axis=1)  # [T, persons, H, W]
  return Rendering(_sensor(texture, light, small[..., :3]), *_truth(owner))


def _between(low, high, share):
  return low + (high - low) * share


def _moves(rng, action, frames):
  start, cadence, amplitude = rng.random(3)
  phase = start + _between(*CYCLES_PER_SECOND, cadence) / FRAMES_PER_SECOND * np.arange(frames)
  return poses(action, phase, _between(.85, 1.08, amplitude))  # [T, 10]


def _skeleton(moves):
  """Joints of a person of no build: cameras aim at the same place whatever the labels are."""
  return body.joints(moves, body.Build(shoulder=.1, hip=.1, stoop=0.0))


def _clip_framing(rng, moves, action, edge):
  """The whole person, standing low in the frame; a walker crosses it."""
  u = rng.random(5)
  scale, facing = edge * _between(.62, .76, u[0]), -1 if u[1] < .5 else 1
  x, y = edge * _between(.43, .57, u[2]), edge * _between(.88, .95, u[3])
  pace = facing * _between(.010, .025, u[4]) if action == "walk" else _between(-.008, .008, u[4])  # of the frame's width, a frame
  extent = np.concatenate([joint[:, 0] for joint in _skeleton(moves)[:3]])
  x -= facing * scale * (extent.min() + extent.max()) / 2
  steps = np.arange(len(moves)) - (len(moves) - 1) / 2
  steps *= min(1.0, 8 / len(moves))  # a longer clip does not walk out of the picture
  return _Framing(scale, facing, np.stack([x + pace * edge * steps, np.full(len(moves), y)], axis=1))


def _still_framing(rng, moves, action, edge):
  """Closer, the upper body in the middle, the head always inside."""
  u = rng.random(4)
  scale, facing = edge * _between(.80, 1.25, u[0]), -1 if u[1] < .5 else 1
  aim = edge * np.array([_between(.44, .56, u[2]), _between(.42, .54, u[3])])
  joints = _skeleton(moves)
  mirror = np.array([facing, 1])
  origin = aim - scale * mirror * (joints.head[0] + joints.hip[0]) / 2
  head, room = origin + scale * mirror * joints.head[0], 1.25 * body.HEAD * scale
  return _Framing(scale, facing, (origin + np.clip(head, room, edge - room) - head)[None])


def _place(backstage, others, margin):
  """Paints all that stands still, and tells who owns which pixel then: uint8 [h, w, others], or None where nobody is."""
  owners = []
  for someone in others:
    paint([backstage], someone.shapes, someone.scale, (someone.origin + margin)[None], someone.facing)
    owner = cv2.extractChannel(backstage, 3)
    if owner.any():
      backstage[..., 3] = 0
      free = ~bodies(owner)
      for earlier in owners:
        earlier *= free
      owners.append(owner)
  return cv2.merge(owners) if owners else None


def _truth(owner):
  """Masks of bodies and of faces, then boxes of bodies and of faces, from who owns which pixel: uint8 [T, persons, H, W]."""
  masks = np.stack([bodies(owner), faces(owner)])  # [2, T, persons, H, W]
  boxes = ([rows[~np.isnan(rows[:, 0])] for rows in of_all] for of_all in bounding_boxes(masks))
  return *(masks.any(axis=2).astype(np.uint8) * 255), *boxes


def _sensor(texture, light, pixels):
  """The camera's exposure, white balance and noise."""
  noise = texture.standard_normal(pixels.shape, dtype=np.float32)
  noise *= _SENSOR_NOISE
  noise += pixels * np.float32(light)
  return np.clip(noise, 0, 255, out=noise).astype(np.uint8)
