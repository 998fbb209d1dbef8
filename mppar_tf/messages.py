"""What programs tell people: one line, whatever a file, a server or another library said."""


def one_line(text: object, most: int | None = None) -> str:
  """Words of `text` as they can be printed, at most `most` letters: without line breaks and what steers a terminal."""
  return "".join(letter for letter in " ".join(str(text).split()) if letter.isprintable())[:most]
