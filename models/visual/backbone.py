"""The backbone of a bundle: a head takes the embeddings of any bundle of its backbone, from any device."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Backbone:
    """A model on whose embeddings heads are trained.

    Attributes:
        model: Its name in the registry, or its path.
        weights: Its file of weights; None if it carries its own.
        fingerprint: 20 hex digits of its weights and preprocessing, independent of device and precision.
    """

    model: str
    weights: str | None
    fingerprint: str


def fingerprint_of_key(key: str) -> str:
    """Return the fingerprint for the key of a recipe."""
    return hashlib.sha256(key.encode()).hexdigest()[:20]
