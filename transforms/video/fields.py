"""Separates the fields of interlaced frames, so that a picture shows one moment only."""

import av.filter
from av.video.frame import VideoFrame


def first_field(frame: VideoFrame) -> VideoFrame:
    """Returns the field of an interlaced frame that was recorded first, without copying its pixels.

    An interlaced frame holds two fields in alternate lines, recorded a fiftieth or a sixtieth of a second apart. Scaled
    together, they show moving things twice. The first field, top or bottom, belongs to the frame's time. A deinterlacer
    is not used, because it needs the neighbouring frames, which are not decoded; docs/measurements.md compares the
    model's results with each.

    Args:
        frame: at least two lines high; the last of an odd number of lines is dropped.

    Returns:
        A frame of half the height.

    Raises:
        av.FFmpegError: FFmpeg's filter does not accept the frame.
    """
    even = [("crop", f"{frame.width}:{frame.height - 1}:0:0:exact=1")] if frame.height % 2 else []
    return _filtered(frame, *even, ("separatefields", None))


def progressive(frame: VideoFrame) -> VideoFrame:
    """Returns the frame without its mark as interlaced, so that the scaler treats it as one picture, not two fields.

    Raises:
        av.FFmpegError: FFmpeg's filter does not accept the frame.
    """
    return _filtered(frame, ("setfield", "prog"))


def _filtered(frame: VideoFrame, *filters: tuple[str, str | None]) -> VideoFrame:
    """Runs one frame through a chain of filters, given as (name, arguments), and returns the first resulting frame."""
    graph = av.filter.Graph()
    graph.threads = 1
    size = f"{frame.width}x{frame.height}"
    # FFmpeg requires a time base, but it has no effect on a single frame.
    source = graph.add("buffer", video_size=size, pix_fmt=frame.format.name, time_base="1/1")
    graph.link_nodes(source, *(graph.add(*one) for one in filters), graph.add("buffersink")).configure()
    graph.push(frame)
    made = graph.pull()
    assert isinstance(made, VideoFrame)
    return made
