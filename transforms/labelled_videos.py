"""Labelled parts of a catalog's videos, and where their stored frames lie: what training and evaluation read.

Videos are read from the files that hold their frames, one at a time; nothing here holds more than one file's rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.heads.errors import HeadError, LabelsError
from models.heads.labels_table import Example, LabelRow, examples_of
from models.visual.bundle import ModelBundle
from transforms.catalog.index_source import IndexedVideo, live_videos
from transforms.catalog.runs import Catalog, CatalogError, RunConfig
from transforms.frame_rows import FrameRowsReader

BATCH_VIDEOS = 64
"""Videos that one worker reads together: neighbours in the files, so that each file is read about once."""


@dataclass(frozen=True)
class LabelledVideo:
    """A video with the labelled parts of it, in order of time."""

    video: IndexedVideo
    examples: tuple[Example, ...]


def newest_config(catalog: Catalog) -> RunConfig:
    """What decided the rows of the newest run, the one whose features are used.

    Raises:
        CatalogError: no run is committed.
    """
    newest = catalog.newest_run()
    if newest is None:
        raise CatalogError(f"no finished run in {catalog.root}: run `reelbeam classify` first")
    return newest.config


def catalog_bundle(catalog: Catalog, config: RunConfig) -> ModelBundle:
    """The model that made a run's rows.

    Raises:
        ModelError: the catalog's copy of it is missing.
    """
    return ModelBundle.open(Path(catalog.model_folder(config.model_fingerprint)))


def labelled_videos(catalog: Catalog, rows: Sequence[LabelRow]) -> list[LabelledVideo]:
    """The videos that a table of labels names, as the frames files order them.

    Raises:
        LabelsError: a video that the catalog does not have, or has no features of.
    """
    live = {video.uri: video for video in live_videos(catalog).values()}
    by_uri: dict[str, list[Example]] = {}
    for example in examples_of(rows, live):
        by_uri.setdefault(example.uri, []).append(example)
    return [LabelledVideo(video, tuple(by_uri[uri])) for uri, video in live.items() if uri in by_uri]


def batches(videos: Sequence[Any], size: int = BATCH_VIDEOS) -> Iterator[tuple[Any, ...]]:
    """Neighbours together."""
    for first in range(0, len(videos), size):
        yield tuple(videos[first : first + size])


def labelled_rows(videos: Iterable[LabelledVideo], columns: Sequence[str]) -> Iterator[tuple[LabelledVideo, pa.Table]]:
    """Every video with the rows of its frames, in order of time."""
    reader = FrameRowsReader(["time_s", *columns])
    for labelled in videos:
        yield labelled, reader.read(labelled.video)


def frames_of(example: Example, times_s: NDArray[np.float64]) -> slice:
    """Which of a video's frames a labelled part covers.

    Raises:
        HeadError: none.
    """
    first, end = np.searchsorted(times_s, [example.start_s, example.end_s])
    if first == end:
        raise HeadError(
            f"no sampled frame of {example.uri} lies from {example.start_s:g} s to {example.end_s:g} s; sample more "
            "densely or label longer parts"
        )
    return slice(int(first), int(end))


def check_some(videos: Sequence[LabelledVideo]) -> None:
    """Refuses to go on with nothing.

    Raises:
        LabelsError: no video is labelled.
    """
    if not videos:
        raise LabelsError("no labelled video has features in the catalog")
