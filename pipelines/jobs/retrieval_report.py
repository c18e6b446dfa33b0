"""Writes what an evaluation of a catalog's search found: a page for people, figures for machines, each query's rank."""

import csv
import io
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from pipelines.pages.retrieval import Answer, AskedQuery, render_retrieval
from transforms import storage
from transforms.catalog.reading.thumbnail_store import ThumbnailStore
from transforms.retrieval.evaluation import JudgedQuery
from transforms.retrieval.search import CatalogSearch, Hit

ANSWERS: Final = 5
"""Answers that the page shows of each query."""

PICTURE_BYTES: Final = 8 << 20
"""Bytes of pictures in a page, at most. Answers of later queries have names only."""


def write_retrieval_report(
    search: CatalogSearch,
    judged: Sequence[JudgedQuery],
    figures: dict[str, Any],
    folder: str,
    text_weight: float = 0.0,
) -> None:
    """Writes ``report.html``, ``figures.json`` and ``ranks.csv`` into a folder, on any file system.

    Args:
        search: the open catalog.
        judged: its queries, at least one.
        figures: from `transforms.retrieval.evaluation.figures_of`.
        folder: where to write.
        text_weight: as the queries were judged with.

    Raises:
        StorageError: the folder cannot be written.
        CatalogError: a file of the catalog is missing or damaged.
    """
    pictures = _Pictures(search)
    worst_first = sorted(judged, key=lambda one: -one.rank)
    queries = [_asked(one, search, pictures, text_weight) for one in worst_first]
    files = {
        "report.html": render_retrieval(figures, queries, pictures.images, search.catalog.root).encode(),
        "figures.json": msgspec.json.format(msgspec.json.encode(figures)),
        "ranks.csv": _ranks(queries).encode(),
    }
    for name, data in files.items():
        storage.write_atomically(storage.join(folder, name), data)


class _Pictures:
    """The pictures of a page, each of them once."""

    def __init__(self, search: CatalogSearch) -> None:
        self.images: list[bytes] = []
        self._bytes = 0
        self._store = ThumbnailStore(search.catalog)
        self._numbers: dict[int, int] = {}

    def of(self, hit: Hit) -> int | None:
        """Returns the number of the picture nearest to the hit's best moment; None if there is none or no room."""
        time_s = hit.ranges[0].start_s if hit.ranges else 0.0
        end_s = hit.ranges[0].end_s if hit.ranges else None
        stored = self._store.nearest(hit.video_id, time_s, end_s, however_far=True)
        if stored is None or stored.number in self._numbers:
            return None if stored is None else self._numbers[stored.number]
        image = self._store.image(hit.video_id, stored)
        if self._bytes + len(image) > PICTURE_BYTES:
            return None
        self._numbers[stored.number] = len(self.images)
        self.images.append(image)
        self._bytes += len(image)
        return self._numbers[stored.number]


def _asked(one: JudgedQuery, search: CatalogSearch, pictures: _Pictures, text_weight: float) -> AskedQuery:
    hits = search.find(one.query, top_k=ANSWERS, text_weight=text_weight)
    answers = (Answer(hit.uri, hit.uri == one.uri, pictures.of(hit)) for hit in hits)
    return AskedQuery(one.query.text or "", one.uri, one.rank, tuple(answers))


def _ranks(queries: Sequence[AskedQuery]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["query", "uri", "rank", *(f"found_{place}" for place in range(1, ANSWERS + 1))])
    for query in queries:
        writer.writerow([query.text, query.uri, query.rank, *(answer.uri for answer in query.answers)])
    return text.getvalue()
