"""Measures how well a catalog's search finds the right videos for known queries."""

from collections.abc import Mapping, Sequence

from models.retrieval.errors import RetrievalError
from models.retrieval.metrics import retrieval_figures
from transforms.retrieval.search import CatalogSearch


def evaluate_retrieval(
    search: CatalogSearch, queries: Mapping[str, Sequence[str]], *, text_weight: float = 0.0
) -> dict[str, float | int]:
    """Ranks all videos of the index for each query and measures where the right video stands.

    Args:
        search: the open catalog.
        queries: maps the end of a video's URI to the queries in words that should find that video.
        text_weight: as for `CatalogSearch.find`.

    Returns:
        ``r@1``, ``r@5`` and ``r@10`` (shares from 0 to 1), ``mrr``, ``median_rank`` (1 is the best), and the numbers of
        ``queries`` and ``videos``.

    Raises:
        RetrievalError: there is no query, or the end of a URI fits no video or several.
    """
    uris = search.index.table["uri"].to_pylist()
    asked = [(text, _one(uris, suffix)) for suffix, texts in queries.items() for text in texts]
    if not asked:
        raise RetrievalError("there is no query to measure: the file should map ends of URIs to lists of queries")
    questions = search.many_words([text for text, _ in asked])
    rankings = (search.ranking(question, text_weight=text_weight) for question in questions)
    ranks = [1 + ranking.index(target) for ranking, (_, target) in zip(rankings, asked, strict=True)]
    return retrieval_figures(ranks, len(uris)).to_json()


def _one(uris: Sequence[str], suffix: str) -> str:
    found = [uri for uri in uris if uri == suffix or uri.endswith(suffix)]
    exact = [uri for uri in found if uri == suffix or uri.endswith("/" + suffix.lstrip("/"))]
    if len(exact or found) != 1:
        raise RetrievalError(f"{len(found)} videos of the index end in {suffix!r}; queries need exactly one")
    return (exact or found)[0]
