"""Streams that begin in the middle, get company in the middle, or carry what PyAV has no name for."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import pytest

from tests import videos
from tests.conftest import Reelbeam
from tests.tables import contents
from tests.test_exactness import decoded, rows, slow_rows
from transforms.video import decode, side_data
from transforms.video.decode import DecodeReport, sample
from transforms.video.failures import VideoError
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Video, cut

pytestmark = pytest.mark.slow

TS_PACKET_BYTES = 188


def times(path: Path, text: str = "1fps") -> list[float]:
    info, sampling = probe(str(path)), Sampling.parse(text)
    segment = cut(Video("0" * 16, str(path), 0, 0.0, ""), info, sampling, 10**6)[0]
    return [one.time_s for one in sample(str(path), info, segment.window(sampling), DecodeReport())]


def cut_from_the_air(folder: Path, recipe: videos.Recipe, share: float) -> Path:
    """A transport stream without its first packets, so that it begins between two keyframes."""
    path = videos.encode(folder / "air.ts", recipe, 10)
    data = path.read_bytes()
    first = int(len(data) * share) // TS_PACKET_BYTES * TS_PACKET_BYTES
    # The tables that name the streams come first.
    path.write_bytes(data[: 3 * TS_PACKET_BYTES] + data[first:])
    return path


@pytest.mark.parametrize("repeats", [False, True], ids=["plain", "3:2 pulldown"])
def test_a_program_stream_loses_no_frame_whose_time_is_guessed(tmp_path: Path, repeats: bool) -> None:
    path = videos.encode(tmp_path / "a.mpg", videos.Recipe(".mpg", "mpeg2video", {"bf": "2", "g": "12"}), 8)
    if repeats:
        repeat_fields(path)
    frames, _ = decoded(path)
    times = [t for t, _, _ in frames]
    assert len(times) == 200 and (times != sorted(set(times)) or not repeats), "times that are right prove nothing"
    for text, expected in (
        ("keyframes", [d for _, key, d in frames if key]),
        ("every:7", [d for *_, d in frames[::7]]),
    ):
        for segment_s in (2, 100):
            assert [d for _, d in rows(path, text, segment_s)] == expected, (text, segment_s)


def repeat_fields(path: Path) -> None:
    """Sets `repeat_first_field` of every other picture (ISO/IEC 13818-2, 6.2.3.1), as film in 60 fields a second has it."""
    data, at, number = bytearray(path.read_bytes()), 0, 0
    while (at := data.find(b"\0\0\1\xb5", at)) >= 0:
        if data[at + 4] >> 4 == 8:  # a picture coding extension
            data[at + 7] |= 2 * (number % 2)
            number += 1
        at += 4
    path.write_bytes(data)


AIR = {
    "h264": videos.Recipe(".ts", "libx264", {"bf": "2", "g": "50", "preset": "veryfast"}),
    "h264 open": videos.Recipe(".ts", "libx264", {"x264-params": "open-gop=1:keyint=50:bframes=3:scenecut=0"}),
    "mpeg2": videos.Recipe(".ts", "mpeg2video", {"bf": "2", "g": "50"}),
    "hevc": videos.Recipe(".ts", "libx265", {"x265-params": "log-level=none:keyint=50:bframes=3:open-gop=1", "preset": "ultrafast"}),
}  # fmt: skip


@pytest.mark.parametrize("name", AIR)
@pytest.mark.parametrize("share", [0.03, 0.15])
def test_time_begins_with_the_first_frame_that_decodes(tmp_path: Path, name: str, share: float) -> None:
    path = cut_from_the_air(tmp_path, AIR[name], share)
    found = times(path)
    assert found[0] == 0
    assert found == pytest.approx(range(len(found)), abs=0.04)
    for text in ("1fps", "0.2fps"):
        assert rows(path, text, 100) == slow_rows(path, text), text


def test_a_start_that_does_not_decode_is_no_missing_end(tmp_path: Path, reelbeam: Reelbeam) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    cut_from_the_air(archive, AIR["h264"], 0.03)
    assert reelbeam("classify", "--archive", archive, "--catalog", tmp_path / "c", "--model", "placeholder").code == 0
    video = contents(tmp_path / "c")["videos"][0]
    assert (video["status"], video["coverage"], video["frames_sampled"]) == ("ok", 1.0, 8)
    assert video["duration_s"] == pytest.approx(8, abs=0.1)


def test_a_recording_cut_inside_a_gop(shared: Path) -> None:
    assert times(shared / "cases" / "starts_in_gop.ts") == list(range(8))


def write_streams(path: Path, first: int, codecs: list[str]) -> Path:
    """A transport stream of one second a video stream."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream(codec, rate=25, options={"threads": "1"}) for codec in codecs]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for index in range(50):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(videos.picture(first + index), format="rgb24")
                frame.pts = index
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def test_a_stream_that_appears_in_the_middle(tmp_path: Path) -> None:
    path = write_streams(tmp_path / "film.ts", 0, ["libx264"])
    more = write_streams(tmp_path / "more.ts", 100, ["libx264", *["mpeg2video"] * 40])
    path.write_bytes(path.read_bytes() + more.read_bytes())
    assert times(path) == pytest.approx([0, 1, 2, 3], abs=0.04)


def test_an_advertisement_in_a_stored_stream(shared: Path) -> None:
    path = shared / "cases" / "stream_appears.ts"
    assert len(times(path, "every:1")) == 720


def with_exif(jpeg: bytes) -> bytes:
    """A JPEG with an Exif segment that holds the orientation 1 (EXIF 2.3, 4.5.2)."""
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x112, 3, 1, 1, 0, 0)
    payload = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + jpeg[2:]


@pytest.fixture
def exif(tmp_path: Path) -> Path:
    """Motion JPEG whose pictures carry Exif, as cameras write it."""
    path = tmp_path / "archive" / "camera.avi"
    path.parent.mkdir()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuvj420p"
        for index in range(30):
            done, jpeg = cv2.imencode(".jpg", videos.picture(index))
            packet = av.Packet(with_exif(jpeg.tobytes()))
            packet.pts = packet.dts = index
            packet.stream, packet.is_keyframe = stream, True
            packet.time_base = Fraction(1, 10)
            container.mux(packet)
            assert done
    return path


def test_side_data_without_a_name(exif: Path, reelbeam: Reelbeam, tmp_path: Path) -> None:
    with av.open(str(exif)) as container:
        frame = next(container.decode(video=0))
    assert len(bytes(side_data.find(frame, "DISPLAYMATRIX"))) == 36, "Exif's orientation is FFmpeg's display matrix"
    kinds = [one.type.name for one in frame.side_data]
    assert any(kind.startswith("TYPE_") for kind in kinds), "PyAV names it now, this test needs another kind"
    catalog = tmp_path / "c"
    assert reelbeam("classify", "--archive", exif.parent, "--catalog", catalog, "--model", "placeholder").code == 0
    video = contents(catalog)["videos"][0]
    assert (video["status"], video["frames_sampled"]) == ("ok", 3)
    assert reelbeam("index", "--catalog", catalog).code == 0
    found = reelbeam("search", "--catalog", catalog, "--video", exif, "--json")
    assert found.code == 0, found.err
    assert found.json[0]["uri"] == str(exif)


@pytest.mark.parametrize(("name", "frames"), [("sidedata_mvhevc.mp4", 11), ("sidedata_mjpeg_exif.avi", 30)])
def test_side_data_of_real_cameras(shared: Path, tmp_path: Path, reelbeam: Reelbeam, name: str, frames: int) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / name).write_bytes((shared / "cases" / name).read_bytes())
    arguments = ("--catalog", tmp_path / "c", "--model", "placeholder", "--sample", "every:1")
    assert reelbeam("classify", "--archive", archive, *arguments).code == 0
    assert contents(tmp_path / "c")["videos"][0]["frames_sampled"] == frames


ALL_CASES = {
    "allsync_h263.3gp": ("ok", 30), "allsync_mpeg4.mp4": ("ok", 130), "data_track_cut.mp4": ("partial", 4),
    "extradata_second_header.flv": ("ok", 10), "extradata_two_stsd.mp4": ("ok", 10),
    "first_program_empty.ts": ("ok", 10), "hole.flv": ("partial", 11), "interlaced_fast_pan.mpg": ("ok", 6),
    "interlaced_fast_pan_progressive.mpg": ("ok", 6), "licence_audio.mp4": ("no_video_stream", None),
    "licence_code.ts": ("not_a_video", None), "matrix_ictcp_hevc.mp4": ("ok", 3), "matrix_ycgco.mp4": ("ok", 3),
    "poster_first.mkv": ("ok", 10), "raw.dv": ("ok", 1), "raw.mjpeg": ("ok", 2), "restart_appended.flv": ("ok", 20),
    "restart_joined.mkv": ("ok", 20), "restart_joined.ts": ("ok", 20), "sidedata_mjpeg_exif.avi": ("ok", 3),
    "sidedata_mvhevc.mp4": ("ok", 1), "size_unknown.ts": ("corrupt", None), "starts_in_gop.ts": ("ok", 8),
    "stream_appears.ts": ("ok", 12),
}  # fmt: skip
"""Outcome (status, or the reason of a failure) and rows at 1fps of each file of public reports."""


def test_every_case_of_public_reports_has_its_outcome(shared: Path, tmp_path: Path, reelbeam: Reelbeam) -> None:
    done = reelbeam("classify", "--archive", shared / "cases", "--catalog", tmp_path / "c", "--model", "placeholder")
    assert done.code == 0, done.err
    found = contents(tmp_path / "c")
    outcomes = {Path(row["uri"]).name: (row["status"], row["frames_sampled"]) for row in found["videos"]}
    failures = {Path(row["uri"]).name: (row["reason"], None) for row in found["failures"]}
    assert outcomes | failures == ALL_CASES
    assert not any("Errno" in row["message"] for row in found["failures"])


def test_what_pyav_raises_around_a_frame_costs_no_frame_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyAV raises whatever comes to its mind where FFmpeg gives structures that it does not expect."""
    path = videos.make(tmp_path, "h264_bframes", seconds=6)
    info, sampling = probe(str(path)), Sampling.parse("1fps")
    segment = cut(Video("0" * 16, str(path), 0, 0.0, ""), info, sampling, 10**6)[0]
    whole = [one.pts for one in sample(str(path), info, segment.window(sampling), DecodeReport())]
    made = decode._sample_of

    def make(frame: av.VideoFrame, pts: int, *rest: Any) -> decode.Sample:
        if pts >= whole[3]:
            raise IndexError("PyAV reads past its array")
        return made(frame, pts, *rest)

    monkeypatch.setattr(decode, "_sample_of", make)
    kept = []
    with pytest.raises(VideoError, match="IndexError: PyAV reads past its array"):
        for one in sample(str(path), info, segment.window(sampling), DecodeReport()):
            kept.append(one.pts)
    assert kept == whole[:3]
