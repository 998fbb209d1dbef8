"""f^A from a file: every form gives the same weights, nothing of the file is run, and what does not fit changes nothing."""

import json
import shutil
import zipfile

import fixtures
import h5py
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format

from mppar_tf import checkpoints, evaluate, flagfiles, initial_weights, options, train
from mppar_tf.evaluation import report, two_fold
from mppar_tf.models import imagenet
from mppar_tf.models.recognizers import RECOGNIZERS
from mppar_tf.models.transfer import WeightsError

FORMS = (".keras", ".weights.h5", "run", "checkpoint")


def build(name="c3d", classes=3, seed=0, **given):
  return RECOGNIZERS[name](classes=classes, frames=4, crop=12, size="tiny", seed=seed, **given)


def weights(model):
  """By name, without dropout's counter."""
  return {w.path: w.numpy() for w in model.weights if w.dtype == "float32"}


def given(name="c3d", seed=1, **more):
  """A recognizer whose every array differs from a fresh one's."""
  model, rng = build(name, seed=seed, **more), np.random.default_rng(seed)
  for weight in model.weights:
    if weight.dtype == "float32":
      weight.assign(weight + rng.uniform(0.1, 0.5, weight.shape))
  return model


def saved(model, folder, form):
  """Writes a model in one of the forms; returns what the flag would hold."""
  if form.startswith("."):
    path = folder / f"model{form}"
    model.save(path) if form == ".keras" else model.save_weights(path)
    return str(path)
  run = folder / "run"
  store = checkpoints.Checkpoints(run / "checkpoints", {"model/recognizer": model.variables, "optimizer/recognizer": build().variables})
  store.mark_best(1, 0.5)
  store.save(1, {})
  model.set_weights([0 * w for w in model.get_weights()])
  store.save(2, {})  # a later one, not the best
  return str(run if form == "run" else run / "checkpoints" / "step-000000001")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", RECOGNIZERS)
def test_every_form_gives_all_weights(tmp_path, name, form):
  source = given(name, dropout=0.5)  # its counters are no weights
  expected = weights(source)
  path, model = saved(source, tmp_path, form), build(name)
  taken = initial_weights.give_recognizer(model, path)
  assert taken.left_out == "" and taken.sha256 == initial_weights.digest(path) and len(taken.sha256) == 64
  found = weights(model)
  assert found.keys() == expected.keys()
  for key, value in expected.items():
    np.testing.assert_array_equal(found[key], value, err_msg=key)


@pytest.mark.parametrize("form", FORMS)
def test_of_other_classes_all_but_the_last_layer(tmp_path, form):
  source = given(classes=7)
  expected = weights(source)
  path, model, fresh = saved(source, tmp_path, form), build(dropout=0.5), weights(build(dropout=0.5))
  assert initial_weights.give_recognizer(model, path).left_out == "logits (7 classes there, 3 here)"
  for key, value in weights(model).items():
    np.testing.assert_array_equal(value, (fresh if key.startswith("logits/") else expected)[key], err_msg=key)


def test_replicas_get_the_same_weights(tmp_path, two_replicas):
  source = given()
  path = saved(source, tmp_path, ".weights.h5")
  with two_replicas.scope():
    model = build()
    initial_weights.give_recognizer(model, path)
  for mine, wanted in zip(model.variables, source.variables, strict=True):
    for local in two_replicas.experimental_local_results(mine.value):
      np.testing.assert_array_equal(local.numpy(), wanted.numpy())


def test_the_configuration_of_a_keras_file_is_not_read(tmp_path):
  """A model with a Lambda, or one that names any class, can therefore run nothing."""
  source = given()
  path, hostile = saved(source, tmp_path, ".keras"), str(tmp_path / "hostile.keras")
  with zipfile.ZipFile(path) as whole, zipfile.ZipFile(hostile, "w") as other:
    for name in whole.namelist():
      other.writestr(name, b"not even JSON" if name == "config.json" else whole.read(name))
  model = build()
  initial_weights.give_recognizer(model, hostile)
  for mine, wanted in zip(model.weights, source.weights, strict=True):
    np.testing.assert_array_equal(mine.numpy(), wanted.numpy())


# ---- what may go wrong ----


def _text(folder):
  (folder / "model.keras").write_text("no archive")
  return "model.keras"


def _truncated(folder):
  path = folder / "model.weights.h5"
  given().save_weights(path)
  path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
  return path.name


def _truncated_checkpoint(folder):
  path = saved(given(), folder, "checkpoint")
  [data] = (folder / "run" / "checkpoints" / "step-000000001").glob("variables.data*")
  data.write_bytes(data.read_bytes()[:100])
  return path


def _without_recognizer(folder):
  store = checkpoints.Checkpoints(folder / "run" / "checkpoints", {"model/anonymizer": build().variables})
  store.save(1, {})
  return "run"


def _without_weights(folder):
  with zipfile.ZipFile(folder / "model.keras", "w") as archive:
    archive.writestr("config.json", "{}")
  return "model.keras"


def _changed(change):
  """A .weights.h5 whose content `change` alters."""
  def make(folder):
    path = folder / "model.weights.h5"
    given().save_weights(path)
    with h5py.File(path, "a") as file:
      change(file)
    return path.name
  return make


def _link(kind):
  def change(file):
    del file["layers/conv3d_1/vars/0"]
    file["layers/conv3d_1/vars/0"] = kind
  return _changed(change)


def _nan(file):
  file["layers/conv3d_1/vars/0"][0, 0, 0, 0, 0] = np.nan


def _of(**more):
  def make(folder):
    given(**more).save_weights(folder / "model.weights.h5")
    return "model.weights.h5"
  return make


@pytest.mark.parametrize("make, words", [
    (lambda folder: "nobody.keras", ["nobody.keras does not exist", ".weights.h5 file", "run folder"]),
    (lambda folder: (folder / "model.pt").write_text("") or (folder / "model.h5").write_text("") or "model.h5",
     ["model.h5 is none of the known forms", ".keras file"]),
    (lambda folder: "", ["holds no checkpoint", ".keras file"]),
    (_text, ["model.keras is damaged"]), (_truncated, ["model.weights.h5 is damaged"]),
    (_truncated_checkpoint, ["step-000000001", "damaged"]),
    (_without_recognizer, ["holds no f^A"]), (_without_weights, ["model.keras is damaged or holds no weights"]),
    (_of(width=2.0), ["layer conv1a wants shapes (3, 3, 3, 3, 3), the file has (3, 3, 3, 3, 6) (layers/conv3d/vars/0)"]),
    (_of(name="r3d18"), ["layer conv1a wants"]),
    (_changed(lambda file: file.move("layers/dense", "layers/dense_9")), ["layer dense1 wants shapes", "the file has nothing"]),
    (_changed(lambda file: file.copy("layers/dense", "layers/dense_2")), ["also layers/dense_2/vars/0"]),
    (_changed(_nan), ["NaN or infinity in layers/conv3d_1/vars/0, meant for layer conv2a"]),
    (_link(h5py.ExternalLink("other.h5", "/secret")), ["layers/conv3d_1/vars/0 is a link"]),
    (_link(h5py.SoftLink("/layers/conv3d/vars/0")), ["layers/conv3d_1/vars/0 is a link"]),
])
def test_what_cannot_be_taken_is_told_in_one_line_and_changes_nothing(tmp_path, monkeypatch, make, words):
  monkeypatch.chdir(tmp_path)
  path, model = make(tmp_path) or ".", build()
  before = model.get_weights()
  with pytest.raises(WeightsError) as told:
    initial_weights.give_recognizer(model, path)
  assert "--recognizer_weights" in str(told.value) and "\n" not in str(told.value)
  assert [word for word in words if word not in str(told.value)] == [], told.value
  for a, b in zip(before, model.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("flag", ["training_attacker_weights", "test_attacker_weights"])
def test_imagenet_weights_are_of_size_paper_alone(flag):
  with pytest.raises(options.OptionError, match=f"--{flag}=imagenet needs --attacker_size=paper, not small"):
    options.ModelOptions(attacker_size="small", **{flag: "imagenet"})


# ---- runs ----

WORLD = ["--benchmark=custom", "--clips_records=tiny_clips", "--private_records=tiny_images", "--known_attributes=a,b",
         "--novel_attributes=c,d", "--clip_frames=4", "--frame_skip=1", "--crop=12", "--anonymizer_size=tiny", "--recognizer_size=tiny",
         "--attacker_size=tiny", "--training_attackers=mobilenet_v2_0.5,mobilenet_v2_1.0", "--test_attackers=mobilenet_v1_1.0",
         "--action_steps=2", "--max_steps=1", "--method=strong_blur", "--action_lr=0", "--action_batch=2", "--privacy_batch=4",
         "--recognizer_batch=4", "--nodeterministic", "--sets_every=2"]


def run_here(folder, *flags):
  arguments = [*WORLD, f"--data_dir={folder / 'records'}", *flags]
  return flagfiles.main(lambda: train.run(*(flagfiles.read(cls) for cls in train.PROGRAM_OPTIONS)), train.PROGRAM_OPTIONS, "",
                        arguments=arguments)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  """Records, and weights of a recognizer of seven classes."""
  folder = tmp_path_factory.mktemp("world")
  fixtures.write_tiny_datasets(folder / "records")
  given(classes=7).save_weights(folder / "given.weights.h5")
  return folder


@pytest.fixture(scope="module")
def started(world):
  """A run that began with them; its learning rate is zero."""
  assert run_here(world, f"--recognizer_weights={world / 'given.weights.h5'}", f"--run_dir={world / 'run'}") == 0
  return world / "run"


def test_a_run_starts_from_the_file_and_keeps_a_record(world, started, capsys):
  end = checkpoints.Checkpoints(started / "checkpoints", {"model/recognizer": (model := build()).variables})
  end.restore(end.find("last"), ["model/recognizer"])
  expected = weights(given(classes=7))
  for key, value in weights(model).items():
    if not key.startswith("logits/") and "moving_" not in key:
      np.testing.assert_array_equal(value, expected[key], err_msg=key)
  path = str(world / "given.weights.h5")
  assert json.loads((started / initial_weights.RECORD).read_text()) == {"recognizer": {
      "path": path, "sha256": initial_weights.digest(path), "left_out": "logits (7 classes there, 3 here)"}}
  assert f"--recognizer_weights={path}" in (started / "flags.txt").read_text().splitlines()


def test_a_start_says_what_is_taken_and_a_resumed_run_takes_nothing(world, capsys):
  path, run_dir = world / "mine.weights.h5", world / "resumed"
  shutil.copy(world / "given.weights.h5", path)
  command = (f"--recognizer_weights={path}", f"--run_dir={run_dir}")
  assert run_here(world, *command) == 0
  assert f"train: f^A starts from {path}: all layers but the last, logits (7 classes there, 3 here)" in capsys.readouterr().err
  record = (run_dir / initial_weights.RECORD).read_text()
  path.unlink()
  assert run_here(world, *command) == 0
  assert "starts from" not in capsys.readouterr().err and (run_dir / initial_weights.RECORD).read_text() == record


def test_another_run_s_initialisation_hands_its_record_on(world, started, tmp_path, capsys):
  """Files are not opened then; flags must agree."""
  shutil.copytree(started, tmp_path / "theirs")
  (tmp_path / "theirs" / "checkpoints" / f"step-{2:09d}").rename(tmp_path / "theirs" / "checkpoints" / checkpoints.INITIALISED)
  init = f"--init_from={tmp_path / 'theirs'}"
  assert run_here(world, init, f"--run_dir={tmp_path / 'without'}") == 2
  assert "--recognizer_weights=" in (told := capsys.readouterr().err) and "there, nothing here" in told
  assert run_here(world, init, f"--recognizer_weights={world / 'given.weights.h5'}", f"--run_dir={tmp_path / 'with'}") == 0
  assert (tmp_path / "with" / initial_weights.RECORD).read_text() == (started / initial_weights.RECORD).read_text()


@pytest.mark.parametrize("flags, words", [
    (["--recognizer_weights=nobody.keras"], "nobody.keras does not exist"),
    (["--attacker_size=paper", "--test_attackers=inception_v1", "--test_attacker_weights=imagenet"],
     "--test_attacker_weights=imagenet: Keras offers no ImageNet weights of inception_v1"),
    (["--attacker_size=paper", "--training_attackers=mobilenet_v2_0.35,mobilenet_v2_0.6", "--training_attacker_weights=imagenet",
      "--method=basic"], "--training_attacker_weights=imagenet: Keras offers no ImageNet weights of mobilenet_v2_0.6"),
    (["--attacker_size=paper", "--training_attackers=mobilenet_v2_0.35,mobilenet_v2_0.6",
      "--training_attacker_weights=imagenet_where_offered", "--method=basic"], "no ImageNet weights of mobilenet_v2_0.35: ")])
def test_weights_that_are_not_there_stop_the_start(world, tmp_path, monkeypatch, capsys, flags, words):
  monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
  monkeypatch.setattr(initial_weights.imagenet, "ADDRESS", "http://127.0.0.1:9/")
  assert run_here(world, *flags, f"--run_dir={tmp_path / 'run'}") == 2
  lines = capsys.readouterr().err.strip().splitlines()
  assert len(lines) == 1 and words in lines[0] and not (tmp_path / "run").exists()


def test_fresh_attackers_start_from_imagenet_where_evaluate_is_told_so(world, tmp_path, monkeypatch):
  monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
  name, run_dir = "mobilenet_v1_0.25", tmp_path / "run"
  published = imagenet.IMAGENET[name].build(weights=None, include_top=False, input_shape=(32, 32, 3))
  path = imagenet.cache() / imagenet.IMAGENET[name].file
  path.parent.mkdir(parents=True)
  with h5py.File(path, "w") as file:
    legacy_h5_format.save_weights_to_hdf5_group(file, published)
  assert run_here(world, "--attacker_size=paper", "--training_attackers=mobilenet_v1_0.5,mobilenet_v1_0.75", f"--run_dir={run_dir}") == 0
  seen = []

  def stop(anonymize, recognizer, action, privacy, budget, *, raw_facts, work_dir, **_):
    seen.append((privacy.builders, raw_facts, work_dir.name))
    raise two_fold.metrics.MetricError("seen enough")
  monkeypatch.setattr(two_fold, "evaluate", stop)
  for choice in ("scratch", "imagenet_where_offered"):
    chosen = [f"--test_attackers={name},inception_v1", f"--test_attacker_weights={choice}"]
    assert evaluate.main([f"--run_dir={run_dir}", *BUDGET, *chosen]) == evaluate.NOT_COMPUTABLE
  (plain, without, key), (started, facts, other_key) = seen
  assert key != other_key and "imagenet" not in without
  assert facts["imagenet"] == {name: {"file": path.name, "sha256": initial_weights.digest(str(path))}}
  first, last = [build[name](seed=5).get_weights() for build in (started, plain)]
  np.testing.assert_array_equal(first[0], published.get_weights()[0])
  assert (first[0] != last[0]).any()
  for a, b in zip(*[build["inception_v1"](seed=5).get_weights() for build in (started, plain)], strict=True):
    np.testing.assert_array_equal(a, b)


BUDGET = ["--attack_steps=1", "--attack_looks=1", "--attack_batch=4", "--polish_steps=0", "--raw_action_steps=1", "--clips_per_video=1",
          "--sheet_frames=0"]


def test_on_raw_frames_f_a_has_the_same_start(world, started, tmp_path, monkeypatch, capsys):
  run_dir, moved = tmp_path / "run", tmp_path / "moved.weights.h5"
  shutil.copytree(started, run_dir)
  judge = lambda *more: evaluate.main([f"--run_dir={run_dir}", *BUDGET, f"--raw_levels_dir={tmp_path / 'raw'}", *more])
  moved.write_bytes(b"other")
  assert judge(f"--recognizer_weights={moved}") == 2
  assert f"{moved} is gone or another file" in capsys.readouterr().err
  shutil.copy(world / "given.weights.h5", moved)
  fresh = []
  train_raw = two_fold.actions.train_recognizer
  monkeypatch.setattr(two_fold.actions, "train_recognizer", lambda model, *given, **more: (
      fresh.append(weights(model)), train_raw(model, *given, **more))[1])
  assert judge(f"--recognizer_weights={moved}") == 0
  expected, [raw, *_] = weights(given(classes=7)), fresh
  assert [key for key, value in raw.items() if not key.startswith("logits/") and not np.array_equal(value, expected[key])] == []
  results = report.read(run_dir / "results.json")
  assert results["facts"]["recognizer_sha256"] == results["initial_weights"]["recognizer"]["sha256"]
  assert results["attacker_weights"] == {"mobilenet_v1_1.0": "scratch"} and "ImageNet" not in report.table(results)
  results["attacker_weights"]["mobilenet_v1_1.0"] = "imagenet"
  assert "start from ImageNet weights: mobilenet_v1_1.0;" in report.table(results)


