"""Videos on an object store are read in blocks that a process keeps: the same bytes and frames, with few requests."""

import os
import tracemalloc
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.visual.bundle import prepare
from tests import videos
from tests.object_stores import CountingProxy
from transforms import storage
from transforms.archive.listing import find_videos
from transforms.decoder import child
from transforms.decoder.child import ChildSettings
from transforms.decoder.settings import DecoderSettings, children_for
from transforms.video import fingerprint, object_reader
from transforms.video.decode import DecodeReport, sample
from transforms.video.object_reader import BLOCK_BYTES, KEPT_BLOCKS, open_video
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import cut

SAMPLING = Sampling.parse("2fps")


@pytest.fixture
def nothing_kept() -> None:
    """This process has read nothing yet."""
    object_reader.forget()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """12 s with a keyframe a second, and its index at the end."""
    return videos.encode(tmp_path / "clip.mp4", videos.RECIPES["h264_bframes"], 12, (320, 180))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    data = os.urandom(7 * BLOCK_BYTES + 1234)
    path = tmp_path_factory.mktemp("large") / "file"
    path.write_bytes(data)
    return path, data


@given(st.lists(st.tuples(st.integers(0, 8 * BLOCK_BYTES), st.integers(0, 3 * BLOCK_BYTES)), max_size=12))
def test_any_reads_give_the_bytes_of_the_file(large: tuple[Path, bytes], reads: list[tuple[int, int]]) -> None:
    path, data = large
    with object_reader.reader_of(object_reader._Kept(), str(path), "v") as file:
        assert file.seek(0, os.SEEK_END) == len(data)
        for offset, count in reads:
            file.seek(offset)
            assert file.read(count) == data[offset : offset + count]


def test_memory_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(4 * KEPT_BLOCKS * BLOCK_BYTES)
    tracemalloc.start()
    try:
        with object_reader.reader_of(object_reader._Kept(), str(path), "v") as file:
            while file.read(1 << 20):
                pass
        assert tracemalloc.get_traced_memory()[1] < (KEPT_BLOCKS + 12) * BLOCK_BYTES
    finally:
        tracemalloc.stop()


def test_a_fork_keeps_nothing(nothing_kept: None) -> None:
    before = object_reader._kept()
    pid = os.fork()
    if not pid:
        os._exit(object_reader._kept() is before)
    assert os.waitpid(pid, 0)[1] == 0 and object_reader._kept() is before


def test_decoding_again_asks_the_store_for_nothing_it_gave(
    bucket: str, server: str, clip: Path, nothing_kept: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write_atomically(f"{bucket}/clip.mp4", clip.read_bytes())
    (video,) = find_videos([f"{bucket}/clip.mp4"])
    with CountingProxy(server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        info = probe(video.uri, Fraction(3))
        assert info == probe(str(clip), Fraction(3))
        proxy.reset()
        count = 0
        for segment in cut(video, info, SAMPLING, 3):
            window = segment.window(SAMPLING)
            with object_reader.planned(video.uri, video.fingerprint):
                frames = [(one.pts, one.frame.to_ndarray()) for one in sample(video.uri, info, window, DecodeReport())]
            local = [(one.pts, one.frame.to_ndarray()) for one in sample(str(clip), info, window, DecodeReport())]
            assert [pts for pts, _ in frames] == [pts for pts, _ in local]
            assert all((mine == other).all() for (_, mine), (_, other) in zip(frames, local, strict=True))
            count += len(frames)
        assert count == 24 and proxy.requests == []
        assert fingerprint.current(video.uri) == video.fingerprint
        assert [line.split()[0] for line in proxy.requests] == ["HEAD"]


def test_another_version_of_an_object_is_read_anew(bucket: str, nothing_kept: None) -> None:
    path = f"{bucket}/a"
    for data in (b"first", b"another"):
        storage.write_atomically(path, data)
        with open_video(path) as file:
            assert file.read() == data
    storage.delete([path])
    with pytest.raises(OSError, match="no such object"):
        open_video(path)


def test_a_block_that_could_not_be_read_is_asked_for_again(
    bucket: str, server: str, nothing_kept: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{bucket}/a"
    storage.write_atomically(path, b"bytes")
    read = object_reader._Object.read
    with open_video(path) as file:
        monkeypatch.setattr(object_reader._Object, "read", _no_answer)
        with pytest.raises(OSError, match="no answer"):
            file.read()
        monkeypatch.setattr(object_reader._Object, "read", read)
        file.seek(0)
        assert file.read() == b"bytes"


def _no_answer(one: object, block: int) -> bytes:
    raise OSError("no answer")


def test_an_object_that_was_replaced_after_it_was_planned_gives_no_frames(
    bucket: str, clip: Path, nothing_kept: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write_atomically(f"{bucket}/clip.mp4", clip.read_bytes())
    (video,) = find_videos([f"{bucket}/clip.mp4"])
    (segment,) = cut(video, probe(video.uri), SAMPLING, 60)
    storage.write_atomically(f"{bucket}/clip.mp4", clip.read_bytes() + b"more")
    bundle = prepare("placeholder")
    settings = ChildSettings(str(bundle.path), True, SAMPLING, 3, DecoderSettings(1))
    monkeypatch.setattr(child, "_state", child._State(settings, bundle.spec, child.open_engine(bundle, device="cpu")))
    result = child.run_segment(segment, video.uri)
    assert result.failure is not None and result.failure.reason == "changed"
    assert len(result.pts) == 0


@pytest.mark.parametrize(("cores", "children"), [(1, 2), (2, 3), (4, 5), (16, 20)])
def test_an_archive_on_a_store_has_more_decoders_than_cores(cores: int, children: int) -> None:
    assert children_for(["/videos", "s3://archive/videos"], cores) == children
    assert children_for(["/videos", "@list.txt"], cores) == cores
