"""Tables of VITA's pilot study (Wu et al., ECCV 2018). Literal data."""

from mppar_tf.data.vocabularies import VISPR_7, VISPR_17
from mppar_tf.tables.contract import Row, Table
from mppar_tf.tables.vita import EIGHT, IDENTITY, RESTARTING

SOURCE = "pilot 2018"
ATTRIBUTES = ("twin", "ucf101_vispr")
FACTORS = (1, 2, 3, 4, 6, 8, 14, 16, 28, 56)
PLAYED, TOO_MANY = (1, 2, 4, 6, 8), (10, 12, 14, 16, 18)
LACKING = "more training attackers than there are architectures that no test attacker is of: eight"
# The pilot's own on SBU, where they are others than VITA's.
ON_SBU = ("--action_threshold=0.9", "--attacker_threshold=0.95", "--l1_weight=1")


def entropy(size: int, restarting: bool) -> Row:
  """The ensemble of M attackers, with or without restarting."""
  label, paper = f"entropy, M={size}{', restarting' * restarting}", f"entropy_{'restart_' * restarting}M{size}"
  if size in TOO_MANY:
    return Row(label, None, paper, lacking=LACKING)
  flags = ("--method=entropy", f"--ensemble={size}", f"--restart_every={100 if restarting else 0}")
  return Row(label, flags, paper, {"ixmas_identity": RESTARTING}) if restarting else Row(label, flags, paper)


TABLES = {
    "pilot1": Table("Naive downsampling against identity", SOURCE, "1", "identity", IDENTITY, tuple(
        Row(f"downsample_{factor}", (f"--method=downsample_{factor}",), f"downsample_{factor}x") for factor in FACTORS)),
    "pilot2": Table("Ensembles of M attackers against identity, without and with restarting", SOURCE, "2", "identity", IDENTITY, tuple(
        entropy(size, restarting) for restarting in (False, True) for size in (*PLAYED, *TOO_MANY)),
                    {"ixmas_identity": EIGHT, "sbu": ON_SBU},
                    note="On SBU f^D's update also holds its output near its input; the weight of that term is not printed, 1 is ours."),
    "pilot3": Table("Ensembles of M attackers against VISPR-17, without and with restarting", SOURCE, "3", "c", ATTRIBUTES, tuple(
        entropy(size, restarting) for restarting in (False, True) for size in (1, 2, 3, 4)),
                    {"ucf101_vispr": (f"--known_attributes={','.join(VISPR_17)}",)},
                    note="On the twin, against its seven known attributes."),
    "pilot4": Table("Ensembles of M attackers against VISPR-7, without and with restarting", SOURCE, "4", "c", ATTRIBUTES, tuple(
        entropy(size, restarting) for restarting in (False, True) for size in (1, 2, 3, 4)),
                    {"ucf101_vispr": (f"--known_attributes={','.join(VISPR_7)}",)},
                    note="On the twin, against its seven known attributes: the cells of pilot3."),
}
