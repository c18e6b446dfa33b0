"""Setting a part of the examples aside for validation, so that no group is on both sides."""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.heads.errors import LabelsError

ATTEMPTS = 20
"""Shuffles tried for a split that leaves each class on both sides."""


def validation_split(
    targets: NDArray[np.float32], groups: Sequence[str], splits: Sequence[str], *, fraction: float = 0.2, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices (to learn from, to validate on): as the table says, else groups drawn so that classes stay in proportion.

    Examples of the split ``test`` are in neither.

    Args:
        targets: float32 [n, L], 1 where an example is of a class.
        groups: what must not straddle, for each example.
        splits: ``train``, ``val``, ``test`` or "" for each example.
        fraction: share to validate on, where the table does not say.
        seed: of the drawing.

    Raises:
        LabelsError: no such split is possible.
    """
    named = np.asarray(splits)
    usable = np.flatnonzero(named != "test")
    if (named == "val").any():
        train, val = usable[named[usable] != "val"], usable[named[usable] == "val"]
    else:
        train, val = _drawn(targets, np.asarray(groups), usable, fraction, seed)
    missing = np.flatnonzero((targets[train].sum(axis=0) == 0) & (targets[usable].sum(axis=0) > 0))
    if not len(train) or not len(val) or len(missing):
        raise LabelsError(
            f"{len(missing) or 'all'} classes are in one group each, or the split leaves none to learn from: "
            "label more groups, or name the split of each row"
        )
    return train, val


def linked_groups(groups: Sequence[str], *others: Sequence[str]) -> list[str]:
    """Groups joined wherever two examples share a key of `others` (exact copies, say): each example's joined group."""
    parent: dict[tuple[int, str], tuple[int, str]] = {}

    def find(key: tuple[int, str]) -> tuple[int, str]:
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for keys in zip(groups, *others, strict=True):
        first = find((0, keys[0]))
        for kind, key in enumerate(keys[1:], start=1):
            parent[find((kind, key))] = first
            first = find(first)
    roots = [find((0, group)) for group in groups]
    return [f"{kind}:{key}" for kind, key in roots]


def _drawn(
    targets: NDArray[np.float32], groups: NDArray[np.str_], usable: NDArray[np.int64], fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    from sklearn.model_selection import StratifiedGroupKFold

    strata = _strata(targets[usable])
    count = len(np.unique(groups[usable]))
    if count < 2:
        raise LabelsError(f"all examples are of the group {groups[usable][0]!r}: a validation part needs another group")
    folds = min(max(2, round(1 / fraction)), count, int(np.bincount(strata).max()))
    if folds < 2:
        raise LabelsError("every class has one example: label more, or name the split of each row")
    best: tuple[float, NDArray[np.int64], NDArray[np.int64]] | None = None
    for attempt in range(ATTEMPTS):
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed + attempt)
        with warnings.catch_warnings():
            # Of classes with fewer examples than folds: those that leave them out are judged worse below.
            warnings.simplefilter("ignore", UserWarning)
            drawn = list(splitter.split(usable, strata, groups[usable]))
        for train, val in drawn:
            badness = _badness(targets[usable[train]], targets[usable[val]], fraction)
            if best is None or badness < best[0]:
                best = badness, usable[train], usable[val]
    assert best is not None
    return best[1], best[2]


def _strata(targets: NDArray[np.float32]) -> NDArray[np.int64]:
    """One number an example to stratify by: its rarest class."""
    rarity = np.where(targets > 0, 1 / np.maximum(targets.sum(axis=0), 1), 0)
    return rarity.argmax(axis=1)


def _badness(train: NDArray[np.float32], val: NDArray[np.float32], fraction: float) -> float:
    """Classes missing from the learning part weigh most, then those missing from validation, then the proportions."""
    learned, validated = train.sum(axis=0), val.sum(axis=0)
    share = validated / np.maximum(learned + validated, 1)
    return float(100 * (learned == 0).sum() + 10 * (validated == 0).sum() + np.abs(share - fraction).mean())
