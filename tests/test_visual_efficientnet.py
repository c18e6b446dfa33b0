"""EfficientNet-Lite against a network written down a second time, in plain NumPy, and against real frames."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from models.visual.architectures import efficientnet_lite
from models.visual.architectures.torch_weights import read_state_dict
from models.visual.bundle import ModelBundle, prepare
from models.visual.engines.opening import Engine, open_engine
from models.visual.preprocess import preprocess

pytestmark = pytest.mark.slow

B0_STAGES = ((1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1))
"""(blocks, kernel side, stride) of EfficientNet-B0's stages: Tan and Le 2019, table 1; Lite0 has the same."""

KNOWN_FRAMES = {
    "captioned/msvd/videos/ufFT2BWh3BQ_0_8.avi": {"giant panda"},
    "captioned/msvd/videos/klteYv1Uv9A_27_33.avi": {"moped"},
    "captioned/prompted/videos/black-swan.mp4": {"black swan"},
    "captioned/prompted/videos/child-riding.mp4": {"tricycle"},
    "captioned/prompted/videos/brown-bear.mp4": {"brown bear"},
    "captioned/prompted/videos/cow-walking.mp4": {"ox"},
    "captioned/prompted/videos/rabbit-watermelon.mp4": {"hare"},
}
"""Clips of real things that ImageNet has a class for."""


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return prepare("efficientnet_lite0", device="cpu")


@pytest.fixture(scope="module")
def engine(bundle: ModelBundle) -> Engine:
    return open_engine(bundle, device="cpu")


def frames(path: Path, count: int) -> list[np.ndarray]:
    """So many RGB frames of a clip, evenly spread."""
    with av.open(path, metadata_errors="replace") as container:
        decoded = list(container.decode(video=0))
    return [decoded[i].to_ndarray(format="rgb24") for i in np.linspace(0, len(decoded) - 1, count).astype(int)]


def same_padding(x: np.ndarray, side: int, stride: int) -> np.ndarray:
    """TensorFlow's SAME: out = ceil(in / stride), the odd row and column at the end."""
    missing = [max((-(-size // stride) - 1) * stride + side - size, 0) for size in x.shape[:2]]
    return np.pad(x, (*((m // 2, m - m // 2) for m in missing), (0, 0)))


def convolved(x: np.ndarray, weight: np.ndarray, stride: int = 1) -> np.ndarray:
    """x [h, w, in] * weight [out, in, side, side]."""
    return shifted(x, weight.shape[2], stride, lambda part, i, j: part @ weight[:, :, i, j].T)


def depthwise(x: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """Each channel of x [h, w, c] * its own of weight [c, 1, side, side]."""
    return shifted(x, weight.shape[2], stride, lambda part, i, j: part * weight[:, 0, i, j])


def shifted(x: np.ndarray, side: int, stride: int, term: Callable[[np.ndarray, int, int], np.ndarray]) -> np.ndarray:
    height, width = -(-x.shape[0] // stride), -(-x.shape[1] // stride)
    padded = same_padding(x, side, stride)
    parts = (
        term(padded[i : i + stride * height : stride, j : j + stride * width : stride][:height, :width], i, j)
        for i in range(side)
        for j in range(side)
    )
    return sum(parts)


def numpy_network(state: dict[str, np.ndarray], image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(embedding, scores) of Lite0 in float64, from the state dict and the published architecture alone."""

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        weight, bias, mean, var = (
            state[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(var + 1e-3) * weight + bias

    def relu6(x: np.ndarray) -> np.ndarray:
        return np.clip(x, 0, 6)

    x = relu6(norm(convolved((image - 127.0) / 128.0, state["_conv_stem.weight"], 2), "_bn0"))
    number = 0
    for blocks, side, first_stride in B0_STAGES:
        for block in range(blocks):
            name, before = f"_blocks.{number}", x
            if number > 0:
                x = relu6(norm(convolved(x, state[f"{name}._expand_conv.weight"]), f"{name}._bn0"))
            assert state[f"{name}._depthwise_conv.weight"].shape[2] == side
            x = depthwise(x, state[f"{name}._depthwise_conv.weight"], first_stride if block == 0 else 1)
            x = norm(convolved(relu6(norm(x, f"{name}._bn1")), state[f"{name}._project_conv.weight"]), f"{name}._bn2")
            x = x + before if block else x
            number += 1
    embedding = relu6(norm(convolved(x, state["_conv_head.weight"]), "_bn1")).mean(axis=(0, 1))
    logits = state["_fc.weight"] @ embedding + state["_fc.bias"]
    scores = np.exp(logits - logits.max())
    return embedding, scores / scores.sum()


def test_the_network_is_the_published_one_to_the_last_digits(engine: Engine) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    state = read_state_dict(efficientnet_lite.weights_file("efficientnet_lite0"))
    embedding, scores = numpy_network({name: array.astype(np.float64) for name, array in state.items()}, picture)
    found = engine.infer(picture[np.newaxis])
    assert np.abs(found.embeddings[0] - embedding).max() < 1e-4 * embedding.max()
    assert np.abs(found.scores[0] - scores).max() < 1e-4


def test_known_frames_get_their_class(shared: Path, bundle: ModelBundle, engine: Engine) -> None:
    """By the mean scores of three frames a clip."""
    top = {}
    for name in KNOWN_FRAMES:
        pictures = np.stack([preprocess(frame, bundle.spec.preprocessing) for frame in frames(shared / name, 3)])
        top[name] = {bundle.spec.labels[engine.infer(pictures).scores.mean(axis=0).argmax()]}
    assert top == KNOWN_FRAMES


def test_a_lion_is_among_the_first_ten(shared: Path, bundle: ModelBundle, engine: Engine) -> None:
    """A retouched lion: Lite0 itself takes it for a Tibetan mastiff first, whatever the crop."""
    frame = frames(shared / "captioned/prompted/videos/lion-roaring.mp4", 3)[1]
    scores = engine.infer(preprocess(frame, bundle.spec.preprocessing)[np.newaxis]).scores[0]
    assert "lion" in {bundle.spec.labels[i] for i in np.argsort(-scores)[:10]}


def test_the_classifier_of_a_bundle_gives_its_scores(bundle: ModelBundle, engine: Engine) -> None:
    classifier = bundle.classifier()
    assert classifier is not None
    kernel, bias = classifier
    assert kernel.shape == (1280, 1000) and bias.shape == (1000,)
    found = engine.infer(np.random.default_rng(0).integers(0, 255, (2, 224, 224, 3), dtype=np.uint8))
    logits = found.embeddings @ kernel + bias
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    assert np.allclose(scores / scores.sum(axis=1, keepdims=True), found.scores, atol=1e-5)


@pytest.mark.parametrize(("name", "side"), [("efficientnet_lite1", 240), ("efficientnet_lite2", 260)])
def test_larger_variants_see_what_there_is(shared: Path, name: str, side: int) -> None:
    bundle = prepare(name, device="cpu")
    assert bundle.engine == "litert" and bundle.spec.preprocessing.height == side
    swan = frames(shared / "captioned/prompted/videos/black-swan.mp4", 1)[0]
    found = open_engine(bundle).infer(preprocess(swan, bundle.spec.preprocessing)[np.newaxis])
    assert bundle.spec.labels[found.scores[0].argmax()] == "black swan"
    assert found.embeddings.shape == (1, 1280)
