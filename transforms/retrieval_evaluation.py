"""How well a catalog's search finds videos that are known to be the answers."""

from collections.abc import Mapping, Sequence

from models.retrieval.errors import RetrievalError
from models.retrieval.metrics import retrieval_figures
from transforms.search import CatalogSearch


def evaluate_retrieval(
    search: CatalogSearch, queries: Mapping[str, Sequence[str]], *, text_weight: float = 0.0
) -> dict[str, float | int]:
    """r@1, r@5, r@10, mrr, median_rank, queries and videos of queries over all videos of the index.

    Args:
        search: the open catalog.
        queries: end of a URI -> queries that should find it.
        text_weight: as of `CatalogSearch.find`.

    Raises:
        RetrievalError: no query, or an end of a URI that no video has, or that several have.
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
