"""How long a question in words takes over 100,000 frames: `python -m tests.benchmarks.words`.

The archive is made up: each video shows one ImageNet class, its frames lie around the class's weights with noise and a
part that all share, and its stored labels are that class and nine that are like it. Questions are of four words. Steps
are timed one question at a time, with the ranking without the videos' labels beside it. Then the ranking is timed on one
core and on all in turns; the least time of many is what a machine without other work takes.
"""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import faiss
import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from models.retrieval.build import Source, draft
from models.retrieval.manifest import publish_manifest
from models.retrieval.rows import VideoFrames
from models.retrieval.threads import SCANS
from models.retrieval.videos import VideoIndex
from models.text.registry import open_text_model
from models.visual.bundle import prepare
from tests.benchmarks.retrieval import TOP_K, timed
from tests.retrieval_archives import finish, write_shards
from transforms.catalog.runs import Catalog
from transforms.retrieval.search import CatalogSearch, Query

REPEATS = 8
FRAMES = 100_000
FRAMES_PER_VIDEO = 20
SIZE = 1280
LABELS = pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))
THINGS = (
    "dog",
    "piano",
    "red car",
    "birthday cake",
    "old church",
    "sailing boat",
    "baby",
    "helicopter",
    "onion",
    "cook",
)
PLACES = ("at the beach", "in the street", "on a table", "in the snow", "under a tree")


def main() -> None:
    """Prints one JSON object: medians in milliseconds."""
    faiss.omp_set_num_threads(1)
    with threadpool_limits(1), TemporaryDirectory() as folder:
        search = _open(Path(folder))
        texts = [f"{thing} {place}" for thing in THINGS for place in PLACES]
        queries = search.many_words(texts)
        places = np.arange(len(texts))
        rank = search.index.rank
        figures = {
            "frames": search.index.frames.rows,
            "videos": len(search.index.table),
            **timed("read_words", lambda n: search.words(texts[n]), places),
            **timed("rank", lambda n: rank(queries[n].direction, TOP_K, None, search._added(queries[n])), places),
            **timed("rank_without_labels", lambda n: rank(queries[n].direction, TOP_K), places),
            **timed("find", lambda n: search.find(queries[n], top_k=TOP_K), places),
            **timed("words_and_find", lambda n: search.find(search.words(texts[n]), top_k=TOP_K), places),
            **_by_cores(search, queries),
        }
    print(json.dumps(figures, indent=1))


def _by_cores(search: CatalogSearch, queries: Sequence[Query]) -> dict[str, float]:
    """Milliseconds of the ranking on one core and on all: least and median wall time, median CPU time."""
    times: dict[int, list[tuple[float, float]]] = {1: [], SCANS.cores: []}
    for query in REPEATS * list(queries):
        for cores, taken in times.items():
            SCANS.cores = cores
            began = time.perf_counter(), time.process_time()
            search.index.rank(query.direction, TOP_K, None, search._added(query))
            taken.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    figures = {}
    for cores, taken in times.items():
        wall, cpu = ([1000 * one for one in column] for column in zip(*taken, strict=True))
        name = f"rank_on_{cores}_cores"
        figures |= {f"{name}_least_ms": min(wall), f"{name}_ms": median(wall), f"{name}_cpu_ms": median(cpu)}
    return {name: round(value, 2) for name, value in figures.items()}


def _open(folder: Path) -> CatalogSearch:
    bundle = prepare("efficientnet_lite0")
    source = Source(bundle.spec.name, bundle.fingerprint, "1fps", 1.0, SIZE)
    classifier = bundle.classifier()
    assert classifier is not None
    videos = _videos(bundle.spec.labels, classifier[0].T)
    shards = write_shards(folder, "bench", source, videos, columns=pa.schema([("labels", LABELS)]))
    drafted = draft(folder, "bench", "2026-01-01T00:00:00Z", source, shards)
    publish_manifest(folder, finish(folder, drafted))
    return CatalogSearch(Catalog(str(folder)), VideoIndex.open(folder), bundle, open_text_model())


def _videos(labels: tuple[str, ...], weights: np.ndarray) -> Iterator[VideoFrames]:
    rng = np.random.default_rng(0)
    centred = weights - weights.mean(axis=0)
    units = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    alike = np.argsort(-(units @ units.T), axis=1)[:, :10]
    shared = 2 * rng.random(SIZE)
    times = np.arange(FRAMES_PER_VIDEO, dtype=float)
    for number in range(FRAMES // FRAMES_PER_VIDEO):
        shown = int(rng.integers(len(labels)))
        own = units[shown] + 1.5 / SIZE**0.5 * rng.standard_normal(SIZE)
        frames = own + 1.0 / SIZE**0.5 * rng.standard_normal((FRAMES_PER_VIDEO, SIZE)) + shared
        scores = np.sort(rng.dirichlet(np.full(10, 0.5)))[::-1]
        stored = [{"label": labels[k], "score": float(p)} for k, p in zip(alike[shown], scores, strict=True)]
        name = f"v{number:05d}"
        yield VideoFrames(name, f"{name}.mp4", 20.0, times, frames.astype(np.float32), {"labels": stored})


if __name__ == "__main__":
    main()
