"""Reads the committed runs as a table with one row for each run."""

from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final

import pyarrow as pa

from transforms.catalog.records import Counts, RunRecord
from transforms.catalog.runs import Catalog

_TIME: Final = pa.timestamp("us", tz="UTC")
_COUNTS: Final = tuple(one.name for one in fields(Counts))

RUNS: Final = pa.schema(
    [
        ("run_id", pa.string()),
        ("night", pa.string()),
        ("started_at", _TIME),
        ("finished_at", _TIME),
        ("archives", pa.list_(pa.string())),
        ("model", pa.string()),
        ("model_fingerprint", pa.string()),
        ("sampling", pa.string()),
        ("top_labels", pa.int64()),
        ("embedding_dtype", pa.string()),
        ("embedding_size", pa.int64()),
        *((name, pa.int64()) for name in _COUNTS),
        ("video_s", pa.float64()),
        ("frames", pa.int64()),
        ("elapsed_s", pa.float64()),
        ("speed_x_realtime", pa.float64()),
        ("host", pa.string()),
        ("runner", pa.string()),
        ("version", pa.string()),
    ]
)
"""Columns of `runs_table`; `RunRecord`, `RunConfig` and `Counts` say what each means."""


def runs_table(catalog: Catalog) -> pa.Table:
    """Return one row for each committed run, oldest first, with the columns of `RUNS`.

    Raises:
        CatalogError: a run record cannot be read.
        StorageError: the catalog cannot be listed.
    """
    return pa.Table.from_pylist([_row(record) for record in catalog.runs()], RUNS)


def _row(record: RunRecord) -> dict[str, Any]:
    row = {**asdict(record), **asdict(record.config), **asdict(record.counts)}
    times = {name: datetime.fromisoformat(row[name]) for name in ("started_at", "finished_at")}
    return {**row, **times, "night": record.night_id, "speed_x_realtime": record.speed_x_realtime}
