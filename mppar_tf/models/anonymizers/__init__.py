"""f^D: image-to-image networks that run on the camera. `ANONYMIZERS[name](size=..., width=..., seed=...)` -> keras.Model."""

from functools import partial

from mppar_tf.models.anonymizers import compact, johnson, unet

ANONYMIZERS = {
    "compact": compact.build,
    "johnson": johnson.build,
    "unet": unet.build,
    "unet_instance_norm": partial(unet.build, norm="instance"),
}
