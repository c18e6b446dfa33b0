"""Chooses which neighbouring runs and packs of a catalog to merge into one pack."""

from collections.abc import Sequence
from typing import Final, NamedTuple

MOST_SMALL: Final = 16
"""Small runs and packs beside each other that a night leaves as they are. On a local disk each costs an idle night or
`status` 1 to 2 ms of CPU (docs/measurements.md), on an object store three requests of some 0.1 s: 5 s for all."""

PIECE_BYTES: Final = 1 << 30
"""Bytes of files that are merged at once, at most: so much does a night copy in addition to its work, about once in
`MOST_SMALL` nights. A pack of more is as cheap to read as its rows are."""

SUPERSEDED_SHARE: Final = 0.05
"""Share of superseded outcomes from which a run or pack that has no small neighbour is written again without them."""


class Weight(NamedTuple):
    """What decides whether a run or a pack is merged.

    Attributes:
        size_bytes: size of its files.
        superseded: number of its outcomes that later runs superseded.
        outcomes: number of all its outcomes.
    """

    size_bytes: int
    superseded: int = 0
    outcomes: int = 0


def piece_of_a_night(sizes_bytes: Sequence[int], most_small: int = MOST_SMALL) -> range:
    """Returns the places of what a night merges; empty while there is little to merge.

    Args:
        sizes_bytes: of the runs and packs, oldest first, without the newest run, which is never merged.
        most_small: number of small ones that stay as they are.
    """
    first, total_bytes = len(sizes_bytes), 0
    while first and total_bytes + sizes_bytes[first - 1] <= PIECE_BYTES:
        first -= 1
        total_bytes += sizes_bytes[first]
    return range(first, len(sizes_bytes)) if len(sizes_bytes) - first > most_small else range(0)


def all_pieces(weights: Sequence[Weight]) -> list[range]:
    """Returns the places of all that `reelbeam compact` merges, in pieces of at most `PIECE_BYTES`, oldest first.

    A run or pack without a small neighbour is a piece of its own if many of its rows are superseded.

    Args:
        weights: of the runs and packs, oldest first, without the newest run.
    """
    stretches: list[range] = []
    total_bytes = 0
    for place, weight in enumerate(weights):
        total_bytes += weight.size_bytes
        if stretches and total_bytes <= PIECE_BYTES:
            stretches[-1] = range(stretches[-1].start, place + 1)
        else:
            stretches.append(range(place, place + 1))
            total_bytes = weight.size_bytes
    return [stretch for stretch in stretches if len(stretch) > 1 or _is_worth_it(weights[stretch[0]])]


def _is_worth_it(weight: Weight) -> bool:
    return weight.superseded > 0 and weight.superseded >= SUPERSEDED_SHARE * weight.outcomes
