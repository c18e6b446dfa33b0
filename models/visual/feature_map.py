"""Adds to a bundle the graph that also returns the last feature map, of which class activation maps are made.

Only nights that ask for regions need it, so that it is a file of its own. If LiteRT also makes the features, it must
give their numbers bit for bit: a night with regions has the same rows as one without. If TensorFlow makes them, on a
GPU or in bfloat16, decoder children run this graph on a CPU beside it, for the regions alone.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.atomic_file import atomic_path
from models.visual import registry
from models.visual.bundle import FEATURE_MAP, ModelBundle
from models.visual.errors import ModelError, first_line
from models.visual.export import EMBEDDING, SCORES, agree, agree_at, convert, freeze
from models.visual.loaded import LoadedModel
from models.visual.spec import Preprocessing

MAP = "feature_map_out"
"""Name of the third output."""

PICTURES = 4
"""Pictures on which the two graphs are compared."""

TOLERANCE = 1e-3
"""Largest difference of the embedding from the map's mean, relative to the largest number; 1e-6 is usual."""


def add_feature_map(bundle: ModelBundle, model: str, weights: str | None = None) -> None:
    """Add the graph with a feature map to a bundle, unless it is there. This imports TensorFlow and takes seconds.

    Args:
        bundle: The bundle of the model.
        model: As in `models.visual.bundle.prepare`.
        weights: As there.

    Raises:
        ModelError: The model has no feature map that its scores are linear in, or the graph does not run in LiteRT.
    """
    file = bundle.path / FEATURE_MAP
    if file.exists():
        return
    require_linear(bundle)
    loaded = registry.find(model, weights).load()
    if loaded.with_map is None:
        raise ModelError(
            f"{bundle.spec.name} has no class activation maps: its embedding is not the mean of its last feature map; "
            "take a model that ends in global average pooling, or a segmentation model (--regions FOLDER)"
        )
    frozen = freeze(loaded.spec, loaded.with_map, (EMBEDDING, SCORES, MAP), batch=1)
    try:
        blob = convert(frozen, bundle.precision)
    except Exception as error:  # the converter raises many types
        raise ModelError(f"{bundle.spec.name} with a feature map does not convert: {first_line(error)}") from error
    _check_outputs(bundle, loaded, blob, frozen)
    with atomic_path(file) as temporary:
        temporary.write_bytes(blob)


def require_linear(bundle: ModelBundle) -> None:
    """Check that class activation maps can be made with a bundle, as far as it tells.

    Raises:
        ModelError: They cannot.
    """
    name = bundle.spec.name
    if bundle.precision == "int8":
        raise ModelError(f"{name} was prepared in int8, which has no feature map; use precision float32")
    if bundle.reach_frames:
        raise ModelError(f"{name} scores a frame by the frames around it, so its labels have no place in one picture")
    if bundle.classifier() is None:
        raise ModelError(f"the scores of {name} are not linear in its embedding, so its labels have no activation maps")


def _check_outputs(bundle: ModelBundle, loaded: LoadedModel, blob: bytes, frozen: Any) -> None:
    """Compare the graph's features with those of the model on a few pictures, and the mean of its map with them."""
    name = bundle.spec.name
    for picture in _pictures(loaded.spec.preprocessing):
        found = _outputs(blob, picture)
        if not _same_features(bundle, found, picture, frozen):
            raise ModelError(f"{name} gives other numbers with a feature map, so it cannot make regions")
        embedding, feature_map = found[0][0], found[2][0]
        if feature_map.ndim != 3 or feature_map.shape[-1] != len(embedding):
            raise ModelError(f"the feature map of {name} has another size than its embedding")
        if not agree(feature_map.mean(axis=(0, 1)), embedding, TOLERANCE):
            raise ModelError(f"the embedding of {name} is not the mean of its last feature map")


def _same_features(
    bundle: ModelBundle, found: Sequence[NDArray[np.float32]], picture: NDArray[np.float32], frozen: Any
) -> bool:
    """Tell whether outputs are those of the bundle's LiteRT graph, to the bit, or near those of TensorFlow."""
    if bundle.engine == "litert":
        plain = (bundle.path / "model.tflite").read_bytes()
        return all(map(np.array_equal, _outputs(plain, picture), found[:2]))
    import tensorflow as tf

    with tf.device("/CPU:0"):
        wanted = frozen(tf.constant(picture))
    return all(map(agree_at, found, wanted, [bundle.precision] * len(found)))


def _pictures(p: Preprocessing) -> Sequence[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    shape = (PICTURES, 1, p.height, p.width, p.channels)
    return list(rng.integers(0, 256, shape).astype(np.float32))


def _outputs(blob: bytes, picture: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=blob, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
    interpreter.invoke()
    return [interpreter.get_tensor(output["index"]) for output in interpreter.get_output_details()]
