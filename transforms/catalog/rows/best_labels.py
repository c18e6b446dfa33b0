"""Gives stored frames their best labels, from their stored labels."""

from typing import Any

import pyarrow as pa

from models.visual.hedging import BestLabel, Hedger


def with_best_labels(rows: pa.Table, hedger: Hedger) -> pa.Table:
    """Returns rows of `frames` with the columns ``best_label`` and ``best_label_score`` of their ``labels``.

    Args:
        rows: rows of `frames`; what stands in the two columns is replaced.
        hedger: chooses the best label of a frame.
    """
    found = [
        as_columns(hedger.best((one["label"], one["score"]) for one in pairs)) for pairs in rows["labels"].to_pylist()
    ]
    for name, kind in (("best_label", pa.string()), ("best_label_score", pa.float32())):
        column = pa.array([one[name] for one in found], kind)
        index = rows.schema.get_field_index(name)
        rows = rows.append_column(name, column) if index < 0 else rows.set_column(index, name, column)
    return rows


def as_columns(best: BestLabel | None) -> dict[str, Any]:
    """Returns the values of the columns ``best_label`` and ``best_label_score``."""
    label, score = best or (None, None)
    return {"best_label": label, "best_label_score": score}
