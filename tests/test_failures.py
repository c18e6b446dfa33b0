"""Failures cross processes and are stored as they always were: an array of three strings."""

import json
import pickle
from fractions import Fraction

from transforms.catalog.rows.chunks import SegmentOutcome
from transforms.catalog.rows.pooling import ProbeFailure
from transforms.decoder import wire
from transforms.video.failures import Failure, VideoError
from transforms.video.probe import VideoInfo
from transforms.video.segments import Segment, Video

VIDEO = Video("0" * 16, "a.mp4", 1, 0.0, "f")
INFO = VideoInfo(
    "avi", "mpeg4", 160, 96, Fraction(25), Fraction(4), True, Fraction(1, 25), 0, "sequential"
)  # fmt: skip
FAILURE = Failure("decode", "corrupt", "bytes are missing")


def outcome(failure: Failure | None) -> SegmentOutcome:
    segment = Segment(VIDEO, INFO, 0, 1, Fraction(0), None, 4)
    return SegmentOutcome(segment, "c", 0, 3, 4, 1, "bytes are missing", 4.0, 0, failure)


def test_chunk_files_of_earlier_versions_are_read() -> None:
    """Their failures were plain tuples, which JSON holds as arrays."""
    stored = json.loads(wire.encode_json([outcome(FAILURE), outcome(None)]))
    assert stored[0]["failure"] == ["decode", "corrupt", "bytes are missing"]
    old = json.dumps(stored).encode()
    assert wire.decode_json(old, tuple[SegmentOutcome, ...]) == (outcome(FAILURE), outcome(None))
    (read, _) = wire.decode_json(old, tuple[SegmentOutcome, ...])
    assert isinstance(read.failure, Failure) and read.failure.reason == "corrupt"


def test_failures_cross_between_workers_and_processes() -> None:
    failed = ProbeFailure(VIDEO, FAILURE, 2)
    assert wire.decode(wire.encode(failed), ProbeFailure) == failed
    assert wire.decode(wire.encode((outcome(FAILURE),)), tuple[SegmentOutcome, ...]) == (outcome(FAILURE),)
    assert isinstance(pickle.loads(pickle.dumps(FAILURE)), Failure)


def test_an_error_gives_its_failure() -> None:
    assert VideoError("decode", "corrupt", "bytes\nare missing").failure == FAILURE
    assert VideoError("probe", "empty_file").failure.message == "the file has no bytes"
