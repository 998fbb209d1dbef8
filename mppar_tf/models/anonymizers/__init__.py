"""f^D: image-to-image networks that run on the camera. `ANONYMIZERS[name](size=..., width=..., seed=...)` -> keras.Model."""

from mppar_tf.models.anonymizers import johnson

ANONYMIZERS = {
    "johnson": johnson.build,
}
