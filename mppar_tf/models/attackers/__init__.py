"""f^P: privacy attackers on single frames. `ATTACKERS[name](outputs=..., crop=..., size=..., seed=...)` -> keras.Model."""

from functools import partial

from mppar_tf.models.attackers import mobilenet_v2

ATTACKERS = {
    "mobilenet_v2_0.35": partial(mobilenet_v2.build, width=0.35),
    "mobilenet_v2_0.5": partial(mobilenet_v2.build, width=0.5),
    "mobilenet_v2_0.6": partial(mobilenet_v2.build, width=0.6),
    "mobilenet_v2_0.75": partial(mobilenet_v2.build, width=0.75),
    "mobilenet_v2_0.9": partial(mobilenet_v2.build, width=0.9),
    "mobilenet_v2_1.0": partial(mobilenet_v2.build, width=1.0),
    "mobilenet_v2_1.3": partial(mobilenet_v2.build, width=1.3),
    "mobilenet_v2_1.4": partial(mobilenet_v2.build, width=1.4),
}
