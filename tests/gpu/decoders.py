"""Processes that decode one video again and again, and hand the pictures over in shared memory.

Each process owns a few slots of one block of shared memory. It fills a slot, names it to the parent, and waits for a
free one: so the pictures that wait are bounded, and a process is never ahead of the model by more than its slots.
"""

import contextlib
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.shared_memory import SharedMemory
from types import TracebackType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import ReelbeamError
from models.visual.spec import Preprocessing
from tests.gpu.clips import Clip, pictures
from transforms.video.failures import VideoError
from transforms.video.probe import probe

GROUP = 8
"""Pictures in a slot: one message for each picture would keep the parent busy at 20,000 pictures a second."""

SLOTS = 2
"""Of each process: it fills one while the other is emptied."""

GO, STOP = -2, -1
"""Words of the parent; all others are slots that are free again."""


class DecoderFailed(ReelbeamError):
    """A decoder process ended before it was told to."""


class Ready(NamedTuple):
    """The process has read the video's headers and waits for the start."""


class Handed(NamedTuple):
    """A slot holds `count` pictures."""

    slot: int
    count: int


class Decoded(NamedTuple):
    """The video was decoded once more: `frames` pictures, after so many seconds of wall and CPU time since the start."""

    frames: int
    since_start_s: float
    cpu_s: float


class Failed(NamedTuple):
    """The video cannot be decoded."""

    message: str


Message = Ready | Handed | Decoded | Failed


@dataclass(frozen=True)
class Memory:
    """Where a process puts its pictures: the name of the block, all its slots, and the first of its own."""

    name: str
    slots: int
    first: int


def slots_of(memory: SharedMemory, slots: int, p: Preprocessing) -> NDArray[np.uint8]:
    """A block as uint8 [slots, GROUP, height, width, channels]."""
    return np.ndarray((slots, GROUP, p.height, p.width, p.channels), np.uint8, memory.buf)


def _decode_until_stopped(parent: Connection, path: str, p: Preprocessing, memory: Memory | None) -> None:
    """Runs in the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    try:
        info = probe(path)
        parent.send(Ready())
        parent.recv()
        sink = _Sink(parent) if memory is None else _SharedSink(parent, p, memory)
        with contextlib.closing(sink):
            began_s, cpu_began_s = time.monotonic(), time.process_time()
            while not sink.is_stopped():
                frames = 0
                for picture in pictures(path, info, p):
                    sink.take(picture)
                    frames += 1
                sink.flush()
                parent.send(Decoded(frames, time.monotonic() - began_s, time.process_time() - cpu_began_s))
    except (ReelbeamError, VideoError) as error:
        parent.send(Failed(str(error)))
    except (EOFError, BrokenPipeError):
        return  # the parent has died


class _Sink:
    """Drops the pictures."""

    def __init__(self, parent: Connection) -> None:
        self._parent = parent
        self._stopped = False

    def is_stopped(self) -> bool:
        while self._parent.poll():
            self._hear(self._parent.recv())
        return self._stopped

    def take(self, picture: NDArray[np.uint8]) -> None:
        """Takes one picture uint8 [height, width, channels]."""

    def flush(self) -> None:
        """Hands over what is left at the end of a video."""

    def close(self) -> None:
        """Lets go of the memory."""

    def _hear(self, word: int) -> None:
        self._stopped = self._stopped or word == STOP


class _SharedSink(_Sink):
    """Puts the pictures into the process's slots."""

    def __init__(self, parent: Connection, p: Preprocessing, memory: Memory) -> None:
        super().__init__(parent)
        self._block = SharedMemory(memory.name)
        self._slots = slots_of(self._block, memory.slots, p)
        self._free = deque(range(memory.first, memory.first + SLOTS))
        self._count = 0

    def take(self, picture: NDArray[np.uint8]) -> None:
        while not self._free:
            self._hear(self._parent.recv())
        self._slots[self._free[0], self._count] = picture
        self._count += 1
        if self._count == GROUP:
            self.flush()

    def flush(self) -> None:
        if self._count:
            self._parent.send(Handed(self._free.popleft(), self._count))
            self._count = 0

    def close(self) -> None:
        del self._slots
        self._block.close()

    def _hear(self, word: int) -> None:
        super()._hear(word)
        if word != STOP:
            self._free.append(word)


class Decoders:
    """So many processes that decode one clip; a context manager that starts and ends them.

    Attributes:
        clip: the video.
        processes: their number.
    """

    def __init__(self, clip: Clip, processes: int, preprocessing: Preprocessing, *, hand_over: bool) -> None:
        self.clip, self.processes = clip, processes
        self._preprocessing, self._hand_over = preprocessing, hand_over
        self._running: dict[Connection, int] = {}
        self._children: list[multiprocessing.process.BaseProcess] = []
        self._block: SharedMemory | None = None

    def __enter__(self) -> "Decoders":
        if self._hand_over:
            p = self._preprocessing
            size_bytes = self.processes * SLOTS * GROUP * p.height * p.width * p.channels
            self._block = SharedMemory(create=True, size=size_bytes)
            self._slots = slots_of(self._block, self.processes * SLOTS, p)
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _start(self) -> None:
        # A fork would copy the locks of the threads of JAX.
        context = multiprocessing.get_context("spawn")
        for number in range(self.processes):
            ours, theirs = context.Pipe()
            memory = Memory(self._block.name, self.processes * SLOTS, number * SLOTS) if self._block else None
            arguments = (theirs, self.clip.path, self._preprocessing, memory)
            child = context.Process(target=_decode_until_stopped, args=arguments, daemon=True)
            child.start()
            theirs.close()
            self._children.append(child)
            self._running[ours] = number
        for connection in self._running:
            self._receive(connection)

    def _end(self) -> None:
        for child in self._children:
            child.terminate()
        for child in self._children:
            child.join()
        for connection in self._running:
            connection.close()
        self._running.clear()
        if self._block is not None:
            del self._slots
            self._block.unlink()
            with contextlib.suppress(BufferError):  # an error on its way up still refers to pictures
                self._block.close()

    @property
    def are_running(self) -> bool:
        """Whether a process has not ended yet."""
        return bool(self._running)

    def go(self) -> None:
        """Lets all processes begin at once; called once, after they are ready."""
        self._tell_all(GO)

    def stop(self) -> None:
        """Lets each process finish the video that it is in, and end."""
        self._tell_all(STOP)

    def free(self, slot: int) -> None:
        """Gives a slot back to its process, unless that has ended."""
        for connection, number in self._running.items():
            if number == slot // SLOTS:
                _tell(connection, slot)

    def pictures(self, handed: Handed) -> NDArray[np.uint8]:
        """The pictures of a slot, uint8 [n, height, width, channels]; good until it is given back."""
        return self._slots[handed.slot, : handed.count]

    def messages(self, timeout_s: float) -> Iterator[tuple[int, Message]]:
        """What the processes have said, with their numbers; waits for it at most so long.

        Raises:
            DecoderFailed: a process cannot decode, or died.
        """
        for connection in wait(list(self._running), timeout_s):
            assert isinstance(connection, Connection)
            number = self._running[connection]
            try:
                yield number, self._receive(connection)
            except (EOFError, ConnectionResetError):
                del self._running[connection]
                connection.close()
                self._children[number].join()
                if self._children[number].exitcode:
                    raise DecoderFailed(
                        f"decoder process {number} of {self.clip.path} died with exit code "
                        f"{self._children[number].exitcode}; try fewer processes"
                    ) from None

    def _receive(self, connection: Connection) -> Message:
        message: Message = connection.recv()
        if isinstance(message, Failed):
            raise DecoderFailed(f"cannot decode {self.clip.path}: {message.message}")
        return message

    def _tell_all(self, word: int) -> None:
        for connection in self._running:
            _tell(connection, word)


def _tell(connection: Connection, word: int) -> None:
    try:
        connection.send(word)
    except BrokenPipeError:
        return  # it has ended; `messages` meets the end of its pipe


@dataclass(frozen=True)
class DecodingRate:
    """What some processes decode when nothing takes their pictures.

    Attributes:
        videos: how often the video was decoded, by all of them.
        frames: sampled frames of these.
        frames_per_s: of all processes together; each is timed to the end of its own last video.
        cpu_msec_a_frame: CPU time of a sampled frame: reading, decoding, scaling and cropping.
    """

    videos: int
    frames: int
    frames_per_s: float
    cpu_msec_a_frame: float


def measure_decoding(clip: Clip, processes: int, preprocessing: Preprocessing, seconds: float) -> DecodingRate:
    """Decodes for so long, at least the whole video once in each process.

    Raises:
        DecoderFailed: a process cannot decode, or died.
    """
    done: dict[int, list[Decoded]] = {number: [] for number in range(processes)}
    with Decoders(clip, processes, preprocessing, hand_over=False) as decoders:
        decoders.go()
        deadline_s = time.monotonic() + seconds
        stopped = False
        while decoders.are_running:
            for number, message in decoders.messages(timeout_s=0.05):
                assert isinstance(message, Decoded)
                done[number].append(check_count(clip, message))
            if not stopped and time.monotonic() >= deadline_s:
                decoders.stop()
                stopped = True
    frames = {number: sum(one.frames for one in videos) for number, videos in done.items()}
    total = sum(frames.values())
    return DecodingRate(
        videos=sum(map(len, done.values())),
        frames=total,
        frames_per_s=sum(frames[number] / videos[-1].since_start_s for number, videos in done.items()),
        cpu_msec_a_frame=sum(videos[-1].cpu_s for videos in done.values()) * 1000 / total,
    )


def check_count(clip: Clip, decoded: Decoded) -> Decoded:
    """Returns `decoded`.

    Raises:
        DecoderFailed: it has not as many frames as the exact sampler gives.
    """
    if decoded.frames != clip.frames:
        raise DecoderFailed(f"{clip.path} gave {decoded.frames} frames instead of {clip.frames}; the run is worthless")
    return decoded
