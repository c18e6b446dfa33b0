"""Interlaced video: pictures show one moment; progressive ones are left as they are."""

import hashlib
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.visual.bundle import prepare
from models.visual.preprocess import finish, scaled_size
from models.visual.spec import Preprocessing
from tests.interlaced_videos import FORMS, encode, filtered, frame_of, pan, woven
from tests.retrieval_clips import embed_clip, open_model
from transforms.video.decode import DecodeReport, sample, sample_in_order
from transforms.video.fields import first_field
from transforms.video.pixels import INTERPOLATION, Painter
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Video, cut

SIZE = (720, 576)
"""Of DV, which has no other in 25 frames a second."""

FAST = 24
"""Pixels between fields: the picture goes by in less than a second."""


def texture(seed: int = 0) -> np.ndarray:
    """A picture with edges of all directions."""
    blobs = np.random.default_rng(seed).integers(0, 256, (18, 32, 3), np.uint8)
    return cv2.resize(blobs, (1024, SIZE[1]), interpolation=cv2.INTER_CUBIC)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def painted(path: Path, text: str = "every:1", segment_s: int = 1000) -> list[tuple[int, str]]:
    info, sampling, painter = probe(str(path)), Sampling.parse(text), Painter(Preprocessing())
    rows = []
    for segment in cut(Video("0" * 16, str(path), 0, 0.0, ""), info, sampling, Fraction(segment_s)):
        for one in sample(str(path), info, segment.window(sampling), DecodeReport()):
            picture = painter.paint(one.frame, one.pixel_aspect, one.is_field)
            rows.append((one.pts, hashlib.sha256(picture.tobytes()).hexdigest()))
    return rows


@pytest.mark.parametrize(("name", "order"), [(name, order) for name, form in FORMS.items() for order in form.orders])
def test_a_frame_shows_its_first_field(tmp_path: Path, name: str, order: str) -> None:
    form, painter = FORMS[name], Painter(Preprocessing())
    pictures = pan(texture(), SIZE, FAST, 12)
    path = encode(tmp_path / f"pan{form.suffix}", form, pictures, order)
    whole = Sampling.parse("every:1")
    info = probe(str(path))
    window = cut(Video("0" * 16, str(path), 0, 0.0, ""), info, whole, Fraction(1000))[0].window(whole)
    samples = list(sample(str(path), info, window, DecodeReport()))
    assert len(samples) == (12 if form.single_fields else 6)
    step = len(pictures) // len(samples)
    for index, one in enumerate(samples[:5]):
        assert one.frame.interlaced_frame, "not interlaced, it proves nothing"
        # The aspect is left out, for encoders do not store one.
        picture = painter.paint(one.frame, None, one.is_field)
        first, second = (painter.paint(frame_of(pictures[index * step + k], form.pixels)) for k in (0, 1))
        assert difference(picture, first) < 8 < 15 < difference(picture, second)


def test_a_field_is_a_view_of_every_other_line() -> None:
    pictures = [texture(0)[:, :96], texture(1)[:, :96]]
    for order, parity in (("tff", 0), ("bff", 1)):
        (frame,) = woven(pictures, order)
        field = first_field(frame)
        assert not field.interlaced_frame and (field.width, field.height) == (96, SIZE[1] // 2)
        assert np.array_equal(field.to_ndarray(format="gray"), frame.to_ndarray(format="gray")[parity::2])
        assert frame.interlaced_frame and frame.height == SIZE[1], "the decoded frame is not touched"


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv411p", "yuv422p10le", "yuyv422", "nv12", "rgb24", "gray"])
@pytest.mark.parametrize("height", [1, 2, 3, 5, 480, 575])
def test_every_size_and_format_has_a_picture(pixels: str, height: int) -> None:
    frame = filtered([frame_of(texture()[:height, :64], pixels)], ("setfield", "bff"))[0]
    assert frame.interlaced_frame
    assert Painter(Preprocessing()).paint(frame).shape == (224, 224, 3)


def test_what_an_interlaced_frame_says_of_itself_stays() -> None:
    frame = woven([texture(), texture()], "tff")[0]
    frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries = 9, 2, 14, 9
    field = first_field(frame)
    assert (field.colorspace, field.color_range, field.color_trc, field.color_primaries) == (9, 2, 14, 9)


def test_progressive_frames_marked_as_interlaced_lose_little() -> None:
    painter = Painter(Preprocessing())
    marked, plain = woven([texture(), texture()], "tff")[0], frame_of(texture())
    assert difference(painter.paint(marked), painter.paint(plain)) < 3


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p10le", "yuv444p", "rgb24", "gray", "nv12"])
def test_progressive_frames_are_scaled_as_ever(pixels: str) -> None:
    p = Preprocessing()
    frame = frame_of(texture(), pixels)
    height, width = scaled_size(frame.height, frame.width, p)
    scaled = frame.reformat(width, height, "rgb24", interpolation=INTERPOLATION).to_ndarray()
    assert np.array_equal(Painter(p).paint(frame), finish(scaled, p))


@pytest.mark.parametrize("name", ["MPEG-2", "H.264"])
def test_a_picture_does_not_depend_on_how_its_frame_is_reached(tmp_path: Path, name: str) -> None:
    path = encode(tmp_path / f"long{FORMS[name].suffix}", FORMS[name], pan(texture(), (192, 96), 3, 400), "tff")
    info, sampling, painter = probe(str(path)), Sampling.parse("2fps"), Painter(Preprocessing())
    segment = cut(Video("0" * 16, str(path), 0, 0.0, ""), info, sampling, Fraction(1000))[0]
    in_order = [
        (one.pts, hashlib.sha256(painter.paint(one.frame, one.pixel_aspect).tobytes()).hexdigest())
        for one in sample_in_order(str(path), info, None, segment.window(sampling), DecodeReport())
    ]
    assert len(in_order) == 16
    for segment_s in (1, 3, 1000):
        assert painted(path, "2fps", segment_s) == in_order


@pytest.mark.slow
@pytest.mark.parametrize("order", ["tff", "bff"])
def test_without_coding_loss_pans_look_to_the_model_as_if_they_were_progressive(tmp_path: Path, order: str) -> None:
    model = open_model(prepare("efficientnet_lite0", device="cpu"))
    form, least = FORMS["H.264, lossless"], {}
    for speed in (3, FAST):
        cosines = []
        for seed in range(3):
            pictures = pan(texture(seed), SIZE, speed, 8)
            interlaced, progressive = (
                embed_clip(encode(tmp_path / f"{name}{form.suffix}", form, pictures, name), model, "every:1").embeddings
                for name in (order, "progressive")
            )
            assert len(interlaced) == len(progressive) == 4
            lengths = np.linalg.norm(interlaced, axis=1) * np.linalg.norm(progressive, axis=1)
            cosines += list((interlaced * progressive).sum(axis=1) / lengths)
        least[speed] = min(cosines)
    assert least[3] > 0.95 and least[FAST] > 0.95, least


def test_broadcast_looks_to_the_model_as_if_it_were_progressive(shared: Path) -> None:
    model = open_model(prepare("efficientnet_lite0", device="cpu"))
    pan, still = (
        embed_clip(shared / "cases" / f"interlaced_fast_pan{kind}.mpg", model).embeddings
        for kind in ("", "_progressive")
    )
    assert len(pan) == len(still) == 6
    cosines = (pan * still).sum(axis=1) / np.linalg.norm(pan, axis=1) / np.linalg.norm(still, axis=1)
    assert cosines.min() > 0.95
