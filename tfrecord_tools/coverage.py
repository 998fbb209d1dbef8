"""How many frames of a split show a face or a person, by the boxes that their records carry: whom a detector misses is counted here."""

from typing import Any, NamedTuple

NAMES = {"face_boxes": "face", "body_boxes": "person"}


class Coverage(NamedTuple):
  """Of one kind of boxes in one split."""
  frames: int  # of the records that tell of such boxes
  without: int  # of these, frames with none


def coverage(opened: Any) -> dict[str, Coverage]:
  """One pass over an opened split (records.Split) that decodes no picture; a key for each kind of boxes that its first record has."""
  from mppar_tf.data import records, schema
  header, found = opened.manifest.header, {}
  for number, (_, serialized) in enumerate(records.read(opened).as_numpy_iterator()):
    for key in schema.BOXES if number == 0 else list(found):
      boxes = schema.regions(serialized, header, key)
      if boxes is not None:
        before = found.get(key, Coverage(0, 0))
        found[key] = Coverage(before.frames + len(boxes), before.without + sum(not len(one) for one in boxes))
    if not found:
      return {}
  return found


def words(found: dict[str, Coverage]) -> str:
  """One line; "" where nothing is known."""
  return ", ".join(f"{one.without} of {one.frames} frames without a {NAMES[key]}" for key, one in found.items())
