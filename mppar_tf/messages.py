"""What programs tell people: one line, whatever a file, a server or another library said."""

import re

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_KERAS = "Exception encountered when calling "  # a layer's; its reason is the next paragraph, its arguments are those after


def one_line(text: object, most: int | None = None) -> str:
  """Words of `text` as they can be printed, at most `most` letters: without line breaks and what steers a terminal."""
  return "".join(letter for letter in " ".join(_COLOURS.sub("", str(text)).split()) if letter.isprintable())[:most]


def reason(error: BaseException) -> str:
  """The first line of what an error says; of one that Keras has wrapped, its own."""
  said = [line for line in map(one_line, str(error).splitlines()) if line]
  wrapped = len(said) > 1 and said[0].startswith(_KERAS)
  return said[wrapped] if said else type(error).__name__
