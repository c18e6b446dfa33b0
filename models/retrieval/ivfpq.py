"""Approximate candidates: an inverted file over product-quantised vectors, four bits a part, scanned in registers.

Jégou et al. 2011, "Product quantization for nearest neighbor search", with André et al. 2015's fast scan. The
codes only nominate; who wins is decided by exact scores from the stored vectors.
"""

from pathlib import Path
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from models.retrieval.scoring import centred_units
from models.retrieval.threads import one_thread
from models.retrieval.vectors import StoredVectors, publish, read_mapped

# FAISS's own advice is 30 to 256 training points a list; more than 40 moved recall by less than 0.001 here.
TRAINING_ROWS_PER_LIST = 40
_MAX_LISTS = 1 << 16

# Fewer rows than this train nothing worth having, and looking at all of them takes no time.
MIN_ROWS = 1024

# Numbers of a vector that share one 4-bit code; 4 is 1 bit a number, a 32nd of float32.
_NUMBERS_PER_PART = 4


class Quantiser(NamedTuple):
    """A trained, empty index, and the centre its training vectors were moved by (float32 [d]).

    The centre of the archive moves on; this one stays with the codes.
    """

    trained: faiss.Index
    centre: NDArray[np.float32]


def list_count(rows: int) -> int:
    """Number of inverted lists for so many rows: the power of two nearest 2 sqrt(rows)."""
    wanted = 2.0 * max(rows, 1) ** 0.5
    return int(min(_MAX_LISTS, 2 ** max(0, round(np.log2(wanted)))))


def training_rows(rows: int) -> int:
    """How many of so many rows a training sample should hold."""
    return min(rows, TRAINING_ROWS_PER_LIST * list_count(rows))


def train_quantiser(sample: NDArray[np.floating], rows: int, centre: NDArray[np.float32], seed: int = 1) -> Quantiser:
    """Train on `sample` [s, d] (raw embeddings) for an index of `rows` rows. Same sample and seed, same result."""
    size = sample.shape[1]
    padded = -(-size // _NUMBERS_PER_PART) * _NUMBERS_PER_PART
    lists = max(1, min(list_count(rows), len(sample) // TRAINING_ROWS_PER_LIST))
    index = faiss.index_factory(padded, f"IVF{lists},PQ{padded // _NUMBERS_PER_PART}x4fs")
    index.cp.seed = seed
    index.cp.min_points_per_centroid = 1  # small archives train on what there is, without a warning
    index.train(_prepared(centred_units(sample, centre), padded))
    return Quantiser(index, centre)


def _prepared(units: NDArray[np.float32], padded: int) -> NDArray[np.float32]:
    """Unit rows with zeros appended, so that the parts divide them; zeros change no distance."""
    missing = padded - units.shape[1]
    return np.pad(units, ((0, 0), (0, missing))) if missing else np.ascontiguousarray(units)


def save_quantiser(quantiser: Quantiser, path: Path) -> None:
    """Write the trained index to `path` and its centre beside it (`.centre.npy`)."""
    np.save(path.with_suffix(".centre.npy"), quantiser.centre)
    publish(quantiser.trained, path)


def load_quantiser(path: Path) -> Quantiser:
    """Read what `save_quantiser` wrote; IndexFormatError where it cannot be."""
    return Quantiser(read_mapped(path), np.load(path.with_suffix(".centre.npy")))


def encode_candidates(quantiser_path: Path, vectors: StoredVectors, path: Path) -> None:
    """Encode one shard's vectors with a trained quantiser into a file of its own; shards may go in parallel."""
    index = faiss.read_index(str(quantiser_path))
    centre = np.load(quantiser_path.with_suffix(".centre.npy"))
    for block in vectors.blocks():
        units = centred_units(vectors.vectors[block], centre)
        index.add_with_ids(_prepared(units, index.d), vectors.ids[block])
    publish(index, path)


class Candidates:
    """The codes of several shards under one quantiser, memory-mapped."""

    def __init__(self, quantiser_path: Path, shard_paths: list[Path]) -> None:
        self._quantiser = load_quantiser(quantiser_path).trained
        self._shards = [read_mapped(path) for path in shard_paths]
        self.lists = int(self._quantiser.nlist)

    def search(
        self, query: NDArray[np.float32], count: int, nprobe: int, selector: faiss.IDSelector | None = None
    ) -> NDArray[np.int64]:
        """Ids of about the `count` nearest rows for one unit query [d], from the `nprobe` nearest lists."""
        params = faiss.SearchParametersIVF(nprobe=min(nprobe, self.lists), sel=selector)
        padded = _prepared(query[None], self._quantiser.d)
        with one_thread():
            found = [shard.search(padded, count, params=params) for shard in self._shards if shard.ntotal]
        if not found:
            return np.empty(0, dtype=np.int64)
        distances = np.concatenate([distance[0] for distance, _ in found])
        ids = np.concatenate([ids[0] for _, ids in found])
        nearest = np.argsort(distances, kind="stable")[:count]
        return ids[nearest][ids[nearest] >= 0]
