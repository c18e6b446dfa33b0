"""What one night did, with the rows that a person wants to see: the data of `reelbeam report`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate, chain
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from transforms.catalog.overview.nights import as_one, nights_of
from transforms.catalog.reading import latest
from transforms.catalog.records import RunRecord
from transforms.catalog.runs import Catalog, CatalogError

NIGHTS: Final = 60
"""Nights whose figures a report compares, at most."""

ROWS: Final = 200
"""Rows of each list in a report, at most: a page of ten thousand failures is not read."""

LABELS: Final = 24
"""Commonest labels of the archive in a report."""

POSTER_BYTES: Final = 2_500_000
"""Posters of a report together, at most, so that its page can be mailed."""

_VIDEO_COLUMNS: Final = (
    "video_id",
    "uri",
    "status",
    "error",
    "message",
    "duration_s",
    "frames_sampled",
    "coverage",
    "best_label",
    "labels",
)


_FAILURE_COLUMNS: Final = ("video_id", "uri", "reason", "message", "attempts")


@dataclass(frozen=True)
class Listed:
    """The first rows of a list.

    Attributes:
        rows: at most `ROWS`, as dicts of their columns.
        total: number of rows of the whole list.
    """

    rows: list[dict[str, Any]]
    total: int

    @property
    def more(self) -> int:
        """Number of rows that are not in `rows`."""
        return self.total - len(self.rows)


@dataclass(frozen=True)
class NightReport:
    """One night and the catalog as it was after it.

    Attributes:
        run: the night's record; see `nights.as_one`.
        parts: number of its runs.
        nights: records of the last `NIGHTS` nights up to this one, oldest first.
        videos: videos with a latest row.
        video_s: seconds of video of those.
        labels: commonest best labels of those, with the number of videos, commonest first.
        processed: videos that this night processed, with the columns video_id, uri, status, error, message, duration_s,
            frames_sampled, coverage, best_label and labels; partial ones are not among them.
        partial: the same of videos that decoded in part.
        failures: rows of `failures` that this night wrote, sorted by reason and uri.
        gone: rows of `gone` whose absence this night noticed first.
        unfinished: id of a run that was started after this night and is not committed, or None.
        posters: image file of the poster of each partial and then each processed video of the lists, by video_id, as
            long as they take no more than `POSTER_BYTES`.
        is_whole: whether all rows of that night are still there; else `reelbeam compact` dropped those that later
            nights superseded, and the lists, `videos`, `video_s` and `labels` tell only of the rest.
    """

    run: RunRecord
    parts: int
    nights: list[RunRecord]
    videos: int
    video_s: float
    labels: dict[str, int]
    processed: Listed
    partial: Listed
    failures: Listed
    gone: Listed
    unfinished: str | None
    posters: dict[str, bytes]
    is_whole: bool = True


def night_report(catalog: Catalog, run_id: str | None = None, *, with_posters: bool = True) -> NightReport:
    """Read what a report of a night shows; no embeddings are read.

    Args:
        catalog: the catalog.
        run_id: the night's last run, or one before, up to which the report then goes; by default the newest.
        with_posters: whether to read the posters; without them `NightReport.posters` is empty.

    Raises:
        CatalogError: the catalog has no run yet, or none of this id, or a file is missing or damaged.
    """
    ids = catalog.run_ids()
    if not ids:
        raise CatalogError(f"{catalog.root} has no finished run yet: run `reelbeam classify` first")
    wanted = ids[-1] if run_id is None else run_id
    if wanted not in ids:
        raise CatalogError(f"{catalog.root} has no run {wanted}; its newest is {ids[-1]}")
    nights = nights_of(catalog.run(one) for one in ids[: ids.index(wanted) + 1])
    run, parts = as_one(nights[-1]), [part.run_id for part in nights[-1]]
    known = latest.latest_videos(catalog, ["duration_s", "best_label", "labels"], at=wanted, as_far_as_kept=True)
    videos = _rows(catalog, "videos", parts, _VIDEO_COLUMNS)
    is_partial = pc.equal(videos["status"], "partial")
    processed, partial = _listed(videos.filter(pc.invert(is_partial)), "uri"), _listed(videos.filter(is_partial), "uri")
    unfinished = catalog.unfinished() if wanted == ids[-1] else None
    pictured = [row["video_id"] for row in [*partial.rows, *processed.rows]] if with_posters else []
    return NightReport(
        run=run,
        parts=len(parts),
        nights=[as_one(night) for night in nights[-NIGHTS:]],
        videos=len(known),
        video_s=pc.sum(known["duration_s"]).as_py() or 0.0,
        labels=dict(commonest_labels(known)[:LABELS]),
        processed=processed,
        partial=partial,
        failures=_listed(_rows(catalog, "failures", parts, _FAILURE_COLUMNS), "reason", "uri"),
        gone=_listed(_gone_since(catalog, run), "uri"),
        unfinished=unfinished.run_id if unfinished else None,
        posters=_posters(catalog, parts, pictured) if pictured else {},
        is_whole=wanted >= latest.whole_since(catalog),
    )


def _posters(catalog: Catalog, run_ids: Sequence[str], video_ids: Sequence[str]) -> dict[str, bytes]:
    """Returns the posters that runs made of some videos, in their order, as many as `POSTER_BYTES` hold."""
    stored: dict[str, bytes] = {}
    files = (catalog.read_files("thumbnails", run_id, ["video_id", "poster", "image"]) for run_id in run_ids)
    for part in chain.from_iterable(files):
        wanted = part.filter(pc.and_(part["poster"], pc.is_in(part["video_id"], pa.array(video_ids, pa.string()))))
        stored.update(zip(wanted["video_id"].to_pylist(), wanted["image"].to_pylist(), strict=True))
    there = [video_id for video_id in video_ids if video_id in stored]
    sizes = accumulate(len(stored[video_id]) for video_id in there)
    return {video_id: stored[video_id] for video_id, size in zip(there, sizes, strict=True) if size <= POSTER_BYTES}


def _rows(catalog: Catalog, table: str, run_ids: Sequence[str], columns: tuple[str, ...]) -> pa.Table:
    """Returns all rows that some runs wrote into a table; a table that none of them wrote has none."""
    tables = [catalog.read(table, run_id, columns) for run_id in run_ids]
    written = [rows for rows in tables if rows is not None]
    return pa.concat_tables(written) if written else pa.table({name: [] for name in columns})


def _gone_since(catalog: Catalog, run: RunRecord) -> pa.Table:
    gone = latest.gone_table(catalog, at=run.run_id)
    began = pa.scalar(datetime.fromisoformat(run.started_at), pa.timestamp("us", tz="UTC"))
    return gone.filter(pc.greater_equal(gone["since"], began))


def _listed(rows: pa.Table, *order: str) -> Listed:
    if not len(rows):
        return Listed([], 0)
    first = rows.sort_by([(name, "ascending") for name in order]).slice(0, ROWS)
    return Listed(first.to_pylist(), len(rows))


def commonest_labels(videos: pa.Table) -> list[tuple[str, int]]:
    """Returns each best label with its number of videos, commonest first, those of equal number by name.

    Videos of which nothing can be said do not count. If no video has a best label, as after earlier releases, the first
    labels count.

    Args:
        videos: the columns ``best_label`` and ``labels`` of `videos`.
    """
    best = Counter(label for label in label_of_each(videos) if label is not None)
    return sorted(best.items(), key=lambda item: (-item[1], item[0]))


def label_of_each(videos: pa.Table) -> list[str | None]:
    """Returns the label that `commonest_labels` counts of each video, or None. Argument as there."""
    if videos["best_label"].null_count < len(videos):
        best: list[str | None] = videos["best_label"].to_pylist()
        return best
    return [pairs[0]["label"] if pairs else None for pairs in videos["labels"].to_pylist()]
