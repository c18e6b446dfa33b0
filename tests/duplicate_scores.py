"""Compares what `reelbeam duplicates` found with what the files of `tests.duplicate_clips` share."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.duplicate_clips import Copy, File, shared, wanted


@dataclass
class Scores:
    """Counts of stretches. A found one is right if a shared stretch is there, and ignored if that is not asked for."""

    right: int = 0
    wrong: list[dict[str, Any]] = field(default_factory=list)
    ignored: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    missed: list[Copy] = field(default_factory=list)

    @property
    def precision(self) -> float:
        return self.right / max(1, self.right + len(self.wrong))

    @property
    def recall(self) -> float:
        return self.found.total() / max(1, self.asked.total())


def scores_of(table: pa.Table, files: Sequence[File]) -> Scores:
    """Judges the rows of `duplicates`; repeated footage counts as not found."""
    rows = [_in_order(row) for row in table.to_pylist() if row["kind"] != "repeated"]
    true = shared(files)
    asked = wanted(true)
    scores = Scores()
    for copy in asked:
        kind = _treatments(copy)
        scores.asked.update(kind)
        if any(_is(copy, row) for row in rows):
            scores.found.update(kind)
        else:
            scores.missed.append(copy)
    for row in rows:
        if any(_is(copy, row) for copy in asked):
            scores.right += 1
        elif any(_touches(copy, row) for copy in true):
            scores.ignored += 1
        else:
            scores.wrong.append(row)
    return scores


def _treatments(copy: Copy) -> tuple[str]:
    """The pair's treatments by name: what was done to the original, or ``copies of each other``."""
    ways = [name.partition("-")[2] for name in (copy.one, copy.other)]
    done = [way for way in ways if way]
    return (done[0],) if len(done) == 1 else ("copies of each other",)


def _in_order(row: dict[str, Any]) -> dict[str, Any]:
    sides = sorted(
        (Path(row[f"{side}_uri"]).stem, row[f"{side}_start_s"], row[f"{side}_end_s"]) for side in ("one", "other")
    )
    return {**row, "names": (sides[0][0], sides[1][0]), "at": (*sides[0][1:], (sides[1][1] + sides[1][2]) / 2)}


def _is(copy: Copy, row: dict[str, Any]) -> bool:
    return row["names"] == (copy.one, copy.other) and copy.is_at(*row["at"])


def _touches(copy: Copy, row: dict[str, Any]) -> bool:
    return row["names"] == (copy.one, copy.other) and copy.touches(*row["at"])
