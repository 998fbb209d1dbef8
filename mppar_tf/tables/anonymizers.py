"""What a camera-sized f^D costs in action and in leak: networks from 20 to 400 million multiply-adds, and their 8-bit files. Literal data.

Multiply-adds and milliseconds of each are `mppar_tf.bench --bench_parts=anonymizers`.
"""

from mppar_tf.tables.contract import Row, Table

INT8 = "int8"


def of(*flags: str) -> tuple[str, ...]:
  return ("--method=mppar", *flags)


COMPACT, WIDE = of("--anonymizer=compact"), of("--anonymizer_size=paper", "--anonymizer_width=0.5")

TABLES = {
    "anonymizers": Table("Networks for cameras", "", None, "a", ("twin", "ixmas_utkface"), (
        Row("johnson/small", of()),
        Row("johnson/small, int8 file", of(), variant=INT8),
        Row("johnson/small:2", of("--anonymizer_width=2")),
        Row("compact/small", COMPACT),
        Row("compact/small, int8 file", COMPACT, variant=INT8),
        Row("unet/small", of("--anonymizer=unet")),
        Row("johnson/paper:0.5", WIDE),
    ), reference="johnson/small", note="NAME/SIZE:WIDTH as in mppar_tf.bench; an int8 file is one of the same training. All have the "
                                   "recipe that was tuned for johnson/small."),
    # One recipe puts each network at another place between action and leak. With one attacker's round for each update of f^D johnson/small
    # is known from the tuning on validation clips to give up more action and to leak less, as the dearer network does with two.
    "anonymizers_frontier": Table("A camera's network that gives up more action, beside a dearer one", "", None, "a", ("twin",), (
        Row("johnson/small", of()),
        Row("johnson/small, one attackers' round", of("--max_attacker_rounds=1")),
        Row("johnson/paper:0.5", WIDE),
    ), reference="johnson/paper:0.5"),
}
