"""Makes a head of a vocabulary: a saved classifier like those that `reelbeam train` writes."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from models.cache import cache_folder
from models.heads.saved import SavedHead, save
from models.visual.bundle import ModelBundle
from models.vocabulary.few_shot import FewShot
from models.vocabulary.table import NONE_OF_THESE, Vocabulary
from models.vocabulary.text_weights import (
    OFFSET,
    SCALE,
    THRESHOLD,
    TextWeights,
    text_model_of,
    text_weights,
    trust_in_words,
)

VERSION = 1
"""Increases when the same words would give other weights."""


def vocabulary_head(vocabulary: Vocabulary, bundle: ModelBundle, name: str) -> Path:
    """Return the file of a vocabulary's head; make it first if the cache does not have it.

    The same words on the same backbone give the same model on every night and every machine, whatever the archive.

    Args:
        vocabulary: The texts of the classes.
        bundle: The model whose embeddings it takes, or a head on it.
        name: Of the head, for people.

    Raises:
        VocabularyError: The model's own classes cannot express words.
        TextModelError: The text model cannot be loaded.
        HeadError: The cache cannot be written.
    """
    content = content_key(vocabulary, bundle)
    # A later release may know more about the same weights, so the cache looks the head up by that too.
    key = hashlib.sha256(f"{content}|{trust_in_words(bundle)}".encode()).hexdigest()
    path = cache_folder() / "vocabularies" / key[:20] / f"{name}.keras"
    if not path.is_file():
        words = text_weights(vocabulary, bundle)
        save(keras_model(words.kernel, words.bias), _described(vocabulary, bundle, words, content), path)
    return path


def content_key(vocabulary: Vocabulary, bundle: ModelBundle) -> str:
    """Compute the sha256, in hex, of everything that the weights depend on.

    Raises:
        TextModelError: The text model is not available.
    """
    model = text_model_of(bundle)
    fingerprint = "" if model.joint else model.fingerprint  # a joint model's towers are one backbone
    return hashlib.sha256(
        msgspec.json.encode([VERSION, SCALE, OFFSET, fingerprint, bundle.backbone.fingerprint, vocabulary])
    ).hexdigest()


def learned_head(
    vocabulary: Vocabulary, bundle: ModelBundle, learned: FewShot, sampling: str, facts: dict[str, Any]
) -> tuple[Any, SavedHead]:
    """Return the Keras model and the description of a head that was learned from words and clips.

    Args:
        vocabulary: The texts of the classes.
        bundle: The model whose embeddings it takes, or a head on it.
        learned: The classifier.
        sampling: How the clips' frames were sampled.
        facts: About the training, for people.
    """
    about = SavedHead(
        kind="vocabulary",
        labels=labels_of(vocabulary),
        multi_label=True,
        temperature=learned.temperature,
        thresholds=(THRESHOLD,) * (len(vocabulary) + 1),
        sampling=sampling,
        backbone=bundle.backbone,
        training=facts,
    )
    return keras_model(learned.kernel, learned.bias), about


def labels_of(vocabulary: Vocabulary) -> tuple[str, ...]:
    """Return the names of a head's classes: those of the vocabulary, then `NONE_OF_THESE`."""
    return (*(text.name for text in vocabulary), NONE_OF_THESE)


def keras_model(kernel: Any, bias: Any) -> Any:
    """Return a Keras model from (embeddings [n, T, D], present [n, T, 1]) to logits [n, T, L + 1].

    The last logit is that of `NONE_OF_THESE`. Its score is one minus the best score of a class, so it is best exactly
    where no class reaches one half. The product of all (1 - score) would fall with every class that the vocabulary
    gains.

    Args:
        kernel: float [D, L].
        bias: float [L].
    """
    import keras

    embeddings = keras.Input((None, len(kernel)), name="embeddings")
    present = keras.Input((None, 1), name="present")
    dense = keras.layers.Dense(len(bias), name="logits")
    logits = dense(embeddings)
    dense.set_weights([np.asarray(kernel, np.float32), np.asarray(bias, np.float32)])
    none = -keras.ops.max(logits, axis=-1, keepdims=True)
    return keras.Model([embeddings, present], keras.layers.Concatenate()([logits, none]), name="vocabulary_head")


def _described(vocabulary: Vocabulary, bundle: ModelBundle, words: TextWeights, content: str) -> SavedHead:
    return SavedHead(
        kind="vocabulary",
        labels=labels_of(vocabulary),
        multi_label=True,
        thresholds=(THRESHOLD,) * (len(vocabulary) + 1),
        backbone=bundle.backbone,
        training={"trust": words.trust},
        content=content,
    )
