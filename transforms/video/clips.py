"""Pictures of labelled parts of videos, for training end to end: decoded as the nightly job decodes, several at once.

They go into one file of bytes that training maps into memory, so an archive may be larger than memory.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from models.heads.errors import HeadError
from models.heads.labels_table import Example
from models.visual.spec import Preprocessing
from transforms.catalog.schemas import path_of_uri
from transforms.video.decode import DecodeReport, sample
from transforms.video.decoder_pool import CHILD_TASKS, outcome
from transforms.video.failures import VideoError
from transforms.video.pixels import Painter
from transforms.video.probe import probe
from transforms.video.processes import ChildPlan, ChildProcesses
from transforms.video.sampling import Sampling
from transforms.video.segments import Segment, Video

CLIPS_AHEAD = 4
"""Clips a worker that are decoded or wait to be written: so much memory they take, however many there are."""

DEADLINE_S = 300.0


@dataclass(frozen=True)
class Clips:
    """Pictures of examples.

    Attributes:
        pictures: uint8 [frames, height, width, channels], mapped from a file.
        offsets: int64 [examples + 1], where each example's pictures begin and the last one's end.
        examples: what they are of.
        failed: (uri, reason) of the parts that gave no picture.
    """

    pictures: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    examples: tuple[Example, ...]
    failed: tuple[tuple[str, str], ...]


def read_clips(
    examples: Sequence[Example],
    preprocessing: Preprocessing,
    frames: int,
    into: Path,
    workers: int,
    done: Callable[[int], Any] = lambda count: None,
) -> Clips:
    """Decodes pictures spread evenly over each labelled part.

    Args:
        examples: the parts.
        preprocessing: of the pictures; its normalisation is left to the network.
        frames: pictures of each at most.
        into: the file to write.
        workers: decoder processes.
        done: is told how many parts are decoded.

    Raises:
        HeadError: none gives a picture.
    """
    lengths, kept, failed = [], [], []
    with into.open("wb") as file, _pool(workers) as pool:
        for number, (example, result) in enumerate(_decoded(pool, examples, preprocessing, frames, workers), start=1):
            if isinstance(result, str):
                failed.append((example.uri, result))
            else:
                file.write(result.tobytes())
                lengths.append(len(result))
                kept.append(example)
            done(number)
    if not kept:
        raise HeadError(f"none of {len(examples)} labelled parts gives a picture; the first: {': '.join(failed[0])}")
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    p = preprocessing
    pictures = np.memmap(into, np.uint8, "r", shape=(int(offsets[-1]), p.height, p.width, p.channels))
    return Clips(pictures, offsets, tuple(kept), tuple(failed))


def decode_part(example: Example, preprocessing: Preprocessing, frames: int) -> NDArray[np.uint8] | str:
    """Pictures uint8 [n, height, width, channels] of one part, or the reason why there are none."""
    path = path_of_uri(example.uri)
    painter = Painter(preprocessing)
    try:
        info = probe(path)
        segment, sampling = _part(example, info, frames)
        samples = sample(path, info, segment.window(sampling), DecodeReport())
        pictures = [painter.paint(one.frame, one.pixel_aspect) for one, _ in zip(samples, range(frames), strict=False)]
    except VideoError as error:
        return error.reason
    return np.stack(pictures) if pictures else "no_frames"


def _part(example: Example, info: Any, frames: int) -> tuple[Segment, Sampling]:
    start_s = Fraction(example.start_s)
    end_s = None if example.end_s == float("inf") else Fraction(example.end_s)
    until_s = end_s if end_s is not None else info.duration_s
    # Of a video whose length nobody knows, a picture a second.
    rate = Fraction(frames) / (until_s - start_s) if until_s and until_s > start_s else Fraction(1)
    return Segment(Video("", example.uri, 0, 0.0, ""), info, 0, 1, start_s, end_s, frames), Sampling("rate", rate)


def _pool(workers: int) -> ChildProcesses:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["transforms.video.clips"])
    return ChildProcesses(workers, ChildPlan(context, _start, CHILD_TASKS))


def _start() -> None:
    av.logging.set_level(None)


def _decoded(
    pool: ChildProcesses, examples: Sequence[Example], preprocessing: Preprocessing, frames: int, workers: int
) -> Iterator[tuple[Example, NDArray[np.uint8] | str]]:
    """Results in the order of the examples, with a few clips in flight."""
    waiting: list[tuple[Example, Future[Any]]] = []
    for example in examples:
        future = pool.submit(decode_part, example, preprocessing, frames, deadline_s=DEADLINE_S)
        waiting.append((example, future))
        if len(waiting) > CLIPS_AHEAD * workers:
            yield _result(*waiting.pop(0))
    for one in waiting:
        yield _result(*one)


def _result(example: Example, future: "Future[Any]") -> tuple[Example, NDArray[np.uint8] | str]:
    try:
        return example, outcome(future, "decode")
    except VideoError as error:
        return example, error.reason
