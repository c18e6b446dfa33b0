"""FindRanges: finds the ranges of actions in whole videos of a catalog with a localization head, for evaluation."""

from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.utils.shared import Shared

from models.heads.ranges import Range
from models.visual.bundle import ModelBundle
from models.visual.engines.ranges import RangeEngine
from transforms.catalog.bundles import local_bundle
from transforms.catalog.reading.frames import embeddings_of
from transforms.catalog.reading.labelled_videos import LabelledVideo, labelled_rows

LEAST_SCORE = 0.01
"""Least score of a range: average precision also counts what a catalog does not keep."""


@dataclass(frozen=True)
class FoundRanges:
    """The ranges of one video."""

    uri: str
    ranges: list[Range]


class FindRanges(beam.PTransform):
    """Turns batches of `LabelledVideo`s into `FoundRanges`.

    Args:
        bundle: folder of the head's bundle, which all workers must reach.
    """

    def __init__(self, bundle: str) -> None:
        super().__init__()
        self.bundle = bundle

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Applies the transform."""
        return batches | "Read and find" >> beam.ParDo(_FindInBatch(self.bundle))


class _FindInBatch(beam.DoFn):
    def __init__(self, bundle: str) -> None:
        self._bundle = bundle
        self._engine = Shared()

    def process(self, videos: tuple[LabelledVideo, ...]) -> Iterator[FoundRanges]:
        folder = self._bundle
        engine = self._engine.acquire(lambda: RangeEngine(ModelBundle.open(local_bundle(folder))), tag=folder)
        for labelled, rows in labelled_rows(videos, ["embedding"]):
            ranges = engine.ranges(embeddings_of(rows["embedding"]), rows["time_s"].to_numpy(), LEAST_SCORE)
            yield FoundRanges(labelled.video.uri, ranges)
