"""Identity as the private label: a closed set of subjects, novel attackers (SBU after VITA, KTH after BDQ, IXMAS)."""

from mppar_tf.protocols.a import TEST_ATTACKERS, TRAINING_ATTACKERS
from mppar_tf.protocols.contract import Protocol

PROTOCOL = Protocol(
    name="identity", meaning="the subject's identity, closed set, novel attack models",
    training_attackers=TRAINING_ATTACKERS, test_attackers=TEST_ATTACKERS, novel_attackers=True, novel_attributes=False,
    shift="alternate", task="identity")
