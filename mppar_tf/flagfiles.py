"""Turns frozen dataclasses into absl flags and back, and finds flagfiles by bare name.

`options.py` declares every flag as a dataclass field; this room holds the machinery alone. A bare `--flagfile=protocol_a.flags` is looked
for in the current folder, then in the repository's `configs/`; absl alone knows only the former. Later flags win over earlier ones.
"""

import contextvars
import dataclasses
import math
import os
import pathlib
import select
import sys
import types
import typing
from typing import Any, Callable, Iterable, Sequence

from absl import flags

from mppar_tf.messages import one_line

INTERRUPTED = 130  # as shells tell a program that SIGINT ended
_HERE = pathlib.Path(__file__).resolve().parent
# Inside this package where it is installed, beside it in a checkout.
CONFIGS = _HERE / "configs" if (_HERE / "configs").is_dir() else _HERE.parent / "configs"
# The flags of the program that runs. Each `main` has its own, so that two programs in one process neither share values nor defaults.
_RUNNING: contextvars.ContextVar[flags.FlagValues] = contextvars.ContextVar("flags of the running program")


class OptionError(ValueError):
  """A value that cannot be used, told in one line that names the value and the choices."""


def option(default: Any, help: str, *, choices: Callable[[], Iterable[str]] | None = None,
           low: float | None = None, high: float | None = None) -> Any:
  """A dataclass field that is also a flag. `choices` is called late, so that declaring a flag imports nothing."""
  return dataclasses.field(default=default, metadata={"help": help, "choices": choices, "low": low, "high": high})


def define(*option_classes: type) -> flags.FlagValues:
  """One flag for each field of each dataclass, not parsed yet; a field that several of them inherit is one flag."""
  values = flags.FlagValues()
  for cls in option_classes:
    for field in dataclasses.fields(cls):
      if field.name not in values:
        _define_one(field, values)
  return values


def _define_one(field: dataclasses.Field, values: flags.FlagValues) -> None:
  text, choices = field.metadata["help"], field.metadata["choices"]
  low, high = field.metadata["low"], field.metadata["high"]
  kind = _plain_type(field.type)
  if kind is bool:
    flags.DEFINE_bool(field.name, field.default, text, flag_values=values)
  elif kind is int:
    flags.DEFINE_integer(field.name, field.default, text, lower_bound=low, upper_bound=high, flag_values=values)
  elif kind is float:
    flags.DEFINE_float(field.name, field.default, text, lower_bound=low, upper_bound=high, flag_values=values)
  elif kind is tuple:
    listed = f" Choices: {', '.join(choices())}." if choices else ""
    flags.DEFINE_list(field.name, list(field.default), text + listed, flag_values=values)
  elif choices:
    flags.DEFINE_enum(field.name, field.default, list(choices()), text, flag_values=values)
  else:
    flags.DEFINE_string(field.name, field.default, text, flag_values=values)


def _plain_type(annotation: Any) -> type:
  if typing.get_origin(annotation) in (types.UnionType, typing.Union):
    annotation = next(a for a in typing.get_args(annotation) if a is not type(None))
  return typing.get_origin(annotation) or annotation


def read(cls: type, values: flags.FlagValues | None = None) -> Any:
  """The frozen dataclass `cls` from parsed flags, by default those of the running program.

  Raises:
    OptionError: a list flag holds a value of another type or outside its choices, or `cls` refuses the combination.
  """
  values, settings = _RUNNING.get() if values is None else values, {}
  for field in dataclasses.fields(cls):
    value = getattr(values, field.name)
    if isinstance(value, list):
      words = tuple(item.strip() for item in value if item.strip())
      check_choices(field.name, words, field.metadata["choices"])
      value = tuple(_element(field, word) for word in words)
    elif isinstance(value, float) and not math.isfinite(value):  # NaN lies within all bounds, infinity within those of one side
      raise OptionError(f"--{field.name}: {value} is no finite number")
    settings[field.name] = value
  return cls(**settings)


def _element(field: dataclasses.Field, word: str) -> Any:
  kind = typing.get_args(field.type)[0]
  try:
    return kind(word)
  except ValueError:
    raise OptionError(f"--{field.name}: {word!r} is no {kind.__name__}") from None


def check_choices(flag: str, values: Sequence[str], choices: Callable[[], Iterable[str]] | None) -> None:
  known = list(choices()) if choices else None
  for value in values:
    if known is not None and value not in known:
      raise OptionError(f"--{flag}: {value!r} is not one of {', '.join(known)}")


def locate(name: str) -> str:
  """The path of a flagfile: as given, else in `configs/`. Raises OptionError that lists what there is."""
  path = pathlib.Path(os.path.expanduser(name))
  if path.is_file():
    return str(path)
  if not path.is_absolute() and (CONFIGS / path).is_file():
    return str(CONFIGS / path)
  known = ", ".join(sorted(p.name for p in CONFIGS.glob("*.flags"))) or "none"
  raise OptionError(f"--flagfile: {name!r} is neither in the current folder nor in configs/ (there: {known})")


def expand(arguments: Sequence[str], _open: tuple[str, ...] = ()) -> list[str]:
  """Replaces every --flagfile=NAME in `arguments` by the flags that the file holds, nested ones too."""
  expanded, waiting = [], list(arguments)
  while waiting:
    argument = waiting.pop(0)
    if argument == "--":
      return expanded + ["--"] + waiting
    bare = argument.lstrip("-") if argument.startswith("-") else ""
    if bare == "flagfile" and waiting:
      path = locate(waiting.pop(0))
    elif bare.startswith("flagfile="):
      path = locate(bare.partition("=")[2])
    else:
      expanded.append(argument)
      continue
    if path in _open:
      raise OptionError(f"--flagfile: {path} includes itself through {' -> '.join(_open)}")
    expanded += expand(_flag_lines(path), _open + (path,))
  return expanded


def _flag_lines(path: str) -> list[str]:
  try:
    text = pathlib.Path(path).read_text(encoding="utf-8")
  except (OSError, UnicodeDecodeError) as error:
    raise OptionError(f"--flagfile: {path} cannot be read ({error})") from None
  found = [line.strip() for line in text.splitlines()]
  return [line for line in found if line and not line.startswith(("#", "//"))]


def main(program: Callable[[], int | None], option_classes: Sequence[type], doc: str, *,
         arguments: Sequence[str] | None = None, before: Callable[[list[str]], list[str]] | None = None,
         stopped: tuple[int, str] | None = None) -> int:
  """Runs a program: declares its flags, reads the command line, turns a known error into one line and exit code 2.

  Args:
    program: called without arguments once flags are parsed; returns an exit code or None for 0.
    option_classes: dataclasses of `options.py` that this program consumes.
    doc: the program's help, normally its module's docstring.
    arguments: the command line without the program's name; default `sys.argv[1:]`.
    before: may rewrite the expanded arguments, e.g. put those of a run folder before them.
    stopped: exit code and line of a program that Ctrl-C stopped; None: INTERRUPTED and no more than that it was.
  Returns:
    The exit code: 0 done, 1 where whoever reads the output left before its end (`| head`), 2 for bad input, that of `stopped`. Programs
    document others.
  """
  try:
    code = _main(program, option_classes, doc, sys.argv[1:] if arguments is None else arguments, before)
    sys.stdout.flush()  # here, not at the interpreter's exit, where a reader that left is a traceback
    return code
  except BrokenPipeError:
    if not _reader_left():
      raise
    return 1
  except KeyboardInterrupt:
    code, line = stopped or (INTERRUPTED, f"{program_name()}: stopped")
    print(line, file=sys.stderr)
    return code


def program_name() -> str:
  return pathlib.Path(sys.argv[0]).stem


def _reader_left() -> bool:
  """Whether it is standard output whose other end is closed. What is left in its buffer is thrown away then, without a word."""
  try:
    output = sys.stdout.fileno()
  except (OSError, ValueError):  # not a file of the system's: a test's, say
    return False
  watched = select.poll()
  watched.register(output, 0)
  if not any(event & select.POLLERR for _, event in watched.poll(0)):
    return False
  nowhere = os.open(os.devnull, os.O_WRONLY)
  os.dup2(nowhere, output)
  os.close(nowhere)
  return True


def _main(program: Callable[[], int | None], option_classes: Sequence[type], doc: str, arguments: Sequence[str],
          before: Callable[[list[str]], list[str]] | None) -> int:
  # TensorFlow's start-up notes, some of them called errors, would bury the one line that matters; what fails is raised all the same.
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  try:
    arguments = expand(arguments)
    if any(a in ("-h", "-help", "--help", "--helpfull", "--helpshort") for a in arguments):
      print(describe(doc, option_classes))
      return 0
    try:
      arguments = before(arguments) if before else arguments
    except OptionError:
      define(*option_classes)(["mppar_tf"] + arguments)  # a mistyped flag is the reason, and absl knows what may have been meant
      raise
    values = define(*option_classes)
    rest = values(["mppar_tf"] + arguments)[1:]
    if rest:
      shown, address, _ = rest[0].partition("://")  # what follows may be a password
      raise OptionError(f"unexpected argument {shown + (address and '://...')!r}; every setting is a flag, --help lists them")
    token = _RUNNING.set(values)
    try:
      return program() or 0
    finally:
      _RUNNING.reset(token)
  except (flags.Error, OptionError) as error:
    print(f"{program_name()}: {one_line(error)}", file=sys.stderr)
    return 2


def describe(doc: str, option_classes: Sequence[type]) -> str:
  """The text that --help prints: what the program is for, then every flag with its default, choices and meaning."""
  lines, seen = [doc.strip()], set()
  if option_classes:
    lines += ["", "Flags (also from a file: --flagfile=NAME, looked for here, then in configs/; later flags win):"]
  for cls in option_classes:
    group = (cls.__doc__ or cls.__name__).strip().splitlines()[0]
    lines += ["", group]
    for field in dataclasses.fields(cls):
      if field.name in seen:
        continue
      seen.add(field.name)
      choices = field.metadata["choices"]
      default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
      lines.append(f"  --{field.name}={'' if default is None else default}")
      lines.append(f"      {field.metadata['help']}" + (f" One of: {', '.join(choices())}." if choices else ""))
  return "\n".join(lines)


def lines(*chosen: Any) -> list[str]:
  """Option dataclasses as the lines of a flagfile that reproduces them."""
  found = {}
  for group in chosen:
    for field in dataclasses.fields(group):
      value = getattr(group, field.name)
      if value is not None:
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else value
        found[field.name] = f"--{field.name}={text}"
  return list(found.values())


def write(path: pathlib.Path, *chosen: Any) -> None:
  """Writes option dataclasses as a flagfile, whole or not at all."""
  temporary = path.with_name(path.name + ".part")
  temporary.write_text("\n".join(lines(*chosen)) + "\n", encoding="utf-8")
  os.replace(temporary, path)
