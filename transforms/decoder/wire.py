"""Encodes plans and outcomes as bytes, to send them between workers and to store them in chunk files."""

import zlib
from fractions import Fraction
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")

_LEVEL: Final = 1
"""Compression level of zlib. The outcomes of a chunk have much in common: 506 bytes per outcome become 36."""


def _encode_hook(value: Any) -> str:
    if isinstance(value, Fraction):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} is not part of a plan")


def _decode_hook(kind: type, value: Any) -> Any:
    if kind is Fraction:
        return Fraction(value)
    raise NotImplementedError(f"{kind.__name__} is not part of a plan")


def encode(value: object) -> bytes:
    """Encodes plans or outcomes as compressed MessagePack. Encode a whole chunk at once: single ones compress badly.

    Raises:
        NotImplementedError: a value has a type that is not part of a plan.
    """
    return zlib.compress(msgspec.msgpack.encode(value, enc_hook=_encode_hook), _LEVEL)


def decode(data: bytes, kind: type[T]) -> T:
    """Decodes what `encode` returned, as a value of type `kind`.

    Raises:
        zlib.error: the data are not compressed data.
        msgspec.MsgspecError: the data are not a `kind`.
    """
    return msgspec.msgpack.decode(zlib.decompress(data), type=kind, dec_hook=_decode_hook)


def encode_json(value: object) -> bytes:
    """Encodes a plan or an outcome as JSON, for metadata that people may read.

    Raises:
        NotImplementedError: a value has a type that is not part of a plan.
    """
    return msgspec.json.encode(value, enc_hook=_encode_hook)


def decode_json(data: bytes, kind: type[T]) -> T:
    """Decodes what `encode_json` returned, as a value of type `kind`.

    Raises:
        msgspec.MsgspecError: the data are not a `kind`.
    """
    return msgspec.json.decode(data, type=kind, dec_hook=_decode_hook)
