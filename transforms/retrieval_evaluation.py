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
        RetrievalError: an URI that no video ends in, or that several do.
    """
    uris = search.index.table["uri"].to_pylist()
    ranks = []
    for suffix, texts in queries.items():
        target = _one(uris, suffix)
        for text in texts:
            hits = search.find(search.words(text), top_k=len(uris), text_weight=text_weight)
            ranks.append(1 + [hit.uri for hit in hits].index(target))
    return retrieval_figures(ranks, len(uris)).to_json()


def _one(uris: Sequence[str], suffix: str) -> str:
    found = [uri for uri in uris if uri == suffix or uri.endswith(suffix)]
    exact = [uri for uri in found if uri == suffix or uri.endswith("/" + suffix.lstrip("/"))]
    if len(exact or found) != 1:
        raise RetrievalError(f"{len(found)} videos of the index end in {suffix!r}; queries need exactly one")
    return (exact or found)[0]
