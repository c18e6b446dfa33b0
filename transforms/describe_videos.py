"""DescribeVideos: writes a description and a dialogue for each video (`transforms.dialogue.describing`)."""

from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam
import msgspec
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from models.retrieval.errors import NoIndexError
from transforms import storage
from transforms.catalog.dialogues import part_path
from transforms.catalog.runs import Catalog
from transforms.dialogue.describing import dialogue_about
from transforms.dialogue.evidence import Evidence
from transforms.dialogue.questions import Language
from transforms.retrieval.search import CatalogSearch


@dataclass(frozen=True)
class DescribeSettings:
    """What all workers share.

    Attributes:
        root: the catalog's folder.
        run_id: the snapshot that they write.
        language: of the dialogues.
        model: whose rows, as of `Catalog`.
    """

    root: str
    run_id: str
    language: Language
    model: str | None = None


@dataclass(frozen=True)
class Part:
    """Videos of one file, by their URIs, in the file's order."""

    number: int
    uris: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """A file that was written: its number, and how many videos and turns it holds."""

    number: int
    videos: int
    turns: int


class DescribeVideos(beam.PTransform):
    """Turns `Part` elements into files, and gives `Written` elements."""

    def __init__(self, settings: DescribeSettings) -> None:
        super().__init__()
        self.settings = settings

    def expand(self, parts: beam.PCollection) -> beam.PCollection:
        """Applies the transform."""
        return parts | "Describe" >> beam.ParDo(_Describe(self.settings))


def _no_search() -> CatalogSearch:
    """Stands in for the index: the dialogues are made of the rows of tables alone, so they need none."""
    raise NoIndexError("dialogues are made without the index")


class _Describe(beam.DoFn):
    def __init__(self, settings: DescribeSettings) -> None:
        self._settings = settings
        self._shared = Shared()
        self._turns = Metrics.counter("describe", "turns")

    def setup(self) -> None:
        self._catalog = Catalog(self._settings.root, self._settings.model)
        self._evidence: Evidence = self._shared.acquire(lambda: Evidence(self._catalog, _no_search))

    def process(self, part: Part) -> Iterator[Written]:
        dialogues = [dialogue_about(self._evidence, uri, self._settings.language) for uri in part.uris]
        lines = b"".join(msgspec.json.encode(one) + b"\n" for one in dialogues)
        storage.write_atomically(part_path(self._catalog, self._settings.run_id, part.number), lines)
        turns = sum(len(one["turns"]) for one in dialogues)
        self._turns.inc(turns)
        yield Written(part.number, len(dialogues), turns)
