"""Figures of VITA (Wu et al., TPAMI 2020). Literal data."""

from mppar_tf.tables.contract import Row, Table

IDENTITY = ("ixmas_identity", "sbu")
# As many training attackers as the largest ensemble, as the protocol has them, for every row: all share one initialisation.
EIGHT = ("--training_attackers=mobilenet_v2_0.35,mobilenet_v2_0.5,mobilenet_v2_0.6,mobilenet_v2_0.75,mobilenet_v2_0.9,mobilenet_v2_1.0,"
         "mobilenet_v2_1.3,mobilenet_v2_1.4", "--attacker_batch=8")  # eight with 8 clips each cost what three with 24 would
# VITA restarts every 100 of its 800 updates; the small real sets have 200.
RESTARTING = {"ixmas_identity": ("--restart_every=50",)}
SIZES = (1, 2, 4, 8)

GRL = Row("grl", ("--method=grl", "--restart_every=0"))
ROWS = (Row("raw", ("--method=raw",)), GRL) + tuple(
    row for method, letter in (("k_beam", "K"), ("entropy", "M")) for size in SIZES for row in (
        Row(f"{method}, {letter}={size}", (f"--method={method}", f"--ensemble={size}", "--restart_every=0")),
        Row(f"{method}, {letter}={size}, restarting", (f"--method={method}", f"--ensemble={size}", "--restart_every=100"), None,
            RESTARTING)))

TABLES = {
    "vita": Table("VITA's trade-off, and what restarting and ensembles bring", "VITA 2020", None, "identity", IDENTITY, ROWS,
                  {"ixmas_identity": EIGHT}),
}
