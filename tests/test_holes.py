"""Holes in the middle of a file: what is missing is counted and named, what follows is read."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import av
import numpy as np
import pytest

from tests import videos
from tests.conftest import Reelbeam
from tests.tables import contents
from transforms.video.demux import read_packets
from transforms.video.failures import VideoError
from transforms.video.source import open_source

SECONDS = 20
X264 = {"bf": "2", "g": "25", "preset": "veryfast"}
RECIPES = {
    "flv": videos.Recipe(".flv", "libx264", X264),
    "mkv": videos.Recipe(".mkv", "libx264", X264),
    "ts": videos.Recipe(".ts", "libx264", X264),
    "mp4": videos.Recipe(".mp4", "libx264", X264),
    "wmv": videos.Recipe(".wmv", "wmv2", {"g": "25"}),
    "mpg": videos.Recipe(".mpg", "mpeg2video", {"g": "12"}),
    "raw h264": videos.Recipe(".h264", "libx264", X264),
    "raw mpeg2": videos.Recipe(".m2v", "mpeg2video", {"g": "12"}),
    "avi": videos.Recipe(".avi", "mpeg4", {"g": "25"}),
}


def with_hole(path: Path, start: float, end: float) -> Path:
    """Overwrites a share of the file with zeros, as a disk or an unfinished download leaves it."""
    data = bytearray(path.read_bytes())
    first, last = int(len(data) * start), int(len(data) * end)
    data[first:last] = bytes(last - first)
    path.write_bytes(data)
    return path


def classified(reelbeam: Reelbeam, archive: Path, *more: str) -> list[dict]:
    catalog = archive.parent / "catalog"
    done = reelbeam("classify", "--archive", archive, "--catalog", catalog, "--model", "placeholder", *more)
    assert done.code == 0, done.err
    return contents(catalog)["videos"]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    "more", [(), ("--segment-seconds", "3"), ("--sample", "every:10")], ids=["whole", "segments", "every"]
)
def test_half_of_the_bytes(archive: Path, reelbeam: Reelbeam, more: tuple[str, ...]) -> None:
    for name, recipe in RECIPES.items():
        with_hole(videos.encode(archive / f"{name}{recipe.suffix}", recipe, SECONDS), 0.3, 0.8)
    found = {Path(video["uri"]).stem: video for video in classified(reelbeam, archive, *more)}
    assert set(found) == set(RECIPES)
    for name, video in found.items():
        assert video["status"] == "partial", name
        # Up to a GOP or a cluster more than the hole itself is lost.
        assert 0.3 < video["coverage"] < 0.65, (name, video["coverage"])
        if name != "avi":  # an AVI counts its frames: those behind the hole move into it, and its end is missing
            assert video["error"] == "corrupt" and "frames are missing" in video["message"], (name, video["message"])


def test_a_hole_is_named(archive: Path, reelbeam: Reelbeam) -> None:
    with_hole(videos.encode(archive / "one.flv", RECIPES["flv"], SECONDS), 0.3, 0.8)
    message = classified(reelbeam, archive)[0]["message"]
    start_s, end_s = (float(word) for word in message.split() if word.replace(".", "").isdigit())
    assert start_s == pytest.approx(6, abs=1)
    assert end_s == pytest.approx(16, abs=1)


def slow_show(path: Path, gap_s: int) -> Path:
    """A picture every few seconds, with uncompressed silence: pauses, and long runs of zeros in the file."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("pcm_s16le", rate=48000, layout="stereo")
        for index in range(5):
            frame = av.VideoFrame.from_ndarray(videos.picture(index), format="rgb24")
            frame.pts, frame.time_base = index * gap_s * 1000, Fraction(1, 1000)
            container.mux(stream.encode(frame))
            for block in range(gap_s * 48000 // 1024):
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.int16), format="s16", layout="stereo")
                silence.sample_rate, silence.pts = 48000, index * gap_s * 48000 + block * 1024
                container.mux(sound.encode(silence))
        container.mux(stream.encode(None))
    return path


def test_pauses_are_no_holes(archive: Path, reelbeam: Reelbeam) -> None:
    slow_show(archive / "slides.mkv", 3)
    videos.encode(archive / "variable.mkv", videos.Recipe(".mkv", "libx264", X264, times="variable"), 8)
    videos.encode(archive / "variable.flv", videos.Recipe(".flv", "libx264", X264, times="variable"), 8)
    for video in classified(reelbeam, archive):
        assert (video["status"], video["coverage"]) == ("ok", 1.0), (video["uri"], video["message"])


def test_a_zeroed_end_behind_a_longer_sound(archive: Path, reelbeam: Reelbeam) -> None:
    """Only the container tells how long the film is, so that a missing end could be a longer sound."""
    path = archive / "film.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=X264)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        sound = container.add_stream("aac", rate=48000, layout="mono")
        rng = np.random.default_rng(0)
        for index in range(SECONDS * 25):
            frame = av.VideoFrame.from_ndarray(videos.picture(index), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
            noise = av.AudioFrame.from_ndarray(
                rng.normal(0, 0.1, (1, 1920)).astype(np.float32), format="fltp", layout="mono"
            )
            noise.sample_rate, noise.pts = 48000, index * 1920
            container.mux(sound.encode(noise))
        container.mux([*stream.encode(None), *sound.encode(None)])
    with_hole(path, 0.5, 1)
    video = classified(reelbeam, archive)[0]
    assert (video["status"], video["error"]) == ("partial", "corrupt")
    assert video["coverage"] == pytest.approx(0.5, abs=0.15)


def test_a_hole_on_the_shelf(shared: Path, archive: Path, reelbeam: Reelbeam) -> None:
    for name in ("hole.flv", "data_track_cut.mp4"):
        (archive / name).write_bytes((shared / "cases" / name).read_bytes())
    found = {Path(video["uri"]).name: video for video in classified(reelbeam, archive, "--sample", "every:1")}
    assert found["hole.flv"]["coverage"] == pytest.approx(0.5, abs=0.05)
    # 119 whole frames and one that is cut; the frames of the data tracks are not waited for.
    assert found["data_track_cut.mp4"]["frames_sampled"] in (119, 120)
    assert found["data_track_cut.mp4"]["status"] == "partial"


def test_a_failed_seek_is_not_the_end_of_the_packets(tmp_path: Path) -> None:
    path = str(videos.encode(tmp_path / "a.mp4", videos.RECIPES["h264_bframes"], 1))
    with open_source(path, 0) as source:
        broken = SimpleNamespace(seek=Mock(side_effect=av.FFmpegError(1, "no")), demux=source.container.demux)
        with pytest.raises(VideoError, match="its index leads nowhere"):
            next(read_packets(replace(source, container=broken), 5, 0))
