"""Protocol C: the attributes of training, novel attackers (MPPAR, table 3)."""

from mppar_tf.protocols.a import TEST_ATTACKERS, TRAINING_ATTACKERS
from mppar_tf.protocols.contract import Protocol

PROTOCOL = Protocol(
    name="c", meaning="known privacy attributes, novel attack models",
    training_attackers=TRAINING_ATTACKERS, test_attackers=TEST_ATTACKERS, novel_attackers=True, novel_attributes=False,
    shift="models", task="attributes")
