"""Users' own models: .keras files and SavedModels, with and without a sidecar; what does not fit is one line."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.heads.saved import HEAD_ENTRY
from models.visual.architectures import placeholder, trained_head
from models.visual.architectures.user_model import _ends, _natural
from models.visual.bundle import ModelBundle, fingerprints_of_model, prepare
from models.visual.engines.opening import open_engine
from models.visual.errors import ModelError
from models.visual.features import usable
from models.visual.loaded import LoadedModel
from models.visual.sidecar import sidecar_path

pytestmark = pytest.mark.slow

SIDE = 16


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def made(cache: Path) -> Any:
    """Prepares a model."""
    return lambda path, **chosen: prepare(str(path), cache_dir=cache, device="cpu", **chosen)


def network(channels: int = 3, classes: int = 4) -> Any:
    """Scores of a small network whose pooled features are not its only vectors."""
    import keras

    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIDE, SIDE, channels), name="picture")
    x = keras.layers.Conv2D(6, 3, activation="relu")(inputs)
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(x)
    hidden = keras.layers.Dense(5, activation="tanh", name="hidden")(pooled)
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax", name="scores")(hidden))


def saved(model: Any, path: Path, **sidecar: Any) -> Path:
    """A .keras file or an exported SavedModel, with its sidecar."""
    if path.suffix == ".keras":
        model.save(path)
    else:
        model.export(path, verbose=False)
    if sidecar:
        sidecar_path(path).write_text(json.dumps(sidecar))
    return path


def pictures(bundle: ModelBundle, count: int = 2) -> np.ndarray:
    p = bundle.spec.preprocessing
    return np.random.default_rng(0).integers(0, 256, (count, p.height, p.width, p.channels), dtype=np.uint8)


def outputs(model: Any, layer: str, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    import keras

    parts = keras.Model(model.inputs[0], [model.get_layer(layer).output, model.outputs[-1]])
    embedding, scores = parts(images.astype(np.float32))
    return np.asarray(embedding), np.asarray(scores)


def same(found: Any, expected: Any) -> bool:
    return all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(found, expected, strict=True))


def test_a_keras_file_alone(tmp_path: Path, made: Any) -> None:
    model = network()
    bundle = made(saved(model, tmp_path / "mine.keras"))
    assert (bundle.engine, bundle.spec.name, bundle.note) == ("litert", "mine", "")
    assert bundle.spec.labels == ("class 0", "class 1", "class 2", "class 3")
    assert (bundle.spec.preprocessing.height, bundle.spec.preprocessing.colour) == (SIDE, "rgb")
    images = pictures(bundle)
    found = open_engine(bundle).infer(images)
    assert same(found, outputs(model, "hidden", images)), "the last dense layer's input is the embedding"
    kernel, bias = bundle.classifier()
    logits = np.exp(found.embeddings @ kernel + bias)
    assert np.allclose(logits / logits.sum(axis=1, keepdims=True), found.scores, atol=1e-5)


def test_a_sidecar_says_what_the_file_cannot(tmp_path: Path, made: Any) -> None:
    model = network(channels=1)
    preprocessing = {"fit": "pad", "mean": [100.0], "std": [50.0], "mean_filter": 3}
    labels = ["cat", "dog", "bird", "none"]
    path = saved(
        model,
        tmp_path / "m.keras",
        preprocessing=preprocessing,
        labels=labels,
        embedding_layer="pooled",
        seen_threshold=0.4,
    )
    bundle = made(path)
    p = bundle.spec.preprocessing
    assert (p.fit, p.colour, p.mean_filter, bundle.spec.seen_threshold) == ("pad", "grey", 3, 0.4)
    assert bundle.spec.labels == tuple(labels)
    images = pictures(bundle)
    assert same(open_engine(bundle).infer(images), outputs(model, "pooled", (images - 100.0) / 50.0))
    assert bundle.classifier() is None, "the scores are not linear in this layer"
    before = fingerprints_of_model(str(path), device="cpu").bundle
    sidecar_path(path).write_text(json.dumps({"labels": labels[::-1]}))
    assert fingerprints_of_model(str(path), device="cpu").bundle != before


def test_a_saved_model(tmp_path: Path, made: Any) -> None:
    model = network()
    bundle = made(saved(model, tmp_path / "exported", labels=["a", "b", "c", "d"]))
    images = pictures(bundle)
    found = open_engine(bundle).infer(images)
    scores = np.asarray(model(images.astype(np.float32)))
    assert same(found, (scores, scores)), "its only output is both"
    assert bundle.engine == "litert" and bundle.spec.labels == ("a", "b", "c", "d")


def test_a_saved_model_with_named_outputs(tmp_path: Path, made: Any) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.weight = tf.Variable(np.random.default_rng(0).normal(size=(SIDE * SIDE * 3, 7)).astype(np.float32) / 1e4)

    @tf.function(input_signature=[tf.TensorSpec((None, SIDE, SIDE, 3), tf.uint8)])
    def serve(picture: Any) -> dict[str, Any]:
        flat = tf.reshape(tf.cast(picture, tf.float32), (-1, SIDE * SIDE * 3)) @ module.weight
        return {"scores": tf.nn.softmax(flat[:, :3]), "embedding": flat, "zz": flat + 1}

    tf.saved_model.save(module, str(tmp_path / "m"), signatures=serve)
    bundle = made(tmp_path / "m")
    images = pictures(bundle)
    expected = images.reshape(2, -1).astype(np.float32) @ module.weight.numpy()
    found = open_engine(bundle).infer(images)
    assert np.allclose(found.embeddings, expected, rtol=1e-3, atol=1e-4)
    assert found.scores.shape == (2, 3)
    sidecar_path(tmp_path / "m").write_text('{"embedding_layer": "zz"}')
    assert np.allclose(open_engine(made(tmp_path / "m")).infer(images).embeddings, expected + 1, rtol=1e-3, atol=1e-4)


def test_two_outputs_are_embedding_and_scores_even_of_one_size(tmp_path: Path, made: Any) -> None:
    import keras

    model = network(classes=5)
    both = keras.Model(model.inputs[0], [model.get_layer("hidden").output, model.outputs[0]])
    for path in (tmp_path / "m.keras", tmp_path / "m"):
        bundle = made(saved(both, path))
        images = pictures(bundle)
        assert same(open_engine(bundle).infer(images), outputs(model, "hidden", images))


def test_what_litert_lacks_tensorflow_runs(tmp_path: Path, made: Any) -> None:
    import keras

    inputs = keras.Input((SIDE, SIDE, 1))
    x = keras.ops.abs(keras.ops.fft2((keras.ops.squeeze(inputs, -1), keras.ops.zeros_like(inputs[..., 0])))[0])
    x = keras.ops.erfinv(keras.ops.tanh(keras.ops.mean(x, axis=1) / 1e4))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    bundle = made(saved(model, tmp_path / "fourier.keras"))
    assert bundle.engine == "tensorflow" and "fourier does not convert" in bundle.note
    assert "\n" not in bundle.note
    images = pictures(bundle)
    found = open_engine(bundle, device="cpu").infer(images)
    assert np.allclose(found.scores, model(images.astype(np.float32)), atol=1e-5)
    with pytest.raises(ModelError, match="use precision float32"):
        made(tmp_path / "fourier.keras", precision="float16")


def test_numbers_beyond_float16_come_out_as_no_numbers(tmp_path: Path, cache: Path) -> None:
    """Of that picture alone: it costs its video, not the run."""
    import keras

    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Conv2D(4, 3, kernel_initializer=keras.initializers.Constant(100.0))(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    path = saved(keras.Model(inputs, keras.layers.Dense(2)(x)), tmp_path / "loud.keras")
    half = prepare(str(path), precision="float16", device="gpu", cache_dir=cache)
    images = np.stack([np.full((SIDE, SIDE, 3), level, np.uint8) for level in (1, 255)])
    found = open_engine(half, device="cpu").infer(images)
    assert usable(found.embeddings).tolist() == [True, False]


def test_unsafe_code_in_a_file_is_not_run(tmp_path: Path, made: Any) -> None:
    import keras

    inputs = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Lambda(lambda x: x * 2)(inputs)
    scores = keras.layers.Dense(2)(keras.layers.Flatten()(x))
    with pytest.raises(ModelError, match=r"cannot load .*lambda") as raised:
        made(saved(keras.Model(inputs, scores), tmp_path / "m.keras"))
    assert "\n" not in str(raised.value)


def unknown_layer(path: Path) -> Path:
    """A .keras file whose configuration names a layer that nobody has."""
    saved(network(), path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["config.json"] = entries["config.json"].replace(b'"GlobalAveragePooling2D"', b'"NobodyHasThis"')
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def sequence_model(path: Path) -> Path:
    import keras

    inputs = keras.Input((SIDE, 3))
    return saved(keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs))), path)


def map_model(path: Path) -> Path:
    import keras

    inputs = keras.Input((SIDE, SIDE, 3))
    return saved(keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs)), path)


def two_inputs(path: Path) -> Path:
    import keras

    first, second = keras.Input((SIDE, SIDE, 3)), keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Flatten()(keras.layers.Add()([first, second]))
    return saved(keras.Model([first, second], keras.layers.Dense(2)(x)), path)


def not_keras(path: Path) -> Path:
    path.write_bytes(b"this is no model")
    return path


def no_model(path: Path) -> Path:
    path.mkdir()
    return path


def wrong_suffix(path: Path) -> Path:
    return not_keras(path.with_suffix(".h5"))


def without_signature(path: Path) -> Path:
    import tensorflow as tf

    tf.saved_model.save(tf.Module(), str(path))
    return path


@pytest.mark.parametrize(
    ("make", "name", "what"),
    [
        (unknown_layer, "m.keras", "cannot load .*NobodyHasThis"),
        (sequence_model, "m.keras", r"takes \(None, 16, 3\); a visual model takes"),
        (sequence_model, "m", r"takes \(None, 16, 3\); a visual model takes"),
        (map_model, "m.keras", r"must be vectors"),
        (map_model, "m", r"must be vectors"),
        (two_inputs, "m.keras", "has 2 inputs"),
        (two_inputs, "m", "takes 2 inputs"),
        (not_keras, "m.keras", "cannot load"),
        (no_model, "m", "no saved_model.pb"),
        (no_model, "m.keras", "no saved_model.pb"),
        (wrong_suffix, "m", r"is no .keras file; save the model with"),
        (without_signature, "m", "no signature serving_default"),
        (lambda path: path, "m.keras", "no model at"),
        (lambda path: path, "m", "no model at"),
    ],
)
def test_a_model_that_does_not_fit_is_one_line(tmp_path: Path, made: Any, make: Any, name: str, what: str) -> None:
    with pytest.raises(ModelError, match=what) as raised:
        made(make(tmp_path / name))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("sidecar", "what"),
    [
        ({"labels": ["a"]}, "names 1 different labels for 4 classes"),
        ({"labels": ["a", "b", "c", "a"]}, "names 3 different labels for 4 classes"),
        ({"lables": ["a"]}, "lables"),
        ({"preprocessing": {"fitt": "pad"}}, "no preprocessing is called 'fitt'"),
        ({"preprocessing": {"height": 99}}, r"asks for \(99, 16, 3\), but the model takes \(16, 16, 3\)"),
        ({"preprocessing": {"colour": "grey"}}, "but the model takes"),
        ({"embedding_layer": "pool"}, "no layer 'pool'; it has picture, .*pooled"),
    ],
)
def test_a_sidecar_that_does_not_fit_is_one_line(tmp_path: Path, made: Any, sidecar: dict, what: str) -> None:
    with pytest.raises(ModelError, match=what) as raised:
        made(saved(network(), tmp_path / "m.keras", **sidecar))
    assert "\n" not in str(raised.value)


def test_weights_beside_a_whole_model_make_no_sense(tmp_path: Path, made: Any) -> None:
    with pytest.raises(ModelError, match="carries its own weights"):
        made(tmp_path / "m.keras", weights="w.h5")


def test_a_head_that_this_project_trained_goes_to_its_own_loader(
    tmp_path: Path, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(network(), tmp_path / "head.keras")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(HEAD_ENTRY, '{"kind": "linear", "labels": ["a"], "format_version": 1}')
    monkeypatch.setattr(trained_head, "load", lambda given, _: placeholder.load() if given == path else None)
    bundle = made(path)
    assert bundle.spec == placeholder.SPEC
    assert isinstance(placeholder.load(), LoadedModel)


def test_outputs_are_told_apart_whatever_order_they_come_in() -> None:
    names = [f"output_{number}" for number in (1, 0)]
    assert _ends(Path("m"), dict.fromkeys(names), None) == ("output_0", "output_1")
    assert _ends(Path("m"), dict.fromkeys(names[::-1]), None) == ("output_0", "output_1")
    assert sorted(["output_10", "output_9"], key=_natural) == ["output_9", "output_10"]
