"""Zeros in a stream without times: data that was never written, or what the encoder wrote."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests import videos
from transforms.archive.listing import find_videos
from transforms.video.decode import DecodeReport, sample
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import cut

pytestmark = pytest.mark.slow

STUFFED = {"b": "8000000", "minrate": "8000000", "maxrate": "8000000", "bufsize": "2000000"}


def encode(path: Path, codec: str, options: dict[str, str], pixels: str = "yuv420p", black: bool = False) -> None:
    """Three seconds of video in a container that `path` names."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 240, pixels
        for index in range(75):
            picture = videos.picture(index, 320, 240) * (not black)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")))
        output.mux(stream.encode(None))


def report_of(path: Path) -> DecodeReport:
    sampling, report = Sampling.parse("1fps"), DecodeReport()
    info = probe(str(path))
    for segment in cut(find_videos([str(path)])[0], info, sampling, Fraction(1000)):
        assert list(sample(str(path), segment.info, segment.window(sampling), report))
    return report


@pytest.mark.parametrize(
    ("name", "codec", "options", "pixels", "black"),
    [
        ("stuffed.m2v", "mpeg2video", STUFFED, "yuv420p", True),
        ("stuffed.m1v", "mpeg1video", STUFFED, "yuv420p", False),
        ("black.avi", "rawvideo", {}, "bgr24", True),
    ],
)
def test_zeros_that_an_encoder_wrote_are_no_damage(
    tmp_path: Path, name: str, codec: str, options: dict, pixels: str, black: bool
) -> None:
    path = tmp_path / name
    encode(path, codec, options, pixels, black)
    assert bytes(2048) in path.read_bytes()
    report = report_of(path)
    assert (report.samples_lost, report.first_error) == (0, "")


@pytest.mark.parametrize(
    ("name", "codec"), [("hole.m2v", "mpeg2video"), ("hole.h264", "libx264"), ("hole.avi", "mpeg4")]
)
def test_zeros_in_the_place_of_pictures_are_damage(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    encode(path, codec, {"b": "2000000", "g": "10"})
    whole = bytearray(path.read_bytes())
    length = len(whole) // 3
    whole[length : 2 * length] = bytes(length)
    path.write_bytes(whole)
    assert report_of(path).samples_lost > 0
