"""How decoder children are run."""

from dataclasses import dataclass

from transforms.video import bounds
from transforms.video.bounds import Bounds


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
