"""Every flagfile of a protocol starts on tiny records of the form that its benchmark has, and without them says what is missing."""

import re

import pytest
import tiny_official
import tiny_sets

from mppar_tf import flagfiles, loop, train
from mppar_tf.data import vocabularies
from mppar_tf.protocols import PROTOCOLS
from mppar_tf.protocols.benchmarks import BENCHMARKS
from tfrecord_tools import build

pytestmark = pytest.mark.timeout(1800)
FLAGFILES = sorted(path.name for path in flagfiles.CONFIGS.glob("*.flags") if path.name.startswith(("protocol_", "identity_")))
REAL = ("identity_ixmas.flags", "protocol_a_ixmas_utkface.flags")  # the small real sets, with tests and runs of their own
TINY = ("--clip_frames=4", "--crop=8", "--anonymizer_size=tiny", "--recognizer_size=tiny", "--attacker_size=tiny", "--action_batch=2",
        "--privacy_batch=4", "--recognizer_batch=2", "--attacker_batch=4", "--sets_every=2", "--accumulation=2",
        "--nodeterministic")
STEPS = ("--reconstruction_steps=0", "--action_steps=0", "--attacker_init_steps=0", "--max_steps=2", "--min_recognizer_steps=0",
         "--max_recognizer_steps=0", "--max_attacker_rounds=0", "--meta_gradient=first_order")
# Every attribute of the papers stands alone somewhere, and with others.
LISTED = [*vocabularies.UCF101_KNOWN, *vocabularies.UCF101_NOVEL]
PHOTOGRAPHS = {split: [[name] for name in LISTED] + [["a0_safe"], LISTED] for split in ("train2017", "val2017", "test2017")}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  """Records of the benchmarks, built by the readers from tiny copies of what the authors distribute."""
  folder = tmp_path_factory.mktemp("official")
  sources = {name: getattr(tiny_official, name)(folder / name) for name in ("ucf101", "hmdb51", "pa_hmdb51", "sbu", "kth", "ipn")}
  sources["vispr"] = tiny_official.vispr(folder / "vispr", PHOTOGRAPHS)
  flags = {"ucf101": [f"--annotations={sources['ucf101'] / 'ucfTrainTestlist'}"],
           "hmdb51": [f"--annotations={sources['hmdb51'] / 'testTrainMulti_7030_splits'}", f"--without_pa_hmdb51={sources['pa_hmdb51']}"],
           "pa_hmdb51": [f"--annotations={sources['pa_hmdb51']}"], "kth": ["--kth_split=recordings"],
           "ipn": ["--validation_share=0.5"]}
  for name in sources:
    source = sources["hmdb51" if name == "pa_hmdb51" else name]
    assert tiny_sets.built(name, source, folder / "records", *flags.get(name, ())) == 0
  assert build.main(["twin", f"--data_dir={folder / 'records'}", "--twin_share=0.04", "--twin_size=16", "--workers=1"]) == 0
  return folder / "records"


def protocol_of(name):
  """The protocol that a flagfile is called after."""
  return PROTOCOLS[re.match(r"protocol_(.)|", name)[1] or "identity"]


def benchmark_of(name):
  """The benchmark that a flagfile chooses."""
  [*_, chosen] = [line for line in flagfiles.expand([f"--flagfile={name}"]) if line.startswith("--benchmark=")]
  return BENCHMARKS[chosen.partition("=")[2]]


def trained(name, data_dir, run_dir, *flags) -> int:
  """The exit code of a training by a flagfile, with tiny networks."""
  few = ["--training_attackers=mobilenet_v2_0.35,mobilenet_v2_0.5"] if protocol_of(name).novel_attackers else []
  trial = ["--benchmark=twin_as_built"] if benchmark_of(name) is BENCHMARKS["twin"] else []  # that name stands for the whole one
  arguments = [f"--flagfile={name}", f"--data_dir={data_dir}", f"--run_dir={run_dir}", *TINY, *few, *trial, *flags]
  program = lambda: train.run(*(flagfiles.read(cls) for cls in train.PROGRAM_OPTIONS))
  return flagfiles.main(program, train.PROGRAM_OPTIONS, "", arguments=arguments)


@pytest.mark.parametrize("name", [name for name in FLAGFILES if name not in REAL])
def test_a_flagfile_starts(data_dir, tmp_path, monkeypatch, capsys, name):
  """All but the loop: records, networks, method, streams, what the game needs of the labels."""
  started = []
  monkeypatch.setattr(loop, "run", lambda method, *_, **__: started.append([method.plan(update) for update in range(2)]))
  assert trained(name, data_dir, tmp_path / "run") == 0, capsys.readouterr().err
  protocol = protocol_of(name)
  lines = (tmp_path / "run" / "flags.txt").read_text().splitlines()
  assert f"--protocol={protocol.name}" in lines and f"--shift={protocol.shift}" in lines
  if "--method=entropy" in lines:
    assert [[plan.kind for plan in plans] for plans in started] == [["single"] * 2]
    return
  kinds = {"alternate": ["models", "attributes"], "models": ["models"] * 2, "attributes": ["attributes"] * 2}
  assert [[plan.kind for plan in plans] for plans in started] == [kinds[protocol.shift]]


@pytest.mark.parametrize("name", ["protocol_b.flags", "protocol_c_ipn.flags", "identity_sbu.flags"])
def test_a_flagfile_takes_steps(data_dir, tmp_path, capsys, name):
  assert trained(name, data_dir, tmp_path / "run", *STEPS) == 0, capsys.readouterr().err
  [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("trained: ")]
  counts = [reason.split() for reason in line.removeprefix("trained: ").split(", ")]
  assert sum(int(count) for reason, count in counts if reason.startswith("anonymizer")) == 2, line


@pytest.mark.parametrize("name, flags, words", [
    ("protocol_b.flags", ["--shift=alternate"], ["--shift=alternate needs at least two training attackers, got resnet_v1_50"]),
    ("protocol_b.flags", ["--test_attackers=inception_v1"], ["protocol b", "resnet_v1_50", "inception_v1", "--test_attackers"]),
    ("protocol_c.flags", ["--test_attackers=mobilenet_v2_0.5"], ["protocol c", "mobilenet_v2_0.5 stand on both sides"]),
    ("protocol_d.flags", ["--novel_attributes=tattoo"], ["--novel_attributes=tattoo", "protocol d judges the known labels alone"]),
    ("protocol_c_ipn.flags", ["--protocol=a"], ["--benchmark=ipn has none", "--novel_attributes", "c or d"]),
    ("protocol_c_ipn.flags", ["--protocol=identity"], ["--protocol=identity judges identity", "--benchmark=ipn labels attributes"]),
    ("protocol_c_ipn.flags", ["--shift=attributes"], ["support and query sets", "at least 2"]),
    ("identity_sbu.flags", ["--protocol=c"], ["--protocol=c judges attributes", "--benchmark=sbu labels identity"])])
def test_what_breaks_a_protocol_is_one_line_at_the_start(data_dir, tmp_path, capsys, name, flags, words):
  assert trained(name, data_dir, tmp_path / "run", *flags) == 2
  [line] = capsys.readouterr().err.splitlines()
  assert [word for word in words if word not in line] == [], line
  assert not (tmp_path / "run").exists()


def test_full_is_possible_with_several_attackers_of_which_the_known_one_judges(data_dir, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(loop, "run", lambda *_, **__: None)
  more = ["--training_attackers=resnet_v1_50,mobilenet_v2_0.5,mobilenet_v2_0.75", "--shift=alternate"]
  assert trained("protocol_b.flags", data_dir, tmp_path / "run", *more) == 0, capsys.readouterr().err
  assert "--shift=alternate" in (tmp_path / "run" / "flags.txt").read_text().splitlines()


@pytest.mark.parametrize("name", [name for name in FLAGFILES if not benchmark_of(name).clips.startswith("twin")])
def test_without_records_one_line_names_every_folder_and_its_command(tmp_path, capsys, name):
  empty = tmp_path / "empty"
  assert trained(name, empty, tmp_path / "run") == 2
  [line] = capsys.readouterr().err.splitlines()
  commands = benchmark_of(name).build
  for dataset, command in commands.items():
    assert f"{empty / dataset}: no manifest.json" in line and f"{command} --data_dir={empty}" in line, line
  assert line.count("no manifest.json") == len(commands) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", sorted({command for one in BENCHMARKS.values() for command in one.build.values()}))
def test_a_benchmark_s_command_is_one_of_the_build_program(command):
  python, option, module, dataset, *given = command.split()
  assert [python, option, module] == ["python", "-m", "tfrecord_tools.build"]
  values = flagfiles.define(build.DATASETS[dataset].options)
  assert values([module, *given]) == [module]  # raises where a flag is unknown, or a value none of its choices
  flagfiles.read(build.DATASETS[dataset].options, values)
