"""How decoder children are run."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from transforms import storage
from transforms.video import bounds
from transforms.video.bounds import Bounds

CHILDREN_ON_STORES: Final = 1.25
"""Children for each core where videos are on an object store. A child waits a sixth to a fifth of its time for a store
that answers in 50 ms (`tests/benchmarks/object_store.py`); meanwhile another one uses the core."""


def children_for(archives: Iterable[str], cores: int) -> int:
    """Returns how many children keep the cores of a worker busy, if they decode videos of these archives."""
    on_stores = any(not storage.is_local(archive) for archive in archives)
    return math.ceil(cores * CHILDREN_ON_STORES) if on_stores else cores


@dataclass(frozen=True)
class DecoderSettings:
    """How the decoder children of one worker process are run; changes no row of a video that decodes.

    Attributes:
        workers: number of children.
        deadline_s: seconds that one segment may take; None to derive them from the segment's length.
        memory_bytes: limit on a child's address space (see `limit_memory`); 0 for no limit.
        bounds: bounds on what a video may claim.
    """

    workers: int
    deadline_s: float | None = None
    memory_bytes: int = 0
    bounds: Bounds = bounds.DEFAULT
