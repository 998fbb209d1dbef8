"""f^A: action recognizers. `RECOGNIZERS[name](classes=..., frames=..., crop=..., size=..., width=..., dropout=..., seed=...)` -> keras.Model."""

from mppar_tf.models.recognizers import c3d

RECOGNIZERS = {
    "c3d": c3d.build,
}
