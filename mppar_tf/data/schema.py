"""What one record holds: Python <-> bytes, for tools and tests. `mppar_tf.data.parsing` reads the same bytes in the training graph.

A video is one `tf.train.SequenceExample`, an image one `tf.train.Example`; both share the names of their features:

| feature | type | meaning |
|---|---|---|
| id, dataset, subject, group | bytes | who and where from; subject and group may be empty |
| action | int64 | index into the header's classes, -1 none |
| fps (video) | float | frames per second of the stored frames |
| height, width | int64 | pixels, the same for all frames |
| label/<attribute> | int64 | every attribute of the header: 0 absent, above 0 present, -1 NA |
| frames (video: one a frame; image: one) | bytes | JPEG |
| frame_label/<attribute> (video) | int64 a frame | frame-wise labels, where the dataset has them |
| face_boxes, body_boxes | floats | y0, x0, y1, x1 of each box in [0, 1], flattened; absent: unknown, empty: there is none |
| face_masks, body_masks | bytes | PNG, 255 inside; absent: unknown |
"""

import contextlib
import struct
from typing import Iterator, Mapping, NamedTuple, Sequence

import numpy as np
import tensorflow as tf

from mppar_tf.messages import one_line
from mppar_tf.types import NOT_ANNOTATED

SCHEMA_VERSION = 1
KINDS = ("video", "image")
JPEG_QUALITY = 95
LARGEST_LABEL = 127  # labels travel as int8 in tables of whole splits

BOXES = ("face_boxes", "body_boxes")
MASKS = ("face_masks", "body_masks")

Frame = np.ndarray | bytes
PNG_HEAD = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + b"\x08\x00"  # up to the size, and behind it: 8 bits, grey


class RecordsError(ValueError):
  """Records that cannot be written or trusted, told in one line that names the folder, file or record."""


class Header(NamedTuple):
  """What all records of a dataset share."""
  dataset: str
  kind: str  # one of KINDS
  classes: tuple[str, ...] = ()  # action names; `action` indexes them
  attributes: tuple[str, ...] = ()  # privacy attributes; every record has a label, maybe NA, for each


class Video(NamedTuple):
  """One video with its labels."""
  id: str
  frames: Sequence[Frame]  # uint8 RGB [H, W, 3], or JPEG bytes that are stored as they are
  fps: float
  action: int = NOT_ANNOTATED
  labels: Mapping[str, int] = {}  # a missing attribute is NA
  subject: str = ""
  group: str = ""
  frame_labels: Mapping[str, Sequence[int]] | None = None  # attribute -> one label a frame
  face_boxes: Sequence[np.ndarray] | None = None  # a frame: float [n, 4], rows y0, x0, y1, x1 in [0, 1]
  body_boxes: Sequence[np.ndarray] | None = None
  face_masks: Sequence[np.ndarray | bytes] | None = None  # a frame: uint8 [H, W] of 0 and 255, or PNG bytes that are stored as they are
  body_masks: Sequence[np.ndarray | bytes] | None = None


class Image(NamedTuple):
  """One still image with its labels."""
  id: str
  pixels: Frame  # uint8 RGB [H, W, 3], or JPEG bytes that are stored as they are
  action: int = NOT_ANNOTATED
  labels: Mapping[str, int] = {}
  subject: str = ""
  group: str = ""
  face_boxes: np.ndarray | None = None  # float [n, 4]
  body_boxes: np.ndarray | None = None
  face_masks: np.ndarray | bytes | None = None  # uint8 [H, W] of 0 and 255, or its PNG
  body_masks: np.ndarray | bytes | None = None


class Encoded(NamedTuple):
  """A record on its way into a shard, with what the manifest must know of it."""
  serialized: bytes
  height: int
  width: int
  subject: str


# ---- Python -> bytes ----


def encode(item: Video | Image, header: Header, quality: int = JPEG_QUALITY) -> Encoded:
  """Serializes a video or image; raises RecordsError where it breaks the contract of this room or of `header`."""
  if isinstance(item, Video) != (header.kind == "video"):
    raise RecordsError(f"{header.dataset}: {item.id!r} is a {type(item).__name__}, but the header's kind is {header.kind!r}")
  frames = list(item.frames) if isinstance(item, Video) else [item.pixels]
  if not frames:
    raise RecordsError(f"{header.dataset}: {item.id!r} has no frames")
  jpegs, sizes = zip(*(_jpeg(frame, quality, f"{header.dataset}: {item.id!r} frame {number}") for number, frame in enumerate(frames)))
  if len(set(sizes)) > 1:
    raise RecordsError(f"{header.dataset}: {item.id!r} has frames of several sizes: {sorted(set(sizes))}")
  shared = _context(item, header, sizes[0])
  message = _sequence_example(item, header, shared, jpegs) if isinstance(item, Video) else _example(item, header, shared, jpegs[0])
  return Encoded(message.SerializeToString(deterministic=True), *sizes[0], item.subject)


def encode_video(video: Video, header: Header, quality: int = JPEG_QUALITY) -> bytes:
  """The serialized `tf.train.SequenceExample`; the same input gives the same bytes. Raises RecordsError."""
  return encode(video, header, quality).serialized


def encode_image(image: Image, header: Header, quality: int = JPEG_QUALITY) -> bytes:
  """The serialized `tf.train.Example`; the same input gives the same bytes. Raises RecordsError."""
  return encode(image, header, quality).serialized


def _jpeg(frame: Frame, quality: int, name: str) -> tuple[bytes, tuple[int, int]]:
  if isinstance(frame, bytes):
    try:
      height, width, _ = tf.io.extract_jpeg_shape(frame).numpy().tolist()
    except tf.errors.InvalidArgumentError:
      raise RecordsError(f"{name}: {len(frame)} bytes that are no JPEG") from None
    return frame, (height, width)
  if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3:
    raise RecordsError(f"{name}: uint8 [H, W, 3] is needed, this is {frame.dtype} {list(frame.shape)}")
  # Halving the chroma planes would blur the colour cues of 32-pixel frames, and would make a cropping decoder differ from
  # a whole one at the crop's border.
  jpeg = tf.io.encode_jpeg(frame, format="rgb", quality=quality, chroma_downsampling=False).numpy()
  return jpeg, frame.shape[:2]


def _context(item: Video | Image, header: Header, size: tuple[int, int]) -> dict[str, tf.train.Feature]:
  name = f"{header.dataset}: {item.id!r}"
  unknown = sorted(set(item.labels) - set(header.attributes))
  if unknown:
    raise RecordsError(f"{name}: attribute {unknown[0]!r} is not one of {', '.join(header.attributes) or 'none'}")
  if not NOT_ANNOTATED <= item.action < len(header.classes):
    raise RecordsError(f"{name}: action {item.action} is not -1 nor an index into {len(header.classes)} classes")
  labels = {attribute: item.labels.get(attribute, NOT_ANNOTATED) for attribute in header.attributes}
  for attribute, value in labels.items():
    _check_label(value, f"{name}: {attribute}")
  context = {key: _bytes(value.encode()) for key, value in (
      ("id", item.id), ("dataset", header.dataset), ("subject", item.subject), ("group", item.group))}
  context |= {key: _ints(value) for key, value in (("action", item.action), ("height", size[0]), ("width", size[1]))}
  return context | {f"label/{attribute}": _ints(value) for attribute, value in labels.items()}


def _check_label(value: int, name: str) -> None:
  if not (isinstance(value, (int, np.integer)) and NOT_ANNOTATED <= value <= LARGEST_LABEL):
    raise RecordsError(f"{name}: label {value!r} is not an integer from -1 (NA) to {LARGEST_LABEL}")


def _sequence_example(video: Video, header: Header, context: dict, jpegs: Sequence[bytes]) -> tf.train.SequenceExample:
  name, size = f"{header.dataset}: {video.id!r}", (context["height"].int64_list.value[0], context["width"].int64_list.value[0])
  if not video.fps > 0:
    raise RecordsError(f"{name}: {video.fps} frames per second")
  lists = {"frames": [_bytes(jpeg) for jpeg in jpegs]}
  for attribute, values in (video.frame_labels or {}).items():
    if attribute not in header.attributes:
      raise RecordsError(f"{name}: frame-wise attribute {attribute!r} is not one of {', '.join(header.attributes) or 'none'}")
    for value in values:
      _check_label(value, f"{name}: frame-wise {attribute}")
    lists[f"frame_label/{attribute}"] = [_ints(value) for value in values]
  for key in BOXES:
    if getattr(video, key) is not None:
      lists[key] = [_floats(_checked_boxes(boxes, f"{name}: {key}")) for boxes in getattr(video, key)]
  for key in MASKS:
    if getattr(video, key) is not None:
      lists[key] = [_bytes(_png(mask, size, f"{name}: {key}")) for mask in getattr(video, key)]
  for key, entries in lists.items():
    if len(entries) != len(jpegs):
      raise RecordsError(f"{name}: {len(entries)} entries of {key} for {len(jpegs)} frames")
  return tf.train.SequenceExample(
      context=tf.train.Features(feature=context | {"fps": _floats([video.fps])}),
      feature_lists=tf.train.FeatureLists(feature_list={key: tf.train.FeatureList(feature=value) for key, value in lists.items()}))


def _example(image: Image, header: Header, context: dict, jpeg: bytes) -> tf.train.Example:
  name, size = f"{header.dataset}: {image.id!r}", (context["height"].int64_list.value[0], context["width"].int64_list.value[0])
  features = context | {"frames": _bytes(jpeg)}
  features |= {key: _floats(_checked_boxes(getattr(image, key), f"{name}: {key}")) for key in BOXES if getattr(image, key) is not None}
  features |= {key: _bytes(_png(getattr(image, key), size, f"{name}: {key}")) for key in MASKS if getattr(image, key) is not None}
  return tf.train.Example(features=tf.train.Features(feature=features))


def _checked_boxes(boxes: np.ndarray, name: str) -> np.ndarray:
  boxes = np.asarray(boxes, np.float32).reshape(-1, 4)  # [n, 4]
  y0, x0, y1, x1 = boxes.T
  if not np.all((boxes >= 0) & (boxes <= 1)) or np.any(y0 > y1) or np.any(x0 > x1):
    raise RecordsError(f"{name}: boxes are y0 <= y1, x0 <= x1 in [0, 1], this is {boxes.tolist()}")
  return boxes.ravel()


def _png(mask: np.ndarray | bytes, size: tuple[int, int], name: str) -> bytes:
  if isinstance(mask, bytes):
    if mask[:16] + mask[24:26] != PNG_HEAD or mask[16:24] != struct.pack(">II", size[1], size[0]):
      raise RecordsError(f"{name}: {len(mask)} bytes that are no grey PNG of {list(size)}")
    return mask
  if mask.dtype != np.uint8 or mask.shape != tuple(size) or not np.isin(mask, (0, 255)).all():
    raise RecordsError(f"{name}: uint8 {list(size)} of 0 and 255 is needed, this is {mask.dtype} {list(mask.shape)}")
  return tf.io.encode_png(mask[..., None]).numpy()


def _bytes(value: bytes) -> tf.train.Feature:
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _ints(value: int) -> tf.train.Feature:
  return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def _floats(values: Sequence[float]) -> tf.train.Feature:
  return tf.train.Feature(float_list=tf.train.FloatList(value=values))


# ---- bytes -> Python ----


@contextlib.contextmanager
def _told(header: Header) -> Iterator[None]:
  """What protobuf and TensorFlow say of damaged values, as RecordsError."""
  try:
    yield
  except RecordsError:
    raise
  except (ValueError, IndexError, tf.errors.InvalidArgumentError) as error:  # ValueError also for bytes that are no UTF-8
    said = one_line(error, 200)
    raise RecordsError(f"{header.dataset}: a record with damaged values ({type(error).__name__}: {said})") from None


def decode_video(serialized: bytes, header: Header) -> Video:
  """The whole video, frames as uint8 [H, W, 3]; raises RecordsError where the bytes are no video of this header."""
  with _told(header):
    return _decoded_video(serialized, header)


def _decoded_video(serialized: bytes, header: Header) -> Video:
  message = _parsed(tf.train.SequenceExample, serialized, header)
  context, lists = message.context.feature, message.feature_lists.feature_list
  if not lists["frames"].feature:
    raise RecordsError(f"{header.dataset}: a record without frames where a video is expected")
  frame_labels = {attribute: tuple(entry.int64_list.value[0] for entry in lists[f"frame_label/{attribute}"].feature)
                  for attribute in header.attributes if f"frame_label/{attribute}" in lists}
  boxes = {key: [_rows(entry) for entry in lists[key].feature] for key in BOXES if key in lists}
  masks = {key: [_mask(entry) for entry in lists[key].feature] for key in MASKS if key in lists}
  frames = [_pixels(entry.bytes_list.value[0], header) for entry in lists["frames"].feature]
  return Video(frames=frames, fps=context["fps"].float_list.value[0], frame_labels=frame_labels or None,
               **_decoded_context(context, header), **boxes, **masks)


def decode_image(serialized: bytes, header: Header) -> Image:
  """The image with its pixels as uint8 [H, W, 3]; raises RecordsError where the bytes are no image of this header."""
  with _told(header):
    return _decoded_image(serialized, header)


def _decoded_image(serialized: bytes, header: Header) -> Image:
  features = _parsed(tf.train.Example, serialized, header).features.feature
  if "frames" not in features:
    raise RecordsError(f"{header.dataset}: a record without pixels where an image is expected")
  boxes = {key: _rows(features[key]) for key in BOXES if key in features}
  masks = {key: _mask(features[key]) for key in MASKS if key in features}
  return Image(pixels=_pixels(features["frames"].bytes_list.value[0], header), **_decoded_context(features, header), **boxes, **masks)


def decode(serialized: bytes, header: Header) -> Video | Image:
  return decode_video(serialized, header) if header.kind == "video" else decode_image(serialized, header)


def check(serialized: bytes, header: Header) -> str:
  """The record's id, after a look at everything but the pixels; raises RecordsError where it breaks `header`."""
  with _told(header):
    return _checked_id(serialized, header)


def _checked_id(serialized: bytes, header: Header) -> str:
  if header.kind == "video":
    message = _parsed(tf.train.SequenceExample, serialized, header)
    context, frames = message.context.feature, message.feature_lists.feature_list["frames"].feature
  else:
    context = _parsed(tf.train.Example, serialized, header).features.feature
    frames = [context["frames"]] if "frames" in context else []
  name = _decoded_context(context, header)["id"]
  if not frames or not all(frame.bytes_list.value and frame.bytes_list.value[0].startswith(b"\xff\xd8") for frame in frames):
    raise RecordsError(f"{header.dataset}: record {name!r} lacks JPEG frames")
  return name


def regions(serialized: bytes, header: Header, feature: str) -> list[np.ndarray] | None:
  """One of BOXES or MASKS of each frame, float [n, 4] or uint8 [H, W]; None where the record does not tell. Raises RecordsError."""
  with _told(header):
    if header.kind == "video":
      lists = _parsed(tf.train.SequenceExample, serialized, header).feature_lists.feature_list
      entries = lists[feature].feature if feature in lists else None
    else:
      features = _parsed(tf.train.Example, serialized, header).features.feature
      entries = [features[feature]] if feature in features else None
    return None if entries is None else [_rows(entry) if feature in BOXES else _mask(entry) for entry in entries]


def _parsed(message_type: type, serialized: bytes, header: Header):
  message = message_type()
  try:
    message.ParseFromString(serialized)
  except Exception as error:  # protobuf's own error class is private to its C++ and Python implementations
    raise RecordsError(f"{header.dataset}: a record that is no {message_type.__name__} ({error})") from None
  return message


def _decoded_context(features, header: Header) -> dict:
  needed = ["id", "dataset", "subject", "group", "action"] + [f"label/{attribute}" for attribute in header.attributes]
  missing = [key for key in needed if key not in features]
  if missing:
    raise RecordsError(f"{header.dataset}: a record without {', '.join(missing)}")
  text = {key: features[key].bytes_list.value[0].decode() for key in ("id", "dataset", "subject", "group")}
  if text.pop("dataset") != header.dataset:
    raise RecordsError(f"{header.dataset}: record {text['id']!r} belongs to another dataset")
  labels = {attribute: features[f"label/{attribute}"].int64_list.value[0] for attribute in header.attributes}
  return text | {"action": features["action"].int64_list.value[0],
                 "labels": {attribute: value for attribute, value in labels.items() if value != NOT_ANNOTATED}}


def _pixels(jpeg: bytes, header: Header) -> np.ndarray:
  try:
    return tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE").numpy()  # [H, W, 3]
  except tf.errors.InvalidArgumentError:
    raise RecordsError(f"{header.dataset}: a frame of {len(jpeg)} bytes that cannot be decoded as JPEG") from None


def _rows(feature: tf.train.Feature) -> np.ndarray:
  return np.asarray(feature.float_list.value, np.float32).reshape(-1, 4)  # [n, 4]


def _mask(feature: tf.train.Feature) -> np.ndarray:
  return tf.io.decode_png(feature.bytes_list.value[0], channels=1).numpy()[..., 0]  # [H, W]
