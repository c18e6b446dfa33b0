"""A decoder that hangs, dies, eats memory or returns nonsense costs its own segment and no other's rows."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from models.visual.bundle import prepare
from tests import videos
from transforms.catalog.records import RunConfig
from transforms.catalog.rows.chunks import ChunkExtractor, ChunkResult, ExtractSettings, PendingChunk, failed_result
from transforms.decoder import child
from transforms.decoder.child import SegmentResult
from transforms.decoder.settings import DecoderSettings
from transforms.storage import video_id_of
from transforms.video.failures import VideoError
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Chunk, Segment, Video, cut

pytestmark = pytest.mark.slow

SAMPLING = Sampling.parse("1fps")
CONFIG = RunConfig("placeholder", "f" * 16, str(SAMPLING), top_labels=3, embedding_dtype="float32", embedding_size=32)
VICTIM = 1
"""Which segment of the chunk the faults hit."""


def sleeps(segment: Segment, path: str) -> None:
    time.sleep(600)


def spins(segment: Segment, path: str) -> None:
    while True:
        pass


def aborts(segment: Segment, path: str) -> None:
    os.abort()


def crashes(segment: Segment, path: str) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def exits(segment: Segment, path: str) -> None:
    os._exit(3)


def raises(segment: Segment, path: str) -> None:
    raise KeyError("a bug that only this file brings out")


def allocates(segment: Segment, path: str) -> None:
    taken = []
    while True:
        taken.append(np.empty(256 << 20, np.uint8))


def returns_nothing(segment: Segment, path: str) -> None:
    return None


def returns_text(segment: Segment, path: str) -> str:
    return "frames"


def changed(**changes: Any) -> Callable[[Segment, str], Any]:
    return lambda segment, path: replace(child.run_segment(segment, path), **changes)


def loses_a_time(segment: Segment, path: str) -> Any:
    result = child.run_segment(segment, path)
    return replace(result, time_s=result.time_s[1:])


def turns_frames_around(segment: Segment, path: str) -> Any:
    result = child.run_segment(segment, path)
    return replace(result, pts=result.pts[::-1])


def invents_a_label(segment: Segment, path: str) -> Any:
    result = child.run_segment(segment, path)
    assert result.features is not None
    return replace(result, features=result.features._replace(top_labels=result.features.top_labels + 1000))


def widens_embeddings(segment: Segment, path: str) -> Any:
    result = child.run_segment(segment, path)
    assert result.features is not None
    wide = np.zeros((len(result.pts), 7), np.float32)
    return replace(result, features=result.features._replace(embeddings=wide))


def names_a_missing_file(segment: Segment, path: str) -> Any:
    return replace(child.run_segment(segment, path), features=None, pictures="/no/such/file")


FAULTS = {
    sleeps: "deadline",
    spins: "deadline",
    aborts: "decoder_crash",
    crashes: "decoder_crash",
    exits: "decoder_crash",
    raises: "decoder_crash",
    allocates: "too_large",
    returns_nothing: "decoder_crash",
    returns_text: "decoder_crash",
    loses_a_time: "decoder_crash",
    turns_frames_around: "decoder_crash",
    invents_a_label: "decoder_crash",
    widens_embeddings: "decoder_crash",
    names_a_missing_file: "decoder_crash",
}


@pytest.fixture(scope="module")
def chunk(tmp_path_factory: pytest.TempPathFactory) -> Chunk:
    """Four segments of two videos."""
    folder = tmp_path_factory.mktemp("chunk")
    segments: list[Segment] = []
    for name in ("mpeg4_mp4", "h264_bframes"):
        path = videos.make(folder, name, seconds=6)
        video = Video(video_id_of(str(path)), str(path), path.stat().st_size, 0.0, "")
        segments += cut(video, probe(str(path)), SAMPLING, Fraction(3))
    return Chunk("0" * 20, tuple(segments))


@pytest.fixture
def extractor(tmp_path: Path) -> Iterator[ChunkExtractor]:
    decoders = DecoderSettings(2, deadline_s=3.0, memory_bytes=4 << 30)
    settings = ExtractSettings(str(prepare("placeholder").path), str(tmp_path / "frames"), CONFIG, decoders)
    with ChunkExtractor(settings) as extractor:
        yield extractor


@pytest.fixture(scope="module")
def undisturbed(chunk: Chunk, tmp_path_factory: pytest.TempPathFactory) -> tuple[ChunkResult, list[dict]]:
    folder = str(tmp_path_factory.mktemp("undisturbed"))
    with ChunkExtractor(ExtractSettings(str(prepare("placeholder").path), folder, CONFIG, DecoderSettings(2))) as one:
        result = one.collect(one.submit(chunk))
    return result, rows(result)


def rows(result: ChunkResult) -> list[dict]:
    return pq.read_table(result.file.path).to_pylist()


def break_decoder(
    extractor: ChunkExtractor, monkeypatch: pytest.MonkeyPatch, victim: Segment, fault: Callable, times: int
) -> list[Segment]:
    """Makes real children run `fault` in place of the decoder for one segment; returns what is asked of the pool."""
    healthy, asked = extractor.pool.run, []

    def run(segment: Segment) -> "Future[Any]":
        asked.append(segment)
        if segment != victim or asked.count(victim) > times:
            return healthy(segment)
        pool = extractor.pool
        return pool.processes.submit(fault, segment, segment.video.uri, deadline_s=pool.deadline_s(segment))

    monkeypatch.setattr(extractor.pool, "run", run)
    return asked


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_costs_its_segment_alone(
    chunk: Chunk, extractor: ChunkExtractor, undisturbed: Any, monkeypatch: pytest.MonkeyPatch, fault: Callable
) -> None:
    victim = chunk.segments[VICTIM]
    asked = break_decoder(extractor, monkeypatch, victim, fault, times=2)
    result = extractor.collect(extractor.submit(chunk))
    assert asked == [*chunk.segments, victim], "tried once more, after the others"
    assert result.stats.segments_retried == 1
    failure = result.outcomes[VICTIM].failure
    assert failure is not None and failure[:2] == ("decode", FAULTS[fault]) and failure[2]
    assert [outcome.failure for outcome in result.outcomes if outcome.segment != victim] == [None] * 3
    whole, all_rows = undisturbed
    lost = whole.outcomes[VICTIM]
    kept = all_rows[: lost.first_row] + all_rows[lost.first_row + lost.rows :]
    assert rows(result) == kept, "the other segments' rows are those of a run without the fault"


@pytest.mark.parametrize("fault", [sleeps, aborts, allocates], ids=lambda fault: fault.__name__)
def test_a_fault_that_passes_costs_nothing(
    chunk: Chunk, extractor: ChunkExtractor, undisturbed: Any, monkeypatch: pytest.MonkeyPatch, fault: Callable
) -> None:
    break_decoder(extractor, monkeypatch, chunk.segments[VICTIM], fault, times=1)
    result = extractor.collect(extractor.submit(chunk))
    assert result.stats.segments_retried == 1
    assert rows(result) == undisturbed[1]


def test_a_chunk_that_is_given_up_leaves_no_pictures(chunk: Chunk, extractor: ChunkExtractor) -> None:
    waiting: Future[SegmentResult] = Future()
    running: Future[SegmentResult] = Future()
    running.set_running_or_notify_cancel()
    pictures = Path(extractor.pool._spool.path, "9.frames")
    pictures.touch()
    extractor.drop(PendingChunk(chunk, [waiting, running]))
    assert waiting.cancelled() and pictures.exists(), "the child still writes"
    nothing = failed_result(extractor.bundle, 2, VideoError("decode", "no_frames"))
    running.set_result(replace(nothing, pictures=str(pictures)))
    assert not pictures.exists()


def test_progress_hears_of_every_segment_before_the_chunk_is_whole(chunk: Chunk, extractor: ChunkExtractor) -> None:
    heard: list[tuple[str, int, int]] = []

    def hear(segment: Segment, frames: int) -> None:
        assert not list(Path(extractor.settings.frames_folder).glob("chunk-*.parquet"))
        heard.append((segment.video.uri, segment.index, frames))

    result = extractor.collect(extractor.submit(chunk), hear)
    assert heard == [(o.segment.video.uri, o.segment.index, o.rows) for o in result.outcomes]


def test_no_child_outlives_the_faults(chunk: Chunk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoders = DecoderSettings(2, deadline_s=2.0)
    settings = ExtractSettings(str(prepare("placeholder").path), str(tmp_path), CONFIG, decoders)
    with ChunkExtractor(settings) as one:
        break_decoder(one, monkeypatch, chunk.segments[VICTIM], spins, times=2)
        one.collect(one.submit(chunk))
        family = one.pool.processes.pids()
        assert family
    assert not [pid for pid in family if psutil.pid_exists(pid)]
