"""A hierarchy of labels: rolls scores of classes up to their topmost parents.

The table is CSV::

    parent,child
    vehicle,train
    vehicle,truck
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.heads.errors import LabelsError
from models.suggestions import suggest

Floats = NDArray[np.floating[Any]]


def parse_hierarchy(data: bytes, path: str) -> dict[str, str]:
    """Parse a hierarchy; returns the parent of each child.

    Args:
        data: The bytes of the table.
        path: Where the table was read; for messages.

    Raises:
        LabelsError: The table is not a hierarchy, a child has two parents, or a label is its own ancestor.
    """
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        if not {"parent", "child"} <= set(reader.fieldnames or []):
            raise LabelsError(f"{path} needs the columns parent and child")
        rows = [(row["child"].strip(), row["parent"].strip()) for row in reader]
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
    """Find the topmost ancestor of a label; a label without parent is its own.

    Raises:
        LabelsError: The label is its own ancestor.
    """
    return (label, *ancestors_of(label, parents))[-1]


def ancestors_of(label: str, parents: Mapping[str, str]) -> tuple[str, ...]:
    """Return the ancestors of a label, its parent first; none for a label without parent.

    Raises:
        LabelsError: The label is its own ancestor.
    """
    seen = [label]
    while seen[-1] in parents:
        seen.append(parents[seen[-1]])
        if seen[-1] in seen[:-1]:
            raise LabelsError(f"the hierarchy goes round: {' is a '.join(seen)}")
    return tuple(seen[1:])


def check_names(parents: Mapping[str, str], labels: Sequence[str], path: str) -> None:
    """Check that a hierarchy belongs to a model's classes: each name without children is one of them.

    Args:
        parents: The parent of each child.
        labels: The model's classes.
        path: Where the table was read; for the message.

    Raises:
        LabelsError: A name is no class and has no children, or the table has no rows.
    """
    if not parents:
        raise LabelsError(f"{path} has no rows")
    unknown = sorted(set(parents) - set(parents.values()) - set(labels))
    if unknown:
        near = suggest(unknown[0], labels)
        hint = f"; did you mean {', '.join(map(repr, near))}?" if near else ""
        raise LabelsError(f"{path}: {unknown[0]!r} is no class of the model and the parent of none{hint}")


def roll_up(
    labels: Sequence[str], scores: Floats, parents: Mapping[str, str], multi_label: bool
) -> tuple[tuple[str, ...], Floats]:
    """Roll scores [n, L] up to the topmost labels; returns these labels, sorted, and their scores [n, R].

    Where classes exclude each other a score is the sum of those below it. Where they are independent it is the
    probability that at least one of them is present.

    Raises:
        LabelsError: A label is its own ancestor.
    """
    roots = [root_of(label, parents) for label in labels]
    names = tuple(sorted(set(roots)))
    below = np.array([[root == name for root in roots] for name in names])
    if multi_label:
        return names, np.stack([1 - np.prod(1 - scores[:, columns], axis=1) for columns in below], axis=1)
    return names, np.stack([scores[:, columns].sum(axis=1) for columns in below], axis=1)
