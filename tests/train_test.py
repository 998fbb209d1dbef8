"""The training program: what a run folder holds, replicas, and bad input, each told in one line."""


import collections
import json
import re
import types

import fixtures
import numpy as np
import pytest
import tiny_runs
from tiny_runs import ATTACKERS, Program

from mppar_tf import checkpoints, experiment, flagfiles, loop, options, train
from mppar_tf.data import records

pytestmark = pytest.mark.timeout(3600)
# Steps of each role in an undisturbed run, and the terms that each of them measures.
STEPS = dict(reconstruction=3, action=3, recognizer=3, validation=3, anonymizer=3) | {f"attacker/{name}": 5 for name in ATTACKERS}
ACTION, PRIVACY, EFFORT = ("action_loss", "action_accuracy"), ("privacy_loss", "privacy_accuracy"), ("gradient_norm", "learning_rate")
TERMS = {
    "reconstruction": ["l1", *EFFORT],
    "action": [*ACTION, *(f"{network}_{term}" for network in ("recognizer", "anonymizer") for term in EFFORT)],
    "recognizer": [*ACTION, *EFFORT], "validation": ACTION,
    "anonymizer": ["virtual_training_loss", "virtual_testing_loss", "virtual_gradient_norm", "query_gradient_norm", "meta_gradient_norm",
                   "support_query_cosine", *(f"{side}/{term}" for side in ("support", "query") for term in ACTION + PRIVACY)],
} | {f"attacker/{name}": [*PRIVACY, *EFFORT] for name in ATTACKERS}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  return tiny_runs.undisturbed(tmp_path_factory)[0]


# ---- whole runs ----


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """mppar through all stages, as a program: the folder and how it ended."""
  return tiny_runs.undisturbed(tmp_path_factory)[1:]


@pytest.fixture(scope="module")
def events(trained):
  return tiny_runs.logged(trained[0])


def test_a_run_says_what_it_did_and_nothing_else(trained):
  ended = trained[1]
  assert ended.code == 0, ended.err
  assert ended.told == [], "stderr holds more than progress bars"
  assert "anonymizer_bound_reached 3" in ended.out and f"mppar_tf.evaluate --run_dir={trained[0]}" in ended.out
  assert ended.err.count("%|") < 20, "a log keeps every redrawing of a bar"


def test_the_folder_of_a_run(trained):
  run_dir = trained[0]
  assert tiny_runs.steps(run_dir) == list(range(1, 26))
  [event_file] = run_dir.glob("events.out.tfevents.*")
  assert {path.name for path in run_dir.iterdir()} == {"flags.txt", "records.json", "checkpoints", event_file.name}
  assert {path.name for path in (run_dir / "checkpoints").iterdir() if not path.name.startswith("step-")} == {"initialised", "best.json"}
  again = flagfiles.define(*train.PROGRAM_OPTIONS)
  again(["train", *flagfiles.expand([f"--flagfile={run_dir / 'flags.txt'}"])])
  lines = flagfiles.lines(*(flagfiles.read(cls, again) for cls in train.PROGRAM_OPTIONS))
  assert "--method=mppar" in lines and lines == (run_dir / "flags.txt").read_text().splitlines()


@pytest.mark.parametrize("role", STEPS)
def test_tensorboard_holds_every_step_of_every_role(events, role):
  found = collections.defaultdict(list)
  for tag, step in sorted(events["scalars"]):
    found[tag].append(step)
  assert {tag for tag in found if tag.startswith(f"{role}/")} == {f"{role}/{term}" for term in TERMS[role]}
  for term in TERMS[role]:
    assert found[f"{role}/{term}"] == list(range(STEPS[role]))
  assert len(found[f"throughput/{role}_steps_per_second"]) == STEPS[role]


def test_tensorboard_holds_gate_rates_and_validation(events):
  scalars = events["scalars"]
  assert scalars["gate/decisions/anonymizer_bound_reached", 3] == [3.0] and scalars["gate/decisions/attacker_below_T2", 3] == [6.0]
  for network in ("action_accuracy", *(f"attacker_accuracy/{name}" for name in ATTACKERS)):
    assert [step for tag, step in scalars if tag == f"gate/{network}"] == [1, 2, 3]
  assert scalars["learning_rate/anonymizer", 1] == [pytest.approx(1e-3)]
  for term in ("action_top1", "leak", "score", *(f"leak/{name}" for name in ATTACKERS)):
    assert [step for tag, step in scalars if tag == f"validation_full/{term}"] == [2, 3]


def test_the_one_cycle_of_a_stage_is_seen(events):
  rates = [float(events["scalars"]["reconstruction/learning_rate", step][0]) for step in range(3)]
  assert rates[0] == pytest.approx(1e-3 / 25) and rates[1] == pytest.approx(1e-3) and rates[2] < rates[1]


def test_tensorboard_holds_frames_before_and_after_and_the_flags(trained, events):
  for kind in ("clips", "private"):
    assert sorted(step for tag, step in events["images"] if tag == f"before_after/{kind}") == [2, 3]
  [flags] = events["text"]["flags", 0]
  for line in (trained[0] / "flags.txt").read_text().splitlines():
    assert line in flags.item().decode()
  assert b"--method=mppar" in events["text"]["command", 0][0].item()


def test_two_replicas_train_as_one_does(data, trained):
  program = Program(data, data.with_name("two"), "--method=mppar", "--virtual_devices=2")
  ended = program.run()
  assert ended.code == 0 and "2 replica(s)" in ended.out, ended.err
  start, one, two = (tiny_runs.arrays(folder / "checkpoints" / name) for folder, name in (
      (trained[0], "step-000000001"), (trained[0], "step-000000025"), (program.run_dir, "step-000000025")))
  assert one.keys() == two.keys()
  models = [name for name in one if "model" in name]
  for name in models:
    np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-4, err_msg=name)
  assert sum(float(np.abs(one[name] - start[name]).max()) > 3e-4 for name in models) > len(models) / 2, "what is compared hardly moved"


# ---- a run that cannot go on ----


def test_a_rate_beyond_reason_stops_before_anything_broken_is_saved(data):
  program = Program(data, data.with_name("poisoned"), "--method=basic", "--reconstruction_lr=1e30", "--reconstruction_steps=6")
  ended = program.run()
  assert ended.code == train.NOT_FINITE == 70
  [line] = ended.told
  saved = tiny_runs.steps(program.run_dir)
  assert line.startswith(f"train: step {saved[-1]} of reconstruction: ") and "l1 = nan" in line
  for step in saved:
    for name, value in tiny_runs.arrays(program.run_dir / "checkpoints" / f"step-{step:09d}").items():
      assert np.isfinite(value).all(), f"step {step}: {name}"
  for key, values in tiny_runs.scalars(program.run_dir).items():
    assert np.isfinite(list(values)).all(), key


def test_a_full_disk_is_one_line(data):
  """A limit on the size of files stands for it: the first checkpoint does not fit."""
  import resource
  program = Program(data, data.with_name("full"), "--method=basic")
  ended = program.run(limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY)))
  assert ended.code == train.NOT_WRITTEN == 74
  [line] = ended.told
  assert line.startswith(f"train: {program.run_dir} cannot be written: ") and tiny_runs.steps(program.run_dir) == []


# ---- bad input ----


def run_here(data, *flags) -> int:
  """Trains in this process, whose TensorFlow is set up already; returns the exit code."""
  arguments = [*tiny_runs.WORLD, *tiny_runs.GAME, "--nodeterministic", f"--data_dir={data}", *flags]
  program = lambda: train.run(*(flagfiles.read(cls) for cls in train.PROGRAM_OPTIONS))
  return flagfiles.main(program, train.PROGRAM_OPTIONS, "", arguments=arguments)


def told(capsys, data, *flags, code=2) -> str:
  """The one line on stderr of a training in this process, which must end with `code`."""
  capsys.readouterr()
  ended = run_here(data, *flags)
  lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.strip() and "%|" not in line]
  assert ended == code and len(lines) == 1, lines
  return lines[0]


@pytest.mark.parametrize("flags, words", [
    (["--method=nope"], ["method", "nope", "mppar", "basic"]),
    (["--benchmark=nope"], ["benchmark", "nope", "twin", "custom"]),
    (["--protocol=z"], ["protocol", "z", "identity"]),
    (["--anonymizer=nope"], ["anonymizer", "nope", "johnson"]),
    (["--training_attackers=vgg"], ["training_attackers", "vgg", "mobilenet_v2_0.35"]),
    (["--max_steps=many"], ["max_steps", "many"]),
    (["--gamma=nan"], ["gamma", "nan"]),
    (["--beta=inf"], ["beta", "inf"]),
    (["--alpha=-1"], ["alpha", "-1"]),
    (["--sets_every=3"], ["sets_every=3", "even"]),
    (["stray"], ["stray"]),
    (["--unheard_of=1"], ["unheard_of"]),
    (["--known_attributes=a,c", "--novel_attributes=c,d"], ["c", "both known and novel"]),
    (["--known_attributes=a,nose"], ["tiny_images", "nose", "a, b, c, d"]),
    (["--test_attackers=mobilenet_v1_0.5,inception_v1"], ["mobilenet_v1_0.5", "both sides"]),
    (["--training_attackers=mobilenet_v1_0.5"], ["shift=alternate", "two training attackers", "mobilenet_v1_0.5"]),
    (["--known_attributes=a", "--novel_attributes=b"], ["support and query", "tiny_images", "at least 2"]),
    (["--clips_records=elsewhere"], ["elsewhere", "python -m tfrecord_tools.build"]),
    (["--clips_records=tiny_images"], ["tiny_images", "action"]),
    (["--crop=20"], ["tiny_clips", "20", "16"]),
    (["--virtual_devices=2", "--attacker_batch=5"], ["attacker_batch=5", "2 replicas"]),
], ids=lambda value: " ".join(value) if value[0].startswith("-") else "")
def test_bad_input_is_one_line_that_names_it(capsys, data, tmp_path, flags, words):
  line = told(capsys, data, f"--run_dir={tmp_path / 'run'}", "--method=mppar", *flags)
  assert [word for word in words if word not in line] == [], line
  assert not (tmp_path / "run").exists(), "a command that cannot start claims no folder"


def test_missing_records_name_the_folder_and_what_builds_it(capsys, tmp_path):
  line = told(capsys, tmp_path / "nothing", f"--run_dir={tmp_path / 'run'}")
  assert str(tmp_path / "nothing" / "tiny_clips") in line and "python -m tfrecord_tools.build" in line


@pytest.mark.parametrize("change, words", [
    (lambda manifest: manifest.update(closed_set_identity=False), ["does not declare", "--closed_set_identity"]),
    (lambda manifest: manifest["splits"]["test"][0]["subjects"].append("zoe"), ["1 of 4 subjects", "no train record: zoe"]),
    (lambda manifest: [shard["subjects"].clear() for shards in manifest["splits"].values() for shard in shards], ["names no subjects"])],
    ids=["not declared", "a stranger", "nobody"])
def test_identity_wants_a_closed_set(capsys, own_data, tmp_path, change, words):
  experiment.check_closed_set(records.open_split(own_data / "tiny_clips", "train"))  # as it was written it is one
  path = own_data / "tiny_clips" / "manifest.json"
  manifest = json.loads(path.read_text())
  change(manifest)
  path.write_text(json.dumps(manifest))
  line = told(capsys, own_data, f"--run_dir={tmp_path / 'run'}", "--private_records=tiny_clips", "--known_attributes=subject",
              "--novel_attributes=", "--protocol=identity")
  assert [word for word in ("tiny_clips", *words) if word not in line] == [], line


def test_another_command_does_not_go_on_with_a_run(capsys, data, trained):
  run_dir, before = trained[0], (trained[0] / "flags.txt").read_text()
  line = told(capsys, data, *tiny_runs.RHYTHM, "--deterministic", f"--run_dir={run_dir}", "--method=mppar", "--gamma=0.9")
  assert str(run_dir) in line and "--gamma=0.4 then" in line and "--gamma=0.9 now" in line
  assert (run_dir / "flags.txt").read_text() == before


def test_a_run_of_an_older_version_goes_on_where_new_flags_have_their_defaults(trained, tmp_path):
  lines = (trained[0] / "flags.txt").read_text().splitlines()
  (tmp_path / "flags.txt").write_text("\n".join(line for line in lines if not line.startswith("--gamma=")))
  assert train.flags_of(tmp_path / "flags.txt") == lines
  (tmp_path / "flags.txt").write_text("\n".join([*lines, "--forgotten=1"]))
  with pytest.raises(flagfiles.OptionError, match="flags.txt is not of this version: .*forgotten"):
    train.flags_of(tmp_path / "flags.txt")


@pytest.mark.parametrize("flags, words", [
    (["--reconstruction_steps=4"], ["other flags", "--reconstruction_steps=4"]),
    (["--anonymizer=unet"], ["other flags", "--anonymizer=unet"]),
    (["--seed=1"], ["other flags", "--seed=1"]),
    (["--training_attackers=mobilenet_v1_0.5"], ["other flags", "--training_attackers=mobilenet_v1_0.5"]),
    (["--method=raw"], ["initialised", "does not fit this run's networks"])], ids=lambda value: value[0])
def test_another_initialisation_is_refused(capsys, data, tmp_path, trained, flags, words):
  line = told(capsys, data, f"--run_dir={tmp_path / 'run'}", "--method=basic", f"--init_from={trained[0]}", *flags)
  assert [word for word in [str(trained[0]), *words] if word not in line] == [], line
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("there, here, words", [
    ({"private_records": "faces"}, {}, "(--private_records=faces there, nothing here)"),
    ({}, {"clips_records": "mine"}, "(nothing there, --clips_records=mine here)")])
def test_a_flag_that_one_side_alone_sets_makes_another_initialisation(tmp_path, there, here, words):
  """A flag without a value stands in no flags.txt."""
  (tmp_path / "checkpoints" / "initialised").mkdir(parents=True)
  (tmp_path / "checkpoints" / "initialised" / "state.json").write_text("{}")
  others = (options.ClipOptions(), options.ModelOptions(), options.TrainOptions(), options.LoopOptions(init_from=str(tmp_path)))
  fresh = types.SimpleNamespace(steps=lambda: [], held_by=lambda folder: ["held"], restore=lambda folder, groups: groups)
  flagfiles.write(tmp_path / "flags.txt", options.RunOptions(**there), *others)
  with pytest.raises(checkpoints.CheckpointError, match=re.escape(words)):
    train.resume(fresh, (options.RunOptions(**here), *others))
  assert train.resume(fresh, (options.RunOptions(**there, method="basic"), *others)) == ["held"]


@pytest.mark.parametrize("there, here", [("float32", "mixed_bfloat16"), ("mixed_bfloat16", "float32"), (None, "mixed_bfloat16")])
def test_an_initialisation_in_another_precision_is_refused(tmp_path, there, here):
  """A run that is older than the flag was in float32."""
  (tmp_path / "checkpoints" / "initialised").mkdir(parents=True)
  (tmp_path / "checkpoints" / "initialised" / "state.json").write_text("{}")
  others = (options.ClipOptions(), options.ModelOptions(), options.TrainOptions(), options.LoopOptions(init_from=str(tmp_path)))
  fresh = types.SimpleNamespace(steps=lambda: [], held_by=lambda folder: ["held"], restore=lambda folder, groups: groups)
  lines = flagfiles.lines(options.RunOptions(precision=there or "float32"), *others)
  (tmp_path / "flags.txt").write_text("\n".join(line for line in lines if there or not line.startswith("--precision=")))
  words = f"(--precision={there or 'float32'} there, --precision={here} here)"
  with pytest.raises(checkpoints.CheckpointError, match=re.escape(words)):
    train.resume(fresh, (options.RunOptions(precision=here), *others))
  assert train.resume(fresh, (options.RunOptions(precision=there or "float32"), *others)) == ["held"]


def test_a_run_that_is_not_initialised_is_refused(capsys, data, tmp_path):
  line = told(capsys, data, f"--run_dir={tmp_path / 'run'}", f"--init_from={tmp_path / 'nobody'}")
  assert f"--init_from={tmp_path / 'nobody'}" in line and "no finished initialisation" in line


@pytest.mark.parametrize("seed, images, empty", [(0, (24, 12, 12), False), (1, (24, 12, 1), True), (0, (24, 1, 12), True)])
def test_what_evaluation_will_miss_is_told_at_the_start(capsys, tmp_path, monkeypatch, seed, images, empty):
  fixtures.write_tiny_datasets(tmp_path / "records", seed, images=images)
  monkeypatch.setattr(loop, "run", lambda *_, **__: None)
  assert run_here(tmp_path / "records", "--method=raw", f"--run_dir={tmp_path / 'run'}") == 0
  lines, missing = capsys.readouterr().err.splitlines(), []
  for split in ("validation", "test"):
    folder = tmp_path / "records" / "tiny_images"
    labels = records.labels(records.open_split(folder, split), "abcd")
    names = [name for name, column in zip("abcd", labels.T) if column.max() < 1]
    missing += [f"no {split} record of {folder} has {', '.join(names)}"] if names else []
  assert bool(missing) == empty == bool(lines) and len(lines) <= 1
  assert [words for words in missing if words not in lines[0]] == []


def test_what_the_game_itself_needs_is_an_error(capsys, tmp_path):
  fixtures.write_tiny_datasets(tmp_path / "records", images=(24, 1, 12))
  labels = records.labels(records.open_split(tmp_path / "records" / "tiny_images", "validation"), "ab")
  names = [name for name, label in zip("ab", labels[0]) if label < 1]
  line = told(capsys, tmp_path / "records", f"--run_dir={tmp_path / 'run'}", "--method=mppar")
  assert names and f"no validation record has {', '.join(names)}, so no checkpoint" in line and not (tmp_path / "run").exists()


# ---- damaged records ----

ONE_UPDATE = ("--method=basic", "--reconstruction_steps=0", "--action_steps=0", "--attacker_init_steps=0", "--max_steps=1",
              "--min_recognizer_steps=0", "--max_recognizer_steps=0", "--max_attacker_rounds=0")


def damaged(folder, dataset, split):
  """Flips a byte in the middle of the first shard, where the second of several records lies; returns the shard's name."""
  [path, *_] = sorted((folder / dataset).glob(f"{split}-*.tfrecord"))
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 0xFF
  path.write_bytes(content)
  return path.name


@pytest.fixture
def own_data(tmp_path):
  fixtures.write_tiny_datasets(tmp_path / "records")
  return tmp_path / "records"


def test_a_damaged_shard_stops_the_start(capsys, own_data, tmp_path):
  name = damaged(own_data, "tiny_images", "train")
  line = told(capsys, own_data, f"--run_dir={tmp_path / 'run'}", "--method=mppar")
  assert name in line and "tiny_images" in line and not (tmp_path / "run").exists()


@pytest.mark.parametrize("dataset, split, flags", [
    ("tiny_clips", "train", ["--method=raw"]), ("tiny_images", "validation", ONE_UPDATE)], ids=["stream", "full validation"])
def test_a_shard_damaged_while_training_is_told_as_such(capsys, own_data, tmp_path, monkeypatch, dataset, split, flags):
  """The damage comes after the checks at the start."""
  last_check, names = experiment.make_feeder, []

  def then_damaged(*arguments, **settings):
    names.append(damaged(own_data, dataset, split))
    return last_check(*arguments, **settings)
  monkeypatch.setattr(experiment, "make_feeder", then_damaged)
  line = told(capsys, own_data, f"--run_dir={tmp_path / 'run'}", *flags)
  assert names[0] in line and "the same command goes on" in line


def test_what_a_damaged_shard_costs_is_counted_and_training_goes_on(capsys, caplog, own_data, tmp_path):
  lost = {}
  for dataset, split in (("tiny_clips", "train"), ("tiny_images", "validation")):
    name = damaged(own_data, dataset, split)
    lost[name] = records.open_split(own_data / dataset, split, on_corrupt="skip_shard_remainder").lost[name]
  caplog.clear()
  assert run_here(own_data, *ONE_UPDATE, "--on_corrupt=skip_shard_remainder", f"--run_dir={tmp_path / 'run'}") == 0
  reported = [record.getMessage() for record in caplog.records if "lost" in record.getMessage()]
  for name, count in lost.items():
    assert 0 < count < 12 and sum(name in line and f"the last {count} records" in line for line in reported) == 1, reported
  assert np.isfinite([v for values in tiny_runs.scalars(tmp_path / "run").values() for v in values]).all()
