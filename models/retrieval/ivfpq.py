"""Approximate search: an inverted file over product-quantised vectors with 4-bit codes, scanned in registers.

Jégou et al. 2011, "Product quantization for nearest neighbor search", with the fast scan of André et al. 2015. The
codes only select candidates; exact scores from the stored vectors decide the order.
"""

from pathlib import Path
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from models.atomic_file import atomic_path
from models.retrieval.scoring import centred_units
from models.retrieval.threads import one_thread
from models.retrieval.vectors import StoredVectors, publish, read_mapped

# FAISS recommends 30 to 256 training points a list; here more than 40 changed recall by less than 0.001.
TRAINING_ROWS_PER_LIST = 40
_MAX_LISTS = 1 << 16

# A quantiser trained on fewer rows than this is poor, and scoring all of them takes no time.
MIN_ROWS = 1024

# Consecutive numbers of a vector that share one 4-bit code: 1 bit a number, 1/32 of float32.
_NUMBERS_PER_PART = 4


class Quantiser(NamedTuple):
    """A trained, empty index.

    Attributes:
        trained: The FAISS index.
        centre: float32 [D], subtracted from the training vectors. It stays with the codes when the archive's centre
            moves.
    """

    trained: faiss.Index
    centre: NDArray[np.float32]


def list_count(rows: int) -> int:
    """Return the number of inverted lists for this many rows: the power of two nearest to 2 sqrt(rows)."""
    wanted = 2.0 * max(rows, 1) ** 0.5
    return int(min(_MAX_LISTS, 2 ** max(0, round(np.log2(wanted)))))


def training_rows(rows: int) -> int:
    """Return the size of the training sample for this many rows."""
    return min(rows, TRAINING_ROWS_PER_LIST * list_count(rows))


def train_quantiser(sample: NDArray[np.floating], rows: int, centre: NDArray[np.float32], seed: int = 1) -> Quantiser:
    """Train a quantiser; the same sample and seed give the same result.

    Args:
        sample: Raw embeddings [s, D].
        rows: Number of rows that the index will hold.
        centre: float32 [D].
        seed: Of the clustering.
    """
    size = sample.shape[1]
    padded = -(-size // _NUMBERS_PER_PART) * _NUMBERS_PER_PART
    lists = max(1, min(list_count(rows), len(sample) // TRAINING_ROWS_PER_LIST))
    index = faiss.index_factory(padded, f"IVF{lists},PQ{padded // _NUMBERS_PER_PART}x4fs")
    index.cp.seed = seed
    index.cp.min_points_per_centroid = 1  # small archives train on what there is, without a warning
    index.train(_prepared(centred_units(sample, centre), padded))
    return Quantiser(index, centre)


def _prepared(units: NDArray[np.float32], padded: int) -> NDArray[np.float32]:
    """Append zeros to unit rows, so that the parts divide them; zeros change no distance."""
    missing = padded - units.shape[1]
    return np.pad(units, ((0, 0), (0, missing))) if missing else np.ascontiguousarray(units)


def centre_file(quantiser: Path) -> Path:
    """Return the path of the centre that belongs to a quantiser's file."""
    return quantiser.with_suffix(".centre.npy")


def save_quantiser(quantiser: Quantiser, path: Path) -> None:
    """Write the trained index to `path`, and its centre beside it (`.centre.npy`)."""
    with atomic_path(centre_file(path)) as part:
        np.save(part, quantiser.centre)
    publish(quantiser.trained, path)


def load_quantiser(path: Path) -> Quantiser:
    """Read what `save_quantiser` wrote.

    Raises:
        IndexFormatError: The index is missing or damaged.
    """
    return Quantiser(read_mapped(path), np.load(centre_file(path)))


def encode_candidates(quantiser_path: Path, vectors: StoredVectors, path: Path) -> None:
    """Encode the vectors of one shard with a trained quantiser into a file; shards may be encoded in parallel."""
    index = faiss.read_index(str(quantiser_path))
    centre = np.load(centre_file(quantiser_path))
    for block in vectors.blocks():
        units = centred_units(vectors.vectors[block], centre)
        index.add_with_ids(_prepared(units, index.d), vectors.ids[block])
    publish(index, path)


class Candidates:
    """The codes of several shards under one quantiser, memory-mapped.

    Attributes:
        lists: Number of inverted lists.
    """

    def __init__(self, quantiser_path: Path, shard_paths: list[Path]) -> None:
        """Open the files.

        Raises:
            IndexFormatError: One is missing or damaged.
        """
        self._quantiser = load_quantiser(quantiser_path).trained
        self._shards = [read_mapped(path) for path in shard_paths]
        self.lists = int(self._quantiser.nlist)

    def search(
        self, query: NDArray[np.float32], count: int, nprobe: int, selector: faiss.IDSelector | None = None
    ) -> NDArray[np.int64]:
        """Return the ids of about the `count` nearest rows for one unit query [D], from the `nprobe` nearest lists."""
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
