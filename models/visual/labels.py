"""Names of the ImageNet classes: the common one of WordNet's lemmas, told apart where two classes share it."""

import csv
from functools import cache
from importlib.resources import files


@cache
def imagenet_labels() -> tuple[str, ...]:
    """The 1,000 classes' names, in the order of the scores; unique."""
    table = files("models.visual").joinpath("imagenet_classes.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(table.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return tuple(row["name"] for row in rows)
