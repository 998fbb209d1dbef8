"""The papers' tables by name: `TABLES[name]` is literal data; adding one is an entry in the file of its paper."""

from mppar_tf.tables import anonymizers, mppar, pilot, tuning, vita

TABLES = {**mppar.TABLES, **vita.TABLES, **pilot.TABLES, **tuning.TABLES, **anonymizers.TABLES}
