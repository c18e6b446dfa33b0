"""FindDuplicates: finds stretches of videos that are the same footage; `models.duplicates` does the work.

Frames travel as arrays packed into bytes, in a number of parts that grows with the archive, so that no step holds more
than a part in memory and the work is the same however the runner bundles it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
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
from models.retrieval.errors import RetrievalError
from transforms.catalog.index.stored import StoredIndex

FRAMES_PER_PART = 200_000
"""Hashes of one table that are compared at once."""

MOST_CANDIDATES = 16
"""Other videos that a video is aligned with, at most: those with the most votes. A pair counts if it is among those of
one of its two videos. So work grows in line with the archive, however many videos of one subject it has."""

VIDEOS_PER_BLOCK = 50
KEPT_VIDEOS = 2_000
"""Videos whose fingerprints a worker keeps: 15 kB for each minute."""

SLACK_S = 1.5
"""The ends of a stretch are known to the next frame, so stretches shorter than asked for by less than this count."""


@dataclass(frozen=True)
class FindSettings:
    """What all steps share.

    Attributes:
        root: the index folder, a path or URI.
        index_id: id of the index.
        videos: where the frames of each video are: shard, first row, row after the last; int64 [n, 3]. The first video
            of a pair is the one with the lower number.
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
    """Two videos, by their numbers, the lines that their frames suggest, and how many seconds suggest the best one."""

    one: int
    other: int
    lines: tuple[Line, ...]
    votes: float


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
            | "Vote" >> beam.FlatMapTuple(lambda _, packed: candidates_of_videos(packed))
            | "Candidates by video" >> beam.GroupByKey()
            | "Best candidates" >> beam.FlatMapTuple(lambda _, candidates: best_of(candidates))
            | "Candidates by pair" >> beam.GroupByKey()
            | "Each pair once" >> beam.MapTuple(lambda _, candidates: next(iter(candidates)))
            | "Align" >> beam.ParDo(_Align(settings))
        )


class OpenFrames:
    """The frames of the index that answers; of an index on an object store, those of this machine's copy.

    Attributes:
        files: the files on this machine; they stay as long as this is kept.
        frames: the frames.

    Args:
        folder: the index folder, a path or URI.

    Raises:
        NoIndexError: there is no index.
        IndexFormatError: a file is missing or damaged.
        IndexCacheFull: this machine's copies of indexes leave no room for it.
        StorageError: a file cannot be read.
    """

    def __init__(self, folder: str) -> None:
        index = StoredIndex(folder)
        manifest = index.manifest()
        self.files = index.files()
        self.files.fetch(manifest.files)
        self.frames = IndexedFrames(self.files.root, manifest)


class _Archive:
    """The frames of all videos, opened once in a process."""

    def __init__(self, settings: FindSettings) -> None:
        opened = OpenFrames(settings.root)
        if opened.frames.manifest.index_id != settings.index_id:
            raise RetrievalError(f"the index in {settings.root} was replaced meanwhile: run the command again")
        self._files, self._frames = opened.files, opened.frames  # the files are held while the process uses them
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
        videos = range(*block)
        frames = [self._archive.frames(video) for video in videos]
        plain = self._codes(videos, frames)
        # A video without movement has nothing about its mean, and so fewer hashes there.
        centred = self._codes(videos, [one.centred() for one in frames])
        for table, codes in enumerate([*plain, *centred]):
            part = codes["code"] % self._settings.parts
            for number in np.unique(part).tolist():
                yield (table, number), codes[part == number].tobytes()

    def _codes(self, videos: Iterable[int], frames: Iterable[Frames]) -> NDArray[np.void]:
        """Hashes the frames of some videos in every table, `CODE` [TABLES, n]."""
        hashed = [self._hasher.codes(one, video) for video, one in zip(videos, frames, strict=True)]
        return np.concatenate(hashed, axis=1)


def packed_hits(packed: Iterable[bytes], parts: int) -> Iterator[tuple[int, bytes]]:
    """Yields the hits among packed hashes, packed, by the part that their pair of videos belongs to."""
    hits = hits_among(np.concatenate([np.frombuffer(data, CODE) for data in packed]))
    part = (hits["one"].astype(np.int64) * 1_000_003 + hits["other"]) % parts
    for number in np.unique(part).tolist():
        yield number, hits[part == number].tobytes()


def candidates_of_videos(packed: Iterable[bytes]) -> Iterator[tuple[int, Candidate]]:
    """Yields the pairs of videos whose packed hits lie on lines, once by each of the two videos' numbers."""
    for hits in by_pair(np.concatenate([np.frombuffer(data, HIT) for data in packed])):
        lines, votes = lines_of(hits["one_s"], hits["other_s"])
        if lines:
            candidate = Candidate(int(hits["one"][0]), int(hits["other"][0]), lines, votes)
            yield candidate.one, candidate
            yield candidate.other, candidate


def best_of(candidates: Iterable[Candidate]) -> Iterator[tuple[tuple[int, int], Candidate]]:
    """Yields those of a video's candidates with the most votes, by pair."""
    ranked = sorted(candidates, key=lambda one: (-one.votes, one.one, one.other))
    for candidate in ranked[:MOST_CANDIDATES]:
        yield (candidate.one, candidate.other), candidate


class _Align(_WithArchive):
    def __init__(self, settings: FindSettings) -> None:
        super().__init__(settings)
        self._pairs = Metrics.counter("duplicates", "pairs_aligned")
        self._found = Metrics.counter("duplicates", "stretches_found")

    def process(self, candidate: Candidate) -> Iterator[Found]:
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
