"""Arithmetic in int8: its ranges, what LiteRT computes, how near it is to float32, and which models have it."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.heads import saved
from models.heads.architectures import Architecture, build, finished
from models.heads.out_of_distribution import Statistics as OfFeatures
from models.visual import registry
from models.visual.architectures.efficientnet_lite import (
    FIRST_INT8_BLOCK,
    _block_ranges,
    _blocks,
    _state,
    weights_file,
)
from models.visual.architectures.eight_bits import DEVIATIONS, Statistics
from models.visual.backbone import Backbone, fingerprint_of_key
from models.visual.bundle import ModelBundle, fingerprints_of_model, prepare
from models.visual.engines.opening import open_engine
from models.visual.errors import ModelError
from models.visual.feature_map import add_feature_map

NAME = "efficientnet_lite0"


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return prepare(NAME, precision="int8", device="cpu")


def pictures(count: int) -> np.ndarray:
    """Pictures of large coloured shapes and fine noise, uint8 [n, 224, 224, 3]."""
    rng = np.random.default_rng(4)
    made = []
    for side in rng.integers(3, 40, count):
        coarse = cv2.resize(rng.uniform(0, 255, (side, side, 3)), (224, 224), interpolation=cv2.INTER_CUBIC)
        made.append(np.clip(coarse + rng.normal(0, 6, coarse.shape), 0, 255).astype(np.uint8))
    return np.stack(made)


def test_a_range_covers_every_channel_and_zero() -> None:
    statistics = Statistics(np.array([1.0, -2.0, 0.5]), np.array([0.25, 1.0, 0.0]))
    assert statistics.range() == (-2 - DEVIATIONS, 1 + DEVIATIONS / 2)
    assert Statistics(np.array([5.0]), np.array([0.0])).range() == (0, 5)


def test_a_sum_has_the_sum_of_means_and_variances() -> None:
    total = Statistics(np.array([1.0]), np.array([9.0])).plus(Statistics(np.array([2.0]), np.array([16.0])))
    assert total.range() == (3 - 5 * DEVIATIONS, 3 + 5 * DEVIATIONS)


def test_blocks_before_the_first_one_in_int8_have_no_ranges() -> None:
    state = _state(NAME, weights_file(NAME))
    prefixes = [prefix for prefix, _ in _blocks(state)]
    ranges = _block_ranges(state)
    assert list(ranges) == prefixes[FIRST_INT8_BLOCK - 1 :]
    last_float, *others = ranges.values()
    assert last_float.relu is last_float.projection is None
    assert all(None not in one for one in (last_float.output, *(part for other in others for part in other)))


@pytest.mark.slow
def test_int8_is_near_float32_and_not_the_same(bundle: ModelBundle) -> None:
    images = pictures(24)
    found = open_engine(bundle).infer(images)
    wanted = open_engine(prepare(NAME, device="cpu")).infer(images)
    norms = np.linalg.norm(found.embeddings, axis=1) * np.linalg.norm(wanted.embeddings, axis=1)
    cosines = (found.embeddings * wanted.embeddings).sum(axis=1) / norms
    assert 0.98 < cosines.mean() < 0.9999
    best = found.scores.argmax(axis=1)
    lost = wanted.scores.max(axis=1) - wanted.scores[np.arange(len(images)), best]
    assert lost.mean() < 0.02


@pytest.mark.slow
def test_convolutions_are_in_int8_with_fused_activations_but_for_the_first_ones(bundle: ModelBundle) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_path=str(bundle.path / "model.tflite"),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    ops = interpreter._get_ops_details()
    convolutions = [op for op in ops if op["op_name"].endswith("CONV_2D")]
    kernels = [tensors[op["inputs"][1]] for op in convolutions]
    # The stem, two convolutions of block 0, which expands nothing, and three of each other block in float.
    first = 1 + 2 + 3 * (FIRST_INT8_BLOCK - 1)
    assert [kernel["dtype"] is np.int8 for kernel in kernels] == [False] * first + [True] * (len(kernels) - first)
    scales = [len(kernel["quantization_parameters"]["scales"]) for kernel in kernels[first:]]
    channels = [max(kernel["shape"][0], kernel["shape"][3] * (kernel["shape"][0] == 1)) for kernel in kernels[first:]]
    assert scales == channels
    assert not [op["op_name"] for op in ops if re.match("RELU", op["op_name"])]
    assert [op["op_name"] for op in ops].count("QUANTIZE") == 1
    assert [op["op_name"] for op in ops].count("DEQUANTIZE") == 1


@pytest.mark.slow
def test_features_do_not_depend_on_the_batch(bundle: ModelBundle) -> None:
    engine, images = open_engine(bundle), pictures(3)
    alone = [engine.infer(image[np.newaxis]).embeddings[0] for image in images]
    assert np.array_equal(engine.infer(images).embeddings, np.stack(alone))


def test_int8_is_another_model() -> None:
    found = [fingerprints_of_model(NAME, precision, device="cpu").rows for precision in ("float32", "float16", "int8")]
    assert len(set(found)) == 3


def test_a_model_without_int8_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"placeholder has no int8: .* use precision float32"):
        prepare("placeholder", precision="int8", device="cpu", cache_dir=tmp_path)


def test_int8_on_a_gpu_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="int8 runs on a CPU only"):
        prepare("placeholder", precision="int8", device="gpu", cache_dir=tmp_path)


@pytest.mark.slow
def test_regions_need_float32(bundle: ModelBundle) -> None:
    with pytest.raises(ModelError, match="prepared in int8, which has no feature map; use precision float32"):
        add_feature_map(bundle, NAME)


@pytest.mark.slow
def test_a_head_on_efficientnet_has_int8_too(bundle: ModelBundle, tmp_path: Path) -> None:
    mean = np.zeros(bundle.spec.embedding_size, np.float32)
    learner = build(Architecture("linear"), 2, OfFeatures(mean, 1.0, 1.0), seed=3)
    backbone = Backbone(NAME, None, fingerprint_of_key(registry.find(NAME).key))
    about = saved.SavedHead(kind="linear", labels=("a", "b"), thresholds=(0.3, 0.4), backbone=backbone)
    path = tmp_path / "head.keras"
    saved.save(finished(learner, Architecture("linear"), None), about, path)
    head, images = prepare(str(path), precision="int8", device="cpu", cache_dir=tmp_path), pictures(2)
    found = open_engine(head).infer(images)
    assert head.precision == "int8" and found.scores.shape == (2, 2)
    assert np.allclose(found.embeddings, open_engine(bundle).infer(images).embeddings, rtol=0, atol=1e-4)
