"""Protocols by name: what is known in training and what is novel at test time."""

from mppar_tf.protocols import a, identity

PROTOCOLS = {"a": a.PROTOCOL, "identity": identity.PROTOCOL}
