"""What proxies cost: CPU time for a minute of video, and bytes for an hour.

    python -m tests.benchmarks.proxies --video ../shared/data/longer/car-detection.mp4

The video is encoded as old recordings are (MPEG-4 in AVI, MPEG-2 in a program stream; 720 x 576 pixels at 25 frames a
second, about 1.5 and 2 Mbit/s). Their proxies are made in this process. Prints one line for each.
"""

import argparse
import resource
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from transforms.video import fingerprint
from transforms.video.proxy import make_proxy

SIZE = (720, 576)
FPS = 25
KINDS = {"MPEG-4 in AVI": (".avi", "mpeg4"), "MPEG-2 in a program stream": (".mpg", "mpeg2video")}


def pictures(path: str, count: int) -> Iterator[VideoFrame]:
    """The first frames of a video, as frames of `SIZE`."""
    with av.open(path) as container:
        for _, frame in zip(range(count), container.decode(video=0), strict=False):
            scaled = frame.reformat(*SIZE, "yuv420p")
            scaled.pict_type = PictureType.NONE
            yield scaled


def encode(source: str, target: Path, codec: str, seconds: int) -> int:
    """Encodes the beginning of a video; returns the number of frames."""
    options = {"qscale": "4", "flags": "+qscale", "bf": "2", "g": "15"}
    number = 0
    with av.open(str(target), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number, frame in enumerate(pictures(source, seconds * FPS), start=1):
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return number


def cpu_s() -> float:
    """CPU seconds of this process so far, of all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", required=True, help="whose pictures are used")
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, (suffix, codec) in KINDS.items():
            path, target = Path(folder, f"video{suffix}"), Path(folder, "proxy.mp4")
            length_s = encode(options.video, path, codec, options.seconds) / FPS
            began_s = cpu_s()
            made = make_proxy(str(path), str(target), options.height, str(fingerprint.current(str(path))))
            used_s, hour = cpu_s() - began_s, 3600 / length_s
            print(
                f"{name}, {path.stat().st_size / 1e6 * hour:.0f} MB an hour, to {made.width} x {made.height}: "
                f"{used_s / length_s * 60:.1f} CPU seconds a minute, {target.stat().st_size / 1e6 * hour:.0f} MB an hour"
            )


if __name__ == "__main__":
    main()
