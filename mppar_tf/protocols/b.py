"""Protocol B: novel attributes, the attack model of training with fresh weights (MPPAR, table 2)."""

from mppar_tf.protocols.contract import Protocol

ATTACKERS = ("resnet_v1_50",)

PROTOCOL = Protocol(
    name="b", meaning="novel privacy attributes, attack models of known architecture",
    training_attackers=ATTACKERS, test_attackers=ATTACKERS, novel_attackers=False, novel_attributes=True,
    shift="attributes", task="attributes")
