"""What the camera's self-test calls identity-like: its input in any disguise, and no method that anonymizes."""

import pathlib

import footage
import numpy as np
import pytest
import tiny_exports

from mppar_tf import camera
from mppar_tf.methods import downsample, fixed
from mppar_tf.on_camera import engine, judge, manifest
from tfrecord_tools.fuzzing import networks

COMMITTED = pathlib.Path(__file__).resolve().parents[1] / "saved_models" / "a" / "mppar"
SIZES = [(16, 24), (32, 32), (112, 112), (96, 128)]
NOISE = np.random.default_rng(0)
DISGUISES = {
    "mirrored": lambda x: x[:, :, ::-1], "upside down": lambda x: x[:, ::-1], "turned by 180 degrees": lambda x: x[:, ::-1, ::-1],
    "shifted by one pixel": lambda x: np.roll(x, 1, 2), "shifted by two and one": lambda x: np.roll(x, (2, -1), (1, 2)),
    "gamma 0.5": lambda x: x ** 0.5, "negative, gamma 2": lambda x: 1 - x ** 2,
    "grey, gamma 2.2": lambda x: 0 * x + x.mean(-1, keepdims=True) ** 2.2,
    "noise": lambda x: np.clip(x + NOISE.normal(0, 0.05, x.shape), 0, 1), "four levels": lambda x: np.round(3 * x) / 3,
    "mirrored, shifted, gamma 0.5": lambda x: np.roll(x[:, :, ::-1], 1, 1) ** 0.5, "transposed": lambda x: x.swapaxes(1, 2),
    "turned by 90 degrees": lambda x: np.rot90(x, axes=(1, 2))}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", DISGUISES)
def test_a_disguised_input_is_identity_like(name, size):
  inputs = judge.built_in_pictures(*size)
  outputs = DISGUISES[name](inputs).astype(np.float32)
  if outputs.shape != inputs.shape:
    pytest.skip("a network gives back its input's size")
  assert judge.detail_recovery(inputs, outputs) > 0.75
  assert judge.fault(inputs, outputs).startswith("identity-like")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["strong_blur", "weak_blur", *(f"downsample_{factor}" for factor in (2, 3, 4, 8, 16))])
def test_what_was_an_anonymizer_without_disguises_is_one_still(name, size, monkeypatch):
  inputs = judge.built_in_pictures(*size)
  model = (downsample.down_and_up(int(name.rpartition("_")[2])) if name.startswith("downsample") else
           fixed.gaussian_blur({"strong_blur": 0.08, "weak_blur": 0.02}[name] * size[0]))
  outputs = np.asarray(model(inputs))
  found = judge.fault(inputs, outputs)
  monkeypatch.setattr(judge, "IDENTITY_DETAIL", {})
  assert found == judge.fault(inputs, outputs)
  assert found or judge.detail_recovery(inputs, outputs) < 0.25 and judge.detail_recovery(inputs, outputs, parts=2) < 0.45


@pytest.mark.parametrize("variant", manifest.VARIANTS)
def test_a_trained_anonymizer_is_far_from_the_limit(variant):
  model = engine.Engine(manifest.load(COMMITTED, variant)[1])
  inputs = judge.built_in_pictures(*model.shape[:2])
  outputs = model.run_all(inputs)
  assert judge.fault(inputs, outputs) is None and judge.detail_recovery(inputs, outputs) < 0.1
  assert judge.detail_recovery(inputs, outputs, parts=2) < 0.2


def test_a_random_smear_passes(tmp_path):
  """The nearest to the limit of all that is to pass: few of its 49 weights are large, and shifts undo where they lie."""
  model = engine.Engine((networks.write(tmp_path / "model") / networks.FILE).read_bytes())
  inputs = judge.built_in_pictures(*model.shape[:2])
  outputs = model.run_all(inputs)
  assert judge.fault(inputs, outputs) is None and 0.4 < judge.detail_recovery(inputs, outputs) < judge.IDENTITY_DETAIL[1] - 0.1
  assert 0.6 < judge.detail_recovery(inputs, outputs, parts=2) < judge.IDENTITY_DETAIL[2] - 0.1


PARTLY = {"the upper 60 %": (0, 0.6, 0, 1), "the right half": (0, 1, 0.5, 1), "a corner": (0.5, 1, 0, 0.5)}  # top, bottom, left, right
UNDER = {"noise": lambda x: NOISE.uniform(0, 1, x.shape), "faint noise": lambda x: NOISE.normal(0.5, 0.05, x.shape),
         "grey": lambda x: 0 * x + 0.5}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rest", UNDER)
@pytest.mark.parametrize("name", ["negative, gamma 2", "mirrored", "mirrored, shifted, gamma 0.5"])
@pytest.mark.parametrize("part", PARTLY)
def test_a_part_of_the_input_in_disguise_is_identity_like(part, name, rest, size):
  inputs = judge.built_in_pictures(*size)
  top, bottom, left, right = (int(share * side) for share, side in zip(PARTLY[part], (size[0], size[0], size[1], size[1])))
  shown = np.s_[:, top:bottom, left:right]
  outputs = UNDER[rest](inputs)
  outputs[shown] = DISGUISES[name](inputs)[shown]
  assert judge.detail_recovery(inputs, np.clip(outputs, 0, 1), parts=2) > 0.95
  assert judge.fault(inputs, np.clip(outputs, 0, 1).astype(np.float32)).startswith("identity-like")


@pytest.mark.parametrize("side", [1, 2, 3, 5])
def test_a_network_of_a_few_pixels_is_judged_without_a_traceback(side):
  inputs = judge.built_in_pictures(side, side)
  assert isinstance(judge.fault(inputs, 1 - inputs), str | None)


# Of noise with as much noise added half of the variance is the input's, before and after any linear filter.
def test_detail_against_closed_forms():
  inputs = NOISE.normal(0, 1, (2, 80, 80, 3))
  noisy = inputs[:, ::-1] + NOISE.normal(0, 1, inputs.shape)
  assert judge.detail_recovery(inputs, noisy) == pytest.approx(0.5, abs=0.05)
  assert judge.detail_recovery(inputs, NOISE.normal(0, 1, inputs.shape)) < 0.02
  assert judge.detail_recovery(inputs, np.exp(inputs)) == pytest.approx(1, abs=1e-3)
  assert judge.detail_recovery(inputs, np.ones(inputs.shape)) == 0


def test_a_model_that_mirrors_is_refused(place, capsys):
  bad = tiny_exports.write(place / "bad", tiny_exports.elementwise(lambda x: x[:, :, ::-1] ** 0.5))
  assert camera.run(footage.chosen(bad, place / "source", place / "out" / "x.mp4")) == 3
  assert "gives back 100% of the input's detail" in capsys.readouterr().err.splitlines()[-1] and list((place / "out").iterdir()) == []
