"""The tuning of each method's recipe on the embedded benchmark, at most four short runs each, as many as the baselines had. Literal data.

On validation clips and images, against fresh attackers of the training architectures and known attributes alone: nothing of the test.
"""

from mppar_tf.tables.contract import Row, Table

RESTARTING = "--restart_every=100"


def tried(method: str, *settings: tuple[str, tuple[str, ...]]) -> tuple[Row, ...]:
  """A method's rows: what is changed, in words and in flags."""
  return tuple(Row(f"{method}, {words}", (f"--method={method}", *flags)) for words, flags in settings)


ENTROPY = tried("entropy", *((f"gamma {gamma}, restarting", (f"--gamma={gamma}", RESTARTING)) for gamma in (36, 100, 300)))
SPACT = tried("spact", *((f"weight {weight:g}, f^B at {rate:g}", (f"--budget_weight={weight:g}", f"--budget_lr={rate:g}"))
                         for weight, rate in ((1, 1e-4), (4, 1e-4), (16, 1e-4), (4, 1e-3))))
BDQ = tried("bdq", *((f"weight {weight}, beta {beta:g}", (f"--entropy_weight={weight}", f"--beta={beta:g}"))
                     for weight, beta in ((2, 1e-3), (8, 1e-3), (8, 1e-2), (32, 1e-2))))

TABLES = {
    "tuning": Table("Tuning on validation data", "", None, "a", ("twin",), (*ENTROPY, *SPACT, *BDQ), judging=("--judged_split=validation",),
                    note="Taken of each method: the largest action top-1 less known cMAP. The adversarial baselines and mppar were tuned "
                         "before, alike: results/twin_tuning."),
}
