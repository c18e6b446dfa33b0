"""The latest row of each video: what a reader of the catalog wants to see in the morning.

    from transforms.catalog.latest import latest_videos
    from transforms.catalog.runs import Catalog

    videos = latest_videos(Catalog.open("/catalog"), columns=["uri", "labels"])

`LATEST_VIDEOS_SQL` says the same in SQL.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from transforms.catalog import schemas
from transforms.catalog.runs import Catalog, RunConfig, RunRecord

LATEST_VIDEOS_SQL: Final = """
WITH runs AS (
    SELECT run_id, config.model_fingerprint AS model_fingerprint, config.sampling AS sampling
    FROM read_json('{catalog}/runs/*.json', columns = {{
        run_id: 'VARCHAR', config: 'STRUCT(model_fingerprint VARCHAR, sampling VARCHAR)'}})
), newest AS (
    SELECT * FROM runs ORDER BY run_id DESC LIMIT 1
), comparable AS (
    SELECT run_id FROM runs SEMI JOIN newest USING (model_fingerprint, sampling)
), videos AS (
    SELECT * EXCLUDE (run), run AS run_id
    FROM read_parquet('{catalog}/videos/*/*.parquet', hive_partitioning = true, hive_types = {{run: VARCHAR}})
), failures AS (
    SELECT video_id, run AS run_id
    FROM read_parquet('{catalog}/failures/*/*.parquet', hive_partitioning = true, hive_types = {{run: VARCHAR}})
), gone AS (
    SELECT video_id, run AS run_id
    FROM read_parquet('{catalog}/gone/*/*.parquet', hive_partitioning = true, hive_types = {{run: VARCHAR}})
), latest AS (
    SELECT video_id, max(run_id) AS run_id
    FROM (SELECT video_id, run_id FROM videos UNION ALL SELECT video_id, run_id FROM failures)
    SEMI JOIN comparable USING (run_id)
    GROUP BY video_id
)
SELECT videos.*, video_id IN (SELECT video_id FROM gone SEMI JOIN newest USING (run_id)) AS gone
FROM videos SEMI JOIN latest USING (video_id, run_id)
ORDER BY uri
"""
"""`latest_videos` as DuckDB reads it; format it with ``catalog``, a local path."""


def comparable_runs(catalog: Catalog, at: str | datetime | None = None) -> list[RunRecord]:
    """Committed runs, oldest first, whose rows may stand side by side: of the newest one's model and sampling.

    Args:
        catalog: the catalog.
        at: leaves out runs after this run id or time, as if it were still then.
    """
    limit = at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ~") if isinstance(at, datetime) else at
    runs = [catalog.run(run_id) for run_id in catalog.run_ids() if limit is None or run_id <= limit]
    return [run for run in runs if run.config.comparable_key == runs[-1].config.comparable_key]


def latest_videos(catalog: Catalog, columns: Sequence[str] | None = None, at: str | datetime | None = None) -> pa.Table:
    """The row of `videos` of every video's newest outcome, with ``run_id`` and ``gone``, sorted by uri.

    A video whose newest outcome is a failure has none. Rows of different models or samplings are never mixed: only
    runs like the newest count.

    Args:
        catalog: the catalog.
        columns: of `videos`, besides ``video_id`` and ``uri``, which are always there; by default all.
        at: a run id or a time; later runs are left out.

    Raises:
        CatalogError: a file is missing or damaged.
    """
    runs = comparable_runs(catalog, at)
    size = runs[-1].config.embedding_size if runs else 1
    names = _with_keys(columns, "video_id", "uri") or schemas.videos_schema(size).names
    empty = schemas.videos_schema(size).empty_table().select(names)
    none = empty.replace_schema_metadata(None).append_column("run_id", pa.array([], pa.string()))
    parts = [table for run, ids in _winners(catalog, runs) for table in _rows_of(catalog, "videos", run, ids, names)]
    table = pa.concat_tables([none, *parts]).sort_by("uri")
    gone = gone_table(catalog, at)["video_id"].combine_chunks()
    return table.append_column("gone", pc.is_in(table["video_id"], gone))


def latest_failures(catalog: Catalog, at: str | datetime | None = None) -> pa.Table:
    """The row of `failures` of every video whose newest outcome is a failure, with ``run_id``, sorted by uri.

    Arguments and errors are those of `latest_videos`.
    """
    none = schemas.FAILURES.empty_table().replace_schema_metadata(None)
    none = none.append_column("run_id", pa.array([], pa.string()))
    winners = _winners(catalog, comparable_runs(catalog, at))
    parts = [table for run, ids in winners for table in _rows_of(catalog, "failures", run, ids, None)]
    return pa.concat_tables([none, *parts]).sort_by("uri")


def latest_frames(
    catalog: Catalog, columns: Sequence[str] | None = None, at: str | datetime | None = None
) -> Iterator[pa.Table]:
    """The rows of `frames` that belong to `latest_videos`, file by file, with ``run_id``: memory stays bounded.

    Embeddings are as stored: of the dtype that their run was given. Arguments and errors are those of
    `latest_videos`; ``video_id`` is always there.
    """
    names = _with_keys(columns, "video_id")
    for run, ids in _winners(catalog, comparable_runs(catalog, at)):
        yield from _rows_of(catalog, "frames", run, ids, names)


def _with_keys(columns: Sequence[str] | None, *keys: str) -> list[str] | None:
    return None if columns is None else list(dict.fromkeys([*keys, *columns]))


def _winners(catalog: Catalog, runs: Sequence[RunRecord]) -> Iterator[tuple[str, pa.Array]]:
    """For every run, newest first, the ids of the videos whose newest outcome is in it."""
    seen = pa.array([], pa.string())
    for run in reversed(runs):
        tables = [catalog.read(table, run.run_id, ["video_id"]) for table in ("videos", "failures")]
        chunks = [chunk for table in tables if table is not None for chunk in table["video_id"].chunks]
        ids = pa.chunked_array(chunks, pa.string()).unique()
        ids = ids.filter(pc.invert(pc.is_in(ids, seen)))
        seen = pa.concat_arrays([seen, ids])
        if len(ids):
            yield run.run_id, ids


def _rows_of(
    catalog: Catalog, table: str, run_id: str, ids: pa.Array, columns: Sequence[str] | None
) -> Iterator[pa.Table]:
    for part in catalog.read_files(table, run_id, columns):
        kept = part.filter(pc.is_in(part["video_id"], ids))
        if len(kept):
            yield kept


def gone_table(catalog: Catalog, at: str | datetime | None = None) -> pa.Table:
    """The complete `gone` table of the newest run (up to `at`): video_id, uri, since, run_id."""
    runs = comparable_runs(catalog, at)
    table = catalog.read("gone", runs[-1].run_id) if runs else None
    if table is not None:
        return table
    return schemas.GONE.empty_table().append_column("run_id", pa.array([], pa.string()))


def gone_ids(catalog: Catalog) -> list[str]:
    """Ids of the videos that are gone."""
    ids: list[str] = gone_table(catalog)["video_id"].to_pylist()
    return ids


def known_fingerprints(catalog: Catalog, config: RunConfig) -> dict[str, str]:
    """video_id -> fingerprint of the file that its newest outcome with the rows that `config` gives was made from."""
    known: dict[str, str] = {}
    for run in (run for run in catalog.runs() if run.config.rows_key == config.rows_key):
        for table in ("videos", "failures"):
            for part in catalog.read_files(table, run.run_id, ["video_id", "fingerprint"]):
                known.update(zip(part["video_id"].to_pylist(), part["fingerprint"].to_pylist(), strict=True))
    return known
