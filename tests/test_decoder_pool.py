"""Decoder children are replaced after so many tasks: a night of many videos takes no more memory than one of few."""

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from models.visual.bundle import prepare
from tests import videos
from transforms.video import decoder_pool
from transforms.video.child import ChildSettings, SegmentResult
from transforms.video.decoder_pool import DecoderPool, PoolSettings, outcome
from transforms.video.failures import VideoError
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Video, cut

TASKS = 12


@pytest.fixture(scope="module")
def settings() -> PoolSettings:
    bundle = prepare("placeholder", device="cpu")
    child = ChildSettings(str(bundle.path), True, Sampling.parse("1fps"), top_labels=2, spool="", memory_bytes=0)
    return PoolSettings(1, child)


def results(settings: PoolSettings, clip: Path) -> list[SegmentResult]:
    segment = cut(Video("0" * 16, str(clip), 0, 0.0, ""), probe(str(clip)), Sampling.parse("1fps"), Fraction(60))[0]
    with DecoderPool(settings) as pool:
        futures = [pool.run(segment) for _ in range(TASKS)]
        return [future.result() for future in futures]


def test_a_child_is_replaced_after_its_tasks(settings: PoolSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_pool, "CHILD_TASKS", 5)
    with DecoderPool(settings) as pool:
        pids = [pool.processes.submit(os.getpid, deadline_s=60).result() for _ in range(TASKS)]
    assert len(set(pids)) == 3
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [5, 5, 2]


def test_replacing_children_loses_nothing_and_changes_nothing(
    settings: PoolSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


class Unreadable:
    """Comes apart where it arrives."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return int, ("no number",)


def test_an_answer_that_cannot_be_read_is_its_video_s_failure(settings: PoolSettings) -> None:
    with DecoderPool(settings) as pool:
        with pytest.raises(VideoError, match="the decoder process failed: ValueError") as caught:
            outcome(pool.processes.submit(Unreadable, deadline_s=60), "decode")
        assert caught.value.reason == "decoder_crash"
        assert outcome(pool.processes.submit(abs, -1, deadline_s=60), "decode") == 1
