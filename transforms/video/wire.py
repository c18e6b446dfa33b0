"""Plans and outcomes as bytes: what crosses between workers and what chunk files carry."""

from fractions import Fraction
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


def _encode_hook(value: Any) -> str:
    if isinstance(value, Fraction):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} is not part of a plan")


def _decode_hook(kind: type, value: Any) -> Any:
    if kind is Fraction:
        return Fraction(value)
    raise NotImplementedError(f"{kind.__name__} is not part of a plan")


def encode(value: object) -> bytes:
    """A plan or an outcome as MessagePack."""
    return msgspec.msgpack.encode(value, enc_hook=_encode_hook)


def decode(data: bytes, kind: type[T]) -> T:
    """What `encode` wrote, as a `kind`."""
    return msgspec.msgpack.decode(data, type=kind, dec_hook=_decode_hook)


def encode_json(value: object) -> bytes:
    """A plan or an outcome as JSON, for metadata that a person may read."""
    return msgspec.json.encode(value, enc_hook=_encode_hook)


def decode_json(data: bytes, kind: type[T]) -> T:
    """What `encode_json` wrote, as a `kind`."""
    return msgspec.json.decode(data, type=kind, dec_hook=_decode_hook)
