"""Makes rows of the table `actions`: the ranges of time in which a localization head finds an action."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from models.heads.ranges import Range
from transforms.catalog import schemas


def action_rows(video: dict[str, Any], ranges: Iterable[Range], model: str) -> list[dict[str, Any]]:
    """Returns the rows of one video.

    Args:
        video: its ``video_id``, ``uri`` and ``fingerprint``.
        ranges: what the head found, in order of time.
        model: name of the head, as in `videos`.
    """
    identity = {name: video[name] for name in ("video_id", "uri", "fingerprint")}
    return [
        {**identity, "label": one.label, "start_s": one.start_s, "end_s": one.end_s, "score": one.score, "model": model}
        for one in ranges
    ]


def actions_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Returns rows of `action_rows` as a table."""
    return pa.Table.from_pylist(rows, schemas.ACTIONS)
