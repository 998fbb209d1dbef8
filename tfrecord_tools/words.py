"""Plain words on a command line: programs of this package take a dataset or folders as words, which `flagfiles.main` refuses."""

from typing import Sequence


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
  """(words, flags). A word that follows a flag without `=` is taken for that flag's value, as absl does."""
  words, flags = [], []
  for before, argument in zip(["", *arguments], arguments):
    value = before.startswith("-") and "=" not in before
    (flags if argument.startswith("-") or value else words).append(argument)
  return words, flags
