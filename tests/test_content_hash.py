"""Hashes of a file's content: which bytes they cover, and what they cost to read."""

import hashlib
import itertools
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.object_stores import CountingProxy
from transforms.video import content_hash
from transforms.video.content_hash import BLOCK_BYTES, BLOCKS, ContentHash, block_starts, of_file

SMALL = BLOCKS * BLOCK_BYTES
"""Bytes of the largest file that is read whole."""


def make(path: Path, size_bytes: int, seed: int = 1) -> Path:
    """A file of noise."""
    import numpy as np

    path.write_bytes(np.random.default_rng(seed).integers(0, 256, size_bytes, dtype=np.uint8).tobytes())
    return path


def flipped(path: Path, at: int) -> Path:
    """Changes one byte in place."""
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    return path


@given(st.integers(0, 1 << 45))
def test_blocks_are_in_the_file_and_spread_over_it(size_bytes: int) -> None:
    starts = block_starts(size_bytes)
    assert starts == sorted(set(starts)) and len(starts) <= BLOCKS
    if size_bytes > SMALL:
        assert (starts[0], starts[-1] + BLOCK_BYTES, len(starts)) == (0, size_bytes, BLOCKS)
        gaps = [after - before for before, after in itertools.pairwise(starts)]
        assert min(gaps) >= BLOCK_BYTES and max(gaps) - min(gaps) <= 1
    else:
        assert starts == list(range(0, size_bytes, BLOCK_BYTES)), "nothing of a small file is left out"


@pytest.mark.parametrize("size_bytes", [0, 1, BLOCK_BYTES, SMALL - 1, SMALL, SMALL + 1, 3 * SMALL + 7])
@pytest.mark.parametrize("full", [False, True])
def test_hashes_are_those_of_the_bytes(tmp_path: Path, size_bytes: int, full: bool) -> None:
    path = make(tmp_path / "a", size_bytes)
    data = path.read_bytes()
    sampled = hashlib.sha256(f"{size_bytes};".encode())
    for start in block_starts(size_bytes):
        sampled.update(data[start : start + BLOCK_BYTES])
    whole = hashlib.sha256(data).hexdigest() if full or size_bytes <= SMALL else None
    found = of_file(str(path), full=full)
    assert found == ContentHash(sampled.hexdigest()[:32], whole)
    assert ContentHash.parse(str(found)) == found


@given(st.integers(SMALL + 1, 2 * SMALL), st.data())
def test_a_changed_byte_changes_the_sampled_hash_just_where_it_is_sampled(size_bytes: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, size_bytes - 1))
    inside = any(start <= at < start + BLOCK_BYTES for start in block_starts(size_bytes))
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = make(Path(folder, "a"), size_bytes)
        before = of_file(str(path), full=True)
        after = of_file(str(flipped(path, at)), full=True)
    assert (before.sampled != after.sampled) is inside
    assert before.whole != after.whole


def test_a_longer_file_with_the_same_blocks_has_another_hash(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(2 * SMALL))
    (tmp_path / "b").write_bytes(bytes(2 * SMALL + 1))
    assert of_file(str(tmp_path / "a")).sampled != of_file(str(tmp_path / "b")).sampled


@pytest.mark.parametrize("text", ["", "sampled2:" + "0" * 32, "sampled1:0", "sampled1:" + "0" * 32 + " md5:0"])
def test_a_hash_of_another_version_is_no_hash(text: str) -> None:
    assert ContentHash.parse(text) is None


def test_what_cannot_be_read_is_an_error_and_never_waited_for(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        of_file(str(tmp_path / "missing"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        of_file(str(tmp_path / "pipe"))


def test_only_the_blocks_of_a_large_file_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "a", 5 * SMALL)
    read: list[int] = []
    original = content_hash._read
    monkeypatch.setattr(
        content_hash, "_read", lambda file, count: [data := original(file, count), read.append(len(data))][0]
    )
    of_file(str(path))
    assert read == [BLOCK_BYTES] * BLOCKS


@pytest.mark.slow
def test_an_object_is_read_by_range(bucket: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    path = make(tmp_path / "a", 40 * SMALL)
    boto3.client("s3").upload_file(str(path), "archive", "a.mp4")
    with CountingProxy(server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        found = of_file(f"{bucket}/a.mp4")
        ranges = [line for line in proxy.requests if line.startswith("GET")]
    assert found == of_file(str(path))
    assert len(ranges) <= BLOCKS + 2
    assert proxy.received_bytes < 0.5 * 40 * SMALL, f"{proxy.received_bytes} of {40 * SMALL} bytes"
