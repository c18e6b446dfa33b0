"""A hierarchy of labels: scores of classes rolled up to what they are kinds of.

parent,child
vehicle,train
vehicle,truck
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads.errors import LabelsError

Floats = NDArray[np.floating[Any]]


def read_hierarchy(path: Path) -> dict[str, str]:
    """Child -> parent.

    Raises:
        LabelsError: it cannot be read, a child has two parents, or a label is above itself.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not {"parent", "child"} <= set(reader.fieldnames or []):
                raise LabelsError(f"{path} needs the columns parent and child")
            rows = [(row["child"].strip(), row["parent"].strip()) for row in reader]
    except OSError as error:
        raise LabelsError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabelsError(f"{path} is no CSV in UTF-8: {error}") from error
    parents: dict[str, str] = {}
    for child, parent in rows:
        if parents.setdefault(child, parent) != parent:
            raise LabelsError(f"{path}: {child!r} has two parents, {parents[child]!r} and {parent!r}")
    for child in parents:
        root_of(child, parents)
    return parents


def root_of(label: str, parents: Mapping[str, str]) -> str:
    """The topmost label above one; itself where nothing is.

    Raises:
        LabelsError: it is above itself.
    """
    seen = [label]
    while seen[-1] in parents:
        seen.append(parents[seen[-1]])
        if seen[-1] in seen[:-1]:
            raise LabelsError(f"the hierarchy goes round: {' is a '.join(seen)}")
    return seen[-1]


def roll_up(
    labels: Sequence[str], scores: Floats, parents: Mapping[str, str], multi_label: bool
) -> tuple[tuple[str, ...], Floats]:
    """(topmost labels, their scores [n, R]) of scores [n, L].

    A score is the sum of those below it where classes exclude each other; where they do not, the chance that any of
    them is there if they were independent.
    """
    roots = [root_of(label, parents) for label in labels]
    names = tuple(sorted(set(roots)))
    below = np.array([[root == name for root in roots] for name in names])
    if multi_label:
        return names, np.stack([1 - np.prod(1 - scores[:, columns], axis=1) for columns in below], axis=1)
    return names, np.stack([scores[:, columns].sum(axis=1) for columns in below], axis=1)
