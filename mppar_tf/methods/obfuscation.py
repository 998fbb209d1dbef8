"""Obfuscation without learning: people, or their faces, are blurred or blackened where a record says that they are.

VITA's {box, segmentation} x {blur, blackening} x {face, body}, and SPAct's blackening, strong and weak blur of detected persons. The frames
are obfuscated as they are read (`mppar_tf.data.obfuscation`): regions belong to whole frames of a record, which a network never sees.
Whoever the record does not show as a region stays visible; evaluation counts the frames in which it shows nobody.
"""

from typing import Any

from mppar_tf.data.obfuscation import Obfuscation
from mppar_tf.methods import fixed
from mppar_tf.methods.contract import Method, Networks

BLACKENING, STRONG, WEAK = "blackening", "strong_blur_sigma", "weak_blur_sigma"  # the last two name an option
OBFUSCATIONS = {  # method -> region, part, how
    "box_blackening_face": ("box", "face", BLACKENING),
    "box_blackening_body": ("box", "body", BLACKENING),
    "box_blur_face": ("box", "face", STRONG),
    "box_blur_body": ("box", "body", STRONG),
    "box_weak_blur_body": ("box", "body", WEAK),
    "segmentation_blackening_face": ("segmentation", "face", BLACKENING),
    "segmentation_blackening_body": ("segmentation", "body", BLACKENING),
    "segmentation_blur_face": ("segmentation", "face", STRONG),
    "segmentation_blur_body": ("segmentation", "body", STRONG),
}


def obfuscation_of(method: str, settings: Any) -> Obfuscation | None:
  """What a method hides as frames are read; None for every other method. `settings`: `mppar_tf.options.TrainOptions`."""
  if method not in OBFUSCATIONS:
    return None
  region, part, how = OBFUSCATIONS[method]
  return Obfuscation(region, part, 0.0 if how == BLACKENING else getattr(settings, how))


def build(networks: Networks, settings: Any) -> Method:
  """f^A alone learns, on frames that come obfuscated."""
  return fixed.assemble(networks, settings, None,
                        "it needs a detector and the records' regions: there is no network to export, and whom a detector misses is seen")


BUILDERS = dict.fromkeys(OBFUSCATIONS, build)
