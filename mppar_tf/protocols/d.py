"""Protocol D: the attributes of training, and its attack model with fresh weights (MPPAR, table 4)."""

from mppar_tf.protocols.b import ATTACKERS
from mppar_tf.protocols.contract import Protocol

PROTOCOL = Protocol(
    name="d", meaning="known privacy attributes, attack models of known architecture",
    training_attackers=ATTACKERS, test_attackers=ATTACKERS, novel_attackers=False, novel_attributes=False,
    shift="attributes", task="attributes")
