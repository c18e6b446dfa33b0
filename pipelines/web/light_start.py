"""What makes the start of the server short, beside importing late what the first page does not need."""

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final


@contextmanager
def without_collecting() -> Iterator[None]:
    """Looks for garbage only after the block, and never among what the block made.

    Modules, routes and tables stay until the server ends. To look through them again and again while they are made
    takes a tenth of the start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def keep_pandas_out() -> None:
    """Lets PyArrow find out that it need not know pandas' objects in this process.

    The first call of `pyarrow.array` imports pandas wherever it is installed, which takes 0.2 s of CPU. PyArrow looks
    once. Afterwards the process can import pandas as ever, and `to_pandas` works.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    sys.meta_path.insert(0, _NO_PANDAS)
    try:
        pa.array([0])  # of a list: Arrow in C++ looks for itself
    finally:
        sys.meta_path.remove(_NO_PANDAS)


class _NoPandas:
    """Finds no pandas; leaves all other modules to the finders behind it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError("not needed in this process", name=name)
        return None


_NO_PANDAS: Final = _NoPandas()
