"""Pictures of parts of videos are those that sampling the whole video gives."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from models.visual.spec import Preprocessing
from tests import videos
from transforms.video import stills
from transforms.video.decode import DecodeReport, Sample, sample
from transforms.video.failures import VideoError
from transforms.video.packets import Window
from transforms.video.pixels import Painter
from transforms.video.probe import VideoInfo, probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Video, cut, window_of
from transforms.video.stills import picture_at, pictures_between, spread_pictures

WHOLE = Preprocessing(96, 160, "squash")
EVERY = Sampling("every", Fraction(1))


@pytest.mark.parametrize("recipe", ["h264_bframes", "h264_vfr", "mpeg4_avi"])
def test_pictures_of_a_part_are_those_of_the_whole(tmp_path: Path, recipe: str) -> None:
    path = str(videos.make(tmp_path, recipe, seconds=8))
    info, painter = probe(path), Painter(WHOLE)
    frames = list(sample(path, info, window_of(info, EVERY, Fraction(0), None), DecodeReport()))
    inside = [painter.paint(one.frame, one.pixel_aspect) for one in frames if 2 <= one.time_s < 7]
    part = list(pictures_between(path, info, EVERY, WHOLE, Fraction(2), Fraction(7)))
    assert len(part) == len(inside) > 0 and np.array_equal(part, inside)
    for one in frames[:: max(1, len(frames) // 5)]:
        picture = picture_at(path, round(one.time_s, 3), WHOLE)
        assert picture is not None and np.array_equal(picture, painter.paint(one.frame, one.pixel_aspect))


def test_a_picture_in_a_long_video_needs_little_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = videos.encode(tmp_path / "long.mp4", videos.RECIPES["mpeg4_mp4"], 120, (64, 48))
    reports: list[DecodeReport] = []

    def noted(path: str, info: VideoInfo, window: Window, report: DecodeReport) -> Iterator[Sample]:
        reports.append(report)
        return sample(path, info, window, report)

    monkeypatch.setattr(stills, "sample", noted)
    assert picture_at(str(path), 60.0, WHOLE) is not None
    assert sum(one.bytes_read for one in reports) < path.stat().st_size / 8


def test_a_picture_is_found_behind_a_long_slide(tmp_path: Path) -> None:
    recipe = videos.Recipe(".mkv", "mpeg4", {"g": "5"}, fps=Fraction(1, 20))
    path = str(videos.encode(tmp_path / "slides.mkv", recipe, 100))
    picture = picture_at(path, 21.0, WHOLE)
    third = list(pictures_between(path, probe(path), EVERY, WHOLE))[2]
    assert picture is not None and np.array_equal(picture, third)


def test_spread_pictures_are_as_many_as_asked_for_or_one_a_second(tmp_path: Path) -> None:
    assert len(spread_pictures(str(videos.make(tmp_path, "mpeg4_mp4", seconds=4)), WHOLE, 7)) == 7
    raw = videos.encode(tmp_path / "raw.h264", videos.RECIPES["h264_ts"], 4)
    assert probe(str(raw)).duration_s is None
    assert len(spread_pictures(str(raw), WHOLE, 7)) == 4


def test_what_is_no_video_gives_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("no video")
    assert picture_at(str(path), 0.0, WHOLE) is None
    assert picture_at(str(tmp_path / "missing.mp4"), 0.0, WHOLE) is None
    with pytest.raises(VideoError, match="not_a_video"):
        spread_pictures(str(path), WHOLE, 3)


def test_a_segment_owns_the_window_of_its_times(tmp_path: Path) -> None:
    path = str(videos.make(tmp_path, "h264_bframes", seconds=4))
    info, sampling = probe(path), Sampling.parse("2fps")
    for segment in cut(Video("0" * 16, path, 0, 0.0, ""), info, sampling, Fraction(1)):
        assert segment.window(sampling) == window_of(info, sampling, segment.start_s, segment.end_s)
