"""Protocol A: novel attributes and novel attackers (MPPAR, table 1)."""

from mppar_tf.protocols.contract import Protocol

TRAINING_ATTACKERS = tuple(f"mobilenet_v2_{width}" for width in ("0.35", "0.5", "0.6", "0.75", "0.9", "1.0", "1.3", "1.4"))
TEST_ATTACKERS = ("resnet_v1_50", "resnet_v1_101", "resnet_v2_50", "resnet_v2_101", "inception_v1", "inception_v2",
                  "mobilenet_v1_0.25", "mobilenet_v1_0.5", "mobilenet_v1_0.75", "mobilenet_v1_1.0")

PROTOCOL = Protocol(
    name="a", meaning="novel privacy attributes and novel attack models",
    training_attackers=TRAINING_ATTACKERS, test_attackers=TEST_ATTACKERS, novel_attackers=True, novel_attributes=True,
    shift="alternate", task="attributes")
