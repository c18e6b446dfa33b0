"""Plans and outcomes as bytes: what crosses between workers and what chunk files carry."""

import zlib
from fractions import Fraction
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")

_LEVEL: Final = 1
"""Of zlib. What the segments of a chunk have in common goes: 506 bytes an outcome become 36."""


def _encode_hook(value: Any) -> str:
    if isinstance(value, Fraction):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} is not part of a plan")


def _decode_hook(kind: type, value: Any) -> Any:
    if kind is Fraction:
        return Fraction(value)
    raise NotImplementedError(f"{kind.__name__} is not part of a plan")


def encode(value: object) -> bytes:
    """Plans or outcomes as MessagePack, compressed: best whole chunks of them."""
    return zlib.compress(msgspec.msgpack.encode(value, enc_hook=_encode_hook), _LEVEL)


def decode(data: bytes, kind: type[T]) -> T:
    """What `encode` wrote, as a `kind`."""
    return msgspec.msgpack.decode(zlib.decompress(data), type=kind, dec_hook=_decode_hook)


def encode_json(value: object) -> bytes:
    """A plan or an outcome as JSON, for metadata that a person may read."""
    return msgspec.json.encode(value, enc_hook=_encode_hook)


def decode_json(data: bytes, kind: type[T]) -> T:
    """What `encode_json` wrote, as a `kind`."""
    return msgspec.json.decode(data, type=kind, dec_hook=_decode_hook)
