"""Runs one night: lists the archive, skips what has not changed, and commits the rest in one or more parts."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from socket import gethostname
from typing import Any, Final, NamedTuple

from models.errors import ReelbeamError
from models.visual.bundle import ModelBundle
from pipelines.jobs.classify.ending import Part, Parts, like
from pipelines.jobs.classify.request import JobInput, NightRequest
from pipelines.jobs.compact import compact_after_night
from transforms.archive.comparison import Comparison
from transforms.archive.ignored import FORGOTTEN, Ignored, in_words
from transforms.archive.listing import LINK, each_video
from transforms.archive.lost_rows import LostRows
from transforms.archive.todo_lists import videos_of_todo_lists, write_todo_lists
from transforms.archive.todo_queue import TodoQueue
from transforms.catalog import schemas
from transforms.catalog.attempt import Attempt
from transforms.catalog.commit import commit, publish, write_gone, write_no_files
from transforms.catalog.forgetting.tombstones import Tombstones
from transforms.catalog.lock import CatalogLock
from transforms.catalog.overview.nights import as_one, commonest_best_labels
from transforms.catalog.records import Counts, RunRecord, StartedRun
from transforms.catalog.runs import Catalog

_LOG: Final = logging.getLogger("reelbeam.night")


class NothingFound(ReelbeamError):
    """The archive holds no video: the path is probably wrong, or a disk is not mounted."""


class Night(NamedTuple):
    """A finished night.

    Attributes:
        parts: records of its runs, oldest first; empty for a template, whose job runs later and commits its run itself.
        resumed: whether it took up an unfinished run.
        stopped_by: the option that ended it before all videos were handed out; None if none did.
    """

    parts: list[RunRecord]
    resumed: bool
    stopped_by: str | None

    def record(self, catalog: Catalog) -> RunRecord:
        """Returns the night's record, as if it were one run."""
        if len(self.parts) == 1:
            return self.parts[0]
        labels = commonest_best_labels(catalog, [part.run_id for part in self.parts])
        return replace(as_one(self.parts), labels=labels)


@dataclass(frozen=True)
class Watchers:
    """What is told of a night while it goes on.

    Attributes:
        job: called with a run's work folder; returns a context manager that shows progress while the job runs.
        committed: called with the record of each part, once it is committed.
    """

    job: Callable[[str], AbstractContextManager[None]]
    committed: Callable[[RunRecord], None] = lambda record: None


def list_archive(request: NightRequest, comparison: Comparison) -> dict[str, int]:
    """Adds the archive's videos to a comparison; returns the number of other files by their ending or the rule.

    Raises:
        ArchiveError: the archive cannot be listed.
        NothingFound: the archive holds no video.
    """
    ignored = Ignored(request.selection.rules)
    listed = 0
    for archive in request.archives:
        videos = each_video([archive], follow_links=request.follow_links, selection=request.selection, ignored=ignored)
        listed += comparison.list_videos(videos, in_order=archive.startswith("@"))
    if not listed:
        where, left = ", ".join(request.archives), ignored.table()
        hint = "--include takes files of other endings" if left else "is the path right, and the disk mounted?"
        raise NothingFound(f"no videos found in {where}; ignored: {in_words(left)}; nothing was changed; {hint}")
    links = comparison.links()
    return {**ignored.table(), **({LINK: links} if links else {})}


def with_forgotten(ignored: dict[str, int], forgotten: int) -> dict[str, int]:
    """Returns a table of ignored files with the videos that are left out because they were forgotten."""
    return {**ignored, FORGOTTEN: forgotten} if forgotten else ignored


def run_night(
    request: NightRequest,
    bundle: ModelBundle,
    beam_arguments: Sequence[str],
    watchers: Watchers,
    clock: Callable[[], float] = time.time,
) -> Night:
    """Runs one night and commits it, part by part; the same lock is held over all parts.

    Args:
        request: what to do.
        bundle: the model.
        beam_arguments: options for Beam, as on the command line.
        watchers: what is told of it.
        clock: returns the time in seconds since 1970.

    Raises:
        CatalogLocked: another run holds the catalog.
        CatalogLockLost: another run took the catalog over; nothing more is committed.
        ArchiveError: the archive cannot be listed.
        NothingFound: the archive holds no video.
        StorageError: a file of the catalog cannot be read or written.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        comparison = stack.enter_context(Comparison())
        ignored = list_archive(request, comparison)
        lock = stack.enter_context(CatalogLock(request.catalog))
        _finish_forgetting(Catalog(request.catalog), lock)
        run = _NightRun(request, bundle, beam_arguments, watchers, lock, ignored)
        queue = run.compare(comparison, stack)
        night = run.finish(queue, clock, began)
        compact_after_night(Catalog(request.catalog), lock, datetime.now(UTC))
        return night


def _finish_forgetting(catalog: Catalog, lock: CatalogLock) -> None:
    """Goes on with a `reelbeam forget` that was interrupted."""
    if Tombstones.read(catalog).pending:
        # FAISS takes long to import; other nights do not need it.
        from transforms.catalog.forgetting.forget import finish_forgetting

        finish_forgetting(catalog, lock.check)
        _LOG.warning("an interrupted `reelbeam forget` was finished")


class _NightRun:
    """A night under its lock."""

    def __init__(
        self, request: NightRequest, bundle: ModelBundle, beam_arguments: Sequence[str], watchers: Watchers,
        lock: CatalogLock, ignored: dict[str, int],
    ) -> None:  # fmt: skip
        self._request = request
        self._bundle = bundle
        self._beam_arguments = beam_arguments
        self._watchers = watchers
        self._lock = lock
        self._ignored = ignored
        self._catalog = Catalog(request.catalog)
        self._resumed = self._catalog.to_resume(request.config)
        self._parts: list[RunRecord] = []

    def compare(self, comparison: Comparison, stack: ExitStack) -> TodoQueue:
        """Finds out what there is to do, and starts the night's first run.

        Returns:
            The videos to process in the night's order; `stack` closes the queue.
        """
        request, resumed = self._request, self._resumed
        tonight = resumed.nights if resumed else []
        self._backlog = comparison.compare(self._catalog, request.config, tonight)
        self._ignored = with_forgotten(self._ignored, self._backlog.forgotten)
        if resumed:
            # What it had in hand comes first, so that its finished chunks are used.
            in_hand = videos_of_todo_lists(self._catalog.work_folder(resumed.run_id))
            comparison.put_first(video.video_id for video in in_hand)
        queue = stack.enter_context(comparison.queue(request.ending.order))
        self._run = self._start(tonight)
        gone = comparison.gone(request.archives, request.selection)
        write_gone(self._catalog, self._run, gone, self._lock.check)
        comparison.close()  # the job needs the memory
        return queue

    def finish(self, queue: TodoQueue, clock: Callable[[], float], began: float) -> Night:
        """Runs and commits the parts; `began` is the monotonic time at which the first of them began."""
        ending = self._request.ending
        earlier = like(self._catalog.runs(), self._request.config, ending.runner, gethostname())
        parts = Parts(ending, queue, earlier, clock)
        part = parts.next()
        while True:
            record = self._finish_part(queue, part, self._counts(part, parts.left), began)
            if record is None:
                break
            self._parts.append(record)
            self._watchers.committed(record)
            parts.learn(record)
            began, part = time.monotonic(), parts.next()
            if part is None:
                break
            self._start_next(record)
        return Night(self._parts, self._resumed is not None, parts.stopped_by)

    def _start(self, interrupted: Sequence[str], night: str = "") -> StartedRun:
        run = self._catalog.start_run(
            self._request.config, self._request.archives, datetime.now(UTC), self._lock.check,
            follow_links=self._request.follow_links, night=night, interrupted=interrupted,
        )  # fmt: skip
        self._lock.name_run(run.run_id)
        return run

    def _start_next(self, before: RunRecord) -> None:
        """Starts the run of the next part. What is gone was noticed by the first part."""
        self._run = self._start(self._run.interrupted, before.night_id)
        gone = self._catalog.read_batches("gone", before.run_id, schemas.GONE.names)
        write_gone(self._catalog, self._run, gone, self._lock.check)

    def _counts(self, part: Part | None, left: int) -> Counts:
        """Returns the counts that are known before a part's job: what earlier parts had counts as skipped."""
        backlog, before = self._backlog, part.first if part else 0
        return Counts(backlog.found, backlog.skipped + before, given_up=backlog.given_up, left=left)

    def _finish_part(self, queue: TodoQueue, part: Part | None, counts: Counts, began: float) -> RunRecord | None:
        """Runs the job of a part and commits it; returns None for a template."""
        metrics: dict[str, Any] = {}
        runner = ""
        if part is None:
            write_no_files(self._catalog, self._run, self._lock.check)
        else:
            done = self._run_job(queue, part, counts)
            if done is None:
                return None
            metrics, runner = done
        elapsed_s = time.monotonic() - began
        return commit(self._catalog, self._run, counts, metrics, elapsed_s, runner, self._lock.check, self._ignored)

    def _run_job(self, queue: TodoQueue, part: Part, counts: Counts) -> tuple[dict[str, Any], str] | None:
        """Runs the job of a part; runs it again without the known videos of a damaged file where one ended it."""
        publish(self._bundle, self._catalog, feature_map=bool(self._request.config.regions))
        lost = LostRows(self._catalog)
        while True:
            try:
                return self._try_job(queue, part, counts, lost)
            except Exception as error:
                self._lock.check()
                damaged = lost.learn(error, (known for _, known in queue.known(*part)))
                if damaged is None:
                    raise
                _LOG.warning(
                    "%s is damaged; moved and copied videos with rows in it are decoded; `reelbeam verify` lists all "
                    "damage", damaged.path,
                )  # fmt: skip

    def _try_job(
        self, queue: TodoQueue, part: Part, counts: Counts, lost: LostRows
    ) -> tuple[dict[str, Any], str] | None:
        self._lock.check()
        start = prepare_job(self._catalog, self._run, queue, part, lost)
        with self._watchers.job(self._catalog.work_folder(self._run.run_id)):
            # Beam and the decoders take a second to import; a night with nothing new does not need them.
            from transforms.decoder.pool import ready_forkserver

            ready_forkserver()
            from pipelines.jobs.classify.graph import run_job

            return run_job(
                self._catalog, self._run, self._request, self._bundle, counts, start, self._beam_arguments,
                self._ignored,
            )  # fmt: skip


def prepare_job(catalog: Catalog, run: StartedRun, queue: TodoQueue, part: Part, lost: LostRows) -> JobInput:
    """Empties a run's work folder except for finished chunks, and writes the todo lists of a part of the night.

    Raises:
        StorageError: the work folder cannot be written.
    """
    work = catalog.work_folder(run.run_id)
    attempt = Attempt.begin(work)
    known = (pair for pair in queue.known(*part) if not lost.has(pair[1]))
    todo_lists = write_todo_lists(work, queue.videos(*part), known)
    return JobInput(attempt, todo_lists, queue.count_known(*part), lost.files)
