"""Pictures of any shape reach the model: strips are cut or scaled without the scaler that refuses them."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from models.visual.spec import Preprocessing
from tests.conftest import Reelbeam
from tests.tables import contents
from transforms.video.pixels import Painter

pytestmark = pytest.mark.slow

SQUARE = Preprocessing(height=224, width=224)
STRIPS = [(65534, 2), (2, 65534), (1, 60000), (7, 65535), (3, 5000), (3000, 1), (65534, 1)]
TINY = [(1, 1), (2, 1), (1, 2), (5, 3), (3, 7)]


def frame_of(picture: np.ndarray, pixels: str = "rgb24") -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)


def bands(width: int, height: int) -> np.ndarray:
    """A picture whose long side is black, then white in its middle third, then black."""
    line = np.zeros(max(width, height), np.uint8)
    line[len(line) // 3 : len(line) * 2 // 3 + 1] = 255
    along = line[np.newaxis, :] if width >= height else line[:, np.newaxis]
    return np.repeat(np.broadcast_to(along, (height, width))[..., np.newaxis], 3, axis=2).copy()


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("size", STRIPS + TINY)
def test_a_picture_of_any_shape_is_painted(size: tuple[int, int], fit: str) -> None:
    painter = Painter(replace(SQUARE, fit=fit))
    for pixels in ("rgb24", "yuv420p"):
        picture = painter.paint(frame_of(bands(*size), pixels))
        assert picture.shape == (224, 224, 3)
        assert picture[111:113, 111:113].max() > 200, "its middle is white"


@pytest.mark.parametrize("size", STRIPS)
def test_a_crop_of_a_strip_sees_its_middle_and_squashing_all_of_it(size: tuple[int, int]) -> None:
    frame = frame_of(bands(*size))
    assert Painter(SQUARE).paint(frame).min() > 200
    squashed = Painter(replace(SQUARE, fit="squash")).paint(frame)
    assert 0.25 < (squashed > 127).mean() < 0.42


@pytest.mark.parametrize("aspect", [None, Fraction(1, 2), Fraction(2)])
@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_strips_and_others_are_painted_alike(
    monkeypatch: pytest.MonkeyPatch, fit: str, aspect: Fraction | None
) -> None:
    gradient = np.tile(np.linspace(0, 255, 600).astype(np.uint8)[np.newaxis, :, np.newaxis], (40, 1, 3))
    painter = Painter(replace(SQUARE, fit=fit))
    usual = painter.paint(frame_of(gradient), aspect).astype(int)
    monkeypatch.setattr("transforms.video.pixels.STRIP_ASPECT", 4)
    strip = painter.paint(frame_of(gradient), aspect).astype(int)
    assert np.abs(usual - strip).mean() < 3


def test_strips_are_videos(tmp_path: Path, reelbeam: Reelbeam) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    sizes = [(65534, 2), (2, 65534), (3, 5000), (1, 1)]
    for width, height in sizes:
        with av.open(str(archive / f"{width}x{height}.mkv"), "w") as container:
            stream = container.add_stream("ffv1", rate=5, width=width, height=height, pix_fmt="bgr0")
            for _ in range(5):
                container.mux(stream.encode(frame_of(bands(width, height), "bgr0")))
            container.mux(stream.encode(None))
    catalog = tmp_path / "catalog"
    done = reelbeam("classify", "--archive", archive, "--catalog", catalog, "--model", "efficientnet_lite0")
    assert done.code == 0, done.err
    rows = [(row["status"], row["width"], row["height"]) for row in contents(catalog)["videos"]]
    assert sorted(rows) == sorted(("ok", *size) for size in sizes)
