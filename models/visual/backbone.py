"""Whose embeddings a bundle gives: heads take those of any bundle of their backbone, on whatever device it ran."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Backbone:
    """A model whose embeddings heads are trained on.

    Attributes:
        model: name of the registry, or path, as it was asked for.
        weights: its file of weights, or None where it carries its own.
        fingerprint: 20 hex digits of its weights and preprocessing, whatever the device and precision.
    """

    model: str
    weights: str | None
    fingerprint: str


def fingerprint_of_key(key: str) -> str:
    """The fingerprint of a recipe's key."""
    return hashlib.sha256(key.encode()).hexdigest()[:20]
