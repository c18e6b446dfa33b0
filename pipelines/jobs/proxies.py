"""Makes the proxies that are missing and removes those that nobody needs any more."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from models.atomic_file import atomic_path
from pipelines.terminal.progress import step
from transforms import storage
from transforms.catalog.lock import CatalogLock
from transforms.catalog.proxies import FOLDER, is_current, list_proxies, list_unfinished, proxy_path
from transforms.catalog.reading.latest import latest_videos
from transforms.catalog.runs import Catalog, CatalogError
from transforms.decoder.proxies import ProxyMaker
from transforms.storage import Fence
from transforms.video.failures import VideoError
from transforms.video.playable import is_playable
from transforms.video.proxy import require_encoder

COLUMNS: Final = ["container", "codec", "duration_s", "size_bytes", "fingerprint", "processed_at"]

_FINISHED: Final = "[!.]*.mp4"
"""Glob of the names of finished proxies; those of unfinished ones begin with a dot."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class ProxiesRequest:
    """The request for proxies; see `reelbeam proxies --help`."""

    catalog: str
    height: int
    workers: int


@dataclass(frozen=True)
class ProxiesSummary:
    """What was done.

    Attributes:
        catalog: its folder.
        height: of the proxies in pixels, at most.
        made: number of proxies that were made.
        kept: number of proxies that were there.
        removed: number of proxies that were removed: of videos that changed or are gone, or of another height.
        failed: number of videos without a proxy.
        failures: number of these by reason.
        size_bytes: size of all proxies now.
        video_hours: length of the videos whose proxies were made, in hours.
        elapsed_s: wall time in seconds.
    """

    catalog: str
    height: int
    made: int
    kept: int
    removed: int
    failed: int
    failures: dict[str, int]
    size_bytes: int
    video_hours: float
    elapsed_s: float


def run_proxies(request: ProxiesRequest, failed: Callable[[Row, VideoError], Any]) -> ProxiesSummary:
    """Makes the proxies that a catalog lacks, newest videos first, and removes those that are of no use.

    Proxies have a lock of their own, beside the catalog's: making them takes as long as a night, and a night can be
    under way meanwhile. It writes nothing below ``proxies/``, and this reads only runs that are committed. A night that
    commits while proxies are made leaves proxies of earlier versions, which readers do not see and the next call
    removes.

    A proxy that an interrupted call has finished is kept. One that it has not finished has another name, which the next
    call removes; a child that still writes into it writes a file without a name, and notices that it is alone.

    Args:
        request: what to do.
        failed: called with the row of each video that gets no proxy, and why.

    Raises:
        CatalogError: there is no catalog with a finished run.
        CatalogLocked: another call is making proxies.
        CatalogLockLost: another call took over.
        NoEncoder: this build of PyAV cannot encode.
        ChildCannotStart: this machine cannot start a child.
        SpoolError: a proxy cannot be written.
    """
    began = time.monotonic()
    require_encoder()
    catalog = Catalog.open(request.catalog)
    if not catalog.run_ids():
        raise CatalogError(f"no finished run in {catalog.root}: run `reelbeam classify` first")
    with CatalogLock(catalog.path(FOLDER), "reelbeam proxies") as lock:
        rows = {row["video_id"]: row for row in unplayable(catalog)}
        wanted = {proxy_path(catalog, row, request.height): row for row in rows.values()}
        storage.delete(file.path for file in list_unfinished(catalog))
        removed = _remove(catalog, lambda file: is_current(file, rows), lock.check)
        there = {file.path for file in list_proxies(catalog)}
        todo = {path: row for path, row in wanted.items() if path not in there}
        made = _make(todo, request, failed, lock.check, len(wanted))
        # Until now, the page could play those of another height.
        removed += _remove(catalog, lambda file: file.path in wanted, lock.check)
        files = list_proxies(catalog)
    return ProxiesSummary(
        storage.uri_of_path(catalog.root), request.height, len(made.videos_s), len(wanted) - len(todo), removed,
        sum(made.failures.values()), dict(made.failures.most_common()), sum(file.size_bytes for file in files),
        sum(made.videos_s) / 3600, time.monotonic() - began,
    )  # fmt: skip


def unplayable(catalog: Catalog) -> list[dict[str, Any]]:
    """Returns the rows of the latest videos that a browser does not play, with `COLUMNS`, newest first."""
    rows: list[dict[str, Any]] = latest_videos(catalog, COLUMNS).to_pylist()
    kept = [row for row in rows if not row["gone"] and not is_playable(row)]
    return sorted(kept, key=lambda row: row["processed_at"], reverse=True)


def _remove(catalog: Catalog, is_needed: Callable[[storage.File], bool], fence: Fence) -> int:
    """Removes the proxies that are not needed and the folders that are then empty; returns how many proxies."""
    paths = [file.path for file in list_proxies(catalog) if not is_needed(file)]
    if paths:
        fence()
        storage.delete(paths)
    for folder in sorted({path.rsplit("/", 1)[0] for path in paths}):
        if not storage.list_files(folder):
            storage.delete_tree(folder)
    return len(paths)


@dataclass(frozen=True)
class _Made:
    """Lengths in seconds of the videos whose proxies were made, and the number of failures by reason."""

    videos_s: list[float]
    failures: Counter[str]


def _make(
    todo: Mapping[str, Row], request: ProxiesRequest, failed: Callable[[Row, VideoError], Any], fence: Fence, total: int
) -> _Made:
    made = _Made([], Counter())
    if not todo:
        return made
    folder = next(iter(todo)).rsplit("/", 1)[0]
    storage.make_folder(folder)
    with step("Making proxies", folder, _FINISHED, total), _threads(request.workers) as (threads, maker):
        rows = {threads.submit(_make_one, maker, path, row, request.height, fence): row for path, row in todo.items()}
        for future in as_completed(rows):
            try:
                made.videos_s.append(future.result())
            except VideoError as error:
                made.failures[error.reason] += 1
                failed(rows[future], error)
    return made


@contextmanager
def _threads(workers: int) -> Iterator[tuple[ThreadPoolExecutor, ProxyMaker]]:
    """Yields threads and the children that they wait for; whatever still runs when the block ends is ended."""
    maker = ProxyMaker(workers)
    threads = ThreadPoolExecutor(workers, thread_name_prefix="proxies")
    try:
        yield threads, maker
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        maker.close()
        threads.shutdown()  # they remove their temporary files


def _make_one(maker: ProxyMaker, path: str, row: Row, height: int, fence: Fence) -> float:
    """Makes a proxy at a path; returns its length in seconds."""
    with _written(path, fence) as part:
        made = maker.make(row["uri"], row["fingerprint"], row["duration_s"], row["size_bytes"], str(part), height)
    return made.duration_s


@contextmanager
def _written(path: str, fence: Fence) -> Iterator[Path]:
    """Yields a local path for a proxy that gets its name, or is uploaded, when the block ends."""
    if storage.is_local(path):
        with atomic_path(Path(path), fence) as part:
            yield part
        return
    with TemporaryDirectory(prefix="reelbeam-") as folder:
        part = Path(folder) / path.rsplit("/", 1)[-1]
        yield part
        storage.upload(part, path, FOLDER, fence)
