"""GatherFeatures: gathers the frame embeddings of labelled videos into one file that can be memory-mapped."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from numpy.typing import NDArray

from models.heads.feature_set import FeatureSet, label_names
from models.heads.labels_table import Example
from transforms import storage
from transforms.catalog.reading.frames import embeddings_of
from transforms.catalog.reading.labelled_videos import LabelledVideo, frames_of, labelled_rows


class GatherFeatures(beam.PTransform):
    """Turns (number, batch of `LabelledVideo`s) into (number, number of frames of each example).

    It writes the frames' embeddings to ``part-<number>.npy`` and their times to ``times-<number>.npy``. A retry writes
    the same files.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Applies the transform."""
        return batches | "Read and write" >> beam.ParDo(_GatherBatch(self.folder))


class _GatherBatch(beam.DoFn):
    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._frames = Metrics.counter("train", "frames_gathered")

    def process(self, batch: tuple[int, tuple[LabelledVideo, ...]]) -> Iterator[tuple[int, list[int]]]:
        number, videos = batch
        parts, times_s = [], []
        for labelled, rows in labelled_rows(videos, ["embedding"]):
            embeddings, all_times_s = embeddings_of(rows["embedding"]), rows["time_s"].to_numpy()
            for example in labelled.examples:
                inside = frames_of(example, all_times_s)
                parts.append(embeddings[inside])
                times_s.append(all_times_s[inside])
        with storage.atomic_writer(part_path(self._folder, number), kind="features") as file:
            np.save(file, np.concatenate(parts))
        with storage.atomic_writer(times_path(self._folder, number), kind="features") as file:
            np.save(file, np.concatenate(times_s))
        lengths = [len(part) for part in parts]
        with storage.atomic_writer(lengths_path(self._folder, number), kind="features") as file:
            file.write(json.dumps(lengths).encode())
        self._frames.inc(sum(lengths))
        yield number, lengths


def part_path(folder: str, number: int) -> str:
    """Returns the path of a batch's embeddings."""
    return storage.join(folder, f"part-{number:05d}.npy")


def times_path(folder: str, number: int) -> str:
    """Returns the path of the times of a batch's frames."""
    return storage.join(folder, f"times-{number:05d}.npy")


def lengths_path(folder: str, number: int) -> str:
    """Returns the path of the file with the number of frames of each example of a batch."""
    return storage.join(folder, f"part-{number:05d}.json")


def gathered(folder: str, batches: list[tuple[LabelledVideo, ...]], into: Path) -> FeatureSet:
    """Joins the files that the transform wrote into one feature set.

    Args:
        folder: folder of the files; may be on an object store.
        batches: the batches that the transform was given, in order of their numbers.
        into: local file from which the embeddings are memory-mapped, float32 [frames, D]; it is overwritten.

    Raises:
        OSError: a file cannot be read or written.
    """
    examples: list[Example] = [e for batch in batches for video in batch for e in video.examples]
    lengths: list[int] = []
    size = 0
    with into.open("wb") as whole:
        for number in range(len(batches)):
            lengths += json.loads(storage.read_bytes(lengths_path(folder, number)))
            with storage.open_read(part_path(folder, number)) as file:
                part: Any = np.load(file)
            size = part.shape[1]
            whole.write(np.ascontiguousarray(part, np.float32).tobytes())
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    embeddings = np.memmap(into, np.float32, "r", shape=(int(offsets[-1]), size))
    several = any(len(example.labels) > 1 for example in examples)
    return FeatureSet(embeddings, offsets, tuple(examples), label_names(examples), several)


def gathered_times(folder: str, batches: int) -> NDArray[np.float64]:
    """Returns the time of each frame of `gathered`, in seconds after its video's first, float64 [frames].

    Args:
        folder: folder of the files.
        batches: number of batches that the transform was given.

    Raises:
        OSError: a file cannot be read.
    """
    parts = []
    for number in range(batches):
        with storage.open_read(times_path(folder, number)) as file:
            parts.append(np.load(file))
    return np.concatenate(parts)
