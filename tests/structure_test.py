"""The shape of the repository: which room may import which, where flags live, and what no file may hold.

Every rule is a function from source text to complaints, tried on a planted offence before it is trusted on the repository.
"""

import ast
import functools
import graphlib
import pathlib
import re
import subprocess
import sys
from typing import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("mppar_tf", "tfrecord_tools")
LONGEST_FILE = 400  # lines
LONGER_FOR_A_REASON = {"mppar_tf/options.py": "every flag once, in one place"}  # path -> why it is one idea all the same

# Room -> rooms that it may import beside itself. A module belongs to the room with the longest matching name; a program's parts are named
# after it (bench_input), and both may import every room.
PROGRAM = {"bench", "camera", "evaluate", "export", "reproduce", "train"}
MAY_IMPORT = {
    "": set(),
    "messages": set(),
    "types": set(),
    "progress": set(),
    "whole_files": set(),
    "replica": set(),
    "learning_rates": set(),
    "flagfiles": {"messages"},
    "options": {"flagfiles"},
    "objectives": {"types"},
    "metagrad": {"objectives", "replica", "types"},
    "schedule": {"types"},
    "schedule_vita": set(),
    "workers": set(),
    "leaving": set(),
    "team": {"workers"},
    "data": {"messages", "progress", "types"},
    "models": {"messages"},
    "models.layers": {"replica"},
    "models.macs": {"models.layers"},
    "models.anonymizers": {"models.layers"},
    "models.recognizers": {"models.layers"},
    "models.attackers": {"models.layers"},
    "models.contrastive": {"models.attackers.resnet", "models.layers"},
    "methods": {"data.obfuscation", "data.sets", "learning_rates", "metagrad", "models", "objectives", "replica", "schedule",
                "schedule_vita", "types"},
    "protocols": {"data", "evaluation.metrics", "models.attackers", "types"},
    "evaluation": {"data", "learning_rates", "models.attackers", "objectives", "progress", "replica", "types", "whole_files"},
    "checkpoints": {"messages", "whole_files"},
    "journal": set(),
    "loop": {"checkpoints", "data", "journal", "learning_rates", "messages", "progress", "replica", "schedule", "team", "types"},
    "feeding": {"data", "methods.contract", "types"},
    "experiment": {"data", "feeding", "methods", "models", "protocols", "types"},
    "validation": {"data", "evaluation.metrics", "experiment", "feeding", "methods", "types"},
    "initial_weights": {"checkpoints", "data", "messages", "models", "whole_files"},
    "conversion": {"whole_files"},
    "display_matrix": set(),
    "on_camera": {"display_matrix", "messages", "whole_files"},
    "equalization": {"models"},
    "exporting": {"conversion", "equalization", "messages", "on_camera", "types", "whole_files"},
    "comparison": {"evaluation"},
    "curves": {"whole_files"},
    "tables": {"data.vocabularies"},
    "side_by_side": {"messages"},
}
TOOLS_MAY_IMPORT = {"", "display_matrix", "data.parsing", "data.schema", "data.records", "data.vocabularies", "messages"}  # of mppar_tf
FUZZING_ALSO = {"on_camera"}  # its inputs are fuzzed by the same program; no other tool sees the camera
PROGRAMS_ALSO = {"flagfiles", "options"}
OPTIONS = {"mppar_tf.options", "tfrecord_tools.options"}


# ---- reading imports ----


def module_name(path: pathlib.Path) -> str:
  return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@functools.cache
def modules() -> dict[str, pathlib.Path]:
  """Every module of the packages, by its dotted name."""
  return {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def imported(source: str, known) -> set[str]:
  """Dotted names of our own modules that a source imports, at whatever depth."""
  found = set()
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      found |= {f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in known else str(node.module) for alias in node.names}
  return {name for name in found if name.split(".")[0] in PACKAGES}


def room_of(module: str) -> str | None:
  """The room of a module of mppar_tf, without the package's name; None where the table knows none."""
  parts = module.split(".")[1:]
  rooms = [".".join(parts[:length]) for length in range(len(parts), 0, -1)] + [part.split("_")[0] for part in parts[:1] if "_" in part]
  return next((room for room in rooms if room in MAY_IMPORT or room in PROGRAM), None if parts else "")


def within(module: str, allowed: set[str]) -> bool:
  """Whether a module of mppar_tf is one of `allowed` or lies below one."""
  name = module.removeprefix("mppar_tf").removeprefix(".")
  return name in allowed or any(name.startswith(room + ".") for room in allowed if room)


def is_program(source: str) -> bool:
  return 'if __name__ == "__main__"' in source


def wrong_imports(module: str, source: str, known) -> list[str]:
  """Imports of `module` that go against the table."""
  complaints = []
  for other in sorted(imported(source, known)):
    if "*" in other or (other not in known and other.rpartition(".")[0] not in known):
      complaints.append(f"{module} imports {other}, which is no module of ours")
    elif not _may(module, other, is_program(source)):
      complaints.append(f"{module} imports {other}")
  return complaints


def _may(module: str, other: str, program: bool) -> bool:
  of_ours = other.startswith("mppar_tf")
  if module == "tfrecord_tools.options":
    return within(other, PROGRAMS_ALSO)
  if other in OPTIONS:
    return program
  if module.startswith("tfrecord_tools"):
    fuzzing = FUZZING_ALSO if module.startswith("tfrecord_tools.fuzzing.") else set()
    return not of_ours or within(other, TOOLS_MAY_IMPORT | fuzzing | (PROGRAMS_ALSO if program else set()))
  room = room_of(module)
  if room in PROGRAM:
    return True
  return of_ours and room is not None and (room_of(other) == room or within(other, MAY_IMPORT[room]))


def test_the_table_itself_has_one_direction():
  graph = {room: {room_of(f"mppar_tf.{name}") for name in allowed} - {room} for room, allowed in MAY_IMPORT.items()}
  assert list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize("module, source, right", [
    ("mppar_tf.models.attackers.new", "from mppar_tf.models import layers", True),
    ("mppar_tf.models.attackers.new", "from mppar_tf.models.anonymizers import johnson", False),
    ("mppar_tf.models.attackers.new", "import mppar_tf.methods.mppar", False),
    ("mppar_tf.models.anonymizers.new", "from mppar_tf.types import Clips", False),
    ("mppar_tf.loop", "def run():\n  from mppar_tf.methods import mppar", False),
    ("mppar_tf.loop", "from mppar_tf import journal, checkpoints", True),
    ("mppar_tf.methods.mppar", "from mppar_tf import options", False),
    ("mppar_tf.methods.mppar", "from mppar_tf.data import records", False),
    ("mppar_tf.methods.mppar", "from mppar_tf.data import sets", True),
    ("mppar_tf.data.clips", "from mppar_tf.data.schema import RecordsError", True),
    ("mppar_tf.data.clips", "from mppar_tf.protocols import benchmarks", False),
    ("mppar_tf.data.clips", "from tfrecord_tools import build", False),
    ("mppar_tf.loop", "import mppar_tf.train", False),
    ("mppar_tf.train_part", "from mppar_tf import loop", True),
    ("mppar_tf.train_part", "from mppar_tf import options", False),
    ("mppar_tf.train", "from mppar_tf import loop", True),
    ("mppar_tf.train", "from mppar_tf import options", False),
    ("mppar_tf.train", 'from mppar_tf import options\nif __name__ == "__main__":\n  main()', True),
    ("mppar_tf.data.clips", 'from mppar_tf import options\nif __name__ == "__main__":\n  main()', True),
    ("tfrecord_tools.readers.new", "from mppar_tf.data import schema", True),
    ("tfrecord_tools.readers.new", "from mppar_tf.data import clips", False),
    ("tfrecord_tools.readers.new", "from mppar_tf import flagfiles", False),
    ("tfrecord_tools.new", 'from mppar_tf import flagfiles\nif __name__ == "__main__":\n  main()', True),
    ("tfrecord_tools.new", "from mppar_tf.on_camera import engine", False),
    ("tfrecord_tools.fuzzing.new", "from mppar_tf.on_camera import engine", True),
    ("tfrecord_tools.fuzzing.new", "from mppar_tf import camera", False),
    ("tfrecord_tools.new", "from mppar_tf.nowhere import something", False),
])
def test_the_import_rule_sees_an_offence(module, source, right):
  assert (not wrong_imports(module, source, modules())) == right


def test_every_module_has_a_room():
  homeless = [name for name in modules() if name.startswith("mppar_tf") and room_of(name) is None]
  assert not homeless, f"say in MAY_IMPORT what these may import: {', '.join(homeless)}"


@pytest.mark.parametrize("module", modules())
def test_imports_point_one_way(module):
  assert wrong_imports(module, modules()[module].read_text(encoding="utf-8"), modules()) == []


def test_no_module_is_imported_by_what_it_imports():
  graph = {module: imported(path.read_text(encoding="utf-8"), modules()) & set(modules()) - {module} for module, path in modules().items()}
  assert list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError


# ---- what no source may hold ----


def offences(source: str, *, flags_allowed: bool = False) -> Iterator[str]:
  """Constructs that this repository does without, each with its line."""
  for node in ast.walk(ast.parse(source)):
    for told in _offences_of(node, flags_allowed):
      yield f"line {node.lineno}: {told}"


def _offences_of(node: ast.AST, flags_allowed: bool) -> Iterator[str]:
  name = getattr(node, "attr", getattr(node, "id", ""))
  if isinstance(node, (ast.Attribute, ast.Name)) and not flags_allowed and (name == "FLAGS" or name.startswith("DEFINE_")):
    yield f"{name}: flags are declared in options.py and read in main"
  if isinstance(node, ast.ExceptHandler) and node.type is None:
    yield "bare except"
  if isinstance(node, ast.Pass):
    yield "pass"
  if isinstance(node, (ast.Import, ast.ImportFrom)):
    names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
    yield from (f"import of {name}" for name in names if name.split(".")[0] in ("pickle", "dill", "joblib", "marshal", "shelve"))
  if isinstance(node, ast.Call):
    if isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
      yield f"{node.func.id}()"
    if isinstance(node.func, ast.Attribute) and ast.unparse(node.func) == "os.system":
      yield "os.system()"
    for keyword in node.keywords:
      value = getattr(keyword.value, "value", "computed")
      if (keyword.arg in ("allow_pickle", "shell") and value is not False) or (keyword.arg == "safe_mode" and value is not True):
        yield f"{keyword.arg}={value}"


@pytest.mark.parametrize("source", [
    "from absl import flags\nflags.DEFINE_string('a', '', '')", "print(FLAGS.a)", "from absl.flags import FLAGS\nFLAGS(['x'])",
    "try:\n  run()\nexcept:\n  stop()", "def f():\n  pass", "import pickle", "from pickle import loads", "from joblib import load",
    "eval('1')", "exec(text)",
    "np.load(f, allow_pickle=True)", "np.load(f, allow_pickle=flag)", "subprocess.run(c, shell=True)", "os.system('ls')",
    "keras.models.load_model(p, safe_mode=False)"])
def test_the_rule_on_constructs_sees_an_offence(source):
  assert list(offences(source))


@pytest.mark.parametrize("source", [
    "model.evaluate(x)", "np.load(f, allow_pickle=False)", "subprocess.run(c, shell=False)", "'pickle eval( shell=True'",
    "try:\n  run()\nexcept ValueError:\n  stop()", "model.eval()", "flags.FlagValues()"])
def test_the_rule_on_constructs_lets_others_be(source):
  assert not list(offences(source))


@pytest.mark.parametrize("module", modules())
def test_no_source_holds_what_we_do_without(module):
  source = modules()[module].read_text(encoding="utf-8")
  assert list(offences(source, flags_allowed=module in OPTIONS | {"mppar_tf.flagfiles"})) == []


def test_tensorflow_io_is_imported_in_one_module_only():
  holders = [module for module, path in modules().items()
             if re.search(r"^\s*(import|from) tensorflow_io\b", path.read_text(encoding="utf-8"), re.M)]
  assert len(holders) <= 1, holders


def test_keras_cv_is_imported_lazily():
  """Importing it drags in tensorflow-datasets; only what uses it pays."""
  eager = [module for module, path in modules().items()
           if re.search(r"^(import|from) keras_cv\b", path.read_text(encoding="utf-8"), re.M)]
  assert eager == []


# ---- files ----

# Split so that this file does not find itself. Preceded by no word, so that an address's own path is none.
MACHINE_PATH = re.compile(r"(?<![\w.~$}/*-])/(?:" + "|".join(("home", "root", "tmp", "work", "Users")) + r")/")


@functools.cache
def texts() -> dict[str, str]:
  """Every text file that is ours, by its path from the root."""
  folders = [*PACKAGES, "tests", "configs", ".ci"]
  paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
  paths += [path for path in sorted(ROOT.iterdir()) if path.suffix in (".md", ".toml", ".txt") or path.name in ("Makefile", ".gitignore")]
  found = {}
  for path in paths:
    try:
      found[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:  # a picture or another binary file
      continue
  return found


def machine_paths(text: str) -> list[str]:
  return [line for line in text.splitlines() if MACHINE_PATH.search(line)]


@pytest.mark.parametrize("text, count", [
    ('open("/' + 'work/data.csv")', 1), ("cd /" + "root/x", 1), ("--sink=/" + "tmp/out.mp4", 1), ("/" + "home/me/clip.avi", 1),
    ("s3://bucket/work/records", 0), ("../work/x", 0), ("~/work/x", 0), ("/dev/video0", 0), ("#!/usr/bin/env bash", 0)])
def test_the_rule_on_paths_sees_an_offence(text, count):
  assert len(machine_paths(text)) == count


def test_no_file_names_a_path_of_one_machine():
  found = {path: lines for path, text in texts().items() if (lines := machine_paths(text))}
  assert found == {}


def test_no_source_is_longer_than_one_idea():
  long = {path: count for path, text in texts().items()
          if path.endswith(".py") and (count := len(text.splitlines())) > LONGEST_FILE and path not in LONGER_FOR_A_REASON}
  assert long == {}


def test_sources_are_indented_by_two_blanks():
  by_tab = [path for path, text in texts().items() if path.endswith(".py") and re.search(r"^\t", text, re.M)]
  by_four = [path for path, text in texts().items()
             if path.endswith(".py") and re.search(r"^(def|class) .*:\n    \w", text, re.M)]
  assert by_tab + by_four == []


# ---- style ----


def lint(*paths) -> str:
  """What `make lint` says of some paths; "" where they please it."""
  how = ["--no-cache", "--quiet", "--output-format=concise", f"--config={ROOT / 'pyproject.toml'}"]
  command = [sys.executable, "-m", "ruff", "check", *how, *map(str, paths)]
  return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False).stdout


@pytest.mark.parametrize("source, told", [
    ("import os\n", "F401"), ("x = undefined\n", "F821"), (f"x = '{'y' * 140}'\n", "E501"), ("x = 1 \n", "W291"), ("x = 1\n", "")])
def test_the_linter_sees_an_offence(tmp_path, source, told):
  (tmp_path / "planted.py").write_text(source)
  assert told in lint(tmp_path) and bool(told) == bool(lint(tmp_path))


def test_the_linter_has_nothing_to_say():
  assert lint(*PACKAGES, "tests") == ""
