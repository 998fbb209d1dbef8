"""f^P: privacy attackers on single frames. `ATTACKERS[name](outputs=..., crop=..., size=..., seed=...)` -> keras.Model."""

from functools import partial

from mppar_tf.models.attackers import inception, mobilenet_v1, mobilenet_v2, resnet

ATTACKERS = {
    "mobilenet_v2_0.35": partial(mobilenet_v2.build, width=0.35),
    "mobilenet_v2_0.5": partial(mobilenet_v2.build, width=0.5),
    "mobilenet_v2_0.6": partial(mobilenet_v2.build, width=0.6),
    "mobilenet_v2_0.75": partial(mobilenet_v2.build, width=0.75),
    "mobilenet_v2_0.9": partial(mobilenet_v2.build, width=0.9),
    "mobilenet_v2_1.0": partial(mobilenet_v2.build, width=1.0),
    "mobilenet_v2_1.3": partial(mobilenet_v2.build, width=1.3),
    "mobilenet_v2_1.4": partial(mobilenet_v2.build, width=1.4),
    "mobilenet_v1_0.25": partial(mobilenet_v1.build, width=0.25),
    "mobilenet_v1_0.5": partial(mobilenet_v1.build, width=0.5),
    "mobilenet_v1_0.75": partial(mobilenet_v1.build, width=0.75),
    "mobilenet_v1_1.0": partial(mobilenet_v1.build, width=1.0),
    "resnet_v1_50": partial(resnet.build, version=1, depth=50),
    "resnet_v1_101": partial(resnet.build, version=1, depth=101),
    "resnet_v2_50": partial(resnet.build, version=2, depth=50),
    "resnet_v2_101": partial(resnet.build, version=2, depth=101),
    "inception_v1": partial(inception.build, version=1),
    "inception_v2": partial(inception.build, version=2),
}
