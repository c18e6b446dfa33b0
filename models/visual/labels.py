"""Names of the ImageNet classes: WordNet's first lemma of each, told apart where two are the same."""

import csv
from functools import cache
from importlib.resources import files


@cache
def imagenet_labels() -> tuple[str, ...]:
    """The 1,000 classes' names, in the order of the scores; unique."""
    text = files("models.visual").joinpath("imagenet_labels.tsv").read_text(encoding="utf-8")
    rows = [row[2].split(", ") for row in csv.reader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)]
    firsts = [lemmas[0] for lemmas in rows]
    names: list[str] = []
    for lemmas in rows:
        name = lemmas[0]
        if firsts.count(name) > 1 or name in names:
            name = f"{name} ({lemmas[1]})" if len(lemmas) > 1 else name
        number = 2
        while name in names:
            name = f"{lemmas[0]} ({number})"
            number += 1
        names.append(name)
    return tuple(names)
