"""The whole: decoder processes fill shared memory, and this process feeds the device from it in batches."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.visual.spec import Preprocessing
from tests.gpu.clips import Clip
from tests.gpu.decoders import Decoded, DecoderFailed, Decoders, Handed, check_count

DEPTH = 2
"""Batches that are on the device or on their way: one is computed while the next is copied."""

WARM_UP = 0.25
"""Share of the time before frames count, because batches and slots fill first, and what fills them looks like progress."""

LATEST_WARM_UP = 0.5
"""The same where decoders are too slow to fill all batches in that time; then nothing can pile up either."""


class Step(Protocol):
    """A network compiled for batches of one size on one device.

    Attributes:
        batch_size: number of pictures.
    """

    batch_size: int

    def put(self, pictures: NDArray[np.uint8]) -> Any:
        """Copies uint8 [batch_size, height, width, 3] to the device; `pictures` must not change before `wait`."""
        ...

    def start(self, on_device: Any) -> Any:
        """Begins to compute; returns without waiting where the framework can do so."""
        ...

    def wait(self, outputs: Any) -> NDArray[np.float32]:
        """Waits for what `start` returned; returns the embeddings [batch_size, D]."""
        ...


class Feeder:
    """Makes full batches of the pictures that it is given, and keeps the device busy with them.

    Attributes:
        frames: pictures whose embeddings have come back.
        batches: those that were started.
    """

    def __init__(
        self, step: Step, p: Preprocessing, keep: Callable[[NDArray[np.float32]], None] = lambda _: None
    ) -> None:
        self._step, self._keep = step, keep
        # A buffer is filled again only after the batch that was made in it has come back.
        shape = (step.batch_size, p.height, p.width, p.channels)
        self._buffers = deque(np.zeros(shape, np.uint8) for _ in range(DEPTH + 1))
        self._filled = 0
        self._in_flight: deque[tuple[Any, int]] = deque()
        self.frames = self.batches = 0

    def take(self, pictures: NDArray[np.uint8]) -> None:
        """Copies pictures uint8 [n, height, width, channels] into batches, and starts each that is full."""
        while len(pictures):
            part = pictures[: self._step.batch_size - self._filled]
            self._buffers[0][self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            pictures = pictures[len(part) :]
            if self._filled == self._step.batch_size:
                self._start()

    def finish(self) -> None:
        """Runs the last batch, which may not be full, and waits for all."""
        if self._filled:
            self._start()
        while self._in_flight:
            self._wait()

    def _start(self) -> None:
        if len(self._in_flight) == DEPTH:
            self._wait()
        self._in_flight.append((self._step.start(self._step.put(self._buffers[0])), self._filled))
        self._buffers.rotate(-1)
        self._filled = 0
        self.batches += 1

    def _wait(self) -> None:
        outputs, count = self._in_flight.popleft()
        self._keep(self._step.wait(outputs)[:count])
        self.frames += count


@dataclass(frozen=True)
class WholeRate:
    """What the whole does.

    Attributes:
        videos: how often the video was decoded and run through the network.
        frames: sampled frames of these.
        window_s: the seconds that count: after the warm-up, before the decoders were stopped.
        window_frames: frames that the device was fed with in that time.
        frames_per_s: one over the other.
        feeder_cpu_share: CPU time of the feeding process over the time from start to end; near 1 or above, it is what
            limits the rate.
    """

    videos: int
    frames: int
    window_s: float
    window_frames: int
    frames_per_s: float
    feeder_cpu_share: float


class _Run:
    """One run of the whole, and what it counts."""

    def __init__(self, decoders: Decoders, feeder: Feeder, seconds: float) -> None:
        self._decoders, self._feeder = decoders, feeder
        self.began_s = time.monotonic()
        self._seconds = seconds
        self._opened_s: float | None = None
        self._closed_s: float | None = None
        self.videos = self.frames = self.window_frames = 0

    @property
    def window_s(self) -> float:
        """Seconds in which frames counted, after the end."""
        assert self._opened_s is not None and self._closed_s is not None
        return self._closed_s - self._opened_s

    def to_the_end(self) -> None:
        while self._decoders.are_running:
            for _, message in self._decoders.messages(timeout_s=0.05):
                self._hear(message)
            self._look_at_the_clock()
        self._feeder.finish()

    def _hear(self, message: object) -> None:
        if isinstance(message, Decoded):
            self.videos += 1
            self.frames += check_count(self._decoders.clip, message).frames
        elif isinstance(message, Handed):
            self._feeder.take(self._decoders.pictures(message))
            self._decoders.free(message.slot)
            if self._opened_s is not None and self._closed_s is None:
                self.window_frames += message.count

    def _look_at_the_clock(self) -> None:
        now_s = time.monotonic()
        if self._opened_s is None:
            batches_are_full = self._feeder.batches > DEPTH
            warm_up = WARM_UP if batches_are_full else LATEST_WARM_UP
            self._opened_s = now_s if now_s - self.began_s >= warm_up * self._seconds else None
        # A batch that takes long may delay the opening.
        elif (
            self._closed_s is None and now_s >= max(self.began_s, self._opened_s - 0.5 * self._seconds) + self._seconds
        ):
            self._decoders.stop()
            self._closed_s = now_s


def measure_whole(
    clip: Clip,
    processes: int,
    preprocessing: Preprocessing,
    step: Step,
    seconds: float,
    keep: Callable[[NDArray[np.float32]], None] = lambda _: None,
) -> WholeRate:
    """Decodes and runs the network for so long, at least the whole video once in each process.

    Args:
        clip: the video.
        processes: number of decoder processes.
        preprocessing: size of the pictures.
        step: the network.
        seconds: when the decoders are stopped; each finishes the video that it is in.
        keep: is given the embeddings [n, D] of each batch, in the order in which the batches were made.

    Raises:
        DecoderFailed: a process cannot decode or died, or frames were lost on the way.
    """
    feeder = Feeder(step, preprocessing, keep)
    with Decoders(clip, processes, preprocessing, hand_over=True) as decoders:
        cpu_began_s = time.process_time()
        run = _Run(decoders, feeder, seconds)
        decoders.go()
        run.to_the_end()
    took_s, cpu_s = time.monotonic() - run.began_s, time.process_time() - cpu_began_s
    if feeder.frames != run.frames:
        raise DecoderFailed(f"{run.frames} frames were decoded and {feeder.frames} came back; the run is worthless")
    rate = run.window_frames / run.window_s
    return WholeRate(run.videos, run.frames, run.window_s, run.window_frames, rate, cpu_s / took_s)
