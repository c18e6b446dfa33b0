"""Reads a legacy (not zipped) PyTorch state dict without PyTorch, and without running code that it contains.

The file is a magic number, a protocol version and system information (three pickles), the state dict (a pickle whose
tensors refer to storages by key), the keys of the storages (a pickle), then each storage: its length as int64 and its
numbers, all little-endian. This layout was found by reading such files. The unpickler builds only plain containers and
the names listed below.
"""

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.visual.errors import ModelError, first_line

MAGIC: Final = 0x1950A86A20F9469CFC6C
PROTOCOL: Final = 1001
_STORAGES: Final[dict[str, np.dtype[Any]]] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype[Any]


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, stride, *_: _Tensor(storage, offset, tuple(shape), tuple(stride))
        if module == "torch" and name in _STORAGES:
            return name
        raise ModelError(f"the weights file refers to {module}.{name}, which no state dict needs; it was not loaded")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key = pid[:3]
        if kind != "storage" or storage_type not in _STORAGES:
            raise ModelError(f"the weights file holds a {storage_type}, which is not supported")
        return _Storage(str(key), _STORAGES[storage_type])


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """Read the named arrays of a legacy state dict.

    Raises:
        ModelError: The file is not one, is truncated, or refers to anything but tensors.
    """
    try:
        with path.open("rb") as file:
            if _load(file) != MAGIC or _load(file) != PROTOCOL:
                raise ModelError(f"{path} is not a legacy PyTorch state dict")
            _load(file)
            tensors = _load(file)
            types = {t.storage.key: t.storage.dtype for t in tensors.values()}
            storages = {str(key): _read_storage(file, types[str(key)]) for key in _load(file)}
            return {name: _view(tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}
    except ModelError:
        raise
    except Exception as error:  # a pickle of arbitrary bytes raises many types
        raise ModelError(f"cannot read the weights in {path}: {first_line(error)}") from error


def _load(file: BinaryIO) -> Any:
    return _Unpickler(file).load()


def _read_storage(file: BinaryIO, dtype: np.dtype[Any]) -> NDArray[Any]:
    size_bytes = int.from_bytes(file.read(8), "little") * dtype.itemsize
    if size_bytes > os.fstat(file.fileno()).st_size - file.tell():
        raise EOFError("a storage is cut short")
    return np.frombuffer(file.read(size_bytes), dtype)


def _view(tensor: _Tensor, storage: NDArray[Any]) -> NDArray[Any]:
    last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride, strict=True))
    if min(tensor.offset, *tensor.shape, *tensor.stride, 0) < 0 or last >= len(storage):
        raise ValueError("a tensor reaches beyond its storage")
    strides = tuple(step * storage.itemsize for step in tensor.stride)
    return np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides, writeable=False).copy()
