"""Coders of the plans that workers send each other: compact, and the same on every runner.

Outcomes have no coder here. They are sent as bytes (`transforms.decoder.wire`), all of a chunk's in one element,
because CoGroupByKey pickles elements for which Beam itself has no coder.
"""

from typing import Any

import apache_beam as beam

from transforms.catalog.rows.pooling import ProbeFailure
from transforms.decoder import wire
from transforms.video.segments import Chunk


class WireCoder(beam.coders.Coder):
    """Encodes one element type with `transforms.decoder.wire`."""

    kind: type

    def encode(self, value: Any) -> bytes:
        """Returns the element as bytes."""
        return wire.encode(value)

    def decode(self, encoded: bytes) -> Any:
        """Returns the element that `encode` wrote."""
        return wire.decode(encoded, self.kind)

    def is_deterministic(self) -> bool:
        """Returns True: equal elements have equal bytes, so they may be keys."""
        return True


class _ChunkCoder(WireCoder):
    kind = Chunk


class _ProbeFailureCoder(WireCoder):
    kind = ProbeFailure


def register() -> None:
    """Tells Beam the coder of each element type; importing this module calls it."""
    for coder in (_ChunkCoder, _ProbeFailureCoder):
        beam.coders.registry.register_coder(coder.kind, coder)


register()
