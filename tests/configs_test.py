"""Every flagfile in configs/ says what it is for, sets declared flags alone, and only to values that their options accept."""

import dataclasses
import re

import pytest

from mppar_tf import flagfiles, options


def option_classes() -> list[type]:
  return [cls for cls in vars(options).values() if isinstance(cls, type) and dataclasses.is_dataclass(cls)]


FLAGFILES = sorted(path.name for path in flagfiles.CONFIGS.glob("*.flags"))


def flags_of(name: str) -> list[str]:
  """Names of the flags that a flagfile sets, its nested ones included."""
  return [line.lstrip("-").partition("=")[0] for line in flagfiles.expand([f"--flagfile={name}"])]


def test_there_are_flagfiles():
  assert "protocol_a.flags" in FLAGFILES


@pytest.mark.parametrize("name", FLAGFILES)
def test_a_flagfile_says_what_it_is_for_and_sets_only_declared_flags_to_possible_values(name):
  assert re.match(r"# \w+", (flagfiles.CONFIGS / name).read_text(encoding="utf-8")), "the first line says what the file is for"
  arguments, given = flagfiles.expand([f"--flagfile={name}"]), set(flags_of(name))
  values = flagfiles.define(*option_classes())
  assert values(["test", *arguments]) == ["test"]  # raises where a flag is unknown or a value is out of its bounds or choices
  for cls in option_classes():
    if given & {field.name for field in dataclasses.fields(cls)}:
      try:
        flagfiles.read(cls, values)
      except flagfiles.OptionError as error:
        # What the command line must add, such as a camera's source, is no fault of the file.
        lacking = re.match(r"--(\w+)", str(error))
        assert "required" in str(error) or "needed" in str(error), error
        assert lacking and lacking[1] not in given, error


@pytest.mark.parametrize("name", [name for name in FLAGFILES if name.startswith(("protocol_", "identity_"))])
def test_a_protocol_s_flagfile_holds_only_flags_of_train(name):
  from mppar_tf import train
  known = {field.name for cls in train.PROGRAM_OPTIONS for field in dataclasses.fields(cls)}
  unknown = [flag for flag in flags_of(name) if flag not in known and flag.removeprefix("no") not in known]
  assert unknown == []
