"""`keras.applications`: every family's own preprocessing, the embedding before its classifier, weights from a file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.visual.architectures import keras_applications
from models.visual.architectures.keras_parts import take_apart
from models.visual.bundle import prepare
from models.visual.engines.opening import open_engine
from models.visual.errors import ModelError

pytestmark = pytest.mark.slow

RGB_MEAN, RGB_STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
"""ImageNet's, of colours from 0 to 255."""

FORMULAS = {
    "MobileNet": lambda x: x / 127.5 - 1,
    "ResNet50V2": lambda x: x / 127.5 - 1,
    "Xception": lambda x: x / 127.5 - 1,
    "NASNetMobile": lambda x: x / 127.5 - 1,
    "InceptionV3": lambda x: x / 127.5 - 1,
    "DenseNet121": lambda x: (x - RGB_MEAN) / RGB_STD,
    "ResNet50": lambda x: x[..., ::-1] - [103.939, 116.779, 123.68],
    "VGG16": lambda x: x[..., ::-1] - [103.939, 116.779, 123.68],
    "EfficientNetB0": lambda x: x,
    "EfficientNetV2B0": lambda x: x,
    "ConvNeXtTiny": lambda x: x,
    "MobileNetV3Small": lambda x: x,
}
"""What each family was trained on; the last four have it inside the network."""


def test_every_constructor_is_there() -> None:
    import keras

    assert set(keras_applications.MODULES) == {name for name in dir(keras.applications) if name[0].isupper()}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_family_gets_the_pictures_it_was_trained_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    picture = np.random.default_rng(0).uniform(0, 255, (1, 8, 8, 3))
    inputs = keras.Input((8, 8, 3))
    sees = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    monkeypatch.setattr(keras_applications, "build", lambda name, weights: sees)
    seen, _ = keras_applications.load(name, Path("unused")).function(keras.ops.convert_to_tensor(picture, "float32"))
    assert np.allclose(np.reshape(seen, (8, 8, 3)), FORMULAS[name](picture[0]), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "embedding_size"), [("MobileNetV2", 1280), ("MobileNet", 1024), ("MobileNetV3Small", 1024)]
)
def test_the_embedding_is_what_the_classifier_sees(name: str, embedding_size: int) -> None:
    """A dense layer, or in some families a convolution over one pixel."""
    import keras

    model = getattr(keras.applications, name)(weights=None, classifier_activation=None)
    parts = take_apart(model)
    picture = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3)).astype(np.float32)
    embedding, logits = (np.asarray(part) for part in parts.model(picture))
    assert embedding.shape == (1, embedding_size)
    kernel, bias = parts.classifier
    assert np.allclose(embedding @ kernel + bias, logits, atol=1e-4)


def scaled_to_matter(model: Any) -> Any:
    """Random weights that give every picture other scores."""
    rng = np.random.default_rng(0)
    model.set_weights([w + 0.02 * rng.normal(size=w.shape) for w in model.get_weights()])
    return model


def test_weights_from_a_file_through_to_the_engine(tmp_path: Path) -> None:
    import keras

    model = scaled_to_matter(keras.applications.MobileNetV3Small(weights=None))
    model.save_weights(tmp_path / "w.weights.h5")
    bundle = prepare("MobileNetV3Small", weights=str(tmp_path / "w.weights.h5"), cache_dir=tmp_path, device="cpu")
    assert (bundle.engine, bundle.spec.embedding_size, len(bundle.spec.labels)) == ("litert", 1024, 1000)
    images = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    found = open_engine(bundle).infer(images)
    assert np.abs(found.scores - np.asarray(model(images.astype(np.float32)))).max() < 1e-4 * found.scores.max()


@pytest.mark.parametrize("name", ["MobileNetV2", "MobileNetV3Small"])
def test_weights_of_another_model_do_not_fit(tmp_path: Path, name: str) -> None:
    """Nor does a part of them, which Keras would take with a warning and leave the rest random."""
    import keras

    inputs = keras.Input((None, None, 3))
    keras.Model(inputs, keras.layers.Conv2D(16, 3, use_bias=False)(inputs)).save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(ModelError, match=f"do not fit {name}") as raised:
        prepare(name, weights=str(tmp_path / "w.weights.h5"), cache_dir=tmp_path, device="cpu")
    assert "\n" not in str(raised.value)


def test_no_weights_are_one_line_that_names_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELBEAM_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as raised:
        prepare("MobileNetV2", cache_dir=tmp_path, device="cpu")
    said = str(raised.value)
    assert "`reelbeam models get MobileNetV2`" in said and str(tmp_path / "weights" / "MobileNetV2") in said
    assert "\n" not in said
