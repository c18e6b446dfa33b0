"""What the default model makes of interlaced video, by ways to scale it, beside the same content progressive.

    python -m tests.benchmarks.interlaced

Pans of 25 frames a second over stills of the real videos in ../shared/data. Cosine of embeddings: mean (least), and
share of the same best label. The progressive picture is that of the moment at which the interlaced frame's first field
was taken. The second table goes through encoders and the project's own decoding.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from rich.console import Console
from rich.table import Table

from models.visual.preprocess import finish, scaled_size
from models.visual.spec import Preprocessing
from tests.benchmarks.real_stills import Judge, Tally, stills
from tests.interlaced_videos import FORMS, encode, filtered, frame_of, pan, woven
from transforms.video.decode import DecodeReport, sample
from transforms.video.fields import first_field, progressive
from transforms.video.pixels import INTERPOLATION, Painter
from transforms.video.probe import probe
from transforms.video.sampling import Sampling
from transforms.video.segments import Video, cut

SIZE = (720, 576)
PANS = {"still": 0.0, "slow pan": 3.0, "fast pan": 24.0}
"""Pixels between fields."""

FIRST_FIELDS = {"tff": "top", "bff": "bottom", "progressive": "none: progressive"}

MARKED = "progressive, marked as interlaced"
FIELDS, AT = 12, 2
"""Fields of a pan, and the frame that is looked at; it has neighbours on both sides."""

P = Preprocessing()
_scaler = VideoReformatter()


def scaled(frame: VideoFrame) -> np.ndarray:
    """A model input, before cropping, as swscale makes it by itself."""
    height, width = scaled_size(SIZE[1], SIZE[0], P)
    return _scaler.reformat(frame, width, height, "rgb24", interpolation=INTERPOLATION, threads=1).to_ndarray()


def mean_of_fields(frame: VideoFrame) -> np.ndarray:
    """Both fields, scaled apart."""
    top, bottom = (scaled(field).astype(int) for field in filtered([frame], ("separatefields", None)))
    return ((top + bottom + 1) // 2).astype(np.uint8)


def deinterlaced(name: str, arguments: str, neighbours: int) -> Callable[[list[VideoFrame]], np.ndarray]:
    """A filter of FFmpeg's over a frame and its neighbours."""

    def way(frames: list[VideoFrame]) -> np.ndarray:
        made = filtered(frames[AT - neighbours : AT + neighbours + 1], (name, arguments))
        return scaled(progressive(made[neighbours]))

    return way


WAYS: dict[str, Callable[[list[VideoFrame]], np.ndarray]] = {
    "swscale by itself: each field to half the lines": lambda frames: scaled(frames[AT]),
    "all lines together": lambda frames: scaled(progressive(frames[AT])),
    "mean of both fields": lambda frames: mean_of_fields(frames[AT]),
    "first field (chosen)": lambda frames: scaled(first_field(frames[AT])),
    "estdif, within the frame": deinterlaced("estdif", "mode=frame", 0),
    "yadif, with neighbours": deinterlaced("yadif", "mode=send_frame", 2),
    "w3fdif, with neighbours": deinterlaced("w3fdif", "mode=frame", 2),
    "bwdif, with neighbours": deinterlaced("bwdif", "mode=send_frame", 2),
}


def compare_ways(judge: Judge) -> Table:
    """One row a way, one column a kind of movement."""
    results: dict[str, dict[str, Tally]] = {way: defaultdict(Tally) for way in WAYS}
    cpu_s: dict[str, float] = defaultdict(float)
    count = 0
    for still in stills():
        for kind, speed in {MARKED: PANS["fast pan"], **PANS}.items():
            pictures = pan(still, SIZE, speed, FIELDS)
            if kind == MARKED:
                pictures = [pictures[index // 2 * 2] for index in range(FIELDS)]
            frames, wanted = woven(pictures, "tff"), finish(scaled(frame_of(pictures[2 * AT])), P)
            for name, way in WAYS.items():
                began = time.process_time()
                picture = finish(way(frames), P)
                cpu_s[name] += time.process_time() - began
                results[name][kind].add(judge.cosine(picture, wanted))
            count += 1
    table = Table("way", MARKED, *PANS, "CPU ms a frame", title=f"{count // (len(PANS) + 1)} pictures")
    for name, tallies in results.items():
        cells = (str(tallies[kind]) for kind in (MARKED, *PANS))
        table.add_row(name, *cells, f"{cpu_s[name] / count * 1000:.1f}")
    return table


def compare_codecs(judge: Judge) -> Table:
    """One row a codec and order of fields, after coding and decoding; progressive rows show the loss by coding alone."""
    table = Table("codec", "first field", *PANS)
    with TemporaryDirectory() as folder:
        for name, form in FORMS.items():
            for order in (*form.orders, "progressive"):
                path = Path(folder) / f"pan{form.suffix}"
                cells = [str(_through(path, name, order, speed, judge)) for speed in PANS.values()]
                table.add_row(name, FIRST_FIELDS[order], *cells)
    return table


def _through(path: Path, name: str, order: str, speed: float, judge: Judge) -> Tally:
    tally, painter, every = Tally(), Painter(P), Sampling.parse("every:1")
    for still in stills():
        pictures = pan(still, SIZE, speed, FIELDS)
        info = probe(str(encode(path, FORMS[name], pictures, order)))
        window = cut(Video("0" * 16, str(path), 0, 0.0, ""), info, every, Fraction(1000))[0].window(every)
        samples = list(sample(str(path), info, window, DecodeReport()))
        step = FIELDS // len(samples)
        one = samples[2 * AT // step]
        # The file's aspect is left out: not every container stores it.
        tally.add(judge.cosine(painter.paint(one.frame, None, one.is_field), painter.paint(frame_of(pictures[2 * AT]))))
    return tally


def main() -> None:
    """Prints both tables."""
    console, judge = Console(width=160), Judge()
    console.print(compare_ways(judge))
    console.print(compare_codecs(judge))


if __name__ == "__main__":
    main()
