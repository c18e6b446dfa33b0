"""TakeOverVideos: writes rows for moved and copied videos from those of the videos that they are known as."""

from collections.abc import Iterable, Iterator

import apache_beam as beam
from apache_beam.metrics import Metrics

from transforms.archive.known_content import TakenOver
from transforms.catalog.attempt import UNFENCED, Attempt
from transforms.catalog.rows.chunks import worker_name
from transforms.catalog.rows.take_over import NewName, TakeOverSettings, files_of, take_over
from transforms.catalog.runs import Catalog
from transforms.catalog.schemas import VIDEO_TABLES, FileRow, VideoTable
from transforms.decoder import wire

PART_VIDEOS = 20_000
"""Known videos, about, that one worker looks for at once in the files of a run: 20 MB."""

Place = tuple[str, VideoTable, int]
"""Where rows are looked for: the run, the table, and the number of a part of the known videos."""


def places_of(taken_over: Iterable[TakenOver], parts: int) -> Iterator[tuple[Place, bytes]]:
    """Yields for each place the videos, packed, whose rows are looked for there.

    Args:
        taken_over: videos of one todo list.
        parts: number of parts that the known videos of a run are split into.
    """
    places: dict[Place, list[NewName]] = {}
    for one in taken_over:
        known = one.known
        runs = dict.fromkeys(VIDEO_TABLES, known.run_id) | {"thumbnails": known.thumbnails_run}
        for table, run_id in runs.items():
            if run_id:
                name = NewName(one.video, known.video_id, known.uri, one.content_hash, one.reuse, run_id)
                places.setdefault((run_id, table, int(known.video_id, 16) % parts), []).append(name)
    for place, names in places.items():
        yield place, wire.encode(names)


def parts_of(known_videos: int) -> int:
    """Returns the number of parts that so many known videos are split into."""
    return -(-known_videos // PART_VIDEOS) or 1


class TakeOverVideos(beam.PTransform):
    """Turns (place, packed `NewName`s), see `places_of`, into rows of the table `files`, and writes the files.

    For each file of an earlier run that holds rows of known videos, one file is written with these rows under the new
    names. A file's name follows from its content, so a retried bundle finds or overwrites its own files.
    """

    def __init__(self, settings: TakeOverSettings, attempt: Attempt = UNFENCED) -> None:
        super().__init__()
        self.settings = settings
        self.attempt = attempt

    def expand(self, places: beam.PCollection) -> beam.PCollection:
        """Applies the transform."""
        return (
            places
            | "By run" >> beam.GroupByKey()
            | "Find files" >> beam.ParDo(_FindFiles(self.settings))
            | "By file" >> beam.GroupByKey()
            | "Write again" >> beam.ParDo(_WriteAgain(self.settings, self.attempt))
        )


class _FindFiles(beam.DoFn):
    def __init__(self, settings: TakeOverSettings) -> None:
        self._settings = settings

    def process(self, element: tuple[Place, Iterable[bytes]]) -> Iterator[tuple[tuple[VideoTable, str], bytes]]:
        (run_id, table, _), packed = element
        catalog, damaged = Catalog(self._settings.catalog), self._settings.damaged
        for path, names in files_of(catalog, table, run_id, _unpacked(packed), damaged):
            yield (table, path), wire.encode(names)


class _WriteAgain(beam.DoFn):
    def __init__(self, settings: TakeOverSettings, attempt: Attempt) -> None:
        self._settings = settings
        self._attempt = attempt
        self._frames = Metrics.counter("take_over", "frames_taken_over")
        self._written = Metrics.counter("take_over", "files_written")
        self._found = Metrics.counter("take_over", "files_reused")

    def process(self, element: tuple[tuple[VideoTable, str], Iterable[bytes]]) -> Iterator[FileRow]:
        (table, path), packed = element
        record, was_there = take_over(table, path, _unpacked(packed), self._settings, self._attempt.require)
        (self._found if was_there else self._written).inc()
        if table == "frames":
            self._frames.inc(record.rows)
        yield FileRow(*record, worker=worker_name())


def _unpacked(packed: Iterable[bytes]) -> Iterator[NewName]:
    return (name for data in packed for name in wire.decode(data, list[NewName]))
