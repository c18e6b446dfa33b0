"""Brings a catalog of an earlier release up to date: what its rows lack is added by a run of its own."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from models.heads.errors import HeadError
from models.heads.saved import has_independent_classes
from models.visual.bundle import ModelBundle
from models.visual.hedging import DEFAULT, Hedging, hedging_for
from models.visual.labels import ACCURACY
from pipelines.jobs.stored_rows import write_again
from transforms import storage
from transforms.catalog import schemas
from transforms.catalog.commit import commit, write_gone
from transforms.catalog.forgetting.forget import finish_forgetting
from transforms.catalog.index.source import LiveVideos
from transforms.catalog.lock import CatalogLock
from transforms.catalog.reading import latest
from transforms.catalog.reading.labelled_videos import catalog_bundle, newest_config
from transforms.catalog.records import Counts, RunConfig
from transforms.catalog.runs import Catalog
from transforms.video import fingerprint
from transforms.video.content_hash import Mode


@dataclass(frozen=True)
class Upgrade:
    """What an upgrade did, and what the catalog still lacks.

    Attributes:
        run_id: the run that holds the rows; None if there was nothing to do.
        videos: number of videos whose rows were written again.
        best_labels: number of these that had no best label computed before.
        content_hashes: number of these whose file was hashed.
        not_hashed: number of videos without a hash: their file is gone, has changed or cannot be read.
        without_thumbnails: number of videos without thumbnails; only decoding makes some.
    """

    run_id: str | None
    videos: int
    best_labels: int
    content_hashes: int
    not_hashed: int
    without_thumbnails: int


@dataclass(frozen=True)
class _Lacking:
    """Ids of the videos that lack something."""

    best_labels: set[str]
    content_hashes: set[str]


def run_upgrade(
    root: str, mode: Mode, options: PipelineOptions, watch: Callable[[str], Any], model: str | None = None
) -> Upgrade:
    """Adds to a catalog's latest rows what earlier releases did not write; labels and embeddings stay as they are.

    These are best labels, which follow from the stored labels, and hashes of the content of files that have not
    changed, by which `reelbeam classify` knows a moved file again. The rows are written again into a run of its own. A
    run that was killed is continued. A second upgrade finds nothing to do, unless files have come back.

    Args:
        root: the catalog's folder.
        mode: which hashes to take.
        options: Beam's.
        watch: as of `pipelines.jobs.classify.night.Watchers.job`.
        model: whose rows, as of `Catalog`; those of the newest run by default.

    Raises:
        CatalogError: there is no catalog, or a file of it is damaged.
        CatalogLocked: another command holds the catalog.
        CatalogLockLost: another command took the catalog over; nothing is committed.
        HeadError: the rows are those of a head whose file is not where it was.
        ModelError: the catalog's copy of the model is missing.
        StorageError: a file of the catalog cannot be read or written.
    """
    began = time.monotonic()
    catalog = Catalog.open(root, model)
    config = newest_config(catalog)
    bundle = catalog_bundle(catalog, config)
    # The rows are those of the catalog's model; thumbnails stay where the videos were decoded.
    config = replace(config, thumbnail_seconds="0", content_hash=mode, hedging=_hedging(bundle, config))
    with CatalogLock(catalog.root, "reelbeam upgrade") as lock:
        finish_forgetting(catalog, lock.check)
        lacking = _lacking(catalog, mode)
        ids = lacking.best_labels | lacking.content_hashes
        with LiveVideos(catalog, also_gone=True) as live:
            todo = list(live.having("video_id", ids))
        if not todo:
            return _upgrade(catalog, None, lacking)
        newest = catalog.newest_run()
        assert newest is not None
        run = catalog.start_run(
            config, newest.archives, datetime.now(UTC), lock.check, follow_links=newest.follow_links
        )
        lock.name_run(run.run_id)
        with watch(catalog.work_folder(run.run_id)):
            metrics = write_again(catalog, run, bundle, todo, options, keeps_labels=True)
        write_gone(catalog, run, catalog.read_batches("gone", newest.run_id, schemas.GONE.names), lock.check)
        runner = options.view_as(StandardOptions).runner or ""
        commit(catalog, run, Counts(discovered=len(todo)), metrics, time.monotonic() - began, runner, lock.check)
        return _upgrade(catalog, run.run_id, lacking)


def _hedging(bundle: ModelBundle, config: RunConfig) -> Hedging:
    """Returns the settings of best labels of a run; of one of an earlier release, those that it would get today."""
    if config.hedging != DEFAULT:
        return config.hedging
    if bundle.has_head and not Path(config.model).is_file():
        raise HeadError(
            f"{config.model}, the head that gave the labels, is not there: put it there again, or give the catalog new "
            "labels with `reelbeam relabel --model FILE`"
        )
    return hedging_for(bundle, ACCURACY, independent=has_independent_classes(config.model))


def _lacking(catalog: Catalog, mode: Mode) -> _Lacking:
    videos = latest.latest_videos(catalog, ["fingerprint", "content_hash"])
    old = [run_id for run_id in videos["run_id"].unique().to_pylist() if not _has_best_labels(catalog, run_id)]
    of_old_runs = videos.filter(pc.is_in(videos["run_id"], pa.array(old, pa.string())))
    unhashed = videos.filter(pc.is_null(videos["content_hash"])).to_pylist() if mode != "none" else []
    found = {
        row["video_id"]
        for row in unhashed
        if fingerprint.current(storage.path_of_uri(row["uri"])) == row["fingerprint"]
    }
    return _Lacking(set(of_old_runs["video_id"].to_pylist()), found)


def _has_best_labels(catalog: Catalog, run_id: str) -> bool:
    for path in catalog.paths_of("videos", run_id):
        with catalog.opened(catalog.path(path), "videos") as parquet:
            names = parquet.schema_arrow.names
        if "run_id" not in names:
            return "best_label" in names
        # Packed files have all columns. A run of an earlier release has no settings of best labels and no best label.
        labels = catalog.read_part(path, "videos", run_id, ["best_label"])["best_label"]
        if catalog.run(run_id).config.hedging != DEFAULT or labels.null_count < len(labels):
            return True
    return not catalog.paths_of("videos", run_id)


def _upgrade(catalog: Catalog, run_id: str | None, lacking: _Lacking) -> Upgrade:
    videos = latest.latest_videos(catalog, ["content_hash"])
    hashed = videos.filter(pc.is_valid(videos["content_hash"]))
    pictured = latest.latest_thumbnails(catalog, ["video_id"], posters=True)["video_id"].unique()
    return Upgrade(
        run_id=run_id,
        videos=len(lacking.best_labels | lacking.content_hashes),
        best_labels=len(lacking.best_labels),
        content_hashes=len(lacking.content_hashes & set(hashed["video_id"].to_pylist())),
        not_hashed=len(videos) - len(hashed),
        without_thumbnails=len(videos) - len(pictured),
    )
