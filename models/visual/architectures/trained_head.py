"""A classifier that this project trained, as a visual model; see `models.heads.saved`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.heads.saved import SavedHead, linear_classifier, read, scores_function, to_scores
from models.visual.architectures import user_model
from models.visual.architectures.keras_parts import take_apart
from models.visual.backbone import Backbone, fingerprint_of_key
from models.visual.errors import ModelError, first_line
from models.visual.loaded import LoadedModel, SequenceHead
from models.visual.spec import VisualSpec

BackboneOf = Callable[[str, str | None], tuple[str, Callable[[], LoadedModel]]]
"""Returns the key and the loader of a model, given its name and its weights."""


def key(path: Path) -> str:
    """Return a key of everything that decides the classifier's numbers: its bytes, or the words that it was made from.

    Raises:
        ModelError: The file is not a classifier that this project saved.
    """
    content = read(path).content
    return f"vocabulary|{content}" if content else user_model.key(path)


def load(path: Path, backbone_of: BackboneOf) -> LoadedModel:
    """Load a saved classifier as a visual model: pictures in, the backbone's embeddings and the classes' scores out.

    Args:
        path: A ``.keras`` file.
        backbone_of: Looks up a model in the registry; see `BackboneOf`.

    Raises:
        ModelError: The file cannot be loaded, or its backbone has other weights now.
    """
    about = read(path)
    model = _load_keras(path)
    if about.backbone is None:
        return _network(path, about, model)
    backbone = _load_backbone(path, about.backbone, backbone_of)
    embed, wanted = backbone.spec.embedding_size, model.inputs[0].shape[-1]
    if embed != wanted:
        raise ModelError(f"{path} takes embeddings of {wanted} numbers and {about.backbone.model} gives {embed}")
    head = SequenceHead(
        scores_function(model, about), about.reach_frames, about.backbone, backbone.spec.labels, backbone.classifier,
        about.longest_s,
    )  # fmt: skip
    spec = replace(backbone.spec, name=path.stem, labels=about.labels, **_thresholds(about))
    with_map = _with_map(backbone, head, len(about.labels)) if backbone.with_map is not None else None
    classes, make = len(about.labels), backbone.in_int8
    in_int8 = None if make is None else lambda: _on_pictures(make(), head, classes)
    function = _on_pictures(backbone.function, head, classes)
    return LoadedModel(spec, function, linear_classifier(model, about), head, with_map, in_int8)


def _thresholds(about: SavedHead) -> dict[str, Any]:
    return {"seen_threshold": VisualSpec.seen_threshold, "thresholds": about.thresholds}


def _on_pictures(
    backbone: Callable[[Any], tuple[Any, Any]], head: SequenceHead, classes: int
) -> Callable[[Any], tuple[Any, Any]]:
    def function(images: Any) -> tuple[Any, Any]:
        embedding, _ = backbone(images)
        return embedding, _scores_alone(head, embedding, classes)

    return function


def _with_map(backbone: LoadedModel, head: SequenceHead, classes: int) -> Callable[[Any], tuple[Any, Any, Any]]:
    def function(images: Any) -> tuple[Any, Any, Any]:
        assert backbone.with_map is not None
        embedding, _, feature_map = backbone.with_map(images)
        return embedding, _scores_alone(head, embedding, classes), feature_map

    return function


def _scores_alone(head: SequenceHead, embedding: Any, classes: int) -> Any:
    """Score each embedding [n, D] as if it were a whole video; scores of starts and ends are left out."""
    import tensorflow as tf

    alone = embedding[:, tf.newaxis, :]
    return head.function(alone, tf.ones_like(alone[:, :, :1]))[:, 0, :classes]


def _network(path: Path, about: SavedHead, model: Any) -> LoadedModel:
    if about.preprocessing is None:
        raise ModelError(f"{path} names neither a backbone nor the preprocessing of its pictures")
    parts = take_apart(model)
    embedding, _ = parts.model.outputs
    spec = VisualSpec(
        path.stem,
        about.preprocessing,
        int(embedding.shape[-1]),
        about.labels,
        clip=about.clip,
        **_thresholds(about),
    )

    def function(images: Any) -> tuple[Any, Any]:
        embedding, logits = parts.model(images, training=False)
        return embedding, to_scores(logits, about)

    classifier = parts.classifier
    if classifier is not None:
        classifier = (classifier[0] / about.temperature, classifier[1] / about.temperature)
    return LoadedModel(spec, function, classifier)


def _load_backbone(path: Path, wanted: Backbone, backbone_of: BackboneOf) -> LoadedModel:
    try:
        key, load_backbone = backbone_of(wanted.model, wanted.weights)
    except ModelError as error:
        raise ModelError(f"{path} needs the features of {wanted.model}: {error}") from error
    found = fingerprint_of_key(key)
    if found != wanted.fingerprint:
        raise ModelError(
            f"{path} was trained on the features of {wanted.model} {wanted.fingerprint[:12]}, and {wanted.model} here "
            f"is {found[:12]}: put back its weights and preprocessing, or train again on this one's features"
        )
    return load_backbone()


def _load_keras(path: Path) -> Any:
    import keras

    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # the reader raises many types
        raise ModelError(f"cannot load {path}: {first_line(error)}") from error
