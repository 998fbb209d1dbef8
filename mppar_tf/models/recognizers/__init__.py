"""f^A: action recognizers.

`RECOGNIZERS[name](classes=..., frames=..., crop=..., size=..., width=..., dropout=..., seed=...)` -> keras.Model.
"""

from mppar_tf.models.recognizers import c3d, r3d18

RECOGNIZERS = {
    "c3d": c3d.build,
    "r3d18": r3d18.build,
}
