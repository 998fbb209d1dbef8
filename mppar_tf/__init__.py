"""mppar_tf: privacy-preserving action recognition by meta-learning, from video records to the camera.

Nothing heavy is imported here: `mppar_tf.camera` must start on a device that has no TensorFlow.
"""

import importlib
import os

__version__ = "0.1.0"

# Keras reads its backend once, at its first import; every room below relies on TensorFlow.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

_PUBLIC = {
    "Batch": "mppar_tf.types",
    "Clips": "mppar_tf.types",
    "Episode": "mppar_tf.types",
    "Private": "mppar_tf.types",
    "Method": "mppar_tf.methods.contract",
    "meta_gradient": "mppar_tf.metagrad",
    "CameraAnonymizer": "mppar_tf.camera",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name):
  if name in _PUBLIC:
    return getattr(importlib.import_module(_PUBLIC[name]), name)
  raise AttributeError(f"module 'mppar_tf' has no attribute {name!r}; public names: {', '.join(__all__)}")


def __dir__():
  return sorted(list(globals()) + __all__)
