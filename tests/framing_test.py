"""Frames through a network of another size: scaled or in tiles, every pixel of a result has been through the network."""

import footage
import leaks
import numpy as np
import pytest
import saboteur
import tiny_exports

from mppar_tf import camera
from mppar_tf.on_camera import engine, framing
from mppar_tf.on_camera.errors import AnonymizationFailed

SIZE = (16, 24)
SHAPES = [(48, 64), (16, 24), (17, 25), (64, 96), (100, 31), (9, 200), (5, 7), (120, 160)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  return tiny_exports.write(tmp_path_factory.mktemp("models") / "good", tiny_exports.anonymizer())


@pytest.mark.parametrize("length, side", [(48, 16), (17, 16), (16, 16), (1000, 7), (3, 1), (1080, 128)])
def test_tiles_cover_the_frame_and_share_at_least_a_quarter(length, side):
  starts = framing.starts(length, side)
  assert starts[0] == 0 and starts[-1] == length - side
  if side > 3:
    assert all(0 < second - first <= side * (1 - framing.OVERLAP) + 1 for first, second in zip(starts, starts[1:]))
  assert len(starts) <= 2 + length / max(1, int(side * (1 - framing.OVERLAP)))


@pytest.mark.parametrize("tile_scale", [1.0, 1.7, 4.0, 100.0])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", framing.FRAMINGS)
def test_every_pixel_comes_from_the_network(name, shape, tile_scale):
  """A network that answers with a marker alone: whatever else were in the result would be raw."""
  raw = leaks.noise(1, *shape)[0]
  marker = np.array([200, 7, 90], np.uint8)
  seen = []

  def network(picture):
    seen.append(picture.shape)
    return np.broadcast_to(marker, picture.shape).copy()
  before = raw.copy()
  safe = framing.FRAMINGS[name](raw, network, SIZE, tile_scale)
  # FFmpeg's scaler may round a constant by one or two.
  assert safe.shape == raw.shape and safe.dtype == np.uint8 and np.max(np.abs(safe.astype(int) - marker)) <= 2
  assert set(seen) == {(*SIZE, 3)} and np.array_equal(raw, before) and not np.shares_memory(safe, raw)


def test_a_tile_shows_more_than_a_scaled_frame_and_less_the_coarser_it_is():
  """What a network that hides nothing would let through: tiles are asked for by whoever wants detail."""
  raw = leaks.noise(1, 64, 96)[0]
  errors = [float(np.mean(np.abs(framing.FRAMINGS[name](raw, lambda picture: picture.copy(), SIZE, scale).astype(int) - raw)))
            for name, scale in (("tile", 1.0), ("tile", 2.0), ("tile", 4.0), ("scale", 1.0))]
  assert errors[0] == 0 and errors[0] < errors[1] < errors[2]
  assert errors[2] == pytest.approx(errors[3], abs=1.0)  # four times the network's size is this whole frame


def test_seams_are_smooth():
  """Each tile comes back in a grey of its own: between neighbours there is a slope, and no step of more than it takes."""
  greys = iter(np.random.default_rng(3).permutation(np.linspace(0, 255, 40).astype(np.uint8)))
  safe = framing.tile(np.zeros((64, 96, 3), np.uint8), lambda picture: np.full(picture.shape, next(greys), np.uint8), SIZE, 1.0).astype(int)
  shared = framing.OVERLAP * min(SIZE)
  assert safe.std() > 20  # else there is no seam to see
  steps = max(np.abs(np.diff(safe, axis=axis)).max() for axis in (0, 1))
  assert steps <= 255 / shared + 1


def test_tiles_stand_where_they_were_cut():
  """A network that blurs: a frame in tiles is near the frame blurred as a whole, and not near it shifted."""
  coarse = tiny_exports.pictures(1, 64, 96)[0]

  def blur(picture):
    height, width = picture.shape[:2]
    padded = np.pad(picture.astype(float), ((1, 1), (1, 1), (0, 0)), mode="edge")
    return (sum(padded[y:y + height, x:x + width] for y in range(3) for x in range(3)) / 9).astype(np.uint8)
  safe, whole = framing.tile(coarse, blur, SIZE, 1.0).astype(int), blur(coarse).astype(int)
  assert np.abs(safe - whole).mean() < 4 < np.abs(safe[:, 8:] - whole[:, :-8]).mean()


@pytest.mark.parametrize("at", [0, 7, 17])
def test_a_tile_that_fails_fails_the_frame(at):
  calls = []

  def network(picture):
    calls.append(1)
    if len(calls) > at:
      raise AnonymizationFailed("planted")
    return 255 - picture
  with pytest.raises(AnonymizationFailed, match=rf"^tile {at} of \d+: planted$"):
    framing.tile(leaks.noise(1, 64, 96)[0], network, SIZE, 1.0)
  assert len(calls) == at + 1


def test_the_camera_in_tiles(model):
  picture = tiny_exports.pictures(1, 32, 48)[0]
  with camera.CameraAnonymizer(model, framing="tile", tile_scale=1.0) as tiles, camera.CameraAnonymizer(model) as whole:
    assert np.array_equal(tiles(picture[:16, :24]), whole(picture[:16, :24]))  # one tile is the frame
    safe = tiles(picture)
    assert safe.shape == picture.shape and not np.array_equal(safe, whole(picture))
    # A corner's pixel is in one tile alone.
    assert np.array_equal(safe[0, 0], whole(picture[:16, :24])[0, 0]) and np.array_equal(safe[-1, -1], whole(picture[16:, 24:])[-1, -1])


@pytest.mark.parametrize("fault", ["half identity", "one NaN", "out of memory"])
def test_a_fault_in_a_tile_stops_the_program_and_leaves_nothing(tmp_path, monkeypatch, capsys, model, fault):
  raw = leaks.noise(6)
  (tmp_path / "source").mkdir()
  (tmp_path / "out").mkdir()
  footage.save(tmp_path / "source", raw)
  saboteur.answer(monkeypatch.setattr, fault, 40)
  options = footage.chosen(model, tmp_path / "source", tmp_path / "out" / "x.mp4", framing="tile", tile_scale=1.0)
  assert camera.run(options) == 5
  said = capsys.readouterr().err.splitlines()
  words = "MemoryError" if fault == "out of memory" else "tile"
  assert words in said[-1] and "camera: frame 1: " in said[-1] and list((tmp_path / "out").iterdir()) == []
  assert leaks.Search(raw, network=SIZE).content(said[-1].encode()) == []


def test_the_program_in_tiles_leaks_nothing(tmp_path, model, capsys):
  raw = leaks.noise(4)
  (tmp_path / "source").mkdir()
  footage.save(tmp_path / "source", raw)
  assert camera.run(footage.chosen(model, tmp_path / "source", tmp_path / "frames", framing="tile", tile_scale=2.0)) == 0
  assert len(list((tmp_path / "frames").glob("*.png"))) == 4 and leaks.Search(raw, network=SIZE).folder(tmp_path / "frames") == []


def test_an_unknown_framing_is_told(model):
  with pytest.raises(ValueError, match="'crop'.*scale, tile"):
    engine.CameraAnonymizer(model, framing="crop")
