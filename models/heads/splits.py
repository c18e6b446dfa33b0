"""Splits examples into a training and a validation part; all examples of a group are in one of them."""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from models.heads.errors import LabelsError

ATTEMPTS = 20
"""Number of shuffles among which the best split is chosen."""


def validation_split(
    targets: NDArray[np.float32],
    groups: Sequence[str],
    splits: Sequence[str],
    *,
    labels: Sequence[str] | None = None,
    fraction: float = 0.2,
    seed: int = 0,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split the examples as the table says, else by groups so that classes stay in proportion.

    Examples of the split ``test`` are in neither part.

    Args:
        targets: float32 [n, L]: 1 where an example is of a class, else 0.
        groups: For each example the group that must not straddle.
        splits: For each example ``train``, ``val``, ``test`` or "".
        labels: Names of the classes, for messages; by default they are numbered.
        fraction: Share of the examples to validate on, if the table names none.
        seed: Of what is drawn.

    Returns:
        Indices of the training part and of the validation part, int64.

    Raises:
        LabelsError: No such split is possible.
    """
    named = np.asarray(splits)
    usable = np.flatnonzero(named != "test")
    if (named == "val").any():
        train, val = usable[named[usable] != "val"], usable[named[usable] == "val"]
    else:
        train, val = _drawn(targets, np.asarray(groups), usable, fraction, seed)
    if not len(train) or not len(val):
        raise LabelsError(f"cannot split: the split leaves none to {'validate on' if len(train) else 'learn from'}")
    missing = np.flatnonzero((targets[train].sum(axis=0) == 0) & (targets[usable].sum(axis=0) > 0))
    if len(missing):
        k = int(missing[0])
        own = sorted({str(group) for group in np.asarray(groups)[usable[targets[usable, k] > 0]]})
        raise LabelsError(_one_sided(repr(labels[k]) if labels else f"class {k}", own))
    return train, val


def _one_sided(label: str, groups: Sequence[str]) -> str:
    """Say of a class, all of whose examples are kept for validation, what to do about it."""
    where = f"in the group {groups[0]!r}" if len(groups) == 1 else "kept for validation"
    remedy = f"label {label} in another group, or name the split of each row"
    return f"cannot split: every example of {label} is {where}; {remedy}"


def linked_groups(groups: Sequence[str], *others: Sequence[str]) -> list[str]:
    """Join groups in which two examples share a key of `others` (for example exact copies).

    Args:
        groups: The group of each example.
        others: More keys of each example; each argument is one kind of key.

    Returns:
        The name of each example's joined group.
    """
    known: dict[tuple[int, str], int] = {}
    columns = [
        [known.setdefault((kind, key), len(known)) for key in keys] for kind, keys in enumerate((groups, *others))
    ]
    edges = [edge for column in columns for edge in zip(columns[0], column, strict=True)]
    links = coo_array((np.ones(len(edges)), tuple(np.array(edges).T)), shape=(len(known), len(known)))
    _, component = connected_components(links, directed=False)
    # The last group of a component names it: `dict.fromkeys` keeps the order in which the groups first occur.
    names = {component[node]: group for group, node in dict.fromkeys(zip(groups, columns[0], strict=True))}
    return [names[component[node]] for node in columns[0]]


def _drawn(
    targets: NDArray[np.float32], groups: NDArray[np.str_], usable: NDArray[np.int64], fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    from sklearn.model_selection import StratifiedGroupKFold

    strata = _strata(targets[usable])
    count = len(np.unique(groups[usable]))
    if count < 2:
        raise LabelsError(
            f"cannot split: every example is in the group {groups[usable][0]!r}; a validation part needs another group"
        )
    folds = min(max(2, round(1 / fraction)), count, int(np.bincount(strata).max()))
    if folds < 2:
        raise LabelsError("cannot split: every class has one example; label more, or name the split of each row")
    best: tuple[float, NDArray[np.int64], NDArray[np.int64]] | None = None
    for attempt in range(ATTEMPTS):
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed + attempt)
        with warnings.catch_warnings():
            # scikit-learn warns of classes with fewer examples than folds; `_badness` rates such splits lower.
            warnings.simplefilter("ignore", UserWarning)
            drawn = list(splitter.split(usable, strata, groups[usable]))
        for train, val in drawn:
            badness = _badness(targets[usable[train]], targets[usable[val]], fraction)
            if best is None or badness < best[0]:
                best = badness, usable[train], usable[val]
    assert best is not None
    return best[1], best[2]


def _strata(targets: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return for each example a class to stratify by: its rarest one."""
    rarity = np.where(targets > 0, 1 / np.maximum(targets.sum(axis=0), 1), 0)
    return rarity.argmax(axis=1)


def _badness(train: NDArray[np.float32], val: NDArray[np.float32], fraction: float) -> float:
    """Rate a split; lower is better.

    Classes missing from the training part weigh most, then those missing from validation, then the proportions.
    """
    trained, validated = train.sum(axis=0), val.sum(axis=0)
    share = validated / np.maximum(trained + validated, 1)
    return float(100 * (trained == 0).sum() + 10 * (validated == 0).sum() + np.abs(share - fraction).mean())
