"""Finds regions in videos that earlier runs decoded: a run of its own, which writes the table `regions` alone.

The sampled frames are decoded again and the model looks at them again, because neither pictures nor feature maps are
stored. The same steps as at night do it, so the rows are those that a night with ``--regions`` writes.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from models.visual.bundle import ModelBundle, prepare
from models.visual.errors import ModelError
from pipelines.jobs.classify.graph import run_job
from pipelines.jobs.classify.request import JobInput, NightRequest
from pipelines.jobs.region_models import RegionsModel, open_regions
from transforms.archive.todo_lists import write_todo_lists
from transforms.catalog import schemas
from transforms.catalog.attempt import Attempt
from transforms.catalog.bundles import local_model
from transforms.catalog.commit import commit, publish, write_gone, write_no_files
from transforms.catalog.forgetting.forget import finish_forgetting
from transforms.catalog.lock import CatalogLock
from transforms.catalog.reading.labelled_videos import catalog_bundle, newest_config
from transforms.catalog.reading.latest import latest_videos
from transforms.catalog.reading.regions import with_regions
from transforms.catalog.records import Counts, RunConfig, RunRecord, StartedRun
from transforms.catalog.runs import Catalog
from transforms.decoder.settings import DecoderSettings
from transforms.video.segments import Video

FAILURES = "failures."
"""Beginning of the names of Beam's counters of failures by reason."""


@dataclass(frozen=True)
class RegionsRequest:
    """The request for regions; see `reelbeam regions --help`.

    Attributes:
        catalog: the catalog's folder.
        decoders: how decoder children are run.
        regions: ``maps``, or the folder of a segmentation model.
        model: the classifier that made the catalog's rows; None for what the catalog says.
        weights: its weights, if the night named some.
    """

    catalog: str
    decoders: DecoderSettings
    regions: str
    model: str | None = None
    weights: str | None = None


class RegionsFound(NamedTuple):
    """What was done.

    Attributes:
        record: the run's record; None if every video had regions.
        videos: number of videos that have regions now and had none.
        skipped: number of videos that had some.
        failures: number of failures of videos and their segments, by reason; these videos' other rows stay.
        resumed: whether an interrupted run was gone on with.
    """

    record: RunRecord | None
    videos: int
    skipped: int
    failures: dict[str, int]
    resumed: bool = False


def run_regions(request: RegionsRequest, beam_arguments: Sequence[str], watch: Callable[[str], Any]) -> RegionsFound:
    """Finds the regions of the latest videos that have none of this kind, and commits them as a run.

    Args:
        request: what to do.
        beam_arguments: options for Beam, as on the command line.
        watch: as of `pipelines.jobs.classify.night.Watchers.job`.

    Raises:
        CatalogError: there is no catalog, or a file of it is damaged.
        CatalogLocked: another command holds the catalog.
        CatalogLockLost: another command took the catalog over; nothing is committed.
        ModelError: the model is another than that of the catalog's rows, or has no regions.
        StorageError: a file of the catalog cannot be read or written.
    """
    catalog = Catalog.open(request.catalog)
    bundle, model = _classifier(catalog, newest_config(catalog), request)
    way = open_regions(request.regions, bundle, model, request.weights)
    with CatalogLock(catalog.root, "reelbeam regions") as lock:
        finish_forgetting(catalog, lock.check)
        return _RegionsRun(catalog, request, bundle, way, lock).run(beam_arguments, watch)


class _RegionsRun:
    """A run under its lock."""

    def __init__(
        self, catalog: Catalog, request: RegionsRequest, bundle: ModelBundle, way: RegionsModel, lock: CatalogLock
    ) -> None:
        self._catalog = catalog
        self._request = request
        self._bundle = bundle
        self._lock = lock
        config = replace(newest_config(catalog), thumbnail_seconds="0", content_hash="none", only_regions=True)
        self._config = way.in_config(config)

    def run(self, beam_arguments: Sequence[str], watch: Callable[[str], Any]) -> RegionsFound:
        began = time.monotonic()
        todo, skipped = _todo(self._catalog, self._config)
        if not todo:
            return RegionsFound(None, 0, skipped, {})
        resumed = self._catalog.to_resume(self._config) is not None
        run = self._start()
        counts = Counts(discovered=len(todo) + skipped, skipped=len(todo) + skipped)
        publish(self._bundle, self._catalog, feature_map=True)
        with watch(self._catalog.work_folder(run.run_id)):
            done = self._run_job(run, todo, counts, beam_arguments)
        if done is None:  # a template, whose job commits the run
            return RegionsFound(None, 0, skipped, {})
        metrics, runner = done
        record = commit(self._catalog, run, counts, metrics, time.monotonic() - began, runner, self._lock.check)
        left, _ = _todo(self._catalog, self._config)
        failures = {name.removeprefix(FAILURES): n for name, n in metrics.items() if name.startswith(FAILURES)}
        return RegionsFound(record, len(todo) - len(left), skipped, failures, resumed)

    def _start(self) -> StartedRun:
        newest = self._catalog.newest_run()
        assert newest is not None
        run = self._catalog.start_run(
            self._config, newest.archives, datetime.now(UTC), self._lock.check, follow_links=newest.follow_links
        )
        self._lock.name_run(run.run_id)
        gone = self._catalog.read_batches("gone", newest.run_id, schemas.GONE.names)
        write_gone(self._catalog, run, gone, self._lock.check)
        write_no_files(self._catalog, run, self._lock.check)
        return run

    def _run_job(
        self, run: StartedRun, todo: Sequence[Video], counts: Counts, beam_arguments: Sequence[str]
    ) -> tuple[dict[str, Any], str] | None:
        work = self._catalog.work_folder(run.run_id)
        start = JobInput(Attempt.begin(work), write_todo_lists(work, todo))
        night = NightRequest((), self._catalog.root, self._config, self._request.decoders, None, follow_links=False)
        return run_job(self._catalog, run, night, self._bundle, counts, start, beam_arguments)


def _todo(catalog: Catalog, config: RunConfig) -> tuple[list[Video], int]:
    """Returns the latest videos that have no such regions and are not gone, and the number of those that have some."""
    columns = ["video_id", "uri", "size_bytes", "modified", "fingerprint"]
    rows = [row for row in latest_videos(catalog, columns).to_pylist() if not row["gone"]]
    have = with_regions(catalog, config.regions_fingerprint)
    todo = [_video(row) for row in rows if (row["video_id"], row["fingerprint"]) not in have]
    return todo, len(rows) - len(todo)


def _video(row: dict[str, Any]) -> Video:
    modified_s = row["modified"].timestamp()
    return Video(row["video_id"], row["uri"], row["size_bytes"], modified_s, row["fingerprint"])


def _classifier(catalog: Catalog, config: RunConfig, request: RegionsRequest) -> tuple[ModelBundle, str]:
    """Prepares the classifier of the catalog's rows for a CPU; returns it with what it was prepared from."""
    model = local_model(request.model or config.model)
    if model.endswith((".csv", ".tsv")):
        raise ModelError(
            f"the catalog's labels are the words of {model}: give the head that was made of them, --model HEAD.keras"
        )
    precision = catalog_bundle(catalog, config).precision
    bundle = prepare(model, precision=precision, weights=request.weights, device="cpu")
    if bundle.rows_fingerprint != (config.rows_fingerprint or config.model_fingerprint):
        raise ModelError(
            f"{model} is not the model that made the rows of the catalog, {config.model} "
            f"{config.model_fingerprint[:12]}: name that one with --model, and its --weights"
        )
    return bundle, model
