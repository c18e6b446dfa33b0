"""From stored frames to one row a video, by hand: means, ranges, coverage, and what is said of missing frames."""

from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models.visual.hedging import Hedging
from transforms.catalog import schemas
from transforms.catalog.reading.frames import FrameReader, embeddings_of
from transforms.catalog.records import RunConfig
from transforms.catalog.rows.chunks import SegmentOutcome, chunk_path
from transforms.catalog.rows.pooling import (
    Fold,
    FrameRows,
    PoolSettings,
    ProbeFailure,
    Verdict,
    failure_row,
    frame_rows,
    judge,
    mean_embedding,
    pool_videos,
)
from transforms.catalog.rows.thumbnails import Chosen
from transforms.video.failures import REASONS, Failure
from transforms.video.probe import VideoInfo
from transforms.video.sampling import Sampling
from transforms.video.segments import Segment, Video

ONE_FPS = Sampling.parse("1fps")
NOON_S = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
BASE = Fraction(1, 10)


def video_of(uri: str = "/a", **changes: Any) -> Video:
    return Video("0" * 15 + uri[-1], uri, 123, NOON_S, "print", **changes)


def outcome(rows: int = 10, expected: int | None = 10, **changes: Any) -> SegmentOutcome:
    """What one segment of a video of 10 s gave; `changes` also name fields of the video, its header and the segment."""
    details: dict[str, Any] = {
        "container": "mov", "codec": "h264", "width": 64, "height": 48, "fps": Fraction(25), "duration_s": Fraction(10),
        "exact_duration": True, "time_base": BASE, "first_pts": 0, "timing": "seekable", "title": "a title", "stream": 2,
    }  # fmt: skip
    details |= {name: changes.pop(name) for name in list(changes) if name in details}
    video = changes.pop("video", None) or video_of()
    segment = Segment(video, VideoInfo(**details), 0, 1, Fraction(0), None, changes.pop("expected_frames", 10))
    made: dict[str, Any] = {
        "chunk_id": "c", "first_row": 0, "errors": 0, "first_error": "", "end_s": 10.0, "rotation": 90, "failure": None,
    }  # fmt: skip
    return SegmentOutcome(segment, rows=rows, samples_expected=expected, **{**made, **changes})


def rows_of(embeddings: list[list[float]], labels: list[dict[str, float]], start_s: float = 0.0) -> FrameRows:
    pairs = [[{"label": name, "score": score} for name, score in one.items()] for one in labels]
    return FrameRows(start_s + np.arange(len(pairs), dtype=np.float64), np.array(embeddings, np.float32), pairs)


def test_a_fold_is_the_same_however_it_was_cut() -> None:
    rng = np.random.default_rng(5)
    embeddings = rng.random((9, 4), np.float32)
    whole = mean_embedding(embeddings)
    for cut in range(1, 9):
        fold = Fold()
        for part in (embeddings[:cut], embeddings[cut:]):
            fold.add(rows_of(part.tolist(), [{}] * len(part)), {})
        assert (fold.embedding() == whole).all()
    mean = embeddings.astype(np.float64).sum(axis=0)
    assert (whole == (mean / np.linalg.norm(mean)).astype(np.float32)).all()
    assert whole.dtype == np.float32 and (fold.frames, fold.total.dtype) == (9, np.float64)


def test_a_fold_adds_in_float64() -> None:
    """A million of float32 swallows a hundredth; 100 of them are one."""
    embeddings = np.array([[1e6, 1.0]] + [[0.01, 0.0]] * 100, np.float32)
    fold = Fold()
    fold.add(rows_of(embeddings.tolist(), [{}] * 101), {})
    assert fold.total is not None and fold.total[0] == pytest.approx(1e6 + 1, abs=1e-3)


def test_a_mean_of_nothing_stays_zero() -> None:
    assert mean_embedding(np.zeros((3, 2), np.float32)).tolist() == [0.0, 0.0]
    assert mean_embedding(np.array([[3.0, 4.0]])).tolist() == [np.float32(0.6), np.float32(0.8)]


def test_labels_are_ranked_by_mean_score_then_name() -> None:
    fold = Fold()
    labels = [{"b": 0.5, "a": 0.5}, {"c": 0.75}, {"b": 0.25, "a": 0.25, "d": 0.125}, {}]
    fold.add(rows_of([[1.0, 0.0]] * 4, labels), dict.fromkeys("abcd", 2.0))
    ranked = [("a", 0.1875), ("b", 0.1875), ("c", 0.1875), ("d", 0.03125)]
    for count in (4, 2, 0):
        assert fold.labels(count) == [{"label": name, "score": score} for name, score in ranked[:count]]
    fold.add(rows_of([[1.0, 0.0]], [{"d": 2.0}]), {"d": 9.0})
    assert fold.labels(1) == [{"label": "d", "score": 0.425}]


def test_ranges_are_stretches_of_neighbouring_frames_at_or_over_the_threshold() -> None:
    fold = Fold()
    scores = [0.5, 0.6, 0.1, 0.5, 0.49, 0.9, 0.9, 0.9]
    fold.add(rows_of([[1.0]] * 5, [{"x": score} for score in scores[:5]], 100.0), {"x": 0.5})
    fold.add(rows_of([[1.0]] * 3, [{"x": score} for score in scores[5:]], 200.0), {"x": 0.5})
    assert fold.ranges("x") == [
        {"start_s": 100.0, "end_s": 101.0},
        {"start_s": 103.0, "end_s": 103.0},
        {"start_s": 200.0, "end_s": 202.0},
    ]
    assert fold.ranges("y") == []


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_ranges_cover_the_seen_frames_and_no_others(seen: list[bool]) -> None:
    fold = Fold()
    fold.add(rows_of([[1.0]] * len(seen), [{"x": float(one)} for one in seen]), {"x": 0.5})
    covered = [any(r["start_s"] <= t <= r["end_s"] for r in fold.ranges("x")) for t in range(len(seen))]
    assert covered == seen


CORRUPT, TRUNCATED = ("decode", "corrupt"), ("decode", "truncated")
STOPPED = Failure("decode", "deadline", "too slow")


@pytest.mark.parametrize(
    ("outcomes", "coverage", "failure"),
    [
        ([outcome()], 1.0, None),
        ([outcome(4, 4), outcome(6, 6)], 1.0, None),
        ([outcome(4, 5), outcome(5, 5)], 0.9, (*CORRUPT, "")),
        ([outcome(4, 5, errors=1, first_error="one"), outcome(5, 5, errors=1, first_error="two")], 0.9, (*CORRUPT, "one")),
        ([outcome(10, 10, errors=3, first_error="harmless")], 1.0, None),
        ([outcome(9, 10, errors=0, first_error="not counted")], 0.9, (*CORRUPT, "")),
        ([outcome(0, 0)], 0.0, None),
        ([outcome(0, None)], 0.0, None),
        ([outcome(0, None, errors=1, first_error="bad")], 0.0, (*CORRUPT, "bad")),
        ([outcome(10, None)], 1.0, None),
        ([outcome(8, None, samples_lost=2)], 0.8, (*CORRUPT, "")),
        ([outcome(12, 10)], 1.0, None),
        ([outcome(5, 10, failure=STOPPED)], 0.5, STOPPED),
        ([outcome(5, None, failure=STOPPED, expected_frames=20)], 0.25, STOPPED),
        ([outcome(9, None, failure=STOPPED, expected_frames=3)], 0.9, STOPPED),
        ([outcome(3, 2, bad_frames=1, failure=STOPPED)], 0.6, STOPPED),
        ([outcome(5, 5), outcome(5, 10, failure=STOPPED)], 10 / 15, STOPPED),
        ([outcome(5, 10, failure=STOPPED, holes=((1.0, 2.0),))], 0.5, STOPPED),
        ([outcome(5, 10, failure=STOPPED, end_s=1.9)], 5 / 18, STOPPED),
        ([outcome(8, 10, end_s=1.9, holes=((1.0, 2.0),))], 8 / 18, (*CORRUPT, "frames are missing from 1.0 s to 2.0 s")),
        ([outcome(2, 2, end_s=1.9)], 2 / 10, (*TRUNCATED, "")),
        ([outcome(2, 2, end_s=1.9, errors=1, first_error="cut off")], 2 / 10, (*TRUNCATED, "cut off")),
        ([outcome(1, 2, end_s=1.9)], 1 / 10, (*TRUNCATED, "")),
        ([outcome(8, 10, bad_frames=2)], 0.8, ("infer", "bad_features", f"{REASONS['bad_features']}, for 2 of 10 frames")),
        ([outcome(7, 10, bad_frames=2)], 0.7, (*CORRUPT, "")),
        ([outcome(0, 10, bad_frames=2)], 0.0, ("infer", "bad_features", f"{REASONS['bad_features']}, for 2 of 2 frames")),
        ([outcome(0, 2, bad_frames=2, errors=1, first_error="e")], 0.0,
         ("infer", "bad_features", f"{REASONS['bad_features']}, for 2 of 2 frames")),
        ([outcome(8, None, bad_frames=2)], 0.8, ("infer", "bad_features", f"{REASONS['bad_features']}, for 2 of 10 frames")),
        ([outcome(8, None, bad_frames=1, samples_lost=1)], 0.8, (*CORRUPT, "")),
    ],
)  # fmt: skip
def test_coverage_and_what_is_missing(
    outcomes: list[SegmentOutcome], coverage: float, failure: tuple[str, str, str] | None
) -> None:
    assert judge(outcomes, ONE_FPS) == Verdict(coverage, failure)


@pytest.mark.parametrize(
    ("holes", "error", "said"),
    [
        ([(1.0, 2.0)], "", "from 1.0 s to 2.0 s"),
        ([(1.0, 1.5)], "", "from 1.0 s to 1.5 s"),
        ([(1.0, 1.49)], "", "at 1.0 s"),
        ([(1.0, 2.0), (4.0, 4.0)], "bad packet", "from 1.0 s to 2.0 s, at 4.0 s: bad packet"),
        ([(4.0, 5.0), (1.0, 2.0), (1.5, 3.0)], "", "from 1.0 s to 3.0 s, from 4.0 s to 5.0 s"),
        ([(1.0, 5.0), (2.0, 3.0), (4.0, 6.0)], "", "from 1.0 s to 6.0 s"),
        ([(1.0, 2.0), (2.0, 3.0)], "", "from 1.0 s to 2.0 s, from 2.0 s to 3.0 s"),
        ([(float(s), float(s)) for s in range(5)], "", "at 0.0 s, at 1.0 s, at 2.0 s, at 3.0 s, at 4.0 s"),
        ([(float(s), float(s)) for s in range(7)], "e",
         "at 0.0 s, at 1.0 s, at 2.0 s, at 3.0 s, at 4.0 s and in 2 more places: e"),
    ],
)  # fmt: skip
def test_where_frames_are_missing(holes: list[tuple[float, float]], error: str, said: str) -> None:
    parts = [outcome(holes=tuple(holes[:1]), errors=bool(error), first_error=error), outcome(holes=tuple(holes[1:]))]
    assert judge(parts, ONE_FPS).failure == ("decode", "corrupt", f"frames are missing {said}")


@pytest.mark.parametrize(
    ("text", "duration_s", "end_s", "rows", "missing"),
    [
        ("1fps", 10, 9.0, 9, 0),  # a second is not missed
        ("1fps", 10, 8.9, 9, 1),
        ("1fps", 100, 98.0, 98, 0),  # nor two in a hundred
        ("1fps", 100, 97.9, 98, 2),
        ("1fps", 10, 4.9, 5, 5),
        ("0.1fps", 10, 4.9, 1, 1),
        ("count:5", 10, 4.9, 3, 2),
        ("keyframes", 10, 5.0, 4, 4),
        ("keyframes", 10, 8.0, 4, 1),
        ("keyframes", 10, 2.0, 4, 16),
        ("every:5", 10, 0.0, 4, 40),
        ("every:5", 10, 8.0, 0, 1),
    ],
)
def test_a_tail_that_the_header_promises_is_missed(
    text: str, duration_s: int, end_s: float, rows: int, missing: int
) -> None:
    verdict = judge([outcome(rows, rows, end_s=end_s, duration_s=Fraction(duration_s))], Sampling.parse(text))
    assert verdict.coverage == (rows / (rows + missing) if rows else 0.0)
    assert verdict.failure == (("decode", "truncated", "") if missing else None)


@given(
    frame_t=st.integers(1, 25),
    got=st.integers(1, 30),
    more=st.integers(1, 30),
    rate=st.fractions(Fraction(1, 9), 12, max_denominator=9),
)
def test_a_missing_tail_has_the_samples_of_its_frames(frame_t: int, got: int, more: int, rate: Fraction) -> None:
    """A stream of equally long frames of which only the first `got` came, sampled by the definition."""
    promised_s, end_s = (got + more) * frame_t * BASE, got * frame_t * BASE
    assume(promised_s - end_s > max(1, promised_s / 50))
    times = range(0, (got + more) * frame_t, frame_t)
    ticks = range(int(promised_s * rate) + 2)
    samples = {next((t for t in times if t * BASE >= k / rate - BASE / 2), None) for k in ticks} - {None}
    lost = sum(t * BASE >= end_s for t in samples)
    fps = 1 / (frame_t * BASE)
    rows = len(samples) - lost
    one = outcome(rows, rows, end_s=float(end_s), duration_s=promised_s, fps=fps)
    assert judge([one], Sampling("rate", rate)).coverage == rows / (rows + max(1, lost))


@pytest.mark.parametrize("changes", [{"exact_duration": False}, {"duration_s": None}, {"end_s": None}])
def test_no_tail_is_missed_where_no_header_promises_it(changes: dict[str, Any]) -> None:
    assert judge([outcome(2, 2, **{"end_s": 1.9, **changes})], ONE_FPS) == Verdict(1.0, None)


def test_the_tail_is_counted_after_the_last_segment_that_tells_an_end() -> None:
    parts = [outcome(5, 5, end_s=5.0), outcome(4, 4, end_s=10.0), outcome(1, 1, end_s=None)]
    assert judge(parts, ONE_FPS) == Verdict(1.0, None)
    bad = [outcome(3, 4, end_s=5.0, bad_frames=1), outcome(0, 0, end_s=None)]
    assert judge(bad, Sampling.parse("keyframes")).coverage == 3 / 8


def settings(folder: Path, **changes: Any) -> PoolSettings:
    config = replace(RunConfig("tiny", "f" * 16, "1fps", 1, "float32", 2, hedging=Hedging(floor=0.5)), **changes)
    return PoolSettings(str(folder), config, {"x": 0.5, "y": 0.5}, processed_at_s=NOON_S + 60)


def write_chunk(folder: Path, chunk_id: str, scores: list[float], dtype: str = "float32") -> None:
    count = len(scores)
    schema = schemas.frames_schema(2, dtype)
    embedding = pa.array([[s, 1.0] for s in scores], schema.field("embedding").type)
    table = pa.table(
        {
            "video_id": ["v"] * count, "uri": ["/v"] * count, "segment": pa.array([0] * count, pa.int32()),
            "pts": list(range(count)), "time_s": [float(i) for i in range(count)], "embedding": embedding,
            "labels": [[{"label": "x", "score": s}, {"label": "y", "score": s / 2}] for s in scores],
            "best_label": pa.nulls(count), "best_label_score": pa.nulls(count),
        },
        schema=schema,
    )  # fmt: skip
    schemas.write_table(str(folder / f"chunk-{chunk_id}.parquet"), table, schema)


def test_a_reader_gives_the_rows_of_a_segment(tmp_path: Path) -> None:
    write_chunk(tmp_path, "one", [0.0, 0.25, 0.5, 0.75])
    write_chunk(tmp_path, "two", [1.0], "float16")
    reader = FrameReader(["time_s", "embedding", "labels"])
    for _ in range(2):
        rows = frame_rows(reader.rows(chunk_path(str(tmp_path), "one"), 1, 2))
        assert rows.time_s.tolist() == [1.0, 2.0]
        assert rows.embeddings.tolist() == [[0.25, 1.0], [0.5, 1.0]]
        assert rows.labels[1] == [{"label": "x", "score": 0.5}, {"label": "y", "score": 0.25}]
        assert frame_rows(reader.rows(chunk_path(str(tmp_path), "two"), 0, 1)).embeddings.tolist() == [[1.0, 1.0]]


def test_a_reader_reads_a_file_once_while_it_is_asked_for(tmp_path: Path) -> None:
    write_chunk(tmp_path, "one", [0.0, 0.25])
    reader = FrameReader()
    path = chunk_path(str(tmp_path), "one")
    reader.rows(path, 0, 1)
    (tmp_path / "chunk-one.parquet").unlink()
    assert embeddings_of(reader.rows(path, 1, 1)["embedding"]).tolist() == [[0.25, 1.0]]


def test_the_row_of_a_whole_video(tmp_path: Path) -> None:
    write_chunk(tmp_path, "c", [0.75, 0.5, 0.25, 0.75])
    parts = [
        outcome(2, 2, end_s=None, duration_s=Fraction(4)),
        outcome(2, 2, first_row=2, end_s=4.0, duration_s=Fraction(4), rotation=0),
    ]
    ((row, failure, _),) = pool_videos(parts, settings(tmp_path))
    assert failure is None and row is not None
    embedding = row.pop("embedding")
    mean = np.array([2.25, 4.0])
    assert (embedding == (mean / np.linalg.norm(mean)).astype(np.float32)).all()
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert row == {
        "video_id": "000000000000000a",
        "uri": "/a",
        "size_bytes": 123,
        "modified": noon,
        "fingerprint": "print",
        "title": "a title",
        "container": "mov",
        "stream": 2,
        "codec": "h264",
        "width": 64,
        "height": 48,
        "rotation": 90,
        "fps": 25.0,
        "duration_s": 4.0,
        "frames_sampled": 4,
        "coverage": 1.0,
        "status": "ok",
        "error": None,
        "message": None,
        "labels": [{"label": "x", "score": 0.5625}],
        "label_ranges": [{"label": "x", "ranges": [{"start_s": 0.0, "end_s": 1.0}, {"start_s": 3.0, "end_s": 3.0}]}],
        "best_label": "x",
        "best_label_score": 0.5625,
        "model": "tiny",
        "model_fingerprint": "f" * 16,
        "sampling": "1fps",
        "processed_at": noon.replace(minute=1),
        "content_hash": None,
        "reuse": None,
        "reused_from": None,
    }


def pooled(folder: Path, *parts: SegmentOutcome, **changes: Any) -> dict[str, Any]:
    write_chunk(folder, "c", [0.75, 0.5, 0.25, 0.75])
    ((row, failure, _),) = pool_videos(parts, settings(folder, **changes))
    assert failure is None and row is not None
    return row


def test_the_row_of_a_video_in_part(tmp_path: Path) -> None:
    row = pooled(tmp_path, outcome(4, 10))
    assert (row["status"], row["error"], row["message"]) == ("partial", "corrupt", REASONS["corrupt"])
    row = pooled(tmp_path, outcome(4, 10, errors=1, first_error="a bad packet"))
    assert (row["error"], row["message"], row["coverage"]) == ("corrupt", "a bad packet", 0.4)


def test_the_row_of_a_video_that_lost_its_end(tmp_path: Path) -> None:
    row = pooled(tmp_path, outcome(4, 4, end_s=3.9))
    assert (row["status"], row["error"], row["coverage"]) == ("partial", "truncated", 0.4)


def test_what_a_header_leaves_out_is_null(tmp_path: Path) -> None:
    row = pooled(tmp_path, outcome(4, 4, end_s=None, fps=None, width=0, height=0, duration_s=None), top_labels=2)
    assert (row["fps"], row["width"], row["height"], row["duration_s"]) == (None, None, None, 0.0)
    assert [one["label"] for one in row["labels"]] == ["x", "y"]
    assert row["label_ranges"][1] == {"label": "y", "ranges": []}


@pytest.mark.parametrize(
    ("duration_s", "end_s", "told_s"), [(10, 11.0, 10.0), (10, 11.1, 11.1), (100, 102.0, 100.0), (None, 0.5, 0.5)]
)
def test_a_stream_that_outlasts_its_header_tells_its_own_length(
    tmp_path: Path, duration_s: int | None, end_s: float, told_s: float
) -> None:
    length = None if duration_s is None else Fraction(duration_s)
    parts = outcome(2, 2, end_s=None, duration_s=length), outcome(1, 1, end_s=end_s, duration_s=length)
    assert pooled(tmp_path, *parts)["duration_s"] == told_s


def test_videos_are_pooled_one_by_one_and_those_without_frames_fail(tmp_path: Path) -> None:
    write_chunk(tmp_path, "c", [0.75, 0.5])
    parts = [
        outcome(1, 1, video=video_of("/a")),
        outcome(0, 0, video=video_of("/b")),
        outcome(0, None, video=video_of("/c"), failure=STOPPED),
        outcome(1, 1, video=video_of("/d"), first_row=1),
        outcome(0, 0, video=video_of("/d")),
    ]
    pairs = list(pool_videos(parts, settings(tmp_path)))
    assert [(one.video or {}).get("uri") for one in pairs] == ["/a", None, None, "/d"]
    failures = [one.failure for one in pairs if one.failure is not None]
    assert [(one["uri"], one["stage"], one["reason"], one["message"], one["stream"]) for one in failures] == [
        ("/b", "decode", "no_frames", REASONS["no_frames"], 2),
        ("/c", *STOPPED, 2),
    ]
    assert pairs[3].video is not None and pairs[3].video["embedding"].tolist() == pytest.approx(
        [0.5 / 1.25**0.5, 1 / 1.25**0.5]
    )


def test_thumbnails_are_those_of_each_window_and_range_and_of_the_frame_nearest_to_the_mean(tmp_path: Path) -> None:
    write_chunk(tmp_path, "c", [0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.6])
    parts = [outcome(4, 4, decoded_in="one"), outcome(4, 4, first_row=4, decoded_in="other")]
    every_four = settings(tmp_path, thumbnail_seconds="4")
    assert next(pool_videos(parts, every_four)).thumbnails is None, "a run that makes none has no folder for them"
    ((row, _, chosen),) = pool_videos(parts, replace(every_four, candidates_folder="somewhere"))
    assert row is not None and row["frames_sampled"] == 8
    # Label x is seen in the first and in the last frame; of all that are nearest to the mean, the second is the first.
    assert chosen == Chosen("000000000000000a", 1, (("one", (0, 1)), ("other", (7,))))


def test_frames_with_bad_features_count_as_decoded() -> None:
    told = judge([outcome(1, 2, bad_frames=1, errors=1, first_error="a bad packet")], ONE_FPS)
    assert told.failure is not None and (told.failure.reason, told.coverage) == ("bad_features", 0.5)
    assert judge([outcome(2, 2, bad_frames=2)], ONE_FPS).coverage == 0.5, "more frames came than were promised"


@pytest.mark.parametrize(
    ("fps", "end_s", "missing"),
    [
        (None, 4.1, 5),  # frames of unknown length last one unit of the time base
        (Fraction(10), 4.1, 5),
        (Fraction(10), 4.0, 6),
        (Fraction(1, 2), 4.1, 2),  # 5.9 s have only two whole frames of 2 s
    ],
)
def test_samples_of_a_lost_end_are_those_that_its_frames_could_give(
    fps: Fraction | None, end_s: float, missing: int
) -> None:
    coverage = judge([outcome(4, 4, end_s=end_s, fps=fps)], ONE_FPS).coverage
    assert coverage == 4 / (4 + missing)


def test_the_row_of_a_failure(tmp_path: Path) -> None:
    now = datetime(2026, 11, 23, 12, 1, tzinfo=UTC)
    first = ProbeFailure(video_of(), Failure("probe", "empty_file", ""))
    assert failure_row(first, settings(tmp_path)) == {
        "video_id": "000000000000000a",
        "uri": "/a",
        "size_bytes": 123,
        "modified": now.replace(minute=0),
        "fingerprint": "print",
        "stage": "probe",
        "reason": "empty_file",
        "message": REASONS["empty_file"],
        "stream": None,
        "attempts": 1,
        "first_seen": now,
        "last_seen": now,
        "model_fingerprint": "f" * 16,
        "sampling": "1fps",
    }
    again = ProbeFailure(video_of(attempts=2, first_failed_s=NOON_S), Failure("probe", "empty_file", "a message"), 3)
    row = failure_row(again, settings(tmp_path))
    assert (row["attempts"], row["first_seen"], row["last_seen"]) == (3, now.replace(minute=0), now)
    assert (row["message"], row["stream"]) == ("a message", 3)


@pytest.mark.parametrize(
    ("modified_s", "told"),
    [
        (-1e15, datetime(1, 1, 1, tzinfo=UTC)),
        (1e15, datetime(9999, 12, 31, tzinfo=UTC)),
        (0.0, datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_that_tables_do_not_know_are_moved_to_the_nearest(
    tmp_path: Path, modified_s: float, told: datetime
) -> None:
    odd = Video("0" * 16, "/a", 1, modified_s, "print")
    assert failure_row(ProbeFailure(odd, Failure("probe", "empty_file", "")), settings(tmp_path))["modified"] == told
