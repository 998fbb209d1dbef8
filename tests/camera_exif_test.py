"""Pictures with EXIF: they are decoded, put upright as it says, and what else it tells goes nowhere."""

import gc

import av
import exif_footage
import footage
import numpy as np
import pytest

from mppar_tf import camera, display_matrix
from mppar_tf.on_camera import errors, source_files, sources

TURNED = (5, 6, 7, 8)  # orientations that make rows of columns


def frames(path):
  source = sources.find(str(path))
  source.open()
  try:
    return [frame.pixels for frame in source.frames()]
  finally:
    source.close()


def near(pixels, expected):
  return pixels.shape == expected.shape and np.abs(pixels.astype(int) - expected).mean() < 3


def test_no_two_orientations_look_alike():
  """Else the tests below prove nothing."""
  seen = [exif_footage.shown(exif_footage.encoded(exif_footage.corners(), orientation)) for orientation in range(1, 9)]
  assert [picture.shape for picture in seen] == [(64, 48, 3) if orientation in TURNED else (48, 64, 3) for orientation in range(1, 9)]
  assert sum(near(one, other) for one in seen for other in seen) == 8


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_put_upright_as_its_exif_says(place, kind, orientation):
  if kind != "JPEG" and int(av.__version__.split(".")[0]) < 18:
    pytest.skip("this FFmpeg takes an orientation of JPEGs alone")
  content = exif_footage.encoded(exif_footage.corners(), orientation, kind)
  path = place / f"x.{kind.lower()}"
  path.write_bytes(content)
  (place / "photos").mkdir()
  (place / "photos" / path.name).write_bytes(content)
  for source in (path, place / "photos"):
    (pixels,) = frames(source)
    assert near(pixels, exif_footage.shown(content))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_turns_nothing(place, orientation):
  (place / "x.jpg").write_bytes(exif_footage.encoded(exif_footage.corners(), orientation))
  (pixels,) = frames(place / "x.jpg")
  assert near(pixels, exif_footage.corners())


@pytest.mark.parametrize("kind, mode", [("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "L"), ("PNG", "1"), ("PNG", "P"), ("PNG", "RGBA"),
                                        ("PNG", "I;16"), ("WEBP", "RGBA")])
def test_pixels_of_every_kind_may_have_exif(place, kind, mode):
  content = exif_footage.encoded(exif_footage.corners(), 6, kind, mode="L" if mode == "I;16" else mode)
  if mode == "I;16":
    grey = exif_footage.Image.fromarray(exif_footage.corners()).convert("L")
    exif = exif_footage.Image.Exif()
    exif[exif_footage.ORIENTATION] = 6
    exif_footage.Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(place / "x.png", exif=exif)
  else:
    (place / f"x.{kind.lower()}").write_bytes(content)
  (pixels,) = frames(place / ("x.png" if mode == "I;16" else f"x.{kind.lower()}"))
  assert near(pixels, exif_footage.shown(content))


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mov"])
@pytest.mark.parametrize("orientation", [1, 6, 7])
def test_a_video_of_such_pictures_is_a_video(place, suffix, orientation):
  content = exif_footage.encoded(exif_footage.corners(), orientation)
  video = exif_footage.motion_jpeg(place / f"x{suffix}", 5 * [content])
  found = frames(video)
  assert len(found) == 5 and all(near(pixels, exif_footage.shown(content)) for pixels in found)


@pytest.mark.parametrize("name", ["photos", "x.avi"])
def test_nothing_of_the_exif_gets_out(model, place, capfd, name):
  content = exif_footage.encoded(exif_footage.corners(), 6)
  (place / "photos").mkdir()
  for number in range(3):
    (place / "photos" / f"{number}.jpg").write_bytes(content)
  exif_footage.motion_jpeg(place / "x.avi", 3 * [content])
  assert camera.run(footage.chosen(model, place / name, place / "out" / "safe.mp4")) == 0
  assert camera.run(footage.chosen(model, place / name, place / "out" / "frames")) == 0
  assert [pixels.shape for _, pixels in footage.read_video(place / "out" / "safe.mp4")] == [(64, 48, 3)] * 3
  output, error = capfd.readouterr()
  written = [path for path in (place / "out").rglob("*") if path.is_file()]
  assert len(written) == 5 and not any(b"Anna" in path.read_bytes() for path in written) and "Anna" not in output + error


def test_pictures_with_and_without_exif_of_one_folder_all_come(place):
  (place / "photos").mkdir()
  for number, orientation in enumerate([None, 3, 8, 1]):
    (place / "photos" / f"{number}.jpg").write_bytes(exif_footage.encoded(exif_footage.corners(), orientation))
  footage.save(place / "photos", [exif_footage.corners()])
  assert [pixels.shape for pixels in frames(place / "photos")] == [(48, 64, 3)] * 3 + [(64, 48, 3), (48, 64, 3)]


# What PyAV cannot name.


def picture(place, orientation):
  (place / "x.jpg").write_bytes(exif_footage.encoded(exif_footage.corners(), orientation))
  with av.open(str(place / "x.jpg")) as container:
    return next(container.decode(video=0))


def test_the_frame_itself_stays_as_it_is(place):
  """Times are read of it afterwards."""
  frame = picture(place, 6)
  frame.pts, frame.time_base = 7, exif_footage.Fraction(1, 90000)
  display_matrix.upright(frame.to_ndarray(format="rgb24"), frame)
  assert (frame.pts, frame.time_base, frame.width, frame.height) == (7, exif_footage.Fraction(1, 90000), 64, 48)


def test_no_thread_is_left_of_a_frame_with_exif(place):
  frame = picture(place, 6)
  pixels = frame.to_ndarray(format="rgb24")  # which has threads of its own
  before = threads()
  for _ in range(50):
    display_matrix.upright(pixels, frame)
  assert threads() <= before


def threads():
  with open("/proc/self/status") as file:
    return next(int(line.split()[1]) for line in file if line.startswith("Threads:"))


@pytest.mark.parametrize("orientation", [None, 1, 6])
def test_raw_frames_go_as_soon_as_nobody_needs_them(place, orientation):
  """PyAV's frame and its side data refer to each other, which kept hundreds of frames: a gigabyte at 1920x1080."""
  gc.collect()
  gc.disable()
  try:
    for _ in range(3):
      frame = picture(place, orientation)
      display_matrix.upright(frame.to_ndarray(format="rgb24"), frame)
    del frame
    assert not [one for one in gc.get_objects() if isinstance(one, av.VideoFrame) and one.width == exif_footage.STORED[1]]
  finally:
    gc.enable()


def test_frames_of_other_kinds_in_turn(place):
  """The matrix of one frame is not taken for that of the next."""
  kinds = [("JPEG", 6, "RGB"), ("PNG", 3, "L"), ("JPEG", None, "RGB"), ("PNG", 8, "RGBA"), ("JPEG", 1, "L"), ("JPEG", 7, "L")]
  (place / "photos").mkdir()
  pictures = [exif_footage.encoded(exif_footage.corners(), orientation, kind, mode) for kind, orientation, mode in kinds]
  for number, content in enumerate(pictures):
    (place / "photos" / f"{number}.png").write_bytes(content)  # the name is no matter
  assert all(near(pixels, exif_footage.shown(content)) for pixels, content in zip(frames(place / "photos"), pictures, strict=True))


def test_a_matrix_that_cannot_be_had_is_no_upright_frame(place, monkeypatch):
  """Whoever cannot tell how a frame is turned does not pass it on unturned."""
  def refused(*_):
    raise ValueError("99 is not a valid Type; the pixels are 1, 2, 3")
  frame = picture(place, 6)
  monkeypatch.setattr(display_matrix, "_stored", refused)
  with pytest.raises(errors.SourceFailed) as told:
    source_files.upright(frame, "source x.jpg: the image")
  assert str(told.value) == "source x.jpg: the image cannot be converted: ValueError"
