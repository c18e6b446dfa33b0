"""Searches an index for videos, by the mean and the best frame of each, and finds where in the video the match is.

A video's cosine is MEAN_WEIGHT times the cosine of its mean frame plus the rest times that of its best frame: the mean
alone misses what is visible briefly, and the best frame alone is misled by one odd picture. Its score is this cosine,
plus what the caller adds for each video.
"""

from bisect import insort
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.computed_once import computed_once
from models.retrieval.build import open_vector_index
from models.retrieval.errors import IndexFormatError
from models.retrieval.index import Ranked
from models.retrieval.manifest import LEVELS, Manifest, read_manifest
from models.retrieval.moments import Moment, moments
from models.retrieval.rows import first_frame_id, videos_of
from models.retrieval.scoring import Metric, as_metric, unit
from models.retrieval.shards import OpenRows

MEAN_WEIGHT = 0.7

# Frames of several videos that are scored at once. Their float64 copies take 5 MB at 1,280 numbers each.
_TOGETHER_FRAMES = 512

# Ids and times in seconds of a video's frames.
_Frames = tuple[NDArray[np.int64], NDArray[np.float64]]


class VideoHit(NamedTuple):
    """One result.

    Attributes:
        score: Its score.
        video_id: Id of the video.
        uri: Uri of the video.
        ranges: Its best time ranges, best first.
        row: The index's row of the video.
        cosine: Its cosine, whatever the metric and whatever was added to it.
    """

    score: float
    video_id: str
    uri: str
    ranges: tuple[Moment, ...]
    row: dict[str, Any]
    cosine: float


class VideoIndex:
    """An open index. Files are memory-mapped: opening is fast, and a large index needs little memory. Thread-safe.

    It keeps answering as it was opened when a later build replaces it and deletes its files (on POSIX).

    Attributes:
        root: The index folder.
        manifest: The manifest of the index.
        frames: The index of all frames.
        videos: The index of all videos' means.
    """

    def __init__(self, root: Path, manifest: Manifest, leave_out: Collection[str] = ()) -> None:
        """Open the index of a manifest; see `open`.

        Raises:
            IndexFormatError: A file of the index is missing or damaged.
        """
        self.root = root
        self.manifest = manifest
        self.frames = open_vector_index(root, manifest, "frames")
        self.videos = open_vector_index(root, manifest, "videos")
        self._rows = [{level: OpenRows(root, shard, level) for level in LEVELS} for shard in manifest.shards]
        names = dict.fromkeys(name for shard in self._rows for name in shard["videos"].columns)
        self._table = self.rows([name for name in names if name not in leave_out])
        numbers = self._table["video"].to_numpy()
        self._row_of = {int(number): row for row, number in enumerate(numbers)}
        self._order_of_numbers = np.argsort(numbers)
        self._names = self._table["video_id"].to_pylist()
        self._frame_rows: dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}

    @classmethod
    def open(cls, root: Path, index_id: str | None = None, leave_out: Collection[str] = ()) -> "VideoIndex":
        """Open an index.

        Args:
            root: The index folder.
            index_id: Id of the index; None for the current one.
            leave_out: Columns of the builder's own that `table` leaves out; `rows` reads them.

        Raises:
            NoIndexError: No index was built yet.
            IndexFormatError: A file of the index is missing or damaged.
        """
        return cls(root, read_manifest(root, index_id), leave_out)

    @property
    def table(self) -> pa.Table:
        """The visible videos: number, id, uri, duration in seconds and the builder's own columns."""
        return self._table

    def rows(self, columns: list[str]) -> pa.Table:
        """Read some columns of the visible videos from the shards; `columns` must include `video`."""
        hidden = np.asarray(self.manifest.hidden, dtype=np.int64)
        parts = [shard["videos"].read(columns) for shard in self._rows]
        table = pa.concat_tables(parts, promote_options="default")
        return table.filter(~np.isin(table["video"].to_numpy(), hidden))

    def direction(self, embeddings: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the query float32 [D] for videos like these pictures: raw embeddings [n, D], or one [D]."""
        return self.frames.direction(np.atleast_2d(embeddings).mean(axis=0))

    def search(
        self,
        direction: NDArray[np.floating],
        top_k: int = 10,
        metric: Metric = "cosine",
        allowed: NDArray[np.int64] | None = None,
    ) -> list[VideoHit]:
        """Find the best videos for one query; ties are in order of video id.

        Args:
            direction: The query [D], of any length.
            top_k: Most videos to return.
            metric: ``cosine``, or ``euclidean`` for distances of unit vectors.
            allowed: int64, the numbers (column `video` of `table`) of the only videos to consider; None for all.

        Returns:
            The results, best first.
        """
        query = unit(np.asarray(direction))
        return self.hits(query, self.rank(query, top_k, allowed), metric)

    def rank(
        self,
        query: NDArray[np.float32],
        top_k: int,
        allowed: NDArray[np.int64] | None = None,
        added: NDArray[np.float64] | None = None,
    ) -> list[tuple[float, int]]:
        """Return (score, video number) of the `top_k` best videos for one unit query [D].

        Uses Fagin's threshold algorithm (Fagin, Lotem and Naor 2001): walks down the ranking by mean, the ranking by
        best frame and the ranking by `added` until no video that is in none of them can belong to the result. Exact if
        both levels are.

        Args:
            query: The query.
            top_k: Most videos to return.
            allowed: int64, the numbers of the only videos to consider; None for all.
            added: float64, what is added to the cosine of each video of `table`; None for nothing.
        """
        total = len(self._table) if allowed is None else len(allowed)
        frames = None if allowed is None else self.frame_ids(allowed)
        amounts = None if added is None else added if allowed is None else added[self.rows_of(allowed)]
        numbers = self._table["video"].to_numpy() if allowed is None else allowed
        depth = max(4 * top_k, 64)
        while total:
            means = self.videos.best(query, min(depth, total), allowed)
            best = self.frames.best(query, 4 * depth, frames)
            most, after = (numbers[:0], 0.0) if amounts is None else _most(numbers, amounts, depth)
            ranked = self._combined(query, means, best, top_k, most, added)
            unseen = _total(_last(means), _last(best), after)
            complete = depth >= total or not len(means.ids)
            if complete or (len(ranked) >= top_k and ranked[top_k - 1][0] > unseen):
                return ranked[:top_k]
            depth *= 4
        return []

    def hits(
        self,
        query: NDArray[np.float32],
        ranked: Sequence[tuple[float, int]],
        metric: Metric = "cosine",
        within_s: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> list[VideoHit]:
        """Describe results of `rank` for a unit query, with their time ranges.

        Args:
            query: The query.
            ranked: Score and number of each video.
            metric: Of the returned scores.
            within_s: Times in seconds of the only frames that ranges may hold, by video id; None for all frames.

        Raises:
            IndexFormatError: The table of rows does not match the vectors.
        """
        numbers = [number for _, number in ranked]
        rows = [self._table.slice(self._row_of[number], 1).to_pylist()[0] for number in numbers]
        means = self.videos.scores_of(query, np.array(numbers, dtype=np.int64))
        seen = self._frames_scored(query, numbers)
        return [
            self._hit(score, row, float(mean), times, scores, metric, within_s)
            for (score, _), row, mean, (times, scores) in zip(ranked, rows, means, seen, strict=True)
        ]

    def _hit(
        self,
        score: float,
        row: dict[str, Any],
        mean: float,
        times: NDArray[np.float64],
        scores: NDArray[np.float32],
        metric: Metric,
        within_s: Mapping[str, NDArray[np.float64]] | None,
    ) -> VideoHit:
        """Describe one result, whose mean frame and frames have these cosines."""
        among = None if within_s is None else np.isin(times, within_s.get(row["video_id"], ()))
        found = moments(times, scores, self.manifest.sample_period_s, row["duration_s"], among=among)
        ranges = tuple(moment._replace(score=_as(moment.score, metric)) for moment in found)
        cosine = _total(mean, float(scores.max()))
        return VideoHit(_as(score, metric), row["video_id"], row["uri"], ranges, row, cosine)

    def frame_ids(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids of all frames of these videos."""
        ids = self._live_frame_ids
        return ids[np.isin(videos_of(ids), numbers)]

    def frame_scores(self, query: NDArray[np.float32], number: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Score all frames of one video, in order of time.

        Returns:
            Times float64 [n] in seconds, and scores float32 [n].

        Raises:
            IndexFormatError: The table of rows does not match the vectors.
        """
        return next(self._frames_scored(query, [number]))

    def _frames_scored(
        self, query: NDArray[np.float32], numbers: Sequence[int]
    ) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float32]]]:
        """Yield for each video what `frame_scores` returns. Scores short videos together, which is faster."""
        for together in _batches(map(self._known_frames, numbers)):
            scores = self.frames.scores_of(query, np.concatenate([ids for ids, _ in together]))
            ends = np.cumsum([len(ids) for ids, _ in together])
            yield from zip((times for _, times in together), np.split(scores, ends[:-1]), strict=True)

    def _known_frames(self, number: int) -> _Frames:
        """Return a video's frames, checked against the vectors."""
        known, times = self._times(number)
        if not np.array_equal(known, self._frames_of(number)):
            raise IndexFormatError("the table of a shard's rows does not match its vectors; build the index again")
        return known, times

    def direction_at(self, number: int, time_s: float) -> NDArray[np.float32]:
        """Return the query float32 [D] for the frame of a video that is nearest to a time in seconds.

        Raises:
            IndexFormatError: The table of rows does not match the vectors.
        """
        ids, times = self._times(number)
        if not len(ids):
            raise IndexFormatError("the table of a shard's rows does not match its vectors; build the index again")
        nearest = int(np.argmin(np.abs(times - time_s)))
        return self.frames.directions_of(ids[nearest : nearest + 1])[0]

    @computed_once
    def _live_frame_ids(self) -> NDArray[np.int64]:
        return np.sort(self.frames.live_ids())

    def _frames_of(self, number: int) -> NDArray[np.int64]:
        ids = self._live_frame_ids
        first, after = np.searchsorted(ids, [first_frame_id(number), first_frame_id(number + 1)])
        return ids[first:after]

    def rows_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of `table` of these videos."""
        every = self._table["video"].to_numpy()
        return self._order_of_numbers[np.searchsorted(every, numbers, sorter=self._order_of_numbers)]

    def _combined(
        self,
        query: NDArray[np.float32],
        means: Ranked,
        best: Ranked,
        top_k: int,
        most_added: NDArray[np.int64],
        added: NDArray[np.float64] | None,
    ) -> list[tuple[float, int]]:
        """Compute the scores of the videos in any ranking, best first, as far as the `top_k` best need them.

        If a video's best frame is not in the ranking, its frames are scored one by one, but only while the score of the
        ranking's last frame, which its frames cannot exceed, would bring the video among the best.
        """
        at_most = _last(best)
        owners = videos_of(best.ids)
        first = np.unique(owners, return_index=True)[1]  # frames are best first, so a video's first one is its best
        best_of = dict(zip(owners[first].tolist(), best.scores[first].tolist(), strict=True))
        numbers = np.union1d(np.union1d(means.ids, owners), most_added)
        amounts = np.zeros(len(numbers)) if added is None else added[self.rows_of(numbers)]
        added_to = dict(zip(numbers.tolist(), amounts.tolist(), strict=True))
        mean_of = dict(zip(numbers.tolist(), self.videos.scores_of(query, numbers).tolist(), strict=True))
        hope_of = {n: _total(mean, best_of.get(n, at_most), added_to[n]) for n, mean in mean_of.items()}
        ranked: list[tuple[float, int]] = []
        for number in sorted(hope_of, key=lambda number: -hope_of[number]):
            if len(ranked) >= top_k and hope_of[number] < ranked[top_k - 1][0]:
                break
            if number not in best_of:
                best_of[number] = float(self.frames.scores_of(query, self._frames_of(number)).max())
            insort(ranked, (_total(mean_of[number], best_of[number], added_to[number]), number), key=self._order)
        return ranked

    def _order(self, scored: tuple[float, int]) -> tuple[float, str]:
        return -scored[0], self._names[self._row_of[scored[1]]]

    def _times(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        for shard, rows in enumerate(self._rows):
            if shard not in self._frame_rows:
                table = rows["frames"].read(["id", "time_s"])
                self._frame_rows[shard] = (table["id"].to_numpy(), table["time_s"].to_numpy())
            ids, times = self._frame_rows[shard]
            first, after = np.searchsorted(ids, [first_frame_id(number), first_frame_id(number + 1)])
            if after > first:
                return ids[first:after], times[first:after]
        return np.empty(0, dtype=np.int64), np.empty(0)


def _batches(videos: Iterable[_Frames]) -> Iterator[list[_Frames]]:
    """Yield the frames of videos in order, of as many at once as have `_TOGETHER_FRAMES`, but of at least one."""
    batch: list[_Frames] = []
    count = 0
    for video in videos:
        if batch and count + len(video[0]) > _TOGETHER_FRAMES:
            yield batch
            batch, count = [], 0
        batch.append(video)
        count += len(video[0])
    if batch:
        yield batch


def _most(numbers: NDArray[np.int64], amounts: NDArray[np.float64], count: int) -> tuple[NDArray[np.int64], float]:
    """Return the `count` videos that get most, in no order, and the most that any other video gets."""
    if count >= len(amounts):
        return numbers, -np.inf
    order = np.argpartition(-amounts, count)
    return numbers[order[:count]], float(amounts[order[count]])


def _total(mean: float, best: float, added: float = 0.0) -> float:
    return float(np.float32(MEAN_WEIGHT * mean + (1 - MEAN_WEIGHT) * best + added))


def _last(ranked: Ranked) -> float:
    return float(ranked.scores[-1]) if len(ranked.scores) else -1.0


def _as(score: float, metric: Metric) -> float:
    return float(as_metric(np.asarray([score], dtype=np.float32), metric)[0])
