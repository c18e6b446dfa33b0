"""Collect: small results of a job, gathered into one file for the program that submitted it."""

from collections.abc import Iterable
from typing import TypeVar

import apache_beam as beam

from transforms.catalog import storage
from transforms.video import wire

T = TypeVar("T")


class Collect(beam.PTransform):
    """Writes all elements (dataclasses) of a collection to one JSON file."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def expand(self, elements: beam.PCollection) -> beam.PCollection:
        """Applies the transform."""
        return (
            elements
            | "To one key" >> beam.Map(lambda element: (0, element))
            | "Gather" >> beam.GroupByKey()
            | "Write" >> beam.MapTuple(lambda _, gathered: _write(self.path, gathered))
        )


def read_collected(path: str, kind: type[T]) -> list[T]:
    """What `Collect` wrote."""
    return wire.decode_json(storage.read_bytes(path), list[kind])  # type: ignore[valid-type]


def _write(path: str, elements: Iterable[object]) -> str:
    storage.write_atomically(path, wire.encode_json(list(elements)))
    return path
