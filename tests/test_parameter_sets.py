"""Parameter sets that come with the packets, and come once: no later picture is decoded with others.

FFmpeg decodes such pictures to grey or to smears and says nothing, so the yardstick is decoding everything in order.
"""

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests import videos
from tests.test_exactness import decoded, rows, slow_rows
from transforms import storage
from transforms.video.probe import probe

pytestmark = pytest.mark.slow

FPS = 25
SAMPLINGS = ("1fps", "0.2fps", "keyframes", "every:7")


def packets(codec: str, options: dict[str, str], first_picture: int, seconds: int) -> Iterator[av.Packet]:
    """Packets of an elementary stream, with all headers in band."""
    with av.open(io.BytesIO(), "w", format="rawvideo") as sink:
        stream = sink.add_stream(codec, rate=FPS, options={**options, "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for index in range(seconds * FPS):
            frame = av.VideoFrame.from_ndarray(videos.picture(first_picture + index), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            yield from stream.encode(frame)
        yield from stream.encode(None)


def units(data: bytes) -> list[bytes]:
    """NAL units of a packet with start codes."""
    return [part.rstrip(b"\0") for part in data.split(b"\0\0\1")[1:]]


def is_parameter_set(unit: bytes, codec: str) -> bool:
    return unit[0] & 0x1F in (7, 8) if codec == "libx264" else unit[0] >> 1 & 0x3F in (32, 33, 34)


def write(path: Path, codec: str, parts: list[dict[str, str]], repeats: set[int], seconds: int = 8) -> Path:
    """A video of parts that are encoded in different ways.

    Each part has its parameter sets before its first picture, those in `repeats` before every keyframe.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number, options in enumerate(parts):
            for index, packet in enumerate(packets(codec, options, number * 250, seconds)):
                keep = index == 0 or number in repeats
                kept = [u for u in units(bytes(packet)) if keep or not is_parameter_set(u, codec)]
                one = av.Packet(b"".join(b"\0\0\0\1" + unit for unit in kept))
                one.pts, one.dts = (packet.pts + number * seconds * FPS, packet.dts + number * seconds * FPS)
                one.time_base, one.is_keyframe, one.stream = Fraction(1, FPS), packet.is_keyframe, stream
                container.mux(one)
    return path


# The parameter sets differ in what no decoder can notice: the quantiser of colours.
H264 = {"g": "25", "bf": "2", "preset": "veryfast", "x264-params": "qp=24:chroma-qp-offset=-12"}
OTHER_H264 = {**H264, "x264-params": "qp=24:chroma-qp-offset=12"}
_HEVC = "log-level=none:keyint=25:bframes=2:qp=24"
HEVC = {"preset": "ultrafast", "x265-params": f"{_HEVC}:cbqpoffs=-12"}
OTHER_HEVC = {"preset": "ultrafast", "x265-params": f"{_HEVC}:cbqpoffs=12"}


def assert_exact(path: Path) -> None:
    for text in SAMPLINGS:
        expected = slow_rows(path, text)
        assert expected
        for segment_s in (2, 5, 100):
            assert rows(path, text, segment_s) == expected, (text, segment_s)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".flv"])
@pytest.mark.parametrize(
    "repeats", [set(), {0}, {1}, {0, 1, 2}], ids=["once", "first repeats", "second repeats", "all repeat"]
)
def test_h264(tmp_path: Path, suffix: str, repeats: set[int]) -> None:
    assert_exact(write(tmp_path / f"video{suffix}", "libx264", [H264, OTHER_H264, H264], repeats))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_hevc(tmp_path: Path, suffix: str) -> None:
    assert_exact(write(tmp_path / f"video{suffix}", "libx265", [HEVC, OTHER_HEVC], {0}))


def test_segments_stay_where_parameter_sets_allow_it(tmp_path: Path) -> None:
    once = write(tmp_path / "once.mp4", "libx264", [H264, OTHER_H264], set())
    repeated = write(tmp_path / "repeated.mp4", "libx264", [H264, OTHER_H264], {0, 1})
    never = videos.encode(tmp_path / "never.mp4", videos.Recipe(".mp4", "libx264", H264), 16)
    found = [probe(str(path), Fraction(2)).timing for path in (once, repeated, never)]
    assert found == ["packets", "seekable", "seekable"]


def write_late(path: Path, codec: str, options: dict[str, str], other: dict[str, str], late: int) -> Path:
    """A video whose parameter sets lie in its header, but for other ones in its packet number `late`."""
    plain = videos.encode(path.with_stem("plain"), videos.Recipe(path.suffix, codec, options), 10)
    first = bytes(next(packets(codec, other, 0, 1)))
    news = b"".join(len(u).to_bytes(4, "big") + u for u in units(first) if is_parameter_set(u, codec))
    with av.open(str(plain)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for index, packet in enumerate(one for one in source.demux(video=0) if one.size):
            one = av.Packet((news if index == late else b"") + bytes(packet))
            one.pts, one.dts, one.time_base, one.stream = packet.pts, packet.dts, packet.time_base, stream
            one.duration, one.is_keyframe = packet.duration, packet.is_keyframe
            container.mux(one)
    return path


@pytest.mark.parametrize("codec", ["mpeg1video", "mpeg2video"])
def test_pictures_of_another_size(tmp_path: Path, codec: str) -> None:
    """FFmpeg loses the last frame before the change of MPEG-1 and MPEG-2, if it decodes all in order."""
    path, frames, stream = tmp_path / "sizes.mkv", [], None
    with av.open(str(path), "w") as container:
        for number, size in enumerate([(160, 96), (128, 96), (160, 96)]):
            part = videos.encode(
                tmp_path / f"{number}.mkv", videos.Recipe(".mkv", codec, {"g": "25", "bf": "2"}), 4, size
            )
            frames += [digest for *_, digest in decoded(part)[0]]
            with av.open(str(part)) as source:
                stream = stream or container.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.pts, packet.dts, packet.stream = packet.pts + number * 4000, None, stream
                        container.mux(packet)
    for segment_s in (2, 3, 100):
        assert [digest for _, digest in rows(path, "25fps", segment_s)] == frames, segment_s
        assert [digest for _, digest in rows(path, "every:7", segment_s)] == frames[::7], segment_s


LATE = pytest.mark.parametrize("late", [150, 160], ids=["at a keyframe", "between keyframes"])


@LATE
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(
    ("codec", "options", "other"), [("libx264", H264, OTHER_H264), ("libx265", HEVC, OTHER_HEVC)], ids=["h264", "hevc"]
)
def test_one_that_comes_late(
    tmp_path: Path, suffix: str, codec: str, options: dict[str, str], other: dict[str, str], late: int
) -> None:
    path = write_late(tmp_path / f"late{suffix}", codec, options, other, late)
    without = slow_rows(path.with_stem("plain"), "1fps")
    changed = [a[1] != b[1] for a, b in zip(slow_rows(path, "1fps"), without, strict=True)]
    assert changed == [False] * 6 + [late == 150] + [True] * 3
    assert_exact(path)


@LATE
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_one_that_comes_late_in_an_object_store(tmp_path: Path, bucket: str, suffix: str, late: int) -> None:
    path = write_late(tmp_path / f"late{suffix}", "libx264", H264, OTHER_H264, late)
    storage.write_atomically(f"{bucket}/{path.name}", path.read_bytes())
    expected = slow_rows(path, "1fps")
    for segment_s in (2, 3, 100):
        assert rows(f"{bucket}/{path.name}", "1fps", segment_s) == expected, segment_s


@pytest.mark.parametrize("name", ["extradata_second_header.flv", "extradata_two_stsd.mp4"])
def test_new_extradata(shared: Path, name: str) -> None:
    assert_exact(shared / "cases" / name)
