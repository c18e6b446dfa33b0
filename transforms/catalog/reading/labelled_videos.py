"""Finds the labelled parts of a catalog's videos and reads their stored frames, for training and evaluation.

Frames are read one video at a time; no more than one file's rows are in memory.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.heads.errors import HeadError, LabelsError
from models.heads.labels_table import Example, LabelRow, WholeVideo, examples_of, parse_labels, whole_videos
from models.visual.bundle import ModelBundle
from transforms import storage
from transforms.catalog.bundles import local_bundle
from transforms.catalog.index.source import IndexedVideo, LiveVideos
from transforms.catalog.reading.frames import FrameReader
from transforms.catalog.records import RunConfig
from transforms.catalog.runs import Catalog, CatalogError

BATCH_VIDEOS = 64
"""Videos that one worker reads together; they are neighbours in the files, so each file is read about once."""


@dataclass(frozen=True)
class LabelledVideo:
    """A video with its labelled parts, in order of time."""

    video: IndexedVideo
    examples: tuple[Example, ...]


def read_table(path: str) -> bytes:
    """Reads the bytes of a table that a person gives, from any file system.

    Raises:
        LabelsError: the table cannot be read.
    """
    try:
        return storage.read_bytes(path)
    except OSError as error:
        raise LabelsError(f"cannot read {path}: {error.strerror}") from error


def read_labels(path: str) -> list[LabelRow]:
    """Reads the rows of a table of labels from any file system.

    Raises:
        LabelsError: the table cannot be read, or a column or a value is missing or invalid.
    """
    return parse_labels(read_table(path), path)


def newest_config(catalog: Catalog) -> RunConfig:
    """Returns the configuration of the newest run that readers see, whose features are used.

    Raises:
        CatalogError: no run is committed, or none of the catalog's model.
    """
    runs = catalog.runs_to_read(catalog.runs())
    if not runs:
        raise CatalogError(f"no finished run in {catalog.root}: run `reelbeam classify` first")
    return runs[-1].config


def catalog_bundle(catalog: Catalog, config: RunConfig) -> ModelBundle:
    """Returns the model that made a run's rows.

    Raises:
        ModelError: the catalog's copy of it is missing.
        StorageError: it cannot be read.
    """
    return ModelBundle.open(local_bundle(catalog.model_folder(config.model_fingerprint)))


def labelled_videos(catalog: Catalog, rows: Sequence[LabelRow]) -> list[LabelledVideo]:
    """Returns the videos that a table of labels names, in the order of the frames files.

    Raises:
        LabelsError: the catalog does not have a video, or has no features of it.
    """
    by_uri: dict[str, list[Example]] = {}
    with LiveVideos(catalog) as live:
        for example in examples_of(rows, live.uris()):
            by_uri.setdefault(example.uri, []).append(example)
        return [LabelledVideo(video, tuple(by_uri[video.uri])) for video in live.having("uri", by_uri)]


def videos_with_ranges(catalog: Catalog, rows: Sequence[LabelRow]) -> list[tuple[LabelledVideo, WholeVideo]]:
    """Returns the videos that a table of labels names, each as one example with its ranges, as `labelled_videos` does.

    Raises:
        LabelsError: the catalog does not have a video, or has no features of it.
    """
    with LiveVideos(catalog) as live:
        by_uri = {whole.example.uri: whole for whole in whole_videos(rows, live.uris())}
        wholes = [(video, by_uri[video.uri]) for video in live.having("uri", by_uri)]
    return [(LabelledVideo(video, (whole.example,)), whole) for video, whole in wholes]


def batches(videos: Sequence[Any], size: int = BATCH_VIDEOS) -> Iterator[tuple[Any, ...]]:
    """Yields batches of neighbouring videos."""
    for first in range(0, len(videos), size):
        yield tuple(videos[first : first + size])


def labelled_rows(videos: Iterable[LabelledVideo], columns: Sequence[str]) -> Iterator[tuple[LabelledVideo, pa.Table]]:
    """Yields every video with the rows of its frames, in order of time."""
    reader = FrameReader(["time_s", *columns])
    for labelled in videos:
        yield labelled, reader.usable_rows(labelled.video.rows)


def frames_of(example: Example, times_s: NDArray[np.float64]) -> slice:
    """Returns which of a video's frames a labelled part covers.

    Raises:
        HeadError: it covers none.
    """
    first, end = np.searchsorted(times_s, [example.start_s, example.end_s])
    if first == end:
        raise HeadError(
            f"no sampled frame of {example.uri} lies from {example.start_s:g} s to {example.end_s:g} s; sample more "
            "densely or label longer parts"
        )
    return slice(int(first), int(end))


def check_some(videos: Sequence[LabelledVideo]) -> None:
    """Checks that there is a labelled video.

    Raises:
        LabelsError: no video is labelled.
    """
    if not videos:
        raise LabelsError("no labelled video has features in the catalog")
