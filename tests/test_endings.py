"""Names that videos are found by: every ending of a container that is read, whatever the file is called besides."""

import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from tests import videos
from tests.conftest import Reelbeam, assert_whole, run_command
from tests.tables import contents
from transforms.archive.endings import ENDINGS, ending_of, is_video_name
from transforms.archive.listing import find_videos
from transforms.video.failures import VideoError
from transforms.video.probe import probe
from transforms.video.source import CONTAINERS

pytestmark = pytest.mark.slow

NO_VIDEO = set("m4a m4b isma mka mks".split())
"""Sound and subtitles in the containers that are read."""

OTHER_THINGS = set("avif heic heif mpo ism avs cgi".split())
"""Still pictures, manifests, scripts."""


def test_every_ending_of_a_demuxer_that_is_allowed_is_taken() -> None:
    declared: set[str] = set()
    for names in CONTAINERS:
        for name in names.split(","):
            try:
                declared |= av.ContainerFormat(name, "r").extensions
            except ValueError:
                continue  # FFmpeg writes it, and reads it as something else
    assert {"mp4", "264", "dav", "ty+"} < declared
    assert {ending for ending in declared if f".{ending}" not in ENDINGS} <= NO_VIDEO | OTHER_THINGS


CAMERAS = (
    "MOD TOD m2t tp trp divx 3gpp 264 265 h265 mpv ogg ogx dvr-ms insv lrv xvid vid mk3d dav m2p ps evo vro rec wtv 360 "
    "mqv mp4v m2ts MTS vob ssif ismv wm rv ifv hevc avc ty ty+ viv kux dif"
).split()


def test_one_video_under_every_ending_is_found_and_gives_the_same_rows(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    good = videos.encode(tmp_path / "good.mp4", videos.RECIPES["h264_bframes"], 1, (64, 48))
    for ending in [*ENDINGS, *CAMERAS]:
        name = ending.lstrip(".")
        for spelled in {name, name.upper()}:
            shutil.copy(good, archive / f"clip.{spelled}")
    count = len(list(archive.iterdir()))
    done = run_command(
        "classify", "--archive", archive, "--catalog", tmp_path / "catalog", "--model", "placeholder", "--json"
    )
    assert done.code == 0, done.err
    assert (done.json["discovered"], done.json["ok"], done.json["ignored"]) == (count, count, {})
    rows = contents(tmp_path / "catalog")["frames"]
    assert len(rows) == count
    assert len({(row["pts"], row["time_s"], tuple(row["embedding"])) for row in rows}) == 1
    assert_whole(tmp_path / "catalog")


@pytest.mark.parametrize(
    ("name", "ending", "video"),
    [
        ("clip.MP4", ".mp4", True),
        ("a/b.c/clip.dvr-ms", ".dvr-ms", True),
        ("show.TY+", ".ty+", True),
        ("AVSEQ01.DAT", ".dat", True),
        ("disc/MPEGAV/music7.dat", ".dat", True),
        ("readings.dat", ".dat", False),
        ("myavseq01.dat", ".dat", False),
        ("mp4", "", False),
        (".mp4", "", False),
        ("clip.", "", False),
        ("folder.mp4/README", "", False),
        ("clip.mp4.part", ".part", False),
        ("Mr. Smith at home", "", False),
        (os.fsdecode(b"clip.\xe9"), "", False),
        ("clip.\u0432\u0438\u0434\u0435\u043e", ".\u0432\u0438\u0434\u0435\u043e", False),
        ("clip." + "x" * 300, "", False),
    ],
)
def test_endings_of_names(name: str, ending: str, video: bool) -> None:
    assert (ending_of(name), is_video_name(name)) == (ending, video)


@pytest.mark.parametrize(
    ("container", "codec", "size"),
    [("h261", "h261", (176, 144)), ("h263", "h263", (176, 144)), ("smjpeg", "mjpeg", (64, 48)), ("mpjpeg", "mjpeg", (64, 48))],
)  # fmt: skip
def test_streams_of_cameras_are_read_whole(
    tmp_path: Path, reelbeam: Reelbeam, container: str, codec: str, size: tuple
) -> None:
    path = tmp_path / "archive" / "clip.h261"
    path.parent.mkdir()
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index in range(50):
            frame = av.VideoFrame.from_ndarray(videos.picture(index, *size), format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    done = reelbeam(
        "classify", "--archive", path.parent, "--catalog", tmp_path / "c", "--model", "placeholder", "--sample", "every:10", "--json"
    )  # fmt: skip
    assert (done.json["ok"], done.json["frames"]) == (1, 5), done.err
    assert contents(tmp_path / "c")["videos"][0]["container"] == container


def test_sound_under_a_name_that_may_be_a_video_fails_for_that_reason(tmp_path: Path) -> None:
    path = tmp_path / "song.ogg"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libopus", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.int16), format="s16")
        frame.sample_rate = 48000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    (found,) = find_videos([str(tmp_path)])
    with pytest.raises(VideoError) as caught:
        probe(found.uri)
    assert caught.value.reason == "no_video_stream"
