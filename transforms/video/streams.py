"""Chooses the video stream of a file, by decoder, role, number of frames and picture size."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

PICTURES: Final = Disposition.attached_pic | Disposition.timed_thumbnails
"""Dispositions of cover and chapter pictures, which are never the video."""

SECONDARY: Final = (
    Disposition.dependent
    | Disposition.still_image
    | Disposition.hearing_impaired
    | Disposition.visual_impaired
    | Disposition.comment
    | Disposition.non_diegetic
    | Disposition.metadata
)
"""Dispositions of streams that accompany another one: enhancement layers, stills, sign language, comments."""

LOOK_BYTES: Final = 16 << 20
"""Bytes of packets that are read to count frames, if several streams could be the video."""

LOOK_PACKETS: Final = 4_000
"""Packets of all streams that are read to count frames: half a minute of most files."""

FEW: Final = 10
"""A stream with fewer than a tenth of another stream's frames shows slides beside a film. This is tested before the
default disposition, because muxers make the first stream the default."""

Test = Callable[[VideoStream], bool]


def possible_videos(container: InputContainer) -> list[VideoStream]:
    """Returns the streams that could be the video, by the container's header.

    Streams without a decoder or a known picture size are left out if another stream has one.

    Returns:
        Several streams only if packets must be read to decide (see `choose`); none if the file holds no video.
    """
    streams = [one for one in container.streams.video if not one.disposition & PICTURES]
    return _narrowed(streams, [_has_decoder, _has_size])


def choose(container: InputContainer, streams: Sequence[VideoStream]) -> VideoStream:
    """Returns the one of `streams` that is the video.

    It prefers streams of several frames to single pictures, films to slides, primary to accompanying streams, the
    default stream to others, larger pictures to smaller ones, and the first of equal streams.

    Args:
        container: the open file. Packets are read from it, so it must be opened again afterwards.
        streams: at least one stream of it.
    """
    counts = _frame_counts(container, streams)
    most = max(counts[one.index] for one in streams)
    largest = max(_pixels(one) for one in streams)
    tests: list[Test] = [
        lambda one: counts[one.index] > 1,
        lambda one: counts[one.index] * FEW >= most,
        lambda one: not one.disposition & SECONDARY,
        lambda one: bool(one.disposition & Disposition.default),
        lambda one: _pixels(one) == largest,
    ]
    return _narrowed(streams, tests)[0]


def _narrowed(streams: Sequence[VideoStream], tests: Sequence[Test]) -> list[VideoStream]:
    """Returns the streams that pass the tests; a test that would leave no stream is skipped."""
    left = list(streams)
    for test in tests:
        left = [one for one in left if test(one)] or left
    return left


def _has_decoder(stream: VideoStream) -> bool:
    return stream.codec_context is not None


def _has_size(stream: VideoStream) -> bool:
    return _pixels(stream) > 0


def _pixels(stream: VideoStream) -> int:
    context = stream.codec_context
    return context.width * context.height if context is not None else 0


def _frame_counts(container: InputContainer, streams: Sequence[VideoStream]) -> Counter[int]:
    """Returns frames by stream index: from the header if it has all, otherwise the packets at the beginning."""
    if all(one.frames > 0 for one in streams):
        return Counter({one.index: one.frames for one in streams})
    counts: Counter[int] = Counter()
    packets = size_bytes = 0
    try:
        for packet in container.demux():
            counts[packet.stream_index] += bool(packet.size)
            packets, size_bytes = packets + 1, size_bytes + packet.size
            if packets >= LOOK_PACKETS or size_bytes >= LOOK_BYTES:
                break
    except av.FFmpegError:
        pass  # the packets before the damage decide; decoding finds the damage again and reports it
    return counts
