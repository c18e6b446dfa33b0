"""FindDuplicates: finds stretches of videos that are the same footage; `models.duplicates` does the work.

Frames travel as arrays packed into bytes, in a number of parts that grows with the archive, so that no step holds more
than a part in memory and the work is the same however the runner bundles it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared
from numpy.typing import NDArray

from models.duplicates.alignment import Line, lines_of, matches, ranges_of
from models.duplicates.candidates import CODE, HIT, Hasher, by_pair, hits_among
from models.duplicates.fingerprints import Frames, Projection
from models.duplicates.indexed import IndexedFrames, Rows

FRAMES_PER_PART = 200_000
"""Hashes of one table that are compared at once."""

VIDEOS_PER_BLOCK = 50
PAIRS_PER_BATCH = 50
KEPT_VIDEOS = 2_000
"""Videos whose fingerprints a worker keeps: 15 kB for each minute."""

SLACK_S = 1.5
"""The ends of a stretch are known to the next frame, so stretches shorter than asked for by less than this count."""


@dataclass(frozen=True)
class FindSettings:
    """What all steps share.

    Attributes:
        root: the index folder.
        index_id: id of the index.
        videos: where the frames of each video are: shard, first row, row after the last; int64 [n, 3].
        projection: how fingerprints are made.
        min_seconds: least length of a stretch.
        min_score: least score of a stretch.
    """

    root: str
    index_id: str
    videos: NDArray[np.int64]
    projection: Projection
    min_seconds: float
    min_score: float

    @property
    def frames(self) -> int:
        """Number of frames of all videos."""
        return int((self.videos[:, 2] - self.videos[:, 1]).sum())

    @property
    def parts(self) -> int:
        """Number of parts that hashes and hits travel in."""
        return 1 + self.frames // FRAMES_PER_PART

    def blocks(self) -> list[tuple[int, int]]:
        """Returns ranges of the videos' numbers, [first, after), for the workers."""
        count = len(self.videos)
        return [(at, min(at + VIDEOS_PER_BLOCK, count)) for at in range(0, count, VIDEOS_PER_BLOCK)]


@dataclass(frozen=True)
class Found:
    """The same footage in two videos, by their numbers; see `models.duplicates.groups.Copy`."""

    one: int
    other: int
    one_start_s: float
    one_end_s: float
    other_start_s: float
    other_end_s: float
    speed: float
    score: float


class Candidate(NamedTuple):
    """Two videos, by their numbers, and the lines that their frames suggest."""

    one: int
    other: int
    lines: tuple[Line, ...]


class FindDuplicates(beam.PTransform):
    """Turns ranges of videos' numbers (`FindSettings.blocks`) into `Found` elements."""

    def __init__(self, settings: FindSettings) -> None:
        super().__init__()
        self.settings = settings

    def expand(self, blocks: beam.PCollection) -> beam.PCollection:
        """Applies the transform."""
        settings = self.settings
        return (
            blocks
            | "Hash frames" >> beam.ParDo(_HashFrames(settings))
            | "Frames by hash" >> beam.GroupByKey()
            | "Frames that meet" >> beam.FlatMapTuple(lambda _, packed: packed_hits(packed, settings.parts))
            | "Hits by pair" >> beam.GroupByKey()
            | "Vote" >> beam.FlatMapTuple(lambda _, packed: candidate_batches(packed))
            | "Spread candidates" >> beam.Reshuffle()
            | "Align" >> beam.ParDo(_Align(settings))
        )


class _Archive:
    """The frames of all videos, opened once in a process."""

    def __init__(self, settings: FindSettings) -> None:
        self._frames = IndexedFrames(Path(settings.root), settings.index_id)
        self._settings = settings
        self.frames = lru_cache(KEPT_VIDEOS)(self._read)

    def _read(self, video: int) -> Frames:
        rows = Rows(*(int(value) for value in self._settings.videos[video]))
        return self._frames.frames(rows, self._settings.projection)


class _WithArchive(beam.DoFn):
    def __init__(self, settings: FindSettings) -> None:
        self._settings = settings
        self._shared = Shared()

    def setup(self) -> None:
        self._archive: _Archive = self._shared.acquire(lambda: _Archive(self._settings))


class _HashFrames(_WithArchive):
    def setup(self) -> None:
        super().setup()
        self._hasher = Hasher.of(self._settings.projection.axes.shape[1], self._settings.frames)

    def process(self, block: tuple[int, int]) -> Iterator[tuple[tuple[int, int], bytes]]:
        hashed = [self._hasher.codes(self._archive.frames(video), video) for video in range(*block)]
        for table, codes in enumerate(np.concatenate(hashed, axis=1)):
            part = codes["code"] % self._settings.parts
            for number in np.unique(part).tolist():
                yield (table, number), codes[part == number].tobytes()


def packed_hits(packed: Iterable[bytes], parts: int) -> Iterator[tuple[int, bytes]]:
    """Yields the hits among packed hashes, packed, by the part that their pair of videos belongs to."""
    hits = hits_among(np.concatenate([np.frombuffer(data, CODE) for data in packed]))
    part = (hits["one"].astype(np.int64) * 1_000_003 + hits["other"]) % parts
    for number in np.unique(part).tolist():
        yield number, hits[part == number].tobytes()


def candidate_batches(packed: Iterable[bytes]) -> Iterator[list[Candidate]]:
    """Yields the pairs of videos whose packed hits lie on lines, in batches."""
    batch: list[Candidate] = []
    for hits in by_pair(np.concatenate([np.frombuffer(data, HIT) for data in packed])):
        lines = lines_of(hits["one_s"], hits["other_s"])
        if lines:
            batch.append(Candidate(int(hits["one"][0]), int(hits["other"][0]), tuple(lines)))
        if len(batch) == PAIRS_PER_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


class _Align(_WithArchive):
    def __init__(self, settings: FindSettings) -> None:
        super().__init__(settings)
        self._pairs = Metrics.counter("duplicates", "pairs_aligned")
        self._found = Metrics.counter("duplicates", "stretches_found")

    def process(self, batch: list[Candidate]) -> Iterator[Found]:
        for candidate in batch:
            self._pairs.inc()
            one, other = (self._archive.frames(video) for video in (candidate.one, candidate.other))
            for found in aligned(candidate, one, other, self._settings):
                self._found.inc()
                yield found


def aligned(candidate: Candidate, one: Frames, other: Frames, settings: FindSettings) -> Iterator[Found]:
    """Yields the stretches of two videos that are long and sure enough."""
    for match in matches(one, other, candidate.lines, settings.min_score):
        here, there = ranges_of(match, one, other)
        if min(here.length_s, there.length_s) >= settings.min_seconds - SLACK_S:
            yield Found(candidate.one, candidate.other, *here, *there, round(match.line.slope, 4), match.score)
