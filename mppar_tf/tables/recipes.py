"""Which flagfile trains and which one judges a cell, and what it needs of the machine. Literal data."""

TRAINING = {  # (protocol, benchmark) -> flagfile of mppar_tf.train
    ("a", "twin"): "protocol_a.flags",
    ("b", "twin"): "protocol_b.flags",
    ("c", "twin"): "protocol_c.flags",
    ("d", "twin"): "protocol_d.flags",
    ("a", "ixmas_utkface"): "protocol_a_ixmas_utkface.flags",
    ("a", "ucf101_vispr"): "protocol_a_ucf101_vispr.flags",
    ("b", "ucf101_vispr"): "protocol_b_ucf101_vispr.flags",
    ("c", "ucf101_vispr"): "protocol_c_ucf101_vispr.flags",
    ("d", "ucf101_vispr"): "protocol_d_ucf101_vispr.flags",
    ("a", "hmdb51_vispr"): "protocol_a_hmdb51_vispr.flags",
    ("b", "hmdb51_vispr"): "protocol_b_hmdb51_vispr.flags",
    ("c", "hmdb51_vispr"): "protocol_c_hmdb51_vispr.flags",
    ("d", "hmdb51_vispr"): "protocol_d_hmdb51_vispr.flags",
    ("identity", "ixmas_identity"): "identity_ixmas.flags",
    ("identity", "sbu"): "identity_sbu.flags",
}

EVALUATION = {  # benchmark -> flagfile of mppar_tf.evaluate; None: the full budget, evaluate's own defaults
    "twin": "evaluation_small.flags",
    "ixmas_utkface": "evaluation_small.flags",
    "ixmas_identity": "evaluation_identity.flags",
    "ucf101_vispr": None,
    "hmdb51_vispr": None,
    "sbu": None,
}

# Memory of one cell by the largest size among its networks: what training and evaluation were seen to hold, rounded up.
GIB = {"tiny": 1.0, "small": 2.0, "paper": 20.0}
