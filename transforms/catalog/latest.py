"""The latest row of each video: what a reader of the catalog wants to see in the morning."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from transforms.catalog import schemas
from transforms.catalog.runs import Catalog, RunConfig, RunRecord

LATEST_VIDEOS_SQL = """
WITH runs AS (
    SELECT run_id, config.model_fingerprint AS fp, config.sampling AS s, config.top_labels AS k,
           config.embedding_dtype AS d
    FROM read_json('{catalog}/runs/*.json')
), newest AS (
    SELECT * FROM runs ORDER BY run_id DESC LIMIT 1
), comparable AS (
    SELECT run_id FROM runs SEMI JOIN newest USING (fp, s, k, d)
), outcomes AS (
    SELECT video_id, run AS run_id FROM read_parquet('{catalog}/videos/*/*.parquet', hive_partitioning = true)
    UNION ALL
    SELECT video_id, run AS run_id FROM read_parquet('{catalog}/failures/*/*.parquet', hive_partitioning = true)
), latest AS (
    SELECT video_id, max(run_id) AS run_id FROM outcomes SEMI JOIN comparable USING (run_id) GROUP BY video_id
)
SELECT v.* EXCLUDE (run), v.run AS run_id
FROM read_parquet('{catalog}/videos/*/*.parquet', hive_partitioning = true) v
JOIN latest l ON v.video_id = l.video_id AND v.run = l.run_id
ORDER BY v.uri
"""
"""`latest_videos` as DuckDB reads it, without the column ``gone``; format it with ``catalog``. Where no run has
failures, leave out the second part of ``outcomes``, because DuckDB wants every glob to match a file."""


def comparable_runs(catalog: Catalog, config: RunConfig | None = None) -> list[RunRecord]:
    """Committed runs, oldest first, whose rows may stand side by side: same model, sampling, labels and dtype.

    Args:
        catalog: the catalog.
        config: the configuration to compare with; by default the newest run's.
    """
    runs = catalog.runs()
    if not runs:
        return []
    key = (config or runs[-1].config).rows_key
    return [run for run in runs if run.config.rows_key == key]


def latest_videos(
    catalog: Catalog, columns: Sequence[str] | None = None, config: RunConfig | None = None
) -> pa.Table:
    """The row of `videos` of every video's newest outcome, with ``run_id`` and ``gone``, sorted by uri.

    A video whose newest outcome is a failure has none. Rows of different models, samplings or label counts are never
    mixed: only runs like the newest (or like `config`) count.
    """
    wanted = list(dict.fromkeys([*(columns or []), "video_id", "uri"])) if columns is not None else None
    runs = comparable_runs(catalog, config)
    if not runs:
        return schemas.videos_schema(1).empty_table()
    winners = _winners(catalog, runs)
    parts = []
    for run in runs:
        table = catalog.read("videos", run.run_id, wanted)
        if table is not None:
            mine = [video_id for video_id, run_id in winners.items() if run_id == run.run_id]
            parts.append(table.filter(pc.is_in(table["video_id"], pa.array(mine, pa.string()))))
    if not parts:
        return schemas.videos_schema(runs[-1].config.embedding_size).empty_table()
    table = pa.concat_tables(parts).sort_by("uri")
    return table.append_column("gone", pc.is_in(table["video_id"], pa.array(gone_ids(catalog), pa.string())))


def latest_frames(
    catalog: Catalog, columns: Sequence[str] | None = None, config: RunConfig | None = None
) -> Iterator[pa.Table]:
    """The rows of `frames` that belong to `latest_videos`, file by file, with ``run_id``: memory stays bounded."""
    wanted = list(dict.fromkeys([*(columns or []), "video_id"])) if columns is not None else None
    runs = comparable_runs(catalog, config)
    winners = _winners(catalog, runs)
    for run in runs:
        mine = pa.array([v for v, run_id in winners.items() if run_id == run.run_id], pa.string())
        for table in catalog.read_files("frames", run.run_id, wanted):
            kept = table.filter(pc.is_in(table["video_id"], mine))
            if len(kept):
                yield kept


def latest_failures(catalog: Catalog, config: RunConfig | None = None) -> pa.Table:
    """The row of `failures` of every video whose newest outcome is a failure, with ``run_id``, sorted by uri."""
    runs = comparable_runs(catalog, config)
    winners = _winners(catalog, runs)
    parts = []
    for run in runs:
        table = catalog.read("failures", run.run_id)
        if table is not None:
            mine = pa.array([v for v, run_id in winners.items() if run_id == run.run_id], pa.string())
            parts.append(table.filter(pc.is_in(table["video_id"], mine)))
    return pa.concat_tables(parts).sort_by("uri") if parts else schemas.FAILURES.empty_table()


def known_uris(catalog: Catalog) -> dict[str, str]:
    """video_id -> uri of every video that any committed run has a row for."""
    known: dict[str, str] = {}
    for run_id in catalog.run_ids():
        for table in ("videos", "failures"):
            rows = catalog.read(table, run_id, ["video_id", "uri"])
            if rows is not None:
                known.update(zip(rows["video_id"].to_pylist(), rows["uri"].to_pylist(), strict=True))
    return known


def gone_table(catalog: Catalog) -> pa.Table:
    """The newest run's complete `gone` table."""
    newest = catalog.newest_run()
    table = catalog.read("gone", newest.run_id) if newest else None
    return table if table is not None else schemas.GONE.empty_table()


def gone_ids(catalog: Catalog) -> list[str]:
    """Ids of the videos that are gone."""
    ids: list[str] = gone_table(catalog)["video_id"].to_pylist()
    return ids


def _winners(catalog: Catalog, runs: Sequence[RunRecord]) -> dict[str, str]:
    """video_id -> the newest of the runs that has an outcome for it."""
    winners: dict[str, str] = {}
    for run in runs:
        for table in ("videos", "failures"):
            rows = catalog.read(table, run.run_id, ["video_id"])
            if rows is not None:
                winners.update(dict.fromkeys(rows["video_id"].to_pylist(), run.run_id))
    return winners


def outcomes(catalog: Catalog, config: RunConfig) -> dict[str, dict[str, object]]:
    """video_id -> its newest outcome under `config`: fingerprint, failed, attempts and first_seen.

    What the nightly job decides by; reads no embeddings.
    """
    known: dict[str, dict[str, object]] = {}
    for run in comparable_runs(catalog, config):
        videos = catalog.read("videos", run.run_id, ["video_id", "fingerprint"])
        if videos is not None:
            for row in videos.to_pylist():
                known[row["video_id"]] = {**row, "failed": False, "attempts": 0, "first_seen": None}
        failures = catalog.read("failures", run.run_id, ["video_id", "fingerprint", "attempts", "first_seen"])
        if failures is not None:
            for row in failures.to_pylist():
                known[row["video_id"]] = {**row, "failed": True}
    return known
