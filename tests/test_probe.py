"""Columns that probing fills: rates and lengths that can be believed, or none."""

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests import bombs, videos
from tests.conftest import Reelbeam
from tests.tables import contents
from tests.videos import Recipe
from transforms import storage
from transforms.video import bounds, object_reader
from transforms.video.bounds import Bounds
from transforms.video.decode import DecodeReport, sample
from transforms.video.failures import VideoError
from transforms.video.probe import VideoInfo, probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Video, cut

NTSC = Fraction(30_000, 1001)

RATES = {
    "ntsc.h264": Recipe(".h264", "libx264", {"bf": "2", "preset": "veryfast"}, fps=NTSC),
    "ntsc.hevc": Recipe(".hevc", "libx265", {"x265-params": "log-level=none", "preset": "ultrafast"}, fps=NTSC),
    "film.m4v": Recipe(".m4v", "mpeg4", {}, fps=Fraction(24)),
    "pal.m2v": Recipe(".m2v", "mpeg2video", {}),
    "pal.m1v": Recipe(".m1v", "mpeg1video", {}),
    "pictures.mjpeg": Recipe(".mjpeg", "mjpeg", {}, pixels="yuvj420p"),
    "film.ivf": Recipe(".ivf", "libvpx", {"deadline": "realtime"}, fps=Fraction(24)),
    "pal.mpg": Recipe(".mpg", "mpeg2video", {}),
    "pal.ts": Recipe(".ts", "mpeg2video", {}),
    "slow.gif": Recipe(".gif", "gif", {}, pixels="rgb8", fps=Fraction(10)),
    "fast.mkv": Recipe(".mkv", "mpeg4", {}, fps=Fraction(1000)),
    "coarse.avi": Recipe(".avi", "mpeg4", {}, fps=Fraction(1)),
}


@pytest.mark.parametrize("name", RATES)
def test_the_rate_is_that_of_the_frames(tmp_path: Path, name: str) -> None:
    recipe = RATES[name]
    path = videos.encode(tmp_path / name, recipe, float(30 / recipe.fps))
    info = probe(str(path))
    assert info.fps == recipe.fps
    # FFmpeg guesses the first times of some raw streams, by up to a frame.
    assert frame_times(path, info) == pytest.approx([i / recipe.fps for i in range(30)], abs=1.01 / recipe.fps)


def frame_times(path: Path, info: VideoInfo) -> list[float]:
    sampling = Sampling.parse("every:1")
    whole = cut(Video("0" * 16, str(path), 0, 0.0, ""), info, sampling, Fraction(1000))[0]
    return [one.time_s for one in sample(str(path), info, whole.window(sampling), DecodeReport())]


@pytest.mark.parametrize(
    ("size", "pixels", "fps"), [((720, 576), "yuv420p", Fraction(25)), ((720, 480), "yuv411p", NTSC)]
)
def test_dv_has_its_own_rate_not_that_of_its_clock(
    tmp_path: Path, size: tuple[int, int], pixels: str, fps: Fraction
) -> None:
    path = videos.encode(tmp_path / "a.dv", Recipe(".dv", "dvvideo", {}, pixels, fps), 0.5, size)
    info = probe(str(path))
    assert info.fps == fps
    assert info.duration_s == pytest.approx(len(frame_times(path, info)) / fps)


@pytest.mark.parametrize("timescale", [25, 90_000, 10_000_000])
def test_an_init_segment_has_no_rate_and_no_frames(tmp_path: Path, timescale: int) -> None:
    info = probe(str(videos.init_segment(tmp_path / "a.mp4", timescale)))
    assert (info.width, info.fps, info.duration_s) == (160, None, None)


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".flv"])
def test_one_frame_does_not_run_at_the_rate_of_the_clock(tmp_path: Path, suffix: str) -> None:
    path = videos.encode(tmp_path / f"a{suffix}", Recipe(suffix, "mpeg4" if suffix != ".flv" else "flv", {}), 0.04)
    info = probe(str(path))
    assert info.fps is None or info.fps == 25
    assert len(frame_times(path, info)) == 1


def test_a_rate_that_the_clock_hides_is_measured(shared: Path) -> None:
    for name in ("androidx_flv__sample.flv", "androidx_mkv__sample.mkv"):  # FFmpeg says 1,000
        assert probe(str(shared / "odd" / name)).fps == pytest.approx(30, rel=0.01)


def test_a_rate_that_the_header_claims_is_bounded(tmp_path: Path) -> None:
    bombs.frantic(tmp_path / "a.avi")
    with pytest.raises(VideoError, match="4000000 frames a second") as caught:
        probe(str(tmp_path / "a.avi"))
    assert caught.value.reason == "too_large"


def test_a_length_below_one_frame_is_none(shared: Path) -> None:
    assert probe(str(shared / "cases" / "raw.dv")).duration_s is None


def test_raw_pictures_are_a_video_under_any_name(tmp_path: Path) -> None:
    path = videos.encode(tmp_path / "a.mjpeg", RATES["pictures.mjpeg"], 1)
    for name in ("a.mjpeg", "a.mjpg", "a.avi", "100%.mjpeg"):
        renamed = tmp_path / name
        renamed.write_bytes(path.read_bytes())
        info = probe(str(renamed))
        assert (info.container, info.codec, info.width, len(frame_times(renamed, info))) == ("mjpeg", "mjpeg", 160, 25)


def test_pictures_of_a_network_camera_are_a_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mjpeg"
    with av.open(str(path), "w", format="mpjpeg") as container:
        stream = container.add_stream("mjpeg", rate=25, width=160, height=96, pix_fmt="yuvj420p")
        for index in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(videos.picture(index), format="rgb24")))
        container.mux(stream.encode(None))
    info = probe(str(path))
    assert (info.container, info.fps, len(frame_times(path, info))) == ("mpjpeg", 25, 10)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_a_store_that_stops_answering_makes_a_video_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    data = videos.encode(tmp_path / "a.mkv", Recipe(".mkv", "libx264", {"g": "25"}), 8).read_bytes()

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= share * len(data):
                raise ConnectionResetError("the store has hung up")
            return super().read(min(size or 0, len(data) // 20) if self.tell() else size)

    object_reader.forget()
    monkeypatch.setattr(storage, "listed", lambda path: storage.File(path, len(data), 0.0))
    monkeypatch.setattr(storage, "open_read", lambda path: Broken(data))
    with pytest.raises(VideoError, match="the store has hung up") as met:
        probe("s3://bucket/a.mkv", Fraction(2))
    assert met.value.reason == "unreadable"


def test_a_single_picture_is_no_video(tmp_path: Path) -> None:
    videos.encode(tmp_path / "a.mjpeg", RATES["pictures.mjpeg"], 0.04)
    for name in ("a.mjpeg", "photo.jpg"):
        (tmp_path / name).write_bytes((tmp_path / "a.mjpeg").read_bytes())
        with pytest.raises(VideoError, match="a single JPEG picture") as caught:
            probe(str(tmp_path / name))
        assert caught.value.reason == "not_a_video"


def test_something_that_only_begins_like_a_picture_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "a.mjpeg").write_bytes(b"\xff\xd8\xff\xe0" + b"nothing that decodes " * 100)
    with pytest.raises(VideoError) as caught:
        probe(str(tmp_path / "a.mjpeg"))
    assert caught.value.reason in ("not_a_video", "no_video_stream")


def without_parameter_sets(path: Path, seconds: float, kept: float = 0.0) -> Path:
    """An H.264 transport stream whose sequence parameter sets are spoiled, but for the last `kept` of the file."""
    whole = bytearray(videos.encode(path, videos.RECIPES["h264_ts"], seconds).read_bytes())
    at = whole.find(b"\0\0\1\x67")
    while 0 <= at < len(whole) * (1 - kept):
        whole[at + 3] = 0x6C  # a reserved type, which decoders pass over
        at = whole.find(b"\0\0\1\x67", at + 4)
    path.write_bytes(whole)
    return path


def test_a_size_that_nobody_knows_is_not_too_large(tmp_path: Path, reelbeam: Reelbeam) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    without_parameter_sets(archive / "never.ts", 2)
    videos.init_segment(archive / "init.mp4", timescale=10_000_000)
    catalog = tmp_path / "catalog"
    done = reelbeam("classify", "--archive", archive, "--catalog", catalog, "--model", "placeholder")
    assert done.code == 0, done.err
    reasons = {Path(row["uri"]).name: row["reason"] for row in contents(catalog)["failures"]}
    assert reasons == {"never.ts": "corrupt", "init.mp4": "no_frames"}


def test_a_large_picture_of_a_size_that_no_header_told_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = videos.encode(tmp_path / "a.m2v", RATES["pal.m2v"], 1)
    monkeypatch.setattr(bounds, "_in_force", replace(Bounds(), megapixels=0.001))
    with pytest.raises(VideoError, match="160 x 96") as caught:
        probe(str(path))
    assert caught.value.reason == "too_large"


def test_a_size_of_nothing_is_not_too_large(tmp_path: Path) -> None:
    recipe = Recipe(".avi", "rawvideo", {})
    whole = videos.encode(tmp_path / "a.avi", recipe, 1).read_bytes()
    size = (160).to_bytes(4, "little") + (96).to_bytes(4, "little")
    assert size in whole
    (tmp_path / "a.avi").write_bytes(whole.replace(size, bytes(8)))
    info = probe(str(tmp_path / "a.avi"))
    assert info.width == 0
    assert frame_times(tmp_path / "a.avi", info) == []
