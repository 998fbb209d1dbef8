"""All methods by name: `METHODS[name](networks, settings) -> Method`. Adding one is one file and one line here."""

from mppar_tf.methods import adversarial, entropy, fixed, grl, k_beam, mppar

METHODS = {
    "raw": fixed.build_raw,
    "strong_blur": fixed.build_strong_blur,
    "basic": adversarial.build,
    "basic_equal_data": adversarial.build_equal_data,
    "mppar": mppar.build,
    "grl": grl.build,
    "entropy": entropy.build,
    "k_beam": k_beam.build,
}

WITHOUT_LEARNING = ("raw", "strong_blur")  # no f^D to train: nothing that runs of one seed could share
