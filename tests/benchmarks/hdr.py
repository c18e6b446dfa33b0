"""What the default model makes of high dynamic range, taken for a standard picture and mapped to one.

    python -m tests.benchmarks.hdr

Stills of the real videos in ../shared/data become light, PQ or HLG of that light, and pictures again, which are compared
with the stills: cosine of embeddings, mean (least), and share of the same best label.
"""

import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from models.visual.spec import Preprocessing
from tests.benchmarks.real_stills import Judge, Tally, stills
from tests.coloured_frames import HDR, nits_of
from tests.interlaced_videos import frame_of
from transforms.video.pixels import Painter

BT709_TRANSFER = 1


def brighter_lights(still: np.ndarray) -> np.ndarray:
    """Light of a still whose upper half of the range reaches up to 1,000 nits, as graded material does."""
    nits = nits_of(still)
    brightest = nits.max(axis=-1, keepdims=True) / 203
    return nits * (1 + (1000 / 203 - 1) * np.clip(2 * brightest - 1, 0, 1) ** 2)


LIGHTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "white at 100 nits": lambda still: nits_of(still, 100),
    "white at 203 nits": nits_of,
    "lights up to 1,000 nits": brighter_lights,
    "white at 1,000 nits": lambda still: nits_of(still, 1000),
}


def main() -> None:
    """Prints the table."""
    judge, painter = Judge(), Painter(Preprocessing())
    results: dict[tuple[str, str], dict[str, Tally]] = defaultdict(lambda: defaultdict(Tally))
    cpu_s: dict[str, float] = defaultdict(float)
    count = 0
    for still in (whole[: whole.shape[0] // 2 * 2, : whole.shape[1] // 2 * 2] for whole in stills()):
        wanted = painter.paint(frame_of(still, "rgb24"))
        for light, nits in LIGHTS.items():
            for name in ("PQ", "HLG"):
                frame = HDR[f"{name}, 4:2:0"](nits(still))
                transfer = frame.color_trc
                for way, taken_for in (("taken for standard", BT709_TRANSFER), ("mapped", transfer)):
                    frame.color_trc = taken_for
                    began = time.process_time()
                    picture = painter.paint(frame)
                    cpu_s[way] += time.process_time() - began
                    results[name, way][light].add(judge.cosine(picture, wanted))
        count += 1
    table = Table("", "", *LIGHTS, "CPU ms a frame", title=f"{count} pictures")
    for (name, way), tallies in results.items():
        cpu_msec = cpu_s[way] / count / len(LIGHTS) / 2 * 1000
        table.add_row(name, way, *(str(tallies[light]) for light in LIGHTS), f"{cpu_msec:.1f}")
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
