"""Engines: they agree with each other, a picture's features never depend on its neighbours, and memory running out is
survived.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.visual.bundle import ModelBundle, prepare
from models.visual.engines import target
from models.visual.engines.litert import LiteRtEngine
from models.visual.engines.opening import Engine, open_engine
from models.visual.engines.tensorflow import CPU_BATCH, TensorFlowEngine, import_graph
from models.visual.errors import ModelError
from models.visual.features import Features

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
"""Between the engines in float32, as a share of the largest number; measured: 7e-6."""


@pytest.fixture(scope="module")
def lite0() -> ModelBundle:
    return prepare("efficientnet_lite0", device="cpu")


@pytest.fixture(scope="module")
def lite0_tensorflow(lite0: ModelBundle) -> TensorFlowEngine:
    from models.visual.engines.tensorflow import TensorFlowEngine

    return TensorFlowEngine(lite0, device="cpu", batch_size=4)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return prepare("placeholder", device="cpu", cache_dir=tmp_path_factory.mktemp("cache"))


def pictures(bundle: ModelBundle, count: int) -> np.ndarray:
    p = bundle.spec.preprocessing
    return np.random.default_rng(0).integers(0, 256, (count, p.height, p.width, p.channels), dtype=np.uint8)


def difference(a: Features, b: Features) -> float:
    """The largest, as a share of the largest number."""
    return max(float(np.abs(x - y).max() / np.abs(y).max()) for x, y in zip(a, b, strict=True))


def joined(parts: list[Features]) -> Features:
    return Features(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def identical(a: Features, b: Features) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_engines_agree(lite0: ModelBundle, lite0_tensorflow: Engine) -> None:
    engine = open_engine(lite0, device="cpu")
    assert isinstance(engine, LiteRtEngine) and isinstance(lite0_tensorflow, TensorFlowEngine)
    images = pictures(lite0, 5)
    found = engine.infer(images)
    assert difference(found, lite0_tensorflow.infer(images)) < TOLERANCE
    assert np.allclose(found.scores.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", ["litert", "tensorflow"])
def test_features_do_not_depend_on_the_batch(lite0: ModelBundle, lite0_tensorflow: Engine, kind: str) -> None:
    engine = open_engine(lite0) if kind == "litert" else lite0_tensorflow
    images = pictures(lite0, 6)
    at_once = engine.infer(images)
    assert identical(at_once, joined([engine.infer(images[i : i + 1]) for i in range(6)]))
    assert identical(at_once, joined([engine.infer(images[:1]), engine.infer(images[1:4]), engine.infer(images[4:])]))
    backwards = engine.infer(images[::-1])
    assert identical(at_once, Features(backwards.embeddings[::-1], backwards.scores[::-1]))


@pytest.mark.parametrize("kind", ["litert", "tensorflow"])
def test_no_pictures_give_no_features(tiny: ModelBundle, kind: str) -> None:
    engine = open_engine(tiny) if kind == "litert" else TensorFlowEngine(tiny, device="cpu")
    found = engine.infer(pictures(tiny, 0))
    assert (found.embeddings.shape, found.scores.shape) == ((0, 32), (0, 10))
    assert found.embeddings.dtype == found.scores.dtype == np.float32


class SmallDevice:
    """Runs a graph as a device would that holds so many pictures at once, and notes the sizes it was given."""

    def __init__(self, run: Any, holds: int) -> None:
        self.run, self.holds, self.sizes = run, holds, []

    def __call__(self, images: np.ndarray) -> Any:
        import tensorflow as tf

        self.sizes.append(len(images))
        if len(images) > self.holds:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return self.run(images)


def test_running_out_of_memory_halves_the_batch_for_good(tiny: ModelBundle) -> None:
    engine = TensorFlowEngine(tiny, device="cpu")
    assert engine.batch_size == CPU_BATCH
    images = pictures(tiny, 11)
    expected = engine.infer(images)
    engine.run = device = SmallDevice(engine.run, holds=3)
    assert difference(engine.infer(images), expected) < 1e-6
    assert device.sizes == [8, 4, *[2] * 6], "halved until it fits, and every picture once"
    assert engine.batch_size == 2
    device.sizes.clear()
    engine.infer(images[:3])
    assert device.sizes == [2, 2], "always of the same size, padded"


def test_a_model_that_never_fits_says_so(tiny: ModelBundle) -> None:
    engine = TensorFlowEngine(tiny, device="cpu")
    engine.run = SmallDevice(engine.run, holds=0)
    with pytest.raises(ModelError, match="not even for one frame"):
        engine.infer(pictures(tiny, 2))


@pytest.mark.parametrize(("precision", "error"), [("bfloat16", 3e-2), ("float16", 3e-3)])
def test_mixed_precision_is_close_but_not_the_same(
    tiny: ModelBundle, tmp_path: Path, precision: target.Precision, error: float
) -> None:
    mixed = prepare("placeholder", precision=precision, device="gpu", cache_dir=tmp_path)
    assert (mixed.engine, mixed.precision) == ("tensorflow", precision)
    images = pictures(tiny, 4)
    found = difference(TensorFlowEngine(mixed, device="cpu").infer(images), open_engine(tiny).infer(images))
    assert error / 100 < found < error


def test_bfloat16_on_a_cpu_is_tensorflows(tiny: ModelBundle, tmp_path: Path) -> None:
    bundle = prepare("placeholder", precision="bfloat16", device="cpu", cache_dir=tmp_path)
    assert bundle.engine == "tensorflow" and not (bundle.path / "model.tflite").exists()
    images = pictures(tiny, 2)
    assert 1e-4 < difference(open_engine(bundle, device="cpu").infer(images), open_engine(tiny).infer(images)) < 3e-2


def test_float16_on_a_cpu_is_litert_with_rounded_weights(lite0: ModelBundle) -> None:
    bundle = prepare("efficientnet_lite0", precision="float16", device="cpu")
    assert bundle.engine == "litert"
    sizes = [(b.path / "model.tflite").stat().st_size for b in (bundle, lite0)]
    assert 0.45 < sizes[0] / sizes[1] < 0.55
    images = pictures(lite0, 2)
    assert 1e-5 < difference(open_engine(bundle).infer(images), open_engine(lite0).infer(images)) < 2e-2


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_the_graph_compiles_with_xla_as_it_would_on_a_gpu(
    tiny: ModelBundle, tmp_path: Path, precision: target.Precision
) -> None:
    bundle = prepare("placeholder", precision=precision, device="gpu", cache_dir=tmp_path)
    images = pictures(tiny, 2)
    compiled = Features(*(np.asarray(part) for part in import_graph(bundle, xla=True)(images)))
    assert difference(compiled, TensorFlowEngine(bundle, device="cpu").infer(images)) < 1e-2


def test_a_gpu_that_is_not_there_says_so(tiny: ModelBundle) -> None:
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    with pytest.raises(ModelError, match="no GPU that TensorFlow can use"):
        open_engine(tiny, device="gpu")


@pytest.mark.parametrize("in_use", [False, True])
def test_gpus_are_told_to_take_memory_as_they_need_it(in_use: bool) -> None:
    """TensorFlow's configuration is a stand-in: the real one lists no GPU on a machine without."""
    told: list[tuple[str, bool]] = []

    def set_memory_growth(gpu: str, enable: bool) -> None:
        if in_use:
            raise RuntimeError("physical devices cannot be modified after being initialized")
        told.append((gpu, enable))

    config = SimpleNamespace(
        list_physical_devices=lambda kind: ["GPU:0", "GPU:1"] if kind == "GPU" else [],
        experimental=SimpleNamespace(set_memory_growth=set_memory_growth),
    )
    assert target.list_gpus(SimpleNamespace(config=config)) == ["GPU:0", "GPU:1"]
    assert told == ([] if in_use else [("GPU:0", True), ("GPU:1", True)])


@pytest.mark.parametrize(
    ("device", "precision", "capability", "expected"),
    [
        ("auto", "auto", None, ("cpu", "float32")),
        ("auto", "auto", (9, 0), ("gpu", "float16")),
        ("auto", "auto", (7, 0), ("gpu", "float16")),
        ("auto", "auto", (6, 1), ("gpu", "float32")),
        ("auto", "bfloat16", (9, 0), ("gpu", "bfloat16")),
        ("auto", "bfloat16", None, ("cpu", "bfloat16")),
        ("cpu", "auto", (9, 0), ("cpu", "float32")),
        ("gpu", "auto", None, ("gpu", "float16")),
        ("gpu", "float32", None, ("gpu", "float32")),
    ],
)
def test_what_auto_means(
    monkeypatch: pytest.MonkeyPatch,
    device: target.Device,
    precision: target.Precision,
    capability: tuple[int, int] | None,
    expected: tuple[str, str],
) -> None:
    monkeypatch.setattr(target, "_gpu_capability", lambda: capability)
    assert target.resolve(device, precision) == expected
