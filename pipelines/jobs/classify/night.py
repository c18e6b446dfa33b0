"""Runs one night: lists the archive, skips what has not changed, runs the Beam job over the rest and commits."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from models.errors import ReelbeamError
from models.visual.bundle import ModelBundle
from pipelines.jobs.classify.request import JobInput, NightRequest
from transforms.archive.comparison import Comparison
from transforms.archive.ignored import Ignored, in_words
from transforms.archive.listing import LINK, each_video
from transforms.archive.todo_lists import write_todo_lists
from transforms.catalog.attempt import Attempt
from transforms.catalog.commit import commit, publish, write_gone, write_no_files
from transforms.catalog.lock import CatalogLock
from transforms.catalog.runs import Catalog, Counts, RunRecord, StartedRun


class NothingFound(ReelbeamError):
    """The archive holds no video: the path is probably wrong, or a disk is not mounted."""


def list_archive(request: NightRequest, comparison: Comparison) -> dict[str, int]:
    """Adds the archive's videos to a comparison; returns the number of other files by their ending or the rule.

    Raises:
        ArchiveError: the archive cannot be listed.
        NothingFound: the archive holds no video.
    """
    ignored = Ignored(request.selection.rules)
    videos = each_video(
        request.archives, follow_links=request.follow_links, selection=request.selection, ignored=ignored
    )
    if not comparison.list_videos(videos):
        where, left = ", ".join(request.archives), ignored.table()
        hint = "--include takes files of other endings" if left else "is the path right, and the disk mounted?"
        raise NothingFound(f"no videos found in {where}; ignored: {in_words(left)}; nothing was changed; {hint}")
    links = comparison.links()
    return {**ignored.table(), **({LINK: links} if links else {})}


def run_night(
    request: NightRequest,
    bundle: ModelBundle,
    beam_arguments: Sequence[str],
    watch: Callable[[str], Any],
) -> tuple[RunRecord | None, bool]:
    """Runs one night and commits it; returns its record and whether it took up an unfinished run.

    For a template there is no record: the job runs later and commits its run itself.

    Args:
        request: what to do.
        bundle: the model.
        beam_arguments: options for Beam, as on the command line.
        watch: called with the run's work folder; returns a context manager that shows progress while the job runs.

    Raises:
        CatalogLocked: another run holds the catalog.
        CatalogLockLost: another run took the catalog over; nothing is committed.
        ArchiveError: the archive cannot be listed.
        NothingFound: the archive holds no video.
        StorageError: a file of the catalog cannot be read or written.
    """
    began = time.monotonic()
    catalog = Catalog(request.catalog)
    with Comparison() as comparison:
        ignored = list_archive(request, comparison)
        with CatalogLock(request.catalog) as lock:
            backlog = comparison.compare(catalog, request.config)
            left = Counts(discovered=backlog.found, skipped=backlog.skipped, given_up=backlog.given_up)
            unfinished = catalog.unfinished()
            run = catalog.start_run(
                request.config, request.archives, datetime.now(UTC), lock.check, follow_links=request.follow_links
            )
            lock.name_run(run.run_id)
            write_gone(catalog, run, comparison.gone(request.archives, request.selection), lock.check)
            metrics: dict[str, Any] = {}
            runner = ""
            if backlog.todo:
                publish(bundle, catalog)
                lock.check()
                start = prepare_job(catalog, run, comparison)
                comparison.close()  # the job needs the memory
                with watch(catalog.work_folder(run.run_id)):
                    # Beam and the decoders take a second to import; a night with nothing new does not need them.
                    from transforms.decoder.pool import ready_forkserver

                    ready_forkserver()
                    from pipelines.jobs.classify.graph import run_job

                    done = run_job(catalog, run, request, bundle, left, start, beam_arguments, ignored)
                if done is None:
                    return None, False
                metrics, runner = done
            else:
                write_no_files(catalog, run, lock.check)
            elapsed_s = time.monotonic() - began
            record = commit(catalog, run, left, metrics, elapsed_s, runner, lock.check, ignored)
    return record, unfinished is not None and unfinished.run_id == run.run_id


def prepare_job(catalog: Catalog, run: StartedRun, comparison: Comparison) -> JobInput:
    """Empties a run's work folder except for finished chunks, and writes the todo lists.

    Raises:
        StorageError: the work folder cannot be written.
    """
    work = catalog.work_folder(run.run_id)
    attempt = Attempt.begin(work)
    return JobInput(attempt, write_todo_lists(work, comparison.todo(), comparison.known()), comparison.count_known())
