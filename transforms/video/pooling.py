"""From segments to one row a video: a fold over the video's frames in time order.

The fold reads the frames' rows as they are stored, one after the other, in float64: however the video was cut, the
same numbers are added in the same order, so the row comes out the same bit for bit.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from transforms.catalog import storage
from transforms.video.extract import SegmentOutcome
from transforms.video.failures import REASONS
from transforms.video.sampling import Sampling
from transforms.video.segments import Video

TRUNCATION_SLACK_S = 1.0
"""A stream that ends this much before its own header says has lost its end; muxers round by less."""

TRUNCATION_SLACK_SHARE = 0.02

YEAR_1_S = datetime(1, 1, 1, tzinfo=UTC).timestamp()
YEAR_9999_S = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


@dataclass(frozen=True)
class ProbeFailure:
    """A video that could not even be planned."""

    video: Video
    stage: str
    reason: str
    message: str


@dataclass(frozen=True)
class PoolSettings:
    """What every row of a run has in common.

    Attributes:
        frames_folder: folder of the run's chunk files.
        sampling: how frames were chosen.
        top_labels: labels kept for a video.
        thresholds: for each label the score from which it is seen in a frame.
        model: name of the model.
        model_fingerprint: which weights and preprocessing.
        processed_at_s: when the run started, seconds since 1970 (UTC).
    """

    frames_folder: str
    sampling: Sampling
    top_labels: int
    thresholds: dict[str, float]
    model: str
    model_fingerprint: str
    processed_at_s: float


class FrameRows(NamedTuple):
    """Stored rows of some frames: times in seconds [n], embeddings [n, D], for each frame its (label, score) pairs."""

    time_s: NDArray[np.float64]
    embeddings: NDArray[np.floating[Any]]
    labels: list[list[dict[str, Any]]]


class ChunkReader:
    """Reads rows of chunk files, keeping the one file that is being read."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._chunk_id: str | None = None
        self._table: pa.Table | None = None

    def rows(self, outcome: SegmentOutcome) -> FrameRows:
        """The frames of one segment."""
        if self._chunk_id != outcome.chunk_id or self._table is None:
            path = storage.join(self._folder, f"chunk-{outcome.chunk_id}.parquet")
            with storage.open_read(path) as file:
                self._table = pq.read_table(file, columns=["time_s", "embedding", "labels"])
            self._chunk_id = outcome.chunk_id
        part = self._table.slice(outcome.first_row, outcome.rows).combine_chunks()
        embedding = part["embedding"].combine_chunks()
        values = embedding.flatten().to_numpy(zero_copy_only=False)
        return FrameRows(
            part["time_s"].to_numpy(),
            values.reshape(len(part), embedding.type.list_size),
            part["labels"].to_pylist(),
        )


@dataclass
class Fold:
    """Running sums over a video's frames."""

    total: NDArray[np.float64] | None = None
    frames: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    seen: dict[str, list[int]] = field(default_factory=dict)
    time_s: list[float] = field(default_factory=list)

    def add(self, rows: FrameRows, thresholds: Mapping[str, float]) -> None:
        """The next frames, in order of time."""
        for time_s, embedding, labels in zip(rows.time_s, rows.embeddings, rows.labels, strict=True):
            if self.total is None:
                self.total = np.zeros(len(embedding), np.float64)
            self.total += embedding
            for pair in labels:
                label, score = pair["label"], pair["score"]
                self.scores[label] = self.scores.get(label, 0.0) + score
                if score >= thresholds[label]:
                    self.seen.setdefault(label, []).append(self.frames)
            self.time_s.append(float(time_s))
            self.frames += 1

    def embedding(self) -> NDArray[np.float32]:
        """The L2-normalised mean, float32 [D]."""
        assert self.total is not None
        norm = float(np.linalg.norm(self.total))
        return (self.total / norm if norm else self.total).astype(np.float32)

    def labels(self, count: int) -> list[dict[str, Any]]:
        """The best labels by their mean score."""
        means = ((label, score / self.frames) for label, score in self.scores.items())
        best = sorted(means, key=lambda pair: (-pair[1], pair[0]))[:count]
        return [{"label": label, "score": score} for label, score in best]

    def ranges(self, label: str) -> list[dict[str, float]]:
        """Stretches of neighbouring frames in which the label was seen, by the first and the last frame's time."""
        frames = enumerate(self.seen.get(label, []))
        stretches = [[frame for _, frame in group] for _, group in groupby(frames, key=lambda pair: pair[1] - pair[0])]
        return [{"start_s": self.time_s[s[0]], "end_s": self.time_s[s[-1]]} for s in stretches]


def pool_videos(
    in_order: Iterable[SegmentOutcome], settings: PoolSettings
) -> Iterator[tuple[dict[str, Any] | None, dict[str, Any] | None]]:
    """For each video (its row of `videos`, None) or (None, its row of `failures`), in the order of the uris.

    Args:
        in_order: outcomes of all segments of some videos, by uri and segment.
        settings: what the rows have in common.
    """
    reader = ChunkReader(settings.frames_folder)
    for _, group in groupby(in_order, key=lambda o: o.segment.video.uri):
        yield _pool(list(group), reader, settings)


def _pool(
    outcomes: list[SegmentOutcome], reader: ChunkReader, settings: PoolSettings
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    fold = Fold()
    for outcome in outcomes:
        if outcome.rows:
            fold.add(reader.rows(outcome), settings.thresholds)
    verdict = judge(outcomes, settings.sampling)
    if not fold.frames:
        stage, reason, message = verdict.failure or ("decode", "no_frames", "")
        failure = ProbeFailure(outcomes[0].segment.video, stage, reason, message)
        return None, failure_row(failure, settings)
    return _video_row(outcomes, fold, verdict, settings), None


class Verdict(NamedTuple):
    """How much of a video came out: `coverage` 0..1, and (stage, reason, message) of what is missing, or None."""

    coverage: float
    failure: tuple[str, str, str] | None


def judge(outcomes: Sequence[SegmentOutcome], sampling: Sampling) -> Verdict:
    """Compares the frames a video gave with those its packets and its header promise."""
    got = sum(o.rows for o in outcomes)
    expected = sum(_expected(o) for o in outcomes)
    missing_tail = _missing_tail(outcomes, sampling)
    failure = next((o.failure for o in outcomes if o.failure is not None), None)
    errors = next((o.first_error for o in outcomes if o.errors), "")
    if failure is None and missing_tail:
        failure = ("decode", "truncated", errors)
    if failure is None and (got < expected or (not got and errors)):
        failure = ("decode", "corrupt", errors)
    expected += missing_tail
    coverage = min(1.0, got / expected) if expected else 0.0
    return Verdict(coverage, failure)


def _expected(outcome: SegmentOutcome) -> int:
    if outcome.failure is not None:
        return max(outcome.rows + 1, outcome.samples_expected or outcome.segment.expected_frames)
    return outcome.rows if outcome.samples_expected is None else outcome.samples_expected


def _missing_tail(outcomes: Sequence[SegmentOutcome], sampling: Sampling) -> int:
    """Samples between the stream's end and where its own header puts it; 0 where the header makes no such claim."""
    info = outcomes[0].segment.info
    ends = [o.end_s for o in outcomes if o.end_s is not None]
    if not info.exact_duration or not info.duration_s or not ends:
        return 0
    duration_s, end_s = float(info.duration_s), max(ends)
    if duration_s - end_s <= max(TRUNCATION_SLACK_S, TRUNCATION_SLACK_SHARE * duration_s):
        return 0
    clock = sampling.clock(info.time_base, info.duration_s)
    if clock is None:
        rows = sum(o.rows for o in outcomes)
        return max(1, round(rows * (duration_s - end_s) / (end_s or 1.0)))
    last = clock.last_tick(int(info.duration_s / info.time_base) - 1)
    return max(1, last - clock.last_tick(round(end_s / float(info.time_base))))


def _video_row(outcomes: list[SegmentOutcome], fold: Fold, verdict: Verdict, settings: PoolSettings) -> dict[str, Any]:
    first = outcomes[0]
    video, info = first.segment.video, first.segment.info
    labels = fold.labels(settings.top_labels)
    failure = verdict.failure
    duration_s = float(info.duration_s) if info.duration_s else max((o.end_s or 0.0 for o in outcomes), default=0.0)
    return {
        **_identity(video),
        "title": info.title,
        "container": info.container,
        "codec": info.codec,
        "width": info.width,
        "height": info.height,
        "rotation": first.rotation,
        "fps": float(info.fps) if info.fps else None,
        "duration_s": duration_s,
        "frames_sampled": fold.frames,
        "coverage": verdict.coverage,
        "status": "partial" if failure else "ok",
        "error": failure[1] if failure else None,
        "message": (failure[2] or REASONS[failure[1]]) if failure else None,
        "embedding": fold.embedding(),
        "labels": labels,
        "label_ranges": [{"label": one["label"], "ranges": fold.ranges(one["label"])} for one in labels],
        "model": settings.model,
        "model_fingerprint": settings.model_fingerprint,
        "sampling": str(settings.sampling),
        "processed_at": _time(settings.processed_at_s),
    }


def failure_row(failure: ProbeFailure, settings: PoolSettings) -> dict[str, Any]:
    """A row of `failures`."""
    video = failure.video
    now = _time(settings.processed_at_s)
    return {
        **_identity(video),
        "stage": failure.stage,
        "reason": failure.reason,
        "message": failure.message or REASONS[failure.reason],
        "attempts": video.attempts + 1,
        "first_seen": now if video.first_failed_s is None else _time(video.first_failed_s),
        "last_seen": now,
        "model_fingerprint": settings.model_fingerprint,
        "sampling": str(settings.sampling),
    }


def _identity(video: Video) -> dict[str, Any]:
    return {
        "video_id": video.video_id,
        "uri": video.uri,
        "size_bytes": video.size_bytes,
        "modified": _time(video.modified_s),
        "fingerprint": video.fingerprint,
    }


def _time(seconds: float) -> datetime:
    """A time of day; file systems know times before the year 1 and after 9999, tables do not."""
    return datetime.fromtimestamp(min(max(seconds, YEAR_1_S), YEAR_9999_S), UTC)
