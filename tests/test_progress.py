"""What a run shows while it works: a bar on a terminal, a line now and then elsewhere."""

import errno
import logging
import os
import pty
import signal
import subprocess
import time
from fractions import Fraction
from pathlib import Path
from typing import Final

import pytest

from pipelines.terminal import progress
from pipelines.terminal.units import human_bytes, human_progress, human_speed, human_time
from tests import videos
from tests.catalogs import CONFIG
from tests.command_line import reelbeam_command
from tests.conftest import ROOT, Reelbeam
from tests.placeholder_heads import make_head
from tests.tables import contents
from transforms.catalog.attempt import UNFENCED, Attempt, AttemptSuperseded
from transforms.catalog.progress import Progress, Totals, read_progress
from transforms.catalog.rows.chunks import ChunkResult, ChunkStats, ExtractSettings, PendingChunk, SegmentDone
from transforms.catalog.schemas import FileRecord
from transforms.decoder.settings import DecoderSettings
from transforms.extract_features import _ExtractChunk
from transforms.storage import TEMPORARY_MARK, StorageError
from transforms.video.segments import Chunk, Segment, Video


def on_a_terminal(command: list[str]) -> tuple[str, str]:
    """(standard output, what a terminal at standard error was sent)."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT, env=env, text=True) as running:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # Linux: the other end is closed
                break
        out = running.communicate()[0]
    os.close(ours)
    assert running.returncode == 0, shown.decode()
    return out, shown.decode()


@pytest.mark.slow
def test_a_terminal_shows_a_bar_and_standard_output_stays_clean(tmp_path: Path) -> None:
    one = videos.encode(tmp_path / "one.mp4", videos.RECIPES["h264_bframes"], 20)
    archive = tmp_path / "archive"
    archive.mkdir()
    for number in range(30):
        (archive / f"{number:02}.mp4").hardlink_to(one)
    command = ["classify", "--archive", str(archive), "--catalog", str(tmp_path / "c"), "--model", "placeholder"]
    out, shown = on_a_terminal(reelbeam_command(*command, "--json"))
    assert out.startswith("{") and out.count("\n") == 1
    assert " of video" in shown and "x real time" in shown


def test_without_a_terminal_a_line_comes_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.02)
    caplog.set_level(logging.INFO, logger="reelbeam")
    plan, extract = Progress(str(tmp_path)), Progress(str(tmp_path))
    plan.begin("plan-00000")
    plan.add("plan-00000", planned_s=7200, segments=2)
    extract.begin("chunk-a")
    extract.add("chunk-a", done_s=3600, frames=3600, failed=1)
    with progress.watch(str(tmp_path)):
        for _ in range(1000):
            time.sleep(0.02)
            if caplog.messages:
                break
    lines = caplog.messages
    assert lines and all(line.startswith("1.00 of 2.00 h of video, ") for line in lines)
    assert all("3600 frames, 1 failed" in line for line in lines)


def test_speed_and_time_left() -> None:
    line = progress.describe(Totals(planned_s=7200, done_s=3600, frames=3600), elapsed_s=36)
    assert line == "1.00 of 2.00 h of video, 100x real time, about 36 s left, 3600 frames, 0 failed"
    assert "planning" in progress.describe(Totals(), elapsed_s=1)


def test_totals_are_sums_over_parts(tmp_path: Path) -> None:
    for part in ("a", "b"):
        one = Progress(str(tmp_path))
        one.begin(part)
        one.add(part, done_s=1.5, frames=2)
        one.add(part, done_s=1.5, frames=2, failed=1)
        one.write()
    assert read_progress(str(tmp_path)) == Totals(done_s=6.0, frames=8, failed=2)


def test_a_part_that_is_told_of_twice_counts_once(tmp_path: Path) -> None:
    lost, retried = Progress(str(tmp_path)), Progress(str(tmp_path))
    for reporter, segments in ((lost, 2), (retried, 1), (retried, 3)):
        reporter.begin("chunk-a")  # by another worker, and by the same one again
        for _ in range(segments):
            reporter.add("chunk-a", done_s=5.0, frames=5)
        reporter.write()
        assert read_progress(str(tmp_path)).frames == max(10, 5 * segments)


def test_reports_of_an_earlier_start_are_refused(tmp_path: Path) -> None:
    attempt = Attempt.begin(str(tmp_path))
    reporter = Progress(str(tmp_path), attempt.require)
    reporter.begin("chunk-a")
    reporter.add("chunk-a", frames=5)
    Attempt.begin(str(tmp_path))
    assert read_progress(str(tmp_path)) == Totals()
    with pytest.raises(AttemptSuperseded):
        reporter.write()
    assert read_progress(str(tmp_path)) == Totals()


class MadeUpExtractor:
    """Gives every segment of a chunk a frame for each of its seconds, decoding nothing."""

    def get(self) -> "MadeUpExtractor":
        return self

    def submit(self, chunk: Chunk) -> PendingChunk:
        return PendingChunk(chunk, [])

    def collect(self, pending: PendingChunk, done: SegmentDone, fence: object) -> ChunkResult:
        for segment in pending.chunk.segments:
            done(segment, round(segment.duration_s))
        file = FileRecord("chunk", "frames", 1, 1, "")
        return ChunkResult((), file, ChunkStats(), (), reused=False, worker="")


def test_bundles_of_one_worker_add_up(tmp_path: Path) -> None:
    """A runner gives a worker one bundle after another, and some of them again."""
    settings = ExtractSettings("", "", CONFIG, DecoderSettings(1))
    chunks = [Chunk(f"{n}", tuple(segments_of(f"/{n}.mp4", 2 + n))) for n in range(4)]
    worker = _ExtractChunk(settings, str(tmp_path), UNFENCED)
    worker._extractor = MadeUpExtractor()  # type: ignore[assignment]
    worker.setup()
    for bundle in (chunks[:2], chunks[2:], chunks[1:3]):
        worker.start_bundle()
        for chunk in bundle:
            list(worker.process((0, chunk)))
        list(worker.finish_bundle())
    assert read_progress(str(tmp_path)) == Totals(done_s=70.0, frames=70)


class WatchedExtractor(MadeUpExtractor):
    """Keeps how many segments were handed out and not collected before each chunk is collected."""

    def __init__(self) -> None:
        self.waiting = 0
        self.seen: list[int] = []

    def submit(self, chunk: Chunk) -> PendingChunk:
        self.waiting += len(chunk.segments)
        return super().submit(chunk)

    def collect(self, pending: PendingChunk, done: SegmentDone, fence: object) -> ChunkResult:
        self.seen.append(self.waiting)
        self.waiting -= len(pending.chunk.segments)
        return super().collect(pending, done, fence)


@pytest.mark.parametrize(("workers", "most"), [(2, 9), (16, 36)])
def test_as_many_segments_are_handed_out_as_keep_all_decoders_busy(tmp_path: Path, workers: int, most: int) -> None:
    """Chunks of three segments: two for each decoder wait behind the chunk that is collected, and no more."""
    worker = _ExtractChunk(ExtractSettings("", "", CONFIG, DecoderSettings(workers)), str(tmp_path), UNFENCED)
    worker._extractor = extractor = WatchedExtractor()  # type: ignore[assignment]
    worker.setup()
    for number in range(40):
        list(worker.process((0, Chunk(f"{number}", tuple(segments_of(f"/{number}.mp4", 3))))))
    while_reading = len(extractor.seen)
    list(worker.finish_bundle())
    assert len(extractor.seen) == 40
    assert set(extractor.seen[:while_reading]) == {most}


class FailingExtractor(MadeUpExtractor):
    """Writes nothing; keeps which chunks were given up."""

    def __init__(self) -> None:
        self.dropped: list[Chunk] = []

    def collect(self, pending: PendingChunk, done: SegmentDone, fence: object) -> ChunkResult:
        raise StorageError(errno.ENOSPC, "the disk is full", "chunk")

    def drop(self, pending: PendingChunk) -> None:
        self.dropped.append(pending.chunk)


@pytest.mark.parametrize("after", ["start_bundle", "teardown"])
def test_a_bundle_that_fails_gives_up_the_chunks_ahead(tmp_path: Path, after: str) -> None:
    """A runner starts the next bundle in the same worker, or has the worker's step end."""
    first, second = (Chunk(f"{n}", tuple(segments_of(f"/{n}.mp4", 2))) for n in range(2))
    worker = _ExtractChunk(ExtractSettings("", "", CONFIG, DecoderSettings(1)), str(tmp_path), UNFENCED)
    worker._extractor = extractor = FailingExtractor()  # type: ignore[assignment]
    worker.setup()
    list(worker.process((0, first)))
    with pytest.raises(StorageError):
        list(worker.process((0, second)))
    getattr(worker, after)()
    assert extractor.dropped == [second]


def segments_of(uri: str, count: int) -> list[Segment]:
    """Segments of five seconds; nothing asks what probing told of them."""
    video = Video("", uri, 0, 0.0, "")
    starts = [(index, Fraction(5 * index)) for index in range(count)]
    return [Segment(video, None, index, count, start, start + 5, 5) for index, start in starts]  # type: ignore[arg-type]


FULL: Final = "storage.before_rename:runs=enospc"
"""A run that did all its work and could not commit it: what its workers reported is still there."""


@pytest.mark.parametrize("mode", ["in_memory", "multi_threading", "multi_processing"])
def test_totals_of_a_run_are_those_of_its_rows(clips: Path, tmp_path: Path, reelbeam: Reelbeam, mode: str) -> None:
    """With two workers, and again when the run is taken up and finds all of its chunks on disk."""
    catalog = tmp_path / "catalog"
    options = ("--model", "placeholder", "--segment-seconds", 5, "--chunk-frames", 10)
    workers = (f"--direct_running_mode={mode}", "--direct_num_workers=2")
    command = ("classify", "--archive", clips, "--catalog", catalog, *options)
    found = []
    for _ in ("started", "taken up"):
        assert reelbeam(*command, *workers, env={"REELBEAM_FAULT": FULL}).code == 1
        (work,) = catalog.glob("work/*")
        found.append(read_progress(str(work)))
        status = reelbeam("status", "--catalog", catalog, "--json").json["unfinished"]
        assert (status["chunks"], status["frames"]) == (len(list(catalog.glob("frames/run=2*/*"))), found[-1].frames)
    assert reelbeam(*command).code == 0
    tables = contents(catalog)
    segments = {(row["uri"], row["segment"]) for row in tables["frames"]}
    assert found[0] == found[1]
    assert (found[0].frames, found[0].segments, found[0].failed) == (len(tables["frames"]), len(segments), 1)
    assert found[0].done_s == pytest.approx(found[0].planned_s)
    assert found[0].done_s == pytest.approx(sum(row["duration_s"] for row in tables["videos"]), abs=0.5)


def test_an_unfinished_run_with_a_temporal_head(clips: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    """Its chunk files wait in the work folder until whole videos are scored."""
    head = make_head(tmp_path / "temporal.keras", "temporal")
    catalog = tmp_path / "catalog"
    options = ("--model", head, "--segment-seconds", 5, "--chunk-frames", 10)
    command = ("classify", "--archive", clips, "--catalog", catalog, *options)
    # The killed run has all chunks; then its frames file, too, which is no chunk.
    for point in ("storage.before_write:frames:2", "storage.before_write:videos"):
        assert reelbeam(*command, env={"REELBEAM_FAULT": f"{point}=kill"}).code == -signal.SIGKILL
        chunks = [path for path in catalog.glob("work/*/chunks/*") if TEMPORARY_MARK not in path.name]
        status = reelbeam("status", "--catalog", catalog, "--json").json["unfinished"]
        assert len(chunks) > 1 and status["chunks"] == len(chunks)
        frames = status["frames"]
    assert reelbeam(*command, "--json").json["frames"] == frames


def test_numbers_for_people() -> None:
    durations = (0, 0.04, 0.42, 7, 7.4, 42.3, 720, 12_240, 3_600_000)
    told = ["0 s", "0 s", "0.4 s", "7 s", "7.4 s", "42 s", "12 min", "3.4 h", "1,000 h"]
    assert [human_time(s) for s in durations] == told
    assert [human_speed(x) for x in (0, 0.042, 0.5, 3.24, 9.97, 97.3, 1234)] == [
        "", "0.042x", "0.5x", "3.2x", "10x", "97x", "1234x",
    ]  # fmt: skip
    assert human_progress(3, 40) == "3 of 40 s"
    assert human_progress(90, 1200) == "1.5 of 20.0 min"
    assert human_progress(3600, 7200) == "1.00 of 2.00 h"
    assert [human_bytes(n) for n in (999, 12_000, 3.4e9)] == ["999 B", "12 kB", "3.4 GB"]
