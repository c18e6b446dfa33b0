"""Puts the embedding of a picture into an address, so that a search with a picture can be kept and sent.

Nothing is stored on the server: the address holds a mark of the model, the range of the embedding's numbers, and each
number as one of 256 steps of this range. 1,280 numbers take 1,728 characters, so that the whole address stays below the
2,000 characters at which some programs cut addresses. The numbers are those before the archive's centre is subtracted,
so an address stays right when the index is built again.
"""

import binascii
import hashlib
from base64 import b64decode, urlsafe_b64encode
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.retrieval.errors import RetrievalError
from models.visual.features import usable

MOST_PICTURE_CHARACTERS: Final = 16_000
"""Characters of a picture in an address, at most: 12,000 numbers, more than any model here gives."""

_MODEL_BYTES: Final = 8
_RANGE: Final = np.dtype("<f4")
_HEAD_BYTES: Final = _MODEL_BYTES + 2 * _RANGE.itemsize
_STEPS: Final = 255


class PictureAddressError(RetrievalError):
    """An address holds no picture that this index can be searched with; one line for the person who asked."""


def to_address(embedding: NDArray[np.float32], model_fingerprint: str) -> str:
    """Writes a picture's embedding, float32 [D] and finite, as characters that need no escapes in an address."""
    low, high = embedding.min(), embedding.max()
    steps = np.rint((embedding.astype(np.float64) - low) * (_STEPS / max(float(high - low), 1e-30))).astype(np.uint8)
    data = _mark_of(model_fingerprint) + np.array([low, high], _RANGE).tobytes() + steps.tobytes()
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_address(text: str, size: int, model_fingerprint: str) -> NDArray[np.float32]:
    """Reads what `to_address` wrote.

    Args:
        text: from an address; anybody may have written it.
        size: length D of the index's embeddings.
        model_fingerprint: of the model of the index.

    Returns:
        The embedding, float32 [D]; each number is within 1/510 of the range of all of the one that was written.

    Raises:
        PictureAddressError: it is damaged, or of another model.
    """
    data = _decoded(text)
    if data[:_MODEL_BYTES] != _mark_of(model_fingerprint) and len(data) > _HEAD_BYTES:
        raise PictureAddressError("this address is of another model's picture: send it again")
    low, high = np.frombuffer(data, _RANGE, 2, _MODEL_BYTES) if len(data) == _HEAD_BYTES + size else (1, 0)
    if not usable(np.array([[low, high]])).all() or low > high:
        raise PictureAddressError("this address of a picture is damaged: send it again")
    steps = np.frombuffer(data, np.uint8, offset=_HEAD_BYTES).astype(np.float64)
    embedding: NDArray[np.float32] = (low + steps * ((float(high) - float(low)) / _STEPS)).astype(np.float32)
    return embedding


def _mark_of(model_fingerprint: str) -> bytes:
    return hashlib.sha256(model_fingerprint.encode()).digest()[:_MODEL_BYTES]


def _decoded(text: str) -> bytes:
    """Decodes base64 of an address without padding; gives nothing for what is none."""
    if not text.isascii() or len(text) > MOST_PICTURE_CHARACTERS:
        return b""
    try:
        return b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
