"""Coders for the plans that cross between workers: compact, and the same on every runner.

Outcomes cross as the bytes of `transforms.video.wire`, a chunk's at once: what has no coder of Beam's own is pickled by
CoGroupByKey.
"""

from typing import Any

import apache_beam as beam

from transforms.video import wire
from transforms.video.pooling import ProbeFailure
from transforms.video.segments import Chunk, Video


class WireCoder(beam.coders.Coder):
    """Encodes one element type with `transforms.video.wire`."""

    kind: type

    def encode(self, value: Any) -> bytes:
        """The element as bytes."""
        return wire.encode(value)

    def decode(self, encoded: bytes) -> Any:
        """The element that `encode` wrote."""
        return wire.decode(encoded, self.kind)

    def is_deterministic(self) -> bool:
        """Equal elements have equal bytes."""
        return True


class _VideoCoder(WireCoder):
    kind = Video


class _ChunkCoder(WireCoder):
    kind = Chunk


class _ProbeFailureCoder(WireCoder):
    kind = ProbeFailure


def register() -> None:
    """Tells Beam the coder of each element type; importing this module does it."""
    for coder in (_VideoCoder, _ChunkCoder, _ProbeFailureCoder):
        beam.coders.registry.register_coder(coder.kind, coder)


register()
