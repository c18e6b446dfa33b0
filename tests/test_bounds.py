"""Bombs: what claims to be enormous is refused by name of the bound, before its memory is taken."""

import resource
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from models.visual.bundle import prepare
from tests import bombs, videos
from tests.conftest import Reelbeam
from tests.tables import contents
from transforms.decoder.child import ChildSettings
from transforms.decoder.pool import DecoderPool, outcome
from transforms.decoder.settings import DecoderSettings
from transforms.video import bounds
from transforms.video.bounds import Bounds
from transforms.video.failures import VideoError
from transforms.video.probe import VideoInfo
from transforms.video.sampling import Sampling
from transforms.video.segments import Video, cut

pytestmark = pytest.mark.own_process


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bombs")
    for name, (make, _) in bombs.BOMBS.items():
        make(folder / name)
    bombs.countless_samples(folder / "countless.mp4")
    bombs.growing(folder / "growing.h264")
    videos.make(folder, "mpeg4_mp4", seconds=2)
    return folder


def test_bombs_are_too_large_by_the_option_that_bounds_them(archive: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    catalog = tmp_path / "catalog"
    done = reelbeam(
        "classify", "--archive", archive, "--catalog", catalog, "--model", "placeholder", "--max-megapixels", "0.2"
    )
    assert done.code == 0, done.err
    tables = contents(catalog)
    failures = {Path(row["uri"]).name: row for row in tables["failures"]}
    for name, (_, option) in bombs.BOMBS.items():
        assert failures[name]["reason"] == "too_large", failures[name]
        assert option in failures[name]["message"]
    rows = {Path(row["uri"]).name: row for row in tables["videos"]}
    assert rows["mpeg4_mp4.mp4"]["status"] == "ok"
    growing = rows["growing.h264"]
    assert (growing["status"], growing["error"], growing["frames_sampled"]) == ("partial", "too_large", 3)
    assert "640 x 480" in growing["message"]


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.slow
def test_no_bomb_takes_memory(archive: Path) -> None:
    sampling = Sampling.parse("1fps")
    child = ChildSettings(str(prepare("placeholder").path), True, sampling, 3, DecoderSettings(1, memory_bytes=4 << 30))
    with DecoderPool(child) as pool:
        good = str(archive / "mpeg4_mp4.mp4")
        probed_and_run(pool, good, sampling)
        before = outcome(pool.processes.submit(peak_bytes, deadline_s=60), "decode")
        for path in sorted(archive.iterdir()):
            probed_and_run(pool, str(path), sampling)
        taken = outcome(pool.processes.submit(peak_bytes, deadline_s=60), "decode") - before
    assert taken < 100e6, f"{taken / 1e6:.0f} MB"


def probed_and_run(pool: DecoderPool, path: str, sampling: Sampling) -> None:
    info = outcome(pool.probe(path), "probe")
    if isinstance(info, VideoInfo):
        segment = cut(Video("0" * 16, path, 0, 0.0, ""), info, sampling, Fraction(10**9))[0]
        outcome(pool.run(segment), "decode")


@pytest.mark.parametrize(
    ("check", "option"),
    [
        (lambda b: b.check_picture("probe", 10_001, 10_000), "--max-megapixels allows 100"),
        (lambda b: b.check_fps(Fraction(30_001, 1000)), "--max-fps allows 30"),
        (lambda b: b.check_duration(Fraction(3601)), "--max-hours allows 1"),
        (lambda b: b.check_streams(3), "--max-streams allows 2"),
        (lambda b: b.check_frames("decode", 11), "--max-frames allows 10"),
    ],
)
def test_each_bound_lets_its_own_value_pass_and_names_its_option(check: object, option: str) -> None:
    limits = Bounds(megapixels=100, fps=30, hours=1, frames=10, streams=2, bound_name="--max-{}")
    limits.check_picture("probe", 10_000, 10_000)
    limits.check_fps(Fraction(30))
    limits.check_fps(None)
    limits.check_duration(Fraction(3600))
    limits.check_duration(None)
    limits.check_streams(2)
    limits.check_frames("decode", 10)
    with pytest.raises(VideoError, match=option) as caught:
        check(limits)
    assert caught.value.reason == "too_large"
    with pytest.raises(VideoError, match=option.replace("--max-", "; the bound on ")):
        check(replace(limits, bound_name=Bounds.bound_name))


def test_more_frames_than_allowed_are_refused_when_planned_and_cut_off_when_decoded(
    tmp_path: Path, reelbeam: Reelbeam
) -> None:
    videos.encode(tmp_path / "raw.h264", videos.RECIPES["h264_ts"], 5)
    videos.make(tmp_path, "mpeg4_mp4", seconds=5)
    catalog = tmp_path / "catalog"
    done = reelbeam(
        "classify", "--archive", tmp_path, "--catalog", catalog, "--model", "placeholder", "--max-frames", "2"
    )
    assert done.code == 0, done.err
    tables = contents(catalog)
    assert [(Path(row["uri"]).name, row["stage"], row["reason"]) for row in tables["failures"]] == [
        ("mpeg4_mp4.mp4", "probe", "too_large")
    ]
    [raw] = tables["videos"]  # a raw stream has no length to plan by
    assert (raw["frames_sampled"], raw["status"], raw["error"]) == (2, "partial", "too_large")


def test_the_defaults_are_in_force() -> None:
    assert bounds.in_force() == bounds.DEFAULT == Bounds()
