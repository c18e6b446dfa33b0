"""Colours: rare matrices and high dynamic range give the picture that was coded, wrong numbers give a likely one."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame

from models.visual.preprocess import finish
from models.visual.spec import Preprocessing
from tests import videos
from tests.coloured_frames import HDR, RARE, coded, nits_of, ycbcr
from transforms.video.colour import SCALER_MATRICES
from transforms.video.failures import VideoError
from transforms.video.hdr import PEAK_NITS, WHITE_NITS, compressed, hlg_scene_light, pq_nits, pq_signal
from transforms.video.pixels import INTERPOLATION, Painter
from transforms.video.stills import spread_pictures

pytestmark = pytest.mark.slow

WHOLE = Preprocessing(96, 128, fit="squash")
"""The whole picture, in its own size: no difference but in colour."""


def colours() -> np.ndarray:
    """A picture of all sorts of colours, uint8 [96, 128, 3], smooth enough to be subsampled."""
    patches = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    patches[0] = np.linspace(0, 255, 8)[:, None]
    return cv2.resize(patches, (128, 96), interpolation=cv2.INTER_LINEAR)


def paint(frame: VideoFrame) -> np.ndarray:
    return Painter(WHOLE).paint(frame)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def plain(picture: np.ndarray, matrix: int, pixels: str = "yuv420p") -> VideoFrame:
    return coded(ycbcr(picture / 255, 0.299, 0.114), matrix, pixels=pixels)


@pytest.mark.parametrize("name", RARE)
def test_a_rare_matrix_gives_the_picture_that_was_coded(name: str) -> None:
    picture = colours()
    limit = 3.0 if "subsampled" in name else 1.0
    assert difference(paint(RARE[name](picture)), picture) < limit


def test_a_rare_matrix_taken_for_another_would_be_seen() -> None:
    """What the limits above are worth."""
    frame = RARE["YCgCo"](colours())
    frame.colorspace = 5
    assert difference(paint(frame), colours()) > 20


@pytest.mark.parametrize("name", HDR)
def test_every_coding_of_the_same_light_gives_the_same_picture(name: str) -> None:
    nits = nits_of(colours())
    limit = 4.0 if "4:2:0" in name else 1.0
    assert difference(paint(HDR[name](nits)), paint(HDR["PQ"](nits))) < limit


@pytest.mark.parametrize("name", ["PQ", "HLG"])
def test_high_dynamic_range_looks_like_the_standard_picture(name: str) -> None:
    """The brightest light is compressed; the rest is the picture whose light it is."""
    picture = (colours() * 0.7).astype(np.uint8)
    frame = HDR[name](nits_of(picture))
    assert difference(paint(frame), picture) < 2
    frame.color_trc = 1
    assert difference(paint(frame), picture) > 10, "taken for a standard picture it is washed out"


def test_grey_keeps_its_order_and_no_tint() -> None:
    ramp = np.broadcast_to(np.geomspace(0.01, 4000, 128)[None, :, None], (96, 128, 3))
    picture = paint(HDR["PQ, full range"](ramp)).astype(int)
    assert (picture.max(axis=2) - picture.min(axis=2)).max() <= 2
    assert (np.diff(picture[40, :, 1]) >= 0).all()
    assert picture[40, 0, 1] < 10 and (picture[:, np.geomspace(0.01, 4000, 128) > 1010] == 255).all()


def test_the_curves_pass_through_the_points_of_the_standards() -> None:
    # BT.2408, table 1: 203 nits are 58 % of PQ and 75 % of HLG.
    assert pq_signal(np.array([100, 203, 1000])) == pytest.approx([0.508, 0.581, 0.752], abs=1e-3)
    assert pq_nits(np.array([0.0, 1.0])) == pytest.approx([0, 10_000])
    signal = np.linspace(0, 1, 11)
    assert pq_signal(pq_nits(signal)) == pytest.approx(signal, abs=1e-6)
    assert 1000 * hlg_scene_light(np.array([0.75, 1.0])) ** 1.2 == pytest.approx([203, 1000], rel=5e-3)
    assert compressed(np.array([0.0, 50.0, PEAK_NITS])) == pytest.approx([0, 50, WHITE_NITS], abs=1e-3)
    assert (np.diff(compressed(np.linspace(0, PEAK_NITS, 500))) > 0).all()


@pytest.mark.parametrize(
    "pixels", ["yuv420p", "yuv444p", "yuv422p10le", "nv12", "yuvj420p", "gbrp", "rgb24", "gray10le"]
)
@pytest.mark.parametrize("matrix", sorted(SCALER_MATRICES))
def test_standard_pictures_are_the_scalers(pixels: str, matrix: int) -> None:
    frame = VideoFrame.from_ndarray(colours(), format="rgb24").reformat(format=pixels)
    frame.colorspace, frame.color_trc, frame.color_primaries = matrix, 14, 9
    scaled = frame.reformat(128, 96, "rgb24", interpolation=INTERPOLATION).to_ndarray()
    assert np.array_equal(paint(frame), finish(scaled, WHOLE))


@pytest.mark.parametrize("matrix", [3, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 99, 255])
def test_a_matrix_that_nothing_else_bears_out_is_passed_over(matrix: int) -> None:
    """Encoders write the number and convert nothing."""
    assert np.array_equal(paint(plain(colours(), matrix)), paint(plain(colours(), 2)))


@pytest.mark.parametrize("transfer", [0, 1, 2, 16, 18, 99])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p10le", "gbrp10le", "rgb48le", "gray", "yuva444p", "yuvj444p"])
def test_any_numbers_give_a_picture(pixels: str, transfer: int) -> None:
    frame = VideoFrame.from_ndarray(colours(), format="rgb24").reformat(format=pixels)
    for matrix in (*range(20), 255):
        for primaries in (1, 2, 10, 99):
            frame.colorspace, frame.color_trc, frame.color_primaries = matrix, transfer, primaries
            assert paint(frame).shape == (96, 128, 3)
            assert (frame.colorspace, frame.color_trc, frame.color_primaries) == (matrix, transfer, primaries)


def test_frames_may_change_their_colours_midway() -> None:
    frames = [RARE["YCgCo"](colours()), plain(colours(), 5), HDR["PQ"](nits_of(colours())), plain(colours(), 99)]
    painter = Painter(WHOLE)
    for frame in frames + frames[::-1]:
        assert np.array_equal(painter.paint(frame), paint(frame))


@pytest.mark.parametrize("pixels", ["gray32le", "gbrap32le", "rgb96le", "yaf32le", "yaf32be"])
def test_a_format_without_conversion_is_a_reason(pixels: str) -> None:
    with pytest.raises(VideoError, match=f"unsupported_codec: cannot convert a frame of 64 x 48 .*{pixels}") as raised:
        paint(VideoFrame(64, 48, pixels))
    assert "\n" not in str(raised.value)


def video_with(path: Path, options: str, codec: str = "libx264") -> Path:
    """A video of `videos.picture` that names its colours by options of the encoder's library."""
    name = codec.removeprefix("lib") + "-params"
    recipe = videos.Recipe(path.suffix, codec, {name: options, "preset": "ultrafast"})
    return videos.encode(path, recipe, 2)


@pytest.mark.parametrize(
    ("codec", "name", "options"),
    [
        ("libx264", "ycgco", "colormatrix=YCgCo"),
        ("libx264", "bt2020c", "colormatrix=bt2020c"),
        ("libx265", "ictcp", "colormatrix=ictcp:log-level=none"),
        ("libx265", "smpte2085", "colormatrix=smpte2085:log-level=none"),
        ("libx265", "chroma-derived-c", "colormatrix=chroma-derived-c:log-level=none"),
    ],
)
def test_a_video_with_a_wrong_matrix_looks_like_itself(tmp_path: Path, codec: str, name: str, options: str) -> None:
    path = video_with(tmp_path / f"{name}.mp4", options, codec)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).colorspace not in SCALER_MATRICES, "not tagged, it proves nothing"
    untagged = video_with(
        tmp_path / "untagged.mp4", options.replace(f"colormatrix={options[12:].split(':', maxsplit=1)[0]}", ""), codec
    )
    one, other = (spread_pictures(str(p), WHOLE, 2) for p in (path, untagged))
    assert np.array_equal(one, other)


def test_an_hdr_video_is_not_washed_out(tmp_path: Path) -> None:
    path = tmp_path / "pq.mp4"
    frame = HDR["PQ, 4:2:0"](nits_of(colours()))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx265",
            rate=Fraction(10),
            options={"x265-params": "log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:qp=10"},
        )
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p10le"
        for index in range(10):
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (picture,) = spread_pictures(str(path), WHOLE, 1)
    assert difference(picture, paint(frame)) < 4


@pytest.mark.parametrize("name", ["matrix_ycgco.mp4", "matrix_ictcp_hevc.mp4"])
def test_real_files_with_wrong_matrices(shared: Path, name: str) -> None:
    path = str(shared / "cases" / name)
    pictures = spread_pictures(path, WHOLE, 3)
    assert len(pictures) == 3
    with av.open(path) as container:
        first = next(container.decode(video=0))
    first.colorspace = 5
    assert np.array_equal(pictures[0], paint(first))
