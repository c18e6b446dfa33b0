"""Containers that mark every packet as a keyframe: what decoding may start at is what the bitstream says."""

from pathlib import Path

import av
import pytest

from tests import videos
from tests.test_exactness import rows, slow_rows
from transforms.video.probe import probe
from transforms.video.random_access import can_tell

pytestmark = pytest.mark.slow

FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}
GOP = {"g": "25"}
X264 = {"bf": "3", "g": "25", "preset": "veryfast"}
RECIPES = {
    "mpeg4": videos.Recipe(".mp4", "mpeg4", {"bf": "2", **GOP}),
    "mpeg2": videos.Recipe(".mp4", "mpeg2video", {"bf": "2", "g": "12"}),
    "msmpeg4": videos.Recipe(".mkv", "msmpeg4", GOP),
    "h263": videos.Recipe(".3gp", "h263", GOP),
    "qtrle": videos.Recipe(".mov", "qtrle", GOP, pixels="rgb24"),
    "cinepak": videos.Recipe(".mov", "cinepak", GOP, pixels="rgb24"),
    "svq1": videos.Recipe(".mov", "svq1", GOP, pixels="yuv410p"),
    "h264": videos.Recipe(".mp4", "libx264", X264),
    "h264 open": videos.Recipe(".mp4", "libx264", {**X264, "x264-params": "open-gop=1:scenecut=0"}),
    "hevc": videos.Recipe(".mp4", "libx265", {"x265-params": "log-level=none:keyint=25:bframes=3:open-gop=1", "preset": "ultrafast"}),
    "vp9": videos.Recipe(".mp4", "libvpx-vp9", {"g": "25", "deadline": "realtime", "cpu-used": "8"}),
    "av1": videos.Recipe(".mp4", "libsvtav1", {"g": "25", "preset": "12", "svtav1-params": "scd=0"}),
    "mjpeg": videos.Recipe(".mov", "mjpeg", {}, pixels="yuvj420p"),
    "png": videos.Recipe(".mov", "png", {}, pixels="rgb24"),
}  # fmt: skip


def make(folder: Path, name: str, marks: str) -> Path:
    recipe = RECIPES[name]
    size = (176, 144) if name == "h263" else (160, 96)
    path = videos.encode(folder / f"video{recipe.suffix}", recipe, 7, size)
    data = path.read_bytes()
    if marks == "all":
        if recipe.suffix == ".mkv":
            pytest.skip("the marks of Matroska's blocks are not in one place")
        # Without the table of sync samples every sample is one (ISO/IEC 14496-12, 8.6.2).
        path.write_bytes(data.replace(b"stss", b"free"))
    return path


@pytest.mark.parametrize("marks", ["true", "all"])
@pytest.mark.parametrize("name", RECIPES)
def test_rows_do_not_depend_on_marks(tmp_path: Path, name: str, marks: str) -> None:
    path = make(tmp_path, name, marks)
    for text in ("1fps", "0.3fps", "keyframes"):
        expected = slow_rows(path, text)
        assert expected or (text == "keyframes" and name in ("qtrle", "svq1")), "FFmpeg calls none of these a keyframe"
        for segment_s in (2, 100):
            assert rows(path, text, segment_s) == expected, (text, segment_s)


def test_codecs_that_are_known_are_cut_and_others_are_not(tmp_path: Path) -> None:
    found = {}
    for name in ("mpeg4", "h263", "h264", "hevc", "vp9", "av1", "mjpeg", "qtrle", "cinepak"):
        found[name] = probe(str(make(tmp_path, name, "all"))).timing
    assert [name for name, timing in found.items() if timing != "seekable"] == ["qtrle", "cinepak"]


@pytest.mark.parametrize("name", ["vc1", "wmv3", "rv40", "svq3", "snow", "vvc"])
def test_codecs_without_a_parser_are_started_at_the_first_packet_only(name: str) -> None:
    assert not can_tell(av.CodecContext.create(name, "r"))


@pytest.mark.parametrize("marks", ["true", "all"])
@pytest.mark.parametrize("name", ["svq1", "cinepak", "qtrle"])
def test_codecs_without_a_parser_in_fragments(tmp_path: Path, name: str, marks: str) -> None:
    """Fragments begin at the marked keyframes, as in Smooth Streaming. FFmpeg encodes no VC-1; these stand for it."""
    path = tmp_path / "fragments.mov"
    with av.open(str(make(tmp_path, name, "true"))) as source, av.open(str(path), "w", options=FRAGMENTS) as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.is_keyframe |= marks == "all"
                packet.stream = stream
                sink.mux(packet)
    assert path.read_bytes().count(b"moof") > 5
    for text in ("1fps", "0.3fps"):
        expected = slow_rows(path, text)
        assert expected
        for segment_s in (2, 100):
            assert rows(path, text, segment_s) == expected, (text, segment_s)


def test_vc1_in_mp4_is_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "vc1.mp4"
    path.write_bytes(make(tmp_path, "mpeg4", "true").read_bytes().replace(b"mp4v", b"vc-1").replace(b"esds", b"free"))
    info = probe(str(path))
    assert (info.codec, info.container, info.timing) == ("vc1", "mov,mp4,m4a,3gp,3g2,mj2", "sequential")


@pytest.mark.parametrize("name", ["allsync_mpeg4.mp4", "allsync_h263.3gp"])
def test_real_cases(shared: Path, name: str) -> None:
    path = shared / "cases" / name
    for segment_s in (5, 60):
        assert rows(path, "1fps", segment_s) == slow_rows(path, "1fps")
