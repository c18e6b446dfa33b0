"""Videos made for the tests: moving shapes that every frame tells apart, in the containers and codecs of real archives."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


@dataclass(frozen=True)
class Recipe:
    """How a test video is encoded."""

    suffix: str
    codec: str
    options: dict[str, str]
    pixels: str = "yuv420p"
    fps: Fraction = Fraction(25)
    times: str = "constant"


RECIPES = {
    "h264_bframes": Recipe(".mp4", "libx264", {"bf": "3", "g": "40", "preset": "veryfast"}),
    "h264_open_gop": Recipe(
        ".mkv", "libx264", {"x264-params": "open-gop=1:bframes=3:keyint=30:min-keyint=30:scenecut=0", "preset": "veryfast"}
    ),
    "h264_intra_refresh": Recipe(".mp4", "libx264", {"x264-params": "intra-refresh=1:keyint=25", "preset": "veryfast"}),
    "h264_ts": Recipe(".ts", "libx264", {"bf": "2", "g": "25", "preset": "veryfast"}),
    "h264_flv": Recipe(".flv", "libx264", {"bf": "2", "g": "25", "preset": "veryfast"}),
    "hevc": Recipe(".mp4", "libx265", {"x265-params": "log-level=none:keyint=30:bframes=4:open-gop=1", "preset": "ultrafast"}),
    "vp9": Recipe(".webm", "libvpx-vp9", {"g": "40", "deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "12"}),
    "av1": Recipe(".mkv", "libsvtav1", {"g": "40", "preset": "12", "svtav1-params": "scd=0"}),
    "mpeg4_avi": Recipe(".avi", "mpeg4", {"bf": "2", "g": "30"}),
    "mpeg4_mp4": Recipe(".mp4", "mpeg4", {"bf": "2", "g": "30"}),
    "h264_vfr": Recipe(".mp4", "libx264", {"bf": "2", "g": "40", "preset": "veryfast"}, times="variable"),
    "h264_late_start": Recipe(".mkv", "libx264", {"bf": "2", "g": "40", "preset": "veryfast"}, times="late"),
    "gif": Recipe(".gif", "gif", {}, pixels="rgb8", fps=Fraction(10)),
}  # fmt: skip


def picture(index: int, width: int = 160, height: int = 96) -> np.ndarray:
    """Frame `index`: a gradient that drifts, a disc that moves, and the index in black and white blocks. uint8 [h, w, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([(x * 2 + index * 3) % 256, (y * 3 + index) % 256, (x + y + index * 5) % 256], axis=-1)
    cx, cy = 20 + (index * 3) % (width - 40), height // 2 + int(20 * np.sin(index / 9))
    image[(x - cx) ** 2 + (y - cy) ** 2 < 150] = (255, 40, 40)
    for bit in range(10):
        image[4:12, 4 + bit * 10 : 12 + bit * 10] = 255 if index >> bit & 1 else 0
    return image.astype(np.uint8)


def frame_times(recipe: Recipe, count: int) -> list[int]:
    """Presentation times in units of 1/1000 s."""
    step = 1000 / recipe.fps
    if recipe.times == "variable":
        rng = np.random.default_rng(7)
        gaps = rng.choice([20, 40, 41, 100, 700, 2300], size=count - 1, p=[0.3, 0.3, 0.2, 0.15, 0.04, 0.01])
        return [0, *np.cumsum(gaps).tolist()]
    start = 3517 if recipe.times == "late" else 0
    return [start + round(i * step) for i in range(count)]


def encode(
    path: Path,
    recipe: Recipe,
    seconds: float,
    size: tuple[int, int] = (160, 96),
    pictures: Iterable[np.ndarray] | None = None,
) -> Path:
    """Writes a video of about `seconds` to `path`; deterministic."""
    count = max(1, round(seconds * recipe.fps))
    times = frame_times(recipe, count)
    frames = iter(pictures) if pictures is not None else (picture(i, *size) for i in range(count))
    with _kept_priority(), av.open(str(path), "w") as container:
        stream = container.add_stream(recipe.codec, rate=recipe.fps, options={**recipe.options, "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = *size, recipe.pixels
        time_base = 1 / recipe.fps if recipe.times == "constant" else Fraction(1, 1000)
        stream.codec_context.time_base = time_base
        for index, (time_ms, image) in enumerate(zip(times, frames, strict=False)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = time_ms if recipe.times != "constant" else index
            frame.time_base = time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@contextmanager
def _kept_priority() -> Iterator[None]:
    """Gives the thread its scheduling back after a block.

    SVT-AV1 gives root's threads real-time priority. What they start inherits it, and then all other processes starve.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)


def make(folder: Path, name: str, seconds: float = 12.0) -> Path:
    """The test video `name` of `RECIPES` in `folder`."""
    recipe = RECIPES[name]
    return encode(folder / f"{name}{recipe.suffix}", recipe, seconds)


def init_segment(path: Path, timescale: int) -> Path:
    """A fragmented MP4 without its fragments: headers, a clock of `timescale` ticks a second, and no frame."""
    options = {"movflags": "frag_keyframe+empty_moov", "video_track_timescale": str(timescale)}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=25, options={"threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0), format="rgb24")))
        container.mux(stream.encode(None))
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"moof") - 4])
    return path
