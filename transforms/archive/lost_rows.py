"""Finds the known videos that cannot be taken over because a file with their rows is damaged."""

import contextlib
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from transforms.archive.known_content import KnownVideo
from transforms.catalog.runs import Catalog, CatalogError
from transforms.catalog.schemas import VIDEO_TABLES, VideoTable


class DamagedFile(NamedTuple):
    """A file of an earlier run.

    Attributes:
        table: its table.
        run_id: its run.
        path: its path, below the catalog.
    """

    table: VideoTable
    run_id: str
    path: str


class LostRows:
    """The known videos whose rows are not all readable; it learns of damaged files from the errors of jobs."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._damaged: set[DamagedFile] = set()
        self._videos: set[tuple[str, str]] = set()

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of the damaged files, below the catalog."""
        return tuple(sorted(file.path for file in self._damaged))

    def has(self, known: KnownVideo) -> bool:
        """Tells whether rows of a known video are lost."""
        return bool({(known.run_id, known.video_id), (known.thumbnails_run, known.video_id)} & self._videos)

    def learn(self, error: Exception, known: Iterable[KnownVideo]) -> DamagedFile | None:
        """Takes what the error of a job says of a damaged file.

        Args:
            error: of the job.
            known: the known videos that the job might take over.

        Returns:
            The file that the error names; None if it names none that holds rows of the known videos, or one of before.

        Raises:
            CatalogError: the list of a run's files or of its videos is damaged as well.
        """
        found = [file for file in self._named(str(error), known) if file not in self._damaged]
        if not found:
            return None
        self._damaged.update(found)
        for file in found:
            self._videos |= {(file.run_id, video_id) for video_id in self._lost_with(file)}
        return found[0]

    def _named(self, said: str, known: Iterable[KnownVideo]) -> list[DamagedFile]:
        """Returns the first file that an error names, once for each run of the known videos that has rows in it."""
        runs = {run_id for one in known for run_id in (one.run_id, one.thumbnails_run) if run_id}
        files = [
            DamagedFile(table, run_id, path)
            for run_id in sorted(runs)
            for table in VIDEO_TABLES
            for path in self._catalog.paths_of(table, run_id)
        ]
        path = next((file.path for file in files if file.path in said), None)
        return [file for file in files if file.path == path]

    def _lost_with(self, damaged: DamagedFile) -> set[str]:
        """Returns the ids of the run's videos that have fewer rows in the other files of the table than they should."""
        rows, table = self._rows_beside(damaged), damaged.table
        return {
            video_id
            for batch in self._catalog.read_batches("videos", damaged.run_id, ["video_id", "frames_sampled"])
            for video_id, frames in zip(batch["video_id"].to_pylist(), batch["frames_sampled"].to_pylist(), strict=True)
            if rows[video_id] < (frames if table == "frames" else 1)
        }

    def _rows_beside(self, damaged: DamagedFile) -> Counter[str]:
        rows: Counter[str] = Counter()
        for path in self._catalog.paths_of(damaged.table, damaged.run_id):
            if path in self.files:
                continue
            with contextlib.suppress(CatalogError):  # the next job will name this file
                part = self._catalog.read_part(path, damaged.table, damaged.run_id, ["video_id"])
                rows.update(part["video_id"].to_pylist())
        return rows
