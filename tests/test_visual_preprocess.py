"""Preprocessing: its spec's checks and JSON, its arithmetic, and that both scalers see the same picture."""

import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from models.visual.errors import ModelError
from models.visual.labels import imagenet_labels
from models.visual.preprocess import finish, preprocess, scaled_size
from models.visual.spec import Preprocessing, VisualSpec
from transforms.video.pixels import INTERPOLATION

SIDES = st.integers(1, 4000)


def specs() -> st.SearchStrategy[Preprocessing]:
    return st.builds(
        Preprocessing,
        height=st.integers(1, 60),
        width=st.integers(1, 60),
        fit=st.sampled_from(["crop", "pad", "squash"]),
        crop_fraction=st.floats(0.1, 1.0),
        colour=st.sampled_from(["rgb", "grey"]),
    )


@given(SIDES, SIDES, specs())
def test_a_scaled_picture_covers_or_fits_the_input(height: int, width: int, p: Preprocessing) -> None:
    h, w = scaled_size(height, width, p)
    if p.fit == "squash":
        assert (h, w) == (p.height, p.width)
    elif p.fit == "crop":
        assert h >= p.height and w >= p.width
        assert min(h * p.crop_fraction - p.height, w * p.crop_fraction - p.width) < 1, "no larger than it has to be"
    else:
        assert h <= p.height and w <= p.width and (h == p.height or w == p.width)


@settings(deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), specs())
def test_every_picture_becomes_an_input(height: int, width: int, p: Preprocessing) -> None:
    picture = np.full((height, width, 3), 200, np.uint8)
    taken = preprocess(picture, p)
    assert taken.shape == (p.height, p.width, p.channels) and taken.dtype == np.uint8
    assert taken.flags.c_contiguous
    if p.fit != "pad":
        assert (taken == 200).all()


@given(specs())
def test_a_spec_survives_json(p: Preprocessing) -> None:
    spec = VisualSpec("m", p, 3, ("a", "é"), 0.25)
    assert VisualSpec.from_json(spec.to_json()) == spec


def test_a_crop_is_the_centre() -> None:
    p = Preprocessing(2, 4, crop_fraction=0.5)
    scaled = np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3)
    assert scaled_size(100, 200, p) == (4, 8)
    assert np.array_equal(finish(scaled, p), scaled[1:3, 2:6])


def test_padding_is_black_around_the_whole_picture() -> None:
    p = Preprocessing(4, 4, fit="pad")
    taken = preprocess(np.full((50, 100, 3), 9, np.uint8), p)
    assert np.array_equal(taken[:, 0, 0], [0, 9, 9, 0])


def test_grey_is_luminance_and_one_channel() -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    assert (finish(red, Preprocessing(4, 4, crop_fraction=1, colour="grey")) == round(0.299 * 255)).all()


@pytest.mark.parametrize("colour", ["rgb", "grey"])
def test_the_mean_filter_is_a_mean(colour: str) -> None:
    rng = np.random.default_rng(0)
    picture = np.repeat(rng.integers(0, 255, (9, 9, 1), dtype=np.uint8), 3, axis=2)
    taken = finish(picture, Preprocessing(9, 9, crop_fraction=1, colour=colour, mean_filter=3))
    assert abs(int(taken[4, 4, 0]) - picture[3:6, 3:6, 0].mean()) <= 0.5


def test_both_scalers_agree() -> None:
    """Stills go through OpenCV, videos through swscale: the same picture must come out of both."""
    rng = np.random.default_rng(0)
    p = Preprocessing(96, 96)
    picture = cv2.resize(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
    for source in (picture, np.ascontiguousarray(picture[::7, ::7])):  # one shrinks, one grows
        height, width = scaled_size(*source.shape[:2], p)
        frame = VideoFrame.from_ndarray(source, format="rgb24")
        scaled = frame.reformat(width, height, "rgb24", interpolation=INTERPOLATION).to_ndarray()
        difference = np.abs(finish(scaled, p).astype(int) - preprocess(source, p))
        assert difference.mean() < 1 and difference.max() <= 8


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"height": 0}, "sides are"),
        ({"width": 100_000}, "sides are"),
        ({"crop_fraction": 0.0}, "crop_fraction"),
        ({"crop_fraction": 1.5}, "crop_fraction"),
        ({"mean_filter": -1}, "mean_filter"),
        ({"mean": [1, 2]}, "one a channel"),
        ({"std": [0]}, "std"),
        ({"hight": 3}, "no preprocessing is called 'hight'"),
        ({"fit": "stretch"}, "stretch"),
        ({"height": "tall"}, "height"),
    ],
)
def test_wrong_preprocessing_is_one_line(wrong: dict, what: str) -> None:
    with pytest.raises(ModelError, match=what) as raised:
        Preprocessing().changed(wrong)
    assert "\n" not in str(raised.value)


def test_imagenet_has_a_thousand_different_labels() -> None:
    labels = imagenet_labels()
    assert len(labels) == len(set(labels)) == 1000
    named = {index: labels[index] for index in (1, 100, 134, 517, 388, 671)}
    assert named[1] == "goldfish" and named[388] == "giant panda" and named[100] == "black swan"
    assert "crane" in named[134] and "crane" in named[517]
