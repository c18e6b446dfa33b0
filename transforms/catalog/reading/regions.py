"""Reads the regions of the latest videos, and what became of each of them over time."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.reading.latest import keys_of, latest_videos, newest_runs, stamp_of
from transforms.catalog.records import RunRecord
from transforms.catalog.runs import Catalog, CatalogError

_KEYS = ("video_id", "uri", "fingerprint", "time_s", "score", "regions_fingerprint")


def runs_with_regions(catalog: Catalog, at: str | datetime | None = None) -> list[RunRecord]:
    """Returns the committed runs that found regions, oldest first; later ones than `at` are left out."""
    limit = stamp_of(at) if isinstance(at, datetime) else at
    return [run for run in catalog.runs() if run.config.regions and (limit is None or run.run_id <= limit)]


def latest_regions(
    catalog: Catalog,
    columns: Sequence[str] | None = None,
    at: str | datetime | None = None,
    uri: str | None = None,
    *,
    model: str | None = None,
) -> Iterator[pa.Table]:
    """Yields the regions of the videos of `latest_videos`, with ``run_id``, holder by holder; rows without a label too.

    A video's regions are those of the newest run that looked for some in the same file.

    Args:
        catalog: the catalog.
        columns: columns of `regions`, besides those that are always there (``video_id``, ``uri``, ``fingerprint``,
            ``time_s``, ``score``, ``regions_fingerprint``); by default all.
        at: a run id or a time; later runs are left out.
        uri: only the regions of this video.
        model: only those of this way of finding regions: its name or the beginning of its fingerprint.

    Raises:
        CatalogError: a file is missing or damaged, or no run has seen a video with this URI.
    """
    videos = latest_videos(catalog, ["fingerprint"], at)
    wanted = dict(zip(videos["video_id"].to_pylist(), videos["fingerprint"].to_pylist(), strict=True))
    if uri is not None:
        only = storage.video_id_of(storage.path_of_uri(uri))
        if only not in wanted:
            raise CatalogError(f"{storage.printable(uri)} is no video of {catalog.root}")
        wanted = {only: wanted[only]}
    names = list(dict.fromkeys([*_KEYS, *(columns or schemas.REGIONS.names)]))
    runs = {run.run_id for run in runs_with_regions(catalog, at) if model is None or _is_of(run, model)}
    for holder in reversed(catalog.holders()):
        here = [run.run_id for run in holder.runs if run.run_id in runs]
        parts = (
            [_of_files(part, wanted) for part in catalog.read_holder("regions", holder, here, names)] if here else []
        )
        if parts:
            newest = newest_runs(pa.concat_tables([part.select(["video_id", "run_id"]) for part in parts]))
            for video_id in newest["video_id"].to_pylist():
                del wanted[video_id]
            yield from (part.filter(pc.is_in(keys_of(part), keys_of(newest))) for part in parts if len(part))


def regions_table(catalog: Catalog, at: str | datetime | None, uri: str | None, model: str | None) -> pa.Table:
    """Returns all rows of `latest_regions` that have a label, sorted by uri, time and score."""
    none = (
        schemas.REGIONS.empty_table().replace_schema_metadata(None).append_column("run_id", pa.array([], pa.string()))
    )
    names = none.column_names
    parts = (part.filter(pc.is_valid(part["label"])) for part in latest_regions(catalog, None, at, uri, model=model))
    rows = pa.concat_tables([none, *(part.select(names) for part in parts)])
    return rows.sort_by([("uri", "ascending"), ("time_s", "ascending"), ("score", "descending")])


def with_regions(catalog: Catalog, regions_fingerprint: str) -> set[tuple[str, str]]:
    """Returns (video_id, fingerprint of the file) of the videos that one way of finding regions has looked at.

    Raises:
        CatalogError: a file is missing or damaged.
    """
    found: set[tuple[str, str]] = set()
    runs = {run.run_id for run in runs_with_regions(catalog)}
    for holder in catalog.holders():
        here = [run.run_id for run in holder.runs if run.run_id in runs]
        columns = ["video_id", "fingerprint", "regions_fingerprint"]
        for batch in catalog.holder_batches("regions", holder, here, columns) if here else ():
            kept = batch.filter(pc.equal(batch["regions_fingerprint"], regions_fingerprint))
            # A video has a row for each frame and label, and Arrow is quicker than Python at leaving each once.
            videos = pa.table(kept).group_by(["video_id", "fingerprint"]).aggregate([])
            found.update(zip(videos["video_id"].to_pylist(), videos["fingerprint"].to_pylist(), strict=True))
    return found


def region_tracks(regions: pa.Table) -> pa.Table:
    """Returns what became of each region: one row for each track of the rows of `regions`.

    Args:
        regions: rows with the columns ``video_id``, ``uri``, ``time_s``, ``label``, ``score``, ``share``, ``centroid``
            and ``track``.

    Returns:
        ``video_id``, ``uri``, ``track``, ``label``, ``start_s`` and ``end_s`` (times of its first and last frame),
        ``frames``, ``score`` (the mean), ``share`` (the mean), ``largest_share``, ``first_centroid`` and
        ``last_centroid``, sorted by uri and track.
    """
    rows = regions.filter(pc.is_valid(regions["track"])).sort_by([("uri", "ascending"), ("time_s", "ascending")])
    x, y = (pc.struct_field(rows["centroid"], name) for name in ("x", "y"))
    rows = rows.append_column("x", x).append_column("y", y)
    grouped = rows.group_by(["video_id", "uri", "track", "label"], use_threads=False).aggregate(
        [
            ("time_s", "first"),
            ("time_s", "last"),
            ("time_s", "count"),
            ("score", "mean"),
            ("share", "mean"),
            ("share", "max"),
            *((name, which) for which in ("first", "last") for name in ("x", "y")),
        ]
    )
    columns = {
        **{name: grouped[name] for name in ("video_id", "uri", "track", "label")},
        "start_s": grouped["time_s_first"],
        "end_s": grouped["time_s_last"],
        "frames": grouped["time_s_count"],
        "score": grouped["score_mean"],
        "share": grouped["share_mean"],
        "largest_share": grouped["share_max"],
        "first_centroid": _points(grouped, "first"),
        "last_centroid": _points(grouped, "last"),
    }
    return pa.table(columns).sort_by([("uri", "ascending"), ("track", "ascending")])


def _points(grouped: pa.Table, which: str) -> pa.Array:
    places = [grouped[f"{name}_{which}"].combine_chunks() for name in ("x", "y")]
    return pa.StructArray.from_arrays(places, ["x", "y"])


def _is_of(run: RunRecord, model: str) -> bool:
    return run.config.regions_model == model or run.config.regions_fingerprint.startswith(model)


def _of_files(rows: pa.Table, fingerprints: dict[str, str]) -> pa.Table:
    """Returns those rows that were made of the file with its video's fingerprint."""
    pairs = zip(rows["video_id"].to_pylist(), rows["fingerprint"].to_pylist(), strict=True)
    return rows.filter(pa.array([fingerprints.get(one) == fingerprint for one, fingerprint in pairs], pa.bool_()))
