"""A proxy shows the original's pictures at the original's times, small, upright and with square pixels."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame

from models.visual.spec import Preprocessing
from tests import interlaced_videos, videos
from transforms.video import bounds, fingerprint, proxy
from transforms.video.decode import DecodeReport, Sample, sample
from transforms.video.failures import VideoError
from transforms.video.pixels import Painter
from transforms.video.probe import probe
from transforms.video.proxy import (
    TIME_BASE,
    NoEncoder,
    Proxy,
    ProxyUnwritable,
    _Writer,
    kept_every,
    make_proxy,
    proxy_size,
    require_encoder,
)
from transforms.video.sampling import Sampling
from transforms.video.segments import window_of

pytestmark = pytest.mark.slow

MPEG2_TS = videos.Recipe(".ts", "mpeg2video", {"g": "12", "bf": "2", "qscale": "3", "flags": "+qscale"})
EVERY = Sampling("every", Fraction(1))


def made(path: Path, height: int = 360) -> tuple[Proxy, Path]:
    target = path.with_name("proxy.mp4")
    planned = fingerprint.current(str(path))
    assert planned is not None
    return make_proxy(str(path), str(target), height, planned), target


def frames_of(path: Path) -> list[tuple[Fraction, np.ndarray]]:
    """(time in seconds, RGB uint8 [h, w, 3]) of every frame of a proxy, as a player shows it: by its edit list."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.time_base is not None and not container.streams.audio
        return [(frame.pts * stream.time_base, frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)]


def samples_of(path: Path) -> list[Sample]:
    info = probe(str(path))
    return list(sample(str(path), info, window_of(info, EVERY, Fraction(0), None), DecodeReport()))


def index_of(picture: np.ndarray) -> int:
    """The number that `videos.picture` draws into its frames."""
    return sum(1 << bit for bit in range(10) if picture[6:10, 6 + bit * 10 : 10 + bit * 10].mean() > 128)


@pytest.mark.parametrize(
    "recipe",
    [
        *(videos.RECIPES[name] for name in ("mpeg4_avi", "hevc", "gif", "h264_vfr", "h264_late_start", "h264_flv")),
        MPEG2_TS,
    ],
    ids=lambda recipe: f"{recipe.codec}{recipe.suffix}-{recipe.times}",
)
def test_frames_have_the_pictures_and_times_of_the_original(tmp_path: Path, recipe: videos.Recipe) -> None:
    path = videos.encode(tmp_path / f"clip{recipe.suffix}", recipe, 5)
    times = videos.frame_times(recipe, round(5 * recipe.fps))
    one, target = made(path)
    shown = frames_of(target)
    assert (one.width, one.height, one.frames) == (160, 96, len(times)) and len(shown) == len(times)
    assert shown[0][0] == 0
    for index, (time_s, picture) in enumerate(shown):
        assert abs(time_s - Fraction(times[index] - times[0], 1000)) <= TIME_BASE
        assert index_of(picture) == index
        assert np.abs(picture.astype(int) - videos.picture(index)).mean() < 16
    assert one.duration_s == pytest.approx((times[-1] - times[0]) / 1000 + float(1 / recipe.fps), abs=0.5)


def test_a_browser_can_start_before_it_has_the_whole_file(tmp_path: Path) -> None:
    data = made(videos.make(tmp_path, "mpeg4_avi", 2))[1].read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    assert b"elst" not in data[: data.index(b"mdat")] or frames_of(tmp_path / "proxy.mp4")[0][0] == 0


def test_a_large_video_becomes_small_and_a_small_one_stays(tmp_path: Path) -> None:
    pictures = [cv2.GaussianBlur(videos.picture(index, 640, 480), (0, 0), 12).astype(np.uint8) for index in range(25)]
    path = videos.encode(tmp_path / "clip.avi", videos.RECIPES["mpeg4_avi"], 1, (640, 480), pictures)
    for height, size in ((120, (160, 120)), (98, (130, 98)), (1080, (640, 480))):
        one, target = made(path, height)
        assert (one.width, one.height) == size
        reference = Painter(Preprocessing(size[1], size[0], fit="squash"))
        for found, (_, picture) in zip(samples_of(path), frames_of(target), strict=True):
            assert picture.shape == (size[1], size[0], 3)
            assert np.abs(picture.astype(int) - reference.paint(found.frame)).mean() < 10


@pytest.mark.parametrize(
    ("shown", "height", "size"),
    [
        ((576, 1024), 360, (360, 640)),
        ((576, Fraction(720 * 16, 15)), 360, (360, 480)),
        ((1080, 1920), 240, (240, 426)),
        ((97, 161), 360, (96, 160)),
        ((97, 163), 360, (96, 162)),
        ((1920, 1080), 360, (360, 202)),
        ((2, 2), 360, (2, 2)),
        ((1, 1), 360, (2, 2)),
        ((200, 4000), 360, (72, 1440)),
        ((2, 65534), 360, (2, 1440)),
        ((65534, 2), 360, (360, 2)),
    ],
)
def test_sizes(shown: tuple[int, int], height: int, size: tuple[int, int]) -> None:
    assert proxy_size(Fraction(shown[0]), Fraction(shown[1]), height) == size


@pytest.mark.parametrize("size", [(2, 2), (16, 2), (2, 16), (34, 18)])
def test_tiny_pictures_are_encoded(tmp_path: Path, size: tuple[int, int]) -> None:
    recipe = videos.Recipe(".nut", "rawvideo", {}, pixels="rgb24", fps=Fraction(5))
    pictures = [np.full((size[1], size[0], 3), 40 * index, np.uint8) for index in range(5)]
    one, target = made(videos.encode(tmp_path / "tiny.nut", recipe, 1, size, pictures))
    assert (one.width, one.height) == size
    for (_, picture), expected in zip(frames_of(target), pictures, strict=True):
        assert np.abs(picture.astype(int) - expected).max() < 12


def test_pixels_that_are_not_square_are_made_square(tmp_path: Path) -> None:
    path = tmp_path / "wide.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 720, 576, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        for index in range(5):
            container.mux(stream.encode(VideoFrame.from_ndarray(videos.picture(index, 720, 576), format="rgb24")))
        container.mux(stream.encode(None))
    one, target = made(path)
    assert (one.height, one.width) == (360, 654), "720 * 16 / 11 by 576"
    with av.open(str(target)) as container:
        assert container.streams.video[0].sample_aspect_ratio in (None, 0, 1)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_turned_video_is_turned_upright(tmp_path: Path, turn: int) -> None:
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"qscale": "2", "flags": "+qscale"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.set_display_rotation(turn)
        for index in range(5):
            container.mux(stream.encode(VideoFrame.from_ndarray(videos.picture(index), format="rgb24")))
        container.mux(stream.encode(None))
    one, target = made(path)
    assert (one.width, one.height) == ((160, 96) if turn == 180 else (96, 160))
    for index, (_, picture) in enumerate(frames_of(target)):
        upright = np.rot90(videos.picture(index), turn // 90).astype(int)
        assert np.abs(picture - upright).mean() < 16 < np.abs(picture[::-1, ::-1] - upright).mean()
    with av.open(str(target)) as container:
        assert all(not frame.rotation for frame in container.decode(video=0)), "players must not turn it again"


@pytest.mark.parametrize("form", ["MPEG-2", "HEVC, fields"])
def test_an_interlaced_video_shows_its_first_fields(tmp_path: Path, form: str) -> None:
    """As the nightly job does, and not two moments at once."""
    pictures = interlaced_videos.pan(videos.picture(0, 480, 240), (320, 240), 12, 20)
    kind = interlaced_videos.FORMS[form]
    path = interlaced_videos.encode(tmp_path / f"clip{kind.suffix}", kind, pictures, "tff")
    one, target = made(path)
    shown, found = frames_of(target), samples_of(path)
    found = found[:: len(found) // 10]  # fields that are coded one by one are 50 frames a second
    assert (one.width, one.height) == (320, 240) and len(shown) == len(found) == 10
    reference = Painter(Preprocessing(240, 320, fit="squash"))
    for index, (time_s, picture) in enumerate(shown):
        assert abs(time_s - Fraction(found[index].time_s)) <= TIME_BASE
        expected = reference.paint(found[index].frame, None, found[index].is_field).astype(int)
        assert np.abs(picture - expected).mean() < 8


@pytest.mark.parametrize(
    ("fps", "every"),
    [(None, 1), (10, 1), (25, 1), (30, 1), (Fraction(30000, 1001), 1), (33, 1), (48, 2), (50, 2), (60, 2), (75, 3),
     (Fraction(60000, 1001), 2), (100, 4), (120, 4), (100_000, 3334)],
)  # fmt: skip
def test_fast_videos_lose_frames(fps: Fraction | int | None, every: int) -> None:
    assert kept_every(None if fps is None else Fraction(fps)) == every


def test_every_other_frame_of_a_fast_video_is_kept_with_its_time(tmp_path: Path) -> None:
    recipe = videos.Recipe(".avi", "mpeg4", {"g": "12", "bf": "0"}, fps=Fraction(50))
    one, target = made(videos.encode(tmp_path / "fast.avi", recipe, 2))
    shown = frames_of(target)
    assert [time_s for time_s, _ in shown] == [Fraction(index, 25) for index in range(50)]
    assert [index_of(picture) for _, picture in shown] == list(range(0, 100, 2))
    assert one.duration_s == 2.0


COLOURS = [
    "yuv420p",
    "yuvj420p",
    "yuv422p10le",
    "yuv444p",
    "yuv410p",
    "gray",
    "rgb24",
    "bgra",
    "nv12",
    "yuva420p",
]


@pytest.mark.parametrize("matrix", [1, 2, 5, 9])
@pytest.mark.parametrize("pixels", COLOURS)
def test_colours_are_those_of_the_pictures_that_the_model_sees(pixels: str, matrix: int) -> None:
    frame = VideoFrame.from_ndarray(videos.picture(7, 64, 48), format="rgb24").reformat(format=pixels)
    frame.colorspace = matrix
    painter = Painter(Preprocessing(48, 64, fit="squash"))
    small = painter.video_frame(frame)
    assert (small.format.name, small.width, small.height) == ("yuv420p", 64, 48)
    seen = small.reformat(format="rgb24", src_colorspace="ITU601", src_color_range="MPEG").to_ndarray()
    # The halved chroma blurs edges, so colours are compared where there is none.
    expected = painter.paint(frame).astype(int)
    assert np.median(np.abs(seen - expected), axis=(0, 1)).max() <= 3
    converted = matrix in (1, 9) and pixels not in ("gray", "rgb24", "bgra")
    assert np.abs(seen.mean(axis=(0, 1)) - expected.mean(axis=(0, 1))).max() < (3 if converted else 1.5)


def test_a_damaged_video_gives_what_decodes(tmp_path: Path) -> None:
    path = videos.make(tmp_path, "mpeg4_avi", 6)
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 3000] = bytes(3000)
    path.write_bytes(data)
    one, target = made(path)
    assert 75 < one.frames == len(frames_of(target)) <= 150


def test_what_gives_no_frame_has_no_proxy(tmp_path: Path) -> None:
    path = tmp_path / "broken.avi"
    path.write_bytes(b"no video" * 100)
    with pytest.raises(VideoError, match="not_a_video"):
        made(path)
    whole = videos.make(tmp_path, "mpeg4_avi", 1).read_bytes()
    at = whole.index(b"movi")
    path.write_bytes(whole[:at] + bytes(len(whole) - at))
    with pytest.raises(VideoError, match=r"no_frames|not_a_video|unsupported_codec"):
        made(path)


def test_a_video_that_changes_meanwhile_has_no_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = videos.make(tmp_path, "mpeg4_avi", 1)
    with pytest.raises(VideoError, match="changed"):
        make_proxy(str(path), str(tmp_path / "p.mp4"), 96, "1-2")
    prints = iter(["1-2", "1-3"])
    monkeypatch.setattr(proxy.fingerprint, "current", lambda path: next(prints))
    with pytest.raises(VideoError, match="changed"):
        make_proxy(str(path), str(tmp_path / "p.mp4"), 96, "1-2")


def test_pictures_and_numbers_beyond_the_bounds_end_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = videos.make(tmp_path, "mpeg4_avi", 2)
    monkeypatch.setattr(bounds, "_in_force", bounds.Bounds(frames=10))
    assert made(path)[0].frames == 10
    monkeypatch.setattr(bounds, "_in_force", bounds.Bounds(megapixels=0.01))
    with pytest.raises(VideoError, match="too_large"):
        made(path)


def test_an_unreadable_rest_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that fails must not leave half a proxy that is never made again; damage in the file stays as it is."""
    path = videos.make(tmp_path, "mpeg4_avi", 2)

    def failing(reason: str) -> None:
        def some(*arguments: object) -> Iterator[Sample]:
            yield from samples_of(path)[:20]
            raise VideoError("decode", reason)

        monkeypatch.setattr(proxy, "sample", some)

    failing("corrupt")
    assert made(path)[0].frames == 20
    failing("unreadable")
    with pytest.raises(VideoError, match="unreadable"):
        made(path)


def moment(time_s: float, picture: np.ndarray) -> Sample:
    return Sample(round(time_s * 1000), time_s, VideoFrame.from_ndarray(picture, format="rgb24"), None)


def test_the_first_frame_stands_for_what_does_not_decode_before_it(tmp_path: Path) -> None:
    target = tmp_path / "late.mp4"
    with _Writer(str(target), 96, Fraction(25)) as writer:
        for index in (10, 11, 12):
            writer.add(moment(index / 25, videos.picture(index)))
        writer.finish()
    assert [float(time_s) for time_s, _ in frames_of(target)] == pytest.approx([0, 0.44, 0.48])


def test_frames_of_equal_times_stay_in_order(tmp_path: Path) -> None:
    target = tmp_path / "same.mp4"
    with _Writer(str(target), 96, Fraction(25)) as writer:
        for time_s in (0.0, 1.0, 1.0, 1.0000001, 2.0):
            writer.add(moment(time_s, videos.picture(3)))
        writer.finish()
    ticks = [int(time_s / TIME_BASE) for time_s, _ in frames_of(target)]
    assert ticks == [0, 90_000, 90_001, 90_002, 180_000]


def test_a_picture_of_another_shape_gets_borders(tmp_path: Path) -> None:
    target = tmp_path / "shapes.mp4"
    white = np.full((96, 160, 3), 255, np.uint8)
    with _Writer(str(target), 96, Fraction(25)) as writer:
        for index, picture in enumerate([white, white[:, :80], white[:48]]):
            writer.add(moment(index / 25, picture))
        writer.finish()
    whole, narrow, low = (picture for _, picture in frames_of(target))
    assert whole.min() > 220
    assert narrow[:, 48:112].min() > 200 and narrow[:, :32].max() < 60 and narrow[:, 128:].max() < 60
    assert low[28:68].min() > 200 and low[:16].max() < 60 and low[80:].max() < 60


def test_noise_is_bounded(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, (240, 320, 3), np.uint8) for _ in range(100)]
    path = videos.encode(tmp_path / "noise.avi", videos.RECIPES["mpeg4_avi"], 4, (320, 240), pictures)
    _, target = made(path)
    assert target.stat().st_size * 8 / 4 < 1.5 * max(proxy.LEAST_BITS_A_SECOND, proxy.BITS_A_PIXEL * 320 * 240)


def test_a_full_disk_is_no_fault_of_the_video(tmp_path: Path) -> None:
    path = videos.make(tmp_path, "mpeg4_avi", 2)
    planned = str(fingerprint.current(str(path)))
    for target, said in (("/dev/full", "No space left"), (str(tmp_path / "none" / "p.mp4"), "No such file")):
        with pytest.raises(ProxyUnwritable, match=said):
            make_proxy(str(path), target, 96, planned)


def test_a_build_without_the_encoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    require_encoder()
    monkeypatch.setattr(proxy, "ENCODER", "no_such_encoder")
    with pytest.raises(NoEncoder, match="pip install"):
        require_encoder()
