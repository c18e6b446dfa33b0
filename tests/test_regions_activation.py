"""Class activation maps: their arithmetic, and what is cut out along them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ReelbeamError
from models.regions.activation import MOST, ActivationMaps, enlarge, heat_map, refine
from models.regions.segmenter import View
from models.visual.bundle import ModelBundle, prepare
from models.visual.engines.litert import FeatureMapEngine, LiteRtEngine
from models.visual.feature_map import add_feature_map
from models.visual.preprocess import preprocess, scaled_size, seen_part
from models.visual.spec import Preprocessing
from tests import coloured_squares

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    folder = tmp_path_factory.mktemp("colours")
    model = coloured_squares.make_model(folder / "colours.keras")
    made = prepare(str(model), cache_dir=folder)
    before = {path.name: path.read_bytes() for path in made.path.iterdir()}
    add_feature_map(made, str(model))
    after = {path.name: path.read_bytes() for path in made.path.iterdir()}
    assert after.pop("feature_map.tflite") and after == before, "one more file, and nothing else"
    return made


def view(bundle: ModelBundle, squares: list[coloured_squares.Square]) -> View:
    shown = preprocess(coloured_squares.picture(squares), bundle.spec.preprocessing)
    features, feature_map = FeatureMapEngine(bundle).infer(shown)
    return View(shown, feature_map, features.scores[0])


def test_features_are_those_without_a_map(bundle: ModelBundle) -> None:
    plain, mapped = LiteRtEngine(bundle), FeatureMapEngine(bundle)
    pictures = np.random.default_rng(3).integers(0, 256, (9, 32, 32, 3)).astype(np.uint8)
    wanted = plain.infer(pictures)
    for index, picture in enumerate(pictures):
        features, feature_map = mapped.infer(picture)
        assert np.array_equal(features.embeddings[0], wanted.embeddings[index])
        assert np.array_equal(features.scores[0], wanted.scores[index])
        np.testing.assert_allclose(feature_map.mean(axis=(0, 1)), wanted.embeddings[index], atol=1e-5)


def test_a_region_is_where_the_square_is(bundle: ModelBundle) -> None:
    shown = view(bundle, [("red", 60, 40, 40)])
    (region,) = ActivationMaps(bundle).regions(shown)
    truth = shown.picture[..., 0].astype(int) - shown.picture[..., 1] > 100
    assert region.label == "red" and region.score > 0.4
    assert (region.mask & truth).sum() / (region.mask | truth).sum() > 0.8
    (again,) = ActivationMaps(bundle).regions(shown)
    assert np.array_equal(region.mask, again.mask)


def test_two_labels_have_a_region_each(bundle: ModelBundle) -> None:
    found = ActivationMaps(bundle).regions(view(bundle, [("red", 40, 30, 44), ("blue", 100, 60, 44)]))
    assert sorted(region.label for region in found) == ["blue", "red"] and len(found) <= MOST
    assert [region.score for region in found] == sorted((region.score for region in found), reverse=True)
    assert not (found[0].mask & found[1].mask).any()


def test_what_is_not_seen_has_no_region(bundle: ModelBundle) -> None:
    assert ActivationMaps(bundle).regions(view(bundle, [])) == []


def test_no_map_is_an_error(bundle: ModelBundle) -> None:
    with pytest.raises(ReelbeamError, match="feature map"):
        ActivationMaps(bundle).regions(view(bundle, [])._replace(feature_map=None))


def test_a_model_without_maps_is_refused(tmp_path: Path) -> None:
    made = prepare("placeholder", cache_dir=tmp_path)
    with pytest.raises(ReelbeamError, match="its embedding is not the mean of its last feature map"):
        add_feature_map(made, "placeholder")
    assert not (made.path / "feature_map.tflite").exists()


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 9), columns=st.integers(1, 9))
def test_a_heat_map_shares_out_a_score(seed: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    feature_map = rng.normal(size=(rows, columns, 5)).astype(np.float32)
    direction, centre = rng.normal(size=(2, 5)).astype(np.float32)
    heat = heat_map(feature_map, direction, centre)
    slow = np.array([[max(0.0, float((cell - centre) @ direction)) for cell in row] for row in feature_map])
    np.testing.assert_allclose(heat * slow.max(), slow, atol=1e-4)
    assert heat.min() >= 0 and heat.max() in (0, 1)
    large = enlarge(heat, 20, 30)
    assert large.shape == (20, 30) and large.min() >= 0 and large.max() <= 1


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), grey=st.booleans())
def test_refining_is_repeatable_and_takes_any_picture(seed: int, grey: bool) -> None:
    rng = np.random.default_rng(seed)
    high, wide = rng.integers(2, 60, 2)
    picture = rng.integers(0, 256, (high, wide, 1 if grey else 3)).astype(np.uint8)
    heat = rng.random((3, 4)).astype(np.float32)
    mask = refine(heat, picture)
    assert mask.shape == (high, wide) and mask.dtype == np.bool_
    assert np.array_equal(mask, refine(heat, picture))


def test_a_map_that_says_nothing_gives_an_empty_mask() -> None:
    picture = np.zeros((16, 16, 3), np.uint8)
    assert not refine(np.zeros((4, 4), np.float32), picture).any()
    assert refine(np.ones((4, 4), np.float32), picture).all()


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@given(high=st.integers(8, 300), wide=st.integers(8, 300))
def test_what_a_model_saw_is_where_its_input_came_from(fit: str, high: int, wide: int) -> None:
    p = Preprocessing(24, 24, fit=fit)
    x, y, width, height = seen_part(high, wide, p)
    scaled = scaled_size(high, wide, p)
    for middle, pixels in ((y + height / 2, scaled[0]), (x + width / 2, scaled[1])):
        assert abs(middle - 0.5) <= 0.5 / pixels + 1e-9, "the middle, to half a pixel"
    if fit == "squash":
        assert (x, y, width, height) == (0, 0, 1, 1)
    elif fit == "crop":
        assert x >= 0 and y >= 0 and x + width <= 1 + 1e-9 and y + height <= 1 + 1e-9
    else:
        assert x <= 0 and y <= 0 and x + width >= 1 - 1e-9 and y + height >= 1 - 1e-9
