"""All methods by name: `METHODS[name](networks, settings) -> Method`. Adding one is one file and one line here."""

from mppar_tf.methods import adversarial, bdq, downsample, entropy, fixed, grl, k_beam, mppar, obfuscation, spact

METHODS = {
    "raw": fixed.build_raw,
    "weak_blur": fixed.build_weak_blur,
    "strong_blur": fixed.build_strong_blur,
    **downsample.BUILDERS,
    **obfuscation.BUILDERS,
    "bdq": bdq.build,
    "spact": spact.build,
    "basic": adversarial.build,
    "basic_equal_data": adversarial.build_equal_data,
    "mppar": mppar.build,
    "grl": grl.build,
    "entropy": entropy.build,
    "k_beam": k_beam.build,
}

# No f^D to train: nothing that runs of one seed could share.
WITHOUT_LEARNING = ("raw", "weak_blur", "strong_blur", *downsample.BUILDERS, *obfuscation.BUILDERS)
# Another f^D, or other competitors: these learn, and start from no other method's initialisation, nor another from theirs.
OWN_INITIALISATION = ("bdq", "spact")
# For these alone --shift decides something: the others' updates draw from all records and all attackers.
SHIFTING = ("mppar",)
