"""Writes a description and a dialogue of questions and answers for every video of a catalog."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.terminal.progress import step
from transforms import storage
from transforms.catalog.dialogues import FOLDER, SNAPSHOTS, DialoguesRecord, publish
from transforms.catalog.lock import CatalogLock
from transforms.catalog.reading.latest import latest_videos
from transforms.catalog.runs import Catalog, CatalogError, new_run_id
from transforms.collect import Collect, read_collected
from transforms.describe_videos import DescribeSettings, DescribeVideos, Part, Written
from transforms.dialogue.questions import Language

VIDEOS_PER_PART: Final = 200
"""Videos of one file, and of one task."""


@dataclass(frozen=True)
class DescribeRequest:
    """The request for dialogues; see `reelbeam describe --help`."""

    catalog: str
    language: Language
    model: str | None = None


@dataclass(frozen=True)
class DescribeSummary:
    """What was done.

    Attributes:
        run_id: id of the dialogues.
        folder: where they lie.
        videos: number of videos.
        turns: number of questions with their answers.
        elapsed_s: wall time in seconds.
    """

    run_id: str
    folder: str
    videos: int
    turns: int
    elapsed_s: float


def run_describe(request: DescribeRequest, options: PipelineOptions) -> DescribeSummary:
    """Describes all videos; the earlier dialogues are replaced when all is done.

    Raises:
        CatalogError: there is no catalog with a finished run, or a file of it is damaged.
        CatalogLocked: another command holds the catalog.
        CatalogLockLost: another command took over; the dialogues have not changed.
        StorageError: the catalog cannot be written.
    """
    began = time.monotonic()
    catalog = Catalog.open(request.catalog, request.model)
    newest = catalog.newest_run()
    if newest is None:
        raise CatalogError(f"no finished run in {catalog.root}: run `reelbeam classify` first")
    # The catalog's own lock: nobody may forget a video while its dialogue is written.
    with CatalogLock(catalog.root, "reelbeam describe") as lock:
        run_id = new_run_id(datetime.now(UTC), SNAPSHOTS.ids(catalog))
        parts = _parts(catalog)
        written = _describe(catalog, run_id, parts, request, options)
        videos, turns = sum(one.videos for one in written), sum(one.turns for one in written)
        record = DialoguesRecord(
            run_id, newest.run_id, request.language, videos, turns, len(parts), version("reelbeam")
        )
        publish(catalog, record, lock.check)
    folder = catalog.path(FOLDER, f"run={run_id}")
    return DescribeSummary(run_id, folder, videos, turns, time.monotonic() - began)


def _parts(catalog: Catalog) -> list[Part]:
    table = latest_videos(catalog, [])
    uris = [row["uri"] for row in table.select(["uri", "gone"]).to_pylist() if not row["gone"]]
    starts = range(0, len(uris), VIDEOS_PER_PART)
    return [Part(number, tuple(uris[at : at + VIDEOS_PER_PART])) for number, at in enumerate(starts)]


def _describe(
    catalog: Catalog, run_id: str, parts: list[Part], request: DescribeRequest, options: PipelineOptions
) -> list[Written]:
    """Runs the Beam job; returns what it wrote, in no particular order."""
    if not parts:
        return []
    settings = DescribeSettings(catalog.root, run_id, request.language, request.model)
    results = catalog.path(FOLDER, f"run={run_id}", "written.json")
    videos = sum(len(part.uris) for part in parts)
    with step(f"Describing {videos} videos"), beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | "Parts" >> beam.Create(parts)
            | "Spread parts" >> beam.Reshuffle()
            | DescribeVideos(settings)
            | Collect(results)
        )
    written = read_collected(results, Written)
    storage.delete([results])
    return written
