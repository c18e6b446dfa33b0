"""Pools segments into one row for each video, by a fold over the video's frames in order of time.

The fold adds the stored rows one after the other in float64. However the video was cut, the same numbers are added in
the same order, so the row is the same bit for bit.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.visual.hedging import Hedger, hedger
from transforms.catalog.reading.frames import FrameReader, embeddings_of
from transforms.catalog.records import RunConfig
from transforms.catalog.rows.best_labels import as_columns
from transforms.catalog.rows.chunks import SegmentOutcome, chunk_path
from transforms.catalog.rows.thumbnails import Chosen, Stretch, choose, chosen_of, nearness
from transforms.video.demux import HOLE_S
from transforms.video.failures import REASONS, Failure, bad_features
from transforms.video.sampling import Sampling
from transforms.video.segments import Video

TRUNCATION_SLACK_S = 1.0
"""Seconds by which a stream may end before the end that its header tells; muxers round by less."""

TRUNCATION_SLACK_SHARE = 0.02

HOLES_NAMED = 5
"""Number of stretches without frames that a row's message names."""

YEAR_1_S = datetime(1, 1, 1, tzinfo=UTC).timestamp()
YEAR_9999_S = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


@dataclass(frozen=True)
class ProbeFailure:
    """A video that could not be planned, or whose segments gave no frames.

    Attributes:
        video: the video.
        failure: the reason.
        stream: index of the stream in the container that was decoded; None if none was.
    """

    video: Video
    failure: Failure
    stream: int | None = None


@dataclass(frozen=True)
class PoolSettings:
    """Settings that all rows of a run share.

    Attributes:
        frames_folder: folder of the run's chunk files.
        config: what decides the rows.
        thresholds: for each label the score from which it is seen in a frame.
        processed_at_s: when the run started, seconds since 1970 (UTC).
        candidates_folder: folder of the thumbnails of all frames; "" for no thumbnails.
        found_folder: folder of the regions of all frames; "" for no regions.
    """

    frames_folder: str
    config: RunConfig
    thresholds: dict[str, float]
    processed_at_s: float
    candidates_folder: str = ""
    found_folder: str = ""


class Pooled(NamedTuple):
    """What pooling made of a video: its row of `videos` and the frames of its thumbnails, or its row of `failures`."""

    video: dict[str, Any] | None
    failure: dict[str, Any] | None = None
    thumbnails: Chosen | None = None


class FrameRows(NamedTuple):
    """Stored rows of n frames: times in seconds [n], embeddings [n, D], and each frame's (label, score) pairs."""

    time_s: NDArray[np.float64]
    embeddings: NDArray[np.floating[Any]]
    labels: list[list[dict[str, Any]]]


def frame_rows(rows: pa.Table) -> FrameRows:
    """Returns rows of `frames` as arrays and lists."""
    return FrameRows(rows["time_s"].to_numpy(), embeddings_of(rows["embedding"]), rows["labels"].to_pylist())


@dataclass
class Fold:
    """Running sums over a video's frames."""

    total: NDArray[np.float64] | None = None
    frames: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    seen: dict[str, list[int]] = field(default_factory=dict)
    time_s: list[float] = field(default_factory=list)

    def add(self, rows: FrameRows, thresholds: Mapping[str, float]) -> None:
        """Adds the next frames, in order of time."""
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
        """Returns the L2-normalised mean, float32 [D]."""
        assert self.total is not None
        norm = float(np.linalg.norm(self.total))
        return (self.total / norm if norm else self.total).astype(np.float32)

    def labels(self, count: int) -> list[dict[str, Any]]:
        """Returns the best labels by their mean score."""
        means = ((label, score / self.frames) for label, score in self.scores.items())
        best = sorted(means, key=lambda pair: (-pair[1], pair[0]))[:count]
        return [{"label": label, "score": score} for label, score in best]

    def best_label(self, hedger: Hedger) -> dict[str, Any]:
        """Returns the columns ``best_label`` and ``best_label_score``: those of the mean scores of all labels."""
        return as_columns(hedger.best((label, score / self.frames) for label, score in self.scores.items()))

    def ranges(self, label: str) -> list[dict[str, float]]:
        """Returns the stretches of frames in which the label was seen, as the times of their first and last frame."""
        return [{"start_s": self.time_s[first], "end_s": self.time_s[last]} for first, last in self.stretches(label)]

    def stretches(self, label: str) -> list[Stretch]:
        """Returns the stretches of frames in which the label was seen, as the numbers of their first and last frame."""
        frames = enumerate(self.seen.get(label, []))
        groups = [[frame for _, frame in group] for _, group in groupby(frames, key=lambda pair: pair[1] - pair[0])]
        return [(group[0], group[-1]) for group in groups]


def mean_embedding(embeddings: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Returns the embedding, float32 [D], of a video whose frames have these embeddings [n, D], in order of time."""
    fold = Fold()
    fold.add(FrameRows(np.zeros(len(embeddings)), embeddings, [[]] * len(embeddings)), {})
    return fold.embedding()


def pool_videos(in_order: Iterable[SegmentOutcome], settings: PoolSettings) -> Iterator[Pooled]:
    """Yields what was made of each video, in the order of the uris.

    Args:
        in_order: outcomes of all segments of some videos, by uri and segment.
        settings: settings that all rows share.
    """
    reader = FrameReader(["pts", "time_s", "embedding", "labels"])
    for _, group in groupby(in_order, key=lambda o: o.segment.video.uri):
        yield _pool(list(group), reader, settings)


def _pool(outcomes: list[SegmentOutcome], reader: FrameReader, settings: PoolSettings) -> Pooled:
    fold = Fold()
    for _, rows in _stored_rows(outcomes, reader, settings):
        fold.add(frame_rows(rows), settings.thresholds)
    verdict = judge(outcomes, settings.config.frame_sampling)
    if not fold.frames:
        segment = outcomes[0].segment
        nothing = verdict.failure or Failure("decode", "no_frames", "")
        failure = ProbeFailure(segment.video, nothing, segment.info.stream)
        return Pooled(None, failure_row(failure, settings))
    row = _video_row(outcomes, fold, verdict, settings)
    chosen = _choose_thumbnails(outcomes, reader, fold, row, settings) if settings.candidates_folder else None
    return Pooled(row, thumbnails=chosen)


def _stored_rows(
    outcomes: Iterable[SegmentOutcome], reader: FrameReader, settings: PoolSettings
) -> Iterator[tuple[SegmentOutcome, pa.Table]]:
    """Yields the rows of `frames` of each segment that has some."""
    for outcome in outcomes:
        if outcome.rows:
            path = chunk_path(settings.frames_folder, outcome.chunk_id)
            yield outcome, reader.rows(path, outcome.first_row, outcome.rows)


def _choose_thumbnails(
    outcomes: Iterable[SegmentOutcome], reader: FrameReader, fold: Fold, row: dict[str, Any], settings: PoolSettings
) -> Chosen:
    """Chooses the frames of a video's thumbnails; reads its rows once more, because the mean is known only now."""
    pts: list[int] = []
    chunks: list[str] = []
    cosines = []
    for outcome, rows in _stored_rows(outcomes, reader, settings):
        pts += rows["pts"].to_pylist()
        chunks += [outcome.decoded_in] * len(rows)
        cosines.append(nearness(embeddings_of(rows["embedding"]), row["embedding"]))
    poster = int(np.argmax(np.concatenate(cosines)))
    ranges = [stretch for one in row["labels"] for stretch in fold.stretches(one["label"])]
    every_s = float(Fraction(settings.config.thumbnail_seconds))
    frames = choose(np.array(fold.time_s), poster, ranges, every_s)
    return chosen_of(row["video_id"], pts, chunks, frames, poster)


class Verdict(NamedTuple):
    """The share of a video that was decoded, `coverage` 0..1, and why the rest is missing, or None."""

    coverage: float
    failure: Failure | None


def judge(outcomes: Sequence[SegmentOutcome], sampling: Sampling) -> Verdict:
    """Compares the frames that a video gave with those that its packets and its header promise.

    The reason is unusable features if nothing else is missing, or if they leave no frame.
    """
    got, bad = sum(o.rows for o in outcomes), sum(o.bad_frames for o in outcomes)
    expected = sum(_expected(o) for o in outcomes)
    missing_tail = _missing_tail(outcomes, sampling)
    failure = next((o.failure for o in outcomes if o.failure is not None), None)
    errors = next((o.first_error for o in outcomes if o.errors), "")
    holes = _merged(hole for o in outcomes for hole in o.holes)
    if failure is None and holes:
        failure = Failure("decode", "corrupt", _say_where(holes, errors))
    if failure is None and missing_tail:
        failure = Failure("decode", "truncated", errors)
    if failure is None and (got + bad < expected or (not got + bad and errors)):
        failure = Failure("decode", "corrupt", errors)
    if bad and (failure is None or not got):
        failure = bad_features(bad, got + bad)
    expected = max(expected, got + bad) + missing_tail
    coverage = min(1.0, got / expected) if expected else 0.0
    return Verdict(coverage, failure)


def _expected(outcome: SegmentOutcome) -> int:
    decoded = outcome.rows + outcome.bad_frames
    if outcome.failure is not None:
        return max(decoded + 1, outcome.samples_expected or outcome.segment.expected_frames)
    if outcome.samples_expected is None:
        return decoded + outcome.samples_lost
    return outcome.samples_expected


def _merged(holes: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns the stretches in seconds, sorted and merged: neighbouring segments report the same hole."""
    merged: list[tuple[float, float]] = []
    for start_s, end_s in sorted(holes):
        if merged and start_s < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end_s, merged[-1][1]))
        else:
            merged.append((start_s, end_s))
    return merged


def _say_where(holes: Sequence[tuple[float, float]], error: str) -> str:
    named = ", ".join(_named(*hole) for hole in holes[:HOLES_NAMED])
    more = f" and in {len(holes) - HOLES_NAMED} more places" if len(holes) > HOLES_NAMED else ""
    return f"frames are missing {named}{more}" + (f": {error}" if error else "")


def _named(start_s: float, end_s: float) -> str:
    # If bytes are lost in a stream without times, the frames on both sides have neighbouring times.
    return f"at {start_s:.1f} s" if end_s - start_s < HOLE_S else f"from {start_s:.1f} s to {end_s:.1f} s"


def _missing_tail(outcomes: Sequence[SegmentOutcome], sampling: Sampling) -> int:
    """Returns the number of samples between the stream's end and the end in its header; 0 if the header tells none."""
    info = outcomes[0].segment.info
    ends = [o.end_s for o in outcomes if o.end_s is not None]
    if not info.exact_duration or not info.duration_s or not ends:
        return 0
    duration_s, end_s = float(info.duration_s), max(ends)
    if duration_s - end_s <= _slack_s(duration_s):
        return 0
    clock = sampling.clock(info.time_base, info.duration_s)
    if clock is None:
        decoded = sum(o.rows + o.bad_frames for o in outcomes)
        return max(1, round(decoded * (duration_s - end_s) / (end_s or 1.0)))
    frame_t = max(1, round(1 / (info.fps * info.time_base))) if info.fps else 1
    end_t, promised_t = round(end_s / float(info.time_base)), math.ceil(info.duration_s / info.time_base)
    # A tick has no sample if no frame begins at it or after it.
    ticks = clock.last_tick(promised_t - frame_t) - clock.last_tick(end_t - frame_t)
    return max(1, min(ticks, (promised_t - end_t) // frame_t))


def _slack_s(duration_s: float) -> float:
    return max(TRUNCATION_SLACK_S, TRUNCATION_SLACK_SHARE * duration_s) if duration_s else 0.0


def _video_row(outcomes: list[SegmentOutcome], fold: Fold, verdict: Verdict, settings: PoolSettings) -> dict[str, Any]:
    first = outcomes[0]
    video, info = first.segment.video, first.segment.info
    labels = fold.labels(settings.config.top_labels)
    failure = verdict.failure
    end_s = max((o.end_s or 0.0 for o in outcomes), default=0.0)
    duration_s = float(info.duration_s or 0)
    # The header of joined recordings tells the length of the first one.
    if end_s - duration_s > _slack_s(duration_s):
        duration_s = end_s
    return {
        **identity_of(video),
        "title": info.title,
        "container": info.container,
        "stream": info.stream,
        "codec": info.codec,
        "width": info.width or None,
        "height": info.height or None,
        "rotation": first.rotation,
        "fps": float(info.fps) if info.fps else None,
        "duration_s": duration_s,
        "frames_sampled": fold.frames,
        "coverage": verdict.coverage,
        "status": "partial" if failure else "ok",
        "error": failure.reason if failure else None,
        "message": (failure.message or REASONS[failure.reason]) if failure else None,
        "embedding": fold.embedding(),
        "labels": labels,
        "label_ranges": [{"label": one["label"], "ranges": fold.ranges(one["label"])} for one in labels],
        **fold.best_label(hedger(tuple(settings.thresholds), settings.config.hedging)),
        "model": settings.config.model,
        "model_fingerprint": settings.config.model_fingerprint,
        "sampling": settings.config.sampling,
        "processed_at": _time(settings.processed_at_s),
        "content_hash": info.content_hash,
        "reuse": None,
        "reused_from": None,
    }


def failure_row(failed: ProbeFailure, settings: PoolSettings) -> dict[str, Any]:
    """Returns the row of `failures` of a video."""
    video, failure = failed.video, failed.failure
    now = _time(settings.processed_at_s)
    return {
        **identity_of(video),
        "stage": failure.stage,
        "reason": failure.reason,
        "message": failure.message or REASONS[failure.reason],
        "stream": failed.stream,
        "attempts": video.attempts + 1,
        "first_seen": now if video.first_failed_s is None else _time(video.first_failed_s),
        "last_seen": now,
        "model_fingerprint": settings.config.model_fingerprint,
        "sampling": settings.config.sampling,
    }


def identity_of(video: Video) -> dict[str, Any]:
    """Returns the columns of `videos` and `failures` that tell which file a row is about."""
    return {
        "video_id": video.video_id,
        "uri": video.uri,
        "size_bytes": video.size_bytes,
        "modified": _time(video.modified_s),
        "fingerprint": video.fingerprint,
    }


def _time(seconds: float) -> datetime:
    """Returns a time, limited to the years 1 to 9999: file systems know others, tables do not."""
    return datetime.fromtimestamp(min(max(seconds, YEAR_1_S), YEAR_9999_S), UTC)
