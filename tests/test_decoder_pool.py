"""Decoder children are replaced after so many tasks: a night of many videos takes no more memory than one of few."""

import io
import os
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from models.visual.bundle import ModelBundle, prepare
from tests import videos
from tests.waiting import until
from transforms.catalog.rows.chunks import failed_result
from transforms.decoder import child, processes
from transforms.decoder import pool as decoder_pool
from transforms.decoder.child import ChildSettings, SegmentResult
from transforms.decoder.pool import DecoderPool, outcome
from transforms.decoder.processes import ChildCannotStart
from transforms.decoder.settings import DecoderSettings
from transforms.decoder.spool import SpoolError
from transforms.video.failures import VideoError
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Segment, Video, cut

pytestmark = pytest.mark.slow

TASKS = 12


@pytest.fixture(scope="module")
def settings() -> ChildSettings:
    bundle = prepare("placeholder", device="cpu")
    return ChildSettings(str(bundle.path), True, Sampling.parse("1fps"), top_labels=2, decoders=DecoderSettings(1))


def results(settings: ChildSettings, clip: Path) -> list[SegmentResult]:
    segment = cut(Video("0" * 16, str(clip), 0, 0.0, ""), probe(str(clip)), Sampling.parse("1fps"), Fraction(60))[0]
    with DecoderPool(settings) as pool:
        futures = [pool.run(segment) for _ in range(TASKS)]
        return [future.result() for future in futures]


def test_a_child_is_replaced_after_its_tasks(settings: ChildSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_pool, "CHILD_TASKS", 5)
    with DecoderPool(settings) as pool:
        pids = [pool.processes.submit(os.getpid, deadline_s=60).result() for _ in range(TASKS)]
    assert len(set(pids)) == 3
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [5, 5, 2]


def test_replacing_children_loses_nothing_and_changes_nothing(
    settings: ChildSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = videos.make(tmp_path, "mpeg4_mp4", 3)
    usual = results(settings, clip)
    monkeypatch.setattr(decoder_pool, "CHILD_TASKS", 1)
    replaced = results(settings, clip)
    assert len(usual) == len(replaced) == TASKS
    for one, other in zip(usual, replaced, strict=True):
        assert one.failure is None and other.failure is None
        assert one.features is not None and other.features is not None
        assert np.array_equal(one.pts, other.pts) and len(one.pts)
        assert np.array_equal(one.features.embeddings, other.features.embeddings)


@pytest.fixture(scope="module")
def long_segment(tmp_path_factory: pytest.TempPathFactory) -> Segment:
    """More pictures than are decoded before a test has looked."""
    clip = videos.encode(tmp_path_factory.mktemp("long") / "long.avi", videos.RECIPES["mpeg4_avi"], 400, (64, 48))
    return cut(Video("0" * 16, str(clip), 0, 0.0, ""), probe(str(clip)), Sampling.parse("every:1"), Fraction(1000))[0]


@pytest.fixture
def spooling(settings: ChildSettings) -> ChildSettings:
    """Children that leave pictures to their worker, as beside TensorFlow."""
    return replace(settings, infers=False, sampling=Sampling.parse("every:1"))


def spooled(pool: DecoderPool) -> list[Path]:
    return list(Path(pool._spool.path).glob("*.frames"))


def test_what_a_killed_child_spooled_is_removed_at_once(spooling: ChildSettings, long_segment: Segment) -> None:
    with DecoderPool(spooling) as pool:
        future = pool.run(long_segment)
        until(lambda: spooled(pool))
        os.kill(pool.processes.pids()[0], signal.SIGKILL)
        with pytest.raises(VideoError, match="died by signal 9"):
            outcome(future, "decode")
        assert not spooled(pool)


def test_what_a_child_spooled_is_removed_at_its_deadline(spooling: ChildSettings, long_segment: Segment) -> None:
    with DecoderPool(replace(spooling, decoders=DecoderSettings(1, deadline_s=5.0))) as pool:
        future = pool.run(long_segment)
        until(lambda: spooled(pool))
        os.kill(pool.processes.pids()[0], signal.SIGSTOP)
        with pytest.raises(VideoError, match="deadline"):
            outcome(future, "decode")
        assert not spooled(pool)


def test_a_spool_that_cannot_be_written_is_no_video_s_fault(spooling: ChildSettings, long_segment: Segment) -> None:
    with DecoderPool(spooling) as pool:
        shutil.rmtree(pool._spool.path)
        with pytest.raises(SpoolError, match="cannot write the temporary file"):
            outcome(pool.run(long_segment), "decode")


def test_a_full_disk_is_no_video_s_fault(
    spooling: ChildSettings, long_segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first picture does not fit. Closing the file succeeds, so the child must not go on after the write."""
    monkeypatch.setattr(child, "open", lambda path, mode: io.FileIO("/dev/full", "w"), raising=False)
    bundle = ModelBundle.open(Path(str(spooling.bundle)))
    monkeypatch.setattr(child, "_state", child._State(spooling, bundle.spec, None))
    with pytest.raises(SpoolError, match="No space left on device"):
        child.run_segment(long_segment, long_segment.video.uri)


def test_only_what_is_in_the_spool_is_removed(spooling: ChildSettings, tmp_path: Path) -> None:
    """A result has passed through a process that decodes what the world put there."""
    elsewhere = tmp_path / "0.frames"
    elsewhere.touch()
    nothing = failed_result(prepare("placeholder"), 2, VideoError("decode", "no_frames"))
    with DecoderPool(spooling) as pool:
        inside = Path(pool._spool.path, "0.frames")
        inside.touch()
        for name in (str(elsewhere), str(inside)):
            pool.remove_pictures(replace(nothing, pictures=name))
        pool.remove_pictures("no result")
        assert elsewhere.exists() and not inside.exists()


def test_children_that_cannot_start_are_no_video_s_fault(
    settings: ChildSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "START_AGAIN_AFTER_S", ())
    broken = replace(settings, bundle="/no/bundle")
    with DecoderPool(broken) as pool, pytest.raises(ChildCannotStart, match="no model bundle in /no/bundle"):
        outcome(pool.probe("/a/video.mp4"), "probe")


def test_a_closed_pool_says_nothing_about_a_video(settings: ChildSettings) -> None:
    with DecoderPool(settings) as pool:
        running, waiting = (pool.processes.submit(time.sleep, 600, deadline_s=600) for _ in range(2))
        until(running.running)
    for future in (running, waiting):
        with pytest.raises(CancelledError):
            outcome(future, "decode")


class Unreadable:
    """Comes apart where it arrives."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return int, ("no number",)


def test_an_answer_that_cannot_be_read_is_its_video_s_failure(settings: ChildSettings) -> None:
    with DecoderPool(settings) as pool:
        with pytest.raises(VideoError, match="the decoder process failed: ValueError") as caught:
            outcome(pool.processes.submit(Unreadable, deadline_s=60), "decode")
        assert caught.value.reason == "decoder_crash"
        assert outcome(pool.processes.submit(abs, -1, deadline_s=60), "decode") == 1
