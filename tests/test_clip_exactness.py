"""The clips of real files are those of decoding everything, however the video is cut.

The yardstick is that of `test_exactness`: PyAV decodes every frame in order, and the definition chooses.
"""

from fractions import Fraction
from pathlib import Path

import pytest

from tests import videos
from tests.test_clip_windows import by_definition
from tests.test_exactness import decoded, digest
from transforms.video.clip_windows import ClipAssembler
from transforms.video.decode import DecodeReport, sample
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Video, cut

pytestmark = pytest.mark.slow

SAMPLINGS = ("clips:4@4fps/2s", "clips:6@3fps/0.5s", "clips:3@60fps/1.7s", "clips:8@0.5fps/5s")
"""Apart, overlapping, faster than the video, and longer than it."""

SECONDS = 7
SHORTCUTS = ("h264_bframes", "h264_open_gop", "hevc", "vp9", "h264_vfr", "h264_late_start", "mpeg4_mp4", "h264_ts")
IN_ORDER = ("mpeg4_avi", "gif")

Rows = list[list[tuple[int, str]]]
"""Of each clip the (time, digest) of its frames."""


def slow_rows(path: Path, samplings: tuple[str, ...]) -> list[Rows]:
    """The clips of several samplings, by decoding all frames and following the definition."""
    frames, base = decoded(path)
    pictures = {pts - frames[0][0]: digest for pts, _, digest in frames}
    wanted = [Sampling.parse(text).clip for text in samplings]
    clips = [by_definition(sorted(pictures), clip, base) for clip in wanted if clip]
    return [[[(t, pictures[t]) for t in one] for one in found] for found in clips]


def rows(path: Path, text: str, segment_s: str) -> tuple[Rows, list[DecodeReport]]:
    info, sampling = probe(str(path), Fraction(segment_s)), Sampling.parse(text)
    found: Rows = []
    reports = []
    for segment in cut(Video("0" * 16, str(path), 0, 0.0, ""), info, sampling, Fraction(segment_s)):
        window, report = segment.window(sampling), DecodeReport()
        assert window.clips is not None
        assembler: ClipAssembler[tuple[int, str]] = ClipAssembler(window.clips)
        before = len(found)
        for one in sample(str(path), info, window, report):
            found += assembler.add(one.t, one.tick, (one.t, digest(one.frame)))
        found += assembler.finish()
        assert report.sequential or report.samples_expected == len(found) - before
        reports.append(report)
    return found, reports


@pytest.mark.parametrize("name", [*SHORTCUTS, *IN_ORDER])
def test_clips_of_generated_videos(tmp_path: Path, name: str) -> None:
    path = videos.make(tmp_path, name, SECONDS)
    for text, expected in zip(SAMPLINGS, slow_rows(path, SAMPLINGS), strict=True):
        assert expected, "a yardstick without clips proves nothing"
        for segment_s in ("1.5", "4", "1000"):
            found, reports = rows(path, text, segment_s)
            assert found == expected, (text, segment_s)
            assert any(report.sequential for report in reports) == (name in IN_ORDER), "each way is tried"


def test_only_the_frames_of_clips_are_decoded_and_overlaps_count_twice(tmp_path: Path) -> None:
    path = videos.encode(tmp_path / "long.mp4", videos.RECIPES["h264_bframes"], 24)
    whole, (report,) = rows(path, "clips:4@4fps/6s", "1000")
    assert len(whole) == 4 and report.frames_decoded < 24 * 25 / 3
    _, overlapping = rows(path, "clips:8@4fps/2s", "4.5")
    _, once = rows(path, "clips:8@4fps/2s", "1000")
    assert sum(one.frames_decoded for one in overlapping) > once[0].frames_decoded
