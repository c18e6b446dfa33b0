"""Segmentation models of a user: what is loaded, which regions come out, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest
from numpy.typing import NDArray

from models.pretrained.store import weights_folder
from models.regions.bundle import (
    SegmentationBundle,
    fingerprint_of,
    make_bundle,
    prepare_segmenter,
    read_bundle,
)
from models.regions.dense_model import find_activation, is_segmenter_preset
from models.regions.known_labels import ADE20K, CITYSCAPES, VOC, known_labels
from models.regions.opening import DenseSegmenter, open_segmenter
from models.regions.segmenter import View
from models.regions.spec import SegmentationSpec
from models.visual.errors import ModelError
from models.visual.sidecar import sidecar_path
from models.visual.spec import Preprocessing
from pipelines.commands.main import cli
from tests.presets import SEGMENTERS, SIDE

LABELS = ["background", "red", "blue"]
PICTURE = np.zeros((16, 24, 3), np.uint8)
PICTURE[:8, :12, 0] = 255
PICTURE[10:, 4:, 2] = 200


def view(picture: NDArray[np.uint8]) -> View:
    return View(picture, None, np.zeros(1, np.float32))


# --- without TensorFlow


def segmenter(probabilities: NDArray[np.float32], labels: tuple[str, ...], ignored: tuple[str, ...]) -> DenseSegmenter:
    """One that always sees the same."""
    spec = SegmentationSpec(
        "made", Preprocessing(*probabilities.shape[:2]), labels, ignored, ("#000000",) * len(labels)
    )
    return DenseSegmenter(SegmentationBundle("0" * 20, spec, "litert"), lambda images: probabilities[np.newaxis])


def test_a_region_is_where_its_label_is_likeliest_and_its_score_the_mean_there() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(4), (5, 7)).astype(np.float32)
    labels = ("background", "a", "b", "c")
    found = segmenter(probabilities, labels, ("background",)).regions(view(np.zeros((5, 7, 3), np.uint8)))
    assert {region.label for region in found} == {"a", "b", "c"}
    assert [region.score for region in found] == sorted((region.score for region in found), reverse=True)
    for region in found:
        k = labels.index(region.label)
        own = [(y, x) for y in range(5) for x in range(7) if max(range(4), key=lambda j: probabilities[y, x, j]) == k]
        assert sorted(map(tuple, np.argwhere(region.mask).tolist())) == own
        assert region.score == pytest.approx(sum(float(probabilities[y, x, k]) for y, x in own) / len(own))


def test_a_picture_of_the_background_has_no_region() -> None:
    probabilities = np.tile(np.float32([0.9, 0.1]), (3, 3, 1))
    assert (
        segmenter(probabilities, ("background", "a"), ("background",)).regions(view(np.zeros((3, 3, 3), np.uint8)))
        == []
    )


@pytest.mark.parametrize(
    ("output", "activation"),
    [
        (np.full((1, 2, 2, 4), 0.25), "none"),
        (np.full((1, 2, 2, 4), 0.3), "softmax"),
        (np.array([0.2, 1.2, -0.4]).reshape(1, 1, 1, 3), "softmax"),
        (np.array([0.2, 0.9]).reshape(1, 1, 2, 1), "none"),
        (np.array([0.2, -0.9]).reshape(1, 1, 2, 1), "sigmoid"),
    ],
)
def test_probabilities_are_told_from_logits(output: NDArray[Any], activation: str) -> None:
    assert find_activation(output.astype(np.float32)) == activation


def test_the_labels_of_published_presets_are_known_by_their_data_set() -> None:
    assert (len(VOC), len(ADE20K), len(CITYSCAPES)) == (21, 150, 19)
    for labels in (VOC, ADE20K, CITYSCAPES):
        assert len(set(labels)) == len(labels)
    assert known_labels(Path("segformer_b0_ade20k_512"), 150) == ADE20K
    assert known_labels(Path("segformer_b0_ade20k_512"), 21) is None
    assert known_labels(Path("mine"), 21) is None


def test_what_is_no_bundle_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no segmentation model in"):
        open_segmenter(tmp_path)
    with pytest.raises(ModelError, match="give a file, a folder or a name: deeplab_v3_plus_resnet50_pascalvoc"):
        prepare_segmenter(str(tmp_path / "missing"))
    (tmp_path / "some").mkdir()
    with pytest.raises(ModelError, match="is not a SavedModel"):
        prepare_segmenter(str(tmp_path / "some"), tmp_path / "cache")


# --- models of Keras


def tiny(path: Path, *, stride: int = 1, activation: str | None = None, channels: int = 3, classes: int = 3) -> Path:
    """A model that sees red and blue: logits are linear in the colours of a pixel."""
    import keras

    inputs = keras.Input((16, 24, channels))
    x = keras.layers.AveragePooling2D(stride)(inputs) if stride > 1 else inputs
    layer = keras.layers.Conv2D(classes, 1, activation=activation)
    model = keras.Model(inputs, layer(x))
    kernel = np.zeros((1, 1, channels, classes), np.float32)
    kernel[0, 0, 0, -2 if classes > 1 else 0] = 0.05
    kernel[0, 0, -1, -1] += 0.05
    bias = np.zeros(classes, np.float32)
    bias[0] = 5.0 if classes > 1 else -5.0
    layer.set_weights([kernel, bias])
    if path.suffix == ".keras":
        model.save(path)
    else:
        model.export(path, verbose=False)
    return path


def describe(path: Path, **said: Any) -> Path:
    sidecar_path(path).write_text(json.dumps({"labels": LABELS, **said}))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["m.keras", "saved"])
@pytest.mark.parametrize("activation", [None, "softmax"])
def test_a_model_of_either_kind_gives_regions(tmp_path: Path, kind: str, activation: str | None) -> None:
    """Logits and probabilities give the same; expected numbers are computed here."""
    path = describe(tiny(tmp_path / kind, activation=activation))
    folder = prepare_segmenter(str(path), tmp_path / "cache")
    bundle, opened = read_bundle(folder), open_segmenter(folder)
    assert (bundle.engine, bundle.note) == ("litert", "")
    assert (opened.labels, bundle.spec.ignored) == (("red", "blue"), ("background",))
    assert bundle.spec.preprocessing == Preprocessing(16, 24, "pad", crop_fraction=1.0, mean=(0.0,), std=(1.0,))
    found = {region.label: region for region in opened.regions(view(PICTURE))}
    np.testing.assert_array_equal(found["red"].mask, PICTURE[..., 0] > 0)
    np.testing.assert_array_equal(found["blue"].mask, PICTURE[..., 2] > 0)
    logits = np.exp([5.0, 0.05 * 255, 0.0])
    assert found["red"].score == pytest.approx(logits[1] / logits.sum(), rel=1e-4)
    assert prepare_segmenter(str(path), tmp_path / "cache") == folder == prepare_segmenter(str(folder))
    opened.regions(view(255 - PICTURE))
    again = {region.label: region for region in opened.regions(view(PICTURE))}
    assert again["red"].score == found["red"].score, "it does not depend on what was seen before"


@pytest.mark.slow
def test_a_coarse_output_is_enlarged_and_the_sidecar_decides(tmp_path: Path) -> None:
    path = describe(
        tiny(tmp_path / "m.keras", stride=4),
        preprocessing={"fit": "squash", "mean": [0], "std": [0.5]},
        ignored=["red"],
        palette={"blue": "#123456"},
    )
    opened = open_segmenter(prepare_segmenter(str(path), tmp_path / "cache"))
    spec = opened.bundle.spec
    assert spec.palette == ("#000000", "#800000", "#123456")
    assert opened.labels == ("background", "blue") and spec.preprocessing.fit == "squash"
    probabilities = opened.probabilities(PICTURE)
    assert probabilities.shape == (16, 24, 3)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-5)
    assert probabilities[2, 2, 1] == pytest.approx(1 / (1 + np.exp(5 - 0.1 * 255) + np.exp(-0.1 * 255)), rel=1e-4)


@pytest.mark.slow
def test_a_grey_model_with_one_output_has_a_background_too(tmp_path: Path) -> None:
    path = tiny(tmp_path / "m.keras", channels=1, classes=1)
    sidecar_path(path).write_text('{"labels": ["bright"]}')
    opened = open_segmenter(prepare_segmenter(str(path), tmp_path / "cache"))
    grey = PICTURE[..., :1]
    (region,) = opened.regions(view(grey))
    assert region.label == "bright" and opened.labels == ("bright",)
    np.testing.assert_array_equal(region.mask, grey[..., 0] > 0)


@pytest.mark.slow
def test_what_does_not_convert_runs_in_tensorflow(tmp_path: Path) -> None:
    import tensorflow as tf

    class Model(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec((None, 16, 24, 3), tf.float32)])
        def serve(self, images: Any) -> Any:
            red, blue = images[..., :1], images[..., 2:]
            return tf.concat(
                [tf.fill(tf.shape(red), 5.0) + 1e-6 * tf.math.igamma(red + 1, red + 2), red / 20, blue / 20], -1
            )

    model = Model()
    tf.saved_model.save(model, str(tmp_path / "saved"), signatures={"serving_default": model.serve})
    bundle = make_bundle(str(describe(tmp_path / "saved")), tmp_path / "bundle")
    assert bundle.engine == "tensorflow" and "so TensorFlow runs it, which is slower" in bundle.note
    found = {region.label: region for region in open_segmenter(tmp_path / "bundle").regions(view(PICTURE))}
    np.testing.assert_array_equal(found["red"].mask, PICTURE[..., 0] > 0)
    with pytest.raises(ModelError, match="exists; choose another folder, or remove it first"):
        make_bundle(str(tmp_path / "saved"), tmp_path / "bundle")


def _vector(path: Path) -> None:
    import keras

    inputs = keras.Input((16, 24, 3))
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)).save(path)


def _no_picture(path: Path) -> None:
    import keras

    inputs = keras.Input((16,))
    keras.Model(inputs, keras.layers.Dense(3)(inputs)).save(path)


def _said(text: str) -> Callable[[Path], None]:
    return lambda path: (sidecar_path(tiny(path)).write_text(text), None)[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_vector, r"gives \(None, 3\); a segmentation model gives \(batch, height, width, classes\)"),
        (_no_picture, r"takes \(None, 16\); a segmentation model takes \(batch, height, width, 1 or 3\)"),
        (tiny, r"has no labels: write .*m.keras.spec.json with .*one name for each of 3"),
        (_said('{"labels": ["a", "b"]}'), r"names 2 different labels for 3 classes"),
        (_said('{"labels": ["a", "b", "b"]}'), r"names 2 different labels for 3 classes"),
        (_said('{"labels": ["a", "b", "c"], "ignored": ["d"]}'), r"has no label 'd', which ignored or palette names"),
        (_said('{"labels": ["a", "b", "c"], "palette": {"a": "red"}}'), r"the colour is 'red'; write it as #rrggbb"),
        (_said('{"labels": ["a", "b", "c"], "preprocessing": {"height": 8}}'), r"asks for 8x24x3, which .* does not"),
        (_said('{"labels": ["a", "b", "c"], "preprocessing": {"hight": 8}}'), r"no preprocessing is called 'hight'"),
        (_said('{"label": []}'), r"cannot read .*m.keras.spec.json"),
        (lambda path: path.write_bytes(b"no zip"), r"cannot load .*m.keras"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_in_one_line(tmp_path: Path, make: Callable[[Path], Any], said: str) -> None:
    make(tmp_path / "m.keras")
    with pytest.raises(ModelError, match=said) as raised:
        prepare_segmenter(str(tmp_path / "m.keras"), tmp_path / "cache")
    assert "\n" not in str(raised.value) and not list((tmp_path / "cache").glob("segmenters/*"))


@pytest.mark.slow
def test_the_fingerprint_is_that_of_the_weights_and_the_sidecar(tmp_path: Path) -> None:
    path = describe(tiny(tmp_path / "m.keras"))
    (tmp_path / "copy").mkdir()
    for file in (path, sidecar_path(path)):
        shutil.copy(file, tmp_path / "copy")
    assert fingerprint_of(path) == fingerprint_of(tmp_path / "copy" / "m.keras")
    before = fingerprint_of(path)
    describe(path, ignored=["red"])
    assert fingerprint_of(path) != before


@pytest.mark.slow
@pytest.mark.parametrize("name", SEGMENTERS)
def test_presets_come_by_name_and_compute_what_keras_hub_computes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras
    import keras_hub

    monkeypatch.setenv("REELBEAM_CACHE", str(tmp_path / "cache"))
    SEGMENTERS[name](tmp_path / name)
    with pytest.raises(ModelError, match=f"`reelbeam models get {name}`"):
        prepare_segmenter(name)
    done = click.testing.CliRunner().invoke(cli, ["models", "get", name, "--from", str(tmp_path / name)])
    assert done.exit_code == 0, done.output
    assert is_segmenter_preset(weights_folder(name))
    opened = open_segmenter(prepare_segmenter(name))
    assert opened.bundle.engine == "litert" and opened.name == name
    assert opened.bundle.spec.labels == (VOC if "voc" in name else ADE20K)
    picture = np.random.default_rng(0).integers(0, 256, (2 * SIDE, 2 * SIDE, 3), dtype=np.uint8)
    task = keras_hub.models.ImageSegmenter.from_preset(str(tmp_path / name))
    logits = task(task.preprocessor(picture[np.newaxis].astype(np.float32)), training=False)
    wanted = np.asarray(keras.ops.softmax(keras.ops.image.resize(logits, picture.shape[:2])))[0]
    np.testing.assert_allclose(opened.probabilities(picture), wanted, rtol=1e-3, atol=1e-5)
