"""Sampled frames are bit for bit those of decoding everything, however the video is cut.

The yardstick is written without any of the project's code: PyAV decodes every frame in order, and samples are picked by
the definition.
"""

import hashlib
import math
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import pytest

from tests import videos
from transforms.video.decode import DecodeReport, sample
from transforms.video.failures import VideoError
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Video, cut

pytestmark = pytest.mark.slow

Rows = list[tuple[int, str]]


def digest(frame: av.VideoFrame) -> str:
    return hashlib.sha256(frame.reformat(format="rgb24").to_ndarray().tobytes()).hexdigest()


Frames = list[tuple[int, bool, str]]
"""(pts, whether it is a keyframe, digest) of every frame of a video."""


def decoded(path: Path) -> tuple[Frames, Fraction]:
    """All frames in presentation order, and the time base."""
    return _decoded(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)  # a video is decoded once for all its samplings
def _decoded(path: Path, written_ns: int) -> tuple[Frames, Fraction]:
    frames = []
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        avi = container.format.name == "avi"
        for packet in container.demux(stream):
            try:
                given = stream.codec_context.decode(packet if packet.size else None)
            except av.FFmpegError:
                continue
            # AVI has no presentation times: frames are counted by decoding times, the last of which flushing loses.
            frames += [(f.dts if avi else f.pts, f.key_frame, digest(f)) for f in given]
        base = Fraction(stream.time_base)
    if avi:
        frames = [(frames[0][0] + i if t is None else t, key, d) for i, (t, key, d) in enumerate(frames)]
    return frames, base


def slow_rows(path: Path, text: str) -> Rows:
    """(pts, digest) of the samples, by decoding all frames and following the definition."""
    frames, base = decoded(path)
    return by_definition(frames, base, text, probe(str(path)).duration_s if text.startswith("count") else None)


def by_definition(frames: Frames, base: Fraction, text: str, duration_s: Fraction | None = None) -> Rows:
    """The samples among all frames of a video; its duration is needed for ``count`` only."""
    start = frames[0][0]
    if text == "keyframes":
        return [(t, d) for t, key, d in frames if key]
    kind, _, number = text.partition(":")
    if kind == "every":
        return [(t, d) for i, (t, _, d) in enumerate(frames) if i % int(number) == 0]
    rate = Fraction(text.removesuffix("fps")) if kind != "count" else int(number) / duration_s
    ticks = int((frames[-1][0] - start) * base * rate) + 2 if kind != "count" else int(number)
    out: dict[int, str] = {}
    for tick in range(ticks):
        # The first whole number of the time base that is no earlier than half of one before the tick.
        earliest = start + math.ceil(tick / (rate * base) - Fraction(1, 2))
        first = next((f for f in frames if f[0] >= earliest), None)
        if first is not None:
            out.setdefault(first[0], first[2])
    return sorted(out.items())


def rows(path: Path | str, text: str, segment_s: int) -> Rows:
    info, sampling = probe(str(path), Fraction(segment_s)), Sampling.parse(text)
    found = []
    for segment in cut(Video("0" * 16, str(path), 0, 0.0, ""), info, sampling, Fraction(segment_s)):
        for one in sample(str(path), info, segment.window(sampling), DecodeReport()):
            found.append((one.pts, digest(one.frame)))
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


@pytest.mark.parametrize("name", videos.RECIPES)
def test_generated_videos(made: Path, name: str) -> None:
    path = videos.make(made, name, seconds=11)
    for text in ("1fps", "0.2fps", "7fps", "keyframes", "every:1", "every:7", "count:5"):
        expected = slow_rows(path, text)
        assert expected, "a yardstick without samples proves nothing"
        for segment_s in (2, 5, 100000):
            assert rows(path, text, segment_s) == expected, (text, segment_s)


def test_the_shortcut_is_taken_where_it_should_be(made: Path) -> None:
    """Exactness alone would hold if everything were decoded; the point is that it is not."""
    path = videos.make(made, "h264_bframes", seconds=11)
    info, sampling = probe(str(path)), Sampling.parse("0.2fps")
    report = DecodeReport()
    segment = cut(Video("0" * 16, str(path), 0, 0.0, ""), info, sampling, Fraction(100))[0]
    samples = list(sample(str(path), info, segment.window(sampling), report))
    assert len(samples) == 3
    assert not report.sequential
    assert report.frames_decoded < 11 * 25 / 3


def test_cutting_a_video_decodes_nothing_twice(made: Path) -> None:
    """Segments begin at keyframes, so only the keyframe itself may be needed on both sides of a cut."""
    path = videos.encode(made / "long.mp4", videos.RECIPES["h264_bframes"], 24)

    def decoded(segment_s: str) -> tuple[int, int]:
        info, sampling = probe(str(path)), Sampling.parse("1fps")
        segments = cut(Video("0" * 16, str(path), 0, 0.0, ""), info, sampling, Fraction(segment_s))
        total = 0
        for segment in segments:
            report = DecodeReport()
            list(sample(str(path), info, segment.window(sampling), report))
            total += report.frames_decoded
        return total, len(segments)

    (whole, _), (parts, count) = decoded("100"), decoded("4.5")
    assert count == 6
    assert parts <= whole + 2 * (count - 1)


def shared_files() -> list[Path]:
    root = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    tank = sorted(root.glob("tank/videos/**/*.mp4"))[::60]
    folders = ("odd/*", "captioned/*/videos/*", "longer/*.mp4")
    return [path for pattern in folders for path in sorted(root.glob(pattern))] + tank


@pytest.mark.parametrize("path", shared_files() or [None], ids=lambda path: path.name if path else "absent")
def test_real_videos(shared: Path, path: Path) -> None:
    try:
        probe(str(path))
    except VideoError:
        pytest.skip("no video to decode in this file")
    for text in ("1fps", "keyframes"):
        expected = slow_rows(path, text) if has_frames(path) else []
        for segment_s in (5, 100000):
            assert rows(path, text, segment_s) == expected, (text, segment_s)


def has_frames(path: Path) -> bool:
    with av.open(str(path), metadata_errors="replace") as container:
        try:
            return next(container.decode(video=0), None) is not None
        except (av.FFmpegError, StopIteration):
            return False
