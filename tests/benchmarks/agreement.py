"""Whether two programs took the same frames and gave them the same labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds

from transforms.storage import path_of_uri

SURE = 0.3
"""A best score from which a label is hardly a matter of the last digit."""

Rows = dict[tuple[str, float], tuple[str, float, np.ndarray]]
"""(path, seconds) -> (best label, its score, embedding)."""


@dataclass(frozen=True)
class Agreement:
    """How a program's rows compare with this project's.

    Attributes:
        frames: rows of the other program.
        missing: frames of ours that it does not have, a few of them.
        extra: frames that only it has, a few of them.
        same_label: share of common frames with the same best label.
        same_label_where_sure: the same where our score is at least `SURE`.
        largest_difference: largest difference of an embedding's numbers, as a share of the largest number.
    """

    frames: int
    missing: list[tuple[str, float]]
    extra: list[tuple[str, float]]
    same_label: float
    same_label_where_sure: float
    largest_difference: float

    @property
    def same_frames(self) -> bool:
        """Whether exactly the same frames were taken."""
        return not self.missing and not self.extra

    def cells(self) -> list[str]:
        """For a table: frames, same labels, the same where sure."""
        frames = f"{self.frames}" if self.same_frames else f"{self.frames}, OTHERS: {[*self.missing, *self.extra]}"
        return [frames, f"{self.same_label:.2%}", f"{self.same_label_where_sure:.2%}"]


def read_reelbeam(catalog: Path) -> Rows:
    """The frames of a catalog with one run."""
    table = ds.dataset(sorted(catalog.glob("frames/run=2*/*.parquet"))).to_table(
        ["uri", "time_s", "labels", "embedding"]
    )
    best = [labels[0] for labels in table["labels"].to_pylist()]
    vectors = table["embedding"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    keys = zip(map(path_of_uri, table["uri"].to_pylist()), table["time_s"].to_pylist(), strict=True)
    return {
        (path, round(time_s, 3)): (one["label"], one["score"], vector)
        for (path, time_s), one, vector in zip(keys, best, vectors, strict=True)
    }


def read_rows(where: Path) -> Rows:
    """The rows of a peer: one Parquet file, or a folder of them."""
    table = ds.dataset(str(where), format="parquet").to_table()
    columns = (table[name].to_pylist() for name in ("uri", "time_s", "label", "score"))
    vectors = [np.asarray(value.values) for value in table["embedding"]]
    return {
        (path, round(time_s, 3)): (label, score, vector)
        for path, time_s, label, score, vector in zip(*columns, vectors, strict=True)
    }


def compare(ours: Rows, theirs: Rows) -> Agreement:
    """Their rows beside ours."""
    common = sorted(ours.keys() & theirs.keys())
    same = np.array([ours[key][0] == theirs[key][0] for key in common])
    sure = np.array([ours[key][1] >= SURE for key in common])
    mine, other = (np.stack([rows[key][2] for key in common]) for rows in (ours, theirs))
    return Agreement(
        len(theirs),
        sorted(ours.keys() - theirs.keys())[:5],
        sorted(theirs.keys() - ours.keys())[:5],
        float(same.mean()),
        float(same[sure].mean()) if sure.any() else 1.0,
        float(np.abs(mine - other).max() / np.abs(mine).max()),
    )
