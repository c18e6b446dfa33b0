"""Measures how well a catalog's search finds the right videos for known queries."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from models.retrieval.errors import RetrievalError
from models.retrieval.metrics import retrieval_figures, retrieval_intervals
from transforms.retrieval.search import CatalogSearch, Query


class JudgedQuery(NamedTuple):
    """A query whose video is known.

    Attributes:
        query: the words, as `CatalogSearch.find` takes them.
        uri: of the video that should come first.
        rank: where that video stands among all, from 1.
    """

    query: Query
    uri: str
    rank: int


def judge(
    search: CatalogSearch, queries: Mapping[str, Sequence[str]], *, text_weight: float = 0.0
) -> list[JudgedQuery]:
    """Ranks all videos of the index for each query.

    Args:
        search: the open catalog.
        queries: maps the end of a video's URI to the queries in words that should find that video.
        text_weight: as for `CatalogSearch.find`.

    Raises:
        RetrievalError: there is no query, or the end of a URI fits no video or several.
    """
    uris = search.index.table["uri"].to_pylist()
    asked = [(text, _one(uris, suffix)) for suffix, texts in queries.items() for text in texts]
    if not asked:
        raise RetrievalError("there is no query to measure: the file should map ends of URIs to lists of queries")
    questions = search.many_words([text for text, _ in asked])
    rankings = (search.ranking(question, text_weight=text_weight) for question in questions)
    return [
        JudgedQuery(question, target, 1 + ranking.index(target))
        for question, ranking, (_, target) in zip(questions, rankings, asked, strict=True)
    ]


def figures_of(judged: Sequence[JudgedQuery], videos: int) -> dict[str, Any]:
    """Measures a search by its judged queries.

    Args:
        judged: the queries, at least one.
        videos: number of videos that were ranked.

    Returns:
        ``r@1``, ``r@5`` and ``r@10`` (shares from 0 to 1), ``mrr``, ``median_rank`` (1 is the best), the numbers of
        ``queries`` and ``videos``, and ``intervals``: for each metric the bounds of its 95 % interval over resampled
        videos.
    """
    ranks = [one.rank for one in judged]
    intervals = retrieval_intervals(ranks, [one.uri for one in judged])
    return {**retrieval_figures(ranks, videos).to_json(), "intervals": intervals}


def _one(uris: Sequence[str], suffix: str) -> str:
    found = [uri for uri in uris if uri == suffix or uri.endswith(suffix)]
    exact = [uri for uri in found if uri == suffix or uri.endswith("/" + suffix.lstrip("/"))]
    if len(exact or found) != 1:
        raise RetrievalError(f"{len(found)} videos of the index end in {suffix!r}; queries need exactly one")
    return (exact or found)[0]
