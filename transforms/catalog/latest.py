"""Reads the latest row of each video.

`latest_videos_sql` is the same query in SQL. The public API gives both: `reelbeam.Catalog.videos` and `videos_sql`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.runs import Catalog, CatalogError, RunConfig, RunRecord

_LATEST_VIDEOS: Final = """
WITH runs AS (
    SELECT run_id, config.model AS model, config.model_fingerprint AS model_fingerprint, struct_pack(
        model := coalesce(nullif(config.rows_fingerprint, ''), config.model_fingerprint),
        sampling := config.sampling, top_labels := config.top_labels,
        dtype := config.embedding_dtype, accuracy := coalesce(config.hedging.accuracy, 0.9),
        parents := coalesce(CAST(config.hedging.parents AS VARCHAR), '[]')) AS rows_key
    FROM read_json('{catalog}/runs/*.json', columns = {{
        run_id: 'VARCHAR',
        config: 'STRUCT(model VARCHAR, model_fingerprint VARCHAR, rows_fingerprint VARCHAR, sampling VARCHAR,
            top_labels INTEGER, embedding_dtype VARCHAR, hedging STRUCT(accuracy DOUBLE, parents VARCHAR[][]))'}})
), newest AS (
    SELECT * FROM runs ORDER BY run_id DESC LIMIT 1
), newest_to_read AS (
    SELECT * FROM runs WHERE {is_of_model} ORDER BY run_id DESC LIMIT 1
), to_read AS (
    SELECT run_id FROM runs SEMI JOIN newest_to_read USING (rows_key)
), videos AS (
    SELECT * EXCLUDE (run), run AS run_id
    FROM read_parquet('{catalog}/videos/*/*.parquet', union_by_name = true,
        hive_partitioning = true, hive_types = {{run: VARCHAR}})
), failures AS (
    SELECT video_id, run AS run_id
    FROM read_parquet('{catalog}/failures/*/*.parquet', hive_partitioning = true, hive_types = {{run: VARCHAR}})
), gone AS (
    SELECT video_id, run AS run_id
    FROM read_parquet('{catalog}/gone/*/*.parquet', hive_partitioning = true, hive_types = {{run: VARCHAR}})
), latest AS (
    SELECT video_id, max(run_id) AS run_id
    FROM (SELECT video_id, run_id FROM videos UNION ALL SELECT video_id, run_id FROM failures)
    SEMI JOIN to_read USING (run_id)
    GROUP BY video_id
)
SELECT videos.*, video_id IN (SELECT video_id FROM gone SEMI JOIN newest USING (run_id)) AS gone
FROM videos SEMI JOIN latest USING (video_id, run_id)
ORDER BY uri
"""


def latest_videos_sql(root: str, model: str | None = None) -> str:
    """Returns `latest_videos` as a query for DuckDB.

    Args:
        root: the catalog's folder on this machine.
        model: as of `Catalog`.
    """
    folder = root.replace("'", "''")
    if model is None:
        return _LATEST_VIDEOS.format(catalog=folder, is_of_model="true")
    name = model.replace("'", "''")
    is_of_model = f"model = '{name}' OR ends_with(model, '/{name}') OR starts_with(model_fingerprint, '{name}')"
    return _LATEST_VIDEOS.format(catalog=folder, is_of_model=is_of_model)


def runs_to_read(catalog: Catalog, at: str | datetime | None = None) -> list[RunRecord]:
    """Returns the committed runs, oldest first, whose rows readers see: see `Catalog.runs_to_read`.

    Args:
        catalog: the catalog.
        at: a run id or a time; later runs are left out.

    Raises:
        CatalogError: a run's record cannot be read, or there is no run of the catalog's model.
    """
    return catalog.runs_to_read(_runs_until(catalog, at))


def _runs_until(catalog: Catalog, at: str | datetime | None) -> list[RunRecord]:
    limit = at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ~") if isinstance(at, datetime) else at
    return [catalog.run(run_id) for run_id in catalog.run_ids() if limit is None or run_id <= limit]


def latest_videos(catalog: Catalog, columns: Sequence[str] | None = None, at: str | datetime | None = None) -> pa.Table:
    """Returns the row of `videos` of every video's newest outcome, with ``run_id`` and ``gone``, sorted by uri.

    A video whose newest outcome is a failure has no row. Rows of different models, samplings, label counts, embedding
    types or settings of best labels are never mixed: only runs with the newest one's `RunConfig.rows_key` count.

    Args:
        catalog: the catalog; if it was opened for a model, that model's newest run counts.
        columns: columns of `videos`, besides ``video_id`` and ``uri``, which are always there; by default all.
        at: a run id or a time; later runs are left out.

    Raises:
        CatalogError: a file is missing or damaged, or there is no run of the catalog's model.
    """
    runs = runs_to_read(catalog, at)
    size = runs[-1].config.embedding_size if runs else 1
    names = _with_keys(columns, "video_id", "uri") or schemas.videos_schema(size).names
    empty = schemas.videos_schema(size).empty_table().select(names)
    none = empty.replace_schema_metadata(None).append_column("run_id", pa.array([], pa.string()))
    parts = [table for run, ids in _winners(catalog, runs) for table in _rows_of(catalog, "videos", run, ids, names)]
    table = pa.concat_tables([none, *parts]).sort_by("uri")
    gone = gone_table(catalog, at)["video_id"].combine_chunks()
    return table.append_column("gone", pc.is_in(table["video_id"], gone))


def latest_failures(catalog: Catalog, at: str | datetime | None = None) -> pa.Table:
    """Returns the row of `failures` of every video whose newest outcome is a failure, with ``run_id``, sorted by uri.

    Arguments and errors are those of `latest_videos`.
    """
    none = schemas.FAILURES.empty_table().replace_schema_metadata(None)
    none = none.append_column("run_id", pa.array([], pa.string()))
    winners = _winners(catalog, runs_to_read(catalog, at))
    parts = [table for run, ids in winners for table in _rows_of(catalog, "failures", run, ids, schemas.FAILURES.names)]
    return pa.concat_tables([none, *parts]).sort_by("uri")


def latest_frames(
    catalog: Catalog,
    columns: Sequence[str] | None = None,
    at: str | datetime | None = None,
    uri: str | None = None,
) -> Iterator[pa.Table]:
    """Yields the rows of `frames` that belong to `latest_videos`, file by file, with ``run_id``; memory stays bounded.

    Embeddings have the newest run's dtype. ``video_id`` is always there.

    Args:
        catalog: the catalog.
        columns: columns of `frames`; by default all.
        at: as in `latest_videos`.
        uri: only the frames of this video; row groups of other videos are not read.

    Raises:
        CatalogError: a file is missing or damaged, or no run has seen a video with this URI.
    """
    names = _with_keys(columns, "video_id")
    if uri is not None:
        yield from _frames_of_video(catalog, names, at, uri)
        return
    for run, ids in _winners(catalog, runs_to_read(catalog, at)):
        yield from _rows_of(catalog, "frames", run, ids, names)


def _frames_of_video(
    catalog: Catalog, columns: Sequence[str] | None, at: str | datetime | None, uri: str
) -> Iterator[pa.Table]:
    video_id = storage.video_id_of(storage.path_of_uri(uri))
    for run, ids in _winners(catalog, runs_to_read(catalog, at)):
        if pc.index(ids, video_id).as_py() >= 0:
            parts = catalog.read_files("frames", run, columns, video_id=video_id)
            yield from (part for part in parts if len(part))
            return
    raise CatalogError(f"{storage.printable(uri)} is no video of {catalog.root}")


def latest_thumbnails(
    catalog: Catalog,
    columns: Sequence[str] | None = None,
    at: str | datetime | None = None,
    uri: str | None = None,
    *,
    posters: bool = False,
) -> pa.Table:
    """Returns the thumbnails of the videos of `latest_videos`, with ``run_id``, sorted by uri and time.

    A video's thumbnails are those of the newest run that made some of the same file, whatever its model: runs that only
    label anew make none. A video without such a run has no rows.

    Args:
        catalog: the catalog.
        columns: columns of `thumbnails`, besides ``video_id`` and ``uri``, which are always there; by default all.
        at: a run id or a time; later runs are left out.
        uri: only the thumbnails of this video.
        posters: only the thumbnail that stands for each video.

    Raises:
        CatalogError: a file is missing or damaged, or no run has seen a video with this URI.
    """
    videos = latest_videos(catalog, ["fingerprint"], at)
    fingerprints = dict(zip(videos["video_id"].to_pylist(), videos["fingerprint"].to_pylist(), strict=True))
    only = None if uri is None else storage.video_id_of(storage.path_of_uri(uri))
    if only is not None and only not in fingerprints:
        raise CatalogError(f"{storage.printable(str(uri))} is no video of {catalog.root}")
    names = _with_keys(columns, "video_id", "uri") or schemas.THUMBNAILS.names
    read = list(dict.fromkeys([*names, "fingerprint", "time_s", "poster"]))
    none = schemas.THUMBNAILS.empty_table().select(read).replace_schema_metadata(None)
    found = [none.append_column("run_id", pa.array([], pa.string()))]
    for run in reversed(_runs_until(catalog, at)):
        if run.config.has_thumbnails:
            parts = list(catalog.read_files("thumbnails", run.run_id, read, video_id=only))
            kept = [part.filter(_are_of(part, fingerprints)) for part in parts]
            for part in kept:
                for video_id in part["video_id"].unique().to_pylist():
                    del fingerprints[video_id]
            found += [part.filter(part["poster"]) if posters else part for part in kept]
    table = pa.concat_tables(found).sort_by([("uri", "ascending"), ("time_s", "ascending")])
    return table.select([*names, "run_id"])


def _are_of(rows: pa.Table, fingerprints: Mapping[str, str]) -> pa.Array:
    """Tells for each row of `thumbnails` whether it was made of the file with its video's fingerprint."""
    pairs = zip(rows["video_id"].to_pylist(), rows["fingerprint"].to_pylist(), strict=True)
    return pa.array([fingerprints.get(video_id) == fingerprint for video_id, fingerprint in pairs], pa.bool_())


def _with_keys(columns: Sequence[str] | None, *keys: str) -> list[str] | None:
    return None if columns is None else list(dict.fromkeys([*keys, *columns]))


def _winners(catalog: Catalog, runs: Sequence[RunRecord]) -> Iterator[tuple[str, pa.Array]]:
    """Yields every run, newest first, with the ids of the videos whose newest outcome is in it."""
    seen: list[pa.Array] = []
    for run in reversed(runs):
        tables = [catalog.read(table, run.run_id, ["video_id"]) for table in ("videos", "failures")]
        chunks = [chunk for table in tables if table is not None for chunk in table["video_id"].chunks]
        ids = pa.chunked_array(chunks, pa.string()).unique()
        # A night's few ids are looked for among all others' first: the other way round costs 25 times as much.
        newer = pa.chunked_array(seen, pa.string())
        again = newer.filter(pc.is_in(newer, ids))
        ids = ids.filter(pc.invert(pc.is_in(ids, again)))
        seen.append(ids)
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
    """Returns the `gone` table of the newest run (up to `at`): video_id, uri, since, run_id."""
    runs = _runs_until(catalog, at)
    table = catalog.read("gone", runs[-1].run_id) if runs else None
    if table is not None:
        return table
    return schemas.GONE.empty_table().append_column("run_id", pa.array([], pa.string()))


def gone_ids(catalog: Catalog) -> list[str]:
    """Returns the ids of the videos that are gone."""
    ids: list[str] = gone_table(catalog)["video_id"].to_pylist()
    return ids


def known_fingerprints(catalog: Catalog, config: RunConfig) -> dict[str, str]:
    """Returns by video_id the file's fingerprint of each video's newest outcome, in runs with the rows of `config`."""
    known: dict[str, str] = {}
    for run in (run for run in catalog.runs() if run.config.rows_key == config.rows_key):
        for table in ("videos", "failures"):
            for part in catalog.read_files(table, run.run_id, ["video_id", "fingerprint"]):
                known.update(zip(part["video_id"].to_pylist(), part["fingerprint"].to_pylist(), strict=True))
    return known
