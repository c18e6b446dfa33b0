"""What parts of a query do together: unwanted words, and a picture beside words.

    python -m tests.benchmarks.combined_queries --catalog CATALOG --queries ../shared/data/captioned/msvd/captions.json

The catalog holds the captioned clips and has an index. A seeded draw of captions is asked with and without a caption of
another clip that is not wanted. Then a moment of one clip and a caption of another are asked together: both clips should
come first.
"""

import argparse
import json
from pathlib import Path
from random import Random

import numpy as np

from transforms.retrieval import search as searching
from transforms.retrieval.search import CatalogSearch, Query

CAPTIONS = 200


class Captions:
    """Some captions with the URIs of their clips."""

    def __init__(self, search: CatalogSearch, queries: dict[str, list[str]], seed: int = 0) -> None:
        uris = search.index.table["uri"].to_pylist()
        own = {name: next(uri for uri in uris if uri.endswith(name)) for name in queries}
        every = [(own[name], text) for name, texts in queries.items() for text in texts]
        self.rng = Random(seed)
        self.rng.shuffle(every)
        asked = search.many_words([text for _, text in every[:CAPTIONS]])
        self.pairs = [(uri, query) for (uri, _), query in zip(every, asked, strict=False)]

    def of_another(self, uri: str) -> tuple[str, Query]:
        return self.rng.choice([pair for pair in self.pairs if pair[0] != uri])

    def of(self, uri: str) -> Query | None:
        found = [query for owner, query in self.pairs if owner == uri]
        return self.rng.choice(found) if found else None


def measure_unwanted(search: CatalogSearch, captions: Captions, weight: float) -> list[float]:
    """Returns the figures of a row of the table in docs/retrieval.md."""
    searching.UNWANTED_WEIGHT = weight
    kept, moved, righted, stayed = [], [], [], []
    for uri, query in captions.pairs:
        ranking = search.ranking(query)
        other, unwanted = captions.of_another(uri)
        without = search.ranking(search.combined([query], [unwanted]))
        kept.append(without[0] == uri)
        moved.append(without.index(other) - ranking.index(other))
        wrong = captions.of(ranking[0]) if ranking[0] != uri else None
        if wrong is not None:
            without = search.ranking(search.combined([query], [wrong]))
            righted.append(without[0] == uri)
            stayed.append(without[0] == ranking[0])
    return [float(np.mean(values)) for values in (kept, moved, righted, stayed)]


def measure_pictures(search: CatalogSearch, captions: Captions, by_spread: bool) -> list[float]:
    """Returns how often the clip of the picture and the clip of the words are among the first two, three and five."""
    ranks = []
    for uri, query in captions.pairs:
        other, _ = captions.of_another(uri)
        parts = [search.moment(other, 2.0), query]
        direction = np.mean([one.direction for one in parts], axis=0)
        both = search.combined(parts) if by_spread else Query(direction / np.float32(np.linalg.norm(direction)))
        ranking = search.ranking(both)
        ranks.append(max(ranking.index(uri), ranking.index(other)))
    return [float(np.mean(np.array(ranks) < first)) for first in (2, 3, 5)]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalog", required=True)
    parser.add_argument("--queries", type=Path, required=True)
    chosen = parser.parse_args()
    search = CatalogSearch.open(chosen.catalog)
    queries = json.loads(chosen.queries.read_text(encoding="utf-8"))
    print("weight  right first  unwanted lower by  wrong first: righted  wrong stays first")
    for weight in (0.0, 0.25, 0.5, 0.75, 1.0):
        kept, moved, righted, stayed = measure_unwanted(search, Captions(search, queries), weight)
        print(f"{weight:6}  {kept:11.3f}  {moved:17.1f}  {righted:20.2f}  {stayed:17.2f}")
    print("picture and words: both among the first 2, 3, 5")
    for name, by_spread in (("by spread", True), ("as they are", False)):
        print(
            f"{name:12} "
            + "  ".join(f"{share:.3f}" for share in measure_pictures(search, Captions(search, queries), by_spread))
        )


if __name__ == "__main__":
    main()
