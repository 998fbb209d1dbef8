"""f^D: image-to-image networks that run on the camera. `ANONYMIZERS[name](size=..., width=..., seed=...)` -> keras.Model."""

from functools import partial

from mppar_tf.models.anonymizers import compact, johnson, unet

ANONYMIZERS = {
    "compact": compact.build,
    "compact_plain": partial(compact.build, norm="none"),
    "compact_batch_norm": partial(compact.build, norm="batch"),
    "johnson": johnson.build,
    "unet": unet.build,
    "unet_instance_norm": partial(unet.build, norm="instance"),
}
