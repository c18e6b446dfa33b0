"""The vectors of one shard: half precision, ids in the same file, memory-mapped.

A file is FAISS's own (`IndexIDMap` over a half precision `IndexScalarQuantizer`), so any FAISS can search it as
it is. Vectors are kept raw, as the visual model gave them: the centre of an archive moves every night, and a
shard that is written once must serve every centre (`models.retrieval.index` says how).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from models.retrieval.errors import IndexFormatError, RetrievalError

_HALF_MAX = float(np.finfo(np.float16).max)

# Half precision is turned into float32 in blocks of this many numbers (64 MiB), whatever the shard's size.
_BLOCK_NUMBERS = 1 << 24


class StoredVectors(NamedTuple):
    """One shard's rows, ascending by id.

    `ids` is int64 [n]; `vectors` is float16 [n, d], a read-only view of the memory-mapped file.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float16]

    @property
    def embedding_size(self) -> int:
        """Length of a vector."""
        return int(self.vectors.shape[1])

    def rows_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row of each id, int64 [len(ids)]; -1 where the shard does not hold it."""
        if not len(self.ids):
            return np.full(len(ids), -1, dtype=np.int64)
        row = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[row] == ids, row, -1)

    def blocks(self) -> Iterator[slice]:
        """Slices that cover the rows, each small enough to be turned into float32."""
        step = block_rows(self.embedding_size)
        return (slice(at, min(at + step, len(self.ids))) for at in range(0, len(self.ids), step))


def block_rows(embedding_size: int) -> int:
    """How many rows make a block whose float32 copy stays small (64 MiB)."""
    return max(1, _BLOCK_NUMBERS // embedding_size)


def write_vectors(path: Path, ids: NDArray[np.int64], vectors: NDArray[np.floating]) -> None:
    """Write `vectors` [n, d] under `ids` [n] (ascending, none twice), in place of what `path` held.

    The file appears whole or not at all. Raises RetrievalError where ids do not ascend or a number is not finite
    or beyond half precision's range (65,504).
    """
    if len(ids) != len(vectors) or (np.diff(ids) <= 0).any():
        raise RetrievalError(f"{path.name}: ids must ascend, none twice, one for each of {len(vectors)} vectors")
    index = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    mapped = faiss.IndexIDMap(index)
    step = block_rows(vectors.shape[1])
    for at in range(0, len(ids), step):
        block = vectors[at : at + step]
        if not (np.abs(block) <= _HALF_MAX).all():  # also false for NaN
            raise RetrievalError(f"{path.name}: an embedding is not finite or beyond half precision's 65,504")
        # FAISS rounds some halves the other way; numbers that are halves already it keeps as they are.
        halves = block.astype(np.float16)
        mapped.add_with_ids(halves.astype(np.float32), ids[at : at + step])
    publish(mapped, path)


def publish(index: faiss.Index, path: Path) -> None:
    """Write a FAISS index to a file beside `path`, then rename it: readers see the old file or the new one."""
    part = path.with_name(path.name + ".part")
    faiss.write_index(index, str(part))
    part.replace(path)


def read_mapped(path: Path) -> faiss.Index:
    """A FAISS index with its large arrays memory-mapped; IndexFormatError where the file is absent or broken."""
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise IndexFormatError(f"{path} is missing or damaged; build the index again with --rebuild") from error


def open_vectors(path: Path) -> StoredVectors:
    """Open what `write_vectors` wrote. Raises IndexFormatError where it is something else."""
    mapped = read_mapped(path)
    inner = faiss.downcast_index(mapped.index) if isinstance(mapped, faiss.IndexIDMap) else None
    if not isinstance(inner, faiss.IndexScalarQuantizer):
        raise IndexFormatError(f"{path} holds no half precision vectors; build the index again with --rebuild")
    count, size = mapped.ntotal, inner.d
    ids = faiss.vector_to_array(mapped.id_map)
    if not count:
        return StoredVectors(ids, np.empty((0, size), dtype=np.float16))
    codes = faiss.rev_swig_ptr(inner.codes.data(), count * size * 2)
    return StoredVectors(ids, np.asarray(_Mapped(mapped, codes.ctypes.data, (count, size))))


class _Mapped:
    """Memory of a FAISS index as NumPy sees it: an array made from it keeps the index alive, and cannot be written."""

    def __init__(self, owner: faiss.Index, address: int, shape: tuple[int, int]) -> None:
        self.owner = owner
        self.__array_interface__ = {"version": 3, "typestr": "<f2", "shape": shape, "data": (address, True)}
