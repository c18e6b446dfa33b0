"""Finds the same footage in several videos of a catalog and stores it as the table `duplicates`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions

from models.duplicates.alignment import Range
from models.duplicates.groups import Copy, Group, Stretch, Video, groups_of, repeats_of, with_kinds
from models.duplicates.indexed import IndexedFrames, Place
from pipelines.terminal.progress import step
from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.duplicates import (
    FOLDER,
    SNAPSHOTS,
    DuplicatesRecord,
    publish,
    read_record,
    table_path,
    write_rows,
)
from transforms.catalog.index.stored import StoredIndex
from transforms.catalog.lock import CatalogLock
from transforms.catalog.reading.latest import latest_videos
from transforms.catalog.runs import Catalog, CatalogError, new_run_id
from transforms.collect import Collect, read_collected
from transforms.find_duplicates import FindDuplicates, FindSettings, Found, OpenFrames
from transforms.storage import Fence

COLUMNS = ["duration_s", "width", "height", "size_bytes", "modified"]


@dataclass(frozen=True)
class DuplicatesRequest:
    """The request for a search for copies; see `reelbeam duplicates --help`."""

    catalog: str
    min_seconds: float
    min_score: float
    model: str | None = None


@dataclass(frozen=True)
class DuplicatesSummary:
    """What was found.

    Attributes:
        run_id: id of the snapshot.
        index_id: the index whose vectors were compared.
        videos: number of videos that were compared.
        not_indexed: number of videos that the index lacks or has in an earlier version; they were not compared.
        copies: number of videos that are copies, or that copies were made of.
        spare_bytes: size of the files of those that another video to keep contains.
        groups: for each group: ``keep``, the URIs of the videos that no other one can stand for; ``videos``, with
            ``uri``, ``width``, ``height``, ``duration_s``, ``size_bytes`` and ``contained_in``, the URI of the one to
            keep instead; ``matches`` with both ranges, ``kind``, ``speed`` and ``score``.
        repeated: for each footage that many videos repeat: ``uri``, ``start_s`` and ``end_s`` in each of them.
        elapsed_s: wall time in seconds.
    """

    run_id: str
    index_id: str
    videos: int
    not_indexed: int
    copies: int
    spare_bytes: int
    groups: list[dict[str, Any]] = field(default_factory=list)
    repeated: list[list[dict[str, Any]]] = field(default_factory=list)
    elapsed_s: float = 0.0


@dataclass(frozen=True)
class _Compared:
    """The videos that are compared, in an order that follows from their content, and what is known of them."""

    places: list[Place]
    videos: dict[str, Video]
    rows: dict[str, dict[str, Any]]
    not_indexed: int


def run_duplicates(request: DuplicatesRequest, options: PipelineOptions) -> DuplicatesSummary:
    """Compares all videos of the index and stores what they share; the earlier table is replaced when all is done.

    Raises:
        CatalogError: there is no catalog.
        CatalogLocked: an index build or another search for copies is under way.
        CatalogLockLost: another command took over; the table has not changed.
        RetrievalError: there is no index, or it is damaged.
        StorageError: the catalog cannot be written.
    """
    began = time.monotonic()
    catalog = Catalog.open(request.catalog, request.model)
    newest = catalog.newest_run()
    if newest is None:
        raise CatalogError(f"no finished run in {catalog.root}: run `reelbeam classify` first")
    folder = catalog.index_folder
    StoredIndex(folder).manifest()  # refuses a catalog without an index before a lock makes its folder
    # The index must not be replaced while its vectors are read, so its lock is the one that this job takes.
    with CatalogLock(folder, "reelbeam duplicates") as lock:
        opened = OpenFrames(folder)
        index = opened.frames
        with step("Reading the catalog"):
            compared = _compared(catalog, newest.run_id, index)
        run_id = new_run_id(datetime.now(UTC), SNAPSHOTS.ids(catalog))
        SNAPSHOTS.remove_others(catalog, _current(catalog))
        found = _search(catalog, run_id, index, compared.places, request, options)
        copies = with_kinds((_copy(one, compared.places, compared.videos) for one in found), compared.videos)
        groups = groups_of(copies, compared.videos)
        _store(catalog, run_id, newest.run_id, index, compared, request, (copies, groups), lock.check)
    return _summary(run_id, index, compared, copies, groups, time.monotonic() - began)


def _compared(catalog: Catalog, newest_run: str, index: IndexedFrames) -> _Compared:
    table = latest_videos(catalog, COLUMNS, newest_run)
    rows = {row["video_id"]: row for row in table.to_pylist() if not row["gone"]}
    places = [place for place in index.places() if rows.get(place.video_id, {}).get("run_id") == place.run_id]
    kept = {place.video_id: rows[place.video_id] for place in places}
    videos = {
        video_id: Video(
            video_id,
            row["uri"],
            row["duration_s"] or 0.0,
            (row["width"] or 0) * (row["height"] or 0),
            row["size_bytes"],
            row["modified"],
        )
        for video_id, row in kept.items()
    }
    return _Compared(places, videos, kept, len(rows) - len(kept))


def _current(catalog: Catalog) -> str:
    try:
        record = read_record(catalog)
    except CatalogError:
        record = None  # a damaged record is replaced
    return record.run_id if record else ""


def _search(
    catalog: Catalog, run_id: str, index: IndexedFrames, places: Sequence[Place],
    request: DuplicatesRequest, options: PipelineOptions,
) -> list[Found]:  # fmt: skip
    """Runs the Beam job; returns what it found, in no particular order."""
    if len(places) < 2:
        return []
    with step("Learning what frames have in common"):
        projection = index.fit(places)
    rows = np.array([place.rows for place in places], np.int64)
    folder = catalog.index_folder
    settings = FindSettings(folder, index.manifest.index_id, rows, projection, request.min_seconds, request.min_score)
    results = catalog.path(FOLDER, f"run={run_id}", "found.json")
    with step(f"Comparing {len(places)} videos"), beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | "Blocks" >> beam.Create(settings.blocks())
            | "Spread blocks" >> beam.Reshuffle()
            | FindDuplicates(settings)
            | Collect(results)
        )
    found = read_collected(results, Found)
    storage.delete([results])
    return found


def _copy(found: Found, places: Sequence[Place], videos: dict[str, Video]) -> Copy:
    """Returns what was found with the video first whose id comes first."""
    one, other = (places[number].video_id for number in (found.one, found.other))
    here = _within(Range(found.one_start_s, found.one_end_s), videos[one])
    there = _within(Range(found.other_start_s, found.other_end_s), videos[other])
    if one < other:
        return Copy(one, other, here, there, found.speed, found.score)
    return Copy(other, one, there, here, round(1 / found.speed, 4), found.score)


def _within(stretch: Range, video: Video) -> Range:
    """Cuts a stretch at the end of its video; a frame near the end stands for less time than others."""
    if video.duration_s <= stretch.start_s:
        return stretch
    return Range(stretch.start_s, min(stretch.end_s, video.duration_s))


def _store(
    catalog: Catalog, run_id: str, newest_run: str, index: IndexedFrames, compared: _Compared,
    request: DuplicatesRequest, found: tuple[list[Copy], list[Group]], fence: Fence,
) -> None:  # fmt: skip
    copies, groups = found
    file = write_rows(catalog, run_id, _table(copies, groups, compared.videos), fence)
    record = DuplicatesRecord(
        run_id=run_id,
        created_at=datetime.now(UTC).isoformat(),
        newest_run=newest_run,
        index_id=index.manifest.index_id,
        model_fingerprint=index.manifest.model_fingerprint,
        min_seconds=request.min_seconds,
        min_score=request.min_score,
        videos=len(compared.places),
        not_indexed=compared.not_indexed,
        copies=sum(len(group.videos) for group in groups),
        groups=len(groups),
        path=table_path(run_id),
        rows=file.rows,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        version=version("reelbeam"),
    )
    publish(catalog, record, fence)


def _table(copies: Sequence[Copy], groups: Sequence[Group], videos: dict[str, Video]) -> pa.Table:
    group_of = {video_id: number for number, group in enumerate(groups) for video_id in group.videos}
    keep = {video_id for group in groups for video_id in group.keep}
    rows = [_row(copy, group_of, keep, videos) for copy in copies]
    return pa.Table.from_pylist(rows, schemas.DUPLICATES)


def _row(copy: Copy, group_of: dict[str, int], keep: set[str], videos: dict[str, Video]) -> dict[str, Any]:
    grouped = copy.kind != "repeated"
    row: dict[str, Any] = {"kind": copy.kind, "speed": copy.speed, "score": copy.score}
    row["group"] = group_of[copy.one] if grouped else None
    for side, video_id in (("one", copy.one), ("other", copy.other)):
        stretch = copy.side(video_id)
        row |= {f"{side}_video_id": video_id, f"{side}_uri": videos[video_id].uri}
        row |= {f"{side}_start_s": stretch.start_s, f"{side}_end_s": stretch.end_s}
        row[f"{side}_keep"] = video_id in keep if grouped else None
    return row


def _summary(
    run_id: str, index: IndexedFrames, compared: _Compared, copies: list[Copy], groups: list[Group], elapsed_s: float
) -> DuplicatesSummary:
    matches: dict[str, list[Copy]] = {}
    for copy in copies:
        if copy.kind != "repeated":
            matches.setdefault(copy.one, []).append(copy)
    return DuplicatesSummary(
        run_id,
        index.manifest.index_id,
        len(compared.places),
        compared.not_indexed,
        sum(len(group.videos) for group in groups),
        sum(compared.videos[video_id].size_bytes for group in groups for video_id in group.instead),
        [_described(group, matches, compared) for group in groups],
        [[_stretch(one, compared) for one in stretches] for stretches in repeats_of(copies)],
        elapsed_s,
    )


def _described(group: Group, matches: dict[str, list[Copy]], compared: _Compared) -> dict[str, Any]:
    uri = {video_id: compared.videos[video_id].uri for video_id in group.videos}
    shown = ("width", "height", "duration_s", "size_bytes")
    return {
        "keep": [uri[video_id] for video_id in group.keep],
        "videos": [
            {
                "uri": uri[video_id],
                **{name: compared.rows[video_id][name] for name in shown},
                "contained_in": uri.get(group.instead.get(video_id, "")),
            }
            for video_id in [*group.keep, *sorted(group.instead, key=lambda one: uri[one])]
        ],
        "matches": [_match(copy, uri) for video_id in group.videos for copy in matches.get(video_id, ())],
    }


def _match(copy: Copy, uri: dict[str, str]) -> dict[str, Any]:
    return {
        "one": uri[copy.one],
        "one_start_s": copy.one_range.start_s,
        "one_end_s": copy.one_range.end_s,
        "other": uri[copy.other],
        "other_start_s": copy.other_range.start_s,
        "other_end_s": copy.other_range.end_s,
        "kind": copy.kind,
        "speed": copy.speed,
        "score": copy.score,
    }


def _stretch(one: Stretch, compared: _Compared) -> dict[str, Any]:
    return {"uri": compared.videos[one.video_id].uri, "start_s": one.range.start_s, "end_s": one.range.end_s}
