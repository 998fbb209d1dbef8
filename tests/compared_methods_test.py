"""What defines each compared method: SPAct's budget over two views, BDQ's sixteen numbers, downsampling, and blur's two strengths."""

import pathlib
import types

import fixtures_core as core
import keras
import numpy as np
import pytest
import tensorflow as tf

from mppar_tf import experiment, exporting, learning_rates, methods, objectives, reproduce_plan, validation
from mppar_tf.methods import bdq, downsample, spact, steps
from mppar_tf.methods.contract import MethodError, Networks

RNG = np.random.default_rng(11)
CLIPS = RNG.random([3, 4, 8, 10, 3])


@pytest.fixture
def float64():
  keras.config.set_floatx("float64")
  keras.config.set_dtype_policy("float64")


# ---- downsampling ----


@pytest.mark.parametrize("factor", [2, 4, 8, 16])
def test_downsampling_is_area_down_and_bilinear_up(factor):
  frames = RNG.random([2, 32, 48, 3], np.float32)
  small = tf.image.resize(frames, [32 // factor, 48 // factor], method="area")
  np.testing.assert_allclose(downsample.down_and_up(factor)(frames), tf.image.resize(small, [32, 48], method="bilinear"), atol=1e-6)


def test_a_frame_that_is_no_multiple_is_filled_up_with_its_border():
  frames = RNG.random([1, 10, 8, 3], np.float32)
  filled = np.concatenate([frames, frames[:, [-1] * 2]], axis=1)
  model = downsample.down_and_up(4)
  np.testing.assert_allclose(model(frames), model(filled)[:, :10], atol=1e-6)


@pytest.mark.parametrize("height", [16, 20], ids=["a multiple", "not one"])
def test_downsampling_is_exported(tmp_path, height):
  frames = RNG.random([3, height, 32, 3], np.float32)
  written = exporting.export(downsample.down_and_up(8), tmp_path / "made", frames, {"method": "downsample_8"})
  assert written["input"]["shape"] == [1, height, 32, 3] and set(written["models"]) == {"float32", "float16", "dynamic_int8", "int8"}


def test_a_factor_of_one_says_why_it_is_not_exported():
  method = methods.METHODS["downsample_1"](core.micro_networks(), core.settings())
  assert "identity" in method.exportable and "anonymizer" not in method.models
  assert [methods.METHODS[f"downsample_{f}"](core.micro_networks(), core.settings()).exportable for f in (2, 16)] == [None, None]


# ---- BDQ ----


def encoder(**values):
  model = bdq.blur_difference_quantize()
  layer = model.get_layer("blur_difference_quantize")
  for name, value in values.items():
    getattr(layer, name).assign(value)
  return model, layer


def test_bdq_has_sixteen_parameters_and_begins_as_the_paper_says():
  model, layer = encoder()
  assert model.count_params() == sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 16
  np.testing.assert_array_equal(layer.thresholds, np.arange(15) + 0.5)


def reference(clips, sigma, thresholds):
  """NumPy: a 5 x 5 Gaussian, differences, the soft staircase over each clip's own range."""
  axis = np.exp(-0.5 * np.arange(-2, 3) ** 2 / (sigma**2 + 1e-4))
  kernel = np.outer(axis, axis) / axis.sum() ** 2
  height, width = clips.shape[2:4]
  padded = np.pad(clips, [[0, 0], [0, 0], [2, 2], [2, 2], [0, 0]], mode="edge")
  blurred = sum(kernel[i, j] * padded[:, :, i:i + height, j:j + width] for i in range(5) for j in range(5))
  change = np.diff(blurred, axis=1)
  change = np.concatenate([change[:, :1], change], axis=1)
  low, high = (reduce(axis=(1, 2, 3, 4), keepdims=True) for reduce in (change.min, change.max))
  scaled = 15 * (change - low) / (high - low)
  return sum(1 / (1 + np.exp(-5 * (scaled - threshold))) for threshold in thresholds) / 15


def test_bdq_blurs_differs_and_quantizes(float64):
  thresholds = np.sort(RNG.uniform(0, 15, 15))
  model, _ = encoder(sigma=0.8, thresholds=thresholds)
  np.testing.assert_allclose(model(CLIPS), reference(CLIPS, 0.8, thresholds), rtol=1e-9)


def test_at_its_start_bdq_shows_sixteen_greys():
  """Differences in the middle between two thresholds come out as whole fifteenths, but for the sigmoids' tails."""
  _, layer = encoder()
  ramp = tf.reshape(tf.range(16, dtype=tf.float32) / 15, [1, 1, 16, 1, 1])
  np.testing.assert_allclose(layer.quantized(ramp)[0, 0, :, 0, 0], np.arange(16) / 15, atol=0.012)


def test_no_clip_of_bdq_sees_its_neighbours(float64):
  model, _ = encoder()
  other = CLIPS.copy()
  other[1:] = 30 * RNG.random(other[1:].shape)
  np.testing.assert_array_equal(model(other)[0], model(CLIPS)[0])
  np.testing.assert_allclose(model(CLIPS[:1])[0], model(CLIPS)[0], rtol=1e-12)


def test_bdq_shows_motion_alone_and_is_finite_without_any():
  model, _ = encoder()
  still = np.repeat(CLIPS[:, :1], 4, axis=1).astype(np.float32)
  with tf.GradientTape() as bdq_tape:
    shown = model(still)
  assert np.ptp(shown) == 0.0
  assert all(np.all(np.isfinite(g)) for g in bdq_tape.gradient(shown, model.trainable_variables))


def test_an_image_of_bdq_is_held_against_its_moved_self():
  _, layer = encoder()
  image = CLIPS[:, :1]
  down, right = bdq.STILL_SHIFT
  moved = np.pad(image, [[0, 0], [0, 0], [down, 0], [right, 0], [0, 0]], mode="edge")[:, :, :-down, :-right]
  assert 0 < max(down, right) <= 2
  np.testing.assert_allclose(layer.difference(tf.constant(image)), image - moved, rtol=1e-12)


def test_one_trace_of_bdq_serves_clips_and_images():
  """Validation looks at both, and TensorFlow then forgets how many frames there are."""
  model, _ = encoder()
  traced = tf.function(lambda frames: steps.anonymize(model, frames), input_signature=[tf.TensorSpec([None, None, 8, 10, 3])])
  for clips in (CLIPS, CLIPS[:, :1]):
    np.testing.assert_allclose(traced(clips.astype(np.float32)), model(clips.astype(np.float32)), atol=1e-5)


@pytest.mark.parametrize("task, reduction", [("attributes", "mean"), ("attributes", "sum"), ("identity", "mean")])
def test_bdq_descends_the_action_loss_less_the_entropy(task, reduction):
  networks = core.micro_networks(task)
  method = methods.METHODS["bdq"](networks, core.settings(entropy_weight=8.0, privacy_reduction=reduction))
  batch = core.episode(task=task).support
  scalars = method.update["anonymizer"](core.episode(task=task, query_attacker=0))
  fresh, _ = encoder()
  logits = steps.attack(list(networks.attackers.values())[0], fresh(batch.private.frames), training=False).numpy()
  p = 1 / (1 + np.exp(-logits)) if task == "attributes" else np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  terms = -p * np.log(p) - (1 - p) * np.log(1 - p) if task == "attributes" else -p * np.log(p)
  entropy = terms.mean() if (task, reduction) == ("attributes", "mean") else terms.sum(axis=1).mean()
  assert float(scalars["entropy"]) == pytest.approx(entropy, rel=1e-4)
  action = objectives.action_terms(networks.recognizer(fresh(batch.clips.frames), training=False), batch.clips.action)
  assert float(scalars["loss"]) == pytest.approx(float(tf.reduce_mean(action)) - 8 * entropy, rel=1e-4)


def test_bdq_reads_no_private_label():
  def updated(shift):
    method = methods.METHODS["bdq"](core.micro_networks(), core.settings())
    episode = core.episode()
    private = episode.support.private
    private = private._replace(labels=(private.labels + shift) % 2)
    method.update["anonymizer"](episode._replace(support=episode.support._replace(private=private)))
    return core.flat(core.values(method.models["anonymizer"].variables))
  np.testing.assert_array_equal(updated(0), updated(1))


# ---- SPAct ----


def test_views_without_a_change_are_the_frames():
  """Zoom 1: the whole frame; colour draws of 0.5: factors of 1."""
  frames = tf.constant(CLIPS[:, 0])
  numbers = np.array([[1, 0.3, 0.6, 0.9, 0.5, 0.5, 0.5]] * 3)
  np.testing.assert_allclose(spact.views(frames, tf.constant(numbers)), frames, atol=1e-12)
  numbers[:, 3] = 0.1
  np.testing.assert_allclose(spact.views(frames, tf.constant(numbers)), frames[:, :, ::-1], atol=1e-12)


def test_a_view_of_half_a_frame_is_tensorflows_resized_crop():
  frames, numbers = CLIPS[:, 0, :, :8], np.array([[0, 1, 0.5, 0.9, 0.5, 0.5, 0.5]] * 3)  # lower half, columns 2 to 6
  window = tf.constant(frames[:, 4:, 2:6])
  found = spact.views(tf.constant(frames), tf.constant(numbers))
  # At the window's own edge the view sees the pixels beyond it, which a resize of the cut window cannot.
  np.testing.assert_allclose(found[:, 1:-1, 1:-1], tf.image.resize(window, [8, 8])[:, 1:-1, 1:-1], atol=1e-6)


def test_views_jitter_brightness_contrast_and_saturation():
  frames = tf.constant(0.4 + 0.2 * CLIPS[:, 0])
  plain = [1, 0.3, 0.6, 0.9, 0.5, 0.5, 0.5]
  brighter, flatter, greyer = (spact.views(frames, tf.constant([[*plain[:4 + i], value, *plain[5 + i:]]] * 3, tf.float64))
                               for i, value in enumerate((0.75, 0.0, 0.0)))
  np.testing.assert_allclose(brighter, 1.2 * frames, rtol=1e-9)
  spread = lambda x: np.std(x, axis=(1, 2, 3))
  np.testing.assert_allclose(spread(flatter), 0.6 * spread(frames), rtol=1e-9)
  np.testing.assert_allclose(np.std(greyer, axis=3), 0.6 * np.std(frames, axis=3), rtol=1e-9)


def test_views_are_differentiable_and_stay_pixels():
  numbers = tf.constant(RNG.random([3, 7]))
  frames = tf.constant(CLIPS[:, 0])
  seen = spact.views(frames, numbers)
  assert seen.shape == frames.shape and 0 <= np.min(seen) <= np.max(seen) <= 1
  direction, step = tf.constant(RNG.normal(size=frames.shape)), 1e-6
  with tf.GradientTape() as views_tape:
    views_tape.watch(frames)
    same = tf.reduce_sum(tf.square(spact.views(frames, numbers)))
  analytic = tf.reduce_sum(views_tape.gradient(same, frames) * direction)
  numeric = [tf.reduce_sum(tf.square(spact.views(frames + sign * step * direction, numbers))) for sign in (1, -1)]
  assert float(analytic) == pytest.approx(float((numeric[0] - numeric[1]) / (2 * step)), rel=1e-5)


def test_draws_are_a_function_of_seed_and_step():
  frames = tf.constant(CLIPS)
  same, again, later, other = (spact.drawn(frames, seed, step) for seed, step in ((3, 5), (3, 5), (3, 6), (4, 5)))
  for a, b in zip(same, again):
    np.testing.assert_array_equal(a, b)
  for changed in (later, other):
    assert not np.any(np.isclose(changed[1], same[1]))
  assert len(np.unique(same[1])) == same[1].shape.num_elements(), "two views, or two samples, drew alike"


def test_clips_show_two_different_frames_and_images_their_only_one():
  numbered = tf.broadcast_to(tf.reshape(tf.range(5.0), [1, 5, 1, 1, 1]), [400, 5, 1, 1, 3])
  pairs = spact.drawn(numbered, 0, 0)[0][:, :, 0, 0, 0].numpy()
  assert pairs.shape == (400, 2) and np.all(pairs[:, 0] != pairs[:, 1])
  assert {tuple(pair) for pair in pairs} == {(a, b) for a in range(5) for b in range(5) if a != b}
  assert spact.drawn(numbered[:, :1], 0, 0)[0].shape == (400, 1, 1, 1, 3)


def descended(role, frames=1, **changes):
  """The gradient that a role's update descends, its scalars, the method as it was before, what the update read."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(learning_rates, "adam", core.descent)
    method = methods.METHODS["spact"](core.micro_networks(), core.settings(**changes))
  batch, variables = core.batch_of(role, frames=frames), [v for model in method.models.values() for v in model.variables]
  before = core.values(variables)
  scalars = method.update[role](batch)
  gradient = core.flat([b - a for a, b, v in zip(core.values(variables), before, variables) if v.trainable])
  for variable, value in zip(variables, before):
    variable.assign(value)
  return gradient[gradient != 0], {key: float(value) for key, value in scalars.items()}, method, batch


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("pieces", [1, 2])
def test_spacts_gradient_is_that_of_the_loss_written_in_one_piece(float64, frames, pieces):
  """L_action - weight * NT-Xent, straight through f^D, the views and f^B under one tape."""
  gradient, scalars, method, (batch, *_) = descended("anonymizer", frames, accumulation=pieces, budget_weight=3.0)
  f_d, f_a, f_b = (method.models[name] for name in ("anonymizer", "recognizer", "budget"))
  shown, numbers = spact.drawn(batch.private.frames, 2 * core.settings().seed, 0)
  with tf.GradientTape() as whole_tape:
    action = tf.reduce_mean(objectives.action_terms(f_a(steps.anonymize(f_d, batch.clips.frames)), batch.clips.action))
    exposed = steps.anonymize(f_d, shown)
    first, second = (f_b(spact.views(exposed[:, i if frames > 1 else 0], numbers[:, i]), training=False) for i in range(2))
    contrast = tf.reduce_mean(objectives.nt_xent_terms(first, second, 0.1)[0])
    loss = action - 3.0 * contrast
  expected = core.flat(whole_tape.gradient(loss, f_d.trainable_variables))
  np.testing.assert_allclose(gradient, expected[expected != 0], rtol=1e-7, atol=1e-10)
  assert scalars["loss"] == pytest.approx(float(loss)) and scalars["contrastive_loss"] == pytest.approx(float(contrast))
  assert np.abs(expected).max() > 1e-4


@pytest.mark.parametrize("frames", [1, 3])
def test_the_budget_network_descends_nt_xent(float64, frames):
  """The other way round than f^D, under draws of its own."""
  gradient, scalars, method, private = descended("attacker/budget", frames)
  shown, numbers = spact.drawn(private.frames, 2 * core.settings().seed + 1, 0)
  exposed, f_b = method.anonymize(shown), method.models["budget"]
  both = tf.concat([spact.views(exposed[:, i if frames > 1 else 0], numbers[:, i]) for i in range(2)], axis=0)
  with tf.GradientTape() as whole_tape:
    found = f_b(both, training=True)
    terms, hits = objectives.nt_xent_terms(found[:4], found[4:], 0.1)
    loss = tf.reduce_mean(terms)
  expected = core.flat(whole_tape.gradient(loss, f_b.trainable_variables))
  np.testing.assert_allclose(gradient, expected[expected != 0], rtol=1e-7, atol=1e-10)
  assert scalars["contrastive_loss"] == pytest.approx(float(loss)) and scalars["privacy_accuracy"] == float(tf.reduce_mean(hits))


def test_spact_reads_no_private_label_and_no_attacker():
  seen = []
  for flip in (0, 1):
    method = methods.METHODS["spact"](core.micro_networks(), core.settings())
    for role in ("attacker/budget", "anonymizer", "attacker/budget"):
      batch = core.batch_of(role)
      private = batch.support.private if role == "anonymizer" else batch
      private = private._replace(labels=(private.labels + flip) % 2)
      method.update[role](batch._replace(support=batch.support._replace(private=private)) if role == "anonymizer" else private)
    seen.append(core.flat([v for model in method.models.values() for v in core.values(model.variables)]))
  np.testing.assert_array_equal(*seen)
  assert set(method.models) == {"anonymizer", "recognizer", "budget"}


@pytest.mark.parametrize("least", [0, 1, 3])
def test_spact_alternates_one_step_each_but_for_the_steps_that_every_f_a_has(least):
  method = methods.METHODS["spact"](core.micro_networks(), core.settings(
      min_recognizer_steps=least, max_recognizer_steps=7, max_attacker_rounds=5))
  decided = []
  while (decision := method.schedule.next()) is not None:
    decided.append(decision.role)
    method.schedule.record(decision, {"action_accuracy": 0.0, "privacy_accuracy": 1.0})
  assert decided[6:] == ["recognizer"] * max(1, least) + ["attacker/budget", "anonymizer"] + decided[6:-2 - max(1, least)]
  assert decided[6:].count("anonymizer") == core.settings().max_steps
  assert set(method.schedule.reasons) >= {"recognizer_in_turn", "attacker_in_turn", "anonymizer_in_turn"}


def test_spact_refuses_what_it_cannot_compare():
  with pytest.raises(MethodError, match="--privacy_batch=1 and --attacker_batch=4 must both be 2 or more"):
    methods.METHODS["spact"](core.micro_networks(), core.settings(privacy_batch=1))
  made = core.micro_networks()
  with pytest.raises(MethodError, match="needs a contrastive network"):
    methods.METHODS["spact"](Networks(made.anonymizer, made.recognizer, made.attackers, made.task), core.settings())


# ---- both, in a run and in a comparison ----


@pytest.mark.parametrize("name, term", [("bdq", "entropy"), ("spact", "contrastive_loss")])
def test_in_bfloat16_they_are_the_same_but_for_rounding(name, term):
  def scalars():
    method = methods.METHODS[name](core.networks(), core.settings())
    return {key: float(value) for key, value in method.update["anonymizer"](core.episode()).items()}
  exact = scalars()
  keras.config.set_dtype_policy("mixed_bfloat16")
  rounded = scalars()
  for key in ("loss", term):
    assert rounded[key] == pytest.approx(exact[key], rel=0.1, abs=0.05)
  assert rounded["loss"] != exact["loss"]


def test_what_a_method_refuses_is_told_before_training():
  strategy, settings = tf.distribute.get_strategy(), core.settings(attacker_batch=1)
  run = types.SimpleNamespace(strategy=strategy, networks=core.micro_networks(), settings=settings)
  with pytest.raises(experiment.ExperimentError, match="--attacker_batch=1 must both be 2 or more"):
    experiment.make_method(run, "spact")


@pytest.mark.parametrize("name, seen", [("spact", {"action_top1": 0.25}), ("bdq", {"action_top1": 0.25, "leak": 0.5, "score": -0.25,
                                                                                   "leak/p": 0.5})])
def test_without_attackers_no_checkpoint_is_called_the_best(monkeypatch, name, seen):
  run = types.SimpleNamespace(networks=core.micro_networks())
  judge = validation.Validation(run, methods.METHODS[name](run.networks, core.settings()))
  monkeypatch.setattr(judge, "action_top1", lambda: 0.25)
  monkeypatch.setattr(judge, "attacker_leaks", lambda: {"p": 0.5})
  assert judge.look() == seen


def test_methods_of_another_kind_share_no_initialisation():
  names = tuple(methods.METHODS)
  cells = reproduce_plan.of_study("s", "protocol_a.flags", names, [0], None, pathlib.Path("runs"), pathlib.Path("results")).cells
  shared = {cell.method: cell.group for cell in cells if cell.group}
  assert set(shared) == {"basic", "basic_equal_data", "mppar", "grl", "entropy", "k_beam"} and len(set(shared.values())) == 1
