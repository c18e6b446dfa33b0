"""Gives a whole catalog new labels: a run made from the stored rows and committed as any other."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from models.visual.labels import ACCURACY
from pipelines.jobs.hedging import read_hedging
from pipelines.jobs.stored_rows import write_again
from transforms.catalog import schemas
from transforms.catalog.commit import commit, publish, write_failures, write_gone, write_no_files
from transforms.catalog.forgetting.forget import finish_forgetting
from transforms.catalog.index.source import IndexedVideo, LiveVideos
from transforms.catalog.lock import CatalogLock
from transforms.catalog.reading import latest
from transforms.catalog.reading.labelled_videos import newest_config
from transforms.catalog.records import Counts, RunConfig, RunRecord
from transforms.catalog.rows.heads import head_for
from transforms.catalog.runs import Catalog


@dataclass(frozen=True)
class RelabelRequest:
    """The request for relabelling; see `reelbeam relabel --help`.

    Attributes:
        catalog: the catalog's folder.
        model: the head's file.
        label_accuracy: wanted share of right best labels.
        hierarchy: path of a table of broader names; None for none.
        vocabulary: path of the words that the head was made from, for the record; None for a head that was trained.
        rows_of: whose rows get labels, as of `Catalog`; those of the newest run by default.
    """

    catalog: str
    model: str
    label_accuracy: float = ACCURACY
    hierarchy: str | None = None
    vocabulary: str | None = None
    rows_of: str | None = None


_KNOWN: Final = "CREATE TABLE known (video_id VARCHAR, fingerprint VARCHAR, run_id VARCHAR)"

_NEWEST_KNOWN: Final = """
CREATE OR REPLACE TABLE known AS
SELECT video_id, max_by(fingerprint, run_id) AS fingerprint FROM known GROUP BY video_id
"""

_NEW: Final = "(video_id, fingerprint) NOT IN (SELECT (video_id, fingerprint) FROM known)"
"""The head has not labelled the same file before."""


class _Todo:
    """Videos and failures that have no labels of the head yet.

    Attributes:
        videos: number of the videos.
        failures: rows of the failures.
        skipped: number of the videos and failures that have such labels.
    """

    def __init__(self, catalog: Catalog, live: LiveVideos, config: RunConfig) -> None:
        database = self._database = live.database
        self._live = live
        database.execute(_KNOWN)
        for batch in latest.outcomes_like(catalog, config):
            columns = {name: batch[name] for name in ("video_id", "fingerprint", "run_id")}
            database.insert("known", columns)
        database.execute(_NEWEST_KNOWN)
        ((self.videos,),) = database.execute(f"SELECT count(*) FROM live WHERE {_NEW}")
        failures = latest.latest_failures(catalog)
        self.failures = failures.filter(pc.is_in(failures["video_id"], self._new(failures)))
        self.skipped = len(live) + len(failures) - self.videos - len(self.failures)

    def each_video(self) -> Iterator[IndexedVideo]:
        """Yields the videos, in the order of the frames files."""
        return self._live.where(_NEW)

    def _new(self, failures: pa.Table) -> pa.Array:
        """Returns the ids of those of some failures that are new."""
        columns = {name: failures[name] for name in ("video_id", "fingerprint")}
        self._database.execute("CREATE TABLE failed (video_id VARCHAR, fingerprint VARCHAR)")
        self._database.insert("failed", columns)
        batches = self._database.batches(f"SELECT video_id FROM failed WHERE {_NEW}")
        return pa.chunked_array([batch["video_id"] for batch in batches], pa.string()).combine_chunks()


def run_relabel(
    request: RelabelRequest, options: PipelineOptions, watch: Callable[[str], Any]
) -> tuple[RunRecord, bool]:
    """Gives every video of the catalog the labels of a head and commits them as a run; embeddings stay as they are.

    Videos that have these labels already are skipped. Failures and gone files are copied, so that the new run holds all
    that the catalog knows. A run that was killed is continued.

    Args:
        request: what to do.
        options: Beam's.
        watch: as of `pipelines.jobs.classify.night.Watchers.job`.

    Raises:
        CatalogError: there is no catalog, or a file of it is damaged.
        CatalogLocked: another command holds the catalog.
        CatalogLockLost: another command took the catalog over; nothing is committed.
        HeadError: the model is no head, or takes another backbone's embeddings.
        LabelsError: the hierarchy cannot be read, or is not one of the head's classes.
        ModelError: the head cannot be loaded.
        StorageError: a file of the catalog cannot be read or written.
    """
    began = time.monotonic()
    catalog = Catalog.open(request.catalog, request.rows_of)
    stored = newest_config(catalog)
    bundle = head_for(catalog, stored, request.model)
    hedging = read_hedging(bundle, request.model, request.label_accuracy, request.hierarchy)
    with CatalogLock(catalog.root, "reelbeam relabel") as lock:
        finish_forgetting(catalog, lock.check)
        newest = catalog.newest_run()
        assert newest is not None
        # Nothing is decoded: readers find the thumbnails in the runs that decoded the videos.
        config = replace(
            stored,
            model=request.vocabulary or request.model,
            model_fingerprint=bundle.fingerprint,
            rows_fingerprint=bundle.fingerprints.other_rows,
            thumbnail_seconds="0",
            hedging=hedging,
        )
        with LiveVideos(catalog, also_gone=True) as live:
            todo = _Todo(catalog, live, config)
            unfinished = catalog.unfinished()
            run = catalog.start_run(
                config, newest.archives, datetime.now(UTC), lock.check, follow_links=newest.follow_links
            )
            lock.name_run(run.run_id)
            publish(bundle, catalog)
            metrics: dict[str, Any] = {}
            if todo.videos:
                lock.check()
                with watch(catalog.work_folder(run.run_id)):
                    metrics = write_again(catalog, run, bundle, todo.each_video(), options)
            else:
                write_no_files(catalog, run, lock.check)
        if len(todo.failures):
            write_failures(catalog, run, _carried_over(todo.failures, config), lock.check)
        gone = catalog.read_batches("gone", newest.run_id, schemas.GONE.names)
        write_gone(catalog, run, gone, lock.check)
        found = todo.skipped + todo.videos + len(todo.failures)
        known = Counts(discovered=found, skipped=todo.skipped)
        runner = options.view_as(StandardOptions).runner or ""
        record = commit(catalog, run, known, metrics, time.monotonic() - began, runner, lock.check)
    return record, unfinished is not None and unfinished.run_id == run.run_id


def _carried_over(failures: pa.Table, config: RunConfig) -> pa.Table:
    """Returns failures as those of the head; their attempts stay, so that nights with the head go on counting."""
    table = failures.select(schemas.FAILURES.names)
    column = table.schema.get_field_index("model_fingerprint")
    fingerprints = pa.repeat(pa.scalar(config.model_fingerprint, pa.string()), len(table))
    return table.set_column(column, "model_fingerprint", fingerprints)
