"""Changes to bytes, text and JSON, each a function of a random generator and the content alone."""

import json
import random
from typing import Any, Callable

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
LONGEST_BLOCK = 512  # bytes
# What tables trip over: quotes, numbers that are none or too large, names that lead elsewhere, other encodings, ends of lines.
TOKENS = (
    "", " ", ",", ";", "\t", '"', '""', "'", "\n", "\r", "\r\n", "\x00", "\x1a", "\x0b", "\u2028", "\ufeff", "\u00b2", "\u0663", "-1",
    "0", "00", "1", "2", "7", "1e9", "1e999", "nan", "99999999", "999999999999", str(1 << 64), "9" * 5000, "..", "../..", "/",
    "/etc/passwd", "\\", "C:\\x", ".", "~", "a" * 300, "a" * 200_000, "_" * 20_000, "\u00e9", "e\u0301", "\U0001f600", "{", "}", "[", "]",
    "[" * 100_000, "null", "true", "NaN", "\\ud800", '"\\ud800"', "*missing*", "frames", "train", "test", "%", "%s", "http://x/y", "://[")
VALUES = (
    None, True, False, -1, 0, 1, 7, 1.0, 1e300, float("nan"), 1 << 31, 1 << 40, 1 << 63, 1 << 70, "", "x", "1", "../x", "a\x00b",
    "\ud800", "a" * 300, "http://x/y", "://[", [], {}, ["x"], [[]], {"x": 1}, [None], "train", "video", "image")


# ---- bytes ----


def _place(rng: random.Random, data: bytes) -> int:
  """An offset; half of them near the head, where lengths and counts stand."""
  return rng.randrange(max(1, len(data) if rng.random() < 0.5 else min(len(data), 256)))


def _block(rng: random.Random, data: bytes) -> tuple[int, int]:
  start = _place(rng, data)
  return start, min(len(data), start + rng.randint(1, LONGEST_BLOCK))


def flip_bits(rng: random.Random, data: bytes) -> bytes:
  changed = bytearray(data)
  for _ in range(rng.choice((1, 1, 1, 2, 8))):
    changed[_place(rng, data)] ^= 1 << rng.randrange(8)
  return bytes(changed)


def set_bytes(rng: random.Random, data: bytes) -> bytes:
  start, end = _block(rng, data)
  end = min(end, start + rng.choice((1, 2, 4, 64, LONGEST_BLOCK)))
  filler = rng.choice((b"\0" * (end - start), b"\xff" * (end - start), rng.randbytes(end - start)))
  return data[:start] + filler + data[end:]


def truncate(rng: random.Random, data: bytes) -> bytes:
  return data[:rng.randrange(len(data)) if rng.random() < 0.7 else max(0, len(data) - rng.randint(1, 64))]


def insert(rng: random.Random, data: bytes) -> bytes:
  start, count = _place(rng, data), rng.choice((1, 4, 16, LONGEST_BLOCK))
  return data[:start] + rng.choice((b"\0" * count, rng.randbytes(count))) + data[start:]


def delete(rng: random.Random, data: bytes) -> bytes:
  start, end = _block(rng, data)
  return data[:start] + data[end:]


def duplicate(rng: random.Random, data: bytes) -> bytes:
  start, end = _block(rng, data)
  return data[:end] + data[start:end] * rng.choice((1, 1, 16)) + data[end:]


def swap(rng: random.Random, data: bytes) -> bytes:
  (a, b), (c, d) = sorted((_block(rng, data), _block(rng, data)))
  return data if b > c else data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def number(rng: random.Random, data: bytes) -> bytes:
  """A special number where a length may stand."""
  width, order = rng.choice((1, 2, 4, 4, 8)), rng.choice(("little", "big"))
  start, value = _place(rng, data), rng.choice(NUMBERS) % (1 << 8 * width)
  return data[:start] + value.to_bytes(width, order) + data[start + width:]


def append(rng: random.Random, data: bytes) -> bytes:
  return data + rng.choice((b"\0", b"\n", rng.randbytes(rng.randint(1, LONGEST_BLOCK)), data[-rng.randint(1, LONGEST_BLOCK):]))


BYTES: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "flip_bits": flip_bits, "set_bytes": set_bytes, "truncate": truncate, "insert": insert, "delete": delete, "duplicate": duplicate,
    "swap": swap, "number": number, "append": append}


def binary(rng: random.Random, data: bytes) -> bytes:
  """One change of BYTES, sometimes two or three."""
  for _ in range(rng.choice((1, 1, 1, 2, 3))):
    data = BYTES[rng.choice(list(BYTES))](rng, data) if data else data
  return data


# ---- text ----


def _edit_lines(rng: random.Random, text: str) -> str:
  lines = text.splitlines(keepends=True) or [""]
  at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
  match rng.randrange(5):
    case 0:
      lines[at] = ""
    case 1:
      lines[at] *= 2
    case 2:
      lines[at], lines[other] = lines[other], lines[at]
    case 3:
      lines[at] = lines[at].rstrip("\r\n")
    case _:
      lines[at] = lines[other]
  return "".join(lines)


def _edit_token(rng: random.Random, text: str) -> str:
  start = rng.randrange(len(text) + 1)
  return text[:start] + rng.choice(TOKENS) + text[start + rng.choice((0, 0, 1, 3)):]


def _edit_word(rng: random.Random, text: str) -> str:
  """Replaces a word by a special one or by another of the same text; words end where letters and digits do."""
  words, inside = [], False
  for place, letter in enumerate(text):
    if letter.isalnum() and not inside:
      words.append([place, place])
    inside = letter.isalnum()
    if inside:
      words[-1][1] = place + 1
  if not words:
    return text
  (start, end), (first, last) = rng.choice(words), rng.choice(words)
  return text[:start] + (rng.choice(TOKENS) if rng.random() < 0.5 else text[first:last]) + text[end:]


TEXTS: tuple[Callable[[random.Random, str], str], ...] = (_edit_lines, _edit_token, _edit_word)


def text(rng: random.Random, data: bytes) -> bytes:
  """One to three edits of a UTF-8 text, or a change of its bytes."""
  if rng.random() < 0.2:
    return binary(rng, data)
  written = data.decode("utf-8", "surrogateescape")
  for _ in range(rng.choice((1, 1, 1, 2, 3))):
    written = rng.choice(TEXTS)(rng, written)
  return written.encode("utf-8", "surrogateescape")


# ---- JSON ----


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
  """(container, key) of every value."""
  for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
    found.append((value, key))
    _places(inner, found)
  return found


def json_values(rng: random.Random, data: bytes) -> bytes:
  """A JSON text with one to three values replaced, removed, renamed or repeated, as whoever edits by hand or program does."""
  content = json.loads(data)
  for _ in range(rng.choice((1, 1, 1, 2, 3))):
    places = _places(content, [])
    if not places:
      break
    container, key = rng.choice(places)
    _edit_value(rng, container, key, places)
  return json.dumps(content, indent=1).encode()


def _edit_value(rng: random.Random, container: Any, key: Any, places: list[tuple[Any, Any]]) -> None:
  match rng.randrange(5):
    case 0:
      del container[key]
    case 1:
      other, there = rng.choice(places)
      container[key] = json.loads(json.dumps(other[there]))
    case 2 if isinstance(container, list):
      container.insert(key, json.loads(json.dumps(container[key])))
    case 2:
      container[str(rng.choice(VALUES))] = container.pop(key)
    case _:
      container[key] = json.loads(json.dumps(rng.choice(VALUES)))  # a copy: the next edit may change it
