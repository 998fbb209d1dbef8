"""The record contract: what goes in comes out, in Python and in the graph, and what breaks the contract is refused by name."""

import numpy as np
import pytest
import tensorflow as tf

from mppar_tf.data import parsing, schema
from mppar_tf.data.schema import Header, Image, RecordsError, Video

VIDEOS = Header("films", "video", ("run", "jump"), ("face", "age"))
STILLS = Header("stills", "image", (), ("face", "age"))


def noise(count, height=10, width=14, seed=0):
  return list(np.random.default_rng(seed).integers(0, 255, (count, height, width, 3), dtype=np.uint8))


def masks(count, height=10, width=14):
  return [np.where(np.random.default_rng(number).random((height, width)) < 0.5, 0, 255).astype(np.uint8) for number in range(count)]


def full_video(**changes):
  boxes = [np.array(rows, np.float32).reshape(-1, 4) for rows in ([0.0, 0.25, 0.5, 1.0], [], [[0, 0, 1, 1], [0.5, 0.5, 0.75, 1]])]
  video = Video("v1", noise(3), 12.5, 1, {"face": 2}, "anna", "g07", {"age": (0, -1, 1)}, boxes, boxes[::-1], masks(3), masks(3)[::-1])
  return video._replace(**changes)


def full_image(**changes):
  box, none = np.array([[0.125, 0.25, 0.5, 0.75]], np.float32), np.zeros([0, 4], np.float32)
  return Image("i1", noise(1)[0], -1, {"age": 1}, "bert", "g01", box, none, *masks(2))._replace(**changes)


def same(one, other):
  if one is None or other is None:
    return one is other
  if isinstance(one, (list, tuple)):
    return len(one) == len(other) and all(map(same, one, other))
  return np.array_equal(one, other) and np.asarray(one).shape == np.asarray(other).shape


@pytest.mark.parametrize("field", [field for field in Video._fields if field != "frames"])
def test_every_field_of_a_video_comes_back(field):
  video = full_video()
  back = schema.decode_video(schema.encode_video(video, VIDEOS), VIDEOS)
  assert same(getattr(back, field), getattr(video, field))


@pytest.mark.parametrize("field", [field for field in Image._fields if field != "pixels"])
def test_every_field_of_an_image_comes_back(field):
  image = full_image()
  back = schema.decode_image(schema.encode_image(image, STILLS), STILLS)
  assert same(getattr(back, field), getattr(image, field))


def test_absent_fields_stay_absent():
  video = Video("v", noise(2), 25.0)
  back = schema.decode_video(schema.encode_video(video, VIDEOS), VIDEOS)
  assert back._replace(frames=()) == video._replace(frames=())
  image = Image("i", noise(1)[0])
  assert schema.decode_image(schema.encode_image(image, STILLS), STILLS)._replace(pixels=None) == image._replace(pixels=None)


def test_pixels_come_back_close_and_colour_edges_stay_sharp():
  # Red beside blue: with halved chroma planes the border would be off by far more than quality 95 allows.
  edge = np.zeros((16, 16, 3), np.uint8)
  edge[:, :7, 0], edge[:, 7:, 2] = 255, 255
  back = schema.decode_image(schema.encode_image(Image("i", edge), STILLS), STILLS).pixels
  assert np.abs(back.astype(int) - edge).max() <= 12
  smooth = np.linspace(0, 255, 16 * 16 * 3).reshape(16, 16, 3).astype(np.uint8)
  coarse, fine = (schema.decode_image(schema.encode_image(Image("i", smooth), STILLS, quality), STILLS).pixels for quality in (20, 95))
  assert np.abs(fine.astype(int) - smooth).mean() < np.abs(coarse.astype(int) - smooth).mean()


def test_jpeg_bytes_are_stored_as_they_are():
  jpegs = [tf.io.encode_jpeg(frame, quality=40).numpy() for frame in noise(3)]
  record = schema.encode(full_video(frames=jpegs), VIDEOS)
  assert parsing.parse_video(record.serialized)["frames"].numpy().tolist() == jpegs
  assert (record.height, record.width, record.subject) == (10, 14, "anna")


def test_same_input_same_bytes():
  assert schema.encode_video(full_video(), VIDEOS) == schema.encode_video(full_video(), VIDEOS)
  assert schema.encode_image(full_image(), STILLS) == schema.encode_image(full_image(), STILLS)


@pytest.mark.parametrize("compiled", [False, True])
def test_graph_reads_what_python_wrote(compiled):
  parse = lambda serialized: parsing.parse_video(serialized, ("age", "face"), frame_wise=False)
  parsed = (tf.function(parse) if compiled else parse)(schema.encode_video(full_video(), VIDEOS))
  assert parsed["labels"].numpy().tolist() == [-1, 2] and parsed["labels"].dtype == tf.int32
  keys = ("id", "subject", "group", "action", "height", "width", "fps")
  assert [parsed[key].numpy() for key in keys] == [b"v1", b"anna", b"g07", 1, 10, 14, 12.5]
  assert parsed["frames"].shape[0] in (3, None)
  image = parsing.parse_image(schema.encode_image(full_image(), STILLS), ("face", "age"))
  assert image["labels"].numpy().tolist() == [-1, 1] and image["frames"].shape == [1]


def test_graph_reads_frame_wise_labels_and_misses_none_in_silence():
  only_age = schema.encode_video(full_video(), VIDEOS)
  assert parsing.parse_video(only_age, ("age",), frame_wise=True)["frame_labels"].numpy().tolist() == [[0], [-1], [1]]
  with pytest.raises(tf.errors.InvalidArgumentError, match="frame_label/face"):
    parsing.parse_video(only_age, ("face",), frame_wise=True)


def test_graph_refuses_an_attribute_that_records_lack():
  with pytest.raises(tf.errors.InvalidArgumentError, match="label/height"):
    parsing.parse_video(schema.encode_video(full_video(), VIDEOS), ("height",))
  with pytest.raises(tf.errors.InvalidArgumentError, match="label/height"):
    parsing.parse_image(schema.encode_image(full_image(), STILLS), ("height",))


@pytest.mark.parametrize("changes, told", [
    ({"frames": []}, "no frames"),
    ({"frames": noise(2) + noise(1, 8)}, "several sizes"),
    ({"frames": [frame.astype(np.float32) for frame in noise(3)]}, "float32"),
    ({"frames": [frame[..., 0] for frame in noise(3)]}, r"\[10, 14\]"),
    ({"frames": noise(2) + [b"GIF89a"]}, "frame 2: 6 bytes that are no JPEG"),
    ({"fps": 0.0}, "0.0 frames per second"),
    ({"action": 2}, "action 2 .* 2 classes"),
    ({"action": -2}, "action -2"),
    ({"labels": {"hair": 1}}, "'hair' is not one of face, age"),
    ({"labels": {"face": 0.5}}, "label 0.5"),
    ({"labels": {"face": 128}}, "label 128"),
    ({"frame_labels": {"age": (0, 1)}}, "2 entries of frame_label/age for 3 frames"),
    ({"frame_labels": {"hair": (0, 1, 1)}}, "'hair'"),
    ({"face_boxes": [[0.5, 0, 0.25, 1]] * 3}, "face_boxes"),
    ({"body_boxes": [[0, 0, 1, 1.5]] * 3}, "body_boxes"),
    ({"face_masks": [np.full((10, 14), 7, np.uint8)] * 3}, "face_masks"),
    ({"body_masks": masks(3, 14, 10)}, "body_masks"),
    ({"body_masks": masks(2)}, "2 entries of body_masks for 3 frames"),
])
def test_broken_videos_are_refused_by_name(changes, told):
  with pytest.raises(RecordsError, match=rf"films: 'v1'.*{told}"):
    schema.encode_video(full_video(**changes), VIDEOS)


def test_kinds_and_datasets_are_not_mixed_up():
  with pytest.raises(RecordsError, match="'i1' is a Image, but the header's kind is 'video'"):
    schema.encode(full_image(), VIDEOS)
  serialized = schema.encode_video(full_video(), VIDEOS)
  with pytest.raises(RecordsError, match="belongs to another dataset"):
    schema.decode_video(serialized, VIDEOS._replace(dataset="others"))
  with pytest.raises(RecordsError, match="without label/hair"):
    schema.decode_video(serialized, VIDEOS._replace(attributes=("face", "hair")))
  with pytest.raises(RecordsError, match="stills"):
    schema.decode_image(serialized, STILLS)
  with pytest.raises(RecordsError, match="no SequenceExample"):
    schema.decode_video(b"\xff\xff", VIDEOS)
