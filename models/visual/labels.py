"""Names of the ImageNet classes: the common one of WordNet's lemmas, made distinct where classes share it.

This module imports next to nothing, because the start of the command line reads it.
"""

import csv
from functools import cache
from importlib.resources import files
from typing import Final

ACCURACY: Final = 0.9
"""Accuracy of best labels if nothing else is asked for; see `models.visual.hedging`."""


@cache
def imagenet_labels() -> tuple[str, ...]:
    """Return the names of the 1,000 classes in the order of the scores; they are unique."""
    table = files("models.visual").joinpath("imagenet_classes.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(table.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return tuple(row["name"] for row in rows)
