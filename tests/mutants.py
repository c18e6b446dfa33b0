"""Broken videos: deterministic mutants of real files, each by one way in which files get broken or are made to break."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tests import videos

HEADER_BYTES = 4096
SEED = 20261124

Mutation = Callable[[np.random.Generator, bytearray, bytes], bytes]


def flip_header(rng: np.random.Generator, data: bytearray, other: bytes) -> bytes:
    """A few bits of the header turned over."""
    return _flip(rng, data, 0, min(len(data), HEADER_BYTES), int(rng.integers(1, 17)))


def flip_body(rng: np.random.Generator, data: bytearray, other: bytes) -> bytes:
    """One bit in about two thousand bytes turned over."""
    return _flip(rng, data, 0, len(data), max(1, len(data) // 2000))


def _flip(rng: np.random.Generator, data: bytearray, first: int, after: int, count: int) -> bytes:
    for at in rng.integers(first, after, count):
        data[at] ^= 1 << int(rng.integers(8))
    return bytes(data)


def truncate(rng: np.random.Generator, data: bytearray, other: bytes) -> bytes:
    """The end is missing."""
    return bytes(data[: int(rng.integers(1, len(data)))])


def behead(rng: np.random.Generator, data: bytearray, other: bytes) -> bytes:
    """The beginning is missing."""
    return bytes(data[int(rng.integers(1, len(data))) :])


def zero_block(rng: np.random.Generator, data: bytearray, other: bytes) -> bytes:
    """A block of zeros, as after a lost disk sector."""
    first, size = _block(rng, data)
    data[first : first + size] = bytes(size)
    return bytes(data)


def swap_blocks(rng: np.random.Generator, data: bytearray, other: bytes) -> bytes:
    """Two blocks have changed places."""
    size = max(1, min(len(data) // 4, int(rng.integers(16, 4096))))
    a, b = sorted(int(at) for at in rng.integers(0, max(1, len(data) - size), 2))
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]
    return bytes(data)


def splice(rng: np.random.Generator, data: bytearray, other: bytes) -> bytes:
    """The beginning of one file and the end of another."""
    return bytes(data[: int(rng.integers(1, len(data)))]) + other[int(rng.integers(0, len(other))) :]


def blow_up(rng: np.random.Generator, data: bytearray, other: bytes) -> bytes:
    """Some numbers of the header are as large as they can be."""
    largest = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\xff\xff\xff\xff\xff\xff\xff")
    for at in rng.integers(0, min(len(data), HEADER_BYTES), int(rng.integers(1, 5))):
        value = largest[int(rng.integers(len(largest)))]
        data[int(at) : int(at) + len(value)] = value
    return bytes(data)


def inflate_tail(rng: np.random.Generator, data: bytearray, other: bytes) -> bytes:
    """The same, where indexes often are: near the end."""
    first = max(0, len(data) - HEADER_BYTES)
    return bytes(data[:first]) + blow_up(rng, data[first:], other)


def keep(rng: np.random.Generator, data: bytearray, other: bytes) -> bytes:
    """Nothing but the name is wrong."""
    return bytes(data)


MUTATIONS: tuple[Mutation, ...] = (
    flip_header, flip_body, truncate, behead, zero_block, swap_blocks, splice, blow_up, inflate_tail, keep,
)  # fmt: skip
WRONG_SUFFIXES = (".mp4", ".avi", ".mkv", ".ts", ".gif", ".flv", ".webm", ".mxf", ".h264", ".mpg", ".wmv", ".rm")


def _block(rng: np.random.Generator, data: bytearray) -> tuple[int, int]:
    first = int(rng.integers(0, len(data)))
    return first, min(len(data) - first, int(rng.integers(16, 16384)))


def mutant(number: int, sources: Sequence[Path]) -> tuple[str, bytes]:
    """Mutant `number` of some files: its file name, which tells how it came about, and its contents."""
    rng = np.random.default_rng([SEED, number])
    source = sources[number % len(sources)]
    mutate = MUTATIONS[number // len(sources) % len(MUTATIONS)]
    other = sources[int(rng.integers(len(sources)))].read_bytes()
    whole = bytearray(source.read_bytes())
    content = mutate(rng, whole, other or b"\0") if whole else b""
    suffix = source.suffix
    if mutate is keep or rng.random() < 0.1:
        suffix = WRONG_SUFFIXES[int(rng.integers(len(WRONG_SUFFIXES)))]
    return f"{number:05}-{mutate.__name__}-{source.stem[:40]}{suffix}", content


def write_mutants(folder: Path, sources: Sequence[Path], numbers: Sequence[int]) -> Iterator[Path]:
    """Writes some mutants into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        name, content = mutant(number, sources)
        path = folder / name
        path.write_bytes(content)
        yield path


def generated_sources(folder: Path, seconds: float = 2.0) -> list[Path]:
    """Small clips of many containers and codecs."""
    folder.mkdir(parents=True, exist_ok=True)
    return [videos.make(folder, name, seconds) for name in sorted(videos.RECIPES)]
