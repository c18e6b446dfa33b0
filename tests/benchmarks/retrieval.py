"""How fast the index is and how much it finds, beside FAISS used directly and exact NumPy in the same run.

    python -m tests.benchmarks.retrieval flat      100,000 x 1280, every row looked at
    python -m tests.benchmarks.retrieval ivfpq     1,000,000 x 384, approximate candidates scored exactly

Vectors are made up: clusters with noise, shifted by a part that all share, as visual embeddings are. All searches
run on one thread, one query at a time. Building happens in a process of its own, whose peak memory is reported
(memory-mapped pages count). Prints one JSON object.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import faiss
import numpy as np
from threadpoolctl import threadpool_limits

from models.retrieval.build import Source, draft
from models.retrieval.index import VectorIndex
from models.retrieval.ivfpq import list_count, training_rows
from models.retrieval.manifest import publish_manifest
from models.retrieval.rows import VideoFrames
from models.retrieval.scoring import centred_units, unit
from models.retrieval.vectors import open_vectors, write_vectors
from models.retrieval.videos import VideoIndex
from tests.retrieval_archives import finish, write_shards

TOP_K = 10
QUERIES = 100
FRAMES_PER_VIDEO = 500


def clustered(rows: int, size: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Blocks of float32 vectors around 2,000 centres, all shifted by the same vector."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((2000, size), dtype=np.float32)
    shared = 2.0 * rng.standard_normal(size, dtype=np.float32)
    for at in range(0, rows, 20_000):
        count = min(20_000, rows - at)
        noise = 0.7 * rng.standard_normal((count, size), dtype=np.float32)
        yield centres[rng.integers(0, 2000, count)] + noise + shared


def timed(name: str, search: Callable[[np.ndarray], object], queries: np.ndarray) -> dict[str, float]:
    """Median milliseconds of one query, after one that is not counted: wall time, and CPU time of its thread, which
    other processes on the machine hardly touch."""
    search(queries[0])
    wall, cpu = [], []
    for query in queries:
        start, start_cpu = time.perf_counter(), time.process_time()
        search(query)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    return {f"{name}_ms": round(1000 * median(wall), 3), f"{name}_cpu_ms": round(1000 * median(cpu), 3)}


def exact_neighbours(path: Path, rows: int, size: int, queries: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Rows of the TOP_K best by NumPy alone, int64 [queries, TOP_K]."""
    vectors = np.memmap(path, np.float32, "r", shape=(rows, size))
    scores = [queries @ centred_units(vectors[at : at + 50_000], centre).T for at in range(0, rows, 50_000)]
    return np.argsort(-np.concatenate(scores, axis=1), axis=1)[:, :TOP_K]


def recall(found: np.ndarray, truth: np.ndarray) -> float:
    return round(float(np.mean([np.isin(t, f).mean() for f, t in zip(found, truth, strict=True)])), 4)


def questions(vectors: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Unit queries near rows, as another picture of the same thing is: a row and as much noise again."""
    rng = np.random.default_rng(9)
    rows = vectors[rng.choice(len(vectors), QUERIES, replace=False)] - centre
    return unit(rows + 0.5 * rng.standard_normal(rows.shape))


def flat(folder: Path, rows: int = 100_000, size: int = 1280) -> dict[str, object]:
    """Exact search."""
    vectors = np.concatenate(list(clustered(rows, size)))
    centre = vectors.mean(axis=0)
    queries = questions(vectors, centre)
    write_vectors(folder / "shard.faiss", np.arange(rows), vectors)
    start = time.perf_counter()
    index = VectorIndex([open_vectors(folder / "shard.faiss")], [np.ones(rows, dtype=bool)], centre)
    opened_s = time.perf_counter() - start
    units = centred_units(vectors, centre)
    truth = np.argsort(-(queries @ units.T), axis=1)[:, :TOP_K]
    single = faiss.IndexFlatIP(size)
    single.add(units)
    half = faiss.IndexScalarQuantizer(size, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    half.add(units)
    return {
        "rows": rows,
        "size": size,
        "open_s": round(opened_s, 2),
        "recall@10": recall(index.search(queries, TOP_K)[1], truth),
        **timed("query", lambda query: index.search(query[None], TOP_K), queries),
        **timed("faiss_fp16_query", lambda query: half.search(query[None], TOP_K), queries),
        **timed("faiss_fp32_query", lambda query: single.search(query[None], TOP_K), queries),
        **timed("numpy_fp32_query", lambda query: np.argpartition(-(units @ query), TOP_K), queries),
    }


def ivfpq(folder: Path, rows: int = 1_000_000, size: int = 384) -> dict[str, object]:
    """Approximate search with exact scores."""
    raw = folder / "vectors.f32"
    with raw.open("wb") as file:
        for block in clustered(rows, size):
            block.tofile(file)
    built = _in_child("build", folder, rows, size)
    direct = _in_child("faiss", folder, rows, size)
    index = VideoIndex.open(folder / "index")
    vectors = np.memmap(raw, np.float32, "r", shape=(rows, size))
    queries = questions(vectors, index.frames.centre)
    truth = exact_neighbours(raw, rows, size, queries, index.frames.centre)
    row_of = np.sort(index.frames.live_ids())
    found = np.searchsorted(row_of, index.frames.search(queries, TOP_K)[1])
    start = time.perf_counter()
    VideoIndex.open(folder / "index")
    opened_s = time.perf_counter() - start
    info = index.manifest.levels["frames"]
    theirs = faiss.read_index(str(folder / "direct.faiss"))
    units = centred_units(vectors, index.frames.centre)
    rerank = _direct_search(theirs, units, info.nprobe)
    return {
        "rows": rows,
        "size": size,
        "build_s": built["seconds"],
        "build_cpu_s": built["cpu_seconds"],
        "build_peak_gb": built["peak_gb"],
        "open_s": round(opened_s, 2),
        "nprobe": info.nprobe,
        "rerank": info.rerank,
        "manifest_recall@10": info.recall_at_10,
        "recall@10": recall(found, truth),
        **timed("query", lambda query: index.frames.search(query[None], TOP_K), queries),
        **timed("video_query", lambda query: index.rank(query, TOP_K), queries),
        "faiss_build_s": direct["seconds"],
        "faiss_build_cpu_s": direct["cpu_seconds"],
        "faiss_build_peak_gb": direct["peak_gb"],
        "faiss_recall@10": recall(np.stack([rerank(query) for query in queries]), truth),
        **timed("faiss_query", rerank, queries),
        **timed("numpy_exact_query", lambda query: np.argpartition(-(units @ query), TOP_K), queries[:10]),
    }


def _direct_search(index: faiss.Index, units: np.ndarray, nprobe: int) -> Callable[[np.ndarray], np.ndarray]:
    """What one writes by hand: 200 candidates from FAISS, scored again from float32 vectors in memory."""
    params = faiss.SearchParametersIVF(nprobe=nprobe)

    def search(query: np.ndarray) -> np.ndarray:
        rows = index.search(query[None], 200, params=params)[1][0]
        rows = rows[rows >= 0]
        return rows[np.argsort(-(units[rows] @ query))[:TOP_K]]

    return search


def build(folder: Path, rows: int, size: int) -> None:
    """The whole of the project's build, from vectors in a file."""
    source = Source("made up", "0" * 64, "1 fps", 1.0, size)
    times = np.arange(FRAMES_PER_VIDEO, dtype=np.float64)
    videos = (
        VideoFrames(f"v{number:08d}", f"v{number}.mp4", None, times[: len(block)], block)
        for number, block in enumerate(_blocks(folder / "vectors.f32", size))
    )
    root = folder / "index"
    shards = write_shards(root, "bench", source, videos)
    drafted = draft(root, "bench", "2026-01-01T00:00:00Z", source, shards, kind="ivfpq")
    publish_manifest(root, finish(root, drafted, recall=0.95))


def _blocks(path: Path, size: int) -> Iterator[np.ndarray]:
    """A file's vectors in blocks that are read, not mapped, so that they do not count as memory held."""
    with path.open("rb") as file:
        while len(block := np.fromfile(file, np.float32, FRAMES_PER_VIDEO * size)):
            yield block.reshape(-1, size)


def build_directly(folder: Path, rows: int, size: int) -> None:
    """FAISS alone: all vectors in memory, the same lists and parts."""
    units = np.fromfile(folder / "vectors.f32", np.float32).reshape(rows, size)
    units -= units.mean(axis=0)
    faiss.normalize_L2(units)
    index = faiss.index_factory(size, f"IVF{list_count(rows)},PQ{size // 4}x4fs")
    sample = np.random.default_rng(0).choice(rows, training_rows(rows), replace=False)
    index.train(units[np.sort(sample)])
    index.add(units)
    faiss.write_index(index, str(folder / "direct.faiss"))


def _in_child(step: str, folder: Path, rows: int, size: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.retrieval", step, str(folder), str(rows), str(size)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _child(step: str, folder: Path, rows: int, size: int) -> None:
    start = time.perf_counter()
    {"build": build, "faiss": build_directly}[step](folder, rows, size)
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures = {"seconds": time.perf_counter() - start, "cpu_seconds": used.ru_utime + used.ru_stime}
    print(
        json.dumps(
            {**{name: round(value, 1) for name, value in figures.items()}, "peak_gb": round(used.ru_maxrss / 1e6, 2)}
        )
    )


def main() -> None:
    if sys.argv[1:2] in (["build"], ["faiss"]):
        _child(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["flat", "ivfpq"])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--folder", type=Path, help="where the files go for the time being; a disk, not memory")
    args = parser.parse_args()
    faiss.omp_set_num_threads(1)
    with threadpool_limits(1), TemporaryDirectory(dir=args.folder) as folder:
        own = {} if args.rows is None else {"rows": args.rows}
        print(json.dumps({"flat": flat, "ivfpq": ivfpq}[args.kind](Path(folder), **own), indent=1))


if __name__ == "__main__":
    main()
