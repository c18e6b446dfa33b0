"""Decodes pictures of labelled parts of videos, for training end to end, in several child processes.

The pictures are written to one file, which training maps into memory, so that they may exceed the memory.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice
from math import floor
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from models.heads.errors import HeadError
from models.heads.labels_table import Example
from models.visual.clip_spec import ClipSpec, exact_text
from models.visual.spec import Preprocessing
from transforms.decoder.pool import CHILD_TASKS, outcome, ready_forkserver
from transforms.decoder.processes import ChildPlan, ChildProcesses
from transforms.fault_points import fault_point
from transforms.storage import path_of_uri
from transforms.video.failures import VideoError
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.stills import clips_between, pictures_between

CLIPS_AHEAD = 4
"""Clips per child that are being decoded or wait to be written; bounds the memory for any number of clips."""

DEADLINE_S = 300.0
"""Seconds in which one clip must be decoded."""

SHORT_PART_S = Fraction(1)
"""Seconds in which the one clip of a part begins that is shorter than a clip."""


@dataclass(frozen=True)
class Clips:
    """Pictures of labelled examples.

    Attributes:
        pictures: uint8 [n, height, width, channels], or for a network of clips [n, frames, height, width, channels],
            mapped from a file.
        offsets: int64 [examples + 1], index of each example's first picture, and the number of pictures.
        examples: examples that gave pictures, in order.
        failed: (uri, reason code) of each example that gave no picture.
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
    clip: ClipSpec | None = None,
) -> Clips:
    """Decodes pictures, or a network's clips, spread evenly over each labelled part.

    Args:
        examples: the labelled parts.
        preprocessing: size and cropping of the pictures; normalisation is left to the network.
        frames: maximum number of pictures, or of clips, per part.
        into: the file to write.
        workers: number of child processes.
        done: called with the number of parts decoded so far.
        clip: which frames a clip holds; None for single pictures.

    Raises:
        HeadError: no part gives a picture.
        ChildCannotStart: no child process can be started.
        OSError: the file cannot be written.
    """
    lengths, kept, failed = [], [], []
    with into.open("wb") as file, _pool(workers) as pool:
        for number, (example, result) in enumerate(
            _decoded(pool, examples, (preprocessing, frames, clip), workers), start=1
        ):
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
    shape = (int(offsets[-1]), *((clip.frames,) if clip else ()), p.height, p.width, p.channels)
    pictures = np.memmap(into, np.uint8, "r", shape=shape)
    return Clips(pictures, offsets, tuple(kept), tuple(failed))


def decode_part(
    example: Example, preprocessing: Preprocessing, frames: int, clip: ClipSpec | None = None
) -> NDArray[np.uint8] | str:
    """Decodes pictures or clips spread evenly over one labelled part; runs inside a child.

    Args:
        example: the labelled part.
        preprocessing: size and cropping of the pictures.
        frames: maximum number of pictures, or of clips.
        clip: which frames a clip holds; None for single pictures.

    Returns:
        uint8 [n, height, width, channels] or [n, frames, height, width, channels], or a reason code (see `REASONS`) if
        there is no picture.
    """
    fault_point("decoder.before_clip")
    path = path_of_uri(example.uri)
    start_s = Fraction(example.start_s)
    end_s = None if example.end_s == float("inf") else Fraction(example.end_s)
    try:
        info = probe(path)
        known_end_s = info.duration_s if end_s is None else end_s
        if clip is None:
            sampling = _evenly(frames, start_s, known_end_s)
            taken = pictures_between(path, info, sampling, preprocessing, start_s, end_s)
        else:
            clip, start_s, end_s, frames = clips_inside(clip, frames, start_s, known_end_s)
            taken = clips_between(path, info, clip, preprocessing, start_s, end_s)
        pictures = list(islice(taken, frames))
    except VideoError as error:
        return error.reason
    return np.stack(pictures) if pictures else "no_frames"


def _evenly(frames: int, start_s: Fraction, end_s: Fraction | None) -> Sampling:
    """Samples `frames` frames between two times; one a second if the video's duration is unknown."""
    if end_s is None or end_s <= start_s:
        return Sampling("rate", Fraction(1))
    return Sampling("rate", Fraction(frames) / (end_s - start_s))


class ClipsInside(NamedTuple):
    """At most `clips` clips with the stride of `clip` that begin from `start_s` on and before `before_s` (seconds)."""

    clip: ClipSpec
    start_s: Fraction
    before_s: Fraction | None
    clips: int


def clips_inside(clip: ClipSpec, count: int, start_s: Fraction, end_s: Fraction | None) -> ClipsInside:
    """Spreads at most `count` clips over a part of a video so that they end in it, if it is as long as a clip.

    A shorter part gives one clip, with the part in its middle.

    Args:
        clip: which frames a clip holds, and its usual stride.
        count: number of clips.
        start_s: start of the part.
        end_s: end of the part; None if it is unknown, and the usual stride is kept.
    """
    if end_s is None or end_s <= start_s:
        return ClipsInside(clip, start_s, None, count)
    steps = floor((end_s - start_s - clip.span_s) * clip.fps)
    if steps <= 0:
        first_s = max(Fraction(0), (start_s + end_s - clip.span_s) / 2)
        # Clips begin at multiples of the stride, so a short one lets this one begin near `first_s`.
        return ClipsInside(replace(clip, stride_s=exact_text(1 / (8 * clip.fps))), first_s, first_s + SHORT_PART_S, 1)
    clips = min(count, steps)
    stride_s = (steps // clips) / clip.fps
    return ClipsInside(replace(clip, stride_s=exact_text(stride_s)), start_s, start_s + clips * stride_s, clips)


def _pool(workers: int) -> ChildProcesses:
    return ChildProcesses(workers, ChildPlan(ready_forkserver([__name__]), _start, CHILD_TASKS))


def _start() -> None:
    fault_point("decoder.before_start")
    av.logging.set_level(None)


def _decoded(
    pool: ChildProcesses,
    examples: Sequence[Example],
    wanted: tuple[Preprocessing, int, ClipSpec | None],
    workers: int,
) -> Iterator[tuple[Example, NDArray[np.uint8] | str]]:
    """Yields results in the order of the examples, and keeps a few clips in flight."""
    waiting: list[tuple[Example, Future[Any]]] = []
    for example in examples:
        future = pool.submit(decode_part, example, *wanted, deadline_s=DEADLINE_S)
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
