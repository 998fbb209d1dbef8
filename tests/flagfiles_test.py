"""Flags are dataclass fields; a flagfile is found by bare name, nests, and later flags win."""

import dataclasses
import os
import random
import re
import subprocess
import sys

import pytest

from mppar_tf import flagfiles, options
from tfrecord_tools import options as tools_options
from mppar_tf.flagfiles import OptionError, option


@dataclasses.dataclass(frozen=True)
class Shared:
  """Shared settings."""
  seed: int = option(0, "A seed.", low=0)


@dataclasses.dataclass(frozen=True)
class Meal(Shared):
  """What is eaten."""
  dish: str = option("soup", "The dish.", choices=lambda: ("soup", "stew", "pie"))
  cook: str | None = option(None, "Who cooks.")
  salt: float = option(0.5, "Grams.", low=0.0, high=10.0)
  hot: bool = option(True, "Served hot.")
  herbs: tuple[str, ...] = option(("dill",), "Herbs.", choices=lambda: ("dill", "mint", "sage"))
  weights: tuple[int, ...] = option((), "Grams of each portion.")

  def __post_init__(self):
    if self.dish == "pie" and not self.hot:
      raise OptionError("--dish=pie is never cold")


@dataclasses.dataclass(frozen=True)
class Guests(Shared):
  """Who eats."""
  guests: int | None = option(None, "How many.", low=1, high=9)


def parse(arguments, classes=(Meal, Guests)):
  """What a program with these options reads from a command line."""
  read = []
  code = flagfiles.main(lambda: read.extend(flagfiles.read(cls) for cls in classes), classes, "Doc.", arguments=list(arguments))
  return code, read


@pytest.fixture
def kitchen(tmp_path, monkeypatch):
  """A current folder and a configs/ folder, both empty."""
  here, configs = tmp_path / "here", tmp_path / "configs"
  here.mkdir(), configs.mkdir()
  monkeypatch.chdir(here)
  monkeypatch.setattr(flagfiles, "CONFIGS", configs)
  return here, configs


def test_defaults_are_the_dataclass_own():
  assert parse([]) == (0, [Meal(), Guests()])


@pytest.mark.parametrize("arguments, expected", [
    (["--dish=stew", "--salt=2", "--nohot"], Meal(dish="stew", salt=2.0, hot=False)),
    (["--dish", "stew", "--hot=false"], Meal(dish="stew", hot=False)),
    (["--cook=", "--herbs="], Meal(cook="", herbs=())),
    (["--herbs=mint, sage,"], Meal(herbs=("mint", "sage"))),
    (["--weights=3,-4"], Meal(weights=(3, -4))),
    (["--seed=7", "--guests=2"], Meal(seed=7)),
])
def test_values_arrive_in_the_field_s_type(arguments, expected):
  code, (meal, _) = parse(arguments)
  assert code == 0 and meal == expected
  assert [type(value) for value in dataclasses.astuple(meal)] == [type(value) for value in dataclasses.astuple(expected)]


def test_a_field_that_two_dataclasses_inherit_is_one_flag():
  assert parse(["--seed=3"]) == (0, [Meal(seed=3), Guests(seed=3)])


@pytest.mark.parametrize("arguments, told", [
    (["--dish=cake"], ["--dish", "cake", "soup", "stew", "pie"]),
    (["--herbs=mint,hemlock"], ["--herbs", "hemlock", "dill", "mint", "sage"]),
    (["--weights=1,two"], ["--weights", "two", "int"]),
    (["--salt=11"], ["--salt", "11", "10"]),
    (["--salt=nan"], ["--salt", "nan"]),
    (["--guests=0"], ["--guests", "0", "1", "9"]),
    (["--guests=many"], ["--guests", "many"]),
    (["--hot=perhaps"], ["hot", "perhaps"]),
    (["--salz=1"], ["salz", "salt"]),
    (["--dish=pie", "--nohot"], ["--dish=pie"]),
    (["leftover"], ["leftover"]),
    (["--flagfile"], ["flagfile"]),
    (["--flagfile="], ["--flagfile", "none"]),
])
def test_bad_input_is_one_line_that_names_value_and_choices_and_exit_code_2(arguments, told, capsys, kitchen):
  code, read = parse(arguments)
  lines = capsys.readouterr().err.splitlines()
  assert code == 2 and len(lines) == 1 and not read
  assert [word for word in told if word not in lines[0]] == []


def test_a_program_s_own_exit_code_is_returned():
  assert flagfiles.main(lambda: 70, (Meal,), "Doc.", arguments=[]) == 70


def test_programs_in_one_process_share_no_values_and_no_defaults():
  """Two programs may mean different things by one name; the second run must not inherit the first one's."""
  @dataclasses.dataclass(frozen=True)
  class OtherSeed:
    """Another program's."""
    seed: int = option(5, "A seed of its own.")

  assert parse(["--seed=3", "--dish=stew"])[1][0].dish == "stew"
  assert parse([]) == (0, [Meal(), Guests()])
  assert parse([], [OtherSeed]) == (0, [OtherSeed(5)])


def test_a_program_within_a_program_leaves_the_outer_one_s_flags_alone():
  seen = []

  def outer():
    parse(["--seed=2"])
    seen.append(flagfiles.read(Shared).seed)

  assert flagfiles.main(outer, (Shared,), "Doc.", arguments=["--seed=1"]) == 0
  assert seen == [1]


def test_later_flags_win_over_a_flagfile_s_and_over_earlier_ones(kitchen):
  here, _ = kitchen
  (here / "a.flags").write_text("--seed=1\n--salt=1\n")
  (here / "b.flags").write_text("--seed=2\n")
  seeds = {tuple(line): parse(line)[1][0].seed for line in (
      ["--flagfile=a.flags", "--flagfile=b.flags"], ["--flagfile=b.flags", "--flagfile=a.flags"],
      ["--flagfile=a.flags", "--seed=9"], ["--seed=9", "--flagfile=a.flags"], ["--seed=9", "--seed=8"])}
  assert list(seeds.values()) == [2, 1, 9, 1, 8]


def test_any_order_of_flags_and_flagfiles_equals_the_last_setting_of_each(kitchen):
  """Property: with files nested at random, every flag has the value of its last occurrence in reading order."""
  here, configs = kitchen
  draw = random.Random(0)
  for trial in range(40):
    written, told = {}, []
    def lines(depth):
      for _ in range(draw.randint(1, 4)):
        if depth and draw.random() < 0.4:
          name = f"{trial}_{len(written)}.flags"
          written[name] = []
          body = list(lines(depth - 1))
          draw.choice((here, configs)).joinpath(name).write_text("\n".join(["# a comment", *body, ""]))
          yield draw.choice((f"--flagfile={name}", f"-flagfile={name}"))
        else:
          flag = draw.choice((("seed", draw.randint(0, 99)), ("dish", draw.choice(("soup", "stew"))), ("guests", draw.randint(1, 9))))
          told.append(flag)
          yield f"--{flag[0]}={flag[1]}"
    command = list(lines(3))
    code, (meal, guests) = parse(command)
    last = dict(told)
    assert code == 0
    assert (meal.seed, meal.dish, guests.guests) == (last.get("seed", 0), last.get("dish", "soup"), last.get("guests"))


def test_a_bare_name_is_looked_for_here_then_in_configs(kitchen):
  here, configs = kitchen
  (configs / "base.flags").write_text("--seed=1\n")
  (configs / "top.flags").write_text("// nested by bare name\n--flagfile=base.flags\n\n  --dish=stew  \n")
  assert parse(["--flagfile=top.flags"])[1][0] == Meal(seed=1, dish="stew")
  assert parse(["--flagfile", "top.flags"])[1][0] == Meal(seed=1, dish="stew")
  (here / "base.flags").write_text("--seed=2\n")
  assert parse(["--flagfile=top.flags"])[1][0] == Meal(seed=2, dish="stew")


def test_a_folder_of_the_same_name_does_not_hide_a_flagfile(kitchen):
  here, configs = kitchen
  (here / "base.flags").mkdir()
  (configs / "base.flags").write_text("--seed=4\n")
  assert parse(["--flagfile=base.flags"])[1][0].seed == 4


def test_a_home_and_an_absolute_path_are_taken_as_they_are(kitchen, monkeypatch):
  here, configs = kitchen
  (here / "mine.flags").write_text("--seed=6\n")
  monkeypatch.setenv("HOME", str(here))
  monkeypatch.chdir(configs)
  assert parse(["--flagfile=~/mine.flags"])[1][0].seed == 6
  assert parse([f"--flagfile={here / 'mine.flags'}"])[1][0].seed == 6
  with pytest.raises(OptionError, match="other.flags"):
    flagfiles.locate(str(here / "other.flags"))


def test_a_missing_name_lists_what_there_is(kitchen):
  _, configs = kitchen
  for name in ("b.flags", "a.flags"):
    (configs / name).write_text("")
  (configs / "notes.txt").write_text("")
  with pytest.raises(OptionError) as error:
    flagfiles.locate("c.flags")
  assert "'c.flags'" in str(error.value) and "(there: a.flags, b.flags)" in str(error.value)


def test_a_flagfile_that_includes_itself_is_an_error_that_shows_the_way(kitchen):
  here, _ = kitchen
  (here / "a.flags").write_text("--flagfile=b.flags\n")
  (here / "b.flags").write_text("--flagfile=a.flags\n")
  with pytest.raises(OptionError, match=re.escape("a.flags includes itself through a.flags -> b.flags")):
    flagfiles.expand(["--flagfile=a.flags"])


def test_one_flagfile_may_be_read_twice_if_not_within_itself(kitchen):
  here, _ = kitchen
  (here / "base.flags").write_text("--seed=1\n")
  (here / "left.flags").write_text("--flagfile=base.flags\n")
  assert flagfiles.expand(["--flagfile=left.flags", "--seed=2", "--flagfile=base.flags"]) == ["--seed=1", "--seed=2", "--seed=1"]


def test_what_is_no_text_is_an_error_that_names_the_file(kitchen):
  here, _ = kitchen
  (here / "bad.flags").write_bytes(b"--dish=\xff\xfe\n")
  with pytest.raises(OptionError, match="bad.flags cannot be read"):
    flagfiles.expand(["--flagfile=bad.flags"])


def test_what_follows_a_double_dash_is_left_alone():
  assert flagfiles.expand(["--seed=1", "--", "--flagfile=nowhere"]) == ["--seed=1", "--", "--flagfile=nowhere"]


def test_before_sees_expanded_arguments_and_may_put_others_before_them(kitchen):
  here, _ = kitchen
  (here / "a.flags").write_text("--seed=1\n")
  seen, read = [], []
  def before(arguments):
    seen.extend(arguments)
    return ["--seed=5", "--dish=stew", *arguments]
  code = flagfiles.main(lambda: read.append(flagfiles.read(Meal)), (Meal,), "Doc.", arguments=["--flagfile=a.flags"], before=before)
  assert (code, seen, read) == (0, ["--seed=1"], [Meal(seed=1, dish="stew")])


def test_written_options_read_back_equal(kitchen):
  """Property: whatever the values, `write` then `--flagfile` gives the same dataclass."""
  here, _ = kitchen
  draw = random.Random(1)
  letters = "abc XYZ09-=#/.,'\"\\é%$"
  for trial in range(60):
    cook = "x" + "".join(draw.choice(letters) for _ in range(draw.randint(0, 12))) + "x"
    meal = Meal(seed=draw.randint(0, 2**40), dish=draw.choice(("soup", "stew")), cook=draw.choice((None, "", cook)),
                salt=draw.choice((0.0, 10.0, draw.random(), draw.random() * 1e-9)), hot=draw.random() < 0.5,
                herbs=tuple(draw.sample(("dill", "mint", "sage"), draw.randint(0, 3))),
                weights=tuple(draw.randint(-9, 9) for _ in range(draw.randint(0, 3))))
    guests = Guests(seed=meal.seed, guests=draw.choice((None, 1, 9)))
    flagfiles.write(here / "w.flags", meal, guests)
    assert parse(["--flagfile=w.flags"]) == (0, [meal, guests]), f"trial {trial}"
  assert sorted(path.name for path in here.iterdir()) == ["w.flags"]


def test_help_shows_every_flag_with_its_default_choices_and_meaning_and_runs_nothing(capsys):
  def program():
    raise AssertionError("ran")
  for word in ("--help", "-h", "--helpfull"):
    assert flagfiles.main(program, (Meal, Guests), "Cooks.\n\n  an example", arguments=["--seed=1", word]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Cooks.")
    for field in dataclasses.fields(Meal) + dataclasses.fields(Guests):
      assert f"--{field.name}=" in text and field.metadata["help"] in text
    assert text.count("--seed=") == 1
    assert "One of: soup, stew, pie." in text and "--herbs=dill" in text and "later flags win" in text


READ_ON = """
import sys
from mppar_tf import flagfiles
sys.exit(flagfiles.main(lambda: print("done"), (), "What it does.", arguments=sys.argv[1:]))
"""


@pytest.mark.parametrize("arguments, told", [(["--help"], "What it does."), ([], "done")])
def test_a_reader_that_leaves_early_is_no_traceback(arguments, told):
  command = [sys.executable, "-c", READ_ON, *arguments]
  assert told in subprocess.run(command, capture_output=True, text=True, check=True).stdout
  read, write = os.pipe()
  os.close(read)
  with os.fdopen(write, "wb") as closed:
    left = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True)
  assert (left.returncode, left.stderr) == (1, "")


@pytest.mark.parametrize("given, code, words", [
    ({}, 130, "stopped"), ({"stopped": (75, "stopped; the same command goes on")}, 75, "goes on")])
def test_ctrl_c_is_one_line_and_an_exit_code(capsys, given, code, words):
  def program():
    raise KeyboardInterrupt
  assert flagfiles.main(program, (), "", arguments=[], **given) == code
  told = capsys.readouterr().err
  assert told.count("\n") == 1 and told.rstrip().endswith(words)


def test_a_mistyped_flag_is_told_before_one_that_is_missing_because_of_it(capsys):
  def before(arguments):
    raise OptionError("--run_dir is required")
  assert flagfiles.main(lambda: 0, (options.RunOptions,), "", arguments=["--run_dri=x"], before=before) == 2
  assert "run_dri" in (told := capsys.readouterr().err) and "run_dir" in told and "required" not in told
  assert flagfiles.main(lambda: 0, (options.RunOptions,), "", arguments=[], before=before) == 2
  assert capsys.readouterr().err.endswith(": --run_dir is required\n")


def test_help_of_a_program_without_flags_has_no_heading_of_them():
  assert flagfiles.describe("What it does.", ()) == "What it does."


def test_another_broken_pipe_than_the_reader_s_is_an_error_still():
  def program():
    raise BrokenPipeError("a child's")
  with pytest.raises(BrokenPipeError, match="a child's"):
    flagfiles.main(program, (), "", arguments=[])


def every_option_class():
  declared = {**vars(options), **vars(tools_options)}
  return [cls for cls in declared.values() if isinstance(cls, type) and dataclasses.is_dataclass(cls)]


@pytest.mark.parametrize("cls", every_option_class(), ids=lambda cls: cls.__name__)
def test_every_option_is_frozen_becomes_a_flag_and_is_explained(cls):
  assert cls.__dataclass_params__.frozen
  assert cls.__doc__ and not cls.__doc__.startswith(cls.__name__ + "("), "a dataclass without a docstring has no heading in --help"
  values = flagfiles.define(cls)
  for field in dataclasses.fields(cls):
    assert field.name in values
    assert len(field.metadata["help"]) > 5
    default = list(field.default) if isinstance(field.default, tuple) else field.default
    assert values[field.name].default == default


@pytest.mark.parametrize("cls", every_option_class(), ids=lambda cls: cls.__name__)
def test_every_default_lies_within_its_own_choices_and_bounds(cls):
  for field in dataclasses.fields(cls):
    values = field.default if isinstance(field.default, tuple) else (field.default,)
    choices, low, high = (field.metadata[key] for key in ("choices", "low", "high"))
    for value in values:
      if value is not None:
        assert choices is None or value in list(choices()), field.name
        assert (low is None or value >= low) and (high is None or value <= high), field.name


def test_no_option_takes_a_name_that_means_something_to_absl():
  from absl import flags, logging
  assert logging.get_verbosity() is not None  # absl.logging declares its flags when imported
  names = {field.name for cls in every_option_class() for field in dataclasses.fields(cls)}
  assert names & set(flags.FLAGS) == set()
  assert names & {"help", "helpfull", "helpshort", "helpxml", "flagfile", "undefok"} == set()
