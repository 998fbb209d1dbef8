"""ImageNet weights. Oracle: the networks of keras.applications with random weights and statistics, on their own preprocess_input.

No file is downloaded: random weights are written in the form and to the place that Keras would.
"""

import functools
import hashlib
import http.server
import socket
import threading

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format
from keras.src.utils import file_utils

from mppar_tf import initial_weights, options
from mppar_tf.models import imagenet, transfer
from mppar_tf.models.attackers import ATTACKERS
from mppar_tf.models.transfer import WeightsError

WITHOUT = {"mobilenet_v2_0.6", "mobilenet_v2_0.9", "inception_v1", "inception_v2"}
PREPROCESS = {"mobilenet_v1_0.25": keras.applications.mobilenet.preprocess_input,
              "mobilenet_v2_0.35": keras.applications.mobilenet_v2.preprocess_input,
              "resnet_v1_50": keras.applications.resnet.preprocess_input,
              "resnet_v2_50": keras.applications.resnet_v2.preprocess_input}
SMALL = "mobilenet_v1_0.25"


@pytest.fixture(autouse=True)
def models_folder(tmp_path, monkeypatch):
  monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
  monkeypatch.setattr(imagenet, "ADDRESS", "http://127.0.0.1:9/")  # nobody answers there
  keras.utils.set_random_seed(0)  # the kernels that randomize() leaves as Keras drew them
  return tmp_path / "keras" / "models"


def theirs(name, crop):
  return imagenet.IMAGENET[name].build(weights=None, include_top=False, input_shape=(crop, crop, 3), pooling="avg")


def randomize(model, seed=0):
  """Statistics far from 0 and 1, of which an exchanged layer or another epsilon would show."""
  rng = np.random.default_rng(seed)
  for layer in model.layers:
    shapes = [w.shape for w in layer.weights]
    if isinstance(layer, keras.layers.BatchNormalization):
      layer.set_weights([rng.uniform(0.3, 0.8, shapes[0]), rng.normal(0, 0.3, shapes[1]), rng.normal(0, 0.5, shapes[2]),
                         np.exp(rng.uniform(-5, 1, shapes[3]))])
    elif shapes:
      layer.set_weights([w if w.ndim > 1 else rng.normal(0, 0.1, w.shape) for w in layer.get_weights()])
  return model


def publish(name, model, monkeypatch):
  """Puts a model's weights where Keras would have downloaded them to."""
  path = imagenet.cache() / imagenet.IMAGENET[name].file
  path.parent.mkdir(parents=True, exist_ok=True)
  with h5py.File(path, "w") as file:
    legacy_h5_format.save_weights_to_hdf5_group(file, model)
  if imagenet.IMAGENET[name].md5:
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(imagenet.IMAGENET, name, imagenet.IMAGENET[name]._replace(md5=md5))
  return path


def features(model):
  return keras.Model(model.input, model.get_layer("pooled").output)


def error(ours, expected):
  return np.abs(ours - expected).max() / np.abs(expected).max()


# ---- the table ----


def test_all_attackers_but_four_have_imagenet_weights():
  assert set(imagenet.IMAGENET) == set(ATTACKERS) - WITHOUT


@pytest.mark.parametrize("name", imagenet.IMAGENET)
def test_files_are_those_that_keras_asks_for_and_fit_layer_by_layer(name, monkeypatch):
  monkeypatch.undo()  # the true address
  asked = []
  monkeypatch.setattr(file_utils, "get_file", lambda *given, **more: asked.append((*given, more.get("file_hash"))))
  monkeypatch.setattr(keras.Model, "load_weights", lambda self, path: None)
  found = imagenet.IMAGENET[name]
  with keras.StatelessScope(initialize_variables=False):  # shapes are all that counts
    published = found.build(weights="imagenet", include_top=False, input_shape=(224, 224, 3))
    attacker = ATTACKERS[name](outputs=2, crop=32)
  assert asked == [(found.file, f"{imagenet.ADDRESS}{found.folder}/{found.file}", found.md5)]

  own = transfer.weighted(attacker)
  pairs = list(zip(own, [layer for layer in published.layers if layer.weights]))
  assert [layer.name for layer in own[len(pairs):]] == [imagenet.CLASSIFIER]
  assert [transfer.misfit(mine, [transfer.Stored("", w.shape, None) for w in other.weights]) for mine, other in pairs] == [""] * len(pairs)
  assert [type(mine) for mine, _ in pairs] == [type(other) for _, other in pairs]


@pytest.mark.parametrize("choice, expected", [
    ("scratch", ["scratch"] * 3), ("imagenet_where_offered", ["scratch", "imagenet", "scratch"])])
def test_what_attackers_start_from(choice, expected):
  names = ["inception_v1", "resnet_v1_50", "mobilenet_v2_0.6"]
  assert initial_weights.starts(names, choice, "flag") == dict(zip(names, expected))


def test_attackers_without_weights_are_listed():
  with pytest.raises(WeightsError, match="--some_flag=imagenet: .* weights of inception_v1, mobilenet_v2_0.6; .*imagenet_where_offered"):
    initial_weights.starts(["inception_v1", "resnet_v1_50", "mobilenet_v2_0.6"], "imagenet", "some_flag")
  assert initial_weights.starts(["resnet_v1_50"], "imagenet", "some_flag") == {"resnet_v1_50": "imagenet"}


# ---- the function ----


@pytest.mark.parametrize("name", PREPROCESS)
def test_features_are_those_of_keras_applications(name, monkeypatch):
  published = randomize(theirs(name, 64))
  publish(name, published, monkeypatch)
  started = initial_weights.attacker(name, start="imagenet", outputs=3, crop=64, seed=4)
  fresh = ATTACKERS[name](outputs=3, crop=45, seed=4)
  for mine, other in zip(started.get_layer("logits").weights, fresh.get_layer("logits").weights, strict=True):
    np.testing.assert_array_equal(mine.numpy(), other.numpy())
  for crop in (64, 45):  # with 45 every kind of padding meets an odd side
    if crop != 64:
      weights, published = [model.get_weights() for model in (started, published)], theirs(name, crop)
      started = fresh
      started.set_weights(weights[0])
      published.set_weights(weights[1])
    frames = np.random.default_rng(crop).random((2, crop, crop, 3), np.float32)
    expected = published(PREPROCESS[name](255.0 * frames), training=False).numpy()
    assert np.ptp(expected) > 0.1
    assert error(features(started)(frames, training=False).numpy(), expected) < 1e-5


def test_a_mean_folded_into_the_bias_would_be_wrong_at_the_border(monkeypatch):
  """Why V1 subtracts it: without this, the test above would not show that it sees the difference."""
  published = randomize(theirs("resnet_v1_50", 64))
  publish("resnet_v1_50", published, monkeypatch)
  started = initial_weights.attacker("resnet_v1_50", start="imagenet", outputs=2, crop=64)
  frames = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
  expected = features(started)(frames, training=False).numpy()
  centred, stem = started.get_layer("centred"), started.get_layer("stem")
  shift = np.asarray(centred.offset, np.float32) + 1.0  # [3]
  centred.offset = -1.0
  stem.bias.assign(stem.bias + np.einsum("hwic,i->c", stem.kernel.numpy(), shift))
  assert error(features(started)(frames, training=False).numpy(), expected) > 1e-3  # seen: 0.009 to 0.03


def test_attackers_of_training_get_them_on_every_replica(two_replicas, monkeypatch):
  published = randomize(theirs(SMALL, 32))
  path = publish(SMALL, published, monkeypatch)
  with two_replicas.scope():
    models = {f"attacker/{name}": ATTACKERS[name](outputs=2, crop=32) for name in (SMALL, "inception_v1")}
    before = models["attacker/inception_v1"].get_weights()
    taken = initial_weights.give(models, options.ModelOptions(training_attacker_weights="imagenet_where_offered"))
  assert taken == {"training_attackers": {SMALL: {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}}
  assert initial_weights.told(taken) == [f"{SMALL} start from ImageNet weights"]
  own = models[f"attacker/{SMALL}"].variables[:-2]
  for mine, wanted in zip(own, published.variables, strict=True):
    for local in two_replicas.experimental_local_results(mine.value):
      np.testing.assert_array_equal(local.numpy(), wanted.numpy())
  for a, b in zip(before, models["attacker/inception_v1"].get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)


# ---- what may go wrong ----


def unchanged(attempt, words):
  """Runs `attempt` on a model: a WeightsError in one line that holds all words, and not a weight is another."""
  model = ATTACKERS[SMALL](outputs=2, crop=32)
  before = model.get_weights()
  with pytest.raises(WeightsError) as told:
    attempt(model)
  assert "\n" not in str(told.value)
  assert [word for word in words if word not in str(told.value)] == [], told.value
  for a, b in zip(before, model.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)


def test_a_file_that_is_not_there_is_named_with_its_place_and_never_made_up_for(models_folder):
  file = imagenet.IMAGENET[SMALL].file
  unchanged(lambda model: imagenet.start(model, SMALL),
            [SMALL, str(models_folder / file), f"http://127.0.0.1:9/mobilenet/{file}", "put it there", "refused"])
  assert list(models_folder.iterdir()) == []


def test_a_server_that_does_not_answer_is_given_up(monkeypatch):
  with socket.create_server(("127.0.0.1", 0)) as silent:
    monkeypatch.setattr(imagenet, "ADDRESS", f"http://127.0.0.1:{silent.getsockname()[1]}/")
    monkeypatch.setattr(imagenet, "SILENCE", 0.3)
    before = socket.getdefaulttimeout()
    unchanged(lambda model: imagenet.start(model, SMALL), [SMALL, "timed out"])
    assert socket.getdefaulttimeout() == before


@pytest.fixture
def server(tmp_path, monkeypatch):
  """A folder behind an address from which weights are downloaded."""
  folder = tmp_path / "server"
  folder.mkdir()
  quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
  with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=folder)) as running:
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    monkeypatch.setattr(imagenet, "ADDRESS", f"http://127.0.0.1:{running.server_port}/")
    yield folder
    running.shutdown()
    thread.join()


def offer(server, name, content):
  path = server / imagenet.IMAGENET[name].folder / imagenet.IMAGENET[name].file
  path.parent.mkdir()
  path.write_bytes(content)


def test_a_file_is_downloaded_once(server, models_folder):
  offer(server, SMALL, b"weights")
  path = imagenet.fetch(SMALL)
  assert path.parent == models_folder and path.read_bytes() == b"weights" and list(models_folder.iterdir()) == [path]
  offered = server / "mobilenet" / path.name
  offered.unlink()
  assert imagenet.fetch(SMALL) == path


def test_a_download_with_another_hash_is_refused(server, models_folder):
  offer(server, "resnet_v1_50", b"other weights")
  with pytest.raises(WeightsError, match="resnet_v1_50.*hash does not match"):
    imagenet.fetch("resnet_v1_50")
  assert list(models_folder.iterdir()) == []


def test_a_file_with_another_hash_is_refused_and_left_alone(models_folder):
  models_folder.mkdir(parents=True)
  path = models_folder / imagenet.IMAGENET["resnet_v2_50"].file
  path.write_bytes(b"mine")
  with pytest.raises(WeightsError, match=f"{path}.*damaged or another file"):
    imagenet.fetch("resnet_v2_50")
  assert path.read_bytes() == b"mine"


def test_a_damaged_file_and_one_of_another_network_are_refused(monkeypatch):
  path = publish(SMALL, randomize(theirs("mobilenet_v1_0.5", 32)), monkeypatch)
  unchanged(lambda model: imagenet.start(model, SMALL), [str(path), SMALL, "shape"])
  path.write_bytes(path.read_bytes()[:100_000])
  unchanged(lambda model: imagenet.start(model, SMALL), [str(path), SMALL, "remove it"])


def test_a_network_that_they_do_not_fit_is_told_by_its_first_layer(monkeypatch):
  path = publish("mobilenet_v1_0.5", randomize(theirs("mobilenet_v1_0.5", 32)), monkeypatch)
  unchanged(lambda model: imagenet.start(model, "mobilenet_v1_0.5"),
            [str(path), "layer stem wants shapes (3, 3, 3, 8), the file has (3, 3, 3, 16)", "conv1"])


def test_weights_that_are_not_finite_are_refused(monkeypatch):
  published = theirs(SMALL, 32)
  last = [layer for layer in published.layers if layer.weights][-1]
  last.set_weights([np.full_like(w, np.nan) for w in last.get_weights()])
  publish(SMALL, published, monkeypatch)
  unchanged(lambda model: imagenet.start(model, SMALL), ["NaN or infinity", last.name, "stage13_point_norm"])
