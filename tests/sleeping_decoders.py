"""What decoder children run that sleep for as long as decoding and inference would take, and return made-up results of full
size. This module imports only what their server process has imported anyway, so that many of them start quickly.
"""

import math
import os
import time
from fractions import Fraction
from functools import cache

import cv2
import numpy as np

from transforms.decoder.child import FrameFeatures, SegmentResult
from transforms.video.decode import DecodeReport
from transforms.video.probe import VideoInfo
from transforms.video.segments import Segment
from transforms.video.thumbnails import Thumbnail

FRAME_S = "SLEEPING_FRAME_S"
"""Environment variable: seconds that a child sleeps for each frame."""

LOG = "SLEEPING_LOG"
"""Environment variable: file to which children append a line of begin, end (both of `time.monotonic`) and frames for every
segment."""

TICKS = 12_800
"""Of a second."""

LABEL_S = 10
"""Seconds for which a video shows the same label."""


def probe(path: str, segment_s: Fraction | None = None) -> VideoInfo:
    """Stands for `child.probe_video`: a video of an hour, with a keyframe every two seconds."""
    return VideoInfo(
        "mov,mp4,m4a,3gp,3g2,mj2", "h264", 640, 360, Fraction(25), Fraction(3600), True, Fraction(1, TICKS), 0,
        "seekable", keyframe_t=tuple(range(0, 3600 * TICKS, 2 * TICKS)),
    )  # fmt: skip


@cache
def thumbnail() -> Thumbnail:
    """A picture of 284 x 160 pixels with as much detail as film has."""
    noise = np.random.default_rng(0).integers(0, 255, (16, 28, 3), np.uint8)
    _, file = cv2.imencode(".jpg", cv2.resize(noise, (284, 160), interpolation=cv2.INTER_CUBIC))
    return Thumbnail(284, 160, file.tobytes())


def run(segment: Segment, labels: int, top_labels: int, size: int, has_thumbnails: bool) -> SegmentResult:
    """Stands for `child.run_segment`: sleeps, and returns a frame of every second of the segment."""
    began_s = time.monotonic()
    seconds = np.arange(math.ceil(segment.start_s), math.ceil(segment.end_s or segment.info.duration_s or 0))
    count = len(seconds)
    rng = np.random.default_rng([segment.index, *segment.video.video_id.encode()])
    embeddings = np.maximum(rng.standard_normal((count, size), np.float32) - np.float32(0.5), 0)
    scores = np.broadcast_to(np.linspace(0.6, 0.05, top_labels, dtype=np.float32), (count, top_labels)).copy()
    best = (seconds[:, None] // LABEL_S * top_labels + np.arange(top_labels)).astype(np.int32) % labels
    thumbnails = (thumbnail(),) * count if has_thumbnails else ()
    time.sleep(max(0.0, began_s + count * float(os.environ[FRAME_S]) - time.monotonic()))
    with open(os.environ[LOG], "ab", buffering=0) as log:
        log.write(f"{began_s} {time.monotonic()} {count}\n".encode())
    report = DecodeReport(samples_expected=count, frames_decoded=25 * count)
    return SegmentResult(
        seconds * TICKS, seconds.astype(np.float64), FrameFeatures(embeddings, best, scores), None, report, 0,
        count * float(os.environ[FRAME_S]) * 1000, 0.0, None, thumbnails,
    )  # fmt: skip


def start() -> None:
    """Children need no preparation."""
