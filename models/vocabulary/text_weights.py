"""Turns words into the weights of a linear classifier of embeddings, without any example.

Through a classifier, the weights of a class are the mean of the directions of its texts (`models.retrieval.words`), as
long as one of the backbone's own label weights is on average. A logit is then in the unit of the backbone's own logits.
Through a joint model they are the vector of the class's prompts times the model's own logit scale.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.cache import cache_folder
from models.retrieval.scoring import unit
from models.retrieval.words import LabelSet, WordSpace
from models.text.joint import JointTextModel, is_joint_preset
from models.text.label_texts import NAMES_IN_A_ROW, LabelText, imagenet_label_texts, label_vectors, texts_of
from models.text.registry import open_text_model
from models.text.spec import TextModel, TextModelError
from models.visual.bundle import ModelBundle
from models.visual.loaded import Classifier
from models.vocabulary.table import Vocabulary, VocabularyError, texts_of_class

SCALE = 1.2
"""Factor of a class's mixture of label logits in its own logit. `python -m tests.benchmarks.vocabulary`
fits it with `OFFSET` on the captioned clips.
"""

OFFSET = 5.9
"""Mixture of label logits, in nats above the mean label, at which a class is as likely as not; see `SCALE`."""

THRESHOLD = 0.5
"""Score from which a class counts as seen; docs/classes.md tells its precision."""

_NUMBERED = re.compile(r"class \d+")

Floats = NDArray[np.float64]


class TextWeights(NamedTuple):
    """A linear classifier that was made from words: logits = embedding @ kernel + bias.

    Attributes:
        kernel: float64 [D, L].
        bias: float64 [L].
        trust: One line that says how far its scores can be trusted.
        neutral_zero: Whether zero is near the mean embedding of all pictures, compared with how far these lie apart.
            It is for a classifier's features, not for a joint model's, which share a large common part.
    """

    kernel: Floats
    bias: Floats
    trust: str
    neutral_zero: bool = False


def text_model_of(bundle: ModelBundle) -> TextModel:
    """Return the text model for a backbone: its own text tower if it is a joint model, else the default one.

    Raises:
        TextModelError: The text model is not available.
    """
    preset = bundle.joint_preset or Path(bundle.backbone.model)
    if is_joint_preset(preset):
        return JointTextModel(preset)
    if bundle.lacks_joint_preset:
        raise TextModelError(
            f"the words of {bundle.spec.name} are read by its own text tower, which is not in {bundle.path}: "
            f"put the preset at {bundle.backbone.model} again"
        )
    return open_text_model()


def text_weights(vocabulary: Vocabulary, bundle: ModelBundle) -> TextWeights:
    """Make the classifier of a vocabulary for a model's embeddings.

    Args:
        vocabulary: The texts of the classes.
        bundle: The model, or a head on it.

    Raises:
        VocabularyError: The model's own classes are not linear in its embeddings, or have no names.
        TextModelError: The text model cannot be loaded.
    """
    model = text_model_of(bundle)
    if isinstance(model, JointTextModel):
        return _through_joint_model(vocabulary, bundle, model)
    labels, (kernel, _) = _backbone_classes(bundle)
    directions = _directions(vocabulary, model, labels, kernel)
    centred = kernel.astype(np.float64) - kernel.mean(axis=1, keepdims=True, dtype=np.float64)
    length = float(np.linalg.norm(centred, axis=0).mean())
    bias = np.full(len(vocabulary), -SCALE * OFFSET)
    return TextWeights(SCALE * length * directions.T, bias, trust_in_words(bundle), neutral_zero=True)


def _backbone_classes(bundle: ModelBundle) -> tuple[tuple[str, ...], Classifier]:
    """Return the labels and the last layer of a model, or of the backbone below a head."""
    own = bundle.classifier()
    found = bundle.backbone_classifier() if bundle.has_head else (own and (bundle.spec.labels, own))
    if found is None:
        raise VocabularyError(
            f"{bundle.backbone.model} has no classes that are linear in its embeddings, so words cannot reach them; "
            "classify with efficientnet_lite0 or a joint model"
        )
    if all(map(_NUMBERED.fullmatch, found[0])):
        raise VocabularyError(
            f"{bundle.backbone.model} has numbers for classes; name them in its .spec.json (`labels`)"
        )
    return found


def _directions(
    vocabulary: Vocabulary, model: TextModel, labels: tuple[str, ...], kernel: NDArray[np.float32]
) -> Floats:
    """Return the mean direction of each class's texts, float64 [L, D], rows of length one."""
    texts = texts_of(labels, [imagenet_label_texts()])
    # Without the concepts that a search uses: with them, precision fell from 0.80 to 0.73 (docs/classes.md).
    words = WordSpace(model, [LabelSet(label_vectors(texts, model, cache_folder() / "texts"), kernel)])
    meanings = [words.meanings(texts_of_class(text)) for text in vocabulary]
    means = [np.mean([one.direction for one in some], axis=0, dtype=np.float64) for some in meanings]
    return unit(np.stack(means)).astype(np.float64)


def _through_joint_model(vocabulary: Vocabulary, bundle: ModelBundle, model: JointTextModel) -> TextWeights:
    """Score as the joint model does: by its own sigmoid (SigLIP), or against its labels (CLIP, which has no bias).

    CLIP only tells which of several texts fits best. A class therefore competes with a text that fits as the mean of
    the model's labels does, as many times as there are labels.
    """
    scale, bias = model.logit_scale_and_bias()
    vectors = unit(np.stack([model.encode_queries(_prompts(text)).mean(axis=0) for text in vocabulary]))
    kernel = scale * vectors.T.astype(np.float64)
    if bias is None:
        labels, (of_labels, _) = _backbone_classes(bundle)
        kernel -= of_labels.mean(axis=1, keepdims=True, dtype=np.float64)
        bias = -float(np.log(len(labels)))
    return TextWeights(kernel, np.full(len(vocabulary), bias), trust_in_words(bundle))


def _prompts(text: LabelText) -> list[str]:
    """Return a class's prompts; "a photo of" is the phrase that these models were trained with most."""
    names = (text.name, *text.synonyms[:NAMES_IN_A_ROW], *text.other_names[:NAMES_IN_A_ROW])
    described = [f"a photo of {text.name}, {text.description}"] if text.description else []
    return [*(f"a photo of {name}" for name in names), *described]


_ACTIONS = "actions: not above chance, label some clips and train a temporal head"

MEASURED_BACKBONE = "efficientnet_lite0"
"""The model that `SCALE` and `OFFSET` were fitted for."""


def trust_in_words(bundle: ModelBundle) -> str:
    """Return one line that says how far scores of words can be trusted on a model's embeddings.

    The figures are those of `python -m tests.benchmarks.vocabulary`, in docs/classes.md.
    """
    if text_model_of(bundle).joint:
        return f"words through the joint model's text tower; not measured; {_ACTIONS}"
    if bundle.backbone.model != MEASURED_BACKBONE:
        return (
            f"words through the labels of {bundle.backbone.model}; measured for {MEASURED_BACKBONE} only, so scores "
            f"may be too high or too low; {_ACTIONS}"
        )
    return (
        f"words through the labels of {MEASURED_BACKBONE}; on 27 captioned clips and 48 words of things, labels from "
        f"{THRESHOLD:g} on: precision 0.80, recall 0.63; in scenes of another kind 39% of clips got a wrong one; "
        f"{_ACTIONS}"
    )
