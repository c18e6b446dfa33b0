"""Collect: gathers small results of a job into one file, which the program that submitted the job reads."""

from collections.abc import Iterable
from typing import TypeVar

import apache_beam as beam

from transforms import storage
from transforms.decoder import wire

T = TypeVar("T")


class Collect(beam.PTransform):
    """Writes all elements (dataclasses) of a collection to one JSON file; an empty collection gives an empty list."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def expand(self, elements: beam.PCollection) -> beam.PCollection:
        """Applies the transform."""
        nothing = elements.pipeline | "One key" >> beam.Create([(0, None)])  # an empty collection gives a file too
        return (
            (elements | "To one key" >> beam.Map(lambda element: (0, element)), nothing)
            | "With one" >> beam.Flatten()
            | "Gather" >> beam.GroupByKey()
            | "Write" >> beam.MapTuple(lambda _, gathered: _write(self.path, gathered))
        )


def read_collected(path: str, kind: type[T]) -> list[T]:
    """Reads the elements that `Collect` wrote, in no particular order.

    Args:
        path: the file.
        kind: dataclass of the elements.

    Raises:
        OSError: the file is missing or cannot be read.
    """
    return wire.decode_json(storage.read_bytes(path), list[kind])  # type: ignore[valid-type]


def _write(path: str, elements: Iterable[object | None]) -> str:
    storage.write_atomically(path, wire.encode_json([element for element in elements if element is not None]))
    return path
