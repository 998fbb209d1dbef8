"""An anonymizer update in pieces is the same update, and one in bfloat16 the same but for rounding."""

import fixtures_core as core
import keras
import numpy as np
import pytest
import tensorflow as tf

from mppar_tf import methods


def build(name, networks=core.micro_networks, **changes):
  made = networks()
  core.shake([made.anonymizer, made.recognizer, *made.attackers.values()])
  return methods.METHODS[name](made, core.settings(**changes))


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("name, changes", [
    ("basic", {}), ("basic_equal_data", {}), ("mppar", {}), ("mppar", {"meta_gradient": "first_order"})])
def test_in_pieces_an_update_is_the_same(name, changes, traced):
  """Same logs and same parameters after it, up to the order in which float32 is added."""
  seen = []
  for pieces in (1, 2):
    method = build(name, accumulation=pieces, beta=1e-3, **changes)
    update = tf.function(method.update["anonymizer"]) if traced else method.update["anonymizer"]
    scalars = {key: float(value) for key, value in update(core.episode()).items()}
    moments = core.flat(core.values(method.optimizers["anonymizer"].variables))  # Adam's first moment is a tenth of the gradient
    seen.append((scalars, moments))
  (whole, once), (parts, summed) = seen
  assert parts == {key: pytest.approx(value, rel=2e-4, abs=1e-6) for key, value in whole.items()}
  np.testing.assert_allclose(summed, once, rtol=1e-3, atol=1e-4 * np.abs(once[2:]).max())


def test_in_bfloat16_a_method_is_the_same_but_for_rounding():
  def played():
    method = build("mppar", core.networks)
    return method, {key: float(value) for key, value in method.update["anonymizer"](core.episode()).items()}
  _, exact = played()
  keras.config.set_dtype_policy("mixed_bfloat16")
  method, rounded = played()
  for key in ("virtual_training_loss", "virtual_testing_loss", "meta_gradient_norm"):
    assert rounded[key] == pytest.approx(exact[key], rel=0.1) and rounded[key] != exact[key]
  assert {v.dtype for v in method.models["anonymizer"].trainable_variables + method.optimizers["anonymizer"].variables[2:]} == {"float32"}


def test_a_batch_that_has_no_equal_pieces_is_told():
  with pytest.raises(ValueError, match="cannot be divided into 3 equal pieces"):
    build("mppar", accumulation=3).update["anonymizer"](core.episode())
