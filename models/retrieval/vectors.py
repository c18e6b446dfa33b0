"""The file of one shard's vectors: float16 with their ids, memory-mapped.

A file is in FAISS's own format (`IndexIDMap` over a float16 `IndexScalarQuantizer`), so any FAISS can search it.
Vectors are stored raw, as the visual model returned them: an archive's centre moves every night, and a shard that is
written once must serve every centre (see `models.retrieval.index`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from models.atomic_file import atomic_path
from models.retrieval.errors import IndexFormatError, RetrievalError
from models.visual.features import usable

# float16 is converted to float32 in blocks of this many numbers (64 MiB).
_BLOCK_NUMBERS = 1 << 24


class StoredVectors(NamedTuple):
    """The rows of one shard, ascending by id.

    Attributes:
        ids: int64 [n].
        vectors: float16 [n, D], a read-only view of the memory-mapped file.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float16]

    @property
    def embedding_size(self) -> int:
        """Length D of a vector."""
        return int(self.vectors.shape[1])

    def rows_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each id, int64 [len(ids)]; -1 if the shard does not have it."""
        if not len(self.ids):
            return np.full(len(ids), -1, dtype=np.int64)
        row = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[row] == ids, row, -1)

    def blocks(self) -> Iterator[slice]:
        """Yield slices that cover the rows, each small enough to be converted to float32."""
        step = block_rows(self.embedding_size)
        return (slice(at, min(at + step, len(self.ids))) for at in range(0, len(self.ids), step))


def block_rows(embedding_size: int) -> int:
    """Return the number of rows in a block, whose float32 copy takes at most 64 MiB."""
    return max(1, _BLOCK_NUMBERS // embedding_size)


def write_vectors(path: Path, ids: NDArray[np.int64], vectors: NDArray[np.floating]) -> None:
    """Write vectors to a file, atomically.

    Args:
        path: The file to write or replace.
        ids: int64 [n], strictly ascending.
        vectors: float [n, D].

    Raises:
        RetrievalError: The ids do not ascend, or a number is not finite or beyond the range of float16 (65,504).
    """
    if len(ids) != len(vectors) or (np.diff(ids) <= 0).any():
        raise RetrievalError(f"{path.name}: ids must ascend, none twice, one for each of {len(vectors)} vectors")
    index = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    mapped = faiss.IndexIDMap(index)
    step = block_rows(vectors.shape[1])
    for at in range(0, len(ids), step):
        block = vectors[at : at + step]
        if not usable(block).all():
            raise RetrievalError(f"{path.name}: an embedding is not finite or beyond the range of float16 (65,504)")
        # FAISS rounds to float16 differently from NumPy, but keeps numbers that are float16 already.
        halves = block.astype(np.float16)
        mapped.add_with_ids(halves.astype(np.float32), ids[at : at + step])
    publish(mapped, path)


def publish(index: faiss.Index, path: Path) -> None:
    """Write a FAISS index to a file, atomically."""
    with atomic_path(path) as part:
        faiss.write_index(index, str(part))


def read_mapped(path: Path) -> faiss.Index:
    """Open a FAISS index with its large arrays memory-mapped.

    Raises:
        IndexFormatError: The file is missing or damaged.
    """
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise IndexFormatError(f"{path} is missing or damaged; build the index again") from error


def open_vectors(path: Path) -> StoredVectors:
    """Open what `write_vectors` wrote.

    Raises:
        IndexFormatError: The file is missing, damaged or something else.
    """
    mapped = read_mapped(path)
    inner = faiss.downcast_index(mapped.index) if isinstance(mapped, faiss.IndexIDMap) else None
    if not isinstance(inner, faiss.IndexScalarQuantizer):
        raise IndexFormatError(f"{path} does not hold float16 vectors; build the index again")
    count, size = mapped.ntotal, inner.d
    ids = faiss.vector_to_array(mapped.id_map)
    if not count:
        return StoredVectors(ids, np.empty((0, size), dtype=np.float16))
    codes = faiss.rev_swig_ptr(inner.codes.data(), count * size * 2)
    return StoredVectors(ids, np.asarray(_Mapped(mapped, codes.ctypes.data, (count, size))))


class _Mapped:
    """A read-only view of a FAISS index's memory for NumPy; arrays made from it keep the index alive."""

    def __init__(self, owner: faiss.Index, address: int, shape: tuple[int, int]) -> None:
        self.owner = owner
        self.__array_interface__ = {"version": 3, "typestr": "<f2", "shape": shape, "data": (address, True)}
