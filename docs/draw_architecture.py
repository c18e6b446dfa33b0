"""Draw docs/architecture.svg: the way of the data through the nightly job, the catalog and its readers.

python docs/draw_architecture.py [FILE]
"""

import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

PICTURE = Path(__file__).resolve().parent / "architecture.svg"

DRIVER, WORKERS, CHILDREN, STORED, READER = "#dbe9f6", "#d9f0d3", "#fde0c5", "#f2f0f7", "#fff7bc"
LEGEND = {
    "driver: the process of the command": DRIVER,
    "Beam workers": WORKERS,
    "decoder children of a worker": CHILDREN,
    "stored": STORED,
    "commands that read the catalog": READER,
}
EDGE, ARROW = "#555555", "#333333"


@dataclass(frozen=True)
class Box:
    """A box by its middle.

    Attributes:
        title: printed in bold.
        lines: what happens there.
        module: where the code is, as a path in the checkout; "" for none.
        colour: who does it.
    """

    x: float
    y: float
    title: str
    lines: tuple[str, ...] = ()
    module: str = ""
    colour: str = STORED
    width: float = 2.1
    height: float = 1.62


TOP, MIDDLE, BOTTOM = 7.75, 4.85, 1.55

STEPS = [
    Box(
        1.2, TOP, "list", ("name every file of", "the archive; count", "what is ignored"), "transforms/archive", DRIVER
    ),
    Box(
        3.6,
        TOP,
        "compare",
        ("with the catalog:", "new, changed, gone,", "to be tried again"),
        "transforms/archive",
        DRIVER,
    ),
    Box(
        6.0,
        TOP,
        "PlanChunks",
        ("probe each video,", "cut it into segments,", "pack chunks"),
        "transforms/plan_chunks.py",
        WORKERS,
    ),
    Box(
        8.6,
        TOP,
        "ExtractFeatures",
        ("decode, sample,", "infer; write one", "file for a chunk"),
        "transforms/extract_features.py",
        WORKERS,
        2.5,
    ),
    Box(
        11.2, TOP, "PoolVideos", ("one row for each", "video, or one", "failure"), "transforms/pool_videos.py", WORKERS
    ),
    Box(
        13.7,
        TOP,
        "commit",
        ("check the counts,", "list all files, write", "the record last"),
        "transforms/catalog/commit.py",
        DRIVER,
        2.3,
    ),
]

ARCHIVE = Box(1.2, 6.0, "the archive", ("videos, read by range",), height=0.66)
CHILD = Box(
    7.3,
    6.0,
    "decoder child",
    ("FFmpeg and LiteRT under a deadline", "and a memory limit: transforms/decoder"),
    "",
    CHILDREN,
    3.6,
    0.86,
)

TABLES = [
    Box(3.6, MIDDLE - 0.28, "gone", ("what left", "the archive"), width=1.5, height=0.85),
    Box(8.25, MIDDLE - 0.28, "frames", ("embedding and labels", "of each sampled frame"), width=2.1, height=0.85),
    Box(10.15, MIDDLE - 0.28, "videos", ("pooled embedding,", "labels, ranges"), width=1.55, height=0.85),
    Box(11.6, MIDDLE - 0.28, "thumbnails", ("a few pictures", "of each video"), width=1.2, height=0.85),
    Box(12.85, MIDDLE - 0.28, "failures", ("stage and", "reason"), width=1.15, height=0.85),
    Box(13.95, MIDDLE - 0.28, "files", ("checksums",), width=0.9, height=0.85),
    Box(14.95, MIDDLE - 0.28, "runs", ("the commit",), width=0.95, height=0.85),
    Box(1.65, MIDDLE - 0.28, "models", ("what made", "the rows"), width=1.5, height=0.85),
    Box(6.0, MIDDLE - 0.28, "index", ("shards of vectors,", "CURRENT"), width=1.8, height=0.85),
]

READERS = [
    Box(
        1.15,
        BOTTOM,
        "serve, report",
        ("a page to search and", "to look; what a night", "did; proxies to play"),
        "pipelines/web",
        READER,
        2.1,
    ),
    Box(
        6.0,
        BOTTOM,
        "index",
        ("WriteShards, train,", "EncodeShards, measure;", "swap CURRENT last"),
        "pipelines/jobs/index.py",
        READER,
        2.3,
    ),
    Box(
        3.4,
        BOTTOM,
        "search",
        ("words, a picture or", "a video -> videos", "and time ranges"),
        "transforms/retrieval",
        READER,
        2.1,
    ),
    Box(
        8.6,
        BOTTOM,
        "train, evaluate",
        ("a head of your own", "classes from stored", "embeddings"),
        "models/heads",
        READER,
        2.1,
    ),
    Box(
        11.05,
        BOTTOM,
        "relabel",
        ("a run of its own with", "a head's labels;", "nothing is decoded"),
        "transforms/relabel_videos.py",
        READER,
        2.3,
    ),
    Box(
        13.7,
        BOTTOM,
        "status, verify",
        ("what the runs hold;", "whether every file", "is as promised"),
        "transforms/catalog",
        READER,
        2.1,
    ),
]


def draw_box(axes: Axes, box: Box, *, big: bool = True) -> None:
    """Draws a box with its title, lines and module."""
    corner = box.x - box.width / 2, box.y - box.height / 2
    style = "round,pad=0.02,rounding_size=0.08"
    axes.add_patch(
        FancyBboxPatch(corner, box.width, box.height, boxstyle=style, facecolor=box.colour, edgecolor=EDGE, linewidth=1)
    )
    top = box.y + box.height / 2
    axes.text(box.x, top - 0.2, box.title, ha="center", va="center", fontsize=10.5 if big else 9.5, fontweight="bold")
    for number, line in enumerate(box.lines):
        axes.text(box.x, top - 0.47 - 0.23 * number, line, ha="center", va="center", fontsize=8.5)
    if box.module:
        axes.text(
            box.x, box.y - box.height / 2 + 0.15, box.module, ha="center", va="center", fontsize=7, family="monospace"
        )


def draw_arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], *, label: str = "", dashed: bool = False
) -> None:
    """Draws an arrow; a dashed one is a reading."""
    look = {"arrowstyle": "-|>", "color": ARROW, "linewidth": 1.2, "linestyle": "--" if dashed else "-"}
    axes.annotate("", xy=end, xytext=start, arrowprops=look)
    if label:
        middle = (start[0] + end[0]) / 2 + 0.08, (start[1] + end[1]) / 2
        axes.text(*middle, label, fontsize=8, va="center", color=ARROW)


def draw_steps(axes: Axes) -> None:
    """Draws the nightly job from left to right."""
    axes.text(0.15, 9.05, "reelbeam classify: the nightly job", fontsize=12, fontweight="bold")
    for box in [*STEPS, ARCHIVE, CHILD]:
        draw_box(axes, box)
    draw_arrow(axes, (1.2, ARCHIVE.y + 0.35), (1.2, TOP - 0.83), dashed=True)
    draw_arrow(axes, (ARCHIVE.x + 1.07, ARCHIVE.y), (CHILD.x - 1.82, ARCHIVE.y), dashed=True)
    for left, right in pairwise(STEPS):
        draw_arrow(axes, (left.x + left.width / 2 + 0.02, TOP), (right.x - right.width / 2 - 0.02, TOP))
    for x, label in ((4.82, "todo lists"), (7.19, "chunks"), (9.98, "outcomes")):
        axes.text(x, TOP + 0.92, label, ha="center", fontsize=8, color=ARROW)
    for x in (6.0, 8.0):
        draw_arrow(axes, (x, TOP - 0.83), (x, CHILD.y + 0.46))


def draw_catalog(axes: Axes) -> None:
    """Draws the catalog's tables and what the nightly job writes into them."""
    frame = FancyBboxPatch(
        (0.7, MIDDLE - 0.85),
        14.85,
        1.5,
        boxstyle="round,pad=0.02,rounding_size=0.1",
        facecolor="#ffffff",
        edgecolor=EDGE,
    )
    axes.add_patch(frame)
    axes.text(0.85, MIDDLE + 0.42, "the catalog", fontsize=11, fontweight="bold", va="center")
    for box in TABLES:
        draw_box(axes, box, big=False)
    top = MIDDLE + 0.17
    draw_arrow(axes, (3.6, TOP - 0.83), (3.6, top))
    draw_arrow(axes, (2.85, MIDDLE + 0.67), (2.85, TOP - 0.83), dashed=True)
    axes.text(2.77, 6.62, "known\nvideos", fontsize=8, va="center", ha="right", color=ARROW)
    draw_arrow(axes, (9.3, TOP - 0.83), (8.9, top))
    draw_arrow(axes, (10.6, TOP - 0.83), (10.15, top))
    draw_arrow(axes, (11.3, TOP - 0.83), (11.6, top))
    draw_arrow(axes, (12.0, TOP - 0.83), (12.85, top))
    draw_arrow(axes, (13.75, TOP - 0.83), (13.95, top))
    draw_arrow(axes, (14.6, TOP - 0.83), (14.95, top), label="last")


def draw_readers(axes: Axes) -> None:
    """Draws the commands that read the catalog, and what they write."""
    axes.text(1.35, 2.95, "the other commands", fontsize=12, fontweight="bold")
    edge, top = MIDDLE - 0.88, BOTTOM + 0.83
    for box in READERS:
        draw_box(axes, box)
    for x in (1.15, 5.7, 8.6, 10.7, 13.7):
        draw_arrow(axes, (x, edge), (x, top), dashed=True)
    axes.text(8.5, 3.2, "the newest\ncommitted row\nof each video", fontsize=8, va="center", color=ARROW, ha="right")
    draw_arrow(axes, (6.4, top), (6.4, MIDDLE - 0.72))
    draw_arrow(axes, (5.4, MIDDLE - 0.72), (4.1, top), dashed=True)
    draw_arrow(axes, (11.4, top), (11.4, edge))


def draw_legend(axes: Axes) -> None:
    """Draws what colours and arrows mean."""
    x = 0.25
    for label, colour in LEGEND.items():
        axes.add_patch(
            FancyBboxPatch((x, 0.12), 0.25, 0.2, boxstyle="round,pad=0.02", facecolor=colour, edgecolor=EDGE)
        )
        axes.text(x + 0.38, 0.22, label, fontsize=8, va="center")
        x += 0.85 + 0.088 * len(label)
    axes.text(x, 0.22, "solid: hands on or writes   dashed: reads", fontsize=8, va="center")


def draw(path: Path) -> None:
    """Draws the picture into an SVG file; the same code gives the same file."""
    settings = {"svg.fonttype": "none", "svg.hashsalt": "reelbeam", "font.family": "sans-serif"}
    with matplotlib.rc_context(settings):
        figure, axes = pyplot.subplots(figsize=(15.7, 9.4))
        axes.set(xlim=(0, 15.7), ylim=(0, 9.4))
        axes.axis("off")
        draw_steps(axes)
        draw_catalog(axes)
        draw_readers(axes)
        draw_legend(axes)
        figure.savefig(path, metadata={"Date": None}, bbox_inches="tight", facecolor="white")
        pyplot.close(figure)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE)
