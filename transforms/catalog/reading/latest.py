"""Reads the latest row of each video.

`latest_videos_sql` is the same query in SQL. The public API gives both: `reelbeam.Catalog.videos` and `videos_sql`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.records import Holder, RunConfig, RunRecord
from transforms.catalog.runs import Catalog, CatalogError

_LATEST_VIDEOS: Final = """
WITH records AS (
    SELECT * FROM read_json('{catalog}/runs/*.json', maximum_object_size = 134217728, columns = {{
        run_id: 'VARCHAR', pack_id: 'VARCHAR', replaces: 'VARCHAR[]',
        config: 'STRUCT(model VARCHAR, model_fingerprint VARCHAR, rows_fingerprint VARCHAR, sampling VARCHAR,
            top_labels INTEGER, embedding_dtype VARCHAR, hedging STRUCT(accuracy DOUBLE, parents VARCHAR[][]))',
        records: 'STRUCT(run_id VARCHAR, config STRUCT(model VARCHAR, model_fingerprint VARCHAR,
            rows_fingerprint VARCHAR, sampling VARCHAR, top_labels INTEGER, embedding_dtype VARCHAR,
            hedging STRUCT(accuracy DOUBLE, parents VARCHAR[][])))[]'}})
), holders AS (
    SELECT coalesce(pack_id, run_id) AS run, * FROM records
    WHERE coalesce(pack_id, run_id) NOT IN (SELECT unnest(replaces) FROM records WHERE replaces IS NOT NULL)
), all_runs AS (
    SELECT run_id, config FROM holders WHERE pack_id IS NULL
    UNION ALL
    SELECT record.run_id, record.config FROM (SELECT unnest(records) AS record FROM holders WHERE pack_id IS NOT NULL)
), runs AS (
    SELECT run_id, config.model AS model, config.model_fingerprint AS model_fingerprint,
        config.rows_fingerprint AS rows_fingerprint, struct_pack(
        model := coalesce(nullif(config.rows_fingerprint, ''), config.model_fingerprint),
        sampling := config.sampling, top_labels := config.top_labels,
        dtype := config.embedding_dtype, accuracy := coalesce(config.hedging.accuracy, 0.9),
        parents := coalesce(CAST(config.hedging.parents AS VARCHAR), '[]')) AS rows_key
    FROM all_runs
), newest AS (
    SELECT * FROM runs ORDER BY run_id DESC LIMIT 1
), newest_to_read AS (
    SELECT * FROM runs WHERE {is_of_model} ORDER BY run_id DESC LIMIT 1
), to_read AS (
    SELECT run_id FROM runs SEMI JOIN newest_to_read USING (rows_key)
), no_rows AS (
    SELECT CAST(NULL AS VARCHAR) AS run_id WHERE false
), videos AS (
    SELECT * EXCLUDE (run, run_id), coalesce(run_id, run) AS run_id FROM (
        FROM read_parquet('{catalog}/videos/*/*.parquet', union_by_name = true,
            hive_partitioning = true, hive_types = {{run: VARCHAR}})
        UNION ALL BY NAME FROM no_rows)
    SEMI JOIN holders USING (run)
), failures AS (
    SELECT video_id, coalesce(run_id, run) AS run_id FROM (
        FROM read_parquet('{catalog}/failures/*/*.parquet', union_by_name = true,
            hive_partitioning = true, hive_types = {{run: VARCHAR}})
        UNION ALL BY NAME FROM no_rows)
    SEMI JOIN holders USING (run)
), gone AS (
    SELECT video_id, coalesce(run_id, run) AS run_id FROM (
        FROM read_parquet('{catalog}/gone/*/*.parquet', union_by_name = true,
            hive_partitioning = true, hive_types = {{run: VARCHAR}})
        UNION ALL BY NAME FROM no_rows)
    SEMI JOIN holders USING (run)
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
    is_of_model = (
        f"model = '{name}' OR ends_with(model, '/{name}') OR starts_with(model_fingerprint, '{name}') "
        f"OR starts_with(rows_fingerprint, '{name}')"
    )
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
    limit = stamp_of(at) if isinstance(at, datetime) else at
    return [catalog.run(run_id) for run_id in catalog.run_ids() if limit is None or run_id <= limit]


def stamp_of(at: datetime) -> str:
    """Returns a text that sorts after the ids of all runs that started until a time, and before those of later ones."""
    return at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ~")


def whole_since(catalog: Catalog) -> str:
    """Returns the id of the oldest run as of which all rows are still there; empty if none were dropped.

    `reelbeam compact` drops rows that were superseded before a time. What the catalog said earlier is not whole.
    """
    return max((pack.whole_since for pack in catalog.packs()), default="")


def require_whole(catalog: Catalog, at: str | datetime | None) -> None:
    """Checks that no rows that were the latest at a time have been dropped.

    Raises:
        CatalogError: `reelbeam compact` dropped some.
    """
    since = whole_since(catalog)
    newest = max((run.run_id for run in _runs_until(catalog, at)), default=since)
    if newest < since:
        raise CatalogError(
            f"{catalog.root} no longer has all rows of run {newest}: those that were superseded until run {since} were "
            "dropped (`reelbeam compact`); ask for that run or a later one"
        )


def latest_videos(
    catalog: Catalog,
    columns: Sequence[str] | None = None,
    at: str | datetime | None = None,
    *,
    as_far_as_kept: bool = False,
) -> pa.Table:
    """Returns the row of `videos` of every video's newest outcome, with ``run_id`` and ``gone``, sorted by uri.

    A video whose newest outcome is a failure has no row. Rows of different models, samplings, label counts, embedding
    types or settings of best labels are never mixed: only runs with the newest one's `RunConfig.rows_key` count.

    Args:
        catalog: the catalog; if it was opened for a model, that model's newest run counts.
        columns: columns of `videos`, besides ``video_id`` and ``uri``, which are always there; by default all.
        at: a run id or a time; later runs are left out.
        as_far_as_kept: answer for a time as of which rows were dropped, with those that are left.

    Raises:
        CatalogError: a file is missing or damaged, there is no run of the catalog's model, or `reelbeam compact`
            dropped rows that were the latest then.
    """
    runs = runs_to_read(catalog, at)
    if not as_far_as_kept:
        require_whole(catalog, at)
    size = runs[-1].config.embedding_size if runs else 1
    names = _with_keys(columns, "video_id", "uri") or schemas.videos_schema(size).names
    empty = schemas.videos_schema(size).empty_table().select(names)
    none = empty.replace_schema_metadata(None).append_column("run_id", pa.array([], pa.string()))
    parts = [table for won in _winners(catalog, runs) for table in _rows_of(catalog, "videos", won, names)]
    table = pa.concat_tables([none, *parts]).sort_by("uri")
    gone = gone_table(catalog, at)["video_id"].combine_chunks()
    return table.append_column("gone", pc.is_in(table["video_id"], gone))


def latest_failures(catalog: Catalog, at: str | datetime | None = None) -> pa.Table:
    """Returns the row of `failures` of every video whose newest outcome is a failure, with ``run_id``, sorted by uri.

    Arguments and errors are those of `latest_videos`.
    """
    none = schemas.FAILURES.empty_table().replace_schema_metadata(None)
    none = none.append_column("run_id", pa.array([], pa.string()))
    runs = runs_to_read(catalog, at)
    require_whole(catalog, at)
    names = schemas.FAILURES.names
    parts = [table for won in _winners(catalog, runs) for table in _rows_of(catalog, "failures", won, names)]
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
        yield from _rows_of_video(catalog, "frames", names, at, uri)
        return
    runs = runs_to_read(catalog, at)
    require_whole(catalog, at)
    for won in _winners(catalog, runs):
        yield from _rows_of(catalog, "frames", won, names)


def _rows_of_video(
    catalog: Catalog, table: str, columns: Sequence[str] | None, at: str | datetime | None, uri: str
) -> Iterator[pa.Table]:
    video_id = storage.video_id_of(storage.path_of_uri(uri))
    runs = runs_to_read(catalog, at)
    require_whole(catalog, at)
    for won in _winners(catalog, runs):
        run_id = won.run_of(video_id)
        if run_id is not None:
            parts = catalog.read_files(table, run_id, columns, video_id=video_id)
            yield from (part for part in parts if len(part))
            return
    raise CatalogError(f"{storage.printable(uri)} is no video of {catalog.root}")


SHOWN_SCORE: Final = 0.3
"""Least score of the actions that pages show and answers cite; the table holds less sure ones too."""


def shown_actions(catalog: Catalog, at: str | datetime | None = None, uri: str | None = None) -> pa.Table:
    """Returns the rows of `latest_actions` with at least `SHOWN_SCORE`; arguments and errors are those of it."""
    rows = latest_actions(catalog, ["label", "start_s", "end_s", "score"], at, uri)
    return rows.filter(pc.greater_equal(rows["score"], SHOWN_SCORE))


def latest_actions(
    catalog: Catalog,
    columns: Sequence[str] | None = None,
    at: str | datetime | None = None,
    uri: str | None = None,
) -> pa.Table:
    """Returns the rows of `actions` of the videos of `latest_videos`, with ``run_id``, sorted by uri, start and end.

    Only a localization head finds actions: there are none if the newest run's model is another.

    Args:
        catalog: the catalog.
        columns: columns of `actions`, besides ``video_id`` and ``uri``, which are always there; by default all.
        at: a run id or a time; later runs are left out.
        uri: only the actions of this video.

    Raises:
        CatalogError: a file is missing or damaged, or no run has seen a video with this URI.
    """
    names = _with_keys(columns, "video_id", "uri") or schemas.ACTIONS.names
    read = list(dict.fromkeys([*names, "start_s", "end_s", "label"]))
    if uri is not None:
        parts = _rows_of_video(catalog, "actions", read, at, uri)
    else:
        runs = runs_to_read(catalog, at)
        require_whole(catalog, at)
        parts = (part for won in _winners(catalog, runs) for part in _rows_of(catalog, "actions", won, read))
    none = schemas.ACTIONS.empty_table().select(read).replace_schema_metadata(None)
    table = pa.concat_tables([none.append_column("run_id", pa.array([], pa.string())), *parts])
    order = [(name, "ascending") for name in ("uri", "start_s", "end_s", "label")]
    return table.sort_by(order).select([*names, "run_id"])


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
    wanted = {run.run_id for run in _runs_until(catalog, at) if run.config.has_thumbnails}
    for holder in reversed(catalog.holders()):
        here = [run.run_id for run in holder.runs if run.run_id in wanted]
        if here:
            parts = _thumbnail_files(catalog, holder, here, read, only)
            kept = _newest_of_each([part.filter(_are_of(part, fingerprints)) for part in parts], holder)
            for part in kept:
                for video_id in part["video_id"].unique().to_pylist():
                    fingerprints.pop(video_id, None)
            found += [part.filter(part["poster"]) if posters else part for part in kept]
    table = pa.concat_tables(found).sort_by([("uri", "ascending"), ("time_s", "ascending")])
    return table.select([*names, "run_id"])


def _thumbnail_files(
    catalog: Catalog, holder: Holder, run_ids: Sequence[str], columns: Sequence[str], only: str | None
) -> Iterator[pa.Table]:
    """Yields rows of `thumbnails` of some of a holder's runs; those of one video, if `only` names one."""
    if only is None:
        yield from catalog.read_holder("thumbnails", holder, run_ids, columns)
        return
    for run_id in run_ids:
        yield from catalog.read_files("thumbnails", run_id, columns, video_id=only)


def _newest_of_each(parts: Sequence[pa.Table], holder: Holder) -> list[pa.Table]:
    """Leaves those rows of each video that the newest of a holder's runs made."""
    if holder.pack is None or not parts:
        return list(parts)
    newest = newest_runs(pa.concat_tables([part.select(["video_id", "run_id"]) for part in parts]))
    return [part.filter(pc.is_in(keys_of(part), keys_of(newest))) for part in parts]


def newest_runs(rows: pa.Table) -> pa.Table:
    """Returns one row for each ``video_id``, with the greatest ``run_id``."""
    newest = rows.select(["video_id", "run_id"]).group_by("video_id").aggregate([("run_id", "max")])
    return newest.rename_columns({"run_id_max": "run_id"})


def keys_of(rows: pa.Table | pa.RecordBatch) -> pa.Array:
    """Returns for each row a text that names its video and its run."""
    columns = [rows[name] for name in ("video_id", "run_id")]
    keys = pc.binary_join_element_wise(*columns, "/")
    return keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys


def _are_of(rows: pa.Table, fingerprints: Mapping[str, str]) -> pa.Array:
    """Tells for each row of `thumbnails` whether it was made of the file with its video's fingerprint."""
    pairs = zip(rows["video_id"].to_pylist(), rows["fingerprint"].to_pylist(), strict=True)
    return pa.array([fingerprints.get(video_id) == fingerprint for video_id, fingerprint in pairs], pa.bool_())


def _with_keys(columns: Sequence[str] | None, *keys: str) -> list[str] | None:
    return None if columns is None else list(dict.fromkeys([*keys, *columns]))


class _Won(NamedTuple):
    """The videos whose newest outcome is in a holder.

    Attributes:
        holder: where their rows lie.
        run_ids: ids of the runs that may have made them.
        ids: ids of the videos.
        keys: for a pack, the videos with the runs of their newest outcomes (see `keys_of`).
    """

    holder: Holder
    run_ids: list[str]
    ids: pa.Array
    keys: pa.Array | None

    def run_of(self, video_id: str) -> str | None:
        """Returns the run of a video's newest outcome; None if that is in no run here."""
        place = pc.index(self.ids, video_id).as_py()
        if place < 0:
            return None
        return self.run_ids[0] if self.keys is None else str(self.keys[place].as_py()).rsplit("/", 1)[1]

    def of(self, rows: pa.Table) -> pa.Table:
        """Returns those of some rows that belong to the videos' newest outcomes."""
        if self.keys is None:
            return rows.filter(pc.is_in(rows["video_id"], self.ids))
        return rows.filter(pc.is_in(keys_of(rows), self.keys))


def _winners(catalog: Catalog, runs: Sequence[RunRecord]) -> Iterator[_Won]:
    """Yields every holder of some of the runs, newest first, with the videos whose newest outcome is in it."""
    wanted = {run.run_id for run in runs}
    seen: list[pa.Array] = []
    for holder in reversed(catalog.holders()):
        here = [run.run_id for run in holder.runs if run.run_id in wanted]
        if not here:
            continue
        outcomes = _outcomes(catalog, holder, here)
        ids = outcomes["video_id"].combine_chunks()
        # A night's few ids are looked for among all others' first: the other way round costs 25 times as much.
        newer = pa.chunked_array(seen, pa.string())
        again = newer.filter(pc.is_in(newer, ids))
        first = pc.invert(pc.is_in(ids, again))
        seen.append(ids.filter(first))
        if len(seen[-1]):
            yield _Won(holder, here, seen[-1], keys_of(outcomes.filter(first)) if holder.pack else None)


def _outcomes(catalog: Catalog, holder: Holder, run_ids: Sequence[str]) -> pa.Table:
    """Returns the videos that some of a holder's runs had an outcome for, each once, with the newest of these runs."""
    tables = ("videos", "failures")
    parts = [part for table in tables for part in catalog.read_holder(table, holder, run_ids, ["video_id"])]
    none = pa.schema([("video_id", pa.string()), ("run_id", pa.string())]).empty_table()
    return newest_runs(pa.concat_tables([none, *parts]))


def _rows_of(catalog: Catalog, table: str, won: _Won, columns: Sequence[str] | None) -> Iterator[pa.Table]:
    for part in catalog.read_holder(table, won.holder, won.run_ids, columns):
        kept = won.of(part)
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


def outcomes_like(catalog: Catalog, config: RunConfig) -> Iterator[pa.RecordBatch]:
    """Yields all outcomes of videos in runs with the rows of `config`: video_id, fingerprint, run_id."""
    alike = {run.run_id for run in catalog.runs() if run.config.rows_key == config.rows_key}
    for holder in catalog.holders():
        here = [run.run_id for run in holder.runs if run.run_id in alike]
        for table in ("videos", "failures") if here else ():
            yield from catalog.holder_batches(table, holder, here, ["video_id", "fingerprint"])
