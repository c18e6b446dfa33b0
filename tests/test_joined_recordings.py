"""Recordings that were joined byte by byte: their times start anew in the middle, and go on increasing in the tables.

The yardstick decodes each recording by itself and puts the frames of one behind those of the other.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import pytest

from tests import videos
from tests.conftest import Reelbeam
from tests.tables import contents
from tests.test_exactness import Frames, by_definition, decoded, rows
from transforms.video.decode import DecodeReport, sample
from transforms.video.demux import read_packets
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Video, cut
from transforms.video.source import open_source

pytestmark = pytest.mark.slow

FLV_HEADER_BYTES = 13
FRAME_S = Fraction(1, 25)

WMV = videos.Recipe(".wmv", "wmv2", {"g": "25"})
RECIPES = {
    ".ts": videos.Recipe(".ts", "libx264", {"bf": "2", "g": "25", "preset": "veryfast"}),
    ".mkv": videos.Recipe(".mkv", "libx264", {"bf": "2", "g": "25", "preset": "veryfast"}),
    ".flv": videos.Recipe(".flv", "libx264", {"bf": "2", "g": "25", "preset": "veryfast"}),
    # Program streams do not time every frame; FFmpeg guesses wrong where they are reordered.
    ".mpg": videos.Recipe(".mpg", "mpeg2video", {"bf": "0", "g": "12"}),
    ".webm": videos.Recipe(".webm", "libvpx-vp9", {"g": "25", "deadline": "realtime", "cpu-used": "8"}),
    ".ogv": videos.Recipe(".ogv", "libvpx", {"g": "25", "deadline": "realtime", "cpu-used": "8"}),
    ".nut": videos.Recipe(".nut", "libx264", {"bf": "2", "g": "25", "preset": "veryfast"}),
}
SAMPLINGS = ("1fps", "0.2fps", "7fps", "keyframes", "every:7")


def join(
    folder: Path, suffix: str, lengths_s: list[float], recipe: videos.Recipe | None = None
) -> tuple[Path, list[Path]]:
    """A file of joined recordings, and the recordings."""
    recipe, parts = recipe or {**RECIPES, ".wmv": WMV}[suffix], []
    for number, seconds in enumerate(lengths_s):
        first = number * 400
        pictures = (videos.picture(first + i) for i in range(round(seconds * 25)))
        parts.append(videos.encode(folder / f"part-{number}{suffix}", recipe, seconds, pictures=pictures))
    data = [part.read_bytes() for part in parts]
    if suffix == ".flv":
        data = [data[0], *(one[FLV_HEADER_BYTES:] for one in data[1:])]
    joined = folder / f"joined{suffix}"
    joined.write_bytes(b"".join(data))
    return joined, parts


def one_behind_the_other(parts: list[Path]) -> tuple[Frames, Fraction]:
    """The frames of all parts on one clock."""
    together: Frames = []
    for part in parts:
        frames, base = decoded(part)
        end = together[-1][0] + round(FRAME_S / base) if together else frames[0][0]
        together += [(t - frames[0][0] + end, key, digest) for t, key, digest in frames]
    return together, base


def assert_exact(path: Path, frames: Frames, base: Fraction) -> None:
    for text in SAMPLINGS if path.suffix != ".mpg" else ("1fps", "0.2fps"):
        expected = by_definition(frames, base, text)
        for segment_s in (2, 5, 100):
            found = rows(path, text, segment_s)
            assert [digest for _, digest in found] == [digest for _, digest in expected], (text, segment_s)
            # Matroska and FLV round times to milliseconds, before and behind a joint.
            late = [abs(a - b) * base for (a, _), (b, _) in zip(found, expected, strict=True)]
            assert max(late) <= Fraction(2, 1000), (text, segment_s)


@pytest.mark.parametrize("suffix", RECIPES)
def test_two_recordings(tmp_path: Path, suffix: str) -> None:
    joined, parts = join(tmp_path, suffix, [10, 10])
    frames, base = one_behind_the_other(parts)
    assert len(frames) == 500
    assert_exact(joined, frames, base)


@pytest.mark.parametrize("suffix", RECIPES)
def test_a_long_recording_after_short_ones(tmp_path: Path, suffix: str) -> None:
    # FFmpeg reads two recordings of a Matroska file.
    lengths_s = [0.6, 13] if suffix in (".mkv", ".webm") else [0.6, 0.4, 13]
    joined, parts = join(tmp_path, suffix, lengths_s)
    assert_exact(joined, *one_behind_the_other(parts))


def test_nut_recordings_that_ffmpeg_takes_for_one_frame_are_missed(tmp_path: Path) -> None:
    joined, _ = join(tmp_path, ".nut", [3, 3, 3], videos.Recipe(".nut", "mpeg4", {"g": "25"}))
    info, sampling = probe(str(joined)), Sampling.parse("1fps")
    report = DecodeReport()
    (segment,) = cut(Video("0" * 16, str(joined), 0, 0.0, ""), info, sampling, Fraction(2))
    assert len(list(sample(str(joined), info, segment.window(sampling), report))) == 6
    assert report.samples_lost == 3
    assert "bytes of the stream cannot be read" in report.first_error


FOR_STREAMING = "frag_keyframe+empty_moov+default_base_moof"


@pytest.mark.parametrize(
    "recipe",
    [RECIPES[".mkv"], RECIPES[".webm"], videos.Recipe(".mp4", "mjpeg", {}, pixels="yuvj420p")],
    ids=["h264", "vp9", "mjpeg"],
)
@pytest.mark.parametrize("headers", [True, False], ids=["with headers", "fragments only"])
def test_joined_fragments_give_the_same_rows_however_they_are_cut(
    tmp_path: Path, recipe: videos.Recipe, headers: bool
) -> None:
    _, parts = join(tmp_path, ".mp4", [8, 8], recipe)
    first, second = (fragmented(part, FOR_STREAMING).read_bytes() for part in parts)
    path = tmp_path / "fragments.mp4"
    path.write_bytes(first + (second if headers else second[second.index(b"moof") - 4 :]))
    whole = rows(path, "1fps", 600)
    # FFmpeg takes the first fragment behind the joint for hidden; one of MJPEG is a single frame.
    assert len(whole) == (16 if recipe.codec == "mjpeg" else 15)
    for segment_s in (2, 3, 7):
        assert rows(path, "1fps", segment_s) == whole, segment_s


def test_packets_without_times_follow_those_before(tmp_path: Path) -> None:
    """FFmpeg gives the packets of MXF no times behind a joint, if it opens such a file at all."""
    recipe = videos.Recipe(".mxf", "libx264", {"bf": "0", "g": "25", "preset": "veryfast"})
    with open_source(str(videos.encode(tmp_path / "a.mxf", recipe, 4)), 0) as source:

        def demux(stream: object) -> Iterator[av.Packet]:
            for index, packet in enumerate(source.container.demux(stream)):
                if index >= 50:
                    packet.pts = packet.dts = None
                yield packet

        untimed = replace(source, container=SimpleNamespace(demux=demux, format=source.container.format, duration=None))
        assert [packet.dts for packet in read_packets(untimed, None, 0)] == list(range(100))


@pytest.mark.parametrize("name", ["restart_joined.ts", "restart_joined.mkv", "restart_appended.flv"])
def test_real_cases(shared: Path, name: str) -> None:
    for segment_s in (3, 60):
        found = rows(shared / "cases" / name, "1fps", segment_s)
        assert len(found) == 20
        assert len({digest for _, digest in found}) == 20


def test_the_tables_hold_the_whole_film(tmp_path: Path, reelbeam: Reelbeam) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    joined, _ = join(tmp_path, ".ts", [6, 5])
    joined.rename(archive / "joined.ts")
    done = reelbeam("classify", "--archive", archive, "--catalog", tmp_path / "c", "--model", "placeholder")
    assert done.code == 0, done.err
    video = contents(tmp_path / "c")["videos"][0]
    assert (video["status"], video["coverage"], video["frames_sampled"]) == ("ok", 1.0, 11)
    assert video["duration_s"] == pytest.approx(11, abs=0.2)


def fragmented(path: Path, flags: str = "frag_keyframe+empty_moov") -> Path:
    """The same video in fragments, as cameras and streaming servers write it."""
    target = path.with_name(f"fragmented-{path.stem}.mp4")
    with (
        av.open(str(path)) as source,
        av.open(str(target), "w", options={"movflags": flags}) as sink,
    ):
        stream = sink.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                sink.mux(packet)
    return target


@pytest.mark.parametrize(
    ("suffix", "lengths_s"), [(".mkv", [4, 4, 8]), (".wmv", [8, 8]), (".mp4", [8, 8]), (".flv", [8, 8])]
)
def test_recordings_that_cannot_be_read_are_missed(
    tmp_path: Path, reelbeam: Reelbeam, suffix: str, lengths_s: list[float]
) -> None:
    """FFmpeg reads two recordings of a Matroska file, and one of the others; of FLV if the second has its header."""
    archive = tmp_path / "archive"
    archive.mkdir()
    joined, parts = join(tmp_path, ".mkv" if suffix == ".mp4" else suffix, lengths_s)
    data = [joined] if suffix in (".mkv", ".wmv") else parts if suffix == ".flv" else [fragmented(one) for one in parts]
    (archive / f"joined{suffix}").write_bytes(b"".join(path.read_bytes() for path in data))
    assert reelbeam("classify", "--archive", archive, "--catalog", tmp_path / "c", "--model", "placeholder").code == 0
    video = contents(tmp_path / "c")["videos"][0]
    assert (video["status"], video["error"], video["frames_sampled"]) == ("partial", "corrupt", 8)
    assert 0.2 < video["coverage"] < 0.7
    assert "bytes of the stream cannot be read" in video["message"]
