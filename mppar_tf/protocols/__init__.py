"""Protocols by name: what is known in training and what is novel at test time."""

from mppar_tf.protocols import a, b, c, d, identity

PROTOCOLS = {
    "a": a.PROTOCOL,
    "b": b.PROTOCOL,
    "c": c.PROTOCOL,
    "d": d.PROTOCOL,
    "identity": identity.PROTOCOL,
}
